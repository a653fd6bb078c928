"""CT numbers of tissues and materials, parameter ranges of the supports, and sampling from them.

Tissues: Bushberg et al., "The Essential Physics of Medical Imaging", 3rd ed. 2012, ch. 10, and
Hounsfield 1980, Med Phys 7:283; bone after Schneider et al. 1996, Phys Med Biol 41:111. Plastics:
ranges around the nominal values of the Catphan manual (PMMA 120, polyethylene -100, polystyrene
-35, Teflon 990) and of Saw et al. 2005, Med Dosim 30:145. Foams, covers, cloth, carbon and metal:
ranges chosen wider than those seen in scans.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator

Parameters: TypeAlias = dict[str, Any]

LIVING = ("adult", "old", "child")
"""Kinds of patients that consist of `TISSUE`, not of plastic or water."""

TISSUE = {
    "skin": (20, 70),
    "fat": (-115, -75),
    "muscle": (45, 65),
    "grey": (33, 39),
    "white": (25, 31),
    "fluid": (2, 12),
    "blood": (40, 55),
    "clot": (60, 90),
    "falx": (50, 75),
    "gland": (-30, 40),
    "eye": (3, 15),
    "lens": (60, 100),
    "eye_wall": (35, 60),
    "cartilage": (60, 140),
    "cortical": (1100, 1800),
    "diploe": (650, 1350),
    "marrow": (0, 300),
    "petrous": (1300, 2000),
    "thin_bone": (250, 700),
    "dentine": (1300, 1900),
    "enamel": (2200, 2900),
    "calcification": (120, 700),
    "lung": (-900, -750),
    "liver": (50, 70),
    "trabecular": (120, 280),
    "mucus": (5, 45),
}
MATERIAL = {
    "carbon": (-350, 350),
    "plastic": [(-700.0, -250.0), (-250.0, 120.0), (120.0, 400.0), (120.0, 400.0), (400.0, 800.0)],
    "foam": (-980, -850),
    "gel": (-20, 90),
    "cloth": [(-850.0, -250.0), (-850.0, -400.0), (-250.0, 40.0)],
    "strap": (-700, 50),
    "thermoplastic": (-250, 150),
    "metal": (3000, 9000),
    "cable": (-400, 600),
    "copper": (1500, 6000),
    "amalgam": (6000, 16000),
    "titanium": (3000, 7000),
    "resin": (60, 250),
    "plastic_skull": (250, 900),
    "silicone": (100, 350),
    "hair": (-985, -890),
    "dense_hair": (-850, -350),
    "pressed_hair": (-965, -700),
}

# Parameter ranges of the supports, in mm and HU.

POSITION = {
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
SHELL = {
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
COUCH = {
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
RAIL = {
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
BAR = SHELL | {
    "bar_mm": (5.0, 16.0),
    "has_foam": ["yes", "no"],
    "foam_hu": MATERIAL["foam"],
    "core_mm": (5.0, 20.0),
    "slant": (-0.1, 0.9),
}
CLAMP = BAR | {"pin_z": (0.0, 50.0), "pin_hu": MATERIAL["titanium"]}
PROFILE = BAR | {"profile": ["slant", "tube"], "metal_hu": (500.0, 3000.0)}
FOAM = {
    "foam_hu": [(-985.0, -930.0), (-980.0, -900.0), (-960.0, -780.0), (-850.0, -600.0)],
    "grain_mm": (1.0, 4.0),
    "grain_hu": [(0.0, 0.0), (0.0, 15.0), (15.0, 60.0)],
    "cover_mm": [(0.0, 0.0), (0.4, 1.0), (0.6, 1.4), (0.8, 2.2)],
    "cover_hu": [(-880.0, -650.0), (-800.0, -500.0), (-700.0, -350.0), (-600.0, -100.0)],
    "loose_mm": [(0.0, 0.0), (0.0, 0.0), (1.0, 4.0)],
    "seed": (0, 10**6),
}
"""Open-cell, dense and bead foam, with texture; bare or in a cover, single or double."""

PAD = FOAM | {
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
BEAD = PAD | {"foam_hu": (-970.0, -800.0), "grain_hu": (15.0, 70.0)}
TEETH = PAD | {
    "pitch_mm": (14.0, 34.0),
    "tooth_mm": (8.0, 20.0),
    "thick_mm": (20.0, 45.0),
    "cover_mm": [(0.0, 0.0), (0.0, 0.0), (0.4, 1.0)],
}
CUP = TEETH | {
    "cover_mm": FOAM["cover_mm"],
    "thick_mm": (10.0, 40.0),
    "teeth_mm": [(0.0, 0.0), (0.0, 0.0), (4.0, 16.0)],
    "power": (2.0, 6.0),
    "front_y": (-75.0, 40.0),
}
MAT = PAD | {
    "mat_mm": (110.0, 230.0),
    "thick_mm": (12.0, 55.0),
    "bow": (0.0, 0.0016),
}
LINED = SHELL | FOAM | {"hu": (0.0, 800.0), "core_mm": (4.0, 16.0)}
PLATE = SHELL | {
    "plate_z": (-75.0, -35.0),
    "tall_mm": (15.0, 70.0),
    "wall_mm": (2.0, 7.0),
    "peg_mm": (3.0, 7.0),
    "top": (0.0, 0.0),
    "foot": (-400.0, -200.0),
}
ARC = FOAM | {
    "foam_hu": [(-950.0, -850.0), (-850.0, -550.0), (-750.0, 300.0)],
    "cover_hu": [(-850.0, -500.0), (-500.0, 600.0)],
    "inside_mm": (1.0, 22.0),
    "radius_mm": (120.0, 500.0),
    "thick_mm": (4.0, 30.0),
    "roll_deg": [(-30.0, 30.0), (-100.0, 100.0)],
    "slope": (0.0, 0.0),
}
CLOTH = PAD | {
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
CHIN = CLOTH | {"strap_z": (-125.0, -95.0)}
COTTON = CLOTH | {
    "cotton_hu": (-850.0, -400.0),
    "cloth_mm": (0.6, 2.6),
    "layer_gap_mm": (0.3, 2.5),
    "layers": (2, 7),
    "beside": [(0.0, 0.0), (-1.0, -1.0), (1.0, 1.0)],
    "cloth_z": [(40.0, 150.0), (-90.0, -30.0)],
}
CLOTHES = CLOTH | {
    "cloth_hu": (-800.0, -300.0),
    "cloth_mm": (0.4, 1.4),
    "wrinkle_mm": (0.5, 3.0),
    "loft_mm": (4.0, 14.0),
    "behind_y": [(20.0, 60.0), (200.0, 200.0)],
}
MASK = CLOTH | {
    "mesh_mm": (6.0, 14.0),
    "mask_hu": MATERIAL["thermoplastic"],
    "mask_mm": (0.9, 2.6),
    "hole": [(0.34, 0.44), (0.34, 0.44), (0.0, 0.25)],
    "close_mm": (0.4, 2.5),
    "mask_top": [(50.0, 80.0), (200.0, 200.0)],
    "wings": ["none", "both", "left", "right"],
}
SMALL_PARTS = PAD | {
    "count": (1, 4),
    "cable_hu": MATERIAL["cable"],
    "copper_hu": MATERIAL["copper"],
    "knob_hu": MATERIAL["plastic"],
    "bolt_hu": (500.0, 6000.0),
    "hose_hu": MATERIAL["silicone"],
    "cover_mm": (0.4, 2.2),
}


def tissue_ranges(*names: str) -> dict[str, tuple[float, float]]:
    """Rows of `TISSUE`."""
    return {name: TISSUE[name] for name in names}


def sample(rng: Generator, ranges: Mapping[str, Any]) -> Parameters:
    """Sample numbers and words from a table of ranges.

    A pair of numbers is a uniform range (integers stay integers), a list is a choice (of words or
    of ranges), a dict is a table again.

    >>> import numpy as np
    >>> sample(np.random.default_rng(0), {"thickness_mm": (2.0, 2.0), "side": ["left"]})
    {'thickness_mm': 2.0, 'side': 'left'}
    """
    return {name: _sample_one(rng, value) for name, value in ranges.items()}


def _sample_one(rng, value):
    if isinstance(value, dict):
        return sample(rng, value)
    if isinstance(value, list):
        chosen = value[int(rng.integers(len(value)))]
        return _sample_one(rng, chosen) if isinstance(chosen, tuple) else chosen
    low, high = value
    if isinstance(low, int) and isinstance(high, int):
        return int(rng.integers(low, high + 1))
    return round(float(rng.uniform(low, high)), 4)


def happens(rng: Generator, probability: float) -> bool:
    """True with the given probability; always takes one random number."""
    return bool(rng.random() < probability)


def choose(rng: Generator, weights: Mapping[str, float]) -> str:
    """Choose a name by its weight."""
    names, share = list(weights), np.array(list(weights.values()))
    return names[int(rng.choice(len(names), p=share / share.sum()))]
