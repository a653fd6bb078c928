"""Kills, full disks, crowds and long runs while series are cleaned, in a process of their own.

`python tests/faults.py kills|disk|crowd|endurance FOLDER [careless]` prints one line of JSON.
Careless is a control: files are written straight into their place, and series are kept in memory.
"""

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from conftest import head_hu, make_series, process_mb
from factories import clean_series, contents, other_series, timeless
from tqdm import tqdm

from headrest import HeadrestError, clean_tree, read_series
from headrest.segment.support import METHODS, Support

KILLS, OFFSETS, CROWD = 100, 20, 8
SLICES = 4


tqdm.set_lock(threading.RLock())  # its own is shared with children, who may be killed with it
tqdm.monitor_interval = 0  # nor any thread that may hold it while this process forks


def quick(series):
    """A method that costs nothing: what is tested is what comes after it."""
    mask = series.hu > 110
    return Support(mask, np.zeros_like(mask), ~mask, ("free",) * len(series))


@contextmanager
def carelessly(folder):
    Path(folder).mkdir(parents=True, exist_ok=True)
    yield Path(folder)


def make_source(folder):
    for name in ("a", "b"):
        make_series(folder / name, SLICES, **other_series(name))


def clean(source, out):
    """Clean everything; return what went wrong."""
    try:
        reports = clean_tree(source, out, method="kmeans")
    except HeadrestError as error:
        return [str(error)]
    return [report.error for report in reports if report.error]


def failed(source, out):
    return len(clean(source, out))


def child(work):
    """Fork, do the work there, and return its process number."""
    number = os.fork()
    if not number:
        os.setsid()
        code = 1
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return number


def sound(out):
    """What each complete series is made of: dict of folder to names and slices."""
    found = {}
    for folder in out.glob("ct-*"):
        slices = sorted(folder.glob("*.dcm"))
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        found[folder.name] = names, [timeless(path) for path in slices]
    return found


def damaged(out, wanted):
    """Series that bear their name and are not what they should be."""
    count = 0
    for folder in out.glob("ct-*"):
        try:
            count += sound(folder.parent)[folder.name] != wanted[folder.name]
        except Exception:  # a slice that cannot be read at all
            count += 1
    return count


def kills(folder, source, wanted):
    """Kill one run after another; each goes on where the last one was stopped."""
    out, before, rng = folder / "killed", contents(source), random.Random(0)
    killed = corrupt = complete = 0
    began = time.monotonic()
    os.waitpid(child(partial(failed, source, folder / "first")), 0)
    seconds = time.monotonic() - began
    while killed < KILLS and not corrupt:
        number = child(partial(failed, source, out))
        time.sleep(rng.uniform(0, seconds))
        os.kill(number, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(number, 0)[1])
        corrupt += damaged(out, wanted)
        if len(list(out.glob("ct-*"))) == len(wanted):
            complete += 1
            out = folder / f"killed-{complete}"
    errors = clean(source, out)
    return {
        "killed": killed,
        "corrupt": corrupt,
        "complete": complete,
        "errors": errors,
        "identical": sound(out) == wanted,
        "left": [name for name in os.listdir(out) if not name.startswith(("ct-", "manifest."))],
        "untouched": contents(source) == before,
    }


def is_whole_table(path):
    """A table of the failed series, which is small; manifest.json has to be read whole."""
    if path.name == "manifest.json":
        return all(row["error"] for row in json.loads(path.read_bytes())["series"])
    return path.suffix == ".csv"


def disk(folder, source, wanted):
    """Let files grow to so many bytes and no further, as on a disk that is full."""
    whole = max(path.stat().st_size for path in (folder / "wanted").rglob("*.dcm"))
    outcomes = []
    for offset in np.linspace(0, whole - 1, OFFSETS).astype(int):
        out = folder / f"full-{offset}"

        def work(out=out, limit=int(offset)):
            out.mkdir()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            errors = clean(source, out)
            return 0 if errors and all("cannot be written" in one for one in errors) else 1

        _, status = os.waitpid(child(work), 0)
        left = [path for path in out.rglob("*") if path.is_file() and not is_whole_table(path)]
        outcomes.append((int(offset), os.waitstatus_to_exitcode(status), len(left)))
    return {"outcomes": outcomes, "room": clean(source, folder / f"full-{whole - 1}")}


def crowd(folder, source, wanted):
    """Let several runs work into one folder at a time."""

    def slow(series):
        time.sleep(3)
        return quick(series)

    def work():
        with patch.dict(METHODS, kmeans=slow):
            errors = clean(source, folder / "crowd")
        return 0 if not errors else 2 if all("another process" in one for one in errors) else 1

    ends = [os.waitpid(number, 0)[1] for number in [child(work) for _ in range(CROWD)]]
    codes = [os.waitstatus_to_exitcode(end) for end in ends]
    return {
        "complete": codes.count(0),
        "refused": codes.count(2),
        "identical": sound(folder / "crowd") == wanted,
    }


def endurance(folder, keep):
    """Clean a series 12 times; see by how much the process grew from the third on."""
    kept, sizes = [], []
    fine = {"hu": head_hu().repeat(2, 0).repeat(2, 1), "PixelSpacing": [1.75, 1.75]}
    make_series(folder / "scan", 10, **fine)
    for n in range(12):
        series = read_series(folder / "scan")
        clean_series(series, folder / f"out-{n}")
        kept += [(series, series.hu)] * bool(keep)
        sizes.append(process_mb("VmRSS"))
    return {"peak": process_mb(), "growth": sizes[-1] - sizes[2]}


def main(what, folder, careless=""):
    folder = Path(folder)
    if what == "endurance":
        print(json.dumps(endurance(folder, careless)))
        return
    make_source(folder / "source")
    with patch.dict(METHODS, kmeans=quick):
        clean(folder / "source", folder / "wanted")
        wanted = sound(folder / "wanted")
        with ExitStack() as stack:
            if careless:
                stack.enter_context(patch("headrest.dicom.write.atomic_folder", carelessly))
                stack.enter_context(patch("headrest.util.files._lock", lambda handle: None))
            work = {"kills": kills, "disk": disk, "crowd": crowd}[what]
            print(json.dumps(work(folder, folder / "source", wanted)))


if __name__ == "__main__":
    main(*sys.argv[1:])
