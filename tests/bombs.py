"""Files that grow when they are read. Each is read in a child process with limits.

`python tests/bombs.py FOLDER` prints one line of JSON a bomb, and for some a second line of how
the usual way of reading fares with it: pydicom alone.
"""

import json
import os
import signal
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from conftest import head_hu, make_slice, write_slice
from makers import encoded, item
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from headrest import HeadrestError, read_series

ADDRESSES = 4 << 30
SIZE = (12000, 12000)
PATIENCE = 3
"""Seconds of CPU time after which a child is ended."""


def deflate(path):
    """2.1 GB of zeros in a file of 2 MB."""
    data = header_of(path, DeflatedExplicitVRLittleEndian)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = squeeze.compress(b"\x09\x00\x01\x10OB\0\0" + (1 << 31).to_bytes(4, "little"))
    first += squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(data + first + block * (1 << 11) + squeeze.flush())


def header_of(path, syntax):
    """Meta information of a file of this syntax."""
    data = write_slice(path, make_slice(TransferSyntaxUID=syntax)).read_bytes()
    return data[: 144 + int.from_bytes(data[140:144], "little")]


def raw(path):
    """65535 x 65535 x 2147483647 pixels, it says."""
    sizes = {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2**31 - 1}
    write_slice(path, make_slice(**sizes))


def wide_raw(path):
    write_slice(path, make_slice(Rows=65535, Columns=65535))


def sparse(path):
    """Pixel data of 3 GB, which take no room on the disk."""
    data = write_slice(path, make_slice(Rows=40000, Columns=40000)).read_bytes()
    size = 40000 * 40000 * 2
    path.write_bytes(data[: -64 * 64 * 2 - 4] + size.to_bytes(4, "little"))
    os.truncate(path, path.stat().st_size + size)


def rle(path):
    """60000 x 60000 pixels, it says."""
    ds = encoded(make_slice(), RLELossless)
    ds.Rows = ds.Columns = 60000
    write_slice(path, ds)


def rle_runs(path):
    """64 x 64 pixels, it says, and runs that unpack to 640 MB."""
    ds = encoded(make_slice(), RLELossless)
    run = b"\x81\x00" * (5 << 19)
    sizes = struct.pack("<16L", 2, 64, 64 + len(run), *[0] * 13)
    ds.PixelData = encapsulate([sizes + run + run])
    write_slice(path, ds)


def lying_stream(syntax, at, form, *values):
    """A compressed image that claims another size, deep inside, than its header."""

    def make(path):
        ds = encoded(make_slice(), syntax)
        frame = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
        struct.pack_into(form, frame, at, *values)
        ds.PixelData = encapsulate([bytes(frame)])
        write_slice(path, ds)

    return make


def tiles(path):
    """An image of its size in four million parts of one pixel."""
    ds = encoded(make_slice(hu=np.tile(head_hu(), (32, 32))), JPEG2000Lossless)
    frame = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
    struct.pack_into(">II", frame, 24, 1, 1)
    ds.PixelData = encapsulate([bytes(frame)])
    write_slice(path, ds)


def nested(path, depth=3000):
    """Sequences in sequences in sequences."""
    data = header_of(path, ImplicitVRLittleEndian)
    start = b"\x08\x00\x40\x11" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    end = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path.write_bytes(data + start * depth + end * depth)


def claims(path):
    """An element of 4 GB in a file of 377 bytes."""
    data = header_of(path, ImplicitVRLittleEndian)
    path.write_bytes((data + b"\x08\x00\x08\x00" + b"\xfe\xff\xff\xff").ljust(377, b"\0"))


def many_elements(path):
    """Two million elements without a value, in a sequence."""
    data = header_of(path, ImplicitVRLittleEndian)
    start = b"\x08\x00\x40\x11" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    path.write_bytes(data + start + b"\x08\x00\x50\x11\0\0\0\0" * (1 << 21))


def many_items(path):
    """A million items without an element."""
    data = header_of(path, ImplicitVRLittleEndian)
    path.write_bytes(data + b"\x08\x00\x40\x11" + b"\xff" * 4 + item(b"") * (1 << 20))


def no_end(path):
    """A value of undefined length that nothing ends, before the pixels."""
    data = header_of(path, ImplicitVRLittleEndian)
    path.write_bytes(data + b"\x09\x00\x01\x10" + b"\xff" * 4)
    os.truncate(path, 1 << 30)


BOMBS = {
    "30-deflate": deflate,
    "31-raw": raw,
    "31-wide": wide_raw,
    "31-sparse": sparse,
    "32-rle": rle,
    "32-rle-runs": rle_runs,
    "33-jpeg-2000": lying_stream(JPEG2000Lossless, 8, ">6I", *SIZE, 0, 0, *SIZE),
    "33-jpeg-2000-parts": tiles,
    "33-jpeg-2000-colours": lying_stream(JPEG2000Lossless, 40, ">H", 16384),
    "33-jpeg-ls": lying_stream(JPEGLSLossless, 7, ">HH", 65535, 65535),
    "33-jpeg": lying_stream(JPEGLosslessSV1, 25, ">HH", 65535, 65535),
    "34-nested": nested,
    "34-elements": many_elements,
    "34-items": many_items,
    "35-claims": claims,
    "35-no-end": no_end,
}


LARGE = ("30-deflate", "32-rle-runs", "33-jpeg-2000", "34-nested", "35-claims")
"""Those that the usual way of reading is tried on as well."""


def ours(path):
    return read_series(path)


def usual(path):
    return dcmread(path).pixel_array


def measured(read, path):
    """Read in a child; return how it ended, the text, its CPU seconds and its peak in MB."""
    there, here = os.pipe()
    child = os.fork()
    if not child:
        os.close(there)
        os.write(here, json.dumps(_limited(read, path)).encode())
        os._exit(0)
    os.close(here)
    with open(there, "rb") as end:
        said = end.read()
    _, status, used = os.wait4(child, 0)
    ended, text = json.loads(said) if said else (f"died of {os.waitstatus_to_exitcode(status)}", "")
    return {
        "ended": ended,
        "text": text,
        "seconds": round(used.ru_utime + used.ru_stime, 2),
        "mb": round(used.ru_maxrss / 1024),
    }


def _limited(read, path):
    import resource  # POSIX only

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        read(path)
    except HeadrestError as error:
        return "refused", str(error)[:500]
    except Exception as error:
        return type(error).__name__, ""
    return "read", ""


def main(folder, *names):
    for name in names or BOMBS:
        path = Path(folder, name)
        BOMBS[name](path)
        for read in (ours, usual) if name in LARGE else (ours,):
            print(json.dumps({"bomb": name, "read": read.__name__, **measured(read, path)}))
            sys.stdout.flush()
        path.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
