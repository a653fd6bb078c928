"""Measure what a user waits for, and print each figure beside its aim.

    python tests/benchmarks            P1 P2 P3 P4 P7 P8, some minutes
    python tests/benchmarks P1 P2      only these
    python tests/benchmarks P6 --series 1000

The scans are those in HEADREST_SCANS, or in shared/scans beside the repository, or synthetic ones.
P5, P6 and P9 run only by name: P5 installs the package into an empty folder, P6 cleans many
series, P9 runs the notebooks and all tests. Machines differ and are noisy: compare within one run.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid
from threadpoolctl import threadpool_limits

from headrest import clean_series, clean_tree, find_support, read_series
from headrest.hounsfield import scale
from headrest.phantom import synthesize, write_dicom
from headrest.segment.kmeans import kmeans_threshold
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained, model_card
from headrest.util import machine

ROOT = Path(__file__).parents[2]
SCANS = Path(os.environ.get("HEADREST_SCANS", ROOT.parent / "shared" / "scans"))
MB = 1 << 20
MAXRSS_MB = (1 if sys.platform == "darwin" else 1024) / MB  # the unit of ru_maxrss, getrusage(2)
ROW = "{:3} {:58} {:>9} {:14} {:>8}  {}"
MATRIX_PRODUCT = 2048  # rows and columns of the matrices whose product sets the rate
PART = 10  # series at each end of a long run that are compared with each other


def print_row(name, what, figure, unit, aim=None, more=False):
    """Print a figure with its aim, at most, or at least if `more` is True."""
    goal, met = "", ""
    if aim is not None:
        goal = f"{'>=' if more else '<='} {aim:g}"
        met = "yes" if (figure >= aim) == more else "no"
    figure = f"{figure:.3g}" if figure < 1000 else f"{figure:.0f}"
    print(ROW.format(name, what, figure, unit, goal, met).rstrip(), flush=True)


def run(*command, cwd=ROOT):
    """Run Python in a new process; seconds, CPU seconds, and MB of its largest process."""
    start, log = time.perf_counter(), new_folder() / "log"
    with log.open("w") as output:
        command = [sys.executable, *map(str, command)]
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command}: status {process.returncode}\n{log.read_text()[-2000:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_MB


def cpu_seconds(repeats, *calls):
    """Median CPU seconds of each call, all threads counted, measured in turns after one trial."""
    turns = []
    for _ in range(repeats + 1):
        moments = [time.process_time()]
        for call in calls:
            call()
            moments.append(time.process_time())
        turns.append(np.diff(moments))
    return np.median(turns[1:], axis=0)


def beside_products(options, call, product=np.matmul):
    """CPU seconds of a call, and those of an operation at the rate of matrix products."""
    square = np.ones((MATRIX_PRODUCT, MATRIX_PRODUCT), np.float32)
    spent, whole = cpu_seconds(4 * options.repeats, call, lambda: product(square, square))
    return spent, whole / (2 * MATRIX_PRODUCT**3)


def new_folder():
    """An empty folder that is deleted at the end."""
    return Path(tempfile.mkdtemp())


def head():
    """Folder of ge-head, a real head of 28 slices of 512 x 512, or else of a synthetic one."""
    if (folder := SCANS / "ge-head").is_dir():
        return folder
    return write_dicom(synthesize(0, matrix=512, slices=28), new_folder())


def write_series(source, folder, slices):
    """Write a series of any length with the slices of `source`, there and back again."""
    folder.mkdir()
    headers = sorted(map(dcmread, source.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2])
    series_uid, (x, y, z) = generate_uid(), headers[0].ImagePositionPatient
    for number, ds in enumerate(islice(cycle(headers + headers[::-1]), slices), 1):
        ds.SeriesInstanceUID, ds.InstanceNumber, ds.AcquisitionNumber = series_uid, number, 1
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [x, y, z + 2.5 * number]
        ds.save_as(folder / f"{number:04d}.dcm")
    return folder


def cost_rows(what, cost, *aims):
    """Rows of the seconds and MB of a process, with their aims, and of its CPU time."""
    yield (f"{what}, new process", cost[0], "s", aims[0])
    yield ("  its CPU time", cost[1], "CPU-s")
    yield ("  its peak memory", cost[2], "MB", aims[1])


def cold_clean(options):
    """P1: one head from a new process, beside importing TensorFlow."""
    clean, other = ("-m", "headrest", "clean", head()), ("-c", "import tensorflow")
    turns = [(run(*clean, new_folder()), run(*other)) for _ in range(options.repeats)]
    cleaned, imported = np.median(turns, axis=0)
    yield from cost_rows("clean 28 slices", cleaned, 1.5, 400)
    yield ("  its CPU time / that of import tensorflow", cleaned[1] / imported[1], "", 0.65)


def segmentation(options):
    """P2: a long series with its DICOM Segmentation, from a new process."""
    folder = write_series(head(), new_folder() / "in", 140)
    clean = ("-m", "headrest", "clean", "--segmentation", folder)
    costs = [run(*clean, new_folder()) for _ in range(options.repeats)]
    cost = np.median(costs, axis=0)
    yield from cost_rows("clean --segmentation of 140 slices", cost, 3.5, 700)


def network(options):
    """P3: the pretrained network, beside matrix products of as many operations."""
    from headrest.segment.unet import build_unet
    from headrest.show.methods import operations

    model = build_unet(model_card()["architecture"]["preset"])
    predict, per_slice = load_pretrained(), operations(model, 512)
    scaled = scale(read_series(head()).hu[:8])
    slices = np.split(scaled, len(scaled))  # one at a time, as `series_probability` does
    with threadpool_limits(1):  # threads of OpenBLAS spin on after a product, in the next call
        spent, operation = beside_products(options, lambda: [predict(one) for one in slices])
    per_slice_ms, limit_ms = 1000 * spent / len(scaled), 1000 * per_slice * operation
    yield ("network", per_slice_ms, "CPU-ms/slice")
    yield ("  the same operations as matrix products", limit_ms, "CPU-ms/slice")
    yield ("  network / matrix products", per_slice_ms / limit_ms, "", 1.6)


def steps(options):
    """P4: the steps around the network, on one long series; aims are half of version 0.5.0."""
    folder = write_series(head(), new_folder() / "in", 56)
    series, predict = read_series(folder), load_pretrained()
    read, predicted, found, cleaned = cpu_seconds(
        options.repeats,
        lambda: read_series(folder),
        lambda: series_probability(series.hu, series.spacing_mm, predict),
        lambda: find_support(series),
        lambda: clean_series(series, new_folder()),
    )
    parts = ("reading", read, 0.7), ("refinement", found - predicted, 9.5)
    for name, spent, aim in (*parts, ("writing", cleaned - found, 7.5)):
        yield (name, 1000 * spent / len(series), "CPU-ms/slice", aim)


def copied():
    """A copy of the repository."""
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__")
    return shutil.copytree(ROOT, new_folder() / "repository", ignore=ignored)


def installation(options):
    """P5: `pip install .` into an empty folder."""
    place = new_folder()
    run("-m", "pip", "install", "-qq", "--target", place, copied())
    paths = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    size_mb = sum(path.stat().st_size for path in paths) / MB
    yield ("pip install . into an empty folder", size_mb, "MB", 600)


def many(options):
    """P6: many short series: is the last one as quick as the first, and two processes twice?"""
    source, archive, peaks_mb = head(), new_folder(), []
    for number in range(options.series):
        write_series(source, archive / f"{number:04d}", 4)
    moments = [time.perf_counter()]

    def note(_):
        moments.append(time.perf_counter())
        peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_MB)

    clean_tree(archive, new_folder(), on_message=note)
    start, seconds = time.perf_counter(), np.diff(moments)
    clean_tree(archive, new_folder(), jobs=2)
    two = time.perf_counter() - start
    first, last = seconds[1:PART].mean(), seconds[-PART:].mean()
    yield (f"{options.series} series of 4 slices: first {PART}", first, "s/series")
    yield (f"  last {PART} / first {PART}", last / first, "", 1.1)
    yield ("  peak memory", peaks_mb[-1], "MB")
    yield (f"  its growth after the first {PART}", peaks_mb[-1] - peaks_mb[PART - 1], "MB", 50)
    yield ("  one process / two, wall-clock", seconds.sum() / two, "", 1.8, True)


def kmeans(options):
    """P7: the exact K-Means threshold, beside scikit-learn on all pixels with ten starts."""
    from sklearn.cluster import KMeans

    hu, model = read_series(head()).hu[14], KMeans(3, n_init=10, random_state=0)
    ways = (lambda: kmeans_threshold(hu)), (lambda: model.fit(hu.reshape(-1, 1)))
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
    x = np.random.default_rng(0).normal(size=(batch, 512, 512, 1)).astype(np.float32)
    y = (x[..., 0] > 1).astype(np.uint8)
    matmul = lambda *pair: ops.convert_to_numpy(ops.matmul(*pair))  # noqa: E731
    step, operation = beside_products(options, lambda: model.train_on_batch(x, y), matmul)
    yield ("training step, batch of 4", step, "CPU-s")
    share = 3 * batch * operations(model, 512) * operation / step
    yield ("  its rate / that of matrix products", share, "", 0.5, True)


def notebooks_and_tests(options):
    """P9: the notebooks, in a copy of the repository, and the tests."""
    copy, execute = copied(), ("-m", "jupyter", "execute", "--inplace")
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    books = sorted((copy / "notebooks").glob("[0-9]*.ipynb"))
    yield (f"notebook {books[3].stem}", run(*execute, books[3], cwd=copy)[0] / 60, "min", 3)
    whole = run(*execute, *books, cwd=copy)[0] / 60
    yield ("all notebooks, README's first command", whole, "min", 10)
    yield ("quick tests", run(*tests, "-m", "not slow")[0], "s", 90)
    yield ("all tests", run(*tests)[0] / 60, "min", 6)


LINES = dict(P1=cold_clean, P2=segmentation, P3=network, P4=steps, P5=installation, P6=many)
LINES |= dict(P7=kmeans, P8=training, P9=notebooks_and_tests)
QUICK = ("P1", "P2", "P3", "P4", "P7", "P8")


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("tests/benchmarks", description=__doc__, formatter_class=form)
    parser.add_argument("lines", nargs="*", metavar="LINE", help=" ".join(LINES))
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="medians of N (3)")
    parser.add_argument("--series", type=int, default=100, metavar="N", help="series of P6 (100)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.lines) - set(LINES):
        parser.error(f"no line {min(unknown)}; choose from {', '.join(LINES)}")
    if options.here:
        with tempfile.TemporaryDirectory() as tempfile.tempdir:
            for row in LINES[options.lines[0]](options):
                print_row(options.lines[0], *row)
        return
    print(machine())
    print(ROW.format("", "what", "figure", "unit", "aim", "met"), flush=True)
    os.environ |= {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    same = [argument for argument in sys.argv[1:] if argument not in LINES]
    # A process for each line: the peak memory of a child counts that of its parent (execve(2)).
    for name in options.lines or QUICK:
        subprocess.run([sys.executable, Path(__file__).parent, name, "--here", *same], check=True)


if __name__ == "__main__":
    main()
