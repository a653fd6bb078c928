"""Many studies: complete series are skipped, failures listed, and killed runs continued."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import CANARY, head_hu, make_series, make_slice, refused, uid, write_slice
from factories import clean_tree, contents, other_series, run_clean, timeless
from one_run import slowest_first, upper

from headrest import HeadrestError, read_series
from headrest.clean import tree as batch
from headrest.clean.report import Failures, series_hash
from headrest.dicom import SeriesFiles, find_series, load_series
from headrest.util import workers
from headrest.util.files import atomic_folder

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such processes")


def make_study(folder, name, slices=2, **changes):
    """A study of one series that shares no UID with the others."""
    make_series(Path(folder, name), slices, **other_series(name, **changes))


@pytest.fixture
def studies(tmp_path):
    for name in "abc":
        make_study(tmp_path / "in", name)
    return tmp_path / "in"


def failures(folder):
    return list(csv.DictReader((folder / "failures.csv").read_text().splitlines()))


def times(folder):
    """When each file of each complete series was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("ct-*/*")}


def test_cleans_other_files_under_the_same_uids_separately(tmp_path):
    make_series(tmp_path / "scan", 2)
    make_series(tmp_path / "one", 1)
    make_series(tmp_path / "defaced", 2, hu=np.where(np.arange(64)[:, None] < 10, -1000, head_hu()))
    make_series(tmp_path / "anonymous", 2, PatientID="ANONYMOUS")
    shutil.copy(make_series(tmp_path / "copied", 2)[0], tmp_path / "copied" / "x.dcm")
    folders = set()
    for name in ("one", "scan", "defaced", "anonymous", "copied"):
        (report,) = clean_tree(tmp_path / name, tmp_path / "out")
        folders.add(report.folder)
        derived = read_series(tmp_path / "out" / report.folder)
        assert len(derived) == (1 if name == "one" else 2)
        assert (derived.hu[:, :10] == -1000).all() == (name == "defaced")
        assert (derived.headers[0].PatientID == "ANONYMOUS") == (name == "anonymous")
    assert len(folders) == 4


NO_PLACE = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
NO_RESCALE = {"RescaleSlope": lambda n: 1 if n % 2 else None}
NO_RESCALE["RescaleIntercept"] = lambda n: -1000 if n % 2 else None
LOST = [
    (NO_PLACE, {"by_instance_number": True}, ["--by-instance-number"]),
    (NO_RESCALE, {"default_rescale": (1, -1024)}, ["--default-rescale", "1", "-1024"]),
]


@pytest.mark.parametrize(("lost", "reading", "switches"), LOST, ids=["place", "rescale-of-some"])
def test_the_option_that_a_refusal_names_helps(tmp_path, monkeypatch, lost, reading, switches):
    make_series(tmp_path / "in", 6, **lost)
    (refused,) = clean_tree(tmp_path / "in", tmp_path / "out")
    assert switches[0] in refused.error
    (files,) = find_series(tmp_path / "in").series
    series = load_series(files, **reading)
    assert files.fingerprint(reading.get("default_rescale")) == series.fingerprint
    (report,) = clean_tree(tmp_path / "in", tmp_path / "out", **reading)
    assert (report.error, report.slices) == ("", len(series))
    derived = read_series(tmp_path / "out" / report.folder, by_instance_number=lost is NO_PLACE)
    assert np.array_equal(derived.hu[:, :50], series.hu[:, :50])
    before = times(tmp_path / "out")
    monkeypatch.setattr(batch, "load_series", lambda *_, **__: pytest.fail("decoded again"))
    assert run_clean(tmp_path / "in", tmp_path / "out", *switches) == 0
    assert times(tmp_path / "out") == before
    other = files.fingerprint((1, -1000))  # another rescale is another series
    assert (other == series.fingerprint) == (lost is NO_PLACE)


def test_lists_a_failure_until_it_is_repaired_or_deleted(studies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_study(studies, "bad: 1", RescaleSlope=None)
    clean_tree("in", "out")
    (row,) = listed = failures(tmp_path / "out")
    assert row["series"] == hashlib.sha256(uid("bad: 1").encode()).hexdigest()[:12]
    assert len(series_hash(SeriesFiles("1.2.3\udcff", "", "", ()))) == 12  # of any UID
    assert row["file"] == str(studies / "bad: 1" / "01.dcm")
    assert row["reason"].startswith("RescaleSlope")
    clean_tree("in/a", "out")  # another source
    assert failures(tmp_path / "out") == listed
    make_study(studies, "bad: 1")
    path = write_slice(studies / "z.dcm", make_slice(9, SeriesInstanceUID=None))
    reports = clean_tree(studies, tmp_path / "out")
    (row,) = failures(tmp_path / "out")
    assert (row["series"], row["file"]) == ("", str(path))
    assert [str(path) in report.error for report in reports] == [True] + 4 * [False]
    path.unlink()
    clean_tree("in", "out")
    assert not (tmp_path / "out" / "failures.csv").exists()
    # A table that is open, as in a spreadsheet under Windows, is deleted by a later run.
    monkeypatch.setattr(Path, "unlink", Mock(side_effect=PermissionError(13, "in use")))
    refused(r"failures\.csv: cannot be deleted \(in use\)", Failures("failures.csv").write)


WRONG = [
    ({"jobs": 0}, "jobs is 0: expected 1 or more"),
    ({"jobs": 2, "scheduler": "tcp://nowhere:1"}, "jobs is 2: .* 1 with a scheduler"),
    ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ({"method": "magic"}, "no method 'magic'"),
    ({"scheduler": "missing.json"}, "missing.json: neither a scheduler file|pip install"),
    *(({"default_rescale": it}, "not a slope") for it in ((1, np.nan), (0, 1), (1,), 5, "ab")),
]


def test_refuses_wrong_options_sources_and_destinations(studies, tmp_path, monkeypatch):
    """And a scheduler without its package."""
    for wrong, words in WRONG:
        with pytest.raises((HeadrestError, TypeError), match=words):
            clean_tree(studies, tmp_path / "out", **wrong)
    refused("there is no such folder or file", clean_tree, tmp_path / "absent", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused("pip install distributed", clean_tree, studies, tmp_path / "out", scheduler="here:9")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    refused("the folder is empty", clean_tree, tmp_path / "empty", tmp_path / "out")
    for name in ("failures.csv", "manifest.csv", "manifest.json"):
        (table := tmp_path / "out" / name).write_text("name,mark\nA,5\n")
        refused(name, clean_tree, studies, tmp_path / "out")
        assert table.read_text() == "name,mark\nA,5\n"
        table.unlink()
    table.mkdir()
    refused(name, clean_tree, studies, tmp_path / "out")


FAULTS = [
    ("0002.dcm", OSError(28, "No space left"), r"\S+: cannot be written \(No space left\)"),
    ("0002.dcm", ValueError("odd tag"), r"\S+: slice 2: makes no DICOM \(ValueError\)"),
    ("0002.dcm", HeadrestError("too large"), r"\S+: slice 2: too large"),
    ("0002.webp", ValueError(CANARY), r"ValueError at test_batch\.py:\d+: a fault of head[^:]+"),
]


@pytest.mark.parametrize(("name", "fault", "words"), FAULTS)
def test_reports_a_full_disk_in_one_sentence(studies, tmp_path, monkeypatch, name, fault, words):
    """And any other exception, which fails its series only."""
    written, faults, out = Path.write_bytes, [fault], tmp_path / "out"

    def failing(path, content):
        if path.name == name and faults:
            raise faults.pop()
        written(path, content)

    monkeypatch.setattr(Path, "write_bytes", failing)
    error, *others = [report.error for report in clean_tree(studies, out)]
    assert re.fullmatch(words, error)
    assert others == ["", ""]
    assert CANARY not in error
    assert len(os.listdir(out)) == len([*out.glob("ct-*"), *out.glob("manifest.*"), "failures.csv"])


@posix
def test_removes_only_stale_files_of_killed_runs(studies, tmp_path):
    dead, unburied = (subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2))
    dead.wait()
    os.waitid(os.P_PID, unburied.pid, os.WEXITED | os.WNOWAIT)
    gone = {f".ct-0123456789ab.{pid}.partial" for pid in (dead.pid, unburied.pid, os.getpid())}
    gone |= {f".ct-0123456789ab.{dead.pid}.partial.stale", f".failures.{dead.pid}.partial.csv"}
    kept = {f".ct-0123456789ab.{os.getppid()}.partial", ".mine.1.partial", "ct-mine.1.partial"}
    for name in gone | kept:
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "0001.dcm").write_text("half")
    clean_tree(studies, tmp_path / "out")
    assert set(os.listdir(tmp_path / "out")) & (gone | kept) == kept
    unburied.wait()
    (tmp_path / f".new.{os.getpid()}.partial" / "left").mkdir(parents=True)
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "file").touch()
    assert os.listdir(tmp_path / "new") == ["file"]
    with pytest.raises(HeadrestError, match="cannot be written"), atomic_folder("n" * 300):
        pass


@pytest.mark.slow
def test_each_task_runs_once_in_order_and_a_dead_process_fails_only_its_task(tmp_path):
    assert sorted(workers.run_unordered(abs, range(-3, 0), jobs=2)) == [(-3, 3), (-2, 2), (-1, 1)]
    for jobs in (1, 2):
        assert list(workers.run_ordered(slowest_first, range(6), jobs)) == [0, -1, -2, -3, -4, -5]
    once = str(tmp_path / "once")
    for tasks in (["a", "b", once, "c"], ["a", "always", "b", "c"]):  # two deaths may meet
        done = dict(workers.run_unordered(upper, tasks, 2))
        assert done == {task: None if task == "always" else task.upper() for task in tasks}
    refused("memory", list, workers.run_ordered(upper, ["a", "always"], 2))


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("jobs", "number"), [("1", "SIGINT"), ("2", "SIGINT"), ("2", "SIGKILL")])
def test_a_stopped_run_ends_its_processes_and_completes_later(tmp_path, jobs, number):
    """Ctrl-C, which also names the remedy and leaves no partial result, or kill -9."""
    source, out = tmp_path / "in", tmp_path / "out"
    for n in range(12):
        make_study(source, f"{n:02d}")
    before = contents(source)
    command = [sys.executable, "-m", "headrest", "clean", source, out, "--jobs", jobs]
    # Children of a background process ignore Ctrl-C by default.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    options |= {"start_new_session": True, "preexec_fn": heed}
    # Each replacement of a file takes 0.2 s, so that the run is not over when it is stopped.
    slow = "lambda *paths, replace=os.replace: time.sleep(0.2) or replace(*paths)"
    (tmp_path / "sitecustomize.py").write_text(f"import os, time; os.replace = {slow}")
    options["env"] = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.Popen([*command, "--method", "kmeans"], **options)
    while not list(out.glob("ct-*")) and run.poll() is None:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGINT) if number == "SIGINT" else run.kill()
    stderr = run.communicate(timeout=60)[1]
    with suppress(ProcessLookupError):
        for _ in range(6000):
            os.killpg(run.pid, 0)
            time.sleep(0.02)
        pytest.fail("a process of the group is left")
    if number == "SIGINT":
        assert run.returncode == 130
        assert "the same command goes on" in stderr
        assert not {"Traceback", "leaked"} & set(stderr.replace("_", " ").split())
        assert not list(out.glob(".*"))
    seen, reports = times(out), clean_tree(source, out)
    assert [report.error for report in reports] == [""] * 12
    assert seen.items() <= times(out).items()
    assert all(len(read_series(out / report.folder)) == 2 for report in reports)
    assert not [name for name in os.listdir(out) if not name.startswith(("ct-", "manifest."))]
    assert contents(source) == before


def test_ctrl_c_while_a_process_starts_is_not_lost(monkeypatch):
    submit = ProcessPoolExecutor.submit
    interrupted = lambda *given: signal.raise_signal(signal.SIGINT) or submit(*given)  # noqa: E731
    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            list(workers.run_unordered(abs, [-1, -2], jobs=2))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster of two workers."""
    distributed = pytest.importorskip("distributed")
    quiet = {"dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **quiet) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jobs", "scheduler"])
def test_workers_write_the_same_as_one_process(studies, tmp_path, request, kind):
    make_study(studies, "bad", RescaleSlope=None)
    options = {kind: 2 if kind == "jobs" else request.getfixturevalue(kind)}
    one, more = tmp_path / "one", tmp_path / "more"
    reports = clean_tree(studies, more, **options)
    for report, other in zip(clean_tree(studies, one), reports, strict=True):
        assert replace(report, seconds=0) == replace(other, seconds=0)
    assert contents(one).keys() == contents(more).keys()
    for path in one.glob("ct-*/*.dcm"):
        assert timeless(path) == timeless(more / path.relative_to(one))


@pytest.mark.slow
def test_a_cluster_repeats_tasks_and_refuses_another_version(tmp_path, scheduler, monkeypatch):
    once, file = str(tmp_path / "once"), tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": scheduler}))
    done = dict(workers.run_on_cluster(upper, ["a", "b", once, "c"], str(file)))
    assert done == {"a": "A", "b": "B", once: once.upper(), "c": "C"}
    assert dict(workers.run_on_cluster(upper, ["always", "a"], scheduler))["always"] is None
    monkeypatch.setattr(workers, "__version__", "0.0.0")
    with pytest.importorskip("dask").config.set({"distributed.comm.timeouts.connect": "1s"}):
        refused("no scheduler answers", list, workers.run_on_cluster(abs, [1], "tcp://127.0.0.1:9"))
    refused(r"headrest \S+, and not 0\.0\.0", list, workers.run_on_cluster(abs, [1], scheduler))


def test_makes_a_result_that_lost_or_emptied_slices_again(studies, tmp_path):
    """But none that holds another file, or has a damaged report."""
    reports = clean_tree(studies, tmp_path / "out")
    folder = tmp_path / "out" / reports[0].folder
    before = contents(tmp_path / "out").keys()
    for damage in (Path.unlink, lambda path: path.write_bytes(b"")):
        damage(folder / "0002.dcm")
        assert clean_tree(studies, tmp_path / "out")[0].folder == reports[0].folder
        assert contents(tmp_path / "out").keys() == before
        assert len(read_series(folder)) == 2
    (folder / "0002.dcm").unlink()
    (folder / "notes.txt").write_text("mine")
    words = "slices are missing, but it holds notes.txt"
    assert words in clean_tree(studies, tmp_path / "out")[0].error
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "cleaning.json").write_text('{"headrest": "0"}')
    assert "damaged" in clean_tree(studies, tmp_path / "out")[0].error


def test_a_file_that_came_later_and_is_damaged_is_not_hidden_by_an_earlier_result(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    whole = make_series(source, 5)[4].read_bytes()
    for part in (700, len(whole) - 100):  # of the header, of the pixels
        (source / "05.dcm").unlink()
        assert clean_tree(source, out)[0].slices == 4
        (source / "05.dcm").write_bytes(whole[:part])
        for allow_missing in (False, True, False):
            reports = clean_tree(source, out, allow_missing=allow_missing)
            assert "05.dcm" in " ".join(
                reports[0].warnings if allow_missing else [reports[0].error]
            )


def test_an_incomplete_result_is_listed_as_failed_and_gives_way_in_review_too(studies, tmp_path):
    out = tmp_path / "out"
    name = clean_tree(studies / "a", out, segmentation=True)[0].folder
    (out / name / "0002.dcm").unlink()
    clean_tree(studies / "b", out)
    listed = json.loads((out / "manifest.json").read_text())["series"]
    assert "slices are missing" in {row["folder"]: row["error"] for row in listed}[name]
    assert clean_tree(studies / "a", out, accept_ml=1)[0].folder == f"review/{name}"
    assert not [*out.glob(f"{name}*"), *out.glob(f"masks/{name}*")]
    write_slice(out / name / "other.dcm", make_slice())  # is in the way back
    clean_tree(studies / "a", out, accept_ml=1, segmentation=True)
    assert "cannot be moved" in clean_tree(studies / "a", out)[0].error
    assert len([*out.glob("review/masks/*")]) == 1


def test_skips_series_that_headrest_derived(studies, tmp_path):
    messages = []
    clean_tree(studies, tmp_path / "cleaned")
    (tmp_path / "cleaned").rename(studies / "cleaned")
    reports = clean_tree(studies, tmp_path / "out", on_message=messages.append)
    assert [report.source for report in reports] == ["in/a", "in/b", "in/c"]
    file = min((studies / "a").iterdir())
    assert clean_tree(file, tmp_path / "alone")[0].source == file.name
    moved = shutil.copy(file, tmp_path / "moved.dcm")
    assert clean_tree(moved, tmp_path / "alone")[0].source == "moved.dcm"
    (line,) = [one for one in messages if isinstance(one, str) and "derived" in one]
    assert re.fullmatch(r"skipped 3 series, in/cleaned/ct-\w+ first: derived by headrest", line)
    with pytest.raises(HeadrestError, match=r"no axial CT series found .* derived by headrest"):
        clean_tree(studies / "cleaned", tmp_path / "out")
