"""Many studies: complete series are skipped, failures listed, and killed runs continued."""

import csv
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from chores import double, slowest_first, upper
from conftest import CANARY, head_hu, make_series, make_slice, uid, write_slice
from pydicom import dcmread

import headrest
from headrest import HeadrestError
from headrest.__main__ import main
from headrest.clean import tree as batch
from headrest.clean.manifest import series_hash
from headrest.dicom import find_series, load_series
from headrest.util.files import lock_folder
from headrest.util.workers import run_ordered, run_unordered

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such processes")
clean_tree = partial(headrest.clean_tree, method="kmeans")


def make_study(folder, name, slices=2, **changes):
    """A study of one series that shares no UID with the others."""
    uids = {
        "StudyInstanceUID": uid(name, "study"),
        "SeriesInstanceUID": uid(name),
        "SOPInstanceUID": lambda number: uid(name, number),
    }
    make_series(Path(folder, name), slices, **uids, **changes)


@pytest.fixture
def studies(tmp_path):
    for name in "abc":
        make_study(tmp_path / "in", name)
    return tmp_path / "in"


def failures(folder):
    with open(folder / "failures.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """SHA-256 of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times(folder):
    """When each file of each complete series was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("ct-*/*")}


# Complete series are skipped.


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as-it-comes"),
        pytest.param({"ImagePositionPatient": lambda n: [0, 0, -5.0 * n]}, id="feet-first"),
        pytest.param({"InstanceNumber": None}, id="no-instance-number"),
        pytest.param({"ImageOrientationPatient": [1, 0, 0, 0, 0.94, -0.342]}, id="tilted"),
        pytest.param(
            {
                "SOPInstanceUID": lambda n: uid("slice", min(n, 4)),
                "ImagePositionPatient": lambda n: [0, 0, 5.0 * min(n, 4)],
                "InstanceNumber": lambda n: min(n, 4),
            },
            id="a-copy",
        ),
    ],
)
def test_fingerprint_of_files_is_that_of_the_series(tmp_path, changes):
    make_series(tmp_path, 5, **changes)
    (files,) = find_series(tmp_path).series
    assert files.fingerprint() == load_series(files).fingerprint


def test_cleans_other_files_under_the_same_uids_separately(tmp_path):
    make_series(tmp_path / "scan", 2)
    defaced = np.where(np.arange(64)[:, None] < 10, -1000, head_hu())
    make_series(tmp_path / "defaced", 2, hu=defaced)
    make_series(tmp_path / "anonymous", 2, PatientID="ANONYMOUS")
    folders = set()
    for name in ("scan", "defaced", "anonymous", "scan"):
        (report,) = clean_tree(tmp_path / name, tmp_path / "out")
        folders.add(report.folder)
        derived = headrest.read_series(tmp_path / "out" / report.folder)
        if name == "defaced":
            assert (derived.hu[:, :10] == -1000).all()
        assert (derived.headers[0].PatientID == "ANONYMOUS") == (name == "anonymous")
    assert len(folders) == 3


def test_refuses_another_image_under_a_cleaned_uid(tmp_path):
    make_series(tmp_path / "in" / "a", 2)
    (report,) = clean_tree(tmp_path / "in", tmp_path / "out")
    assert not report.error
    make_series(tmp_path / "in" / "b", 1, hu=np.zeros((64, 64), int))
    (report,) = clean_tree(tmp_path / "in", tmp_path / "out")
    assert "share a SOP Instance UID" in report.error


LOST_PLACE = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
RESCALE = {"RescaleSlope": 1, "RescaleIntercept": -1000}
LOST_RESCALE = dict.fromkeys(RESCALE)


def every_other(value, number):
    return value if number % 2 else None


@pytest.mark.parametrize(
    ("changes", "reading", "switches"),
    [
        pytest.param(
            LOST_PLACE, {"by_instance_number": True}, ["--by-instance-number"], id="by-number"
        ),
        pytest.param(
            LOST_RESCALE,
            {"default_rescale": (1, -1024)},
            ["--default-rescale", "1", "-1024"],
            id="rescale-known",
        ),
        pytest.param(
            {name: partial(every_other, value) for name, value in RESCALE.items()},
            {"default_rescale": (1, -1024)},
            ["--default-rescale", "1", "-1024"],
            id="rescale-known-to-some",
        ),
    ],
)
def test_the_option_that_a_refusal_names_cleans_the_series(
    tmp_path, monkeypatch, capsys, changes, reading, switches
):
    make_series(tmp_path / "in", 6, **changes)
    (refused,) = clean_tree(tmp_path / "in", tmp_path / "out")
    assert switches[0] in refused.error
    (files,) = find_series(tmp_path / "in").series
    series = load_series(files, **reading)
    assert files.fingerprint(reading.get("default_rescale")) == series.fingerprint
    (report,) = clean_tree(tmp_path / "in", tmp_path / "out", **reading)
    assert (report.error, report.slices) == ("", len(series))
    before = times(tmp_path / "out")
    monkeypatch.setattr(batch, "load_series", lambda *_, **__: pytest.fail("decoded again"))
    command = ["clean", str(tmp_path / "in"), str(tmp_path / "out"), "--method", "kmeans"]
    assert main(command + switches) == 0
    assert report.folder in capsys.readouterr().out
    assert times(tmp_path / "out") == before


def test_another_default_rescale_gives_another_output(tmp_path):
    make_series(tmp_path / "in", 2, **LOST_RESCALE)
    images = set()
    for pair in [(1, -1024), (1, -1000)]:
        (report,) = clean_tree(tmp_path / "in", tmp_path / "out", default_rescale=pair)
        slices = (tmp_path / "out" / report.folder).glob("*.dcm")
        images |= {str(dcmread(path).SOPInstanceUID) for path in slices}
    assert len(images) == 4
    for nonsense in ((1, np.nan), (0, -1024), (1,)):
        with pytest.raises(HeadrestError, match="not a slope"):
            clean_tree(tmp_path / "in", tmp_path / "out", default_rescale=nonsense)


def test_warns_of_images_of_other_acquisitions(tmp_path):
    make_series(tmp_path / "in", 6, AcquisitionNumber=lambda n: 1 + n % 2)
    (report,) = clean_tree(tmp_path / "in", tmp_path / "out", acquisition=1)
    assert "3 images of other acquisitions left out" in report.warnings


def test_does_not_decode_complete_series_again(studies, tmp_path, monkeypatch):
    first = clean_tree(studies, tmp_path / "out")
    before = times(tmp_path / "out")
    monkeypatch.setattr(batch, "load_series", lambda *_, **__: pytest.fail("decoded again"))
    assert clean_tree(studies, tmp_path / "out") == first
    assert times(tmp_path / "out") == before


def test_other_options_give_another_folder(studies, tmp_path):
    first = clean_tree(studies, tmp_path / "out")
    second = clean_tree(studies, tmp_path / "out", patient_only=True)
    assert not {report.folder for report in first} & {report.folder for report in second}


# Failures are listed.


def test_lists_a_failure_until_the_series_is_repaired(studies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_study(studies, "bad", RescaleSlope=None)
    clean_tree("in", "out")
    (row,) = failures(tmp_path / "out")
    assert row["series"] == hashlib.sha256(uid("bad").encode()).hexdigest()[:12]
    assert row["file"] == str(studies / "bad" / "01.dcm")
    assert row["reason"].startswith("RescaleSlope")
    make_study(studies, "bad")
    clean_tree("in", "out")
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_keeps_failures_of_another_source(studies, tmp_path):
    make_study(tmp_path / "other", "bad", RescaleSlope=None)
    clean_tree(tmp_path / "other", tmp_path / "out")
    before = failures(tmp_path / "out")
    clean_tree(studies, tmp_path / "out")
    assert failures(tmp_path / "out") == before


def test_lists_a_file_without_a_series_until_it_is_deleted(studies, tmp_path):
    path = write_slice(studies / "z.dcm", make_slice(9, SeriesInstanceUID=None))
    reports = clean_tree(studies, tmp_path / "out")
    (row,) = failures(tmp_path / "out")
    assert (row["series"], row["file"]) == ("", str(path))
    assert [bool(report.error) for report in reports] == [True, False, False, False]
    assert str(path) in reports[0].error
    path.unlink()
    clean_tree(studies, tmp_path / "out")
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_an_unexpected_exception_fails_its_series_only(studies, tmp_path, monkeypatch):
    def stumble(files, **reading):
        if files.uid == uid("b"):
            raise ValueError(CANARY)
        return load_series(files, **reading)

    monkeypatch.setattr(batch, "load_series", stumble)
    reports = clean_tree(studies, tmp_path / "out")
    assert [bool(report.error) for report in reports] == [False, True, False]
    assert "ValueError at test_batch.py" in reports[1].error
    assert CANARY not in reports[1].error


def test_refuses_another_table_named_failures_csv(studies, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "failures.csv").write_text("name,mark\nA,5\n")
    with pytest.raises(HeadrestError, match=r"failures\.csv"):
        clean_tree(studies, tmp_path / "out")
    assert (tmp_path / "out" / "failures.csv").read_text() == "name,mark\nA,5\n"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"jobs": 0}, HeadrestError),
        ({"jobs": 2, "scheduler": "tcp://nowhere:1"}, HeadrestError),
        ({"colour": "red"}, TypeError),
        ({"method": "magic"}, HeadrestError),
        ({"scheduler": "missing.json"}, HeadrestError),
    ],
)
def test_refuses_wrong_options_at_once(studies, tmp_path, wrong, error):
    with pytest.raises(error):
        clean_tree(studies, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


# One run at a time, and stale files.


def test_refuses_a_second_run_into_a_destination(studies, tmp_path, capsys):
    with lock_folder(tmp_path / "out" / ".headrest"):
        assert main(["clean", str(studies), str(tmp_path / "out"), "--method", "kmeans"]) == 1
    assert "another process is at work" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("ct-*"))


@posix
def test_removes_only_stale_files_of_killed_runs(studies, tmp_path):
    dead, unburied = (subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2))
    dead.wait()
    os.waitid(os.P_PID, unburied.pid, os.WEXITED | os.WNOWAIT)
    name_of = ".ct-0123456789ab.{}.partial".format
    gone = [
        name_of(dead.pid),
        name_of(os.getpid()),
        name_of(dead.pid) + ".stale",
    ]
    gone += [name_of(unburied.pid)]
    gone += [".failures.1.partial.csv".replace("1", str(dead.pid))]
    kept = [
        name_of(os.getppid()),
        ".mine.1.partial",
        "ct-mine.1.partial",
        ".ct-x.partial",
    ]
    for name in gone + kept:
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "0001.dcm").write_text("half")
    clean_tree(studies, tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("ct-0")}
    assert set(kept) <= left
    assert not set(gone) & left
    unburied.wait()


# Worker processes.


@pytest.mark.slow
def test_runs_each_task_once():
    done = run_unordered(double, range(7), jobs=3)
    assert sorted(done) == [(n, 2 * n) for n in range(7)]


@pytest.mark.slow
def test_a_process_that_dies_fails_only_its_task(tmp_path):
    once = str(tmp_path / "once")
    for tasks in (["a", "b", once, "c"], ["a", "always", "b", "c"]):  # two deaths may meet
        done = dict(run_unordered(upper, tasks, 2))
        assert done == {task: None if task == "always" else task.upper() for task in tasks}


@pytest.mark.slow
def test_ordered_results_follow_the_tasks():
    for jobs in (1, 2):
        assert list(run_ordered(slowest_first, range(6), jobs)) == [0, -1, -2, -3, -4, -5]


@pytest.mark.slow
def test_ordered_run_raises_if_a_task_ends_every_process():
    with pytest.raises(HeadrestError, match="memory"):
        list(run_ordered(upper, ["a", "always"], 2))


@pytest.mark.slow
def test_two_jobs_write_the_same_as_one(studies, tmp_path):
    make_study(studies, "bad", RescaleSlope=None)
    one, two = (clean_tree(studies, tmp_path / f"{jobs}", jobs=jobs) for jobs in (1, 2))
    assert [(r.source, r.folder, r.error) for r in one] == [
        (r.source, r.folder, r.error) for r in two
    ]
    for report in filter(lambda report: report.folder, one):
        pair = [headrest.read_series(tmp_path / jobs / report.folder) for jobs in "12"]
        assert np.array_equal(pair[0].stored, pair[1].stored)
        assert pair[0].uid == pair[1].uid
    assert contents(tmp_path / "1").keys() == contents(tmp_path / "2").keys()


# Stopped and killed.


def start(source, destination, *options):
    command = [sys.executable, "-m", "headrest", "clean", str(source), str(destination)]
    return subprocess.Popen(
        [*command, "--method", "kmeans", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Children of a background process ignore Ctrl-C by default.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def group_is_gone(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def many(tmp_path):
    for n in range(12):
        make_study(tmp_path / "in", f"{n:02d}")
    return tmp_path / "in"


@pytest.mark.slow
@posix
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_no_partial_result_and_names_the_remedy(many, tmp_path, jobs):
    run = start(many, tmp_path / "out", "--jobs", jobs)
    assert wait_for(lambda: list((tmp_path / "out").glob("ct-*")))
    os.killpg(run.pid, signal.SIGINT)
    stderr = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert "the same command goes on" in stderr
    assert not {"Traceback", "leaked"} & set(stderr.replace("_", " ").split())
    assert wait_for(lambda: group_is_gone(run.pid))
    assert all(path.name.startswith(("ct-", "manifest.")) for path in (tmp_path / "out").iterdir())


@pytest.mark.slow
@posix
def test_a_run_that_is_killed_twice_completes(many, tmp_path):
    out, before, seen = tmp_path / "out", contents(many), {}
    for enough in (1, 5):
        run = start(many, out, "--jobs", "2")
        assert wait_for(lambda: len(list(out.glob("ct-*"))) >= enough)  # noqa: B023
        run.kill()
        run.communicate()
        assert wait_for(lambda: group_is_gone(run.pid))  # noqa: B023
        seen |= times(out)
    reports = clean_tree(many, out)
    assert [report.error for report in reports] == [""] * 12
    assert {path: when for path, when in times(out).items() if path in seen} == seen
    assert all(len(headrest.read_series(out / report.folder)) == 2 for report in reports)
    assert all(path.name.startswith(("ct-", "manifest.")) for path in out.iterdir())
    assert contents(many) == before


# A Dask cluster.


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_cluster_writes_the_same_as_one_process(studies, tmp_path, cluster):
    make_study(studies, "bad", RescaleSlope=None)
    here = clean_tree(studies, tmp_path / "here")
    there = clean_tree(studies, tmp_path / "there", scheduler=cluster.scheduler_address)
    assert [(r.folder, r.error) for r in there] == [(r.folder, r.error) for r in here]
    assert failures(tmp_path / "here") == failures(tmp_path / "there")


@pytest.mark.slow
def test_another_worker_repeats_the_task_of_a_dead_one(tmp_path, cluster):
    from headrest.util.workers import run_on_cluster

    once = str(tmp_path / "once")
    done = dict(run_on_cluster(upper, ["a", "b", once, "c"], cluster.scheduler_address))
    assert done == {"a": "A", "b": "B", once: once.upper(), "c": "C"}


@pytest.mark.slow
def test_gives_up_a_task_that_ends_every_worker(cluster):
    from headrest.util.workers import run_on_cluster

    assert dict(run_on_cluster(upper, ["always", "a"], cluster.scheduler_address))["always"] is None


@pytest.mark.slow
def test_accepts_a_scheduler_file(tmp_path, cluster):
    import json

    from headrest.util.workers import run_on_cluster

    (tmp_path / "scheduler.json").write_text(json.dumps({"address": cluster.scheduler_address}))
    done = run_on_cluster(double, range(3), str(tmp_path / "scheduler.json"))
    assert sorted(done) == [(0, 0), (1, 2), (2, 4)]


@pytest.mark.slow
def test_refuses_a_worker_of_another_version(cluster, monkeypatch):
    from headrest.util import workers as module

    monkeypatch.setattr(module, "__version__", "0.0.0")
    with pytest.raises(HeadrestError, match=r"headrest \S+, and not 0\.0\.0"):
        list(module.run_on_cluster(double, [1], cluster.scheduler_address))


@pytest.mark.slow
def test_reports_that_no_scheduler_answers(studies, tmp_path):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    nowhere = {"scheduler": "tcp://127.0.0.1:9"}
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(HeadrestError, match="no scheduler answers"),
    ):
        clean_tree(studies, tmp_path / "out", **nowhere)


def test_names_the_missing_package_of_a_scheduler(studies, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HeadrestError, match="pip install distributed"):
        clean_tree(studies, tmp_path / "out", scheduler="tcp://127.0.0.1:9")


def test_series_hash_takes_any_uid():
    from headrest.dicom import SeriesFiles

    assert len(series_hash(SeriesFiles("1.2.3\udcff", "", "", ()))) == 12


# Unusual sources and results.


def test_makes_a_result_that_lost_or_emptied_slices_again(studies, tmp_path):
    reports = clean_tree(studies, tmp_path / "out")
    folder = tmp_path / "out" / reports[0].folder
    before = contents(tmp_path / "out")
    for damage in (Path.unlink, lambda path: path.write_bytes(b"")):
        damage(folder / "0002.dcm")
        assert clean_tree(studies, tmp_path / "out")[0].folder == reports[0].folder
        after = contents(tmp_path / "out")
        assert after.keys() == before.keys()
        assert len(headrest.read_series(folder)) == 2


def test_keeps_other_files_in_a_result_that_lost_slices(studies, tmp_path):
    folder = tmp_path / "out" / clean_tree(studies, tmp_path / "out")[0].folder
    (folder / "0002.dcm").unlink()
    (folder / "notes.txt").write_text("mine")
    report = clean_tree(studies, tmp_path / "out")[0]
    assert "slices are missing" in report.error
    assert "notes.txt" in report.error
    assert (folder / "notes.txt").read_text() == "mine"


def test_skips_series_that_headrest_derived(studies, tmp_path):
    messages = []
    clean_tree(studies, tmp_path / "cleaned")
    (tmp_path / "cleaned").rename(studies / "cleaned")
    reports = clean_tree(studies, tmp_path / "out", on_message=messages.append)
    assert [report.source for report in reports] == ["in/a", "in/b", "in/c"]
    (line,) = [one for one in messages if isinstance(one, str) and "derived" in one]
    assert re.fullmatch(r"skipped 3 series, in/cleaned/ct-\w+ first: derived by headrest", line)
    with pytest.raises(HeadrestError, match=r"no axial CT series found .* derived by headrest"):
        clean_tree(studies / "cleaned", tmp_path / "out")


def test_reports_a_full_disk_in_one_sentence(studies, tmp_path, monkeypatch):
    written = Path.write_bytes

    def full(path, content):
        if path.name == "0002.dcm":
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    for report in clean_tree(studies, tmp_path / "out"):
        assert re.fullmatch(r"\S+: cannot be written \(No space left on device\)", report.error)
    assert all(row["reason"].count("\n") == 0 for row in failures(tmp_path / "out"))


@posix
def test_names_skipped_files_and_succeeds(studies, tmp_path, capsys):
    (studies / "a" / "notes").symlink_to(tmp_path / "gone")
    (studies / "a" / "notes.txt").write_text("seen")
    write_slice(studies / "a" / "9.dcm", make_slice(9, ImageType=["ORIGINAL", "LOCALIZER"]))
    assert main(["clean", str(studies), str(tmp_path / "out"), "--method", "kmeans"]) == 0
    shown = capsys.readouterr().out
    for line in ("notes: a broken link", "notes.txt: not DICOM", "9.dcm (Head): localizer"):
        assert f"skipped a/{line}" in shown
