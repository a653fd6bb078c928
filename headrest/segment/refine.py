"""Refine the network's probability with the neighbouring slices: probability -> support, patient.

The network sees one slice at a time. `STEPS` are the corrections that need more than that.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage

from headrest.hounsfield import DENSE_HU, VISIBLE_HU
from headrest.segment.morphology import (
    ABSENT,
    EIGHT,
    FREE,
    TOUCHING,
    bounding_box,
    count_neighbours,
    dilate,
    fill_holes,
    label_voxels,
    largest_component,
    select_voxels,
    sum_by_label,
)

STEPS = (
    "low-confidence components",
    "enclosed by the patient",
    "disconnected components",
    "small remnants",
    "faint support",
)
"""The steps of `refine` in their order; the notebook on methods measures each."""

SUPPORT_PROBABILITY = 0.75
"""Probability from which a voxel is support. At 0.5 a third more patient is removed, for 3 % less
residual support, of 30 synthetic patients."""

CONTACT_SHARE, LOW_CONFIDENCE = 0.4, 0.95
"""A component with this share of its outline on the patient has hardly a surface of its own: it is
support only from this mean probability on."""

COMPONENT_PROBABILITY = 0.4
"""Mean probability from which a component that is not connected to the patient is support. At 0.2
parts of a shoulder go, half a ml per patient; chosen on 30 synthetic ones."""

FAINT_PROBABILITY, SPECK_VOXELS = 0.5, 10
"""Foam, covers and cloth are the voxels up to `DENSE_HU` with this probability, and visible ones
outside the patient, connected with them. Components of fewer voxels are noise of the air."""

HAIR_MM = 25.0
"""In a series without dense support, foam reaches this far beyond the patient, seen along the table
(all slices on one another). Hair reaches 20 mm at most, in 700 synthetic patients; the
cushions of 9 in 10 of them reach further."""

FOAM_MM, FOAM_MM2, FOAM_PROBABILITY = 18.0, 30.0, 0.8
"""Foam that reaches less far must have this mean probability, and either this area, of all slices
together, at this distance, or pixels at the border of the image; hair rarely does. Of the foam that
was left in 335 patients this removes a tenth."""

MIN_PATIENT_ML = 0.5
"""Least volume of a component of the patient beside the largest: an arm, or the tip of a nose."""

REMNANT_MM2 = 20.0
"""A series with less than this in every slice has no dense support: the smallest strap shows twice
as much in some slice."""

MIN_SUPPORT_MM2 = 4.0
"""A slice with less support than this counts as absent, with less contact than this as free."""

MIN_SUSPICION = 0.1
"""Probability from which a voxel counts for the confidence; below is the noise of the network."""


def refine(
    probability: np.ndarray,
    hu: np.ndarray,
    spacing_mm: Sequence[float],
    steps: Sequence[str] = STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Decide which voxels of a series are support, and which are patient.

    Parameters
    ----------
    probability : float array (slices, rows, columns), 0 to 1, of support, from
        `headrest.segment.predict.series_probability`.
    hu : float array (slices, rows, columns), in HU.
    spacing_mm : (z, y, x) in mm.
    steps : names from `STEPS`, the corrections to apply.

    Returns
    -------
    (support, patient) : bool arrays of that shape. The patient is what is dense and not support:
    the largest component and others of `MIN_PATIENT_ML` or more, with the air they enclose in each
    slice.
    """
    dense, support, patient = hu > DENSE_HU, np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    box = bounding_box(dense, 1)
    sure = probability[box]
    support[box], patient[box] = _refine_dense(dense[box], sure, spacing_mm, steps)
    largest_mm2 = max(map(np.count_nonzero, support)) * spacing_mm[1] * spacing_mm[2]
    if "small remnants" in steps and 0 < largest_mm2 < REMNANT_MM2:
        nothing = np.zeros_like(sure)
        support[box], patient[box] = _refine_dense(dense[box], nothing, spacing_mm, ())
    del dense  # memory for the next step
    if "faint support" in steps:
        support |= _faint(support, patient, probability, hu, spacing_mm[1:])
    return support, patient


def _refine_dense(dense, probability, spacing_mm, steps):
    found = dense.copy()
    for one, p in zip(found, probability):
        one &= _reaches(p, SUPPORT_PROBABILITY)
    if "low-confidence components" in steps:
        _remove_low_confidence(found, dense & ~found, probability)
    patient = fill_holes(largest_component(dense & ~found), spacing_mm[1:])
    if "enclosed by the patient" in steps:
        found &= ~patient
    rest = dense & ~found & ~patient
    labels, count = label_voxels(rest)
    voxels = sum_by_label(labels, count)
    large = voxels * np.prod(spacing_mm) >= 1000 * MIN_PATIENT_ML
    if "disconnected components" in steps:
        likely = _mean_probability(labels, voxels, rest, probability) >= COMPONENT_PROBABILITY
        found |= select_voxels(rest, labels, likely)
        large &= ~likely
    patient |= fill_holes(select_voxels(rest, labels, large), spacing_mm[1:])
    return found, patient & ~found


def _reaches(probability, least):
    """Where a probability is at least this; float16 is compared as integers, 20 times as fast."""
    if probability.dtype != np.float16:
        return probability >= least
    limit = np.float16(least)
    if float(limit) < least:
        limit = np.nextafter(limit, np.float16(1))
    return probability.view(np.uint16) >= limit.view(np.uint16)


def _faint(found, patient, probability, hu, spacing_mm):
    """Components of foam, covers, cloth and the support that was found.

    Of these are pixels of probable support, and visible ones that are connected with them in their
    slice and not beside dense tissue, whose soft edge is wide where the head narrows within a thick
    slice. A component must be probable as a whole. Without dense support it may be hair.
    """
    candidates = np.empty_like(found)
    for i, p in enumerate(probability):
        probable = _reaches(p, FAINT_PROBABILITY) & (hu[i] <= DENSE_HU) & ~patient[i] | found[i]
        outside = ~dilate(patient[i] | (hu[i] > DENSE_HU) & ~found[i])
        labels, count = ndimage.label(probable | (hu[i] > VISIBLE_HU) & outside, EIGHT)
        connected = np.zeros(count + 1, bool)
        connected[labels[probable]] = True
        candidates[i] = connected[labels]
    labels, count = label_voxels(candidates)
    voxels = sum_by_label(labels, count)
    mean = _mean_probability(labels, voxels, candidates, probability)
    likely = (mean >= COMPONENT_PROBABILITY) & (voxels >= SPECK_VOXELS)
    if not found.any():
        outline = patient.any(0)
        far, near = (~dilate(outline, mm, spacing_mm) for mm in (HAIR_MM, FOAM_MM))
        border = np.ones(near.shape, bool)
        border[1:-1, 1:-1] = False
        in_far, in_near, at_border = (
            sum_by_label(labels, count, (place[mask] for mask in candidates))
            for place in (far, near, border)
        )
        no_hair = in_near * spacing_mm[0] * spacing_mm[1] >= FOAM_MM2
        no_hair |= at_border >= SPECK_VOXELS
        likely &= (in_far >= SPECK_VOXELS) | no_hair & (mean >= FOAM_PROBABILITY)
    return select_voxels(candidates, labels, likely)


def _remove_low_confidence(found, rest, probability):
    """Take components with much of their outline on the rest, and a low mean probability, out of
    the support that was found."""
    for i in np.flatnonzero(found.any((1, 2))):
        at = (i, *bounding_box(found[i], 1))
        where = found[at].copy()
        labels, count = ndimage.label(where, EIGHT)
        beside = [count_neighbours(mask)[where] for mask in (~where, rest[at])]
        weights = (None, probability[at][where], *beside)
        sums = [np.bincount(labels[where], weight, count + 1) for weight in weights]
        pixels, total, outline, contact = sums
        mean, share = total / np.maximum(pixels, 1), contact / np.maximum(outline, 1)
        low = (share >= CONTACT_SHARE) & (mean < LOW_CONFIDENCE)
        found[at][where] = ~low[labels[where]]


def _mean_probability(labels, voxels, mask, probability):
    """Mean probability of each component, which has so many voxels."""
    inside = (p[m] for p, m in zip(probability, mask))
    return sum_by_label(labels, len(voxels) - 1, inside) / np.maximum(voxels, 1)


def states(
    support: np.ndarray, patient: np.ndarray, hu: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[str, ...]:
    """Classify each slice: dense support touches the patient, support is free, or there is none.

    Parameters
    ----------
    support, patient : bool array (slices, rows, columns), as `refine` returns them.
    hu : float array of that shape, in HU.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    tuple of str (slices,): "free", also for foam alone, "touching", or "absent".
    """
    pixels = MIN_SUPPORT_MM2 / (spacing_mm[1] * spacing_mm[2])
    return tuple(_state(*slices, pixels) for slices in zip(support, patient, hu))


def _state(support, patient, hu, pixels):
    if np.count_nonzero(support) < pixels:
        return ABSENT
    box = bounding_box(support, 1)
    contact = dilate(support[box] & (hu[box] > DENSE_HU)) & patient[box]
    return TOUCHING if np.count_nonzero(contact) >= pixels else FREE


def confidence(
    probability: Iterable[np.ndarray], support: Iterable[np.ndarray], spacing_mm: Sequence[float]
) -> tuple[float, ...]:
    """Compute the Dice expected in each slice, if the probabilities are calibrated.

    Parameters
    ----------
    probability : float array (slices, rows, columns), 0 to 1, or an iterable of its slices.
    support : bool array of that shape, the segmentation, or an iterable of its slices.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    tuple of float (slices,), 0 to 1; 1.0 where less than `MIN_SUPPORT_MM2` is found or suspected.

    Examples
    --------
    >>> support = np.array([[[1, 0]], [[1, 0]]], bool)
    >>> confidence(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), support, (5, 2, 2))
    (0.9, 0.5)
    """
    rows, pixels = [], MIN_SUPPORT_MM2 / (spacing_mm[1] * spacing_mm[2])
    for p, mask in zip(probability, support):
        suspected = _reaches(p, MIN_SUSPICION)
        total, inside = (p[m].sum(dtype=np.float64) for m in (suspected, suspected & mask))
        both = total + np.count_nonzero(mask)
        rows.append(round(2 * float(inside / both), 4) if both >= pixels else 1.0)
    return tuple(rows)
