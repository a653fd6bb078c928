"""Write a mask as NIfTI."""

import gzip
from pathlib import Path

import numpy as np

from headrest.dicom.attributes import has_place
from headrest.dicom.series import Series
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file
from headrest.util.packages import require
from headrest.util.version import __version__

EVEN_GRID_MM = 0.05
"""Largest distance of a slice from an evenly spaced grid; rounding of positions gives less."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM axes (left, posterior, superior; PS3.3 C.7.6.2.1.1) to those of NIfTI."""


def affine_of(series: Series) -> np.ndarray:
    """Affine (4, 4) of a series, from (column, row, slice) to mm in RAS; sheared if tilted.

    Raises HeadrestError where slices have no position, or are unevenly spaced.
    """
    if refusal := why_no_nifti(series):
        raise HeadrestError(f"no affine: {refusal}")
    # Rounded in the files to a length below one, which over a whole row exceeds a micron.
    row, column = (axis / np.linalg.norm(axis) for axis in series.orientation.reshape(2, 3))
    _, y_mm, x_mm = series.spacing_mm
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * x_mm, column * y_mm, _step(series), series.positions[0]])
    return LPS_TO_RAS @ affine


def _step(series):
    """Mean step (x, y, z) from one slice to the next, in mm."""
    if len(series) > 1:
        return (series.positions[-1] - series.positions[0]) / (len(series) - 1)
    return np.cross(series.orientation[:3], series.orientation[3:]) * series.spacing_mm[0]


def why_no_nifti(series: Series) -> str:
    """Reason why a series cannot be written as NIfTI; empty where it can."""
    if not all(has_place(header) for header in series.headers):
        return "its slices have no position"
    even = series.positions[0] + np.outer(np.arange(len(series)), _step(series))
    off = np.linalg.norm(series.positions - even, axis=1).max()
    if off > EVEN_GRID_MM:
        return f"slices lie up to {off:.2f} mm from an even grid, which NIfTI requires"
    return ""


def is_sheared(series: Series) -> bool:
    """Whether the slice axis is not normal to the slices, as with a tilted gantry."""
    within_slice = series.orientation.reshape(2, 3) @ _step(series)
    return bool(np.linalg.norm(within_slice) * (len(series) - 1) > EVEN_GRID_MM)


def write_nifti(series: Series, mask: np.ndarray, path: str | Path, parameters: str = "") -> None:
    """Write a mask as a NIfTI-1 file on the native grid. Needs nibabel.

    A tilted gantry gives a sheared affine. It is stored in the sform alone, as a qform cannot hold
    shear: nibabel, dcm2niix and SPM read it, ITK and SimpleITK refuse the file.

    Parameters
    ----------
    series : Series
    mask : bool array (slices, rows, columns)
        Written as uint8 (columns, rows, slices).
    path : path
        Written atomically; compressed where it ends in .gz.
    parameters : str
        How the mask was made, for the description (80 bytes).

    Raises
    ------
    HeadrestError
        Where nibabel is missing, the mask does not fit the series, or the series has no affine.

    Examples
    --------
    >>> import nibabel
    >>> write_nifti(series, support.removed, "headrest.nii.gz")      # doctest: +SKIP
    >>> nibabel.load("headrest.nii.gz").shape                     # doctest: +SKIP
    (512, 512, 28)
    """
    require("nibabel")
    from nibabel import Nifti1Image

    if np.shape(mask) != series.stored.shape:
        shapes = f"a mask of {np.shape(mask)} for slices of {series.stored.shape}"
        raise HeadrestError(f"{path}: not written: {shapes}")
    affine = affine_of(series)
    image = Nifti1Image(mask.astype(np.uint8).T, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="unknown" if is_sheared(series) else "scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"headrest {__version__} {parameters}".encode()[:79]
    content = image.to_bytes()
    if Path(path).suffix == ".gz":
        content = gzip.compress(content, 6, mtime=0)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
