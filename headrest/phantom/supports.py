"""The catalogue of supports; `.github/CONTRIBUTING.md` says how to add one.

The ranges contain "top" and "foot", the ends of the support along z, and "thick_mm" for a pad.
`positioning` adds the parameters of its place: "half_width", half its inner width; "low_y", the
lowest point of the skin; for "sides" the distances "left" and "right"; all in mm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.random import Generator

from headrest.phantom import soft_shapes as soft
from headrest.phantom import support_shapes as shapes
from headrest.phantom.ranges import RANGES, Parameters, choose, happens, sample


class Kind(NamedTuple):
    """A row of the catalogue.

    A position is "below", raised until it meets the head; "sides", pushed in from both sides;
    "around", follows the skin; "fixed", 20 mm above the couch; "under", beneath it; or "border", at
    the border of the field of view. A patient gets one of the head holders and couches and one of
    the pads, or none.
    """

    shape: Callable[..., list[shapes.Piece]]  # of (x, y, z, parameters), or (x, y, z, skin, ...)
    ranges: dict[str, Any]  # see `ranges.sample`
    position: str
    is_rigid: bool = False  # skin and ears yield to it; otherwise it yields to the patient
    main: float = 0.0  # weight among the head holders and couches
    pad: float = 0.0  # weight among the pads
    extra: float = 0.0  # probability that a patient gets it besides


CATALOGUE = {
    "u_shell": Kind(shapes.u_shell, RANGES["shell"], "below", True, main=0.22),
    "side_rails": Kind(shapes.side_rails, RANGES["rail"], "sides", True, main=0.14),
    "trough": Kind(shapes.trough, RANGES["bar"], "below", True, main=0.09),
    "open_arms": Kind(shapes.open_arms, RANGES["bar"], "below", True, main=0.08),
    "flat_board": Kind(shapes.flat_board, RANGES["couch"], "below", True, main=0.1),
    "head_cup": Kind(shapes.head_cup, RANGES["shell"], "below", True, main=0.07),
    "double_shell": Kind(shapes.double_shell, RANGES["bar"], "below", True, main=0.08),
    "pedestal": Kind(shapes.pedestal, RANGES["bar"], "below", True, main=0.03),
    "covered_shell": Kind(shapes.covered_shell, RANGES["lined"], "below", True, main=0.09),
    "curved_cushion": Kind(soft.curved_cushion, RANGES["pad"], "below", pad=0.2),
    "foam_block": Kind(soft.foam_block, RANGES["pad"], "below", pad=0.09),
    "pillow": Kind(soft.pillow, RANGES["pad"], "below", pad=0.12),
    "gel_pad": Kind(soft.gel_pad, RANGES["pad"], "below", pad=0.07),
    "ring_donut": Kind(soft.ring_donut, RANGES["pad"], "below", pad=0.05),
    "rolled_towel": Kind(soft.rolled_towel, RANGES["pad"], "below", pad=0.05),
    "cradle_cushion": Kind(soft.cradle_cushion, RANGES["pad"], "around", pad=0.16),
    "vacuum_cushion": Kind(soft.vacuum_cushion, RANGES["bead"], "around", pad=0.07),
    "foam_cup": Kind(soft.foam_cup, RANGES["cup"], "around", pad=0.42),
    "egg_crate": Kind(soft.egg_crate, RANGES["teeth"], "below", pad=0.07),
    "mattress": Kind(soft.mattress, RANGES["mat"], "below", pad=0.04),
    "temple_wedges": Kind(soft.temple_wedges, RANGES["pad"], "sides", extra=0.22),
    "brow_strap": Kind(soft.strap, RANGES["cloth"], "around", extra=0.14),
    "chin_strap": Kind(soft.strap, RANGES["chin"], "around", extra=0.06),
    "linen": Kind(soft.linen, RANGES["cloth"], "around", extra=0.24),
    "blanket": Kind(soft.blanket, RANGES["cloth"], "around", extra=0.1),
    "folded_cloth": Kind(soft.folded_cloth, RANGES["cotton"], "around", extra=0.14),
    "clothes": Kind(soft.blanket, RANGES["clothes"], "around", extra=0.1),
    "thermoplastic_mask": Kind(soft.thermoplastic_mask, RANGES["mask"], "around", extra=0.12),
    "arm_cushions": Kind(soft.arm_cushions, RANGES["pad"], "sides", extra=0.03),
    "cables": Kind(shapes.cables, RANGES["small_parts"], "fixed", extra=0.1),
    "bolts": Kind(shapes.bolts, RANGES["small_parts"], "fixed", extra=0.08),
    "clamps": Kind(shapes.clamps, RANGES["small_parts"], "fixed", extra=0.06),
    "drip_line": Kind(shapes.drip_line, RANGES["small_parts"], "fixed", extra=0.07),
    "skull_clamp": Kind(shapes.skull_clamp, RANGES["clamp"], "fixed", extra=0.05),
    "neck_plate": Kind(shapes.neck_plate, RANGES["plate"], "below", True, extra=0.06),
    "border_arc": Kind(shapes.border_arc, RANGES["arc"], "border", extra=0.1),
    "couch_rails": Kind(shapes.couch_rails, RANGES["profile"], "under", True, extra=0.1),
    "curved_couch": Kind(
        shapes.curved_couch, RANGES["couch"], "below", True, main=0.09, extra=0.16
    ),
    "flat_couch": Kind(shapes.flat_couch, RANGES["couch"], "below", True, main=0.06, extra=0.1),
}
"""The order of the rows decides which random numbers a row gets, so seeds depend on it."""

MAIN_WEIGHTS = {name: kind.main for name, kind in CATALOGUE.items() if kind.main} | {"none": 0.04}
PAD_WEIGHTS = {name: kind.pad for name, kind in CATALOGUE.items() if kind.pad} | {"none": 0.1}

SINGLE_COVER = {"covered_shell", "border_arc"}  # foam without a second, loose cover
FOAMS = {*PAD_WEIGHTS, "temple_wedges", "arm_cushions", *SINGLE_COVER}
FOAMS -= {"gel_pad", "rolled_towel", "none"}

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

CHEST_CONTACT = ("gap", "touch")

# Supports that touch the head itself; "ear" and "pressed" leave the head free.
TOUCHING_SUPPORTS = {
    "sunk": PAD_WEIGHTS,
    "dense": ("gel_pad",),
    "strap": ("brow_strap",),
    "touch": MAIN_WEIGHTS,
}

NO_GAP_MM = -0.4  # gap of a support that rests on the skin: a little below it, so that voxels touch
DEEPER_MM = 5.0  # a support presses this much deeper for "pressed" than for "ear"

# A support that presses ears along their height reaches up to them and is solid.
PRESSING_MINIMUM = {"tall_mm": 110.0, "arm_mm": 160.0, "hu": -150.0}

# A contact on request is with a support that reads more than -500 HU after blur.
DENSE_MINIMUM = {"cover_mm": 1.6, "wall_mm": 4.0, "cloth_mm": 1.8}
DENSE_TOUCH_HU = -200.0

CLOSE = 0.8  # share of pads and `CLOSE_SUPPORTS` that are close to the skin if they do not touch
CLOSE_SUPPORTS = {"thermoplastic_mask", "folded_cloth", "temple_wedges"}


def sample_supports(
    rng: Generator, contact: bool | str | None = None, with_couch: bool = False
) -> Parameters:
    """Sample supports, and how the head meets them: "contact", and "list", the rigid ones last.

    `contact` is True, False, a key of `CONTACT`, or None to sample it. `with_couch` adds a couch
    where none was sampled: shoulders are in view.
    """
    kind = choose(rng, CONTACT)
    other = choose(rng, {name: weight for name, weight in CONTACT.items() if name != "gap"})
    if isinstance(contact, str):
        kind = contact
    elif contact is not None:
        kind = "gap" if not contact else other if kind == "gap" else kind
    main, pad = choose(rng, MAIN_WEIGHTS), choose(rng, PAD_WEIGHTS)
    extra = [name for name, k in CATALOGUE.items() if k.extra and happens(rng, k.extra)]
    if kind == "touch":
        main, pad = "u_shell" if main in ("none", "pedestal") else main, "none"
    if kind == "sunk" and pad in ("none", "rolled_towel", "mattress"):
        pad = "curved_cushion"
    if kind in ("ear", "pressed") and main not in ("u_shell", "side_rails", "trough"):
        main = "side_rails"
    if kind == "dense":
        pad = "gel_pad"
    chosen = [main, pad, *extra, *(["brow_strap"] if kind == "strap" else [])]
    names = [name for name in dict.fromkeys(chosen) if name != "none"]
    if with_couch and not {"curved_couch", "flat_couch"} & set(names):
        names.append("curved_couch")
    is_dense = contact not in (None, False)
    supports = [sample_support(rng, name, kind, is_dense) for name in names]
    if happens(rng, 0.1) and kind == "gap":
        supports = []
    return {"contact": kind, "list": sorted(supports, key=lambda p: CATALOGUE[p["name"]].is_rigid)}


def sample_support(rng: Generator, name: str, contact: str, is_dense: bool = False) -> Parameters:
    """Sample one support; `contact` says how the head meets its supports."""
    is_rigid, is_pad = CATALOGUE[name].is_rigid, name in PAD_WEIGHTS
    p: Parameters = {"name": name} | sample(rng, RANGES["position"])
    p |= sample(rng, CATALOGUE[name].ranges)
    is_close = (is_pad or name in CLOSE_SUPPORTS) and happens(rng, CLOSE)
    free = p["close_mm" if is_close else "free_gap_mm"]
    p["gap_mm"] = free if contact == "gap" or happens(rng, 0.5) else NO_GAP_MM
    touches = name in TOUCHING_SUPPORTS.get(contact, ())
    if touches:
        p["gap_mm"] = -p["into_mm" if is_pad else "press_mm"]
    if touches and is_dense:
        least = DENSE_TOUCH_HU + 10 * p["into_mm"]
        p |= {key: max(p[key], least) for key in ("hu", "cover_hu", "strap_hu") if key in p}
        p |= {key: max(p.get(key, 0), least) for key, least in DENSE_MINIMUM.items()}
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
    kind = "gap" if contact in (False, "gap") else "touch"
    supports = [sample_support(rng, name, kind) for name in (*extra, couch)]
    endless = {"blanket_z": 1e3, "cloth_z": 1e3, "top": 1e3, "foot": -1e3}
    for p in supports:
        p |= {"drop_mm": 0.0, "slope": 0.0, **endless}
    if kind == "touch" and "mattress" not in extra:
        supports[-1]["gap_mm"] = NO_GAP_MM
    return {"contact": kind, "list": sorted(supports, key=lambda p: CATALOGUE[p["name"]].is_rigid)}
