"""The lines of the table, P1 to P9: each is a generator of rows, and how they are measured."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid

from headrest import clean_series, find_support, read_series

ROOT = Path(__file__).parents[2]
SCANS = Path(os.environ.get("HEADREST_SCANS", ROOT.parent / "shared" / "scans"))
MB = 1 << 20
SPACING_MM = 2.5
ROW = "{:3} {:58} {:>9} {:14} {:>8}  {}"

MATRIX_PRODUCT = 2048
"""Rows and columns of the matrices whose product sets the rate of the machine."""

PART = 10
"""Series at each end of a long run that are compared with each other."""

FOLLOW = """
import json, resource, sys, time
from headrest import clean_tree
moments, peaks_mb = [time.perf_counter()], []
def note(_):
    moments.append(time.perf_counter())
    peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
clean_tree(*sys.argv[1:], 1, None, note)
print(json.dumps([[b - a for a, b in zip(moments, moments[1:])], peaks_mb]))
"""
"""Clean a tree; print seconds and peak memory in MB after each series."""


def row_text(name, what, figure, unit, aim=None, more=False):
    """Row of the table: a figure with its aim, at most, or at least if `more` is True."""
    goal, met = "", ""
    if aim is not None:
        goal = f"{'>=' if more else '<='} {aim:g}"
        met = "yes" if (figure >= aim) == more else "no"
    figure = f"{figure:.3g}" if figure < 1000 else f"{figure:.0f}"
    return ROW.format(name, what, figure, unit, goal, met).rstrip()


class Cost(NamedTuple):
    """Wall-clock and CPU seconds of a process and its children; peak memory of the largest."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def run(*command, cwd=ROOT):
    """Run Python with these arguments in a new process, and measure it from outside."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        options = {"cwd": cwd, "env": environment, "stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen([sys.executable, *map(str, command)], **options)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{command}: exit status {process.returncode}\n{text[-2000:]}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # getrusage(2)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak / MB, text)


def median(costs, name):
    return statistics.median(getattr(cost, name) for cost in costs)


def cpu_seconds(repeats, *calls):
    """Median CPU seconds of each call, all threads counted, measured in turns after one trial."""
    spent = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, times in zip(calls, spent):
            start = time.process_time()
            call()
            if turn:
                times.append(time.process_time() - start)
    return [statistics.median(times) for times in spent]


def beside_products(options, call, product=np.matmul):
    """CPU seconds of a call, and those of an operation at the rate of matrix products."""
    square = np.ones((MATRIX_PRODUCT, MATRIX_PRODUCT), np.float32)
    spent, whole = cpu_seconds(4 * options.repeats, call, lambda: product(square, square))
    return spent, whole / (2 * MATRIX_PRODUCT**3)


@contextmanager
def head():
    """Folder of ge-head, a real head of 28 slices of 512 x 512, or else of a synthetic one."""
    if (SCANS / "ge-head").is_dir():
        yield SCANS / "ge-head"
        return
    from headrest.phantom import synthesize, write_dicom

    with tempfile.TemporaryDirectory() as place:
        yield write_dicom(synthesize(0, matrix=512, slices=28), Path(place, "head"))


def write_series(source, folder, slices, first=0):
    """Write a series of any length with the slices of `source`, there and back again."""
    folder.mkdir(parents=True)
    headers = sorted(map(dcmread, source.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2])
    headers, series_uid = headers[first:], generate_uid()
    x, y, z = headers[0].ImagePositionPatient
    for number, ds in enumerate(islice(cycle(headers + headers[::-1]), slices), 1):
        ds.SeriesInstanceUID, ds.InstanceNumber, ds.AcquisitionNumber = series_uid, number, 1
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [x, y, z + SPACING_MM * number]
        ds.save_as(folder / f"{number:04d}.dcm")
    return folder


def _clean(source, *options):
    with tempfile.TemporaryDirectory() as out:
        return run("-m", "headrest", "clean", source, out, *options)


def _cost_rows(what, costs, seconds, peak_mb):
    yield (f"{what}, new process", median(costs, "seconds"), "s", seconds)
    yield ("  its CPU time", median(costs, "cpu_seconds"), "CPU-s")
    yield ("  its peak memory", median(costs, "peak_mb"), "MB", peak_mb)


def cold_clean(options):
    """P1: one head from a new process, beside importing TensorFlow."""
    with head() as folder:
        turns = [(_clean(folder), run("-c", "import tensorflow")) for _ in range(options.repeats)]
    cleaned, imported = map(list, zip(*turns))
    yield from _cost_rows("clean 28 slices", cleaned, 1.5, 400)
    ratio = median(cleaned, "cpu_seconds") / median(imported, "cpu_seconds")
    yield ("  its CPU time / that of import tensorflow", ratio, "", 0.65)


def segmentation(options):
    """P2: a long series with its DICOM Segmentation, from a new process."""
    with head() as source, tempfile.TemporaryDirectory() as place:
        folder = write_series(source, Path(place, "in"), options.slices)
        costs = [_clean(folder, "--segmentation") for _ in range(options.repeats)]
    yield from _cost_rows(f"clean --segmentation of {options.slices} slices", costs, 3.5, 700)


def network(options):
    """P3: the pretrained network, beside matrix products of as many operations."""
    from headrest.hounsfield import scale
    from headrest.segment.pretrained import load_pretrained, model_card
    from headrest.segment.unet import build_unet
    from headrest.show.methods import operations

    model = build_unet(model_card()["architecture"]["preset"])
    predict, per_slice = load_pretrained(), operations(model, 512)
    with head() as folder:
        scaled = scale(read_series(folder).hu[:8])
    spent, operation = beside_products(options, lambda: predict(scaled))
    per_slice_ms, limit_ms = 1000 * spent / len(scaled), 1000 * per_slice * operation
    yield ("network", per_slice_ms, "CPU-ms/slice")
    yield ("  the same operations as matrix products", limit_ms, "CPU-ms/slice")
    yield ("  network / matrix products", per_slice_ms / limit_ms, "", 1.6)


def steps(options):
    """P4: the steps around the network, on one long series; aims are half of version 0.5.0."""
    from headrest.segment.predict import series_probability
    from headrest.segment.pretrained import load_pretrained

    with head() as source, tempfile.TemporaryDirectory() as place:
        folder = write_series(source, Path(place, "in"), 56)
        series, predict = read_series(folder), load_pretrained()

        def clean():
            with tempfile.TemporaryDirectory() as out:
                clean_series(series, out)

        read, predicted, found, cleaned = cpu_seconds(
            options.repeats,
            lambda: read_series(folder),
            lambda: series_probability(series.hu, series.spacing_mm, predict),
            lambda: find_support(series),
            clean,
        )
    parts = ("reading", read, 0.7), ("refinement", found - predicted, 9.5)
    for name, spent, aim in (*parts, ("writing", cleaned - found, 7.5)):
        yield (name, 1000 * spent / len(series), "CPU-ms/slice", aim)


def installation(options):
    """P5: `pip install .` into a new environment."""
    with _copy() as copy, tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        before = _size_mb(place)
        pip = [Path(place, "bin", "python"), "-m", "pip", "install", "-qq", str(copy)]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        yield ("pip install . in a new environment", _size_mb(place) - before, "MB", 600)


@contextmanager
def _copy():
    with tempfile.TemporaryDirectory() as place:
        ignored = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__")
        yield Path(shutil.copytree(ROOT, Path(place, "repository"), ignore=ignored))


def _size_mb(folder):
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in paths) / MB


def many(options):
    """P6: many short series: is the last one as quick as the first, and two processes twice?"""
    with head() as source, tempfile.TemporaryDirectory() as place:
        archive = Path(place, "in")
        for number in range(options.series):
            write_series(source, archive / f"{number:04d}", 4, first=number % 24)
        one = run("-c", FOLLOW, archive, Path(place, "out"))
        two = _clean(archive, "--jobs", 2)
    seconds, peak_mb = json.loads(one.output.splitlines()[-1])
    first, last = (sum(part) / len(part) for part in (seconds[1:PART], seconds[-PART:]))
    yield (f"{options.series} series of 4 slices: first {PART}", first, "s/series")
    yield (f"  last {PART} / first {PART}", last / first, "", 1.1)
    yield ("  peak memory", peak_mb[-1], "MB")
    yield (f"  its growth after the first {PART}", peak_mb[-1] - peak_mb[PART - 1], "MB", 50)
    yield ("  one process / --jobs 2, wall-clock", one.seconds / two.seconds, "", 1.8, True)


def kmeans(options):
    """P7: the exact K-Means threshold, beside scikit-learn on all pixels with ten starts."""
    from sklearn.cluster import KMeans

    from headrest.segment.kmeans import kmeans_threshold

    with head() as folder:
        hu = read_series(folder).hu[14]
    pixels, model = hu.reshape(-1, 1), KMeans(3, n_init=10, random_state=0)
    ways = (lambda: kmeans_threshold(hu)), (lambda: model.fit(pixels))
    here, there = cpu_seconds(options.repeats, *ways)
    yield ("K-Means threshold", 1000 * here, "CPU-ms/slice")
    yield ("  scikit-learn / here", there / here, "", 50, True)


def training(options):
    """P8: a training step, as a share of the rate of matrix products."""
    from headrest.segment.unet import build_unet
    from headrest.show.methods import operations
    from headrest.train.loop import compile_network
    from headrest.util.backend import ops

    model, batch = build_unet("standard"), 4
    # Adam's own operations are negligible; Muon's matrix products would have to be counted.
    compile_network(model, 100, 1, optimizer="adam")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, 512, 512, 1)).astype(np.float32)
    y = (x[..., 0] > 1).astype(np.uint8)
    matmul = lambda *pair: ops.convert_to_numpy(ops.matmul(*pair))  # noqa: E731
    step, operation = beside_products(options, lambda: model.train_on_batch(x, y), matmul)
    yield ("training step, batch of 4", step, "CPU-s")
    share = 3 * batch * operations(model, 512) * operation / step
    yield ("  its rate / that of matrix products", share, "", 0.5, True)


def notebooks_and_tests(options):
    """P9: the notebooks and the tests, in a copy of the repository."""
    with _copy() as copy:
        execute = ("-m", "jupyter", "execute", "--inplace")
        books = sorted((copy / "notebooks").glob("[0-9]*.ipynb"))
        third = run(*execute, books[3], cwd=copy)
        yield (f"notebook {books[3].stem}", third.seconds / 60, "min", 3)
        whole = run(*execute, *books, cwd=copy)
        yield ("all notebooks, README's first command", whole.seconds / 60, "min", 10)
    quick = run("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider")
    yield ("quick tests", quick.seconds, "s", 90)
    tests = run("-m", "pytest", "-q", "-p", "no:cacheprovider")
    yield ("all tests", tests.seconds / 60, "min", 6)


LINES = {
    "P1": cold_clean,
    "P2": segmentation,
    "P3": network,
    "P4": steps,
    "P5": installation,
    "P6": many,
    "P7": kmeans,
    "P8": training,
    "P9": notebooks_and_tests,
}


def measure(name, options):
    """Rows of one line, as text."""
    return [row_text(name, *row) for row in LINES[name](options)]
