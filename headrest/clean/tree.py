"""Clean every series of any number of studies: one task per series, on any engine."""

import os
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from headrest.clean.outputs import OUTPUTS
from headrest.clean.report import (
    FAILURES,
    REPORT_FILE,
    Failures,
    Report,
    existing_result,
    refuse_other_manifest,
    write_manifest,
)
from headrest.clean.series import CleanOptions, clean_with_options
from headrest.dicom import SeriesFiles, find_series, load_series
from headrest.dicom.find import find_nifti
from headrest.dicom.header import NIFTI, is_nifti
from headrest.segment.pretrained import load_ahead
from headrest.util import HeadrestError, plain, progress
from headrest.util.files import lock_destination
from headrest.util.workers import check_address, run_on_cluster, run_unordered

DIED = (
    "each process that tried was ended from outside: out of memory? Or, in a script of your own, "
    "clean_tree with jobs outside of `if __name__ == '__main__':`?"
)


class Task(NamedTuple):
    """One series to be cleaned; the same task done again changes nothing."""

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

    A series whose complete result exists is not read again, unless it lacks an output that was
    asked for, so a run that was stopped or killed goes on where it was. Series that headrest
    derived are skipped. Series that cannot be cleaned are listed in ``failures.csv`` in the
    destination, one row each with the file and the reason, until a later run succeeds.
    ``manifest.json`` and ``manifest.csv`` list every series of the destination, those of earlier
    runs too: source, folder, options, weights, figures, flags.

    Parameters
    ----------
    source : path
        Searched with all its subfolders; see `headrest.dicom.find_series`. NIfTI files (.nii,
        .nii.gz) are cleaned where there is no DICOM series, one folder per file.
    destination : path
        Made if needed; gets a folder per series. Must not lie inside the source. One run at a
        time works in it.
    jobs : int
        Series cleaned in parallel, each in a process of its own. In a script call it under
        ``if __name__ == "__main__":``, as each process imports the script.
    scheduler : str, optional
        Address of a Dask scheduler ("tcp://host:8786"), or path of its scheduler file, that does
        the work instead; see `headrest.util.workers`.
    on_message : callable, optional
        Called with one line about each kind of file that was skipped, and with each Report as
        soon as it is there.
    **options : see `headrest.clean.series.CleanOptions`.

    Returns
    -------
    list of Report, one for each CT file with a broken header, and one per series. A series that
    is not safe to clean has its reason in `error`, and the run goes on.

    Raises
    ------
    HeadrestError
        Where there is no CT series at all, the destination cannot be written to or another run
        works in it, or the options or the scheduler cannot be used.

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
    engine = _engine(jobs, scheduler)
    if not os.path.exists(source):
        raise HeadrestError(f"{source}: there is no such folder or file")
    if destination.resolve().is_relative_to(source.resolve()):
        raise HeadrestError(f"{destination}: lies inside {source}; choose a folder beside it")
    on_message = on_message or (lambda _: None)
    with lock_destination(destination):
        contents = find_series(source, chosen.acquisition)
        images, skipped = ((), ()) if contents.series else find_nifti(source, REPORT_FILE)
        if images or skipped:
            others = [line for line in contents.warnings if NIFTI not in line]
            contents = replace(contents, series=images, warnings=(*others, *skipped))
        derived = [files for files in contents.series if files.derived]
        series = [files for files in contents.series if not files.derived]
        warnings = [*contents.warnings]
        if derived:
            first = plain(_name(derived[0], source))
            warnings.append(f"skipped {len(derived)} series, {first} first: derived by headrest")
        if not series and not contents.broken:
            listed = "; ".join(warnings) or "the folder is empty"
            raise HeadrestError(f"{source}: no axial CT series found ({listed})")
        if chosen.mask is not None and len(series) != 1:
            remedy = "a mask is of one; give a folder of its files alone"
            raise HeadrestError(f"{source}: {len(series)} series, {remedy}")
        refuse_other_manifest(destination)
        failures = Failures(destination / FAILURES)
        failures.begin(source, series, contents.broken)
        reports = [Report(source=source.name, error=str(error)) for error in contents.broken]
        messages: list[Any] = [*warnings, *reports]
        for message in messages:
            on_message(message)
        tasks = [Task(files, _name(files, source), str(destination), chosen) for files in series]
        try:
            reports += _clean_all(tasks, engine, failures, on_message)
            failures.write()
        finally:
            write_manifest(destination)
    return reports


def _engine(jobs, scheduler):
    """Choose who does the tasks: callable (work, tasks) -> iterator of (task, result)."""
    if jobs < 1 or (scheduler and jobs > 1):
        raise HeadrestError(f"jobs is {jobs}: expected 1 or more, and 1 with a scheduler")
    if scheduler:
        check_address(scheduler)
        return partial(run_on_cluster, address=scheduler)
    if jobs > 1:
        return partial(run_unordered, jobs=jobs)
    return lambda work, tasks: ((task, work(task)) for task in tasks)


def _clean_all(tasks, engine, failures, on_message):
    """Reports in the order of the tasks, each passed on as soon as it is there."""
    reports = {}
    with closing(engine(clean_one, tasks)) as done:
        for task, report in progress(done, "cleaning", len(tasks), unit="series"):
            report = report or Report(source=task.name, error=DIED)
            failures.note(task.files, report.error)
            reports[task.files] = report
            on_message(report)
    return [reports[task.files] for task in tasks]


def _name(files, source):
    first = files.files[0]
    of_one = first == source or is_nifti(first)
    return os.path.relpath(first if of_one else first.parent, source.parent)


def clean_one(task: Task) -> Report:
    """Clean one series, unless its complete result exists; any failure is in `error`."""
    try:
        if report := _existing(task):
            return report
        if task.options.mask is None and task.options.method == "network":
            load_ahead(task.options.weights, task.options.provider)
        series = load_series(task.files, **task.options.reading)
        return clean_with_options(series, task.destination, task.options, task.name)
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


def _existing(task):
    """The report of the complete result of a series, without decoding the series, or None."""
    options = task.options
    if task.files.damaged:
        return None  # to be refused or named, though all other files may have been cleaned before
    try:
        fingerprint = task.files.fingerprint(options.default_rescale)
    except Exception:  # load_series names the fault of a header
        return None
    report = existing_result(task.destination, options.folder_name(fingerprint), options.accept)
    folder = Path(task.destination, report.folder if report else "")
    outputs = [output for name in options.outputs for output in OUTPUTS[name]]
    if report and report.slices < len(task.files.files) and not options.allow_missing:
        return None  # of a run that allowed files to be missing
    if report and all(output.is_in(folder) for output in outputs):
        return replace(report, source=task.name)  # another run may have read it from elsewhere
    return None
