"""Read a mask or labels that a person corrected, onto the voxels of their series."""

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.uid import SegmentationStorage

from headrest.dicom.header import quiet
from headrest.dicom.nifti import LPS_TO_RAS, affine_of, is_nifti, needs_resampling
from headrest.dicom.series import Series
from headrest.dicom.values import has_place, text
from headrest.hounsfield import PATIENT, SUPPORT
from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError, require

HEADREST = ("706683002", "SCT", "Headrest")
BODY = ("38266002", "SCT", "Entire body")
"""Types of the segments of support and patient (PS3.16 CID 7151). Entire body and not Head
(69536005): the patient is all of the body that is in the image, a neck or a chest too."""

MANUALLY_CORRECTED = "manually corrected"
"""Begins the description of a mask that a person corrected."""

SEGMENTATION_CLASSES = (SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of a DICOM Segmentation: binary or fractional, and label map (PS3.4 B.5)."""

SAME_GRID_SHARE = 0.1
"""Largest distance of a voxel of the mask from that of the series, as a share of the spacing."""


def read_mask(path: str | Path, series: Series) -> np.ndarray:
    """Read a mask from NIfTI or a DICOM Segmentation onto the voxels of a series.

    Parameters
    ----------
    path : path
        NIfTI (.nii, .nii.gz) in any orientation, or a DICOM Segmentation whose frames may be
        flipped, cropped or in another order; slices without a frame are empty. Of NIfTI that
        was resampled from uneven or tilted slices, each voxel takes the nearest one.
    series : Series

    Returns
    -------
    bool array (slices, rows, columns)
        The one label of the file; of a label image of `clean --nifti` the label 1; of a
        DICOM Segmentation with a patient the segment of the type Headrest.

    Raises
    ------
    HeadrestError
        Where the file cannot be read, has other labels or the patient alone, or its voxels are
        not those of the series.

    Examples
    --------
    >>> read_mask("edited.nii.gz", series).sum()                     # doctest: +SKIP
    71322
    """
    with _naming(path):
        return one_label(_read(path, series), *_numbers(path))


def read_labels(path: str | Path, series: Series) -> np.ndarray:
    """Read a label image, as `read_mask` reads a mask; from .npz too.

    Returns
    -------
    array (slices, rows, columns), values as they are stored; those of a binary DICOM Segmentation
    are the numbers of its segments. In an .npz file the array is named "labels" or "mask", or the
    only one.

    Raises
    ------
    HeadrestError
        Where the file cannot be read, segments overlap, or its voxels are not those of the series.
    """
    with _naming(path):
        return _read(path, series)


@contextmanager
def _naming(path):
    try:
        yield
    except HeadrestError as error:
        raise HeadrestError(f"{path}: {error}") from error.__cause__
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises any exception
        reason = f"damaged, or no NIfTI or DICOM Segmentation ({type(error).__name__})"
        raise HeadrestError(f"{path}: {reason}") from error


def _read(path, series):
    if Path(path).suffix.lower() == ".npz":
        return _from_arrays(path, series)
    return _from_nifti(path, series) if is_nifti(path) else _from_segmentation(path, series)


def as_mask(mask: Any, series: Series) -> np.ndarray:
    """Bool array (slices, rows, columns) from a path, see `read_mask`, or from an array of 0 and 1.

    Raises HeadrestError where it does not fit the series, or has other values.
    """
    if isinstance(mask, (str, Path)):
        return read_mask(mask, series)
    values = np.asarray(mask)
    if values.shape != series.stored.shape:
        raise HeadrestError(f"a mask of {values.shape} for slices of {series.stored.shape}")
    return one_label(values)


def one_label(
    values: np.ndarray, support: Sequence[int] = (SUPPORT,), patient: Sequence[int] = (PATIENT,)
) -> np.ndarray:
    """Find the support in a mask, or in a label image of support and patient.

    Parameters
    ----------
    values : array
        0, and the one label of a mask, whichever it is; or 0, support and patient.
    support, patient : numbers of the labels of a label image that `clean` wrote.

    Returns
    -------
    bool array.

    Raises
    ------
    HeadrestError
        For other labels, and for the patient alone: with all support erased from a label image,
        the patient must not be removed.

    Examples
    --------
    >>> one_label(np.array([0, 1, 2])), one_label(np.array([0, 7]))
    (array([False,  True, False]), array([False,  True]))
    """
    found = np.unique(values[values != 0]).tolist()
    rest = [label for label in found if label not in patient]
    shown = ", ".join(f"{label:g}" for label in found[:5])
    if found and not rest:
        raise HeadrestError(f"a mask with the label {shown} alone, which is the patient")
    if len(rest) > 1 or (rest != found and rest[0] not in support) or np.isnan(rest).any():
        raise HeadrestError(f"a mask with the labels {shown}: keep that of the support alone")
    return values == rest[0] if rest else np.zeros(values.shape, bool)


def _from_nifti(path, series):
    require("nibabel")
    import nibabel

    image: Any = nibabel.load(path)
    values = np.asanyarray(image.dataobj)
    if values.ndim != 3:
        raise HeadrestError(f"a mask of {values.shape} for slices of {series.stored.shape}")
    try:
        return _on_same_grid(image, values, series)
    except HeadrestError as refusal:
        placed = series.image is None and all(has_place(header) for header in series.headers)
        if not placed or not needs_resampling(series):
            raise
        return _nearest(image, values, series, refusal)


def _on_same_grid(image, values, series):
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    to_voxels = np.linalg.inv(affine_of(series)) @ image.affine
    orientation = io_orientation(to_voxels)
    mask = apply_orientation(values, orientation).T
    if mask.shape != series.stored.shape:
        raise HeadrestError(
            f"another geometry: a mask of {mask.shape} for slices of {series.stored.shape}"
        )
    corners = np.array(np.meshgrid(*([0, n - 1] for n in mask.shape[::-1]), [1])).reshape(4, -1)
    moved = to_voxels @ inv_ornt_aff(orientation, values.shape) @ corners - corners
    _refuse_distance(np.abs(moved).max())
    return mask


def _nearest(image, values, series, refusal):
    """Values at the voxels that lie nearest to those of uneven or tilted slices.

    NIfTI cannot hold such slices; dcm2niix and `write_nifti` resample them. Refuse an image that is
    coarser than the series, or does not reach all its voxels.
    """
    to_index = np.linalg.inv(LPS_TO_RAS @ image.affine)
    x_axis, y_axis = series.orientation.reshape(2, 3)
    z_mm, y_mm, x_mm = series.spacing_mm
    axes = np.array([np.cross(x_axis, y_axis) * z_mm, y_axis * y_mm, x_axis * x_mm])
    steps = to_index[:3, :3] @ axes.T
    rows, columns = np.ogrid[: series.stored.shape[1], : series.stored.shape[2]]
    found = np.zeros(series.stored.shape, values.dtype)
    for i, position in enumerate(series.positions):
        start = to_index[:3, :3] @ position + to_index[:3, 3]
        at = tuple(
            np.rint(a + b * rows + c * columns).astype(int) for a, (_, b, c) in zip(start, steps)
        )
        reached = all(0 <= n.min() <= n.max() < size for n, size in zip(at, values.shape))
        if not reached or np.linalg.norm(steps, axis=0).min() < 1 - SAME_GRID_SHARE:
            raise HeadrestError(
                f"{refusal}; a resampled image must be as fine as the series, and reach all its "
                "voxels: edit the DICOM Segmentation of --segmentation instead"
            )
        found[i] = values[at]
    return found


def _numbers(path):
    """Numbers of the labels of the support and of the patient, by their codes in DICOM."""
    if Path(path).suffix.lower() == ".npz" or is_nifti(path):
        return (SUPPORT,), (PATIENT,)
    numbers = {HEADREST[0]: [], BODY[0]: []}
    for segment in dcmread(path, stop_before_pixels=True).SegmentSequence:
        kind = segment.SegmentedPropertyTypeCodeSequence[0].get("CodeValue")
        numbers.get(kind, []).append(segment.SegmentNumber)
    return numbers.values()


def _from_arrays(path, series):
    arrays = read_arrays(path)
    names = [name for name in ("labels", "mask", *arrays) if name in arrays]
    if names[0] not in ("labels", "mask") and len(arrays) > 1:
        raise HeadrestError("several arrays: name one of them 'labels'")
    values = arrays[names[0]]
    if values.shape != series.stored.shape:
        raise HeadrestError(
            f"another geometry: a mask of {values.shape} for slices of {series.stored.shape}"
        )
    return values


def _refuse_distance(share):
    if not share <= SAME_GRID_SHARE:
        raise HeadrestError(
            f"another geometry: voxels lie up to {share:.2g} times the spacing from those of the "
            "series; save the mask on the grid of the series"
        )


def _from_segmentation(path, series):
    with quiet():
        ds = dcmread(path)
        if ds.get("SOPClassUID") not in SEGMENTATION_CLASSES:
            raise HeadrestError("expected NIfTI or a DICOM Segmentation")
        _refuse_other_frame_of_reference(ds, series)
        frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
        labels = np.zeros(series.stored.shape, np.uint16)
        if ds.SOPClassUID == SegmentationStorage and len(np.unique(frames)) > 2:
            raise HeadrestError("a fractional segmentation: keep a binary one of the support")
        for groups, values in zip(ds.PerFrameFunctionalGroupsSequence, frames):
            pixels = np.argwhere(values)
            k, rows, columns = _place(ds, groups, series, pixels)
            if labels[k, rows, columns].any():
                raise HeadrestError("segments that overlap: keep that of the support alone")
            labels[k, rows, columns] = _segment(ds, groups) or values[tuple(pixels.T)]
    return labels


def _segment(ds, groups):
    """Number of the segment of a frame; None in a label map."""
    for item in (groups, ds.SharedFunctionalGroupsSequence[0]):
        if "SegmentIdentificationSequence" in item:
            return item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return None


def _refuse_other_frame_of_reference(ds, series):
    frames = {text(header, "FrameOfReferenceUID") for header in series.headers}
    if len(frames) == 1 and "" not in frames and text(ds, "FrameOfReferenceUID") not in frames:
        raise HeadrestError("another Frame of Reference: a segmentation of another series")


def _place(ds, groups, series, pixels):
    """Slice, rows and columns in the series of pixels (n, 2) of one frame."""
    shared = ds.SharedFunctionalGroupsSequence[0]

    def value(sequence, keyword):
        item = groups if sequence in groups else shared
        return np.array(item[sequence][0][keyword].value, float)

    corner = value("PlanePositionSequence", "ImagePositionPatient")
    along_row, along_column = value("PlaneOrientationSequence", "ImageOrientationPatient").reshape(
        2, 3
    )
    down, across = value("PixelMeasuresSequence", "PixelSpacing")
    x_axis, y_axis = series.orientation.reshape(2, 3)
    z_mm, y_mm, x_mm = series.spacing_mm
    to_index = np.array([np.cross(x_axis, y_axis) / z_mm, y_axis / y_mm, x_axis / x_mm])
    k = int(np.argmin(abs((series.positions - corner) @ to_index[0])))
    start = to_index @ (corner - series.positions[k])
    steps = to_index @ np.column_stack([along_column * down, along_row * across])
    ends = np.array([[0, 0], [ds.Rows - 1, 0], [0, ds.Columns - 1], [ds.Rows - 1, ds.Columns - 1]])
    exact = start[:, None] + steps @ ends.T
    whole = np.rint(start)[:, None] + np.rint(steps).astype(int) @ ends.T
    _refuse_distance(max(np.abs(exact - whole).max(), np.abs(exact[0]).max()))
    _, rows, columns = (np.rint(start)[:, None] + np.rint(steps) @ pixels.T).astype(int)
    size = series.stored.shape[1:]
    if any(at.size and not 0 <= at.min() <= at.max() < n for at, n in zip((rows, columns), size)):
        raise HeadrestError("another geometry: voxels outside of the series")
    return k, rows, columns
