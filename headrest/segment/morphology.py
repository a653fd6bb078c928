"""What is done with masks, by whichever method they came about: bool arrays, in millimetres."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from headrest.hounsfield import FLOOR

FREE, TOUCHING, ABSENT = "free", "touching", "absent"
"""State of a slice: headrest found apart from the head; joined to it; none found."""

EIGHT = np.ones((3, 3), bool)
"""Pixels that meet at a corner are connected."""

FACES = ndimage.generate_binary_structure(3, 1)
"""Voxels are connected where they share a face."""

RING_MM = 1.0
"""What is thinner than this encloses nothing: a strap round head and holder is no body."""


def volume_ml(mask: ArrayLike, spacing_mm: Sequence[ArrayLike]) -> float:
    """Volume of a mask in millilitres.

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
    """Open a mask (rows, columns): what a square of that width can be moved about in."""
    reach = [max(1, round(width_mm / 2 / mm)) for mm in spacing_mm]
    return _over_window(_over_window(mask, reach, np.logical_and), reach, np.logical_or) & mask


def dilate(mask: np.ndarray, reach_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Let a mask (rows, columns) grow by `reach_mm` to every side, corners included."""
    reach = [max(1, round(reach_mm / mm)) for mm in spacing_mm]
    return _over_window(mask, reach, np.logical_or) if mask.any() else mask


def _over_window(mask, reach, combine):
    """Combine each pixel with its neighbours up to `reach` away; edges count as going on.

    The same as SciPy's minimum or maximum filter, for masks, and three times as fast: windows
    double in width step by step, and each step is one operation on whole arrays.
    """
    for axis, n in enumerate(reach):
        mask = np.pad(np.moveaxis(mask, axis, 0), ((n, n), (0, 0)), mode="edge")
        width = 1
        while width < 2 * n + 1:
            step = min(width, 2 * n + 1 - width)
            mask = combine(mask[:-step], mask[step:])
            width += step
        mask = np.moveaxis(mask, 0, axis)
    return mask


def partial_volume_boundary(
    mask: np.ndarray,
    hu: np.ndarray,
    spacing_mm: Sequence[float],
    threshold: float,
    reach_mm: float = 1.5,
) -> np.ndarray:
    """Find the soft rim of a headrest: the pixels around it that it brightens.

    Parameters
    ----------
    mask : bool array (rows, columns), the headrest.
    hu : float array of that shape, in HU.
    spacing_mm : (y, x) in mm.
    threshold : float, HU above which the headrest was looked for.
    reach_mm : float, how far the rim reaches.

    Returns
    -------
    bool array (rows, columns), apart from the mask. Nothing above the threshold is in it, and
    nothing beside a pixel above the threshold that is not headrest.
    """
    rim = np.zeros(mask.shape, bool)
    reach = max(1, round(reach_mm / min(spacing_mm)))
    if mask.any():
        near = bounding_box(mask, reach + 1)
        rim[near] = _boundary(mask[near], hu[near], spacing_mm, threshold, reach_mm)
    return rim


def _boundary(mask, hu, spacing_mm, threshold, reach_mm):
    solid = hu > threshold
    kept = ndimage.binary_dilation(solid & ~mask, EIGHT)
    around = dilate(mask, reach_mm, spacing_mm)
    return around & ~solid & ~kept & (hu > FLOOR)


def bounding_box(mask: np.ndarray, rim: int) -> tuple[slice, ...]:
    """Cut the last two axes down to where a mask is, with some pixels around it.

    Parameters
    ----------
    mask : bool array (..., rows, columns)
    rim : int, pixels around it.

    Returns
    -------
    tuple of slice, of each axis; all of it where the mask is empty.

    Examples
    --------
    >>> bounding_box(np.eye(5, dtype=bool)[:2], 1)
    (slice(0, 3, None), slice(0, 3, None))
    """
    flat = np.any(mask, axis=tuple(range(mask.ndim - 2)))
    return (
        *(slice(None),) * (mask.ndim - 2),
        *(_around(np.flatnonzero(where).tolist(), rim) for where in (flat.any(1), flat.any(0))),
    )


def _around(places, rim):
    return slice(max(places[0] - rim, 0), places[-1] + rim + 1) if places else slice(None)


def largest_component(mask):
    """The largest connected piece of a mask (slices, rows, columns); faces connect."""
    labels, count = ndimage.label(mask, FACES)
    return labels == 1 + sum_by_label(labels, count)[1:].argmax() if count else mask


def sum_by_label(labels, count, weights=None):
    """Voxels of each label, or sums of their weights: float array (count + 1,), 0 of no label.

    Slice by slice: NumPy counts in eight bytes a voxel, which a whole series has no room for.
    """
    total = np.zeros(count + 1)
    for i, one in enumerate(labels):
        labelled = one > 0
        weight = None if weights is None else weights[i][labelled]
        total += np.bincount(one[labelled], weight, count + 1)
    return total


def fill_holes(body, spacing_mm):
    """A body and what it encloses in each slice, but for what thin rings enclose.

    Parameters
    ----------
    body : bool array (slices, rows, columns)
    spacing_mm : (y, x) in mm.

    Returns
    -------
    bool array of that shape.

    Examples
    --------
    >>> ring = np.zeros((1, 20, 20), bool)
    >>> ring[0, 3:17, 3:17], ring[0, 8:12, 8:12] = True, False
    >>> int(fill_holes(ring, (1, 1)).sum()), int(fill_holes(ring, (0.15, 0.15)).sum())
    (196, 180)
    """
    filled = body.copy()
    for out in filled:
        closed = open_mask(out, RING_MM, spacing_mm)
        outside, _ = ndimage.label(np.pad(~closed, 1, constant_values=True))
        out |= (outside != outside[0, 0])[1:-1, 1:-1]
    return filled
