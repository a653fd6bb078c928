"""What a scan looks like in a few figures, to hold a synthetic one beside a real one.

Nothing here knows a truth: the same steps measure both, from HU alone.
"""

import numpy as np
from scipy import ndimage

from headrest.segment.components import DEVICE, PATIENT, find_components, judge, measure
from headrest.segment.kmeans import kmeans_threshold

AWAY_MM = 12.0
"""Air is measured this far from everything else, brain as deep in the head."""


def appearance(hu, spacing_mm):
    """Measure noise, sharpness and HU of a series.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU, -1024 outside the field of view.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    dict of str to float, each the median over the slices that show it, NaN where none does:
    K-Means threshold, HU and noise of air and of brain, HU of the support (median and 95th
    percentile), HU of bone (95th percentile of the head), edge of the skin in mm. Noise is
    the standard deviation of what a 5 x 5 mean leaves.
    """
    each = [_one_slice(np.asarray(one, np.float32), spacing_mm[1:]) for one in hu]
    return {name: _median([figures[name] for figures in each]) for name in each[0]}


def _median(values):
    values = [v for v in values if np.isfinite(v)]
    return float(np.median(values)) if values else float("nan")


def _one_slice(hu, spacing_mm):
    threshold = kmeans_threshold(hu)
    components = measure(*find_components(hu > threshold), hu, threshold, spacing_mm)
    verdict = judge(components)
    patient, device = (
        np.r_[False, verdict == kind][components.labels] & (hu > threshold)
        for kind in (PATIENT, DEVICE)
    )
    fine = hu - ndimage.uniform_filter(hu, 5)
    air, brain = _air(hu, spacing_mm), _brain(hu, patient, spacing_mm)
    return {
        "K-Means threshold (HU)": threshold,
        "air (HU)": _of(np.mean, hu[air]),
        "air noise (HU)": _of(np.std, fine[air]),
        "brain (HU)": _of(np.mean, hu[brain]),
        "brain noise (HU)": _of(np.std, fine[brain]),
        "support, median (HU)": _of(np.median, hu[device]),
        "support, 95 % (HU)": _of(np.percentile, hu[device], 95),
        "head, 95 % (HU)": _of(np.percentile, hu[patient], 95),
        "edge of the skin (mm)": _edge_mm(hu, patient, spacing_mm),
    }


def _of(statistic, values, *arguments):
    return float(statistic(values, *arguments)) if len(values) > 200 else float("nan")


def _air(hu, spacing_mm):
    """Air far from anything, foam and the rim of the field of view included."""
    other = (ndimage.uniform_filter(hu, 5) > -950) | (hu <= -1024)
    reach = 2 * round(AWAY_MM / min(spacing_mm)) + 1
    return ~ndimage.maximum_filter(other.view(np.uint8), reach).view(bool)


def _brain(hu, patient, spacing_mm):
    """The inside of the head where it is soft and even."""
    local = ndimage.uniform_filter(hu, 9)
    even = (local > 10) & (local < 60) & (ndimage.maximum_filter(hu, 5) < 150) & patient
    return ndimage.binary_erosion(even, iterations=max(1, round(AWAY_MM / 4 / min(spacing_mm))))


def _edge_mm(hu, patient, spacing_mm):
    """How far the skin takes from air to tissue at its steepest, looking down on the head."""
    rows = np.flatnonzero(patient.any(axis=1))
    columns = np.flatnonzero(patient.sum(axis=0) * spacing_mm[0] > 60)
    if len(columns) < 20 or rows[0] < 12:
        return float("nan")
    columns = columns[len(columns) // 3 : -len(columns) // 3]  # where the skin lies level
    top = patient[:, columns].argmax(axis=0)
    around = np.clip(top + np.arange(-8, 9)[:, None], 0, len(hu) - 1)
    profile = hu[around, columns]
    rise = np.minimum(profile.max(axis=0), 60) - profile.min(axis=0)
    return float(np.median(rise / np.diff(profile, axis=0).max(axis=0)) * spacing_mm[0])
