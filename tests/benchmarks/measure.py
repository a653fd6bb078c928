"""Time and memory of whole processes and of calls, and the series that they work on."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

ROOT = Path(__file__).parents[2]
SCANS = Path(os.environ.get("HEADREST_SCANS", ROOT.parent / "shared" / "scans"))
MB = 1 << 20
SPACING_MM = 2.5
ROW = "{:3} {:58} {:>9} {:14} {:>8}  {}"


@dataclass(frozen=True)
class Row:
    """A figure with its aim: at most, or at least if `more` is True; none if it is None."""

    what: str
    figure: float
    unit: str
    aim: float | None = None
    more: bool = False

    def text(self, name: str) -> str:
        """Write it as a row of the table."""
        aim, met = "", ""
        if self.aim is not None:
            aim = f"{'>=' if self.more else '<='} {self.aim:g}"
            met = "yes" if (self.figure >= self.aim) == self.more else "no"
        figure = f"{self.figure:.3g}" if self.figure < 1000 else f"{self.figure:.0f}"
        return ROW.format(name, self.what, figure, self.unit, aim, met).rstrip()


@dataclass(frozen=True)
class Cost:
    """Wall-clock and CPU seconds of a process and its children; peak memory of the largest."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def run(*command: object, cwd: Path = ROOT) -> Cost:
    """Run Python with these arguments in a new process, and measure it from outside."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            **{"cwd": cwd, "env": environment, "stdout": output, "stderr": subprocess.STDOUT},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{command}: exit status {process.returncode}\n{text[-2000:]}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # getrusage(2)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak / MB, text)


def median(costs: list[Cost], name: str) -> float:
    """Median of one field."""
    return statistics.median(getattr(cost, name) for cost in costs)


def cpu_seconds(repeats: int, *calls: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each call, all threads counted, measured in turns after one trial."""
    spent: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, times in zip(calls, spent):
            start = time.process_time()
            call()
            if turn:
                times.append(time.process_time() - start)
    return [statistics.median(times) for times in spent]


@contextmanager
def head() -> Iterator[Path]:
    """Folder of ge-head, a real head of 28 slices of 512 x 512, or else of a synthetic one."""
    if (SCANS / "ge-head").is_dir():
        yield SCANS / "ge-head"
        return
    from headrest.phantom import synthesize, write_dicom

    with tempfile.TemporaryDirectory() as place:
        yield write_dicom(synthesize(0, matrix=512, slices=28), Path(place, "head"))


def write_series(source: Path, folder: Path, slices: int, first: int = 0) -> Path:
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
