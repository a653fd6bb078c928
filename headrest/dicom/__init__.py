"""From a folder of DICOM files to a series in HU, and back to a derived series.

Here a series is read slice by slice; values or geometry that are not safe are refused.
`_read_slice` and `load_series` list the rules in order.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from headrest.dicom import pixels
from headrest.dicom.find import FolderContents, find_series
from headrest.dicom.frames import identify_ct, single_frames
from headrest.dicom.geometry import UNIQUE_IN_SERIES, Image, describe_image, order_slices
from headrest.dicom.header import is_nifti, named_errors, quiet, read_header, text
from headrest.dicom.nifti import read_nifti
from headrest.dicom.segmentation import write_segmentation
from headrest.dicom.series import CALL, Series, SeriesFiles, series_from_array
from headrest.dicom.write import write_derived_series
from headrest.util import HeadrestError, counted, progress

__all__ = [
    "FolderContents",
    "Series",
    "SeriesFiles",
    "as_series",
    "find_series",
    "load_series",
    "read_series",
    "series_from_array",
    "write_derived_series",
    "write_segmentation",
]


def read_series(
    folder: Any,
    series_uid: str | None = None,
    *,
    stack: int | None = None,
    acquisition: int | None = None,
    by_instance_number: bool = False,
    default_rescale: tuple[float, float] | None = None,
    allow_missing: bool = False,
) -> Series:
    """Read the one axial CT series of a folder.

    Parameters
    ----------
    folder : path
        A single file, or a folder that is searched with all its subfolders; localizers,
        captures and files that are not DICOM are skipped. Or NIfTI, a path (.nii, .nii.gz) or a
        nibabel image, see `headrest.dicom.nifti.read_nifti`.
    series_uid : str, optional, where the folder holds several series.
    stack : int, optional, from 1, where the series holds several; see `headrest.dicom.stacks`.
    acquisition : int, optional, keep only images with this Acquisition Number (0020,0012).
    by_instance_number : bool
        Accept images without position or orientation, and sort them by Instance Number.
    default_rescale : (slope, intercept), optional
        For images without rescale attributes. Without it they are refused, because their
        stored values could be taken for HU.
    allow_missing : bool, leave damaged files out instead of refusing their series.

    Returns
    -------
    Series

    Raises
    ------
    HeadrestError
        Where there is no series, more than one, or one with unsafe values or geometry; the
        text names the file.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> read_series(get_testdata_file("CT_small.dcm")).hu.shape
    (1, 128, 128)
    """
    if not isinstance(folder, (str, os.PathLike)):
        return as_series(folder)
    if is_nifti(folder := os.fspath(folder)):
        return read_nifti(folder)
    contents = find_series(folder, acquisition)
    if contents.broken and series_uid is None:
        raise contents.broken[0]
    series = load_series(
        _choose(folder, contents, series_uid, stack),
        by_instance_number=by_instance_number,
        default_rescale=default_rescale,
        allow_missing=allow_missing,
    )
    broken = [f"skipped {error}" for error in contents.broken]  # their series is unknown
    return replace(series, warnings=(*contents.warnings, *broken, *series.warnings))


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
        return read_nifti(data) if is_image else read_series(data)
    if spacing_mm is None and hasattr(data, "__array__"):
        raise HeadrestError(f"an array needs its spacing in mm; for example {CALL}")
    return series_from_array(data, () if spacing_mm is None else spacing_mm)


def _choose(folder, contents, series_uid, stack):
    if not contents.series:
        listed = "; ".join(map(str, contents.warnings + contents.broken)) or "the folder is empty"
        raise HeadrestError(f"{folder}: no axial CT series found ({listed})")
    found = [s for s in contents.series if series_uid in (None, s.uid)]
    listed = "\n  ".join(map(str, found or contents.series))
    if len({s.uid for s in found}) != 1:
        how = "read_series(folder, series_uid=...)"
        raise HeadrestError(f"{folder}: choose one series by its UID, {how}:\n  {listed}")
    if stack is None and len(found) > 1:
        how = "stack=..., or acquisition=... (--acquisition)"
        raise HeadrestError(f"{folder}: choose one stack of the series by {how}:\n  {listed}")
    stack = 1 if stack is None else stack
    if not 1 <= stack <= len(found):
        raise HeadrestError(f"{folder}: there is no stack {stack}:\n  {listed}")
    return found[stack - 1]


class _Slice(NamedTuple):
    image: Image
    header: Any
    stored: np.ndarray
    slope: float
    intercept: float
    padding_hu: tuple | None
    warnings: list[str]


def load_series(
    series_files: SeriesFiles,
    *,
    by_instance_number: bool = False,
    default_rescale: tuple[float, float] | None = None,
    allow_missing: bool = False,
) -> Series:
    """Read the pixels of one series or stack that `find_series` found; see `read_series`."""
    if is_nifti(series_files.files[0]):
        return read_nifti(series_files.files[0])
    pixels.check_default_rescale(default_rescale)
    with quiet():
        try:
            slices, notes = _read_slices(series_files, default_rescale, allow_missing)
            _refuse_mixture(slices)
            slices, repeated_notes = _drop_repeated(slices)
            slices, grid, grid_notes = order_slices(slices, by_instance_number)
            notes += repeated_notes + grid_notes + series_notes(slices)
            images, headers, stored, slopes, intercepts, padding_hu, _ = zip(*slices)
            values = headers, np.stack(stored), np.array(slopes), np.array(intercepts), padding_hu
            files, frames = zip(*((image.path, image.frame) for image in images))
            about = tuple(notes), files, frames if any(frames) else (), series_files
            return Series(*values, *grid, *about)  # type: ignore[call-arg]
        except MemoryError:
            folder = series_files.files[0].parent
            raise HeadrestError(f"{folder}: out of memory; too large for this machine") from None


def _read_slices(series_files, default_rescale, allow_missing):
    """Slices and warnings; damaged files are refused unless they may be missing."""
    slices, damaged = [], list(series_files.damaged)
    images = defaultdict(list)
    for path, frame in zip_longest(series_files.files, series_files.frames, fillvalue=0):
        images[path].append(frame)
    for path, frames in progress(images.items(), "reading", unit="file", brief=True):
        try:
            slices += _read_file(path, frames, default_rescale)
        except HeadrestError as error:
            damaged.append(str(error))
    if damaged and not (slices and allow_missing):
        more = f" (and {counted(len(damaged) - 1, 'more file')})" if len(damaged) > 1 else ""
        way_out = "; allow_missing=True (--allow-missing) leaves it out" if slices else ""
        raise HeadrestError(f"{damaged[0]}{more}{way_out}")
    return slices, [*series_files.warnings, *(f"skipped {one}" for one in damaged)]


def _read_file(path, frames, rescale):
    """Slices of one file; every failure becomes a HeadrestError that names it."""
    with named_errors(path, "its header is damaged; export it again", passed=(MemoryError,)):
        header = read_header(path, frames=max(frames))
        if header is None:
            raise HeadrestError("no longer DICOM; it was changed since the folder was searched")
        header.SOPClassUID, remark = identify_ct(header)
        if not header.SOPClassUID:
            raise HeadrestError(remark)
        remarks = [remark] if remark else []
        if any(frames) and "PerFrameFunctionalGroupsSequence" not in header:
            remarks.append("frames placed along their normal: head and feet may be swapped")
        each = enumerate(single_frames(header), 1) if any(frames) else [(0, header)]
        return [_read_slice(path, n, one, remarks, rescale) for n, one in each if n in frames]


def _read_slice(path, frame, header, remarks, default_rescale):
    stored, notes = pixels.decode(header)
    notes += remarks
    slope, intercept = pixels.rescale_pair(header, default_rescale)
    pixels.check_wrapped(stored, header, slope, intercept)
    notes += pixels.check_range(stored, slope, intercept)
    padding, padding_note = pixels.padding_hu(header, slope, intercept)
    notes += padding_note + pixels.declared_notes(header)
    image = describe_image(path, header, frame)
    return _Slice(image, header, stored, slope, intercept, padding, notes)


def _drop_repeated(slices):
    """Slices without repeated images, and warnings; refuse a UID of two images."""
    kept, copies, resent = [], [], []
    by_uid, by_position = {}, defaultdict(list)
    for one in slices:
        twin = by_uid.setdefault(one.image.uid, one)
        if twin is not one and not is_copy(one, twin):
            raise HeadrestError(
                f"{one.image.path} and {twin.image.path} share a SOP Instance UID but not "
                "their pixels or place; keep the right one"
            )
        others = by_position[one.image.position]
        again = one.image.position and any(is_copy(one, other) for other in others)
        (copies if twin is not one else resent if again else kept).append(one)
        others.append(one)
    notes = [f"{counted(len(copies), 'repeated file')} dropped"] * bool(copies)
    same = "another has the same position and pixels"
    return kept, notes + [f"{counted(len(resent), 'image')} dropped: {same}"] * bool(resent)


def is_copy(one: Any, twin: Any) -> bool:
    """Whether two files hold the same pixels at the same position."""
    a, b = ((s.image.position, s.image.orientation, s.slope, s.intercept) for s in (one, twin))
    return a == b and np.array_equal(one.stored, twin.stored)


def _refuse_mixture(slices):
    for keyword, kind in UNIQUE_IN_SERIES.items():
        for other in _first_of_each(slices, keyword)[1:]:
            reason = f"images of {kind} ({keyword}) have one series UID"
            raise HeadrestError(f"{other.image.path}: {reason}; put each into a folder of its own")


def _first_of_each(slices, keyword):
    """The first slice with each value of an attribute that is not empty."""
    first = {}
    for one in slices:
        first.setdefault(text(one.header, keyword), one)
    first.pop("", None)
    return list(first.values())


def series_notes(slices: list[Any]) -> list[str]:
    """Warnings of all slices, counted, and about differences between them."""
    counts = Counter(note for s in slices for note in s.warnings)
    notes = [f"{note} ({n} of {len(slices)} slices)" for note, n in counts.items()]
    if len(_first_of_each(slices, "FrameOfReferenceUID")) > 1:
        notes.append("several frames of reference: positions may not be comparable")
    if len({(s.slope, s.intercept) for s in slices}) > 1:
        notes.append("rescale differs between slices: applied per slice")
    return notes
