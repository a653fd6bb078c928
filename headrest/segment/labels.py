"""Segment the support by K-Means and connected components.

    HU -> kmeans_threshold -> find_components -> measure -> classify -> Label

A support that touches the patient forms one component with them. That is the known failure of the
method: the component is kept, and the state of the slice says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from headrest.hounsfield import AIR_LIKE_HU, BACKGROUND, DENSE_HU, IGNORE_LABEL, PATIENT, SUPPORT
from headrest.segment.components import (
    AMBIGUOUS,
    Components,
    classify,
    find_components,
    may_be_support,
    may_touch,
    measure,
)
from headrest.segment.kmeans import kmeans_threshold
from headrest.segment.morphology import (
    ABSENT,
    EIGHT,
    FREE,
    TOUCHING,
    dilate,
    fill_holes,
    largest_component,
    open_mask,
)
from headrest.util import HeadrestError, progress

CORE_MM = 10.0
"""Parts of a patient component at least this thick are certainly patient."""

SHIFT_MM = 3.0
"""A rail moves by up to this from slice to slice (uneven spacing, tilt)."""

CONTACT_MM2 = 20.0
"""More support than this within the patient of a neighbouring slice: there, the support touches."""


@dataclass(frozen=True)
class Label:
    """The support found in one slice.

    Attributes
    ----------
    mask : bool array (rows, columns), the support.
    state : str, "free", "touching" or "absent".
    threshold : float, the K-Means threshold in HU.
    """

    mask: np.ndarray = field(repr=False)
    state: str
    threshold: float


def label_slice(hu: np.ndarray, spacing_mm: Sequence[float]) -> Label:
    """Segment the support of one slice.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.

    Returns
    -------
    Label

    Raises
    ------
    HeadrestError
        For a series or NaN.

    Examples
    --------
    >>> hu = np.full((128, 128), -1000.0)
    >>> hu[20:100, 24:104] = 40.0  # a head
    >>> hu[108:112, 10:118] = 120.0  # a shell behind it
    >>> label = label_slice(hu, (2.0, 2.0))
    >>> label.state, int(label.mask.sum())
    ('free', 432)
    """
    if (np.ndim(hu), len(spacing_mm)) != (2, 2):
        raise HeadrestError(
            f"a slice is (rows, columns) with a spacing (y, x), not {np.shape(hu)} with "
            f"{tuple(spacing_mm)}; label_series(hu, (z, y, x)) takes a series"
        )
    return _label(hu, _analyse(hu, spacing_mm))


def label_series(hu: np.ndarray, spacing_mm: Sequence[float]) -> list[Label]:
    """Segment the support of every slice of a series, and compare neighbouring slices.

    An ambiguous component that continues a support is support, one that continues the patient is
    not, and a support that continues inside the patient touches.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    list of Label, one per slice.

    Raises
    ------
    HeadrestError
        For a slice or NaN.

    Examples
    --------
    >>> hu = np.full((2, 128, 128), -1000.0)
    >>> hu[:, 20:100, 24:104] = 40.0  # a head
    >>> hu[0, 108:112, 10:118] = 120.0  # a shell behind it, in the first slice only
    >>> [label.state for label in label_series(hu, (5.0, 2.0, 2.0))]
    ['free', 'absent']
    """
    if (np.ndim(hu), len(spacing_mm)) != (3, 3):
        raise HeadrestError(
            f"a series is (slices, rows, columns) with a spacing (z, y, x), not {np.shape(hu)} "
            f"with {tuple(spacing_mm)}; label_slice(hu, (y, x)) takes a slice"
        )
    found = [_analyse(one, spacing_mm[1:]) for one in progress(hu, "labelling", brief=True)]
    if len(found) > 1:
        found = _compare_neighbours(found, spacing_mm[1:])
    return [_label(one, analysis) for one, analysis in zip(hu, found)]


def patient_mask(hu: np.ndarray, support: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Find the patient beside a known support.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU.
    support : bool array of that shape.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    bool array of that shape, the largest component above `DENSE_HU` that is not support, with the
    air it encloses in each slice.
    """
    body = largest_component((hu > DENSE_HU) & ~support)
    return fill_holes(body, spacing_mm[1:]) & ~support


def label_image(hu: np.ndarray, support: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Make labels to train on from a mask of the dense support, such as that of K-Means.

    Parameters
    ----------
    as for `patient_mask`.

    Returns
    -------
    uint8 array of that shape: `SUPPORT`, `PATIENT`, `BACKGROUND` below `AIR_LIKE_HU`, and
    `IGNORE_LABEL` for the rest, which may be foam.
    """
    labels = np.where(hu < AIR_LIKE_HU, BACKGROUND, IGNORE_LABEL).astype(np.uint8)
    labels[patient_mask(hu, support, spacing_mm)] = PATIENT
    labels[support] = SUPPORT
    return labels


@dataclass(frozen=True)
class _Analysis:
    """The components of a slice; the masks are at half the resolution, four times as fast."""

    threshold: float
    components: Components
    classes: np.ndarray
    patient: np.ndarray
    core: np.ndarray
    touching: bool


def _analyse(hu, spacing_mm):
    threshold = kmeans_threshold(hu)
    components = measure(*find_components(hu > threshold), hu, threshold, spacing_mm)
    classes = classify(components)
    half_mm = [2 * mm for mm in spacing_mm]
    patient = _select(components, classes == PATIENT)
    core = open_mask(patient, CORE_MM, half_mm)
    thin = patient & ~dilate(core, CORE_MM / 2, half_mm)
    labels, count = ndimage.label(thin, EIGHT)
    parts = measure(labels, count, hu[::2, ::2], threshold, half_mm)
    return _Analysis(threshold, components, classes, patient, core, bool(may_touch(parts).any()))


def _label(hu, found):
    chosen = np.r_[False, found.classes == SUPPORT]
    mask = chosen[found.components.labels] & (hu > found.threshold)
    state = TOUCHING if found.touching else FREE if mask.any() else ABSENT
    return Label(mask, state, found.threshold)


def _select(components, chosen):
    return np.r_[False, chosen][components.labels[::2, ::2]]


def _compare_neighbours(found, spacing_mm):
    half_mm = [2 * mm for mm in spacing_mm]
    supports = [_select(one.components, one.classes == SUPPORT) for one in found]
    near = [dilate(support, SHIFT_MM, half_mm) for support in supports]
    compared = []
    for i, one in enumerate(found):
        beside = [j for j in (i - 1, i + 1) if 0 <= j < len(found)]
        in_core, in_patient, in_support = (
            _share(one.components, np.logical_or.reduce(masks))
            for masks in zip(*((found[j].core, found[j].patient, near[j]) for j in beside))
        )
        classes, ambiguous = one.classes.copy(), one.classes == AMBIGUOUS
        classes[(one.classes == SUPPORT) & (in_core > 0.5)] = AMBIGUOUS
        classes[ambiguous & may_be_support(one.components) & (in_patient == 0)] = SUPPORT
        classes[ambiguous & (in_support > 0.5)] = SUPPORT
        shared = [np.sum(supports[j] & one.patient & ~one.core) for j in beside]
        touching = one.touching or max(shared) * np.prod(half_mm) > CONTACT_MM2
        compared.append(replace(one, classes=classes, touching=touching))
    return compared


def _share(components, mask):
    """Share of each component that lies in a mask, at half the resolution."""
    labels, count = components.labels[::2, ::2], len(components) + 1
    whole = np.maximum(np.bincount(labels.ravel(), minlength=count)[1:], 1)
    return np.bincount(labels[mask], minlength=count)[1:] / whole
