"""CT numbers of tissues and materials, and sampling from tables of parameter ranges.

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


def tissue_ranges(*names: str) -> dict[str, tuple[float, float]]:
    """Rows of `TISSUE`."""
    return {name: TISSUE[name] for name in names}


def sample(rng: Generator, ranges: Mapping[str, Any]) -> Parameters:
    """Sample numbers and words from a table of ranges.

    A pair of numbers is a uniform range (integers stay integers), a list is a choice (of words or
    of ranges), a dict is a table again.

    Examples
    --------
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
