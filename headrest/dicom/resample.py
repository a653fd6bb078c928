"""Resample uneven or tilted slices onto an even, upright grid."""

from functools import lru_cache

import numpy as np
from scipy import ndimage

from headrest.dicom.series import Series


def resampled(series: Series, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Resample values of an uneven or tilted series onto an even grid without shear.

    The grid has the directions and the pixel spacing of the slices, and their median distance.
    Slices of a tilted gantry are shifted within their plane, and the grid is widened to hold all.

    Parameters
    ----------
    series : Series, with positions.
    values : array (slices, rows, columns)
        uint8 takes the nearest voxel, others are interpolated linearly. Beyond the slices they
        are 0 (labels, probabilities) or the lowest value (int16: HU).

    Returns
    -------
    values : array (slices, rows, columns) of the same dtype
    affine : float array (4, 4), from (column, row, slice) to mm in LPS.
    """
    axes = series.orientation.reshape(2, 3)
    x_axis, y_axis = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    normal, (z_mm, y_mm, x_mm) = np.cross(x_axis, y_axis), series.spacing_mm
    offsets = (series.positions - series.positions[0]) @ np.array(
        [normal, y_axis / y_mm, x_axis / x_mm]
    ).T
    depths, shifts = offsets[:, 0], offsets[:, 1:].round(3)
    first = np.floor(shifts.min(0)).astype(int)
    size = np.ceil(shifts.max(0)).astype(int) - first + values.shape[1:]
    depth = np.arange(round(depths[-1] / z_mm) + 1) * z_mm
    at = np.interp(depth, depths, np.arange(len(depths)))
    nearest = values.dtype == np.uint8
    fill = values.min() if values.dtype.kind == "i" else 0

    @lru_cache(maxsize=2)
    def plane(i):
        wide = np.full(size, fill, values.dtype if nearest else np.float32)
        shift = shifts[i] - first
        whole = np.floor(shift + 0.5 * nearest).astype(int)
        wide[tuple(slice(a, a + n) for a, n in zip(whole, values.shape[1:]))] = values[i]
        part = () if nearest else np.flatnonzero(shift > whole)
        return ndimage.shift(wide, shift - whole, order=1, cval=fill) if len(part) else wide

    result = np.empty((len(depth), *size), values.dtype)
    for k, place in enumerate(at):
        low, share = int(place), place % 1
        if nearest or share == 0:
            result[k] = plane(int(place + 0.5))
            continue
        between = (1 - share) * plane(low) + share * plane(low + 1)
        result[k] = between.round() if values.dtype.kind == "i" else between
    origin = series.positions[0] + y_axis * y_mm * first[0] + x_axis * x_mm * first[1]
    affine = np.eye(4)
    affine[:3] = np.column_stack([x_axis * x_mm, y_axis * y_mm, normal * z_mm, origin])
    return result, affine
