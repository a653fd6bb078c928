"""What whole series cost: cleaned from end to end, and two of them side by side."""

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.ratios import Line
from benchmarks.slices import write_series
from headrest.clean.series import clean_series
from headrest.dicom import read_series
from headrest.phantom import synthesize, write_dicom
from headrest.util.lean import import_keras, serve_cleaning_only
from headrest.util.workers import run_unordered

SERIES, SECONDS = 133, 5.0
"""Slices of a usual head CT, and how long it may take."""

SEED = 5
"""Of the patient who is drawn: an adult on a curved couch, the head on a rolled towel."""


def batch_lines(hu: np.ndarray, repeats: int) -> Iterator[Line]:
    """Measure a whole head, and one slice (rows, columns) in HU many times over."""
    with tempfile.TemporaryDirectory() as folder:
        study = synthesize(SEED, matrix=len(hu), slices=SERIES)
        yield from cleaning_lines(str(write_dicom(study, Path(folder, "head"))), repeats)
        paths = write_series(hu, folder, 4 * repeats)
        yield workers_line([str(path) for path in paths])


def cleaning_lines(source: str, repeats: int) -> Iterator[Line]:
    """A series from its files to its files, with its segmentation, by the clock: in a process
    that does nothing else, once Keras and its backend are imported; and where the network is
    there already, as for the next one of many series."""
    code = f"from benchmarks.batch import by_itself; by_itself({source!r})"
    command, tests = [sys.executable, "-c", code], Path(__file__).parents[1]
    turns = [
        float(subprocess.check_output(command, text=True, cwd=tests)) for _ in range(repeats + 1)
    ]
    yield _cleaning_line("beyond imports", turns)
    turns = [_seconds(source, time.perf_counter, **_choices()) for _ in range(repeats + 1)]
    yield _cleaning_line("the network there", turns)


def _cleaning_line(how, turns):
    ratio = float(np.median(turns[1:])) / SECONDS
    return Line(f"cleaning {SERIES} slices, {how}: seconds / {SECONDS:g}", ratio, "at most", 1)


def _choices():
    return {"segmentation": importlib.util.find_spec("highdicom") is not None}


def by_itself(source: str) -> None:
    """Clean a series in a process of its own, and print the seconds beyond its imports."""
    serve_cleaning_only()
    import_keras()
    print(_seconds(source, time.perf_counter, **_choices()))


def workers_line(sources: list[str]) -> Line:
    """What two workers do while one does one: as much as each is not slowed by the other."""
    alone, beside = (
        float(np.median([spent for _, spent in run_unordered(cpu_seconds, sources, jobs)]))
        for jobs in (1, 2)
    )
    return Line("two workers / one, if two cores are free", 2 * alone / beside, "at least", 1.6)


def cpu_seconds(source: str) -> float:
    """Clean a series twice, and measure the second time, when the network is there."""
    return [_seconds(source, time.process_time) for _ in range(2)][1]


def _seconds(source, clock, **choices):
    with tempfile.TemporaryDirectory() as out:
        start = clock()
        clean_series(read_series(Path(source)), out, **choices)
        return clock() - start
