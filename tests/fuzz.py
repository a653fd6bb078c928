"""Damage small CT files in a million ways and read them: python tests/fuzz.py --mutations 1000000.

Each mutation follows from its number alone. Reading runs in child processes, so that a crash is
found, named by its number, and passed over. `--first NUMBER` goes on after a stopped run,
`--replay NUMBER` reads one mutation again in plain sight.
"""

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from conftest import CANARY, process_mb
from makers import ENCODERS, NATIVE, TWELVE, in_syntax
from pydicom.filebase import DicomBytesIO

from headrest import HeadrestError, read_series, write_derived_series

SYNTAXES = [*ENCODERS] * 2 + NATIVE
SIDE = 32
SECONDS, MEGABYTES = 2, 300  # of CPU time for one file; that reading it may add to a process
ADDRESSES = 4 << 30
CHUNK = 500
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # files cost no disk there
EXTREME = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]


def seed_files():
    """One small good file in each transfer syntax, with what often goes wrong in it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    hu = np.where(np.hypot(y - 16, x - 16) < 12, 40 + (x * y) % 7, -1000)
    files = []
    for syntax in SYNTAXES:
        ds, whole = in_syntax(syntax, **TWELVE, hu=hu), DicomBytesIO()
        ds.add_new("PixelPaddingValue", "US", 0)
        ds.save_as(whole, enforce_file_format=True)
        files.append(whole.getvalue())
    return files


DAMAGES = [lambda piece, rng: bytes(b ^ 1 << rng.randrange(8) for b in piece[:1]) + piece[1:]] * 3
DAMAGES += [lambda piece, rng: bytes(rng.choices(EXTREME, k=len(piece[:4]))) + piece[4:]] * 2
DAMAGES += [
    lambda piece, rng: rng.randbytes(len(piece)),
    lambda piece, rng: piece * rng.choice((0, 2, 3, 51)),
    lambda piece, rng: b"",
]
"""Each returns other bytes for a piece of a file."""


def mutate(files, number):
    """Damage one of the files in one to four places: bytes, the same for the same number."""
    rng = random.Random(number)
    data = files[number % len(files)]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        start = rng.randrange(132, max(len(data), 134))
        end = start + rng.choice((1, 2, 4, 8, 30, 200))
        piece, kind = data[start:end], rng.random()
        if kind < 0.1:
            data = _with_cut_frame(data, rng)
        elif kind < 0.2:
            data = data[:start]
        elif kind < 0.3:
            to = rng.randrange(132, max(len(data), 134))
            data = data[:start] + data[end:]
            data = data[:to] + piece + data[to:]
        else:
            data = data[:start] + rng.choice(DAMAGES)(piece, rng) + data[end:]
    return data


def _with_cut_frame(data, rng):
    """Shorten the last item of compressed pixels, and say so; with an end of image, at times."""
    start = data.rfind(b"\xfe\xff\x00\xe0") + 8
    size = int.from_bytes(data[start - 4 : start], "little")
    if start == 7 or not 4 < size <= len(data) - start:
        return data
    left = data[start : start + rng.randrange(2, size)] + rng.choice((b"", b"\xff\xd9"))
    left += b"\0" * (len(left) % 2)
    return data[: start - 4] + len(left).to_bytes(4, "little") + left + data[start + size :]


def probe(path, number):
    """Read one file as a user would; return what is wrong with the outcome, or None."""
    try:
        series = read_series(path)
        if number % 32 == 0:
            with tempfile.TemporaryDirectory(dir=path.parent) as out:
                write_derived_series(series, series.hu > 1e4, Path(out, "x"), "fuzz")
    except HeadrestError as error:
        text = str(error)
        return None if str(path.parent) in text and CANARY not in text else f"says {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    sound = np.isfinite(series.hu).all() and min(series.spacing_mm) > 0 and len(series) == 1
    text = " ".join(series.warnings)
    return None if sound and text.isprintable() and CANARY not in text else f"{series!r} {text!r}"


def _work(numbers, files, folder):
    """In a child: probe each number, whose file stays where the process dies; exit with a count."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before, faults = process_mb(), 0
    for number in numbers:
        path = folder / f"{number}.dcm"
        path.write_bytes(mutate(files, number))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
        fault = probe(path, number)
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.unlink()
        if fault is None and process_mb() - before > MEGABYTES:
            fault = f"took {process_mb() - before:.0f} MB"
            before = process_mb()
        if fault:
            faults += 1
            print(f"mutation {number}: {fault}", flush=True)
    sys.exit(min(faults, 100))


def fuzz(mutations, jobs=2, first=0):
    """Probe mutations `first` to `first` + `mutations`; print each fault, return their count."""
    end, files, faults = first + mutations, seed_files(), 0
    fork = multiprocessing.get_context("fork")
    chunks = [range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)]
    while chunks:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            running = [(numbers, Path(tempfile.mkdtemp(dir=folder))) for numbers in chunks[:jobs]]
            children = [fork.Process(target=_work, args=(n, files, own)) for n, own in running]
            del chunks[:jobs]
            for child in children:
                child.start()
            for child, (numbers, own) in zip(children, running):
                child.join()
                faults += abs(child.exitcode) if child.exitcode >= 0 else 1
                for path in own.glob("*.dcm"):
                    number, by = int(path.stem), signal.Signals(-child.exitcode)
                    slow = f"took more than {SECONDS} s"
                    how = slow if by == signal.SIGPROF else f"ended the process ({by.name})"
                    print(f"mutation {number}: {how}", flush=True)
                    chunks += [range(number + 1, numbers.stop)][: number + 1 < numbers.stop]
        print(end - sum(map(len, chunks)), file=sys.stderr, end="\r")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--replay", type=int, metavar="NUMBER")
    options = parser.parse_args()
    if options.replay is not None:
        path = Path(tempfile.mkdtemp(), f"{options.replay}.dcm")
        path.write_bytes(mutate(seed_files(), options.replay))
        print(path, read_series(path))
        return 0
    faults = fuzz(options.mutations, first=options.first)
    print(f"{options.mutations} mutations, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
