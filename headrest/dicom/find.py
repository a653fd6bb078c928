"""Walk a folder and sort its axial CT images into series, by their headers alone."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage
from tqdm.auto import tqdm

from headrest.dicom.attributes import is_unit_pair, numbers, text, value_of
from headrest.dicom.frames import FRAME_KEYWORDS, frame_count, single_frames
from headrest.dicom.header import PIXEL_DATA_TAGS, quiet, read_header, why_not_dicom
from headrest.dicom.series import fingerprint_of_files
from headrest.dicom.stacks import IMAGE_KEYWORDS, describe_image, may_lack_slices, sort_into_stacks
from headrest.dicom.values import CT_KEYWORDS, identify_ct
from headrest.util.errors import HeadrestError, plain

NOT_SLICES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "DOSE_INFO", "SCREEN SAVE", "REPORT", "RESULTS"}
"""Values of Image Type (0008,0008) of images that are no slice."""


def _tags(*keywords):
    return {int(Tag(keyword)) for keyword in keywords}


NEEDED_TAGS = _tags("Modality", "SeriesInstanceUID")
HEADER_TAGS = NEEDED_TAGS | _tags(
    *("SOPClassUID", "ImageType", "SeriesNumber", "SeriesDescription", "BitsAllocated"),
    *("NumberOfFrames", *CT_KEYWORDS, *IMAGE_KEYWORDS),
)
FRAME_TAGS = HEADER_TAGS | _tags(*FRAME_KEYWORDS)

DICOMDIR = "a DICOMDIR"

AXIAL_COSINE = 0.7
"""Cosine of the angle up to which a tilted slice counts as axial, about 45 degrees."""

MAX_SHOWN = 64
"""Characters of a value that a message shows; DICOM's own limit for a short text (PS3.5 6.2)."""


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one axial CT series, or of one stack of it.

    Attributes
    ----------
    uid, number, description : str
        Series Instance UID, Series Number, Series Description.
    files : tuple of Path
        One per image; a multi-frame file is named once per frame.
    stack : str
        Name of the stack, where the series has several; see `headrest.dicom.stacks`.
    warnings : tuple of str
        Images that were left out, and how stacks were separated.
    damaged : tuple of str
        Damaged files that may belong to the series, each with the reason.
    frames : tuple of int
        For multi-frame files the frame of each of `files`, from 1; 0 for a single-frame file.
    lacks_rescale : bool
        Whether a default rescale applies.
    """

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    stack: str = ""
    warnings: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    lacks_rescale: bool = False

    def __str__(self) -> str:
        about = f"series {self.number or '?'}, {self.description or 'no description'}"
        about += f", {self.stack}" if self.stack else ""
        return f"{plain(self.uid)[:MAX_SHOWN]} ({len(self.files)} images, {about})"

    def fingerprint(self, default_rescale: tuple[float, float] | None = None) -> str:
        """Fingerprint of the series that `load_series` reads from these files, without reading it.

        Raises HeadrestError where a file cannot be read.
        """
        given = []
        if default_rescale is not None and self.lacks_rescale:
            given = ["{} {}".format(*map(float, default_rescale))]
        return fingerprint_of_files(self.uid, self.files, given, self.frames)


@dataclass(frozen=True)
class FolderContents:
    """Result of `find_series`.

    Attributes
    ----------
    series : tuple of SeriesFiles
    warnings : tuple of str
        One line for each kind of file that was skipped, and for images that form no volume.
    broken : tuple of HeadrestError
        Damaged files of unknown series, and folders that cannot be opened.
    """

    series: tuple[SeriesFiles, ...]
    warnings: tuple[str, ...]
    broken: tuple[HeadrestError, ...]


def find_series(folder: str | Path, acquisition: int | None = None) -> FolderContents:
    """Find every axial CT series below a folder, and sort its images into stacks.

    Parameters
    ----------
    folder : path
        A single file, or a folder that is searched with all its subfolders. File names do not
        matter. Symbolic links to folders and the references of a DICOMDIR are not followed.
    acquisition : int, optional
        Keep only images with this Acquisition Number (0020,0012).

    Returns
    -------
    FolderContents
        Its `warnings` count localizers, captures, other modalities and files that are not DICOM.

    Raises
    ------
    HeadrestError
        Where the folder does not exist, or is a DICOMDIR.
    """
    if not os.path.exists(folder):
        raise HeadrestError(f"{folder}: there is no such folder or file")
    found = _Found(Path(folder))
    broken: list[HeadrestError] = []
    for path in tqdm(_walk(folder, broken), desc="searching", unit="file", delay=2, leave=False):
        found.add(path)
    volumes = []
    for label, images in found.images.items():
        kept, warnings = _of_acquisition(images, acquisition)
        none = [(images, f"no image has Acquisition Number {acquisition}")]
        stacks, rejected = sort_into_stacks(kept, _short_values) if kept else ([], none)
        volumes += [(label, stack, warnings) for stack in stacks]
        for group, reason in rejected:
            found.skip(group[0].path, reason, label[2], len(group))
    damaged = _assign_damaged(found)
    series = tuple(_series_files(*volume, damaged[volume[0]]) for volume in volumes)
    return FolderContents(series, tuple(found.lines()), (*broken, *found.of_no_series))


def _short_values(image):
    """Every short value in the header of a single-frame image, by keyword or tag."""
    found = {}
    with quiet(), suppress(Exception):  # a damaged header raises any exception
        header = None if image.frame else read_header(image.path, (), PIXEL_DATA_TAGS)
        for tag in header.keys() if header else ():
            raw = header.get_item(tag)
            if isinstance(raw, RawDataElement) and raw.length <= MAX_SHOWN:
                found[keyword_for_tag(tag) or str(tag)] = str(raw.value)
    return found


def _series_files(label, stack, warnings, damaged):
    files = tuple(image.path for image in stack.images)
    notes, frames = (*warnings, *stack.warnings), tuple(image.frame for image in stack.images)
    lacking = any(image.lacks_rescale for image in stack.images)
    frames = frames if any(frames) else ()
    return SeriesFiles(*label, files, stack.name, notes, tuple(damaged), frames, lacking)


class _OfNoSeries(HeadrestError):
    """A whole file without a usable Series Instance UID."""


class _Found:
    """What a search found: images of each series, skipped files, damaged files."""

    def __init__(self, folder):
        self.folder = folder
        self.images = defaultdict(list)  # (series UID, number, description) -> Image
        self.labels = {}  # series UID -> label of its first image
        self.skipped = {}  # (reason, description) -> [first path, count]
        self.damaged = []  # (path, reason)
        self.of_no_series = []  # HeadrestError, also about damaged files without a series
        self.empty = []  # files that hold nothing: damaged if they are named like slices

    def add(self, path):
        try:
            with quiet():
                self._sort(path)
        except _OfNoSeries as error:
            self.of_no_series.append(HeadrestError(f"{path}: {error}"))
        except HeadrestError as error:
            self.damaged.append((path, str(error)))
        except Exception as error:  # a damaged header makes pydicom raise any exception
            reason = f"the header cannot be read ({type(error).__name__}); copy it again"
            self.damaged.append((path, reason))

    def _sort(self, path):
        if path.is_symlink() and not path.exists():
            self.empty.append((path, "a broken link"))
            return
        header = read_header(path, HEADER_TAGS, NEEDED_TAGS)
        if header is None:
            if os.path.isfile(path) and not os.path.getsize(path):
                self.empty.append((path, "not DICOM but empty"))
            else:
                self.skip(path, why_not_dicom(path))
        elif count := frame_count(header):
            header = read_header(path, FRAME_TAGS, PIXEL_DATA_TAGS, count)
            if reason := _reason_to_skip(header):  # of the file, such as its class
                self.skip(path, reason, _shown(header, "SeriesDescription"))
                return
            for n, frame in enumerate(single_frames(header), 1):
                self._sort_image(path, frame, n)
        else:
            self._sort_image(path, header)

    def _sort_image(self, path, header, frame=0):
        if reason := _reason_to_skip(header):
            if path == self.folder and reason == DICOMDIR:
                where = path.absolute().parent
                raise HeadrestError(f"a DICOMDIR is only an index; give its folder: {where}")
            self.skip(path, reason, _shown(header, "SeriesDescription"))
            return
        uid = value_of(header, "SeriesInstanceUID")
        if not isinstance(uid, str) or not uid:
            raise _OfNoSeries("SeriesInstanceUID is missing or malformed; export it again")
        shown = [_shown(header, keyword) for keyword in ("SeriesNumber", "SeriesDescription")]
        label = self.labels.setdefault(str(uid), (str(uid), *shown))
        self.images[label].append(describe_image(path, header, frame))

    def skip(self, path, reason, description="", count=1):
        entry = self.skipped.setdefault((reason, description), [path, 0])
        entry[1] += count

    def lines(self):
        """One line for each reason and series description."""
        for (reason, description), (path, count) in self.skipped.items():
            name = os.path.relpath(path, self.folder) if path != self.folder else path.name
            many = f" and {count - 1} more" if count > 1 else ""
            about = f" ({description})" if description else ""
            yield f"skipped {plain(name)}{many}{about}: {reason}"


def _of_acquisition(images, acquisition):
    if acquisition is None:
        return images, []
    kept = [image for image in images if image.acquisition == f"{acquisition:g}"]
    others = f"{len(images) - len(kept)} images of other acquisitions left out"
    return kept, [others] if len(kept) < len(images) else []


def _assign_damaged(found):
    """Assign damaged files to the series that they may belong to: dict of label to messages.

    A file belongs to the series whose UID it holds. Otherwise to a series of its folder with file
    names like its own, or, unless it is empty, with any names; of several, to those that may lack
    slices, and to none where no slice is missing. Where there is no series it stands for itself.
    """
    damaged = defaultdict(list)
    for path, reason in found.damaged:
        label = found.labels.get(_series_uid_in(path))
        candidates = [label] if label else _series_beside(found, path, True)
        if not candidates:
            found.of_no_series.append(HeadrestError(f"{path}: {reason}"))
        else:
            _assign(found, path, reason, candidates, damaged)
    for path, reason in found.empty:
        candidates = _series_beside(found, path, False)
        if not candidates:
            found.skip(path, reason)
        else:
            reason += ", among the slices of a series; copy it again"
            _assign(found, path, reason, candidates, damaged)
    return damaged


def _series_beside(found, path, any_name):
    """Labels of the series with images in the folder of a file."""
    beside, alike = {}, {}
    for label, images in found.images.items():
        for image in images:
            if image.path.parent == path.parent:
                beside[label] = None
                if _name_pattern(image.path) == _name_pattern(path):
                    alike[label] = None
                    break
    return list(alike or (beside if any_name else ()))


def _assign(found, path, reason, candidates, damaged):
    if len(candidates) > 1:
        candidates = [label for label in candidates if may_lack_slices(found.images[label])]
    for label in candidates:
        damaged[label].append(f"{path}: {reason}")
    if not candidates:
        found.skip(path, f"{reason} (no series beside it lacks a slice)")


def _name_pattern(path):
    return re.sub(r"\d+", "#", path.name)


def _series_uid_in(path):
    """Series Instance UID in the bytes of a damaged header, or empty."""
    if not os.access(path, os.R_OK):
        return ""
    with open(path, "rb") as file:
        found = re.search(rb"\x20\0\x0e\0(?:UI..|..\0\0)([0-9.]+)", file.read(1 << 16), re.DOTALL)
    return found[1].decode() if found else ""


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


def _shown(header, keyword):
    return plain(text(header, keyword))[:MAX_SHOWN]


def _reason_to_skip(header):
    if value_of(header.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return DICOMDIR
    sop_class, remark = identify_ct(header)
    if not sop_class:
        return remark
    modality = value_of(header, "Modality")
    if not modality or "SeriesInstanceUID" not in header:
        kind = _OfNoSeries if "BitsAllocated" in header else HeadrestError
        raise kind("the header ends early or lacks its series; copy the file again")
    if modality != "CT":
        return f"modality {plain(modality)[:16]}, not CT"
    if found := NOT_SLICES.intersection(_image_type(header)):
        return f"{min(found).lower()}, not a slice"
    if text(header, "PixelPresentation") not in ("", "MONOCHROME"):
        return "a colour map, no HU"
    if value_of(header, "BitsAllocated") == 8:
        return "8-bit capture, no HU"
    return None if is_axial(header) else "not axial"


def _image_type(header):
    value = value_of(header, "ImageType") or []
    return [value] if isinstance(value, str) else list(value)


def is_axial(header: Dataset) -> bool:
    """Whether the slices are axial, or their orientation is unknown."""
    axes = numbers(header, "ImageOrientationPatient", 6)
    if axes is None or not is_unit_pair(axes):
        return True  # the reader refuses it and names the attribute
    return abs(axes[0] * axes[4] - axes[1] * axes[3]) >= AXIAL_COSINE  # z of the slice normal
