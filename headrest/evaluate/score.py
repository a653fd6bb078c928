"""Score a cleaned series against a reference: residual support and removed patient."""

from pathlib import Path

import numpy as np

from headrest.dicom import read_series
from headrest.evaluate.metrics import count_slices, dice_from_counts
from headrest.hounsfield import AIR, DENSE_HU, IGNORE_LABEL, PATIENT, SUPPORT
from headrest.util import HeadrestError
from headrest.util.files import read_arrays

LABEL_OUTSIDE, LABEL_PATIENT, LABEL_UNKNOWN = 0, 1, 2
"""Labels of a reference, see data/reference."""

MIN_SUPPORT_PIXELS = 30
"""The Dice of a slice with fewer pixels of support is noise; the scoring script of the references
has the same limit."""

FAINT_HU = -800.0
"""Above this and outside the patient: support, foam, covers and linen; air with noise is below."""


def reference_labels(
    hu: np.ndarray, label: np.ndarray, tight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a real scan by its reference.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU.
    label, tight : uint8 arrays of that shape, the arrays of a reference, see data/reference.

    Returns
    -------
    labels : uint8 array of that shape, see `headrest.hounsfield`. Outside the patient, all above
        `FAINT_HU` is support; the rest, foam or air, is ignored.
    patient : bool array of that shape, above `DENSE_HU`; the skin included, which `labels` ignores.
    """
    labels = np.full(hu.shape, IGNORE_LABEL, np.uint8)
    labels[label == LABEL_PATIENT] = PATIENT
    labels[(label == LABEL_OUTSIDE) & (hu > FAINT_HU)] = SUPPORT
    return labels, (tight == LABEL_PATIENT) & (hu > DENSE_HU)


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
        data/reference.

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
    label, tight = read_arrays(reference, ("label", "label_tight")).values()
    if not before.hu.shape == label.shape == tight.shape:
        raise HeadrestError(f"{original}: {before.hu.shape}, but {reference} has {label.shape}")
    positions, found = _positions(before), _positions(after)
    missing = len(set(positions) - set(found))
    if missing:
        raise HeadrestError(f"{cleaned}: {missing} of {len(positions)} slices are missing")
    if after.hu.shape[1:] != before.hu.shape[1:]:
        raise HeadrestError(f"{cleaned}: slices of {after.hu.shape[1:]}, not {label.shape[1:]}")
    counts = _counts(before.hu, after.hu[np.searchsorted(found, positions)], label, tight)
    distance = float(np.median(np.diff(positions))) if len(positions) > 1 else 1.0
    return _scores(counts, (distance, *before.spacing_mm[1:]))


def _positions(series):
    """Positions along the normal in mm, ascending; to 0.01, as some tools write fewer digits."""
    normal = np.cross(series.orientation[:3], series.orientation[3:])
    return np.round(series.positions @ normal, 2)


def _counts(before, after, label, tight):
    """Pixels per slice: dict of int arrays (slices,)."""
    labels, patient = reference_labels(before, label, tight)
    known, support = labels != IGNORE_LABEL, labels == SUPPORT
    removed, dense = abs(before - after) > 0.5, before > DENSE_HU
    masks = {
        "patient": patient,
        "lost": patient & removed,
        "changed": removed & (after > AIR + 100),
        "faint_left": support & ~(removed & (after <= FAINT_HU)),
        "faint_lost": (labels == PATIENT) & (before > FAINT_HU) & removed,
    }
    counts = {name: mask.sum((1, 2)) for name, mask in masks.items()}
    for suffix, range_ in {"": dense, "_all": before > FAINT_HU}.items():
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
