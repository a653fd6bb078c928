"""Score a cleaned series against a reference: what was left standing, what the patient lost."""

from pathlib import Path

import numpy as np

from headrest.dicom import read_series
from headrest.hounsfield import AIR, SUPPORT_HU
from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError

JUDGED_PIXELS = 30
"""Slices with fewer pixels of device than this have no Dice worth the name."""

OUTSIDE, PATIENT, UNKNOWN = 0, 1, 2
"""Labels of a reference: outside the patient, patient, and what cannot be told."""


def score(
    original: str | Path, cleaned: str | Path, reference: str | Path
) -> dict[str, int | float | None]:
    """Compare two DICOM series by their pixels: whatever differs has been removed.

    Parameters
    ----------
    original, cleaned : path, folders of one CT series each.
    reference : path
        An .npz file of `label` and `label_tight`, uint8 (slices, rows, columns), slices
        ascending along their normal: 0 outside the patient, 1 patient, 2 not judged. See
        data/reference.

    Returns
    -------
    dict of
        slices : int
        dice : float, of the device (outside the patient and above -500 HU) and what was removed
            of it; worst_slice and worst_slice_index : the lowest of any slice.
        residual_ml : float, device that was left standing; here and below as if all slices lay
            the median distance apart.
        lost_ml, lost_pct : float, patient (above -500 HU) that was removed.
        lost_worst_mm2, lost_worst_index : the largest area that any slice lost.
        changed_outside_mask : int, pixels that changed to anything but air.

    Raises
    ------
    HeadrestError
        Where the folders and the reference do not belong together, or a folder holds what
        `headrest.read_series` refuses: several series, HU that cannot be trusted.
    """
    before, after = read_series(original), read_series(cleaned)
    label, tight = read_arrays(reference, ("label", "label_tight")).values()
    if not before.hu.shape == label.shape == tight.shape:
        raise HeadrestError(f"{original}: {before.hu.shape}, but {reference} has {label.shape}")
    places, found = _places(before), _places(after)
    missing = len(set(places) - set(found))
    if missing:
        raise HeadrestError(f"{cleaned}: {missing} of {len(places)} slices are missing")
    if after.hu.shape[1:] != before.hu.shape[1:]:
        raise HeadrestError(f"{cleaned}: slices of {after.hu.shape[1:]}, not {label.shape[1:]}")
    chosen = np.searchsorted(found, places)
    solid, removed = before.hu > SUPPORT_HU, abs(before.hu - after.hu[chosen]) > 0.5
    counts = _counts(solid, removed, label, tight)
    changed = int((removed & (after.hu[chosen] > AIR + 100)).sum())
    thick = float(np.median(np.diff(places))) if len(places) > 1 else 1.0
    return _scores(counts, (thick, *before.spacing_mm[1:])) | {"changed_outside_mask": changed}


def _places(series):
    """Place of each slice along the normal, in mm, ascending; to 0.01, so that a tool that writes
    fewer digits is not turned away."""
    normal = np.cross(series.orientation[:3], series.orientation[3:])
    return np.round(series.positions @ normal, 2)


def _counts(solid, removed, label, tight):
    """Pixels of each slice: int arrays (slices,)."""
    device, patient = (label == OUTSIDE) & solid, (tight == PATIENT) & solid
    guess = removed & solid & (label != UNKNOWN)
    masks = {
        "device": device,
        "hit": device & guess,
        "guess": guess,
        "left": device & ~removed,
        "patient": patient,
        "lost": patient & removed,
    }
    return {name: mask.sum((1, 2)) for name, mask in masks.items()}


def _scores(counts, spacing_mm):
    mm2 = spacing_mm[1] * spacing_mm[2]
    ml = {name: float(n.sum()) * mm2 * spacing_mm[0] / 1000 for name, n in counts.items()}
    sums = counts["device"] + counts["guess"]
    dices = 2 * counts["hit"] / np.maximum(sums, 1)
    judged = np.where(counts["device"] >= JUDGED_PIXELS, dices, 1.0)
    worst, lost = int(judged.argmin()), int(counts["lost"].argmax())
    return {
        "slices": len(dices),
        "dice": round(2 * int(counts["hit"].sum()) / max(1, int(sums.sum())), 4),
        "worst_slice": round(float(judged[worst]), 4),
        "worst_slice_index": worst if judged[worst] < 1 else None,
        "residual_ml": round(ml["left"], 3),
        "lost_ml": round(ml["lost"], 3),
        "lost_pct": round(100 * ml["lost"] / max(ml["patient"], 1e-9), 4),
        "lost_worst_mm2": round(float(counts["lost"][lost]) * mm2, 1),
        "lost_worst_index": lost if counts["lost"][lost] else None,
    }
