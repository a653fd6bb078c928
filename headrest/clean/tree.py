"""Clean every series of any number of studies: one task a series, wherever it is done."""

import os
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from headrest.clean.failures import Failures
from headrest.clean.options import CleanOptions
from headrest.clean.report import Report, existing_report
from headrest.clean.series import clean_with_options
from headrest.dicom import SeriesFiles, find_series, load_series
from headrest.util.errors import HeadrestError
from headrest.util.files import lock_destination
from headrest.util.workers import run_unordered

FAILURES = "failures.csv"

DIED = (
    "each process that tried was ended from outside: out of memory? Or, in a script of your own, "
    "clean_tree with jobs outside of `if __name__ == '__main__':`?"
)


@dataclass(frozen=True)
class Task:
    """One series to be cleaned; the same task done again changes nothing.

    Attributes
    ----------
    files : SeriesFiles
    name : str, name of the series in the report.
    destination : str
    options : CleanOptions
    """

    files: SeriesFiles
    name: str
    destination: str
    options: CleanOptions


def clean_tree(
    source: str | Path,
    destination: str | Path,
    jobs: int = 1,
    scheduler: str | None = None,
    on_message: Callable[[str | Report], object] | None = None,
    **options: Any,
) -> list[Report]:
    """Clean every axial CT series of any number of studies.

    A series whose complete result exists is not read again, so a run that was stopped or
    killed goes on where it was. What cannot be cleaned is listed in ``failures.csv`` in the
    destination, one row a series with the file and the reason, until a later run succeeds.

    Parameters
    ----------
    source : path
        Walked to the bottom; see `headrest.dicom.find_series`.
    destination : path
        Made if needed; gets a folder a series. Must not lie inside the source. One run at a
        time works in it.
    jobs : int
        Series cleaned side by side, each in a process of its own, which takes 1.2 GB. In a script
        call it under ``if __name__ == "__main__":``, as each process imports the script.
    scheduler : str, optional
        Address of a Dask scheduler ("tcp://host:8786"), or path of its scheduler file, that does
        the work instead; see `headrest.util.cluster`.
    on_message : callable, optional
        Called with one line about each kind of file that was skipped, and with each Report as
        soon as it is there.
    **options : see `headrest.clean.options.CleanOptions`.

    Returns
    -------
    list of Report, one for each CT file with a broken header, and one a series. A series that
    cannot be trusted has its reason in `error`, and the rest goes on.

    Raises
    ------
    HeadrestError
        Where there is no CT series at all, the destination cannot be written to or another run
        works in it, or the method or the scheduler cannot be used.

    Examples
    --------
    >>> import shutil, tempfile
    >>> from pydicom.data import get_testdata_file
    >>> with tempfile.TemporaryDirectory() as place:
    ...     archive = Path(place, "archive")
    ...     archive.mkdir()
    ...     _ = shutil.copy(get_testdata_file("693_UNCR.dcm", download=False), archive)
    ...     reports = clean_tree(archive, Path(place, "cleaned"), method="kmeans")
    >>> [report.error for report in reports]
    ['']
    """
    source, destination = Path(source).absolute(), Path(destination).absolute()
    chosen = CleanOptions(**options)
    _refuse_early(source, destination, jobs, scheduler)
    on_message = on_message or (lambda _: None)
    with lock_destination(destination):
        contents = find_series(source, chosen.acquisition)
        if not contents.series and not contents.broken:
            listed = "; ".join(contents.warnings) or "the folder is empty"
            raise HeadrestError(f"{source}: no axial CT series found ({listed})")
        failures = Failures(destination / FAILURES)
        failures.begin(source, contents.series, contents.broken)
        reports = [Report(source=source.name, error=str(error)) for error in contents.broken]
        for known in (*contents.warnings, *reports):
            on_message(known)
        tasks = [
            Task(files, _name(files, source), str(destination), chosen) for files in contents.series
        ]
        reports += _clean_all(tasks, _engine(jobs, scheduler), failures, on_message)
        failures.write()
    return reports


def _refuse_early(source, destination, jobs, scheduler):
    """Refuse before any computing what would fail after it."""
    if jobs < 1 or (scheduler and jobs > 1):
        raise HeadrestError(f"{jobs} jobs: choose one or more, or a scheduler")
    if not os.path.exists(source):
        raise HeadrestError(f"{source}: there is no such folder or file")
    if destination.resolve().is_relative_to(source.resolve()):
        raise HeadrestError(f"{destination}: lies inside {source}; choose a folder beside it")
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadrestError(f"{destination}: cannot be made ({error.strerror})") from error
    if not os.access(destination, os.W_OK):
        raise HeadrestError(f"{destination}: cannot be written to")


def _engine(jobs, scheduler):
    """Choose who does the tasks: callable (work, tasks) -> iterator of (task, result)."""
    if scheduler:
        from headrest.util.cluster import run_on_cluster  # Dask is loaded only where it is used

        return partial(run_on_cluster, address=scheduler)
    if jobs > 1:
        return partial(run_unordered, jobs=jobs)
    return lambda work, tasks: ((task, work(task)) for task in tasks)


def _clean_all(tasks, engine, failures, on_message):
    """Reports in the order of the tasks, each passed on as soon as it is there."""
    reports = {}
    with closing(engine(clean_one, tasks)) as done:
        for task, report in tqdm(done, total=len(tasks), desc="cleaning", unit="series"):
            report = report or Report(source=task.name, error=DIED)
            failures.note(task.files, report.error)
            reports[task.files] = report
            on_message(report)
    return [reports[task.files] for task in tasks]


def _name(files, source):
    return os.path.relpath(files.files[0].parent, source.parent)


def clean_one(task: Task) -> Report:
    """Clean one series, unless its complete result exists.

    Parameters
    ----------
    task : Task

    Returns
    -------
    Report; whatever is wrong with the series is in its `error`.
    """
    try:
        return _existing(task) or _clean_again(task)
    except HeadrestError as error:
        reason = str(error)
        with suppress(HeadrestError):  # a worker of a run that was stopped may have been faster
            if report := _existing(task):
                return report
    except MemoryError:
        reason = "out of memory: too large for this machine"
    except Exception as error:  # a fault of headrest must not end the run; it quotes no value
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        where = f"{Path(frame.f_code.co_filename).name}:{line}"
        reason = f"{type(error).__name__} at {where}: a fault of headrest; please report it"
    return Report(source=task.name, error=reason)


def _clean_again(task):
    series = load_series(task.files, **task.options.reading)
    return clean_with_options(series, task.destination, task.options, task.name)


def _existing(task):
    """The report of the complete result of a series, found by its headers alone, or None."""
    try:
        fingerprint = task.files.fingerprint(task.options.default_rescale)
    except Exception:  # load_series names the fault of a header
        return None
    return existing_report(fingerprint, task.destination, task.options)
