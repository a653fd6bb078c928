"""Walk a folder as scanners write it and sort its axial CT images into series.

Only headers are read here, and only the few attributes that tell a series from its
neighbours; pixels are for `headrest.dicom.read`.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)
from tqdm.auto import tqdm

from headrest.errors import HeadrestError

CT_CLASSES = {CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
NOT_SLICES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "DOSE_INFO", "SCREEN SAVE", "REPORT", "RESULTS"}
HEADER = [
    "SOPClassUID",
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageOrientationPatient",
    "BitsAllocated",
]
AXIAL = 0.7
"""Cosine of the angle up to which a tilted slice still counts as axial, about 45 degrees."""


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one axial CT series, in the order of the walk."""

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]

    def __str__(self):
        label = self.description or "no description"
        return f"{self.uid} ({len(self.files)} images, series {self.number or '?'}, {label})"


@dataclass(frozen=True)
class FolderContents:
    """What a walk found.

    Attributes
    ----------
    series : tuple of SeriesFiles
    warnings : tuple of str
        One line for each kind of file that was passed over.
    broken : tuple of HeadrestError
        CT files whose header cannot be read to the end.
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
    FolderContents. Localizers, captures, other modalities and files that are not DICOM are
    counted in its `warnings`.

    Raises
    ------
    HeadrestError
        Where the folder does not exist.
    """
    if not os.path.exists(folder):
        raise HeadrestError(f"{folder}: there is no such folder or file")
    groups, skipped, broken = defaultdict(list), defaultdict(list), []
    for path in tqdm(_walk(folder), desc="looking", unit="file", delay=2, leave=False):
        try:
            header, reason = _sort_out(path)
        except HeadrestError as error:
            broken.append(error)
            continue
        if reason:
            skipped[reason].append(path)
        else:
            groups[str(header.SeriesInstanceUID)].append((path, header))
    series = tuple(_series_files(uid, members) for uid, members in groups.items())
    warnings = tuple(_skip_line(reason, paths) for reason, paths in skipped.items())
    return FolderContents(series, warnings, tuple(broken))


def _walk(folder):
    if os.path.isfile(folder):
        yield Path(folder)
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _sort_out(path):
    """Return (header, None) for a CT slice and (None, reason) for anything else."""
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=HEADER)
        reason = _reason_to_skip(header)
    except InvalidDicomError:
        return None, "not DICOM"
    except HeadrestError as error:
        raise HeadrestError(f"{path}: {error}") from None
    except Exception as error:  # pydicom lets whatever a broken header causes through
        raise HeadrestError(
            f"{path}: the header cannot be read ({type(error).__name__}); copy the file again"
        ) from error
    return header, reason


def _reason_to_skip(header):
    declared = header.file_meta.get("MediaStorageSOPClassUID", "")
    if declared == MediaStorageDirectoryStorage:
        return "a DICOMDIR"
    sop_class = header.get("SOPClassUID", declared)
    if sop_class not in CT_CLASSES:
        return f"{getattr(sop_class, 'name', '') or 'unknown object'}, not a CT image"
    modality = header.get("Modality")
    if modality and modality != "CT":
        return f"modality {modality}, not CT"
    if not modality or not header.get("SeriesInstanceUID"):
        raise HeadrestError("the header ends early or lacks its series; copy the file again")
    if found := NOT_SLICES.intersection(_image_type(header)):
        return f"{found.pop().lower()}, not a slice"
    if header.get("BitsAllocated") == 8:
        return "8-bit capture, no HU"
    return None if _is_axial(header.get("ImageOrientationPatient")) else "not axial"


def _image_type(header):
    value = header.get("ImageType") or []
    return [value] if isinstance(value, str) else list(value)


def _is_axial(orientation):
    # Whether an orientation is missing or malformed is for the reader to say.
    if orientation is None or len(orientation) != 6:
        return True
    row, column = orientation[:3], orientation[3:]
    along_the_table = float(row[0]) * float(column[1]) - float(row[1]) * float(column[0])
    return not abs(along_the_table) < AXIAL


def _series_files(uid, members):
    first = members[0][1]
    number, description = (
        "" if (value := first.get(keyword)) is None else str(value)
        for keyword in ("SeriesNumber", "SeriesDescription")
    )
    return SeriesFiles(uid, number, description, tuple(path for path, _ in members))


def _skip_line(reason, paths):
    many = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"skipped {paths[0].name}{many}: {reason}"
