"""Kills, full disks, crowds and long runs while series are cleaned, in a process of their own.

`python tests/faults.py FOLDER kills|disk|crowd|endurance [careless]` prints one line of JSON.
Careless is a control: files are written straight into their place, and series are kept in memory.
"""

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from conftest import head_hu, make_series, process_mb
from factories import clean_series, clean_tree, contents, other_series, timeless
from tqdm import tqdm

from headrest import HeadrestError, read_series
from headrest.segment.support import METHODS, Support

tqdm.set_lock(threading.RLock())  # its own is shared with children, who may be killed with it
tqdm.monitor_interval = 0  # nor any thread that may hold it while this process forks


def quick(series, seconds=0):
    """A method that costs nothing: what is tested is what comes after it."""
    time.sleep(seconds)
    mask = series.hu > 110
    return Support(mask, np.zeros_like(mask), ~mask, ("free",) * len(series))


def carelessly(folder):
    Path(folder).mkdir(parents=True, exist_ok=True)
    return nullcontext(Path(folder))


def clean(source, out, reason="", limit=resource.RLIM_INFINITY, seconds=0):
    """Clean everything; return the errors. In a child: end with 2 for this reason alone, else 1."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with patch.dict(METHODS, kmeans=partial(quick, seconds=seconds)):
        try:
            errors = [report.error for report in clean_tree(source, out)]
        except HeadrestError as error:
            errors = [str(error)]
    errors = [error for error in errors if error]
    if errors and multiprocessing.parent_process():
        os._exit(2 if all(reason in one for one in errors) else 1)
    return errors


def started(*given, **options):
    """A child that cleans."""
    child = multiprocessing.get_context("fork").Process(target=clean, args=given, kwargs=options)
    child.start()
    return child


def sound(out):
    """What each complete series is made of: dict of folder to names and slices."""
    return {
        folder.name: (sorted(contents(folder)), [*map(timeless, sorted(folder.glob("*.dcm")))])
        for folder in out.glob("ct-*")
    }


def is_damaged(out, wanted):
    """Whether a series bears its name and is not what it should be."""
    try:
        return not sound(out).items() <= wanted.items()
    except Exception:  # a slice that cannot be read at all
        return True


def kills(folder, source, wanted):
    """Kill one run after another; each goes on where the last one was stopped."""
    out, before, rng = folder / "killed", contents(source), random.Random(0)
    killed = corrupt = complete = 0
    began = time.monotonic()
    started(source, folder / "first").join()
    seconds = time.monotonic() - began
    while killed < 100 and not corrupt:
        child = started(source, out)
        time.sleep(rng.uniform(0, seconds))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        corrupt += is_damaged(out, wanted)
        if len(list(out.glob("ct-*"))) == len(wanted):
            complete += 1
            out = folder / f"killed-{complete}"
    errors = clean(source, out)
    left = [name for name in os.listdir(out) if not name.startswith(("ct-", "manifest."))]
    same = {"identical": sound(out) == wanted, "untouched": contents(source) == before}
    return {"killed": killed, "corrupt": corrupt, "errors": errors, "left": left, **same}


def is_whole_table(path):
    """A table of the failed series, which is small; manifest.json has to be read whole."""
    if path.name == "manifest.json":
        return all(row["error"] for row in json.loads(path.read_bytes())["series"])
    return path.suffix == ".csv"


def disk(folder, source, wanted):
    """Let files grow to so many bytes and no further, as on a disk that is full."""
    whole = max(path.stat().st_size for path in (folder / "wanted").rglob("*.dcm"))
    outcomes = []
    for offset in np.linspace(0, whole - 1, 20).astype(int).tolist():
        out = folder / f"full-{offset}"
        out.mkdir()
        child = started(source, out, "cannot be written", limit=offset)
        child.join()
        left = [path for path in out.rglob("*") if path.is_file() and not is_whole_table(path)]
        outcomes.append((child.exitcode, len(left)))
    return {"outcomes": outcomes, "room": clean(source, folder / f"full-{whole - 1}")}


def crowd(folder, source, wanted):
    """Let several runs work into one folder at a time."""
    out = folder / "crowd"
    children = [started(source, out, "another process", seconds=3) for _ in range(8)]
    for child in children:
        child.join()
    codes = [child.exitcode for child in children]
    return {"codes": sorted(codes), "identical": sound(out) == wanted}


def endurance(keep, folder, *_):
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


def main(folder, what, careless=""):
    folder, source = Path(folder), Path(folder, "source")
    for name in ("a", "b"):
        make_series(source / name, 4, **other_series(name))
    clean(source, folder / "wanted")
    if careless:
        patch("headrest.dicom.write.atomic_folder", carelessly).start()
        patch("headrest.util.files._lock", lambda handle: None).start()
    work = {"kills": kills, "disk": disk, "crowd": crowd}.get(what, partial(endurance, careless))
    print(json.dumps(work(folder, source, sound(folder / "wanted"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
