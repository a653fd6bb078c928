"""Overlap of two masks, residual support and removed patient in ml, and surface distance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from headrest.segment.morphology import volume_ml
from headrest.util.errors import HeadrestError


def _same_shape(*masks):
    masks = [np.asarray(m, bool) for m in masks]
    if len({m.shape for m in masks}) > 1:
        raise HeadrestError(f"masks of different shapes: {[m.shape for m in masks]}")
    return masks


def _counts(mask_true, mask_pred):
    true, found = _same_shape(mask_true, mask_pred)
    return np.count_nonzero(true), np.count_nonzero(found), np.count_nonzero(true & found)


def dice_from_counts(true: ArrayLike, found: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """Dice coefficient from pixel counts of two masks and of their intersection.

    Parameters
    ----------
    true, found, shared : array of any one shape, whole numbers.

    Returns
    -------
    float array of that shape; 1.0 where both masks are empty.

    Examples
    --------
    >>> dice_from_counts([2, 0], [1, 0], [1, 0]).round(3).tolist()
    [0.667, 1.0]
    """
    both = np.add(true, found)
    return np.where(both > 0, 2 * np.asarray(shared) / np.maximum(both, 1), 1.0)


def iou_from_counts(true: ArrayLike, found: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """Intersection over union from the counts of `dice_from_counts`; 1.0 for empty masks."""
    union = np.add(true, found) - shared
    return np.where(union > 0, np.asarray(shared) / np.maximum(union, 1), 1.0)


def dice(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Dice coefficient: twice the intersection over the sum of both masks.

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty (no support, and none found).

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Notes
    -----
    L. R. Dice, Ecology 26 (1945) 297.

    Examples
    --------
    >>> dice([1, 1, 0, 0], [1, 0, 0, 0])
    0.6666666666666666
    """
    return float(dice_from_counts(*_counts(mask_true, mask_pred)))


def iou(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Intersection over union (Jaccard index).

    Parameters, Returns and Raises are those of `dice`.

    Notes
    -----
    P. Jaccard, New Phytologist 11 (1912) 37.

    Examples
    --------
    >>> iou([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    return float(iou_from_counts(*_counts(mask_true, mask_pred)))


def pixel_accuracy(mask_true: ArrayLike, mask_pred: ArrayLike) -> tuple[float, float]:
    """Share of equal pixels, beside the share that an empty mask reaches.

    A support fills about 2 % of a slice, so an empty mask has an accuracy of 98 %: read the
    first figure only beside the second.

    Returns
    -------
    (accuracy, all_background) : floats from 0 to 1; (1.0, 1.0) for arrays of no pixels.

    Examples
    --------
    >>> pixel_accuracy([1, 0, 0, 0], [0, 0, 0, 0])
    (0.75, 0.75)
    """
    a, b = _same_shape(mask_true, mask_pred)
    return (float((a == b).mean()), float((~a).mean())) if a.size else (1.0, 1.0)


def residual_ml(support: ArrayLike, removed: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """Residual support: the volume of support that was not removed.

    Parameters
    ----------
    support, removed : bool array (slices, rows, columns), of one shape.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    float, in ml; 0.0 where there was no support.

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Examples
    --------
    >>> residual_ml([[[1, 1, 0]]], [[[1, 0, 0]]], (10, 10, 10))
    1.0
    """
    there, taken = _same_shape(support, removed)
    return volume_ml(there & ~taken, spacing_mm)


def lost_ml(patient: ArrayLike, removed: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """Removed patient: the volume of patient that was removed.

    Parameters
    ----------
    patient, removed : bool array (slices, rows, columns), of one shape.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    float, in ml; 0.0 where nothing was removed.

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Examples
    --------
    >>> lost_ml([[[0, 0, 1]]], [[[1, 0, 0]]], (10, 10, 10))
    0.0
    """
    there, taken = _same_shape(patient, removed)
    return volume_ml(there & taken, spacing_mm)


def surface_distance_mm(
    mask_true: ArrayLike,
    mask_pred: ArrayLike,
    spacing_mm: Sequence[float],
    percent: float = 95.0,
) -> float:
    """Percentile of the distances between the surfaces of two masks, in both directions.

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.
    spacing_mm : mm along each of their axes, (y, x) for a slice.
    percent : float, 0 to 100; 100 gives the Hausdorff distance.

    Returns
    -------
    float, in mm; 0.0 where both masks are empty, infinite where one of them is.

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Notes
    -----
    A surface consists of the pixels with a 4-neighbour (in a volume, a voxel that shares a face)
    outside the mask; pixels beyond the image are outside. D. P. Huttenlocher et al., IEEE PAMI 15
    (1993) 850.

    Examples
    --------
    >>> surface_distance_mm([[1, 0, 0, 0]], [[0, 0, 0, 1]], (1, 0.5))
    1.5
    """
    from scipy.spatial import KDTree  # imported here: it takes as long as this whole module

    a, b = (_surface(mask) * spacing_mm for mask in _same_shape(mask_true, mask_pred))
    if not (len(a) and len(b)):
        return 0.0 if len(a) == len(b) else float("inf")
    distances = [KDTree(there).query(here)[0] for here, there in ((a, b), (b, a))]
    return float(np.percentile(np.concatenate(distances), percent))


def _surface(mask):
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))
