"""Crop a series to the patient."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrest.dicom.arrays import as_series
from headrest.hounsfield import AIR
from headrest.segment.support import Support
from headrest.util.errors import HeadrestError


def crop_to_patient(
    series: Any,
    support: Support,
    margin_mm: float = 5.0,
    spacing_mm: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Crop a series to the patient that `find_support` found; the support is filled with air.

    Parameters
    ----------
    series : Series, path, nibabel image, or array of HU (slices, rows, columns)
    support : Support
        Found in this series.
    margin_mm : float
        Kept around the patient in every direction, in mm, as far as the image reaches.
    spacing_mm : (z, y, x), in mm; for an array.

    Returns
    -------
    hu : float32 array (slices, rows, columns), in HU.
    origin : float array (x, y, z), in mm
        Position of its first voxel: in the coordinates of the patient as in DICOM (left,
        posterior, superior), which is the origin of an image of ITK; from the first voxel of the
        array for an array.

    Raises
    ------
    HeadrestError
        Where there is no patient, or the support is of another series.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from headrest import find_support, read_series
    >>> series = read_series(get_testdata_file("693_UNCR.dcm", download=False))
    >>> hu, origin = crop_to_patient(series, find_support(series, method="kmeans"))
    >>> series.hu.shape, hu.shape
    ((1, 512, 512), (1, 382, 307))
    """
    series = as_series(series, spacing_mm)
    if support.patient.shape != series.stored.shape:
        shapes = f"of {support.patient.shape} for slices of {series.stored.shape}"
        raise HeadrestError(f"a support {shapes}: pass the series in which it was found")
    if not support.patient.any():
        raise HeadrestError("no patient found: nothing to crop to")
    box = []
    for axis, mm in enumerate(series.spacing_mm):
        others = tuple(other for other in range(3) if other != axis)
        at = np.flatnonzero(support.patient.any(axis=others))
        reach = int(np.ceil(margin_mm / mm))
        box.append(slice(max(at[0] - reach, 0), at[-1] + reach + 1))
    hu = np.where(support.removed, np.float32(AIR), series.hu)[tuple(box)]
    across, down = series.orientation.reshape(2, 3)
    _, y_mm, x_mm = series.spacing_mm
    first = series.positions[box[0].start]
    return hu, first + across * x_mm * box[2].start + down * y_mm * box[1].start
