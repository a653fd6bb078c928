"""The catalogue of supports.

A new kind of support takes one function and one row:

1. its shape, in `support_shapes` or `soft_shapes`: a function of x, y, z in mm in the
   frame of the support, and of its parameters, that returns `Piece`s: a distance and a material;
2. a row of `CATALOGUE`: the shape, the ranges of its parameters, how it is positioned, whether it
   is rigid (ears yield to it) and how often it occurs.

The ranges contain "top" and "foot", the ends of the support along z, and "thick_mm" for a pad.
`positioning` adds the parameters of its place: "half_width", half its inner width; "low_y", the
lowest point of the skin; for "sides" the distances "left" and "right"; all in mm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.random import Generator

from headrest.phantom import soft_shapes as soft
from headrest.phantom import support_shapes as shapes
from headrest.phantom.materials import MATERIAL, Parameters, choose, happens, sample


class Kind(NamedTuple):
    """A row of the catalogue.

    Attributes
    ----------
    shape : function (x, y, z, parameters) -> list of Piece; (x, y, z, skin, parameters) where
        `position` is "around".
    ranges : parameter ranges, see `materials.sample`.
    position : "below", raised until it meets the head; "sides", pushed in from both sides;
        "around", follows the skin; "fixed", 20 mm above the couch; "under", beneath it;
        "border", at the border of the field of view.
    is_rigid : ears yield to it; otherwise it yields to the patient.
    main, pad : weight among the head holders and couches, and among the pads; a patient gets one of
        each, or none.
    extra : probability that a patient gets it besides.
    """

    shape: Callable[..., list[shapes.Piece]]
    ranges: dict[str, Any]
    position: str
    is_rigid: bool = False
    main: float = 0.0
    pad: float = 0.0
    extra: float = 0.0


SHELL_RANGES = {
    "clearance_mm": (2.0, 32.0),
    "depth_mm": (70.0, 150.0),
    "power": (1.9, 3.6),
    "wall_mm": (1.8, 6.5),
    "arm_mm": (30.0, 190.0),
    "hu": MATERIAL["plastic"],
    "top": (70.0, 170.0),
    "foot": (-220.0, -60.0),
    "taper": (-0.12, 0.05),
}
COUCH_RANGES = {
    "wide_mm": (150.0, 270.0),
    "thick_mm": (10.0, 55.0),
    "radius_mm": (280.0, 700.0),
    "belly": (0.35, 0.95),
    "drop_mm": (0.0, 90.0),
    "foam_hu": MATERIAL["foam"],
    "hu": MATERIAL["carbon"],
    "wall_mm": (1.5, 6.0),
    "top": (40.0, 400.0),
    "foot": (-500.0, -150.0),
}
RAIL_RANGES = {
    "only": ["both", "both", "both", "both", "left", "right"],
    "bend_y": (-30.0, 35.0),
    "bend": (0.0, 0.006),
    "lean": (-0.15, 0.2),
    "tall_mm": (50.0, 170.0),
    "wall_mm": (1.8, 6.0),
    "hu": MATERIAL["plastic"],
    "top": (30.0, 150.0),
    "foot": (-160.0, -40.0),
}
BAR_RANGES = SHELL_RANGES | {
    "bar_mm": (5.0, 16.0),
    "has_foam": ["yes", "no"],
    "foam_hu": MATERIAL["foam"],
    "core_mm": (5.0, 20.0),
    "slant": (-0.1, 0.9),
}
CLAMP_RANGES = BAR_RANGES | {"pin_z": (0.0, 50.0), "pin_hu": MATERIAL["titanium"]}
PROFILE_RANGES = BAR_RANGES | {"profile": ["slant", "tube"], "metal_hu": (500.0, 3000.0)}
FOAM_RANGES = {
    "foam_hu": [(-985.0, -930.0), (-980.0, -900.0), (-960.0, -780.0), (-850.0, -600.0)],
    "grain_mm": (1.0, 4.0),
    "grain_hu": [(0.0, 0.0), (0.0, 15.0), (15.0, 60.0)],
    "cover_mm": [(0.0, 0.0), (0.4, 1.0), (0.6, 1.4), (0.8, 2.2)],
    "cover_hu": [(-880.0, -650.0), (-800.0, -500.0), (-700.0, -350.0), (-600.0, -100.0)],
    "loose_mm": [(0.0, 0.0), (0.0, 0.0), (1.0, 4.0)],
    "seed": (0, 10**6),
}
"""Open-cell, dense and bead foam, with texture; bare or in a cover, single or double."""

PAD_RANGES = FOAM_RANGES | {
    "clearance_mm": (0.0, 25.0),
    "thick_mm": (8.0, 40.0),
    "depth_mm": (70.0, 150.0),
    "arm_mm": (30.0, 150.0),
    "gel_hu": MATERIAL["gel"],
    "top": (40.0, 140.0),
    "foot": (-170.0, -40.0),
    "ring_z": (-40.0, 20.0),
    "filling": ["gel", "foam"],
    "round": (0.15, 0.95),
    "slant": (-0.2, 0.6),
    "tall_mm": (50.0, 150.0),
    "from_y": (-20.0, 45.0),
    "slack_mm": (0.0, 3.0),
    "cloth_mm": (0.5, 2.6),
}
BEAD_RANGES = PAD_RANGES | {"foam_hu": (-970.0, -800.0), "grain_hu": (15.0, 70.0)}
TEETH_RANGES = PAD_RANGES | {
    "pitch_mm": (14.0, 34.0),
    "tooth_mm": (8.0, 20.0),
    "thick_mm": (20.0, 45.0),
    "cover_mm": [(0.0, 0.0), (0.0, 0.0), (0.4, 1.0)],
}
CUP_RANGES = TEETH_RANGES | {
    "cover_mm": FOAM_RANGES["cover_mm"],
    "thick_mm": (10.0, 40.0),
    "teeth_mm": [(0.0, 0.0), (0.0, 0.0), (4.0, 16.0)],
    "power": (2.0, 6.0),
    "front_y": (-75.0, 40.0),
}
MAT_RANGES = PAD_RANGES | {
    "mat_mm": (110.0, 230.0),
    "thick_mm": (12.0, 55.0),
    "bow": (0.0, 0.0016),
}
LINED_RANGES = SHELL_RANGES | FOAM_RANGES | {"hu": (0.0, 800.0), "core_mm": (4.0, 16.0)}
PLATE_RANGES = SHELL_RANGES | {
    "plate_z": (-75.0, -35.0),
    "tall_mm": (15.0, 70.0),
    "wall_mm": (2.0, 7.0),
    "peg_mm": (3.0, 7.0),
    "top": (0.0, 0.0),
    "foot": (-400.0, -200.0),
}
ARC_RANGES = FOAM_RANGES | {
    "foam_hu": [(-950.0, -850.0), (-850.0, -550.0), (-750.0, 300.0)],
    "cover_hu": [(-850.0, -500.0), (-500.0, 600.0)],
    "inside_mm": (1.0, 22.0),
    "radius_mm": (120.0, 500.0),
    "thick_mm": (4.0, 30.0),
    "roll_deg": [(-30.0, 30.0), (-100.0, 100.0)],
    "slope": (0.0, 0.0),
}
CLOTH_RANGES = PAD_RANGES | {
    "strap_z": (5.0, 45.0),
    "strap_mm": (15.0, 60.0),
    "strap_hu": MATERIAL["strap"],
    "sheets": (1, 3),
    "fold_mm": (1.0, 9.0),
    "wrinkle_mm": (0.0, 1.4),
    "sheet_mm": (70.0, 210.0),
    "cloth_hu": MATERIAL["cloth"],
    "blanket_z": (-130.0, -70.0),
    "behind_y": (-10.0, 40.0),
    "loft_mm": [(0.0, 0.0), (2.0, 12.0)],
}
CHIN_RANGES = CLOTH_RANGES | {"strap_z": (-125.0, -95.0)}
COTTON_RANGES = CLOTH_RANGES | {
    "cotton_hu": (-850.0, -400.0),
    "cloth_mm": (0.6, 2.6),
    "layer_gap_mm": (0.3, 2.5),
    "layers": (2, 7),
    "beside": [(0.0, 0.0), (-1.0, -1.0), (1.0, 1.0)],
    "cloth_z": [(40.0, 150.0), (-90.0, -30.0)],
}
CLOTHES_RANGES = CLOTH_RANGES | {
    "cloth_hu": (-800.0, -300.0),
    "cloth_mm": (0.4, 1.4),
    "wrinkle_mm": (0.5, 3.0),
    "loft_mm": (4.0, 14.0),
    "behind_y": [(20.0, 60.0), (200.0, 200.0)],
}
MASK_RANGES = CLOTH_RANGES | {
    "mesh_mm": (6.0, 14.0),
    "mask_hu": MATERIAL["thermoplastic"],
    "mask_mm": (0.9, 2.6),
    "hole": [(0.34, 0.44), (0.34, 0.44), (0.0, 0.25)],
    "close_mm": (0.4, 2.5),
    "mask_top": [(50.0, 80.0), (200.0, 200.0)],
    "wings": ["none", "both", "left", "right"],
}
SMALL_RANGES = PAD_RANGES | {
    "count": (1, 4),
    "cable_hu": MATERIAL["cable"],
    "copper_hu": MATERIAL["copper"],
    "knob_hu": MATERIAL["plastic"],
    "bolt_hu": (500.0, 6000.0),
    "hose_hu": MATERIAL["silicone"],
    "cover_mm": (0.4, 2.2),
}

CATALOGUE = {
    "u_shell": Kind(shapes.u_shell, SHELL_RANGES, "below", True, main=0.22),
    "side_rails": Kind(shapes.side_rails, RAIL_RANGES, "sides", True, main=0.14),
    "trough": Kind(shapes.trough, BAR_RANGES, "below", True, main=0.09),
    "open_arms": Kind(shapes.open_arms, BAR_RANGES, "below", True, main=0.08),
    "flat_board": Kind(shapes.flat_board, COUCH_RANGES, "below", True, main=0.1),
    "head_cup": Kind(shapes.head_cup, SHELL_RANGES, "below", True, main=0.07),
    "double_shell": Kind(shapes.double_shell, BAR_RANGES, "below", True, main=0.08),
    "pedestal": Kind(shapes.pedestal, BAR_RANGES, "below", True, main=0.03),
    "covered_shell": Kind(shapes.covered_shell, LINED_RANGES, "below", True, main=0.09),
    "curved_cushion": Kind(soft.curved_cushion, PAD_RANGES, "below", pad=0.2),
    "foam_block": Kind(soft.foam_block, PAD_RANGES, "below", pad=0.09),
    "pillow": Kind(soft.pillow, PAD_RANGES, "below", pad=0.12),
    "gel_pad": Kind(soft.gel_pad, PAD_RANGES, "below", pad=0.07),
    "ring_donut": Kind(soft.ring_donut, PAD_RANGES, "below", pad=0.05),
    "rolled_towel": Kind(soft.rolled_towel, PAD_RANGES, "below", pad=0.05),
    "cradle_cushion": Kind(soft.cradle_cushion, PAD_RANGES, "around", pad=0.16),
    "vacuum_cushion": Kind(soft.vacuum_cushion, BEAD_RANGES, "around", pad=0.07),
    "foam_cup": Kind(soft.foam_cup, CUP_RANGES, "around", pad=0.42),
    "egg_crate": Kind(soft.egg_crate, TEETH_RANGES, "below", pad=0.07),
    "mattress": Kind(soft.mattress, MAT_RANGES, "below", pad=0.04),
    "temple_wedges": Kind(soft.temple_wedges, PAD_RANGES, "sides", extra=0.22),
    "brow_strap": Kind(soft.strap, CLOTH_RANGES, "around", extra=0.14),
    "chin_strap": Kind(soft.strap, CHIN_RANGES, "around", extra=0.06),
    "linen": Kind(soft.linen, CLOTH_RANGES, "around", extra=0.24),
    "blanket": Kind(soft.blanket, CLOTH_RANGES, "around", extra=0.1),
    "folded_cloth": Kind(soft.folded_cloth, COTTON_RANGES, "around", extra=0.14),
    "clothes": Kind(soft.blanket, CLOTHES_RANGES, "around", extra=0.1),
    "thermoplastic_mask": Kind(soft.thermoplastic_mask, MASK_RANGES, "around", extra=0.12),
    "arm_cushions": Kind(soft.arm_cushions, PAD_RANGES, "sides", extra=0.03),
    "cables": Kind(shapes.cables, SMALL_RANGES, "fixed", extra=0.1),
    "bolts": Kind(shapes.bolts, SMALL_RANGES, "fixed", extra=0.08),
    "clamps": Kind(shapes.clamps, SMALL_RANGES, "fixed", extra=0.06),
    "drip_line": Kind(shapes.drip_line, SMALL_RANGES, "fixed", extra=0.07),
    "skull_clamp": Kind(shapes.skull_clamp, CLAMP_RANGES, "fixed", True, extra=0.05),
    "neck_plate": Kind(shapes.neck_plate, PLATE_RANGES, "below", True, extra=0.06),
    "border_arc": Kind(shapes.border_arc, ARC_RANGES, "border", True, extra=0.1),
    "couch_rails": Kind(shapes.couch_rails, PROFILE_RANGES, "under", True, extra=0.1),
    "curved_couch": Kind(shapes.curved_couch, COUCH_RANGES, "below", True, main=0.09, extra=0.16),
    "flat_couch": Kind(shapes.flat_couch, COUCH_RANGES, "below", True, main=0.06, extra=0.1),
}
"""The order of the rows decides which random numbers a row gets, so seeds depend on it."""

MAIN_WEIGHTS = {name: kind.main for name, kind in CATALOGUE.items() if kind.main} | {"none": 0.04}
PAD_WEIGHTS = {name: kind.pad for name, kind in CATALOGUE.items() if kind.pad} | {"none": 0.1}

CHEST_EXTRA = {
    "mattress": 0.45,
    "arm_cushions": 0.3,
    "couch_rails": 0.5,
    "border_arc": 0.1,
    "blanket": 0.4,
    "clothes": 0.5,
    "folded_cloth": 0.25,
    "linen": 0.4,
    "cables": 0.2,
    "drip_line": 0.2,
}

CONTACT = {
    "gap": 0.26,
    "touch": 0.19,
    "sunk": 0.19,
    "ear": 0.26,
    "dense": 0.07,
    "strap": 0.08,
    "pressed": 0.0,  # an ear along its whole height: only on request
}
"""Weights of the ways in which a head meets its supports."""

TOUCHING_SUPPORTS = {
    "sunk": PAD_WEIGHTS,
    "dense": ("gel_pad",),
    "strap": ("brow_strap",),
    "touch": MAIN_WEIGHTS,
}
"""Supports that touch the head itself; "ear" and "pressed" leave the head free."""

POSITION_RANGES = {
    "roll_deg": (-4.0, 4.0),
    "shift_mm": (-8.0, 8.0),
    "slope": (-0.06, 0.06),
    "free_gap_mm": (2.5, 22.0),
    "close_mm": (0.8, 4.5),
    "into_mm": (2.0, 12.0),
    "into_ear_mm": (1.0, 9.0),
    "press_mm": (0.5, 4.0),
    "overlap_mm": (0.8, 5.0),
}
NO_GAP_MM = -0.4
"""Gap of a support that rests on the skin: a little below it, so that voxels touch."""

DEEPER_MM = 5.0
"""By so much more than in "ear" a support presses in "pressed"."""

PRESSING_MINIMUM = {"tall_mm": 110.0, "arm_mm": 160.0, "hu": -150.0}
"""A support that presses ears along their height reaches up to them and is solid."""

CLOSE = 0.8
"""Share of the pads and masks that are close to the skin where they do not touch it."""

CLOSE_SUPPORTS = {"thermoplastic_mask", "folded_cloth", "temple_wedges"}


def sample_supports(
    rng: Generator, contact: bool | str | None = None, with_couch: bool = False
) -> Parameters:
    """Sample supports, and how the head meets them.

    Parameters
    ----------
    contact : True, False, a key of `CONTACT`, or None to sample it.
    with_couch : add a couch where none was sampled: shoulders are in view.

    Returns
    -------
    dict with "contact" and "list", the rigid supports last.
    """
    kind = choose(rng, CONTACT)
    other = choose(rng, {name: weight for name, weight in CONTACT.items() if name != "gap"})
    if isinstance(contact, str):
        kind = contact
    elif contact is not None:
        kind = "gap" if not contact else other if kind == "gap" else kind
    main, pad = choose(rng, MAIN_WEIGHTS), choose(rng, PAD_WEIGHTS)
    extra = [name for name, k in CATALOGUE.items() if k.extra and happens(rng, k.extra)]
    names = [n for n in dict.fromkeys(_with_contact(kind, main, pad, extra)) if n != "none"]
    if with_couch and not {"curved_couch", "flat_couch"} & set(names):
        names.append("curved_couch")
    supports = [sample_support(rng, name, kind) for name in names]
    if happens(rng, 0.1) and kind == "gap":
        supports = []
    return {"contact": kind, "list": sorted(supports, key=lambda p: CATALOGUE[p["name"]].is_rigid)}


def _with_contact(kind, main, pad, extra):
    """Replace supports where the kind of contact needs another one."""
    if kind == "touch":
        main, pad = "u_shell" if main in ("none", "pedestal") else main, "none"
    if kind == "sunk" and pad in ("none", "rolled_towel", "mattress"):
        pad = "curved_cushion"
    if kind in ("ear", "pressed") and main not in ("u_shell", "side_rails", "trough"):
        main = "side_rails"
    if kind == "dense":
        pad = "gel_pad"
    return [main, pad, *extra, *(["brow_strap"] if kind == "strap" else [])]


def sample_support(rng: Generator, name: str, contact: str) -> Parameters:
    """Sample one support; `contact` says how the head meets its supports."""
    is_rigid, is_pad = CATALOGUE[name].is_rigid, name in PAD_WEIGHTS
    p: Parameters = (
        {"name": name} | sample(rng, POSITION_RANGES) | sample(rng, CATALOGUE[name].ranges)
    )
    is_close = (is_pad or name in CLOSE_SUPPORTS) and happens(rng, CLOSE)
    free = p["close_mm" if is_close else "free_gap_mm"]
    p["gap_mm"] = free if contact == "gap" or happens(rng, 0.5) else NO_GAP_MM
    touches = name in TOUCHING_SUPPORTS.get(contact, ())
    if touches:
        p["gap_mm"] = -p["into_mm" if is_pad else "press_mm"]
    deeper = {"ear": 0.0, "pressed": DEEPER_MM}.get(contact) if is_rigid else None
    p["into_ear_mm"] = 0.0 if deeper is None else p["into_ear_mm"] + deeper
    if contact == "pressed" and is_rigid:
        p |= {key: max(p[key], least) for key, least in PRESSING_MINIMUM.items() if key in p}
    if p["into_ear_mm"] and name == "side_rails":
        p["gap_mm"] = NO_GAP_MM
    p["presses_head"] = touches and name != "brow_strap"
    return p


def sample_chest_supports(rng: Generator, contact: bool | str | None = None) -> Parameters:
    """Sample a couch for a chest, with cushions, cloth and lines; as `sample_supports`."""
    couch = "curved_couch" if happens(rng, 0.7) else "flat_couch"
    extra = [name for name, share in CHEST_EXTRA.items() if happens(rng, share)]
    kind = "gap" if contact is False else "touch"
    supports = [sample_support(rng, name, kind) for name in (*extra, couch)]
    endless = {"blanket_z": 1e3, "cloth_z": 1e3, "top": 1e3, "foot": -1e3}
    for p in supports:
        p |= {"drop_mm": 0.0, "slope": 0.0, **endless}
    if kind == "touch" and "mattress" not in extra:
        supports[-1]["gap_mm"] = NO_GAP_MM
    return {"contact": kind, "list": sorted(supports, key=lambda p: CATALOGUE[p["name"]].is_rigid)}


def _is_foam(p):
    return "grain_hu" in p and CATALOGUE[p["name"]].shape not in CLOTH_SHAPES


CLOTH_SHAPES = {soft.strap, soft.linen, soft.blanket, soft.folded_cloth, soft.thermoplastic_mask}

FOAM_TESTS: dict[str, Callable[[Parameters], bool]] = {
    "bead_foam": lambda p: p["grain_hu"] > 15,
    "bright_foam": lambda p: p["foam_hu"] > -850 and not p["cover_mm"],
    "bare_foam": lambda p: not p["cover_mm"],
    "thin_cover": lambda p: 0 < p["cover_mm"] < 1.5,
    "double_cover": lambda p: p["loose_mm"] > 0,
    "foam_teeth": lambda p: p.get("tooth_mm" if p["name"] == "egg_crate" else "teeth_mm", 0) > 0,
}
"""Names of what may occur in the foam of a support, and whether it does in its parameters."""

MASK_TESTS: dict[str, Callable[[Parameters], bool]] = {
    "mask_closed": lambda p: p["mask_top"] > 100,
    "mask_solid": lambda p: p["hole"] < 0.3,
    "mask_wings": lambda p: p["wings"] != "none",
}

SUPPORT_EFFECTS = (*FOAM_TESTS, *MASK_TESTS)


def support_effects(parameters: Parameters) -> set[str]:
    """Names of `FOAM_TESTS` and `MASK_TESTS` that occur in a list of supports."""
    found = set()
    for p in parameters["list"]:
        tests = MASK_TESTS if p["name"] == "thermoplastic_mask" else {}
        tests = FOAM_TESTS if _is_foam(p) else tests
        found |= {name for name, occurs in tests.items() if occurs(p)}
    return found
