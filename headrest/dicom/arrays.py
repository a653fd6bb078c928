"""Make a series from an array of HU, and from anything that `find_support` takes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headrest.dicom.geometry import PIXEL_SPACING_RANGE_MM
from headrest.dicom.nifti import read_nifti
from headrest.dicom.read import read_series
from headrest.dicom.series import Series, volume_series
from headrest.dicom.values import check_volume
from headrest.util.errors import HeadrestError

CALL = "series_from_array(hu, spacing_mm=(5.0, 0.5, 0.5))  # hu[slices, rows, columns]; z, y, x"
"""A call that works, for messages."""

MAX_SLICE_SPACING_MM = 100.0
"""Largest plausible distance of two slices; above it, the number is no distance in mm."""


def series_from_array(hu: np.ndarray, spacing_mm: Sequence[float]) -> Series:
    """Make a series from an array of HU.

    Parameters
    ----------
    hu : int or float array (slices, rows, columns), in HU
        Slices axial, from feet to head; rows from anterior to posterior, columns from the right
        of the patient to the left, as in DICOM.
    spacing_mm : (z, y, x)
        Distance of slices, of rows and of columns, in mm.

    Returns
    -------
    Series
        Without DICOM headers. `find_support` takes it.

    Raises
    ------
    HeadrestError
        For another type or number of axes, values that are not HU, or a spacing that does not
        fit; the text shows a call that works.

    Examples
    --------
    >>> hu = np.full((4, 64, 48), -1000)
    >>> hu[:, 20:40, 10:30] = 40
    >>> series_from_array(hu, spacing_mm=(5, 3.5, 3.5))
    Series(4 slices of 64 x 48, 5.00 x 3.500 x 3.500 mm, tilt 0.0 degrees, 0 warnings)
    """
    if not hasattr(hu, "__array__"):
        expected = "expected a Series, a path, a nibabel image, or an array of HU"
        raise HeadrestError(f"{type(hu).__name__}: {expected}; for example {CALL}")
    stored = np.asarray(hu)
    if stored.dtype.kind not in "iuf":
        raise HeadrestError(f"an array of {stored.dtype}: expected HU as int or float")
    if stored.ndim != 3 or not stored.size:
        what = "one slice is hu[np.newaxis]" if stored.ndim == 2 else "pass one volume at a time"
        raise HeadrestError(f"an array of shape {stored.shape}: {what}; for example {CALL}")
    spacing = _checked_spacing(spacing_mm)
    if stored.shape[0] == stored.shape[1] and 2 * stored.shape[2] <= stored.shape[0]:
        raise HeadrestError(  # axial slices are nearly always square
            f"an array of shape {stored.shape}: slices last, in the order x, y, z? "
            "Expected (slices, rows, columns): hu.transpose(2, 1, 0)"
        )
    check_volume(stored)
    positions = np.outer(np.arange(len(stored)) * spacing[0], [0, 0, 1.0])
    return volume_series(stored, positions, np.array([1.0, 0, 0, 0, 1, 0]), spacing)


def as_series(data: Any, spacing_mm: Sequence[float] | None = None) -> Series:
    """Make a series from a Series, a path, a nibabel image, or an array of HU with its spacing.

    Raises HeadrestError for anything else, and for a spacing that is missing or not needed.
    """
    is_image = hasattr(data, "affine") and hasattr(data, "dataobj")
    if isinstance(data, (Series, str, os.PathLike)) or is_image:
        if spacing_mm is not None:
            raise HeadrestError("spacing_mm is for arrays: a series, file or image has its own")
        if isinstance(data, Series):
            return data
        return read_nifti(data) if is_image else read_series(Path(data))
    if spacing_mm is None and hasattr(data, "__array__"):
        raise HeadrestError(f"an array needs its spacing in mm; for example {CALL}")
    return series_from_array(data, () if spacing_mm is None else spacing_mm)


def _checked_spacing(spacing_mm):
    try:
        spacing = tuple(float(mm) for mm in spacing_mm)
    except (TypeError, ValueError):
        spacing = ()
    low, high = PIXEL_SPACING_RANGE_MM
    reason = ""
    if len(spacing) != 3:
        reason = "expected three numbers (z, y, x) in mm"
    elif not (np.isfinite(spacing).all() and min(spacing) > 0):
        reason = "each number must be positive"
    elif min(spacing) < low:
        reason = "too small for mm; metres? Multiply by 1000"
    elif max(spacing[1:]) > high or spacing[0] > MAX_SLICE_SPACING_MM:
        reason = "too large for mm; micrometres? Or not in the order (z, y, x)"
    elif spacing[0] == spacing[1] and not 0.5 < spacing[2] / spacing[1] < 2:
        reason = "in the order x, y, z? Expected (z, y, x)"  # pixels are nearly always square
    if reason:
        raise HeadrestError(f"spacing_mm={spacing_mm}: {reason}; for example {CALL}")
    return spacing
