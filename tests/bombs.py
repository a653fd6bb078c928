"""Files that grow when they are read. Each is read in a child process with limits.

`python tests/bombs.py FOLDER` prints one line of JSON a bomb, and for some a second line of how
the usual way of reading fares with it: pydicom alone.
"""

import json
import os
import signal
import struct
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from conftest import head_hu, make_slice, process_mb, write_slice
from makers import DEFLATED, IMPLICIT, J2K, JPEG, RLE, compressed, framed, item, items, parts
from pydicom import dcmread

from headrest import HeadrestError, read_series

ADDRESSES = 4 << 30
PATIENCE = 3  # seconds of CPU time after which a child is ended


def deflate(folder):
    """2.1 GB of zeros in a file of 2 MB."""
    path = write_slice(folder / "1.dcm", make_slice(TransferSyntaxUID=DEFLATED))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = squeeze.compress(b"\x09\x00\x01\x10OB\0\0" + (1 << 31).to_bytes(4, "little"))
    first += squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(parts(path)[0] + first + block * (1 << 11) + squeeze.flush())


def claiming(syntax, at, form, *values, **changes):
    """Claim another size, deep inside the compressed frame, than its header."""
    claim = struct.pack(form, *values)
    return framed(lambda f: items(f[:at] + claim + f[at + len(claim) :]), syntax, **changes)


def runs(count, end=b""):
    """RLE of two segments: their offsets, and this many runs of 128 zeros in each."""
    run = b"\x81\x00" * count
    frame = struct.pack("<16L", 2, 64, 64 + len(run), *[0] * 13) + run + run + end
    return framed(lambda _: items(frame), RLE)


SEQUENCE = b"\x08\x00\x40\x11" + b"\xff" * 4
ITEM = b"\xfe\xff\x00\xe0" + b"\xff" * 4
END = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"


def elements(start, content=b"", times=1, end=b"", size=None):
    """Elements behind a header, some of them many times; the file may have another size."""

    def make(folder):
        path = write_slice(folder / "1.dcm", make_slice(TransferSyntaxUID=IMPLICIT))
        data = parts(path)[0] + start + content * times + end * times
        path.write_bytes(data)
        os.truncate(path, size or len(data))

    return make


def frames(folder):
    """100 frames are declared, and two million tiny elements follow."""
    ds = make_slice(NumberOfFrames=100, SpacingBetweenSlices=1, TransferSyntaxUID=IMPLICIT)
    path = write_slice(folder / "1.dcm", ds)
    start = path.read_bytes()[: -64 * 64 * 2 - 8] + b"\x00\x52\x30\x92" + b"\xff" * 4 + ITEM
    path.write_bytes(start + b"\x20\x00\x13\x00\0\0\0\0" * (1 << 21))


MARKERS = b"\xff\xd8" + b"\xff\xff\xe0\x00\x02" * (6 << 20)
BOMBS = {
    "30-deflate": deflate,
    "31-raw": compressed(None, Rows=65535, Columns=65535, NumberOfFrames=2**31 - 1),
    "31-wide": compressed(None, Rows=65535, Columns=65535),
    "32-rle-runs": runs(5 << 19),  # 640 MB
    "32-rle-of-nothing": runs(0, b"\x80" * (31 << 20)),
    "33-jpeg-markers": framed(lambda _: items(MARKERS), JPEG),
    "33-jpeg-2000": claiming(J2K, 8, ">6I", 12000, 12000, 0, 0, 12000, 12000),
    "33-jpeg-2000-parts": claiming(J2K, 24, ">II", 1, 1, hu=np.tile(head_hu(), (32, 32))),
    "33-jpeg-2000-colours": claiming(J2K, 40, ">H", 16384),
    "34-nested": elements(b"", SEQUENCE + ITEM, 3000, END),  # sequences in sequences
    "34-elements": elements(SEQUENCE + ITEM, b"\x08\x00\x50\x11\0\0\0\0", 1 << 21),  # no value
    "34-items": elements(SEQUENCE, item(b""), 1 << 20),
    "34-frames": frames,
    "35-claims": elements(b"\x08\x00\x08\x00\xfe\xff\xff\xff", size=377),  # 4 GB in 377 bytes
    "35-no-end": elements(b"\x09\x00\x01\x10\xff\xff\xff\xff", size=1 << 30),  # no end, no pixels
}

LARGE = ("30-deflate", "32-rle-runs", "33-jpeg-2000", "34-nested", "35-claims")
"""Those that the usual way of reading is tried on as well."""


def usual(path):
    return dcmread(path).pixel_array


READERS = {"ours": read_series, "usual": usual}


def measured(read, path):
    """Read in a process of its own: how it ended, the text, its CPU seconds and its peak in MB."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool, suppress(BrokenProcessPool):
        return pool.submit(_limited, read, path).result()
    return {"ended": "died", "text": "", "seconds": PATIENCE, "mb": 0}


def _limited(read, path):
    import resource  # POSIX only

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    before, ended, text = time.process_time(), "read", ""
    try:
        read(path)
    except HeadrestError as error:
        ended, text = "refused", str(error)[:500]
    except Exception as error:
        ended = type(error).__name__
    seconds = time.process_time() - before
    return {"ended": ended, "text": text, "seconds": seconds, "mb": process_mb()}


def main(folder, *names):
    for name in names or BOMBS:
        BOMBS[name](Path(folder, name))
        (path,) = Path(folder, name).iterdir()
        for who, read in READERS.items() if name in LARGE else [("ours", read_series)]:
            print(json.dumps({"bomb": name, "read": who, **measured(read, path)}), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
