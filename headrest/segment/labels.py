"""Label the headrest of a slice: threshold, connected components, a choice.

    HU -> kmeans_threshold -> find_components -> measure -> judge -> label

Where the support touches the head the two are one component: that is the method's known
failure. It is reported as the state of the slice, and the patient is kept whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from tqdm.auto import tqdm

from headrest.segment.components import (
    BONE_MEAN_HU,
    DARK_HU,
    DEVICE,
    ELONGATED,
    LIKELY,
    LONG_MM,
    MEDIUM_MM,
    PATIENT,
    PLASTIC_STD_HU,
    UNSURE,
    Components,
    between,
    find_components,
    judge,
    measure,
)
from headrest.segment.kmeans import kmeans_threshold
from headrest.segment.morphology import ABSENT, EIGHT, FREE, TOUCHING, dilate, open_mask

CORE_MM = 10.0
"""Parts of the patient at least this thick are certain."""
NEAR_MM = 3.0
"""How far a rail may move from slice to slice (uneven spacing, tilt) and be the same rail."""
TOUCH_MM2 = 20.0
"""A headrest that vanishes into the patient on the next slice over more than this touches it."""


@dataclass(frozen=True)
class Label:
    """What was found in one slice.

    Attributes
    ----------
    mask : bool array (rows, columns), True where the headrest is.
    state : "free", "touching" or "absent".
    threshold : float, the K-Means threshold in HU.
    """

    mask: np.ndarray
    state: str
    threshold: float


def label_slice(hu: np.ndarray, spacing_mm: Sequence[float], k: int = 3) -> Label:
    """Label the headrest of one slice.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.
    k : int, clusters of K-Means.

    Returns
    -------
    Label

    Raises
    ------
    HeadrestError
        For a k below 1.

    Examples
    --------
    >>> hu = np.full((128, 128), -1000.0)
    >>> hu[20:100, 24:104] = 40.0  # a head
    >>> hu[108:112, 10:118] = 120.0  # a shell behind it
    >>> label = label_slice(hu, (2.0, 2.0))
    >>> label.state, int(label.mask.sum())
    ('free', 432)
    """
    return _label(hu, _examine(hu, spacing_mm, k))


def label_series(
    hu: np.ndarray, spacing_mm: Sequence[float], k: int = 3, use_neighbours: bool = True
) -> list[Label]:
    """Label the headrest of every slice of a series.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU.
    spacing_mm : (z, y, x) in mm.
    k : int, clusters of K-Means.
    use_neighbours : bool
        Let neighbouring slices decide: a doubtful component that continues a headrest of the
        next slice joins it, one that continues the patient does not, and a headrest that
        vanishes into the patient touches it.

    Returns
    -------
    list of Label, one a slice.

    Raises
    ------
    HeadrestError
        For a k below 1.

    Examples
    --------
    >>> hu = np.full((2, 128, 128), -1000.0)
    >>> hu[:, 20:100, 24:104] = 40.0  # a head
    >>> hu[0, 108:112, 10:118] = 120.0  # a shell behind it, in the first slice only
    >>> [label.state for label in label_series(hu, (5.0, 2.0, 2.0))]
    ['free', 'absent']
    """
    progress = tqdm(hu, desc="labelling", unit="slice", delay=2, leave=False)
    seen = [_examine(one, spacing_mm[1:], k) for one in progress]
    if use_neighbours and len(seen) > 1:
        seen = _ask_neighbours(seen, spacing_mm[1:])
    return [_label(one, view) for one, view in zip(hu, seen)]


@dataclass(frozen=True)
class _View:
    """A slice on the way to its label; the masks are at half the resolution."""

    threshold: float
    components: Components
    verdict: np.ndarray
    patient: np.ndarray
    core: np.ndarray
    touching: bool


def _examine(hu, spacing_mm, k):
    threshold = kmeans_threshold(hu, k)
    components = measure(*find_components(hu > threshold), hu, threshold, spacing_mm)
    verdict = judge(components)
    # Half the resolution is enough for millimetres, and four times faster.
    spacing_mm = 2 * np.asarray(spacing_mm)
    patient = _members(components, verdict == PATIENT)
    core = open_mask(patient, CORE_MM, spacing_mm)
    thin = patient & ~dilate(core, CORE_MM / 2, spacing_mm)
    touching = _looks_like_support(thin, hu[::2, ::2], threshold, spacing_mm)
    return _View(threshold, components, verdict, patient, core, touching)


def _label(hu, view):
    chosen = np.r_[False, view.verdict == DEVICE]
    mask = np.take(chosen, view.components.labels) & (hu > view.threshold)
    state = TOUCHING if view.touching else FREE if mask.any() else ABSENT
    return Label(mask, state, view.threshold)


def _members(components, chosen):
    return np.take(np.r_[False, chosen], components.labels[::2, ::2])


def _looks_like_support(thin, hu, threshold, spacing_mm):
    """Whether a thin outgrowth of the patient could be a piece of support."""
    if not thin.any():
        return False
    labels, count = ndimage.label(thin, EIGHT)
    pieces = measure(labels, count, hu, threshold, spacing_mm)
    long = (pieces.length_mm >= LONG_MM) & (pieces.mean_hu <= BONE_MEAN_HU)
    dark = (pieces.length_mm >= LONG_MM / 2) & (pieces.mean_hu < DARK_HU)
    shell = long | dark | between(pieces.std_hu, PLASTIC_STD_HU)
    straight = pieces.length_mm >= np.maximum(MEDIUM_MM, ELONGATED * pieces.width_mm)
    return bool((shell & straight).any())


def _ask_neighbours(seen, spacing_mm):
    spacing_mm = 2 * np.asarray(spacing_mm)
    patients, cores = [v.patient for v in seen], [v.core for v in seen]
    devices = [_members(v.components, v.verdict == DEVICE) for v in seen]
    near = [dilate(device, NEAR_MM, spacing_mm) for device in devices]
    asked = []
    for i, view in enumerate(seen):
        beside = [j for j in (i - 1, i + 1) if 0 <= j < len(seen)]
        around = [
            np.logical_or.reduce([masks[j] for j in beside]) for masks in (cores, patients, near)
        ]
        in_core, in_patient, in_device = _overlaps(view.components, around)
        verdict = view.verdict.copy()
        verdict[(view.verdict == DEVICE) & (in_core > 0.5)] = UNSURE
        verdict[(view.verdict == LIKELY) & (in_patient == 0)] = DEVICE
        verdict[(view.verdict >= LIKELY) & (in_device > 0.5)] = DEVICE
        swallowed = [devices[j] & patients[i] & ~view.core for j in beside]
        area = max(int(s.sum()) for s in swallowed) * np.prod(spacing_mm)
        touching = view.touching or bool(area > TOUCH_MM2)
        asked.append(replace(view, verdict=verdict, touching=touching))
    return asked


def _overlaps(components, masks):
    """Share of each component that lies in each of the masks, at half the resolution."""
    labels, count = components.labels[::2, ::2], len(components) + 1
    whole = np.maximum(np.bincount(labels.ravel(), minlength=count)[1:], 1)
    return [np.bincount(labels[mask], minlength=count)[1:] / whole for mask in masks]
