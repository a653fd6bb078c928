"""Read a series from NIfTI, and write masks and cleaned images as NIfTI, resampled or not."""

import gzip
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from headrest.dicom.geometry import slice_normal, tilt_notes
from headrest.dicom.header import is_unit_pair, named_errors
from headrest.dicom.pixels import check_volume
from headrest.dicom.series import Series, SeriesFiles, check_shape, volume_series, why_no_field
from headrest.util import HeadrestError, __version__, require
from headrest.util.files import atomic_file

EVEN_GRID_MM = 0.05  # of a slice from an even grid; rounding of positions gives less
READ_AT_ONCE = 2**24  # bytes
SAME_SPACING = 1e-4  # relative difference of header and affine, which are float32

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # axes of DICOM (PS3.3 C.7.6.2.1.1) to those of NIfTI


def read_nifti(source: Any) -> Series:
    """Read a CT series from NIfTI, in any orientation. Needs nibabel.

    Parameters
    ----------
    source : path (.nii, .nii.gz), or nibabel image, of one volume in HU after scl_slope, scl_inter.

    Returns
    -------
    Series, axes swapped and flipped to axial slices as in DICOM; nothing is resampled.

    Raises
    ------
    HeadrestError
        Where the file cannot be read, is not one volume of HU, or has no usable affine.

    Examples
    --------
    >>> import nibabel
    >>> hu = np.full((48, 64, 4), -1000, np.int16)                 # x, y, z
    >>> hu[10:30, 20:40] = 40
    >>> read_nifti(nibabel.Nifti1Image(hu, np.diag([3.5, 3.5, 5, 1])))
    Series(4 slices of 64 x 48, 5.00 x 3.500 x 3.500 mm, tilt 0.0 degrees, 0 warnings)
    """
    require("nibabel")
    if not isinstance(source, (str, Path)):
        with named_errors("the image", "its file is damaged or missing"):
            return _series(source)
    with named_errors(source, "damaged, or no NIfTI"):
        if not Path(source).is_file():
            raise HeadrestError("there is no such file")
        files = SeriesFiles("", "", "", (Path(source),))
        return _series(load_image(source), files=files.files, source=files)


def load_image(path: str | Path) -> Any:
    """Load a NIfTI file as a nibabel image; any exception where it is damaged."""
    import nibabel

    if str(path).lower().endswith(".gz"):
        with gzip.open(path) as file:
            while file.read(READ_AT_ONCE):  # nibabel stops before the checksum at the end
                pass
    image: Any = nibabel.load(path, mmap=False)
    if image.dataobj.offset < image.header.sizeof_hdr:
        raise HeadrestError("its values begin within its header (vox_offset): write it again")
    return image


def _series(image, **source):
    from nibabel.orientations import apply_orientation

    raw, *rescale = _raw(image)
    raw, axes = raw.reshape(image.shape[:3]), _to_axial(image)
    stored = np.ascontiguousarray(apply_orientation(raw, axes).T)
    check_volume(stored, *rescale)
    grid = _, orientation, spacing_mm = _grid(image, axes, raw.shape)
    if reason := why_no_field(stored.shape, spacing_mm):
        raise HeadrestError(f"its affine: {reason}")
    notes = tuple(tilt_notes(orientation))
    return volume_series(stored, grid, *rescale, image=image, warnings=notes, **source)


def _raw(image):
    """Values of an image before scaling, slope and intercept."""
    dtype = np.dtype(image.get_data_dtype())
    if len(image.shape) < 3 or any(n != 1 for n in image.shape[3:]) or 0 in image.shape:
        first = "; image.slicer[..., 0] is the first" if len(image.shape) > 3 else ""
        raise HeadrestError(f"an image of shape {image.shape}: expected one volume{first}")
    if dtype.kind not in "iuf":
        values = f"colours ({''.join(dtype.names)})" if dtype.names else dtype
        raise HeadrestError(f"an image of {values}: expected HU as int or float")
    unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "mm"
    if unit not in ("mm", "unknown"):
        raise HeadrestError(f"spacing in {unit}: expected mm; write it again with units of mm")
    proxy = image.dataobj
    if hasattr(proxy, "get_unscaled"):
        return proxy.get_unscaled(), float(proxy.slope), float(proxy.inter)
    return np.asarray(proxy), 1.0, 0.0


def _to_axial(image):
    """Axes and flips from those of an image to left, posterior, superior."""
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    if image.affine is None or not np.isfinite(image.affine).all():
        raise HeadrestError("its affine is missing or not finite")
    codes = [code for code in ("sform_code", "qform_code") if code in image.header]
    if codes and not any(image.header[code] for code in codes):
        raise HeadrestError("no orientation, sform and qform codes are 0: image.set_sform(affine)")
    given = io_orientation(image.affine)
    if np.isnan(given).any() or abs(np.linalg.det(image.affine)) < 1e-9:
        raise HeadrestError("its affine is singular: an axis has no direction")
    return ornt_transform(given, axcodes2ornt("LPS"))


def to_image_axes(image: Any, axial: np.ndarray) -> np.ndarray:
    """Bring an array (slices, rows, columns) of `read_nifti` back to the axes of its image."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    back = ornt_transform(axcodes2ornt("LPS"), io_orientation(image.affine))
    return apply_orientation(axial.T, back)


def _grid(image, to_axial, shape):
    """Positions of slices in LPS, orientation, and spacing (z, y, x)."""
    from nibabel.orientations import inv_ornt_aff

    affine = LPS_TO_RAS @ image.affine @ inv_ornt_aff(to_axial, shape)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    row, column = affine[:3, 0] / lengths[0], affine[:3, 1] / lengths[1]
    orientation = np.concatenate([row, column])
    if not is_unit_pair(orientation):
        raise HeadrestError("its affine is sheared within the slices: resample it")
    measured = [lengths[0], lengths[1], abs(affine[:3, 2] @ slice_normal(orientation))]
    axes = to_axial[:, 0].astype(int)
    zooms = np.empty(3, np.float32)
    zooms[axes] = image.header.get_zooms()[:3]
    x, y, z = (
        float(str(zoom)) if abs(zoom - mm) <= SAME_SPACING * mm else float(mm)
        for zoom, mm in zip(zooms, measured)  # the header has the digits that were written
    )
    positions = affine[:3, 3] + np.outer(np.arange(shape[np.argmax(axes)]), affine[:3, 2])
    return positions, orientation, (z, y, x)


def affine_of(series: Series) -> np.ndarray:
    """Affine (4, 4) of a series, from (column, row, slice) to mm in RAS; sheared if tilted.

    Raises HeadrestError where slices have no position, or are unevenly spaced.
    """
    if refusal := why_no_nifti(series):
        raise HeadrestError(f"no affine: {refusal}")
    _, y_step, x_step = series.steps_mm
    return LPS_TO_RAS @ _affine(x_step, y_step, _step(series), series.positions[0])


def _affine(*columns):
    return np.vstack([np.column_stack(columns), [0, 0, 0, 1]])


def _step(series):
    """Mean step (x, y, z) from one slice to the next, in mm."""
    if len(series) > 1:
        return (series.positions[-1] - series.positions[0]) / (len(series) - 1)
    return series.steps_mm[0]


def why_no_nifti(series: Series) -> str:
    """Reason why a series cannot be written as NIfTI; empty where it can."""
    if series.why_not_placed:
        return series.why_not_placed
    even = series.positions[0] + np.outer(np.arange(len(series)), _step(series))
    off = np.linalg.norm(series.positions - even, axis=1).max()
    if off > EVEN_GRID_MM:
        return f"slices lie up to {off:.2f} mm from an even grid: --nifti-resample writes one"
    return ""


def is_sheared(series: Series) -> bool:
    """Whether the slice axis is not normal to the slices, as with a tilted gantry."""
    within_slice = series.orientation.reshape(2, 3) @ _step(series)
    return bool(np.linalg.norm(within_slice) * (len(series) - 1) > EVEN_GRID_MM)


def needs_resampling(series: Series) -> bool:
    """Whether NIfTI cannot hold the native grid, or holds it only with shear."""
    return bool(why_no_nifti(series)) or is_sheared(series)


def write_nifti(
    series: Series,
    values: np.ndarray,
    path: str | Path,
    parameters: str = "",
    resample: bool = False,
) -> None:
    """Write labels, a probability or HU as a NIfTI file. Needs nibabel.

    A series from NIfTI keeps its affine, its order of axes and its header. A tilted gantry gives a
    sheared affine, stored in the sform alone, as a qform cannot hold shear: nibabel, dcm2niix and
    SPM read it, ITK and SimpleITK refuse the file.

    Parameters
    ----------
    series : Series
    values : array (slices, rows, columns)
        bool or uint8 for labels, int16 or float for HU and probabilities; (columns, rows, slices)
        in the file for a series from DICOM.
    path : path, written atomically; compressed where it ends in .gz.
    parameters : str, how the values were made, for the description (80 bytes).
    resample : bool, write an even grid without shear in place of the native one.

    Raises
    ------
    HeadrestError
        Where nibabel is missing, the values do not fit the series, or the series has no affine.
    """
    require("nibabel")
    check_shape(values, series, f"{path}: not written: ")
    if refusal := series.why_not_placed if resample else why_no_nifti(series):
        raise HeadrestError(f"{path}: not written: {refusal}")
    if values.dtype.kind in "iu" and values.dtype.itemsize > 4:
        expected = "expected bool or uint8 for labels, int16 or float for HU"
        raise HeadrestError(f"{path}: not written: values of {values.dtype}: {expected}")
    kinds = {"b": np.uint8, "f": np.float32}
    values = values.astype(kinds.get(values.dtype.kind, values.dtype), copy=False)
    if resample:
        values, affine = _resampled(series, values)
        image = _new_image(values, LPS_TO_RAS @ affine, sheared=False)
    elif series.image is None:
        image = _new_image(values, affine_of(series), is_sheared(series))
    else:
        image = _like_source(series, values)
        image.header["cal_min"] = image.header["cal_max"] = 0  # window and meaning of the source
        image.header.set_intent("none")
    image.header["descrip"] = f"headrest {__version__} {parameters}".encode()[:79]
    with atomic_file(path) as temporary:
        temporary.write_bytes(_encoded(image, Path(path).suffix.lower() == ".gz"))


def encode_like_source(series: Series, stored: np.ndarray) -> bytes:
    """Encode stored values of a series from `read_nifti` as .nii.gz with its affine and header."""
    return _encoded(_like_source(series, stored, series.slopes[0], series.intercepts[0]), True)


def _encoded(image, compress):
    content = image.to_bytes()
    return gzip.compress(content, 6, mtime=0) if compress else content


def _like_source(series, values, slope=1.0, inter=0.0):
    """Image of values with the axes, affine and header of the source."""
    from nibabel import Nifti1Image

    source = series.image
    is_nifti = isinstance(source, Nifti1Image)
    kind, header = (type(source), source.header) if is_nifti else (Nifti1Image, None)
    image = kind(to_image_axes(source, values).reshape(source.shape), source.affine, header)
    image.set_data_dtype(values.dtype)
    image.header.set_slope_inter(slope, inter)
    return image


def _new_image(values, affine, sheared):
    from nibabel import Nifti1Image

    image = Nifti1Image(values.T, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="unknown" if sheared else "scanner")
    image.header.set_xyzt_units("mm")
    return image


def _resampled(series, values):
    """Values on an even grid without shear that holds all slices, and its affine in LPS.

    uint8 takes the nearest voxel, others are linear. Beyond the slices: the lowest value, or 0.
    """
    steps = series.steps_mm
    offsets = (series.positions - series.positions[0]) @ np.linalg.inv(steps)
    depths, shifts = offsets[:, 0], offsets[:, 1:].round(3)
    first = np.floor(shifts.min(0)).astype(int)
    size = np.ceil(shifts.max(0)).astype(int) - first + values.shape[1:]
    depth = np.arange(np.ceil(depths[-1] - 0.01) + 1)  # the last slice is repeated beyond its place
    nearest, fill = values.dtype == np.uint8, min(values.min(), 0)

    @lru_cache(maxsize=2)
    def plane(i):
        wide = np.full(size, fill, values.dtype if nearest else np.float32)
        shift = shifts[i] - first
        whole = np.floor(shift + 0.5 * nearest).astype(int)
        wide[tuple(slice(a, a + n) for a, n in zip(whole, values.shape[1:]))] = values[i]
        part = not nearest and (shift > whole).any()
        return ndimage.shift(wide, shift - whole, order=1, cval=fill) if part else wide

    result = np.empty((len(depth), *size), values.dtype)
    for k, place in enumerate(np.interp(depth, depths, np.arange(len(depths)))):
        low, share = int(place), place % 1
        if nearest or share == 0:
            result[k] = plane(int(place + 0.5))
            continue
        between = (1 - share) * plane(low) + share * plane(low + 1)
        result[k] = between.round() if values.dtype.kind in "iu" else between
    origin = series.positions[0] + first @ steps[1:]
    return result, _affine(steps[2], steps[1], steps[0], origin)
