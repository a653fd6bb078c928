"""Walk a folder and sort its axial CT images into series, by their headers alone; find NIfTI."""

import os
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from headrest.dicom.frames import FRAME_KEYWORDS, frame_count, identify_ct, single_frames
from headrest.dicom.geometry import IMAGE_KEYWORDS, describe_image, is_axial
from headrest.dicom.header import (
    PIXEL_DATA_TAGS,
    is_nifti,
    quiet,
    read_header,
    text,
    value_of,
    why_not_dicom,
)
from headrest.dicom.series import MAX_SHOWN, SeriesFiles
from headrest.dicom.stacks import may_lack_slices, sort_into_stacks
from headrest.dicom.write import DERIVATION
from headrest.util import HeadrestError, counted, plain, progress

NOT_SLICES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "DOSE_INFO", "SCREEN SAVE", "REPORT", "RESULTS"}
"""Values of Image Type (0008,0008) of images that are no slice."""

MODALITY = re.compile("[A-Z0-9]{1,16}")
"""A code string (PS3.5 6.2) of one word; what else a damaged file has there may be a name."""

NEEDED_TAGS = {int(Tag(keyword)) for keyword in ("Modality", "SeriesInstanceUID")}
HEADER = ["SOPClassUID", "ImageType", "SeriesNumber", "SeriesDescription", "BitsAllocated"]
HEADER += ["DerivationDescription", *IMAGE_KEYWORDS, *FRAME_KEYWORDS]
HEADER_TAGS = NEEDED_TAGS | {int(Tag(keyword)) for keyword in HEADER}

DICOMDIR = "a DICOMDIR"


@dataclass(frozen=True)
class FolderContents:
    """Result of `find_series`.

    `warnings` are one line for each kind of file that was skipped, and for images that form no
    volume; `broken` are damaged files of unknown series, and folders that cannot be opened.
    """

    series: tuple[SeriesFiles, ...]
    warnings: tuple[str, ...]
    broken: tuple[HeadrestError, ...]


def find_nifti(
    source: str | Path, result_file: str
) -> tuple[tuple[SeriesFiles, ...], tuple[str, ...]]:
    """Find NIfTI files below a folder, or the one that a path names.

    The second part of the result has a warning for each that was skipped: it holds colours, or one
    slice that is not axial, such as a localizer; and one for all that lie beside a `result_file`.
    """
    source, series, skipped, derived = Path(source), [], [], []
    for path in [source] if source.is_file() else sorted(source.rglob("[!.]*.[nN][iI][iI]*")):
        if not (is_nifti(path) and path.is_file()):
            continue
        name = plain(path.name if path == source else os.path.relpath(path, source))
        if (path.parent / result_file).exists():
            derived.append(name)
        elif reason := _reason_to_skip_nifti(path):
            skipped.append(f"skipped {name}: NIfTI of {reason}")
        else:
            series.append(SeriesFiles(str(path.absolute()), "", "", (path,)))
    if derived:
        many = counted(len(derived), "NIfTI file")
        skipped.append(f"skipped {many}, {derived[0]} first: derived by headrest")
    return tuple(series), tuple(skipped)


def _reason_to_skip_nifti(path):
    """None also where the header cannot be read: the reader of the file says why."""
    with suppress(Exception):  # of any kind
        import nibabel

        image: Any = nibabel.load(path)
        if image.get_data_dtype().names is not None:
            return "colours, no HU"
        axes = nibabel.io_orientation(image.affine)[:, 0]
        flat = [axis for axis, size in zip(axes, (*image.shape, 1)) if size == 1]
        if flat in ([0], [1]):
            return "one slice, not axial"
    return None


def find_series(folder: str | Path, acquisition: int | None = None) -> FolderContents:
    """Find every axial CT series below a folder, and sort its images into stacks.

    Parameters
    ----------
    folder : path
        A single file, or a folder that is searched with all its subfolders. File names do not
        matter. Symbolic links to folders and the references of a DICOMDIR are not followed.
    acquisition : int, optional, keep only images with this Acquisition Number (0020,0012).

    Returns
    -------
    FolderContents
        Each stack of a series is one of its `series`; their pixels are not read.

    Raises
    ------
    HeadrestError
        Where the folder does not exist. A DICOMDIR is one of `broken`.
    """
    if not os.path.exists(folder):
        raise HeadrestError(f"{folder}: there is no such folder or file")
    found = _Found(Path(folder))
    for path in progress(_walk(found), "searching", unit="file", brief=True):
        found.add(path)
    damaged, series, lost = _assign_damaged(found), [], []
    for uid, images in found.images.items():
        kept = [i for i in images if acquisition is None or i.acquisition == f"{acquisition:.12g}"]
        others = len(images) - len(kept)
        notes = [f"{counted(others, 'image')} of other acquisitions left out"] if others else []
        none = [(images, f"no image has Acquisition Number {acquisition}")]
        stacks, rejected = sort_into_stacks(kept) if kept else ([], none)
        if not stacks:
            lost += [f"skipped {one}" for one in damaged[uid]]
        number, description = found.descriptions[uid]
        for group, reason in rejected:
            found.skipped[reason, description] += [image.path for image in group]
        for stack in stacks:
            files, frames = zip(*((image.path, image.frame) for image in stack.images))
            series.append(
                SeriesFiles(
                    uid,
                    number,
                    description,
                    files,
                    stack.name,
                    warnings=(*notes, *stack.warnings),
                    damaged=tuple(damaged[uid]),
                    frames=frames if any(frames) else (),
                    lacks_rescale=any(image.lacks_rescale for image in stack.images),
                    derived=uid in found.derived,
                )
            )
    return FolderContents(tuple(series), (*found.lines(), *lost), tuple(found.broken))


class _Found:
    """What a search found: images of each series, skipped files, damaged files."""

    def __init__(self, folder):
        self.folder = folder
        self.images = defaultdict(list)  # series UID -> Image
        self.descriptions = {}  # series UID -> Series Number and Description of its first image
        self.derived = set()  # UIDs of the series that headrest wrote
        self.skipped = defaultdict(list)  # (reason, description) -> paths
        # (path, reason, whether it is CT); files without content are damaged if named like slices
        self.damaged = []
        self.broken = []  # HeadrestError about damaged files of no series, and closed folders

    def add(self, path):
        try:
            with quiet():
                self._sort(path)
        except HeadrestError as error:
            self.damaged.append((path, str(error), True))
        except Exception as error:  # a damaged header makes pydicom raise any exception
            reason = f"the header cannot be read ({type(error).__name__}); copy it again"
            self.damaged.append((path, reason, True))

    def _sort(self, path):
        if path.is_symlink() and not path.exists():
            self.damaged.append((path, "a broken link", False))
        elif (header := read_header(path, HEADER_TAGS, NEEDED_TAGS)) is not None:
            if count := frame_count(header):
                header = read_header(path, HEADER_TAGS, PIXEL_DATA_TAGS, count) or header
            # A class that is skipped needs no positions.
            expand = count and not _reason_to_skip(header)
            for n, frame in enumerate(single_frames(header) if expand else [header], bool(count)):
                self._sort_image(path, frame, n)
        elif os.path.isfile(path) and not os.path.getsize(path):
            self.damaged.append((path, "not DICOM but empty", False))
        else:
            self.skipped[why_not_dicom(path), ""].append(path)

    def _sort_image(self, path, header, frame):
        number, description = (
            plain(text(header, keyword))[:MAX_SHOWN]
            for keyword in ("SeriesNumber", "SeriesDescription")
        )
        if reason := _reason_to_skip(header):
            if path == self.folder and reason == DICOMDIR:
                where = path.absolute().parent
                raise HeadrestError(f"a DICOMDIR is only an index; give its folder: {where}")
            self.skipped[reason, description].append(path)
            return
        uid = value_of(header, "SeriesInstanceUID")
        if isinstance(uid, str) and uid and value_of(header, "Modality"):
            self.descriptions.setdefault(str(uid), (number, description))
            image = describe_image(path, header, frame)  # may fail, and then leaves no key
            self.images[str(uid)].append(image)
            if DERIVATION in text(header, "DerivationDescription"):
                self.derived.add(uid)
            return
        reason = "the header ends early or lacks its series (SeriesInstanceUID); copy it again"
        if "BitsAllocated" not in header:
            raise HeadrestError(reason)  # cut short: it may belong to a series beside it
        self.broken.append(HeadrestError(f"{path}: {reason}"))

    def lines(self):
        """One line for each reason and series description."""
        for (reason, description), (path, *others) in self.skipped.items():
            name = os.path.relpath(path, self.folder) if path != self.folder else path.name
            many = f" and {len(others)} more" if others else ""
            about = f" ({description})" if description else ""
            yield f"skipped {plain(name)}{many}{about}: {reason}"


def _assign_damaged(found):
    """Messages of damaged files, by the UID of the series that they may belong to.

    That is the series whose UID a file holds. Otherwise one of its folder with file names like its
    own, or, unless it is empty, with any names; of several, those that may lack slices.
    """
    damaged, folders = defaultdict(list), defaultdict(lambda: defaultdict(set))
    for uid, images in found.images.items():
        for image in images:
            folders[image.path.parent][uid].add(re.sub(r"\d+", "#", image.path.name))
    for path, reason, is_ct in sorted(found.damaged, key=lambda one: not one[2]):
        uid = _series_uid_in(path) if is_ct else ""
        beside = [uid] if uid in found.images else _series_beside(folders[path.parent], path, is_ct)
        owners = [one for one in beside if len(beside) == 1 or may_lack_slices(found.images[one])]
        among = "" if is_ct else ", among the slices of a series; copy it again"
        for owner in owners:
            damaged[owner].append(f"{path}: {reason}{among}")
        if is_ct and not beside:
            found.broken.append(HeadrestError(f"{path}: {reason}"))
        elif not owners:
            complete = " (no series beside it lacks a slice)" if beside else ""
            found.skipped[reason + complete, ""].append(path)
    return damaged


def _series_beside(series, path, any_name):
    """UIDs of the series in the folder of a file: those with names like its own, or any."""
    alike = [uid for uid, names in series.items() if re.sub(r"\d+", "#", path.name) in names]
    return alike or list(series) * any_name


def _series_uid_in(path):
    """Series Instance UID in the bytes of a damaged header, or empty."""
    if not os.access(path, os.R_OK):
        return ""
    with open(path, "rb") as file:
        found = re.search(rb"\x20\0\x0e\0(?:UI..|..\0\0)([0-9.]+)", file.read(1 << 16), re.DOTALL)
    return found[1].decode() if found else ""


def _walk(found):
    def unreadable(error):
        reason = f"cannot be searched ({error.strerror})"
        found.broken.append(HeadrestError(f"{error.filename}: {reason}"))

    if not os.path.isdir(found.folder):
        yield found.folder
        return
    for root, folders, names in os.walk(found.folder, onerror=unreadable, followlinks=False):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (Path(root, name) for name in sorted(names) + links)


def _reason_to_skip(header):
    if value_of(header.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return DICOMDIR
    sop_class, remark = identify_ct(header)
    if not sop_class:
        return remark
    if (modality := value_of(header, "Modality")) not in (None, "", "CT"):
        name = modality if MODALITY.fullmatch(str(modality)) else "unknown"
        return f"modality {name}, not CT"
    image_type = value_of(header, "ImageType") or []
    image_type = [image_type] if isinstance(image_type, str) else image_type
    if found := NOT_SLICES.intersection(image_type):
        return f"{min(found).lower()}, not a slice"
    if text(header, "PixelPresentation") not in ("", "MONOCHROME"):
        return "a colour map, no HU"
    if value_of(header, "BitsAllocated") == 8:
        return "8-bit capture, no HU"
    return None if is_axial(header) else "not axial"
