"""The lines of the table, P1 to P9: each is a generator of rows."""

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measure import MB, ROOT, Cost, Row, cpu_seconds, head, median, run, write_series

from headrest import clean_series, find_support, read_series

MATRIX_PRODUCT = 2048
"""Rows and columns of the matrices whose product sets the rate of the machine."""

PART = 10
"""Series at each end of a long run that are compared with each other."""


def _clean(source: Path, *options: object) -> Cost:
    with tempfile.TemporaryDirectory() as out:
        return run("-m", "headrest", "clean", source, out, *options)


def _cost_rows(what: str, costs: list[Cost], seconds: float, peak_mb: float) -> Iterator[Row]:
    yield Row(f"{what}, new process", median(costs, "seconds"), "s", seconds)
    yield Row("  its CPU time", median(costs, "cpu_seconds"), "CPU-s")
    yield Row("  its peak memory", median(costs, "peak_mb"), "MB", peak_mb)


def cold_clean(options: Namespace) -> Iterator[Row]:
    """P1: one head from a new process, beside importing TensorFlow."""
    with head() as folder:
        turns = [(_clean(folder), run("-c", "import tensorflow")) for _ in range(options.repeats)]
    cleaned, imported = map(list, zip(*turns))
    yield from _cost_rows("clean 28 slices", cleaned, 1.5, 400)
    ratio = median(cleaned, "cpu_seconds") / median(imported, "cpu_seconds")
    yield Row("  its CPU time / that of import tensorflow", ratio, "", 0.65)


def segmentation(options: Namespace) -> Iterator[Row]:
    """P2: a long series with its DICOM Segmentation, from a new process."""
    with head() as source, tempfile.TemporaryDirectory() as place:
        folder = write_series(source, Path(place, "in"), options.slices)
        costs = [_clean(folder, "--segmentation") for _ in range(options.repeats)]
    yield from _cost_rows(f"clean --segmentation of {options.slices} slices", costs, 3.5, 700)


def network(options: Namespace) -> Iterator[Row]:
    """P3: the pretrained network, beside matrix products of as many operations."""
    from headrest.hounsfield import scale
    from headrest.segment.pretrained import load_pretrained
    from headrest.segment.unet import build_unet
    from headrest.show.methods import operations

    predict, per_slice = load_pretrained(), operations(build_unet("standard"), 512)
    with head() as folder:
        scaled = scale(read_series(folder).hu[:8])
    square = np.ones((MATRIX_PRODUCT, MATRIX_PRODUCT), np.float32)
    spent, product = cpu_seconds(
        4 * options.repeats, lambda: predict(scaled), lambda: square @ square
    )
    per_slice_ms = 1000 * spent / len(scaled)
    limit_ms = 1000 * per_slice * product / (2 * MATRIX_PRODUCT**3)
    yield Row("network", per_slice_ms, "CPU-ms/slice")
    yield Row("  the same operations as matrix products", limit_ms, "CPU-ms/slice")
    yield Row("  network / matrix products", per_slice_ms / limit_ms, "", 1.6)


def steps(options: Namespace) -> Iterator[Row]:
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
    parts = {"reading": (read, 0.7), "refinement": (found - predicted, 9.5)}
    parts["writing"] = (cleaned - found, 7.5)
    for name, (spent, aim) in parts.items():
        yield Row(name, 1000 * spent / len(series), "CPU-ms/slice", aim)


def installation(options: Namespace) -> Iterator[Row]:
    """P5: `pip install .` into a new environment."""
    with _copy() as copy, tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        before = _size_mb(place)
        pip = [Path(place, "bin", "python"), "-m", "pip", "install", "-qq", str(copy)]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        yield Row("pip install . in a new environment", _size_mb(place) - before, "MB", 600)


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        ignored = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__")
        yield Path(shutil.copytree(ROOT, Path(place, "repository"), ignore=ignored))


def _size_mb(folder):
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in paths) / MB


def many(options: Namespace) -> Iterator[Row]:
    """P6: many short series: is the last one as quick as the first, and two processes twice?"""
    with head() as source, tempfile.TemporaryDirectory() as place:
        archive = Path(place, "in")
        for number in range(options.series):
            write_series(source, archive / f"{number:04d}", 4, first=number % 24)
        one = run(Path(__file__).with_name("follow.py"), archive, Path(place, "out"))
        two = _clean(archive, "--jobs", 2)
    seconds, peak_mb = json.loads(one.output.splitlines()[-1])
    first, last = (sum(part) / len(part) for part in (seconds[1:PART], seconds[-PART:]))
    yield Row(f"{options.series} series of 4 slices: first {PART}", first, "s/series")
    yield Row(f"  last {PART} / first {PART}", last / first, "", 1.1)
    yield Row("  peak memory", peak_mb[-1], "MB")
    yield Row(f"  its growth after the first {PART}", peak_mb[-1] - peak_mb[PART - 1], "MB", 50)
    yield Row("  one process / --jobs 2, wall-clock", one.seconds / two.seconds, "", 1.8, True)


def kmeans(options: Namespace) -> Iterator[Row]:
    """P7: the exact K-Means threshold, beside scikit-learn on all pixels with ten starts."""
    from sklearn.cluster import KMeans

    from headrest.segment.kmeans import kmeans_threshold

    with head() as folder:
        hu = read_series(folder).hu[14]
    pixels, model = hu.reshape(-1, 1), KMeans(3, n_init=10, random_state=0)
    here, there = cpu_seconds(
        options.repeats, lambda: kmeans_threshold(hu), lambda: model.fit(pixels)
    )
    yield Row("K-Means threshold", 1000 * here, "CPU-ms/slice")
    yield Row("  scikit-learn / here", there / here, "", 50, True)


def training(options: Namespace) -> Iterator[Row]:
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
    square = np.ones((MATRIX_PRODUCT, MATRIX_PRODUCT), np.float32)
    step, product = cpu_seconds(
        4 * options.repeats,
        lambda: model.train_on_batch(x, y),
        lambda: ops.convert_to_numpy(ops.matmul(square, square)),
    )
    rate = 3 * batch * operations(model, 512) / step
    yield Row("training step, batch of 4", step, "CPU-s")
    share = rate / (2 * MATRIX_PRODUCT**3 / product)
    yield Row("  its rate / that of matrix products", share, "", 0.5, True)


def notebooks_and_tests(options: Namespace) -> Iterator[Row]:
    """P9: the notebooks and the tests, in a copy of the repository."""
    with _copy() as copy:
        execute = ("-m", "jupyter", "execute", "--inplace")
        books = sorted((copy / "notebooks").glob("[0-9]*.ipynb"))
        third = run(*execute, books[3], cwd=copy)
        yield Row(f"notebook {books[3].stem}", third.seconds / 60, "min", 3)
        whole = run(*execute, *books, cwd=copy)
        yield Row("all notebooks, README's first command", whole.seconds / 60, "min", 10)
    quick = run("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider")
    yield Row("quick tests", quick.seconds, "s", 90)
    tests = run("-m", "pytest", "-q", "-p", "no:cacheprovider")
    yield Row("all tests", tests.seconds / 60, "min", 6)


LINES: dict[str, Callable[[Namespace], Iterator[Row]]] = {
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


def rows(name: str, options: Namespace) -> list[Row]:
    """Measure one line."""
    return list(LINES[name](options))
