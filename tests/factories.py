"""Factories of results: counts of a method, and measures of a series."""

import numpy as np

from headrest.evaluate.compare import MethodCounts

APPEARANCE = {
    "pixel_mm": 0.5,
    "slice_mm": 5.0,
    "field_mm": 250.0,
    "width_mm": 150.0,
    "cut_share": 0.0,
    "tissue_hu": 40.0,
    "air_hu": -1000.0,
    "lung_share": 0.0,
}


def measured_series(rng, slices=6):
    """A measured series whose loss is its expected volume times chance."""
    expected = rng.gamma(0.3, 0.2, slices)
    appearance = {name: value * rng.uniform(0.8, 1.2) for name, value in APPEARANCE.items()}
    lost = expected * rng.lognormal(0, 1, slices) * (rng.random(slices) < 0.5)
    return {"lost_ml": lost, "expected_ml": tuple(expected), "appearance": appearance}


def method_counts(names, **columns):
    """A MethodCounts of slices, 0 for all counts that are not given."""
    n = len(names)
    blank = {field: np.zeros(n, int) for field in MethodCounts.__dataclass_fields__}
    names = {"names": np.array(list(names)), "kinds": np.full(n, ""), "groups": np.full(n, "free")}
    pixels = {"pixels": np.full(n, 100), "voxel_ml": np.ones(n)}
    return MethodCounts(**blank | names | pixels | {k: np.array(v) for k, v in columns.items()})
