"""Refine the network's probabilities with the neighbouring slices: -> support, patient.

The network sees one slice at a time. `STEPS` are the corrections that need more than that.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from headrest.hounsfield import FLOOR
from headrest.segment.morphology import (
    ABSENT,
    EIGHT,
    FACES,
    FREE,
    TOUCHING,
    bounding_box,
    count_neighbours,
    dilate,
    fill_holes,
    sum_by_label,
)

STEPS = (
    "low-confidence components",
    "single-slice detections",
    "enclosed by the patient",
    "visible remainders",
    "small remnants",
)
"""The steps of `refine` in their order; the notebook on methods measures each."""

SUPPORT_PROBABILITY, PATIENT_PROBABILITY = 0.5, 0.5
"""Probabilities from which a voxel is support, and patient."""

CONTACT_SHARE, LOW_CONFIDENCE = 0.4, 0.95
"""A component with this share of its outline on the patient has hardly a surface of its own: it is
support only from this mean probability on."""

SINGLE_SLICE_MM, SINGLE_SLICE_SHARE, SINGLE_SLICE_PASSES = 15.0, 0.5, 2
"""A component is patient if more than this share of it is not support in both neighbouring slices,
at this slice spacing or less: supports continue from slice to slice. A second pass finds what
continues in a detection of the first: 0.43 ml of the skull of `philips-phantom`."""

VISIBLE_HU, NOT_PATIENT, REMAINDER_PROBABILITY = -800.0, 0.2, 0.2
"""What reads more and is hardly patient forms components, with the support among them. From this
mean probability of support on, such a component is support as a whole."""

REMNANT_MM2 = 20.0
"""A series with less than this in every slice has no support, at `SINGLE_SLICE_MM` or less: the
smallest strap shows twice as much in some slice."""

MIN_PATIENT_ML = 0.5
"""Least volume of a component of the patient beside the largest: an arm, or the tip of a nose."""

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
    probability : float array (2, slices, rows, columns), 0 to 1, from
        `headrest.segment.predict.series_probability`.
    hu : float array (slices, rows, columns), in HU.
    spacing_mm : (z, y, x) in mm.
    steps : names from `STEPS`, the corrections to apply.

    Returns
    -------
    (support, patient) : bool arrays of that shape. The patient is the largest component that is
    not support, with the air it encloses in each slice.
    """
    support, patient = np.zeros((2, *hu.shape), bool)
    for i, (p, q) in enumerate(zip(*probability)):
        support[i] = (p.astype(np.float32) >= SUPPORT_PROBABILITY) & (hu[i] > FLOOR)
        patient[i] = q.astype(np.float32) >= PATIENT_PROBABILITY
    return _refine(support, patient, probability, hu, spacing_mm, steps)


def _refine(found, patient, probabilities, hu, spacing_mm, steps):
    probability, patient_probability = probabilities
    components = list(_components(found))
    close = len(found) > 1 and spacing_mm[0] <= SINGLE_SLICE_MM
    if "low-confidence components" in steps:
        _move_to_patient(found, patient, components, _low_confidence, probability)
    if "single-slice detections" in steps and close:
        for _ in range(SINGLE_SLICE_PASSES):
            _move_to_patient(found, patient, components, _single_slice)
    patient = fill_holes(_large_components(patient & ~found, spacing_mm), spacing_mm[1:])
    if "enclosed by the patient" in steps:
        found &= ~patient
    if "visible remainders" in steps:
        rest = (hu > VISIBLE_HU) & (patient_probability < NOT_PATIENT) & ~patient
        found |= _remainders(found | rest, probability)
    if "small remnants" in steps and close and _is_remnant(found, spacing_mm):
        found[:] = False
    return found, patient & ~found


def _components(found):
    """For each slice: bounding box of its support, mask and labels of its voxels, count."""
    for i in np.flatnonzero(found.any((1, 2))):
        at = (i, *bounding_box(found[i], 1))
        where = found[at].copy()
        labels, count = ndimage.label(where, EIGHT)
        yield at, where, labels[where], count


def _move_to_patient(found, patient, components, is_patient, *arrays):
    for at, where, labels, count in components:
        moved = is_patient(at, where, labels, count, patient, *arrays)[labels]
        found[at][where] &= ~moved
        patient[at][where] |= moved


def _low_confidence(at, where, labels, count, rest, probability):
    """Components with much of their outline on the rest, and a low mean probability."""
    beside = [count_neighbours(mask)[where] for mask in (~where, rest[at])]
    weights = (None, probability[at][where], *beside)
    sums = [np.bincount(labels, weight, count + 1) for weight in weights]
    pixels, total, outline, contact = sums
    mean, share = total / np.maximum(pixels, 1), contact / np.maximum(outline, 1)
    return (share >= CONTACT_SHARE) & (mean < LOW_CONFIDENCE)


def _single_slice(at, where, labels, count, rest):
    """Components in the place of what is not support in both neighbouring slices."""
    i, *box = at
    if not 0 < i < len(rest) - 1:
        return np.zeros(count + 1, bool)
    both = (rest[(i - 1, *box)] & rest[(i + 1, *box)])[where]
    shared, pixels = (np.bincount(labels, weight, count + 1) for weight in (both, None))
    return shared > SINGLE_SLICE_SHARE * pixels


def _remainders(visible, probability):
    """Components outside the patient whose mean probability of support is high enough."""
    labels, count = ndimage.label(visible, FACES)
    pixels = sum_by_label(labels, count)
    total = sum_by_label(labels, count, probability)
    return ((total >= REMAINDER_PROBABILITY * pixels) & (pixels > 0))[labels]


def _large_components(patient, spacing_mm):
    """The largest component of the patient, and others of `MIN_PATIENT_ML` or more."""
    labels, count = ndimage.label(patient, FACES)
    voxels = sum_by_label(labels, count)
    least = 1000 * MIN_PATIENT_ML / np.prod(spacing_mm)
    return ((voxels > 0) & (voxels >= min(least, voxels.max())))[labels]


def _is_remnant(found, spacing_mm):
    largest_mm2 = found.sum((1, 2)).max() * spacing_mm[1] * spacing_mm[2]
    return 0 < largest_mm2 < REMNANT_MM2


def states(
    support: np.ndarray, patient: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[str, ...]:
    """Classify each slice: its support is free, touching the patient, or absent.

    Parameters
    ----------
    support, patient : bool array (slices, rows, columns), as `refine` returns them.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    tuple of str (slices,)
    """
    pixels = MIN_SUPPORT_MM2 / (spacing_mm[1] * spacing_mm[2])
    return tuple(_state(*masks, pixels) for masks in zip(support, patient))


def _state(support, patient, pixels):
    if np.count_nonzero(support) < pixels:
        return ABSENT
    box = bounding_box(support, 1)
    contact = dilate(support[box], 0, (1, 1)) & patient[box]
    return TOUCHING if np.count_nonzero(contact) >= pixels else FREE


def confidence(
    probability: np.ndarray, support: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[float, ...]:
    """Compute the Dice expected in each slice, if the probabilities are calibrated.

    Parameters
    ----------
    probability : float array (slices, rows, columns), 0 to 1.
    support : bool array of that shape, the segmentation.
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
        p = p.astype(np.float32)  # NumPy is slow with float16
        p *= p >= MIN_SUSPICION
        both = float(p.sum()) + int(np.count_nonzero(mask))
        rows.append(round(2 * float(np.vdot(p, mask)) / both, 4) if both >= pixels else 1.0)
    return tuple(rows)
