"""Read a mask or labels that a person corrected, onto the voxels of their series."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import UID, SegmentationStorage

from headrest.dicom.frames import flatten
from headrest.dicom.geometry import GAP_RATIO
from headrest.dicom.header import is_nifti, named_errors, number, text
from headrest.dicom.nifti import LPS_TO_RAS, load_image, needs_resampling
from headrest.dicom.series import Series, check_shape
from headrest.hounsfield import DENSE_HU, PATIENT, SUPPORT
from headrest.util import HeadrestError, plain, require
from headrest.util.files import read_arrays

HEADREST = ("706683002", "SCT", "Headrest")
BODY = ("38266002", "SCT", "Entire body")
"""Types of the segments of support and patient (PS3.16 CID 7151). Entire body and not Head
(69536005): the patient is all of the body that is in the image, a neck or a chest too."""

MANUALLY_CORRECTED = "manually corrected"  # begins the description of such a mask
LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # PS3.4 Table B.5-1; pydicom lacks it
SEGMENTATION_CLASSES = (SegmentationStorage, LABEL_MAP_STORAGE)  # binary or fractional; label map

SUPPORT_NAMES = re.compile(r"support|head ?(rest|holder)|table|couch|cushion", re.IGNORECASE)
"""Names of segments of the support, in masks that other tools wrote."""

SAME_GRID_SHARE = 0.1  # of the spacing: largest distance of a voxel of the mask from the series'
SCALED = 1e-3  # from whole numbers: labels that NIfTI scales, as SPM does by 1 / 255
MOST_DENSE = 0.5  # of all voxels above `DENSE_HU`; a head has more of them than its supports


def read_mask(path: str | Path, series: Series) -> np.ndarray:
    """Read a mask from NIfTI or a DICOM Segmentation onto the voxels of a series.

    Parameters
    ----------
    path : path
        NIfTI (.nii, .nii.gz) in any orientation, or a DICOM Segmentation whose frames may be
        flipped, cropped or in another order; slices without a frame are empty. Of NIfTI that
        was resampled from uneven or tilted slices, each voxel takes the nearest one, and a
        UserWarning says how many.
    series : Series

    Returns
    -------
    bool array (slices, rows, columns)
        The one label of the file; of a label image of `clean --nifti` the label 1; of a
        DICOM Segmentation of several segments that of the support, by its type or its name; it
        wins where it overlaps the others.

    Raises
    ------
    HeadrestError
        Where the file cannot be read, has other labels or the patient alone, or its voxels are
        not those of the series.
    """
    return _read(path, series, one_label)


def read_labels(path: str | Path, series: Series) -> np.ndarray:
    """Read a label image, as `read_mask` reads a mask; from .npz too.

    Values are as they are stored; those of a binary DICOM Segmentation are the numbers of its
    segments. In an .npz file the array is named "labels" or "mask", or the only one.
    """
    return _read(path, series, lambda labels, *_: labels)


def _read(path, series, use):
    """Call `use` with the labels of a file, and the numbers of support and patient in them."""
    with named_errors(path, "damaged, or no NIfTI or DICOM Segmentation: save it as .nii.gz"):
        if not Path(path).is_file():
            raise HeadrestError("there is no such file, or it is a folder")
        if not is_nifti(path) and Path(path).suffix.lower() != ".npz":
            return use(*_from_segmentation(path, series))
        read = _from_nifti if is_nifti(path) else _from_arrays
        return use(read(path, series), (SUPPORT,), (PATIENT,))


def as_mask(mask: Any, series: Series) -> np.ndarray:
    """Bool array (slices, rows, columns) from a path or nibabel image, see `read_mask`, or from an
    array of 0 and 1 of that shape.

    Raises HeadrestError where it does not fit the series, or has other values.
    """
    if isinstance(mask, (str, os.PathLike)):
        return read_mask(os.fspath(mask), series)
    if hasattr(mask, "affine"):
        with named_errors("the mask", "its affine is missing or singular, or its file damaged"):
            return one_label(_from_image(mask, series))
    values = as_array(mask)
    check_shape(values, series)
    return one_label(values)


def as_array(mask: Any) -> np.ndarray:
    """A mask as an array; HeadrestError where its rows differ in length."""
    with named_errors("the mask", "its rows differ in length"):
        return np.asarray(mask)


def mask_warnings(mask: np.ndarray, series: Series) -> list[str]:
    """A warning for a mask that may be of the patient, or of everything."""
    dense = series.hu > DENSE_HU
    share = float((dense & mask).sum()) / max(float(dense.sum()), 1)
    reason = f"the mask holds {share:.0%} of what is above {DENSE_HU:g} HU: is it of the patient?"
    return [reason] if share > MOST_DENSE else []


def one_label(
    values: np.ndarray,
    support: Sequence[int] = (SUPPORT,),
    patient: Sequence[int] = (PATIENT,),
    names: str = "",
) -> np.ndarray:
    """Find the support in a mask, or in a label image of support and patient.

    `values` hold 0, and the one label of a mask, whichever it is; or 0, and labels of `support` and
    `patient`. Refuse other labels, and the patient alone: with all support erased from a label
    image, the patient must not be removed.

    >>> one_label(np.array([0, 1, 2])), one_label(np.array([0, 7]))
    (array([False,  True, False]), array([False,  True]))
    """
    if values.dtype == bool:
        return values.copy()
    if values.dtype.kind not in "iuf":
        raise HeadrestError(f"a mask of {values.dtype}: expected a path, or an array of 0 and 1")
    if values.dtype.kind == "f":
        given, values = values, np.rint(values)
        if not np.allclose(given, values, rtol=0, atol=SCALED):
            some = ", ".join(f"{value:g}" for value in np.unique(given)[:5])
            raise HeadrestError(f"a mask with the values {some}: threshold it, for example at 0.5")
    found = np.unique(values[values != 0]).tolist()
    rest = [label for label in found if label not in patient]
    some = ", ".join(f"{label:g}" for label in found[:5])
    if found and not rest:
        raise HeadrestError(f"a mask with the label {some} alone, which is the patient")
    if len(rest) > 1 or (rest != found and rest[0] not in support):
        raise HeadrestError(f"a mask with the labels {some}{names}: keep that of the support alone")
    return values == rest[0] if rest else np.zeros(values.shape, bool)


def _from_nifti(path, series):
    require("nibabel")
    return _from_image(load_image(path), series)


def _from_image(image, series):
    """Values nearest to the voxels of the series; refuse an image of another or a coarser grid."""
    values = np.asanyarray(image.dataobj)
    if all(n == 1 for n in values.shape[3:]):  # one volume
        values = values.reshape(values.shape[:3])
    if values.ndim != 3:
        check_shape(values, series)
    if series.why_not_placed:
        raise HeadrestError("the slices of the series have no position")
    to_index = np.linalg.inv(LPS_TO_RAS @ image.affine)
    steps = to_index[:3, :3] @ series.steps_mm.T
    rows, columns = np.ogrid[: series.stored.shape[1], : series.stored.shape[2]]
    found, apart = np.zeros(series.stored.shape, values.dtype), 0.0
    reached = np.linalg.norm(steps, axis=0).min() >= 1 - SAME_GRID_SHARE
    for i, position in enumerate(series.positions):
        start = to_index[:3, :3] @ position + to_index[:3, 3]
        exact = np.array([a + b * rows + c * columns for a, (_, b, c) in zip(start, steps)])
        nearest = np.rint(exact).astype(int)
        apart = max(apart, abs(exact - nearest).max())
        limits = zip(nearest, values.shape)
        reached &= all(0 <= n.min() <= n.max() < size for n, size in limits)
        found[i] = values[tuple(nearest)] if reached else 0
    resampled = needs_resampling(series)
    if values.size != found.size and not resampled:
        check_shape(values.T, series, "another geometry: ")
    if not reached:
        raise HeadrestError(
            "another geometry: a resampled image must be as fine as the series, and reach all "
            "its voxels: edit the DICOM Segmentation of --segmentation instead"
            if resampled
            else "another geometry: voxels lie outside; save the mask on the grid of the series"
        )
    if not resampled:
        _refuse_distance(apart)
    elif apart > SAME_GRID_SHARE:
        note = f"the mask is resampled to the series: {np.count_nonzero(found)} voxels"
        with warnings.catch_warnings():  # `named_errors` ignores those of nibabel
            warnings.simplefilter("always")
            warnings.warn(note, stacklevel=2)
    return found


def _from_arrays(path, series):
    arrays = read_arrays(path)
    name = next(name for name in ("labels", "mask", *arrays) if name in arrays)
    if name not in ("labels", "mask") and len(arrays) > 1:
        raise HeadrestError("several arrays: name one of them 'labels'")
    check_shape(arrays[name], series, "another geometry: ")
    return arrays[name]


def _refuse_distance(share):
    if not share <= SAME_GRID_SHARE:
        raise HeadrestError(
            f"another geometry: voxels lie up to {share:.2g} times the spacing from those of the "
            "series; save the mask on the grid of the series"
        )


def _from_segmentation(path, series):
    ds = dcmread(path)
    if ds.get("SOPClassUID") not in SEGMENTATION_CLASSES:
        raise HeadrestError("expected NIfTI or a DICOM Segmentation")
    places = {text(header, "FrameOfReferenceUID") for header in series.headers}
    if len(places) == 1 and not places & {"", text(ds, "FrameOfReferenceUID")}:
        raise HeadrestError("another Frame of Reference: a segmentation of another series")
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    labels = np.zeros(series.stored.shape, np.uint16)
    if ds.SOPClassUID == SegmentationStorage and len(np.unique(frames)) > 2:
        raise HeadrestError("a fractional segmentation: keep a binary one of the support")
    support, patient, shown = _segments(ds)
    numbers, apart_mm = set(), 0.0
    for groups, values in zip(ds.PerFrameFunctionalGroupsSequence, frames):
        frame = Dataset()
        for one in (*(ds.get("SharedFunctionalGroupsSequence") or ()), groups):
            flatten(frame, one)
        k, rows, columns = _place(frame, values, series)
        there, segment = labels[k, rows, columns], frame.get("ReferencedSegmentNumber")
        new = segment or values[values != 0]  # a label map has no number
        both = {segment, *there[there > 0].tolist()}
        if there.any() and not (both <= {*support, *patient} and both & {*support}):
            raise HeadrestError("segments that overlap: keep that of the support alone")
        labels[k, rows, columns] = np.where(np.isin(there, support), there, new)
        numbers.add(k)
        apart_mm = number(frame, "SpacingBetweenSlices") or 0.0
    each_mm, gaps = series.spacing_mm[0], np.diff(sorted(numbers))
    if apart_mm > GAP_RATIO * each_mm and gaps.size and gaps.min() > 1:
        raise HeadrestError(f"another geometry: slices {apart_mm:g} mm apart, not {each_mm:g}")
    return labels, support, patient, shown


def _segments(ds):
    """Numbers of the segments of the support, and of those that are not it; and all, as text."""
    support, patient, others, shown = [], [], [], []
    for segment in ds.get("SegmentSequence") or ():
        kind = (segment.get("SegmentedPropertyTypeCodeSequence") or [{}])[0]
        names = f"{segment.get('SegmentLabel')} {kind.get('CodeMeaning')}"
        of_support = kind.get("CodeValue") == HEADREST[0] or SUPPORT_NAMES.search(names)
        found = support if of_support else patient if kind.get("CodeValue") == BODY[0] else others
        found.append(segment.SegmentNumber)
        shown.append(f"{segment.SegmentNumber} {plain(segment.get('SegmentLabel'))}")
    return support, patient + others * (len(support) == 1), f" of {', '.join(shown)}"


def _place(frame, values, series):
    """Slice, rows and columns in the series of the pixels of a frame that are not 0."""
    keywords = ("ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient")
    corner, (down, across), axes = (np.array(frame[keyword].value, float) for keyword in keywords)
    axes = axes.reshape(2, 3)
    along_row, along_column = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    to_index = np.linalg.inv(series.steps_mm.T)
    k = int(np.argmin(abs((series.positions - corner) @ to_index[0])))
    start = to_index @ (corner - series.positions[k])
    steps = to_index @ np.column_stack([along_column * down, along_row * across])
    ends = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * np.subtract(values.shape, 1)
    exact = start[:, None] + steps @ ends.T
    whole = np.rint(start)[:, None] + np.rint(steps).astype(int) @ ends.T
    _refuse_distance(max(np.abs(exact - whole).max(), np.abs(exact[0]).max()))
    inside = np.rint(start)[:, None] + np.rint(steps) @ np.argwhere(values).T
    rows, columns = inside[1:].astype(int)
    size = series.stored.shape[1:]
    if any(at.size and not 0 <= at.min() <= at.max() < n for at, n in zip((rows, columns), size)):
        raise HeadrestError("another geometry: voxels outside of the series")
    return k, rows, columns
