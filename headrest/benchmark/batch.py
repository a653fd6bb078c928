"""What whole series cost: cleaned from end to end, and two of them side by side."""

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headrest.benchmark.ratios import Line
from headrest.benchmark.slices import write_series
from headrest.clean import clean_series
from headrest.dicom import read_series
from headrest.workers import in_processes

SERIES, SECONDS = 133, 5.0
"""Slices of a usual head CT, and how long it may take."""


def batch_lines(hu: np.ndarray, repeats: int) -> Iterator[Line]:
    """Measure both on one slice (rows, columns) in HU, many times over."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(hu, folder, SERIES)
        yield cleaning_line(folder, repeats)
        yield workers_line([str(path) for path in paths[: 4 * repeats]])


def cleaning_line(source: str, repeats: int) -> Line:
    """A series from its files to its files, with its segmentation, by the clock."""
    extra = importlib.util.find_spec("highdicom") is not None
    turns = [_seconds(source, time.perf_counter, segmentation=extra) for _ in range(repeats + 1)]
    ratio = float(np.median(turns[1:])) / SECONDS
    what = f"cleaning {SERIES} slices, the network there: seconds / {SECONDS:g}"
    return Line(what, ratio, "at most", 1)


def workers_line(sources: list[str]) -> Line:
    """What two workers do while one does one: as much as each is not slowed by the other."""
    alone, beside = (
        float(np.median([spent for _, spent in in_processes(cpu_seconds, sources, jobs)]))
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
