"""Label the headrest of a slice: threshold, connected components, a choice.

    HU -> kmeans_threshold -> find_components -> measure -> judge -> label

Everything above the K-Means threshold falls into connected components, and these are told
apart by their shape and by the mean and standard deviation of their HU. Where the support
touches the head the two are one component: that is the method's known failure. It is
reported as the state of the slice, and the patient is kept whole.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import ndimage
from tqdm.auto import tqdm

from headrest.hounsfield import DEVICE as DEVICE_HU
from headrest.hounsfield import FLOOR
from headrest.kmeans import kmeans_threshold

FREE, TOUCHING, ABSENT = "free", "touching", "absent"
"""State of a slice: headrest found apart from the head; joined to it; none found."""

EIGHT = np.ones((3, 3), bool)
"""Pixels that meet at a corner are connected."""

VERDICTS = ("patient", "headrest", "likely", "unsure")
PATIENT, DEVICE, LIKELY, UNSURE = range(4)
"""Verdict on a component. What is likely becomes device where neighbouring slices do not
object; what is unsure is kept, as the patient is."""

SHEET_MM = 8.0
"""A shell, rail or strap is no wider than this."""
CUSHION_MM = 20.0
"""A dark pad may be this wide, and the walls of a couch as far apart."""
SHORT_MM, MEDIUM_MM, LONG_MM, COUCH_MM = 12.0, 25.0, 80.0, 300.0
"""Shorter than the first: noise, or the tip of something, and never judged. Longer than the
third: no thin piece of a head that lies apart is. Longer than the last: not even a skull is."""
ELONGATED = 4.0
"""Length over width of a sheet cut across; a disc has 2.8."""
RAIL = 12.0
"""Length over width from which even what is as bright as bone could be a rail."""
PLASTIC_MEAN_HU, PLASTIC_STD_HU = (-200.0, 250.0), (190.0, 330.0)
"""A short piece of shell has a bright core and soft edges. The tip of an ear or a nose varies
less (it has no bright core), a splinter of bone more."""
DARK_HU = -180.0
"""No part of a body is darker than this on the whole; fat is at -100."""
BONE_MEAN_HU, BONE_STD_HU = 300.0, 330.0
"""Brighter or more varied than this is bone, unless it is longer than any skull."""
CORE_MM = 10.0
"""Parts of the patient at least this thick are certain."""
NEAR_MM = 3.0
"""How far a rail may move from slice to slice (uneven spacing, tilt) and be the same rail."""
TOUCH_MM2 = 20.0
"""A headrest that vanishes into the patient on the next slice over more than this touches it."""


@dataclass(frozen=True)
class Components:
    """The connected components of a slice; every attribute but `labels` is an array (n,).

    Attributes
    ----------
    labels : int array (rows, columns), 0 for air, 1 to n for the components, holes filled.
    area_mm2 : area above the threshold and -500 HU.
    mean_hu, std_hu : mean and standard deviation of HU over that area.
    width_mm : twice the area over the boundary, holes filled: the thickness of a sheet, the
        radius of a disc.
    length_mm : diagonal of the bounding box.
    solidity : that area over the area with holes filled.
    row, column : centre of the bounding box, in pixels.
    """

    labels: np.ndarray
    area_mm2: np.ndarray
    mean_hu: np.ndarray
    std_hu: np.ndarray
    width_mm: np.ndarray
    length_mm: np.ndarray
    solidity: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def __len__(self):
        return len(self.area_mm2)

    def largest(self, n=8):
        """The n largest as rows of a table: a dict of arrays, largest first."""
        order = np.argsort(-self.area_mm2, kind="stable")[:n]
        return {f.name: getattr(self, f.name)[order] for f in fields(self)[1:]}


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


def find_components(mask):
    """Find 8-connected components, with their holes filled.

    Holes are filled first, so sinuses and the inside of a hollow skull belong to the piece
    that encloses them, and whatever lies in there does too.

    Parameters
    ----------
    mask : bool array (rows, columns)

    Returns
    -------
    labels : int array (rows, columns), 0 for the background.
    count : int

    Examples
    --------
    >>> ring = np.ones((3, 3), bool); ring[1, 1] = False
    >>> bool(find_components(np.pad(ring, 1))[0][2, 2])
    True
    """
    labels = np.zeros(mask.shape, np.int32)
    if not mask.any():
        return labels, 0
    box = _bounding_box(mask)
    air, _ = ndimage.label(~mask[box])  # behind 8-connected objects lies 4-connected air
    edges = np.concatenate([air[0], air[-1], air[:, 0], air[:, -1]])
    filled = np.ones(air.shape, bool)
    for outer in set(edges.tolist()) - {0}:
        filled &= air != outer
    labels[box], count = ndimage.label(filled, EIGHT)
    return labels, count


def _bounding_box(mask):
    ends = [np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (1, 0)]
    return tuple(slice(first, last + 1) for first, last in ends)


def measure(labels, count, hu, threshold, spacing_mm):
    """Measure every component by counting, without a loop over them.

    Parameters
    ----------
    labels, count : as `find_components` returns them.
    hu : float array (rows, columns), in HU.
    threshold : float, in HU.
    spacing_mm : (y, x) in mm.

    Returns
    -------
    Components
    """
    # Pixels are summed over runs of one label first: a slice has a few thousand of those.
    starts, which = _runs(labels)

    def total(image):
        runs = np.add.reduceat(image.astype(np.float32, copy=False).ravel(), starts)
        return np.bincount(which, runs, minlength=count + 1)[1:]

    solid = hu > max(threshold, DEVICE_HU)  # a softer rim would blur mean and deviation
    values = hu * solid
    filled = labels > 0
    pixels, pixels_filled = total(solid), total(filled)
    mean = total(values) / np.maximum(pixels, 1)
    variance = total(values * values) / np.maximum(pixels, 1) - mean**2
    top, bottom, left, right = _boxes(labels, count, starts, which)
    y, x = spacing_mm
    pixel = np.sqrt(y * x)
    return Components(
        labels=labels,
        area_mm2=pixels * pixel**2,
        mean_hu=mean,
        std_hu=np.sqrt(np.maximum(variance, 0)),
        width_mm=2 * pixels_filled / np.maximum(total(_boundary(filled)), 1) * pixel,
        length_mm=np.hypot((bottom - top) * y, (right - left) * x),
        solidity=pixels / np.maximum(pixels_filled, 1),
        row=(top + bottom - 1) / 2,
        column=(left + right - 1) / 2,
    )


def _runs(labels):
    """First pixel (in the flattened image) and label of each run within a row."""
    change = np.ones(labels.shape, bool)
    change[:, 1:] = labels[:, 1:] != labels[:, :-1]
    starts = np.flatnonzero(change)
    return starts, labels.ravel()[starts]


def _boxes(labels, count, starts, which):
    """Bounding boxes (top, bottom, left, right) of all components, ends exclusive."""
    columns = labels.shape[1]
    row, left = np.divmod(starts, columns)
    right = left + np.diff(starts, append=labels.size)
    low, high = np.full((2, count + 1), labels.size), np.zeros((2, count + 1), int)
    for axis, (first, end) in enumerate(((row, row + 1), (left, right))):
        np.minimum.at(low[axis], which, first)
        np.maximum.at(high[axis], which, end)
    return low[0, 1:], high[0, 1:], low[1, 1:], high[1, 1:]


def _boundary(mask):
    """Pixels of the mask with a 4-neighbour outside it; beyond the image counts as inside."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def judge(components):
    """Say of each component whether it is device, patient, or cannot be told.

    Thick is patient, unless it is darker than any tissue. Thin and long is device, unless it
    is bone. Thin and short goes by the mean and standard deviation of its HU, so that noisy
    crumbs of the head are not taken for plastic.

    Parameters
    ----------
    components : Components

    Returns
    -------
    int array (n,) of PATIENT, DEVICE, LIKELY and UNSURE.
    """
    c = components
    elongated = c.length_mm >= ELONGATED * c.width_mm
    bone = (c.mean_hu > BONE_MEAN_HU) | (c.std_hu > BONE_STD_HU)
    couch = (c.length_mm >= COUCH_MM) & (c.solidity < 0.5) & (c.width_mm <= CUSHION_MM)
    thin = (c.width_mm <= SHEET_MM) | couch
    long = (c.length_mm >= LONG_MM) & ~(bone & (c.length_mm < COUCH_MM))
    plastic = _between(c.mean_hu, PLASTIC_MEAN_HU) & _between(c.std_hu, PLASTIC_STD_HU)
    short = (c.length_mm >= SHORT_MM) & plastic
    cushion = (c.mean_hu < DARK_HU) & (c.width_mm <= CUSHION_MM)
    rail = c.length_mm >= RAIL * c.width_mm
    likely = (thin | cushion) & (c.length_mm >= MEDIUM_MM) & (rail | ~bone)
    verdict = np.where(thin | cushion, UNSURE, PATIENT)
    verdict[elongated & likely] = LIKELY
    verdict[elongated & thin & (long | short)] = DEVICE
    return verdict


def _between(values, limits):
    return (limits[0] <= values) & (values <= limits[1])


def label_slice(hu, spacing_mm, k=3):
    """Label the headrest of one slice.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.
    k : int, clusters of K-Means.

    Returns
    -------
    Label
    """
    return _label(hu, _examine(hu, spacing_mm, k))


def label_series(hu, spacing_mm, k=3, use_neighbours=True):
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
    core = _thick_parts(patient, spacing_mm)
    thin = patient & ~_grown(core, CORE_MM / 2, spacing_mm)
    touching = _looks_like_support(thin, hu[::2, ::2], threshold, spacing_mm)
    return _View(threshold, components, verdict, patient, core, touching)


def _label(hu, view):
    chosen = np.r_[False, view.verdict == DEVICE]
    mask = np.take(chosen, view.components.labels) & (hu > view.threshold)
    state = TOUCHING if view.touching else FREE if mask.any() else ABSENT
    return Label(mask, state, view.threshold)


def _members(components, chosen):
    return np.take(np.r_[False, chosen], components.labels[::2, ::2])


def _thick_parts(mask, spacing_mm):
    """Morphological opening: what a square of CORE_MM can be moved about in."""
    size = [max(3, round(CORE_MM / mm)) for mm in spacing_mm]
    eroded = ndimage.minimum_filter(mask.view(np.uint8), size, mode="nearest")
    return ndimage.maximum_filter(eroded, size, mode="nearest").view(bool) & mask


def _grown(mask, reach_mm, spacing_mm):
    if not mask.any():
        return mask
    size = [2 * max(1, round(reach_mm / mm)) + 1 for mm in spacing_mm]
    return ndimage.maximum_filter(mask.view(np.uint8), size, mode="nearest").view(bool)


def _looks_like_support(thin, hu, threshold, spacing_mm):
    """Whether a thin outgrowth of the patient could be a piece of support."""
    if not thin.any():
        return False
    labels, count = ndimage.label(thin, EIGHT)
    pieces = measure(labels, count, hu, threshold, spacing_mm)
    long = (pieces.length_mm >= LONG_MM) & (pieces.mean_hu <= BONE_MEAN_HU)
    dark = (pieces.length_mm >= LONG_MM / 2) & (pieces.mean_hu < DARK_HU)
    shell = long | dark | _between(pieces.std_hu, PLASTIC_STD_HU)
    straight = pieces.length_mm >= np.maximum(MEDIUM_MM, ELONGATED * pieces.width_mm)
    return bool((shell & straight).any())


def _ask_neighbours(seen, spacing_mm):
    spacing_mm = 2 * np.asarray(spacing_mm)
    patients, cores = [v.patient for v in seen], [v.core for v in seen]
    devices = [_members(v.components, v.verdict == DEVICE) for v in seen]
    near = [_grown(device, NEAR_MM, spacing_mm) for device in devices]
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


def soft_rim(label, hu, spacing_mm, reach_mm=1.5):
    """Find the soft rim of a headrest: the pixels around it that it brightens.

    Parameters
    ----------
    label : Label
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.
    reach_mm : float, how far the rim reaches.

    Returns
    -------
    bool array (rows, columns), apart from the mask of the label. Nothing above the threshold
    is in it, and nothing beside a pixel above the threshold that is not headrest.
    """
    solid = hu > label.threshold
    kept = ndimage.binary_dilation(solid & ~label.mask, EIGHT)
    around = _grown(label.mask, reach_mm, spacing_mm)
    return around & ~solid & ~kept & (hu > FLOOR)
