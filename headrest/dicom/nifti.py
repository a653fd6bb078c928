"""Write a mask as NIfTI, for the tools of neuroimaging."""

import gzip

import numpy as np

from headrest.dicom.attributes import has_place
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file
from headrest.util.packages import require
from headrest.util.version import __version__

EVEN_MM = 0.05
"""How far a slice may lie from where one even step puts it; rounding alone is less."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts towards left and posterior (PS3.3 C.7.6.2.1.1), NIfTI towards right and anterior."""


def affine_of(series):
    """Where the voxels of a series lie, as NIfTI asks for it.

    Parameters
    ----------
    series : Series

    Returns
    -------
    float array (4, 4)
        From (column, row, slice) to mm in RAS. Where the gantry was tilted its slice axis does
        not stand on the others: it is sheared, as the scan is.

    Raises
    ------
    HeadrestError
        Where no affine can say it: slices of unknown place, or unevenly spaced.
    """
    if refusal := why_no_nifti(series):
        raise HeadrestError(f"no affine: {refusal}")
    # Rounded in the files to less than one: over a whole row that is more than a micron.
    row, column = (axis / np.linalg.norm(axis) for axis in series.orientation.reshape(2, 3))
    _, y_mm, x_mm = series.spacing_mm
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * x_mm, column * y_mm, _step(series), series.positions[0]])
    return LPS_TO_RAS @ affine


def _step(series):
    """Way in mm (x, y, z) from one slice to the next, were all steps the same."""
    if len(series) > 1:
        return (series.positions[-1] - series.positions[0]) / (len(series) - 1)
    return np.cross(series.orientation[:3], series.orientation[3:]) * series.spacing_mm[0]


def why_no_nifti(series):
    """Say why a series cannot have a NIfTI: str, empty where it can."""
    if not all(has_place(header) for header in series.headers):
        return "its slices do not say where they lie"
    even = series.positions[0] + np.outer(np.arange(len(series)), _step(series))
    off = np.linalg.norm(series.positions - even, axis=1).max()
    if off > EVEN_MM:
        return f"slices lie up to {off:.2f} mm from an even grid, and NIfTI has no other"
    return ""


def is_sheared(series):
    """Whether the slices are stacked aslant, as a tilted gantry does it (bool)."""
    within_slice = series.orientation.reshape(2, 3) @ _step(series)
    return bool(np.linalg.norm(within_slice) * (len(series) - 1) > EVEN_MM)


def write_nifti(series, mask, path, parameters=""):
    """Write a mask as a NIfTI-1 file on the native grid. Needs nibabel.

    Slices of a tilted gantry give a sheared affine, which is the truth, and stands in the sform
    alone: nibabel, dcm2niix and SPM read it as it is, SimpleITK and whatever else builds on ITK
    refuse the file. No qform is given, as it cannot hold shear and would be believed.

    Parameters
    ----------
    series : Series
    mask : bool array (slices, rows, columns)
        Laid down as uint8 (columns, rows, slices).
    path : path
        Written whole or not at all; compressed where it ends in .gz.
    parameters : str, how the mask was made; the first 80 bytes of the description.

    Raises
    ------
    HeadrestError
        Where nibabel is missing, the mask does not fit the series, no affine can say where its
        slices lie, or the file cannot be written.

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
    with atomic_file(path) as aside:
        aside.write_bytes(gzip.compress(content, 6, mtime=0) if aside.suffix == ".gz" else content)
