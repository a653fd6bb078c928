"""Walk a folder and sort its axial CT images into series, by their headers alone."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage
from tqdm.auto import tqdm

from headrest.dicom.attributes import is_unit_pair, number, numbers, text, value_of
from headrest.dicom.header import quiet, read_header, why_not_dicom
from headrest.dicom.series import fingerprint_of_files
from headrest.dicom.values import CT_KEYWORDS, identify_ct
from headrest.util.errors import HeadrestError, plain

NOT_SLICES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "DOSE_INFO", "SCREEN SAVE", "REPORT", "RESULTS"}
"""Values of Image Type (0008,0008) of images that are no slice."""


def _tags(*keywords):
    return {int(Tag(keyword)) for keyword in keywords}


NEEDED_TAGS = _tags("Modality", "SeriesInstanceUID")
HEADER_TAGS = NEEDED_TAGS | _tags(
    "SOPClassUID", "ImageType", "SeriesNumber", "SeriesDescription", "BitsAllocated", *CT_KEYWORDS
)
READING_TAGS = _tags("AcquisitionNumber", "RescaleSlope")

AXIAL_COSINE = 0.7
"""Cosine of the angle up to which a tilted slice counts as axial, about 45 degrees."""

MAX_SHOWN = 64
"""Characters of a value that a message shows; DICOM's own limit for a short text (PS3.5 6.2)."""


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one axial CT series, in the order of the walk."""

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        about = f"series {self.number or '?'}, {self.description or 'no description'}"
        return f"{plain(self.uid)[:MAX_SHOWN]} ({len(self.files)} images, {about})"

    def fingerprint(
        self,
        acquisition: int | None = None,
        by_instance_number: bool = False,
        default_rescale: tuple[float, float] | None = None,
    ) -> str:
        """Fingerprint of the series that `load_series` reads from these files, without reading it.

        Parameters are those of `load_series`. Headers are read only where an option needs them.

        Raises
        ------
        HeadrestError
            Where a file cannot be read or its header is damaged.
        """
        files, given = list(self.files), ""
        if acquisition is not None or default_rescale is not None:
            with quiet():
                headers = [read_header(path, READING_TAGS, READING_TAGS) for path in files]
            kept = [
                (path, header)
                for path, header in zip(files, headers)
                if header and acquisition in (None, number(header, "AcquisitionNumber"))
            ]
            files = [path for path, _ in kept]
            if default_rescale and any(header.get("RescaleSlope") is None for _, header in kept):
                given = "{} {}".format(*map(float, default_rescale))
        return fingerprint_of_files(self.uid, files, [given] if given else [])


@dataclass(frozen=True)
class FolderContents:
    """Result of `find_series`.

    Attributes
    ----------
    series : tuple of SeriesFiles
    warnings : tuple of str
        One line for each kind of file that was skipped.
    broken : tuple of HeadrestError
        CT files with a damaged header, and files or folders that cannot be opened.
    """

    series: tuple[SeriesFiles, ...]
    warnings: tuple[str, ...]
    broken: tuple[HeadrestError, ...]


def find_series(folder: str | Path) -> FolderContents:
    """Find every axial CT series below a folder.

    Parameters
    ----------
    folder : path
        A single file, or a folder that is searched with all its subfolders. File names do not
        matter. Symbolic links to folders and the references of a DICOMDIR are not followed.

    Returns
    -------
    FolderContents
        Its `warnings` count localizers, captures, other modalities and files that are not DICOM.

    Raises
    ------
    HeadrestError
        Where the folder does not exist.
    """
    if not os.path.exists(folder):
        raise HeadrestError(f"{folder}: there is no such folder or file")
    groups, skipped = defaultdict(list), defaultdict(list)
    broken: list[HeadrestError] = []
    for path in tqdm(_walk(folder, broken), desc="searching", unit="file", delay=2, leave=False):
        try:
            label, reason = _classify(path)
        except HeadrestError as error:
            broken.append(error)
            continue
        if reason:
            skipped[reason].append(path)
        else:
            groups[label[0]].append((path, label))
    series = tuple(_series_files(members) for members in groups.values())
    warnings = tuple(_skip_line(reason, paths) for reason, paths in skipped.items())
    return FolderContents(series, warnings, tuple(broken))


def _walk(folder, broken) -> Iterator[Path]:
    def unreadable(error):
        broken.append(HeadrestError(f"{error.filename}: cannot be searched ({error.strerror})"))

    if not os.path.isdir(folder):
        yield Path(folder)
        return
    for root, folders, names in os.walk(folder, onerror=unreadable, followlinks=False):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (Path(root, name) for name in sorted(names) + links)


def _classify(path):
    """Return ((series UID, number, description), None) for a CT slice, else (None, reason)."""
    try:
        with quiet():
            header = read_header(path, HEADER_TAGS, NEEDED_TAGS)
            if header is None:
                return None, why_not_dicom(path)
            reason = _reason_to_skip(header)
            return (None, reason) if reason else (_label(header), None)
    except HeadrestError as error:
        raise HeadrestError(f"{path}: {error}") from None
    except Exception as error:  # a damaged header makes pydicom raise any exception
        raise HeadrestError(
            f"{path}: the header cannot be read ({type(error).__name__}); copy the file again"
        ) from error


def _label(header):
    uid = value_of(header, "SeriesInstanceUID")
    if not isinstance(uid, str) or not uid:
        raise HeadrestError("SeriesInstanceUID is missing or malformed; export the series again")
    shown = (text(header, keyword) for keyword in ("SeriesNumber", "SeriesDescription"))
    return uid, *(plain(value)[:MAX_SHOWN] for value in shown)


def _reason_to_skip(header):
    if value_of(header.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return "a DICOMDIR"
    sop_class, remark = identify_ct(header)
    if not sop_class:
        return remark
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
        return True  # the reader refuses it and names the attribute
    return abs(axes[0] * axes[4] - axes[1] * axes[3]) >= AXIAL_COSINE  # z of the slice normal


def _series_files(members):
    return SeriesFiles(*members[0][1], tuple(path for path, _ in members))


def _skip_line(reason, paths):
    many = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"skipped {plain(paths[0].name)}{many}: {reason}"
