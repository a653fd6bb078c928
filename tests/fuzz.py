"""Damage small CT files in a million ways and read them: python tests/fuzz.py --mutations 1000000.

Each mutation follows from its number alone. Reading runs in child processes, so that a
crash is found, named by its number, and passed over. `--first NUMBER` goes on after a stopped run,
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
import threading
import time
from pathlib import Path

import numpy as np
from conftest import CANARY
from conftest import process_mb as peak_mb
from makers import ENCODERS, NATIVE, TWELVE, in_syntax
from pydicom.filebase import DicomBytesIO
from tqdm import tqdm

from headrest import HeadrestError, read_series, write_derived_series

SYNTAXES = [*ENCODERS] * 2 + NATIVE
SIDE = 32
SECONDS = 2
"""Of CPU time for one file."""
MEGABYTES = 300
"""That reading one file may add to a process."""
ADDRESSES = 4 << 30
CHUNK = 500
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where a million files cost no disk."""
EXTREME = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]


tqdm.set_lock(threading.RLock())  # its own is shared with children, who may be ended with it
tqdm.monitor_interval = 0  # nor any thread that may hold it while this process forks


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


def mutate(files, number):
    """Damage one of the files in one to four places: bytes, the same for the same number."""
    rng = random.Random(number)
    data = bytearray(files[number % len(files)])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(132, max(len(data), 134))
        end = max(at, min(at + rng.choice((1, 2, 4, 8, 30, 200)), len(data)))  # it may be cut
        _damage(rng.choice(DAMAGES), data, at, end, rng)
    return bytes(data)


DAMAGES = ["flip"] * 3 + ["set"] * 2 + ["noise", "cut", "remove", "repeat", "move", "frame"]


def _damage(kind, data, at, end, rng):
    piece = data[at:end]
    if kind == "flip" and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "set":
        for place in range(at, min(end, at + 4)):
            data[place] = rng.choice(EXTREME)
    elif kind == "noise":
        data[at:end] = rng.randbytes(end - at)
    elif kind == "cut":
        del data[at if rng.random() < 0.3 else end :]
    elif kind == "repeat":
        data[at:at] = piece * rng.choice((1, 2, 50))
    elif kind in ("remove", "move"):
        del data[at:end]
        if kind == "move":
            to = rng.randrange(132, max(len(data), 134))
            data[to:to] = piece
    elif kind == "frame":
        _cut_frame(data, rng)


def _cut_frame(data, rng):
    """Shorten the last item of compressed pixels, and say so; with an end of image, at times."""
    start = data.rfind(b"\xfe\xff\x00\xe0") + 8
    size = int.from_bytes(data[start - 4 : start], "little")
    if start > 8 and 4 < size <= len(data) - start:
        left = data[start : start + rng.randrange(2, size)] + rng.choice((b"", b"\xff\xd9"))
        left += b"\0" * (len(left) % 2)
        data[start - 4 : start + size] = len(left).to_bytes(4, "little") + left


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


def _print_fault(number, fault):
    print(f"mutation {number}: {fault}", flush=True)  # a fork would print what is not flushed again


def _work(numbers, files, folder, state):
    """In a child: probe each number; `state` is the number at work and the count of faults."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path = Path(folder, f"{os.getpid()}.dcm")
    before = peak_mb()
    for number in numbers:
        state[0] = number
        path.write_bytes(mutate(files, number))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
        fault = probe(path, number)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if fault is None and peak_mb() - before > MEGABYTES:
            fault = f"took {peak_mb() - before:.0f} MB"
            before = peak_mb()
        if fault:
            state[1] += 1
            _print_fault(number, fault)
    path.unlink()


class Child:
    """A process that probes some numbers."""

    def __init__(self, numbers, files, folder):
        context = multiprocessing.get_context("fork")
        self.numbers, self.state = numbers, context.Array("q", [numbers[0], 0], lock=False)
        self.process = context.Process(target=_work, args=(numbers, files, folder, self.state))
        self.process.start()

    def outcome(self):
        """Count of faults, and the numbers that are left; the death of the process is a fault."""
        self.process.join()
        (number, faults), code = self.state, self.process.exitcode
        if not code:
            return faults, range(0)
        how = f"ended the process ({signal.Signals(-code).name if code < 0 else code})"
        slow = code == -signal.SIGPROF
        _print_fault(number, f"took more than {SECONDS} s" if slow else how)
        return faults + 1, range(number + 1, self.numbers[-1] + 1)


def fuzz(mutations, jobs=2, first=0):
    """Probe mutations `first` to `first` + `mutations`; print each fault, return their count."""
    end, files, faults, running = first + mutations, seed_files(), 0, []
    chunks = [range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)][::-1]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, tqdm(total=mutations) as bar:
        while chunks or running:
            while chunks and len(running) < jobs:
                running.append(Child(chunks.pop(), files, folder))
            time.sleep(0.02)
            for child in [one for one in running if not one.process.is_alive()]:
                running.remove(child)
                found, rest = child.outcome()
                chunks += [rest] if rest else []
                bar.update(len(child.numbers) - len(rest))
                faults += found
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--replay", type=int, metavar="NUMBER")
    options = parser.parse_args()
    if options.replay is not None:
        path = Path(tempfile.mkdtemp(), f"{options.replay}.dcm")
        path.write_bytes(mutate(seed_files(), options.replay))
        print(path)
        print(read_series(path))
        return 0
    faults = fuzz(options.mutations, options.jobs, options.first)
    print(f"{options.mutations} mutations, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
