"""Score a cleaned series against a reference; measure noise, sharpness and HU without one."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from headrest.dicom import Series, read_series
from headrest.dicom.geometry import slice_normal
from headrest.dicom.series import check_shape
from headrest.evaluate.metrics import count_slices, dice_from_counts
from headrest.hounsfield import AIR, DENSE_HU, IGNORE_LABEL, PATIENT, SUPPORT, VISIBLE_HU
from headrest.phantom import TRUTH_FILE, read_truth
from headrest.segment.components import classify, find_components, measure
from headrest.segment.kmeans import kmeans_threshold
from headrest.util import HeadrestError
from headrest.util.files import read_arrays

REFERENCE_ARRAYS = ("label", "label_tight")
LABEL_OUTSIDE, LABEL_PATIENT, LABEL_UNKNOWN = 0, 1, 2
"""Arrays of a reference and their values, see data/reference; 2 is unknown."""

MIN_SUPPORT_PIXELS = 30
"""The Dice of a slice with fewer pixels of support is noise; the scoring script of the references
has the same limit."""

SAME_SLICE_MM = 0.05
"""Slices of two folders within this distance are the same; some tools write fewer digits."""

MARGIN_MM = 12.0
"""Air is measured this far from everything else."""

MIN_PIXELS = 200
"""Statistics of fewer pixels are noise."""


def read_reference(path: str | Path) -> dict[str, np.ndarray]:
    """Read the `REFERENCE_ARRAYS` of a file of data/reference, and "hu_sha256" where it has it."""
    return read_arrays(path, REFERENCE_ARRAYS, optional=["hu_sha256"])


def reference_labels(
    series: Series, reference: Mapping[str, np.ndarray], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a real scan, by the `REFERENCE_ARRAYS` of its reference; HeadrestError for those of
    another shape, or of other HU than its `hu_sha256`, whose text begins with `where`.

    Outside the patient, all above `VISIBLE_HU` is support; the rest, foam or air, is ignored. The
    second array is the patient above `DENSE_HU`, bool: skin included, which the labels ignore.
    """
    label, tight = (reference[name] for name in REFERENCE_ARRAYS)
    for array in (label, tight):
        check_shape(array, series, where)
        if array.max() > LABEL_UNKNOWN:
            raise HeadrestError(f"{where}label {array.max()}: expected 0, 1 or 2")
    hu_sha256 = hashlib.sha256(series.hu.astype(np.int16).tobytes()).hexdigest()
    if reference.get("hu_sha256", hu_sha256) != hu_sha256:
        raise HeadrestError(f"{where}labels of other HU: it is the reference of another scan")
    labels = np.full(label.shape, IGNORE_LABEL, np.uint8)
    labels[label == LABEL_PATIENT] = PATIENT
    labels[(label == LABEL_OUTSIDE) & (series.hu > VISIBLE_HU)] = SUPPORT
    return labels, (tight == LABEL_PATIENT) & (series.hu > DENSE_HU)


def score(
    original: str | Path, cleaned: str | Path, reference: str | Path
) -> dict[str, int | float | None]:
    """Compare two DICOM series by their pixels: all that differs has been removed.

    Parameters
    ----------
    original, cleaned : path, folders of one CT series each.
    reference : path
        An .npz file of `label` and `label_tight`, uint8 (slices, rows, columns), slices
        ascending along their normal: 0 outside the patient, 1 patient, 2 unknown. See
        data/reference. Or the truth.npz of a synthetic patient.

    Returns
    -------
    dict of
        slices : int
        dice_all : float, of all support (outside the patient and above -800 HU: foam, covers and
            linen included) and the removed pixels; worst_slice_all : the lowest of any slice.
        dice, worst_slice, worst_slice_index : the same of the dense support, above -500 HU.
        residual_ml : float, residual dense support; volumes take the median slice distance.
        lost_ml, lost_pct : float, removed patient (above -500 HU).
        lost_worst_mm2, lost_worst_index : the largest removed patient area of any slice.
        changed_outside_mask : int, pixels that changed to anything but air.
        faint_ml : float, all support; faint_left_ml, faint_left_pct : its residual;
            faint_lost_ml : removed patient above -800 HU.

    Raises
    ------
    HeadrestError
        Where the folders and the reference do not belong together, or `headrest.read_series`
        refuses a folder: several series, HU that cannot be trusted.
    """
    before, after = read_series(original), read_series(cleaned)
    labels, patient = _read_labels(before, Path(reference), f"{original}: {reference} has ")
    normal = slice_normal(before.orientation)
    depths, found = before.positions @ normal, after.positions @ normal
    chosen = abs(found - depths[:, None]).argmin(1)
    if missing := np.count_nonzero(abs(found[chosen] - depths) > SAME_SLICE_MM):
        raise HeadrestError(f"{cleaned}: {missing} of {len(depths)} slices are missing")
    if after.hu.shape[1:] != before.hu.shape[1:]:
        raise HeadrestError(f"{cleaned}: slices of {after.hu.shape[1:]}, not {labels.shape[1:]}")
    apart_mm = abs(after.positions[chosen] - before.positions).max()
    if apart_mm > min(before.spacing_mm[1:]) / 2:
        raise HeadrestError(f"{cleaned}: slices that lie {apart_mm:.1f} mm beside the original")
    distance = np.median(np.diff(np.round(depths, 2))) if len(depths) > 1 else before.spacing_mm[0]
    counts = _counts(before.hu, after.hu[chosen], labels, patient)
    return _scores(counts, (float(distance), *before.spacing_mm[1:]))


def _read_labels(series, path, where):
    """Labels and patient as of `reference_labels`, of a real scan or a synthetic patient."""
    if path.name != TRUTH_FILE:
        return reference_labels(series, read_reference(path), where)
    labels = read_truth(path.parent)["labels"]
    check_shape(labels, series, where)
    labels[(labels == SUPPORT) & (series.hu <= VISIBLE_HU)] = IGNORE_LABEL
    return labels, (labels == PATIENT) & (series.hu > DENSE_HU)


def _counts(before, after, labels, patient):
    """Pixels per slice: dict of int arrays (slices,)."""
    known, support = labels != IGNORE_LABEL, labels == SUPPORT
    removed, dense = abs(before - after) > 0.5, before > DENSE_HU
    masks = {
        "patient": patient,
        "lost": patient & removed,
        "changed": removed & (after > AIR + 100),
        "faint_left": support & ~(removed & (after <= VISIBLE_HU)),
        "faint_lost": (labels == PATIENT) & (before > VISIBLE_HU) & removed,
    }
    counts = {name: mask.sum((1, 2)) for name, mask in masks.items()}
    for suffix, range_ in {"": dense, "_all": before > VISIBLE_HU}.items():
        overlap = count_slices(support & range_, removed & range_, known)
        counts |= dict(zip((f"{name}{suffix}" for name in ("support", "found", "shared")), overlap))
    return counts


def _scores(counts, spacing_mm):
    mm2, total = spacing_mm[1] * spacing_mm[2], {name: int(n.sum()) for name, n in counts.items()}
    ml = {name: n * mm2 * spacing_mm[0] / 1000 for name, n in total.items()}
    all_dice, all_dices = _dices(counts, "_all")
    dense_dice, dices = _dices(counts, "")
    worst, lost = int(dices.argmin()), int(counts["lost"].argmax())
    return {
        "slices": len(dices),
        "dice_all": all_dice,
        "worst_slice_all": round(float(all_dices.min()), 4),
        "dice": dense_dice,
        "worst_slice": round(float(dices[worst]), 4),
        "worst_slice_index": worst if dices[worst] < 1 else None,
        "residual_ml": round(ml["support"] - ml["shared"], 3),
        "lost_ml": round(ml["lost"], 3),
        "lost_pct": round(100 * ml["lost"] / max(ml["patient"], 1e-9), 4),
        "lost_worst_mm2": round(float(counts["lost"][lost]) * mm2, 1),
        "lost_worst_index": lost if counts["lost"][lost] else None,
        "changed_outside_mask": total["changed"],
        "faint_ml": round(ml["support_all"], 2),
        "faint_left_ml": round(ml["faint_left"], 2),
        "faint_left_pct": round(100 * ml["faint_left"] / max(ml["support_all"], 1e-9), 2),
        "faint_lost_ml": round(ml["faint_lost"], 3),
    }


def _dices(counts, suffix):
    """Dice of all slices together, and of each; 1 for those with hardly any support."""
    parts = [counts[name + suffix] for name in ("support", "found", "shared")]
    dices = dice_from_counts(*parts)
    dices[parts[0] < MIN_SUPPORT_PIXELS] = 1.0
    return round(float(dice_from_counts(*(one.sum() for one in parts))), 4), dices


def appearance(hu: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Measure noise, sharpness and HU of a series.

    Parameters
    ----------
    hu : array (slices, rows, columns), in HU, -1024 outside the field of view.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    dict of float, by measure with its unit: medians over the slices that have it, NaN where none
    has. Noise is the standard deviation of the difference to a 5 x 5 mean.
    """
    slices = [_measure_slice(np.asarray(one, np.float32), spacing_mm[1:]) for one in hu]
    values = {name: np.array([one[name] for one in slices]) for name in slices[0]}
    values = {name: v[np.isfinite(v)] for name, v in values.items()}
    return {name: float(np.median(v)) if len(v) else float("nan") for name, v in values.items()}


def compare_appearance(
    synthetic: Sequence[dict[str, float]], real: Mapping[str, dict[str, float]]
) -> dict[str, list]:
    """Columns of `headrest.util.table`: 5, 50 and 95 % of the measures of synthetic studies, and
    those of real ones, by name; all as `appearance` returns them."""
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
    local = ndimage.uniform_filter(hu, 5)  # single voxels of noisy air reach -1024
    other = (local > -950) | (local < -1020)
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
