"""Walk a folder as scanners write it and sort its axial CT images into series.

Only headers are read here, and only the few attributes that tell a series from its
neighbours; pixels are for `headrest.dicom.read`.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)
from tqdm.auto import tqdm

from headrest.dicom.attributes import is_unit_pair, numbers, text, value_of
from headrest.dicom.header import quiet, read_header
from headrest.util.errors import HeadrestError, plain

CT_CLASSES = {CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
NOT_SLICES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "DOSE_INFO", "SCREEN SAVE", "REPORT", "RESULTS"}
HEADER = {
    int(Tag(keyword))
    for keyword in (
        "SOPClassUID",
        "ImageType",
        "Modality",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SeriesDescription",
        "ImageOrientationPatient",
        "BitsAllocated",
    )
}
NEEDED = {int(Tag(keyword)) for keyword in ("SOPClassUID", "Modality", "SeriesInstanceUID")}
SHOWN = ("SeriesNumber", "SeriesDescription")
AXIAL = 0.7
"""Cosine of the angle up to which a tilted slice still counts as axial, about 45 degrees."""

LONGEST = 64
"""Characters of a value that is shown; DICOM's own limit for a short text (PS3.5 6.2)."""


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one axial CT series, in the order of the walk."""

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]

    def __str__(self):
        about = f"series {self.number or '?'}, {self.description or 'no description'}"
        return f"{plain(self.uid)[:LONGEST]} ({len(self.files)} images, {about})"


@dataclass(frozen=True)
class FolderContents:
    """What a walk found.

    Attributes
    ----------
    series : tuple of SeriesFiles
    warnings : tuple of str
        One line for each kind of file that was passed over.
    broken : tuple of HeadrestError
        CT files whose header cannot be read to the end, and what cannot be opened.
    """

    series: tuple[SeriesFiles, ...]
    warnings: tuple[str, ...]
    broken: tuple[HeadrestError, ...]


def find_series(folder):
    """Find every axial CT series below a folder.

    Parameters
    ----------
    folder : path
        A single file, or a folder that is walked to the bottom. Names and extensions do not
        matter; symbolic links to folders and the references inside a DICOMDIR are not followed.

    Returns
    -------
    FolderContents. Localizers, captures, other modalities and whatever is not DICOM are
    counted in its `warnings`.

    Raises
    ------
    HeadrestError
        Where the folder does not exist.
    """
    if not os.path.exists(folder):
        raise HeadrestError(f"{folder}: there is no such folder or file")
    groups, skipped, broken = defaultdict(list), defaultdict(list), []
    for path in tqdm(_walk(folder, broken), desc="looking", unit="file", delay=2, leave=False):
        try:
            label, reason = _sort_out(path)
        except HeadrestError as error:
            broken.append(error)
            continue
        if reason:
            skipped[reason].append(path)
        else:
            groups[label[0]].append((path, label))
    series = tuple(_series_files(members) for members in groups.values())
    told = tuple(_skip_line(reason, paths) for reason, paths in skipped.items())
    return FolderContents(series, told, tuple(broken))


def _walk(folder, broken):
    def unreadable(error):
        broken.append(HeadrestError(f"{error.filename}: cannot be searched ({error.strerror})"))

    if not os.path.isdir(folder):
        yield Path(folder)
        return
    for root, folders, names in os.walk(folder, onerror=unreadable, followlinks=False):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (Path(root, name) for name in sorted(names) + links)


def _sort_out(path):
    """Return (label, None) for a CT slice and (None, reason) for anything else.

    A label is (series UID, number, description).
    """
    try:
        with quiet():
            header = read_header(path, HEADER, NEEDED)
            if header is None:
                return None, "a link, not followed" if path.is_dir() else "not DICOM"
            reason = _reason_to_skip(header)
            return (None, reason) if reason else (_label(header), None)
    except HeadrestError as error:
        raise HeadrestError(f"{path}: {error}") from None
    except Exception as error:  # pydicom lets whatever a broken header causes through
        raise HeadrestError(
            f"{path}: the header cannot be read ({type(error).__name__}); copy the file again"
        ) from error


def _label(header):
    uid = value_of(header, "SeriesInstanceUID")
    if not isinstance(uid, str) or not uid:
        raise HeadrestError("SeriesInstanceUID is missing or malformed; export the series again")
    shown = (plain(text(header, keyword))[:LONGEST] for keyword in SHOWN)
    return uid, *shown


def _reason_to_skip(header):
    declared = value_of(header.file_meta, "MediaStorageSOPClassUID") or ""
    if declared == MediaStorageDirectoryStorage:
        return "a DICOMDIR"
    sop_class = value_of(header, "SOPClassUID") or declared
    if sop_class not in CT_CLASSES:
        known = getattr(sop_class, "is_private", True) is False and sop_class.name != sop_class
        return f"{sop_class.name if known else 'unknown object'}, not a CT image"
    modality = value_of(header, "Modality")
    if not modality or "SeriesInstanceUID" not in header:
        raise HeadrestError("the header ends early or lacks its series; copy the file again")
    if modality != "CT":
        return f"modality {plain(modality)[:16]}, not CT"
    if found := NOT_SLICES.intersection(_image_type(header)):
        return f"{min(found).lower()}, not a slice"
    if value_of(header, "BitsAllocated") == 8:
        return "8-bit capture, no HU"
    return None if _is_axial(header) else "not axial"


def _image_type(header):
    value = value_of(header, "ImageType") or []
    return [value] if isinstance(value, str) else list(value)


def _is_axial(header):
    axes = numbers(header, "ImageOrientationPatient", 6)
    if axes is None or not is_unit_pair(axes):
        return True  # that is for the reader to say
    return abs(axes[0] * axes[4] - axes[1] * axes[3]) >= AXIAL  # z of the slices' normal


def _series_files(members):
    return SeriesFiles(*members[0][1], tuple(path for path, _ in members))


def _skip_line(reason, paths):
    many = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"skipped {plain(paths[0].name)}{many}: {reason}"
