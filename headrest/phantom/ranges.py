"""Sampling of parameters from `ranges.json`: CT numbers, and the ranges of all parts of a study.

Ranges are in mm, HU or degrees; words in the place of a range name a row of "ct_numbers". Tissues:
Bushberg et al., "The Essential Physics of Medical Imaging", 3rd ed. 2012, ch. 10, and Hounsfield
1980, Med Phys 7:283; bone after Schneider et al. 1996, Phys Med Biol 41:111. Plastics: ranges
around the nominal values of the Catphan manual (PMMA 120, polyethylene -100, polystyrene -35,
Teflon 990) and of Saw et al. 2005, Med Dosim 30:145. Foams, covers, cloth, carbon and metal: ranges
chosen wider than those seen in scans.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator

Parameters: TypeAlias = dict[str, Any]
LIVING = ("adult", "old", "child")  # kinds of patients that are of tissue, not plastic or water


def _read_tables():
    tables = json.loads(Path(__file__).with_name("ranges.json").read_text(encoding="utf-8"))
    for name, table in tables.items():
        for other in reversed(table.pop("like", [])):
            table = tables[other] | table
        tables[name] = table
    return tables


# Tables of `ranges.json`, beginning with all rows of the tables above that they are "like".
RANGES: dict[str, Parameters] = _read_tables()


def sample(rng: Generator, ranges: Mapping[str, Any]) -> Parameters:
    """Sample numbers and words from a table of ranges.

    A pair of numbers is a uniform range (integers stay integers), another list is a choice (of
    words or of ranges), a dict is a table again, and a word the range of that CT number.

    >>> import numpy as np
    >>> sample(np.random.default_rng(0), {"thickness_mm": [2.0, 2.0], "side": ["left"]})
    {'thickness_mm': 2.0, 'side': 'left'}
    """
    return {name: _sample_one(rng, value) for name, value in ranges.items()}


def _sample_one(rng, value):
    if isinstance(value, str):
        value = RANGES["ct_numbers"][value]
    if isinstance(value, dict):
        return sample(rng, value)
    if isinstance(value[0], (str, list)):
        chosen = value[int(rng.integers(len(value)))]
        return chosen if isinstance(chosen, str) else _sample_one(rng, chosen)
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
