"""How much support is left, how much patient was lost, and how well two masks agree."""

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


def dice(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Dice coefficient: twice the shared pixels over the sum of both masks.

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty (nothing was there, nothing was found).

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
    a, b = _same_shape(mask_true, mask_pred)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def iou(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Intersection over union (Jaccard index).

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty.

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Notes
    -----
    P. Jaccard, New Phytologist 11 (1912) 37.

    Examples
    --------
    >>> iou([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    a, b = _same_shape(mask_true, mask_pred)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def pixel_accuracy(mask_true: ArrayLike, mask_pred: ArrayLike) -> tuple[float, float]:
    """Share of pixels that agree, beside the share that an empty mask would reach.

    A headrest fills about 2 % of a slice, so "no headrest anywhere" scores 98 %: read the
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
    if not a.size:
        return 1.0, 1.0
    return float((a == b).mean()), float((~a).mean())


def residual_ml(device: ArrayLike, removed: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """Device that was left standing.

    Parameters
    ----------
    device, removed : bool array, of one shape.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    float, in ml; 0.0 where there was no device.

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Examples
    --------
    >>> residual_ml([[[1, 1, 0]]], [[[1, 0, 0]]], (10, 10, 10))
    1.0
    """
    there, taken = _same_shape(device, removed)
    return volume_ml(there & ~taken, spacing_mm)


def lost_ml(patient: ArrayLike, removed: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """Patient that was removed.

    Parameters
    ----------
    patient, removed : bool array, of one shape.
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
    """Distance between the surfaces of two masks that so many per cent of both do not exceed.

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
    The surface of a mask are its pixels with a 4-neighbour outside it (faces, in a volume); beyond
    the image counts as outside. From each to the nearest of the other mask's, both ways taken
    together: D. P. Huttenlocher et al., IEEE PAMI 15 (1993) 850.

    Examples
    --------
    >>> surface_distance_mm([[1, 0, 0, 0]], [[0, 0, 0, 1]], (1, 0.5))
    1.5
    """
    from scipy.spatial import KDTree  # its import takes as long as that of all metrics

    a, b = (_surface(mask) * spacing_mm for mask in _same_shape(mask_true, mask_pred))
    if not (len(a) and len(b)):
        return 0.0 if len(a) == len(b) else float("inf")
    ways = [KDTree(there).query(here)[0] for here, there in ((a, b), (b, a))]
    return float(np.percentile(np.concatenate(ways), percent))


def _surface(mask):
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))
