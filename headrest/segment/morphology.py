"""Morphology of masks, with distances in mm."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from headrest.hounsfield import FLOOR

FREE, TOUCHING, ABSENT = "free", "touching", "absent"
"""State of a slice: support apart from the patient; in contact with the patient; none found."""

EIGHT = np.ones((3, 3), bool)
"""8-connectivity: pixels that share an edge or a corner are connected."""

FACES = ndimage.generate_binary_structure(3, 1)
"""6-connectivity: voxels that share a face are connected."""

STRAP_MM = 1.0
"""Structures thinner than this enclose nothing: a strap around head and support is no skin."""


def volume_ml(mask: ArrayLike, spacing_mm: Sequence[ArrayLike]) -> float:
    """Compute the volume of a mask in ml.

    Parameters
    ----------
    mask : bool array (slices, rows, columns) or (rows, columns).
    spacing_mm : (z, y, x) in mm; z may be an array (slices,), as `Series.extent_mm` is.

    Examples
    --------
    >>> volume_ml(np.ones((10, 10, 10), bool), (1, 1, 1))
    1.0
    """
    z, y, x = spacing_mm
    pixels = np.count_nonzero(mask, axis=(-2, -1))
    return float(np.sum(pixels * np.asarray(z)) * y * x) / 1000


def open_mask(mask: np.ndarray, width_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Open a mask (rows, columns) with a square `width_mm` wide: thinner parts disappear."""
    reach = [max(1, round(width_mm / 2 / mm)) for mm in spacing_mm]
    return _over_window(_over_window(mask, reach, np.logical_and), reach, np.logical_or) & mask


def dilate(
    mask: np.ndarray, reach_mm: float = 0.0, spacing_mm: Sequence[float] = (1.0, 1.0)
) -> np.ndarray:
    """Dilate a mask (rows, columns) by `reach_mm` with a square; by one pixel at least, the
    default."""
    reach = [max(1, round(reach_mm / mm)) for mm in spacing_mm]
    return _over_window(mask, reach, np.logical_or)


def _over_window(mask: np.ndarray, reach: Sequence[int], combine: Callable) -> np.ndarray:
    """Combine each pixel with its neighbours up to `reach` away: a minimum or maximum filter.

    The window doubles in width at each step, several times as fast as the filters of SciPy.
    """
    for axis, n in enumerate(reach):
        ahead = np.moveaxis(mask.copy("K"), axis, 0)  # of 0 to n neighbours on one side
        width = 1
        while width <= n:
            step = min(width, n + 1 - width)
            combine(ahead[:-step], ahead[step:], out=ahead[:-step])
            width += step
        both = ahead.copy("K")
        combine(both[n:], ahead[:-n], out=both[n:])
        combine(both[:n], ahead[0], out=both[:n])
        mask = np.moveaxis(both, 0, axis)
    return mask


def count_neighbours(mask: np.ndarray) -> np.ndarray:
    """Count the 4-neighbours of each pixel that lie in a mask: uint8 array (rows, columns).

    Examples
    --------
    >>> count_neighbours(np.array([[True, True, False]]))
    array([[1, 1, 1]], dtype=uint8)
    """
    ones, count = mask.view(np.uint8), np.zeros(mask.shape, np.uint8)
    count[1:] += ones[:-1]
    count[:-1] += ones[1:]
    count[:, 1:] += ones[:, :-1]
    count[:, :-1] += ones[:, 1:]
    return count


def partial_volume_boundary(
    mask: np.ndarray,
    hu: np.ndarray,
    spacing_mm: Sequence[float],
    threshold: float,
    reach_mm: float = 1.5,
) -> np.ndarray:
    """Find the pixels that the support shares with the air around it.

    Parameters
    ----------
    mask : bool array (rows, columns), the support.
    hu : float array of that shape, in HU.
    spacing_mm : (y, x) in mm.
    threshold : float, HU above which the support was segmented.
    reach_mm : float, how far the boundary reaches.

    Returns
    -------
    bool array (rows, columns): pixels near the support, at the threshold or below, none of them
    beside a pixel above the threshold that is not support.
    """
    boundary = np.zeros(mask.shape, bool)
    if mask.any():
        near = bounding_box(mask, max(1, round(reach_mm / min(spacing_mm))) + 1)
        solid = hu[near] > threshold
        kept = dilate(solid & ~mask[near])
        around = dilate(mask[near], reach_mm, spacing_mm)
        boundary[near] = around & ~solid & ~mask[near] & ~kept & (hu[near] > FLOOR)
    return boundary


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """Find the bounding box of a mask along its last two axes, with a margin in pixels.

    Returns a slice for each axis: all of it for other axes, and where the mask is empty.

    Examples
    --------
    >>> bounding_box(np.eye(5, dtype=bool)[:2], 1)
    (slice(0, 3, None), slice(0, 3, None))
    """
    stacked = tuple(range(mask.ndim - 2))
    flat = np.any(mask, axis=stacked)
    ends = [np.flatnonzero(flat.any(axis))[[0, -1]].tolist() for axis in (1, 0) if flat.any()]
    box = [slice(max(first - margin, 0), last + margin + 1) for first, last in ends]
    return (*(slice(None) for _ in stacked), *(box or (slice(None),) * 2))


def largest_component(mask: np.ndarray, structure: np.ndarray = FACES) -> np.ndarray:
    """Find the largest connected component of a mask (slices, rows, columns), or (rows, columns)
    with the structure `EIGHT`: bool array of its shape.

    Examples
    --------
    >>> largest_component(np.array([[1, 1, 0, 1]], bool), EIGHT).tolist()
    [[True, True, False, False]]
    """
    labels, count = label_voxels(mask, structure)
    if not count:
        return mask
    largest = 1 + sum_by_label(labels, count)[1:].argmax()
    return select_voxels(mask, labels, np.arange(count + 1) == largest)


def label_voxels(mask: np.ndarray, structure: np.ndarray = FACES) -> tuple[list[np.ndarray], int]:
    """Label the connected components of a mask (slices, rows, columns): for each slice the labels
    of its voxels in the mask, int array (n,), from 1; and the number of components."""
    inside = mask[bounding_box(mask)]
    try:
        labels, count = ndimage.label(inside, structure, np.uint16)  # half the memory
    except RuntimeError:  # more components
        labels, count = ndimage.label(inside, structure)
    return [labels[i][inside[i]] for i in np.ndindex(inside.shape[:-2])], count


def select_voxels(mask: np.ndarray, labels: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Select components of a mask: `labels` of `label_voxels`, `chosen` a bool for each label."""
    selected = np.zeros_like(mask)
    for i, one in zip(np.ndindex(mask.shape[:-2]), labels):
        selected[i][mask[i]] = chosen[one]
    return selected


def sum_by_label(
    labels: list[np.ndarray], count: int, weights: Iterable[np.ndarray | None] = repeat(None)
) -> np.ndarray:
    """Count the voxels of each label of `label_voxels`, or sum their weights, for each slice an
    array (n,): float array (count + 1,), 0 for label 0."""
    total = np.zeros(count + 1)
    for one, weight in zip(labels, weights):
        total += np.bincount(one, weight, count + 1)
    return total


def fill_holes(body: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Fill the holes of a body (slices, rows, columns) in each slice, except holes enclosed by
    less than `STRAP_MM`; `spacing_mm` is (y, x) in mm.

    Examples
    --------
    >>> ring = np.zeros((1, 20, 20), bool)
    >>> ring[0, 3:17, 3:17], ring[0, 8:12, 8:12] = True, False
    >>> int(fill_holes(ring, (1, 1)).sum()), int(fill_holes(ring, (0.15, 0.15)).sum())
    (196, 180)
    """
    filled = body.copy()
    for one in filter(np.any, filled):
        inside = one[bounding_box(one, 1)]
        inside |= fill_slice(open_mask(inside, STRAP_MM, spacing_mm))
    return filled


def fill_slice(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask (rows, columns), 4-connected background that reaches no edge."""
    background, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return (background != background[0, 0])[1:-1, 1:-1]
