"""Overlap of two masks, residual support and removed patient in ml, and surface distance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from headrest.segment.morphology import volume_ml
from headrest.util.errors import HeadrestError


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
    return float(_scores(mask_true, mask_pred)["dice"])


def iou(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Intersection over union (Jaccard index).

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty. Errors as for `dice`.

    Notes
    -----
    P. Jaccard, New Phytologist 11 (1912) 37.

    Examples
    --------
    >>> iou([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    return float(_scores(mask_true, mask_pred)["iou"])


def pixel_accuracy(mask_true: ArrayLike, mask_pred: ArrayLike) -> tuple[float, float]:
    """Share of equal pixels, beside the share that an empty mask reaches.

    A support fills about 2 % of a slice, so an empty mask has an accuracy of 98 %: read the
    first figure only beside the second. Both are 1.0 for arrays of no pixels.

    Examples
    --------
    >>> pixel_accuracy([1, 0, 0, 0], [0, 0, 0, 0])
    (0.75, 0.75)
    """
    scores = _scores(mask_true, mask_pred)
    return float(scores["accuracy"]), float(scores["all_background"])


def _scores(mask_true, mask_pred):
    true, found = _same_shape(mask_true, mask_pred)
    true_n, found_n, shared = (np.count_nonzero(mask) for mask in (true, found, true & found))
    return scores_from_counts(true_n, found_n, shared, true.size)


def _same_shape(*masks):
    arrays = [np.asarray(m, bool) for m in masks]
    if len({m.shape for m in arrays}) > 1:
        raise HeadrestError(f"masks of different shapes: {[m.shape for m in arrays]}")
    return arrays


def count_slices(true: np.ndarray, found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Count pixels of two masks, of their intersection, and all, per slice and where known.

    Bool arrays (slices, rows, columns) -> int array (4, slices).
    """
    masks = (true & known, found & known, true & found & known, known)
    return np.stack([np.count_nonzero(mask, axis=(1, 2)) for mask in masks])


def dice_from_counts(true: ArrayLike, found: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """Dice from pixel counts of two masks and of their intersection, arrays of any one shape.

    Examples
    --------
    >>> dice_from_counts([2, 0], [1, 0], [1, 0]).round(3).tolist()
    [0.667, 1.0]
    """
    return _ratio(2 * np.asarray(shared), np.add(true, found))


def scores_from_counts(
    true: ArrayLike, found: ArrayLike, shared: ArrayLike, pixels: ArrayLike
) -> dict[str, np.ndarray]:
    """Dice, IoU, accuracy and the accuracy of an empty mask, from the counts of `count_slices`."""
    wrong = np.add(true, found) - 2 * np.asarray(shared)
    return {
        "dice": dice_from_counts(true, found, shared),
        "iou": _ratio(shared, wrong + shared),
        "accuracy": _ratio(pixels - wrong, pixels),
        "all_background": _ratio(np.subtract(pixels, true), pixels),
    }


def _ratio(part, whole):
    return np.where(np.equal(whole, 0), 1.0, part / np.maximum(whole, 1))


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
    float, in ml. Errors as for `residual_ml`.

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
    float, in mm; 0.0 where both masks are empty, infinite where one of them is. Errors as `dice`.

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
