"""Parse one DICOM file, and never take from it more than it holds."""

import io
import logging
import os
import stat
import warnings
import zlib
from contextlib import contextmanager
from functools import partial

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from headrest.dicom.attributes import value_of
from headrest.dicom.elements import UNDEFINED, scan
from headrest.util.errors import HeadrestError

ROOM = 32 * 2**20
"""Bytes taken from one file at the most, after inflating; a slice of 2048 x 2048 has 8 MiB."""

FIRST = 1 << 16
"""Bytes that hold all of a header that tells one series from another."""

PER_READ = 1024
"""Bytes that each reach into a file counts for, so that millions of tiny elements end too."""

PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Float, Double Float and plain Pixel Data."""

BULKY = 0x00290000
"""From here on come private blocks, frames and reports: nothing that tells a series by."""


def read_header(path, tags=None, needed=frozenset()):
    """Read a DICOM file.

    Values are converted when they are asked for, and may then raise anything.

    Parameters
    ----------
    path : path
    tags : set of int, optional
        Only these elements, from what comes before the pixels.
    needed : set of int
        Those of them that must have been seen before reading may stop earlier still.

    Returns
    -------
    pydicom.Dataset with `file_meta`, or None where the file is not DICOM (PS3.10 7.1).

    Raises
    ------
    HeadrestError
        Where the file cannot be opened, or contradicts itself; its text does not name the file.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None  # to open a pipe would be to wait for ever
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise HeadrestError(f"cannot be opened ({error.strerror or error})") from error
    with file:
        return _parse(file, tags, needed)


@contextmanager
def quiet():
    """Silence pydicom: its warnings and log lines quote values, which may name the patient."""
    log = logging.getLogger("pydicom")
    was, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = was


def _parse(file, tags, needed):
    source, data = _Bounded(file), file.read(FIRST if tags else ROOM)
    preamble, prefix = data[:128], data[128:132]
    if prefix != b"DICM":
        return None
    meta, at = _elements(source, data, 132, (False, True), lambda: _after_meta)
    meta = FileMetaDataset(meta)
    syntax = value_of(meta, "TransferSyntaxUID")
    if value_of(meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        header = Dataset()  # a directory is long, and nothing in it is followed
    elif not syntax:
        raise HeadrestError("does not say how it is written (transfer syntax); export it again")
    else:
        if syntax == DeflatedExplicitVRLittleEndian:
            data, at = _inflated(source.rest(at)), 0
            source = _Bounded(io.BytesIO(data))
        how = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        watch = partial(_Watch, source.size, tags is not None, needed)
        header, at = _elements(source, data, at, how, watch, tags)
        if tags is None and source.rest(at).strip(b"\0"):
            raise HeadrestError("ends early, or holds more than one image; copy or export it again")
    header.file_meta, header.preamble = meta, preamble
    return header


def _elements(source, data, at, how, make_watch, tags=None):
    """Elements from a place on, and where they end; by pydicom where anything is odd."""
    if found := scan(source, data, at, *how, make_watch(), tags):
        return found
    source.left = ROOM
    source.seek(at)
    watch = make_watch()
    found = read_dataset(
        *(source, *how),
        stop_when=lambda tag, _, length: watch(int(tag), length, source.tell()),
        specific_tags=None if tags is None else list(tags),
    )
    return found, source.tell()


def _after_meta(tag, *_):
    return tag >> 16 != 2


class _Bounded:
    """A file that gives no more than it has, and no more than ROOM."""

    def __init__(self, file):
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self.left = ROOM
        self._read, self.seek, self.tell = file.read, file.seek, file.tell

    def read(self, size):
        size = min(size, self.size)  # Python sets aside what is asked for before it reads
        self.left -= size + PER_READ
        if self.left < 0:
            raise HeadrestError("holds more than a CT slice can; it is damaged, or no CT slice")
        return self._read(size)

    def rest(self, at):
        self.seek(at)
        return self.read(self.size - at)


class _Watch:
    """Looks at each element before its value is read, and says whether to stop there."""

    def __init__(self, size, before_pixels, needed):
        self.size, self.before_pixels, self.needed = size, before_pixels, needed
        self.seen = set()

    def __call__(self, tag, length, start):
        if self.before_pixels and (tag in PIXELS or (tag >= BULKY and self.needed <= self.seen)):
            return True
        if tag == 0 and PIXELS[-1] in self.seen:
            return True  # zeros behind the image; what is left is looked at later
        left = self.size - start
        if left < length != UNDEFINED:
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
        found = inflate.decompress(data, ROOM)
    except zlib.error as error:
        raise HeadrestError("its deflated data are damaged; copy the file again") from error
    if inflate.unconsumed_tail or not inflate.eof:
        raise HeadrestError("its deflated data are cut short, or far larger than a CT slice")
    return found
