"""Parse one DICOM file with pydicom, within bounds: no value is read that the file cannot hold."""

import io
import logging
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from headrest.dicom.values import value_of
from headrest.util.errors import HeadrestError

MAX_FILE_BYTES = 32 * 2**20
"""Bytes read from one file at most, after inflating; a slice of 2048 x 2048 has 8 MiB."""

MAX_BYTES_PER_FRAME = 2**18
"""Bytes read besides the file itself for each frame: 256 reads of `BYTES_PER_READ`."""

BYTES_PER_READ = 1024
"""Bytes that each read counts at least, so that a file of millions of tiny elements ends too."""

PIXEL_DATA_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Float, Double Float and plain Pixel Data."""

FIRST_BULKY_TAG = 0x00290000
"""From here on come private blocks, frames and reports; no attribute that names a series."""

UNDEFINED_LENGTH = 0xFFFFFFFF

BARE_TAGS = [Tag(name) for name in ("SOPClassUID", "Modality", "Rows", "Columns")]
"""Attributes that must describe a CT image where a file has no preamble and no meta header."""


def read_header(
    path: str | os.PathLike,
    tags: Collection[int] | None = None,
    needed: Collection[int] = frozenset(),
    frames: int = 0,
) -> Dataset | None:
    """Read a DICOM file. Values are converted on access, and may then raise any exception.

    Parameters
    ----------
    path : path
    tags : collection of int, optional
        Read only these elements, of those before the pixels; empty: all before the pixels.
    needed : collection of int
        Tags after which reading may stop before `FIRST_BULKY_TAG`.
    frames : int
        Number of frames for which the limit of bytes is raised.

    Returns
    -------
    pydicom.Dataset with `file_meta`, or None where the file is not DICOM (PS3.10 7.1). A CT image
    without preamble and meta header is read if it is strict; its `preamble` is None.

    Raises HeadrestError, without the file's name, where it cannot be opened or is damaged.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None  # opening a pipe would block
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise HeadrestError(f"cannot be opened ({error.strerror or error})") from error
    with file:
        return _parse(BoundedFile(file, frames), tags, needed)


def why_not_dicom(path: str | os.PathLike) -> str:
    """Reason why `read_header` returns None for a file, and the tool that helps."""
    if os.path.isdir(path):
        return "a link, not followed"
    start = b""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            start = file.read(8)
    if start.startswith(b"PK\3\4") and os.fspath(path).endswith(".npz"):
        return "not DICOM but arrays of NumPy"
    if start.startswith(b"PK\3\4"):
        return "not DICOM but a zip archive: unpack it first"
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


def _parse(source, tags, needed):
    preamble, prefix = source.read(128), source.read(4)
    if prefix != b"DICM":
        return _bare_ct_image(source, tags, needed)
    meta = FileMetaDataset(_elements(source, False, True, lambda tag, *_: tag >> 16 != 2))
    syntax = value_of(meta, "TransferSyntaxUID")
    if value_of(meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        header = Dataset()  # its references are not followed
    elif not syntax:
        raise HeadrestError("does not name its transfer syntax; export it again")
    else:
        if syntax == DeflatedExplicitVRLittleEndian:
            source = BoundedFile(io.BytesIO(_inflated(source.rest())))
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        check = ElementCheck(source, tags is not None, needed)
        header = _elements(source, implicit, little, check, tags)
        if tags is None and source.rest().strip(b"\0"):
            raise HeadrestError("ends early, or holds more than one image; copy or export it again")
    header.file_meta, header.preamble = meta, preamble
    return header


def _bare_ct_image(source, tags, needed):
    """Read a data set without preamble and meta header, if it is strictly a CT image, else None."""
    source.seek(0)
    start = source.read(8)
    if start[:2] != b"\x08\0" or start[4:6].isalpha():  # group 0008, implicit VR
        return None
    try:
        source.seek(0)
        header = _elements(
            source, True, True, ElementCheck(source, True, (), strict=True), BARE_TAGS
        )
        size = int(header.Rows) * int(header.Columns) * 2
        pixels = struct.pack("<HHL", 0x7FE0, 0x0010, size)
        whole = source.read(8) == pixels and source.size - source.tell() == size
        if not whole or header.SOPClassUID != CTImageStorage or header.Modality != "CT":
            return None
    except Exception:  # any exception, as of any other file that is not DICOM
        return None
    source.seek(0)
    check = ElementCheck(source, tags is not None, needed)
    header = _elements(source, True, True, check, tags)
    header.file_meta, header.preamble = FileMetaDataset(), None
    header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    return header


def _elements(source, implicit, little, stop, tags=None):
    return read_dataset(
        source,
        implicit,
        little,
        stop_when=lambda tag, _, length: stop(int(tag), length),
        specific_tags=list(tags) if tags else None,
    )


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


class ElementCheck:
    """Check each element before its value is read; True stops before it. `strict` about order."""

    def __init__(
        self,
        source: BoundedFile,
        before_pixels: bool,
        needed: Collection[int],
        strict: bool = False,
    ):
        self.source, self.before_pixels, self.needed = source, before_pixels, needed
        self.strict = strict
        self.seen: set[int] = set()

    def __call__(self, tag: int, length: int) -> bool:
        bulky = tag >= FIRST_BULKY_TAG and self.seen.issuperset(self.needed)
        if self.before_pixels and (bulky or tag in PIXEL_DATA_TAGS):
            return True
        if tag == 0 and PIXEL_DATA_TAGS[-1] in self.seen:
            return True  # zeros after the image; `_parse` checks the rest
        if self.strict and self.seen and tag < max(self.seen):
            raise HeadrestError("elements are not in ascending order")
        left = self.source.size - self.source.tell()
        if left < length != UNDEFINED_LENGTH:
            raise HeadrestError(
                f"cut short or damaged: {_named(tag)} has {length} bytes, {left} are left"
            )
        if tag in self.seen and len(self.seen) > 1:  # pydicom may ask twice for the first
            raise HeadrestError(f"holds {_named(tag)} twice; export it again")
        self.seen.add(tag)
        return False


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
