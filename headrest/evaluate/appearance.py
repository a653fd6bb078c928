"""Noise, sharpness and HU of a scan, to compare synthetic with real ones; no truth is needed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from headrest.hounsfield import PATIENT, SUPPORT
from headrest.segment.components import classify, find_components, measure
from headrest.segment.kmeans import kmeans_threshold

MARGIN_MM = 12.0
"""Air is measured this far from everything else."""

MIN_PIXELS = 200
"""Statistics of fewer pixels are noise."""


def appearance(hu: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Measure noise, sharpness and HU of a series.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU, -1024 outside the field of view.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    dict of str to float, medians over the slices that have the measure, NaN where none has. Noise
    is the standard deviation of the difference to a 5 x 5 mean.
    """
    slices = [_measure_slice(np.asarray(one, np.float32), spacing_mm[1:]) for one in hu]
    values = {name: np.array([one[name] for one in slices]) for name in slices[0]}
    values = {name: v[np.isfinite(v)] for name, v in values.items()}
    return {name: float(np.median(v)) if len(v) else float("nan") for name, v in values.items()}


def compare_appearance(
    synthetic: Sequence[dict[str, float]], real: Mapping[str, dict[str, float]]
) -> dict[str, list]:
    """Columns of `headrest.util.table`: 5, 50 and 95 % of synthetic studies, and real ones.

    Parameters
    ----------
    synthetic : sequence of measures by `appearance`, one per study.
    real : dict of name to such measures.
    """
    columns: dict[str, list] = {"measure": list(synthetic[0])}
    for q in (5, 50, 95):
        columns[f"{q} %"] = [np.nanpercentile([s[m] for s in synthetic], q) for m in synthetic[0]]
    return columns | {name: list(measures.values()) for name, measures in real.items()}


def _measure_slice(hu, spacing_mm):
    threshold = kmeans_threshold(hu)
    components = measure(*find_components(hu > threshold), hu, threshold, spacing_mm)
    kinds = np.r_[-1, classify(components)][components.labels]
    patient, support = ((kinds == kind) & (hu > threshold) for kind in (PATIENT, SUPPORT))
    fine = hu - ndimage.uniform_filter(hu, 5)
    air, brain = _air(hu, spacing_mm), _brain(hu, patient, spacing_mm)
    measures: dict[str, tuple[np.ndarray, Callable[..., float]]] = {
        "air (HU)": (hu[air], np.mean),
        "air noise (HU)": (fine[air], np.std),
        "brain (HU)": (hu[brain], np.mean),
        "brain noise (HU)": (fine[brain], np.std),
        "support, median (HU)": (hu[support], np.median),
        "support, 95 % (HU)": (hu[support], lambda v: np.percentile(v, 95)),
        "head, 95 % (HU)": (hu[patient], lambda v: np.percentile(v, 95)),
    }
    found = {n: f(v) if len(v) > MIN_PIXELS else np.nan for n, (v, f) in measures.items()}
    edge = _skin_edge_mm(hu, patient, spacing_mm)
    return {"K-Means threshold (HU)": threshold, **found, "edge of the skin (mm)": edge}


def _air(hu, spacing_mm):
    """Air far from all else, foam and the edge of the field of view included."""
    other = (ndimage.uniform_filter(hu, 5) > -950) | (hu <= -1024)
    width = 2 * round(MARGIN_MM / min(spacing_mm)) + 1
    return ~ndimage.maximum_filter(other.view(np.uint8), width).view(bool)


def _brain(hu, patient, spacing_mm):
    """Soft, even tissue inside the head."""
    local = ndimage.uniform_filter(hu, 9)
    even = (local > 10) & (local < 60) & (ndimage.maximum_filter(hu, 5) < 150) & patient
    return ndimage.binary_erosion(even, iterations=max(1, round(MARGIN_MM / 4 / min(spacing_mm))))


def _skin_edge_mm(hu, patient, spacing_mm):
    """Rise from air to tissue over its steepest slope, at the level front of the head."""
    rows = np.flatnonzero(patient.any(axis=1))
    columns = np.flatnonzero(patient.sum(axis=0) * spacing_mm[0] > 60)
    if len(columns) < 20 or rows[0] < 12:
        return np.nan
    columns = columns[len(columns) // 3 : -len(columns) // 3]
    top = patient[:, columns].argmax(axis=0)
    around = np.clip(top + np.arange(-8, 9)[:, None], 0, len(hu) - 1)
    profile = hu[around, columns]
    rise = np.minimum(profile.max(axis=0), 60) - profile.min(axis=0)
    return np.median(rise / np.diff(profile, axis=0).max(axis=0)) * spacing_mm[0]
