"""What a result is worth: a bound on the removed patient, from synthetic patients; and a warning
where a series may not show a head, as networks were trained on heads alone.

The volume that is removed from a patient is expected from the probabilities. The bound is that
volume times a factor that covers `LEVEL` of the calibration series: split conformal prediction
with normalized scores, V. Vovk et al., Algorithmic Learning in a Random World (2005); A. N.
Angelopoulos and S. Bates, arXiv:2107.07511, section 2.3; A. N. Angelopoulos et al., Conformal Risk
Control, arXiv:2208.02814. It holds for series like those of the calibration: real scans are not
exchangeable with synthetic ones.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from headrest.dicom.header import text
from headrest.dicom.series import Series
from headrest.hounsfield import DENSE_HU, FLOOR
from headrest.segment.components import find_components
from headrest.segment.morphology import open_mask
from headrest.segment.pretrained import WEIGHTS

CALIBRATION = "headrest.bound.json"
"""File beside the weights; `python -m headrest.evaluate.risk` writes it."""

LEVEL = 0.95
"""Share of series in which the bound holds."""

OFFSET_ML_PER_MM = 0.001
"""Added to the expected volume per mm of the scan, 0.15 ml for a head: without it, series in which
nothing is expected would have a bound of 0. Chosen before the calibration."""

CLOSE_MM = 15.0
"""Slices this near to each other are refined by their neighbours: they have a factor of their
own."""

TISSUE_HU = -200.0
"""Voxels of the patient above this are tissue, not air inside."""

RANGE_MARGIN = 0.1
"""Share by which the ranges of the calibration are widened, as few series have the extremes."""

OTHER_PARTS = (
    *("CHEST", "THORAX", "LUNG", "HEART", "BREAST", "ABDOMEN", "LIVER", "KIDNEY", "PELVIS"),
    *("SPINE", "SHOULDER", "ELBOW", "WRIST", "HAND", "FEMUR", "KNEE", "ANKLE", "FOOT", "EXTREMITY"),
)
"""Words in Body Part Examined (0018,0015) that exclude a head, DICOM PS3.16 Annex L."""

MAX_HEAD_MM, WIDE_SHARE = 280.0, 0.5
"""No head is larger across. Shoulders are: up to this share of the slices of a head shows them."""

LUNG_HU, LUNG_MM, LUNG_MM2, LUNG_SHARE = (-950.0, -600.0), 4.0, 5000.0, 1 / 3
"""HU, least thickness and area of lung in a slice: air in sinuses and in skull phantoms is darker
or smaller. Up to this share of the slices of a neck shows the tips of lungs."""

MAX_SLICES = 24
"""Slices to measure, evenly spaced."""


def conformal_factor(losses: ArrayLike, expected: ArrayLike, level: float = LEVEL) -> float:
    """Factor that makes an expected loss a bound for `level` of exchangeable cases.

    Parameters
    ----------
    losses, expected : array (n,) of the calibration cases; `expected` is above 0.
    level : float, 0 to 1.

    Returns
    -------
    float, the ceil((n + 1) * level)-th smallest ratio; infinite where n is too small.

    Examples
    --------
    >>> conformal_factor([1, 2, 3], [1, 1, 1], 0.5), conformal_factor([1, 2, 3], [1, 1, 1])
    (2.0, inf)
    """
    ratios = np.sort(np.divide(losses, expected))
    rank = int(np.ceil((len(ratios) + 1) * level))
    return float(ratios[rank - 1]) if rank <= len(ratios) else float("inf")


def expected_ml(
    probabilities: Iterable[np.ndarray], spacing_mm: Sequence[float]
) -> tuple[float, ...]:
    """Expected volume of a class among some voxels: the sum of its probabilities in them.

    Those of the patient in the removed voxels give the removed patient; those of the support in
    the voxels that remain, the residual support.

    Parameters
    ----------
    probabilities : for each slice a float array (n,), 0 to 1.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    tuple of float (slices,), in ml.
    """
    ml = float(np.prod(spacing_mm)) / 1000
    return tuple(round(float(p.sum(dtype=np.float64)) * ml, 4) for p in probabilities)


def measure_appearance(
    hu: np.ndarray, patient: np.ndarray, spacing_mm: Sequence[float]
) -> dict[str, float]:
    """Measure what decides whether a series is like those of the calibration.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU.
    patient : bool array of that shape.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    dict of spacing and field of view in mm; the width of the patient in mm, a median over slices;
    the share of slices in which the image cuts the patient; HU of tissue and of the air around, and
    the share of the patient with HU as of lungs, on every fourth row and column. 0 for no patient.
    """
    coarse, inside = hu[:, ::4, ::4], patient[:, ::4, ::4]
    ends = (patient[:, 0], patient[:, -1], patient[:, :, 0], patient[:, :, -1])
    widths = [np.ptp(np.flatnonzero(one.any(0))) if one.any() else 0 for one in inside]
    tissue, air = coarse[inside & (coarse > TISSUE_HU)], coarse[~inside & (coarse > FLOOR)]
    lung = inside & (coarse >= LUNG_HU[0]) & (coarse <= LUNG_HU[1])
    found = {
        "pixel_mm": max(spacing_mm[1:]),
        "slice_mm": spacing_mm[0],
        "field_mm": max(np.multiply(hu.shape[1:], spacing_mm[1:])),
        "width_mm": np.median(np.array(widths)) * 4 * spacing_mm[2],
        "cut_share": np.mean(np.any([end.any(axis=1) for end in ends], axis=0)),
        "tissue_hu": np.median(tissue) if len(tissue) else 0,
        "air_hu": np.median(air) if len(air) else 0,
        "lung_share": np.count_nonzero(lung) / max(int(np.count_nonzero(inside)), 1),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def read_calibration(weights: str, folder: Path = WEIGHTS) -> dict[str, Any] | None:
    """Read the calibration of a network by the hash of its weights; None if it has none."""
    try:
        calibration = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(calibration, dict) and calibration.get("weights") == weights
    return calibration if fits else None


def bound_ml(
    expected: Sequence[float], measured: Mapping[str, float], calibration: Mapping[str, Any] | None
) -> float | None:
    """Bound on the removed patient of a series.

    Parameters
    ----------
    expected : removed patient in ml, as `expected_ml` expects it in each slice.
    measured : of the series, as `measure_appearance` returns it.
    calibration : as `read_calibration` returns it.

    Returns
    -------
    float, in ml, or None: there is no calibration, or the series is beyond it.
    """
    if calibration is None:
        return None
    stratum = calibration["strata"].get(stratum_of(measured["slice_mm"]))
    if stratum is None or not is_within(measured, stratum["ranges"]):
        return None
    return round(stratum["factor"] * with_offset(expected, measured), 3)


def with_offset(expected: Sequence[float], measured: Mapping[str, float]) -> float:
    """Sum of the expected volumes, and `OFFSET_ML_PER_MM` of the length of the scan."""
    return sum(expected) + OFFSET_ML_PER_MM * len(expected) * measured["slice_mm"]


def stratum_of(slice_mm: float) -> str:
    """Part of the calibration that a series belongs to, by the distance of its slices."""
    return "close" if slice_mm <= CLOSE_MM else "apart"


def is_within(measured: Mapping[str, float], ranges: Mapping[str, Sequence[float]]) -> bool:
    """Whether a measured series lies within ranges (lowest, highest), widened by `RANGE_MARGIN`."""
    return all(
        low - RANGE_MARGIN * (high - low) <= measured[name] <= high + RANGE_MARGIN * (high - low)
        for name, (low, high) in ranges.items()
    )


def other_anatomy(series: Series, support: np.ndarray) -> list[str]:
    """Warn if a series may show another part of the body than a head.

    Parameters
    ----------
    series : Series
    support : bool array (slices, rows, columns), the support that was found.

    Returns
    -------
    list of str: one warning, or none. No warning is no proof: legs are no wider than heads.

    Notes
    -----
    A header that says HEAD is ignored, one that says CHEST is reported: Body Part Examined comes
    from the protocol, and was wrong in 15 % of the images of M. O. Gueld et al., Proc. SPIE 4685
    (2002) 280.
    """
    examined = "".join(text(one, "BodyPartExamined") for one in series.headers[:1]).upper()
    parts = [part for part in OTHER_PARTS if part in examined]  # report these words only
    reasons = [f"the header says {part}" for part in parts[:1]] + _from_pixels(series, support)
    if not reasons:
        return []
    return [f"another body part than a head? {'; '.join(reasons)}. Look at the result"]


def _from_pixels(series, support):
    chosen = np.unique(np.linspace(0, len(series) - 1, MAX_SLICES).astype(int))
    sizes = [_size_and_lung(series.hu[i], support[i], series.spacing_mm[1:]) for i in chosen]
    across, lungs = np.array([size for size in sizes if size] or [(0, 0)]).T
    wide, dark = (across > MAX_HEAD_MM).mean(), (lungs > LUNG_MM2).mean()
    reasons = []
    if wide > WIDE_SHARE:
        reasons.append(f"{across.max():.0f} mm across, and over {MAX_HEAD_MM:.0f} in most slices")
    if dark > LUNG_SHARE:
        reasons.append(f"air as of lungs in {dark:.0%} of the slices")
    return reasons


def _size_and_lung(hu, support, spacing_mm):
    """Size in mm of the largest component of the patient, and mm2 of lung in it; or None."""
    labels, count = find_components((hu > DENSE_HU) & ~support)
    if not count:
        return None
    patient = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    spans = [np.ptp(np.flatnonzero(patient.any(axis))) + 1 for axis in (1, 0)]
    lung = open_mask(patient & (hu >= LUNG_HU[0]) & (hu <= LUNG_HU[1]), LUNG_MM, spacing_mm)
    return max(np.multiply(spans, spacing_mm)), lung.sum() * np.prod(spacing_mm)
