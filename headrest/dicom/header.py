"""Parse one DICOM file within bounds, with no value that it cannot hold; read its attributes."""

import io
import logging
import os
import stat
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from pydicom import uid
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from headrest.util import HeadrestError

# Bytes that are read from one file at most.
MAX_FILE_BYTES = 32 * 2**20  # after inflating; a slice of 2048 x 2048 has 8 MiB
MAX_BYTES_PER_FRAME = 2**18  # beside the file itself: 256 reads
BYTES_PER_READ = 1024  # more than it reads, so that millions of tiny elements end too

PIXEL_DATA_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # Float, Double Float and plain Pixel Data
FIRST_BULKY_TAG = 0x00290000  # private blocks, frames, reports; nothing that names a series
UNDEFINED_LENGTH = 0xFFFFFFFF

CACHED_VRS, CACHED_BYTES = {"CS", "DS", "IS", "UI", "US", "TM"}, 128
"""VRs that no character set affects, and length of the values whose conversion is cached: most
values of a slice are those of the slice before, and conversion is half the time of a search."""

NIFTI = "NIfTI, which is read by its own path, or by `clean` where no DICOM is"
PLACE = (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))


def read_header(
    path: str | os.PathLike,
    tags: Collection[int] | None = None,
    needed: Collection[int] = frozenset(),
    frames: int = 0,
) -> Dataset | None:
    """Read a DICOM file, or return None where it is none (PS3.10 7.1).

    Values are converted on access, and may then raise any exception. With `tags`, only these
    elements are read, or all if it is empty, and nothing from the pixels on; when all of `needed`
    were read, it may stop at `FIRST_BULKY_TAG`. Of a file of many `frames` more bytes may be read.
    A CT image that lacks only preamble and meta header is read, with the `preamble` None. Raises
    HeadrestError, without the file's name.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None  # opening a pipe would block
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise HeadrestError(f"cannot be opened ({error.strerror or error})") from error
    with file:
        return _parse(BoundedFile(file, frames), tags, needed)


def is_nifti(path: str | os.PathLike) -> bool:
    """Whether a path is named as a NIfTI file: .nii or .nii.gz."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


def why_not_dicom(path: str | os.PathLike) -> str:
    """Reason why `read_header` returns None for a file, and the tool that helps."""
    if is_nifti(path):
        return NIFTI
    if os.path.isdir(path):
        return "a link, not followed"
    if not os.path.isfile(path):
        return "not DICOM"
    with open(path, "rb") as file:
        start = file.read(4)
    if start == b"PK\3\4":
        numpy = os.fspath(path).endswith(".npz")
        return f"not DICOM but {'arrays of NumPy' if numpy else 'a zip archive: unpack it first'}"
    if start[:2] in (b"\x02\0", b"\x08\0"):
        return (
            "not DICOM as a file: a data set without preamble or meta header? "
            "convert it with gdcmconv IN OUT, or with dcm2niix"
        )
    return "not DICOM"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom: its warnings and log lines quote values, which may name the patient."""
    log = logging.getLogger("pydicom")
    was, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = was


@contextmanager
def named_errors(
    where: object, reason: str, passed: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Begin a HeadrestError with the file it is about; turn any other exception into one, unless it
    is of a class in `passed`.

    Damaged files make pydicom and nibabel raise any exception, whose text may quote values too.
    """
    try:
        with quiet():
            yield
    except passed:
        raise
    except HeadrestError as error:
        named = str(error).startswith(f"{where}: ")
        raise HeadrestError(error if named else f"{where}: {error}") from error.__cause__
    except MemoryError:
        raise HeadrestError(f"{where}: out of memory; too large for this machine") from None
    except Exception as error:
        raise HeadrestError(f"{where}: {reason} ({type(error).__name__})") from error


def _parse(source, tags, needed):
    preamble, prefix = source.read(128), source.read(4)
    if prefix != b"DICM":
        return _bare_ct_image(source)
    meta = read_dataset(source, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    meta = FileMetaDataset(meta)
    syntax = value_of(meta, "TransferSyntaxUID")
    if value_of(meta, "MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
        header = Dataset()  # its references are not followed
    elif not syntax:
        raise HeadrestError("does not name its transfer syntax; export it again")
    else:
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            source = BoundedFile(io.BytesIO(_inflated(source.rest())))
        implicit, little = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
        header = _elements(source, implicit, little, tags, needed)
        if tags is None and source.rest().strip(b"\0"):
            raise HeadrestError("ends early, or holds more than one image; copy or export it again")
    header.file_meta, header.preamble = meta, preamble
    return header


def _bare_ct_image(source):
    """Whole data set without preamble and meta header, if strictly a CT image, or None."""
    source.seek(0)
    start = source.read(8)
    if start[:2] != b"\x08\0" or start[4:6].isalpha():  # group 0008, implicit VR
        return None
    try:
        source.seek(0)
        header = _elements(source, True, True)
        tags, pixels = list(header.keys()), header.get_item(PIXEL_DATA_TAGS[-1])
        whole = pixels.length == header.Rows * header.Columns * 2
        last = tags[-1] == pixels.tag and pixels.value_tell + pixels.length == source.size
        is_ct = header.SOPClassUID == uid.CTImageStorage and header.Modality == "CT"
    except Exception:  # any exception, as of any other file that is not DICOM
        return None
    if not (whole and last and tags == sorted(tags) and is_ct):
        return None
    header.file_meta, header.preamble = FileMetaDataset(), None
    header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    return header


def _elements(source, implicit, little, tags=None, needed=()):
    """Elements of a data set, see `read_header`; each is checked before its value is read."""
    seen = set()

    def stop(tag, _, length):
        tag = int(tag)
        bulky = tag >= FIRST_BULKY_TAG and seen.issuperset(needed)
        if tags is not None and (bulky or tag in PIXEL_DATA_TAGS):
            return True
        if tag == 0 and PIXEL_DATA_TAGS[-1] in seen:
            return True  # zeros after the image; `_parse` checks the rest
        check_element(source, tag, length, seen)
        seen.add(tag)
        return False

    tags_read = list(tags) if tags else None
    return read_dataset(source, implicit, little, stop_when=stop, specific_tags=tags_read)


class BoundedFile:
    """A file that returns no more than it holds, and no more than one slice or `frames` need."""

    def __init__(self, file: BinaryIO, frames: int = 0):
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self.left = MAX_FILE_BYTES + (frames and self.size + frames * MAX_BYTES_PER_FRAME)
        self._read, self.seek, self.tell = file.read, file.seek, file.tell

    def read(self, size: int) -> bytes:
        size = min(size, self.size)  # Python allocates the size asked for before it reads
        self.left -= size + BYTES_PER_READ
        if self.left < 0:
            raise HeadrestError("holds more than a CT slice can; it is damaged, or no CT slice")
        return self._read(size)

    def rest(self) -> bytes:
        return self.read(self.size - self.tell())


def check_element(source: BoundedFile, tag: int, length: int, seen: set[int]) -> None:
    """Refuse an element that is longer than the rest of the file, or was `seen` before."""
    left = source.size - source.tell()
    if left < length != UNDEFINED_LENGTH:
        said = f"{_named(tag)} has {length} bytes, {left} are left"
        raise HeadrestError(f"cut short or damaged: {said}")
    if tag in seen and len(seen) > 1:  # pydicom may ask twice for the first
        raise HeadrestError(f"holds {_named(tag)} twice; export it again")


def _named(tag):
    return f"{keyword_for_tag(tag) or 'an element'} {Tag(tag)}"


def _inflated(data):
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflate.decompress(data, MAX_FILE_BYTES)
    except zlib.error as error:
        raise HeadrestError("its deflated data are damaged; copy the file again") from error
    if inflate.unconsumed_tail or not inflate.eof:
        raise HeadrestError("its deflated data are cut short, or far larger than a CT slice")
    return found


def value_of(header: Dataset, keyword: str | tuple[int, int]) -> Any:
    """Read an attribute as pydicom does; None where it is missing. Do not change it."""
    raw = header.get_item(tag := _tag(keyword))
    if isinstance(raw, RawDataElement) and raw.VR in CACHED_VRS and 0 < raw.length <= CACHED_BYTES:
        return _converted(raw._replace(value_tell=0))
    return None if raw is None else header[tag].value


_tag = lru_cache(Tag)


@lru_cache(4096)
def _converted(raw):
    return convert_raw_data_element(raw).value


def numbers(header: Dataset, keyword: str | tuple[int, int], count: int) -> np.ndarray | None:
    """Read an attribute as a float array of `count` finite numbers; None where it is not that."""
    try:
        value = value_of(header, keyword)
        values = np.array(value, float).reshape(count)
    except Exception:  # pydicom converts a value on access; a damaged one raises any exception
        return None
    # Python reads 1_0 as ten; DICOM does not (PS3.5 6.2).
    return values if np.isfinite(values).all() and "_" not in str(value) else None


def number(header: Dataset, keyword: str | tuple[int, int]) -> float | None:
    """Read an attribute as one finite number, or None."""
    values = numbers(header, keyword, 1)
    return None if values is None else float(values[0])


def text(header: Dataset, keyword: str) -> str:
    """Read an attribute as text; empty where it is missing, empty or damaged."""
    try:
        value = value_of(header, keyword)
    except Exception:
        return ""
    return "" if value is None else str(value)


def is_unit_pair(axes: np.ndarray) -> bool:
    """Whether six numbers are two unit vectors at right angles (PS3.3 C.7.6.2.1.1)."""
    row, column = axes[:3], axes[3:]
    unit = max(abs(row @ row - 1), abs(column @ column - 1)) <= 0.02
    return bool(unit and abs(row @ column) <= 0.01)


def drop_private_elements(dataset: Dataset) -> None:
    """Delete every private element (PS3.5 7.8) of a dataset and of its sequences.

    Dataset.remove_private_tags reads every element, and fails at the first damaged one.
    """
    for tag in list(dataset.keys()):
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else dataset.get_item(tag).VR
        if tag.is_private:
            del dataset[tag]
        elif vr in ("SQ", "UN", None) and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                drop_private_elements(item)
