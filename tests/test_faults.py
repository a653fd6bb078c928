"""Kills, full disks, concurrent and long runs, 20,000 damaged files: whole outputs or refusals."""

import errno
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import head_hu, make_series, refused
from factories import clean_tree, lines_of, run_clean

pytest.importorskip("fcntl", reason="kills and limits are those of POSIX")

from headrest import read_series
from headrest.__main__ import main
from headrest.dicom import header
from headrest.train import checkpoints as frames
from headrest.util import files

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at Linux's /proc")


@pytest.fixture
def output_of(tmp_path):
    """Output of faults.py in its own process, without the threads of this one."""
    return lambda *given: lines_of("faults.py", tmp_path / "".join(given), *given)[0]


@pytest.mark.slow
def test_100_kills_leave_no_damaged_output(output_of):
    expected = {"killed": 100, "corrupt": 0, "errors": [], "left": []}
    assert output_of("kills") == expected | {"identical": True, "untouched": True}
    assert output_of("kills", "careless")["corrupt"] > 0  # without atomic writes


@pytest.mark.slow
def test_a_full_disk_leaves_no_partial_file(output_of):
    assert output_of("disk") == {"outcomes": [[2, 0]] * 20, "room": []}  # the error, and no file
    outcomes = output_of("disk", "careless")["outcomes"]  # without atomic writes
    assert any(left for _, left in outcomes)


@pytest.mark.slow
def test_seven_of_eight_runs_into_one_folder_are_refused(output_of):
    assert output_of("crowd") == {"codes": [0] + [2] * 7, "identical": True}
    assert output_of("crowd", "careless")["codes"].count(2) < 7  # without locks


@pytest.mark.slow
@linux
def test_memory_stays_constant_over_many_series(output_of):
    found, leaking = output_of("endurance"), output_of("endurance", "careless")
    assert found["growth"] < 5 < leaking["growth"]
    assert found["peak"] < 500


def test_works_on_shares_without_locks_and_folder_flushes(tmp_path, monkeypatch):
    def files_only(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks")))
    monkeypatch.setattr(os, "fsync", files_only)
    make_series(tmp_path / "in", 1)
    (report,) = clean_tree(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / report.folder / "cleaning.json").exists()


def test_refuses_the_lock_that_another_run_deleted_when_it_ended(tmp_path, monkeypatch):
    """Otherwise the next run would make another file, and lock it too."""
    lock = files._lock

    def late(handle):
        shutil.rmtree(tmp_path / files.RUN_FOLDER)
        return lock(handle)

    monkeypatch.setattr(files, "_lock", late)
    refused("another process", files.lock_destination(tmp_path).__enter__)


@pytest.mark.parametrize("name", ["頭部", "رأس", "a\u0301 \U0001f9e0", "\x1b[2J\udcff\n"])
def test_accepts_folder_names_in_any_script(tmp_path, name, capsys, monkeypatch):
    make_series(tmp_path / name / "scan", 1)
    make_series(tmp_path / name / "bad", 1, SeriesInstanceUID="1.2.3", RescaleSlope=None)
    assert run_clean(tmp_path / name, tmp_path / f"{name} out") == 1
    shown = "".join(capsys.readouterr())
    assert name.replace("\x1b[2J\udcff\n", r"\x1b[2J\udcff\n") in shown  # control characters
    assert "\x1b[2J" not in shown
    (path,) = (tmp_path / f"{name} out").glob("ct-*")
    assert np.array_equal(read_series(path).hu[0, :50], head_hu()[:50])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))  # such a pipe
    assert run_clean(tmp_path / name, tmp_path / f"{name} out") == 1
    sys.stdout.flush()
    assert ascii(name[0])[1:-1].encode() in sys.stdout.buffer.getvalue()


class Failing(io.FileIO):
    """A file on a disk that fails after 3000 bytes."""

    def read(self, size):
        if self.tell() + size > 3000:
            raise OSError(5, "Input/output error")
        return super().read(size)


def denied(path, mode=""):
    raise PermissionError(13, "Permission denied", str(path))


def test_reports_a_folder_that_cannot_be_searched(tmp_path, monkeypatch):
    make_series(tmp_path / "scan" / "a")
    (tmp_path / "scan" / "closed").mkdir()
    whole = os.scandir
    either = lambda path: (denied if "closed" in str(path) else whole)(path)  # noqa: E731
    monkeypatch.setattr(os, "scandir", either)
    closed, cleaned = clean_tree(tmp_path / "scan", tmp_path / "out")
    assert closed.error == f"{tmp_path}/scan/closed: cannot be searched (Permission denied)"
    assert not cleaned.error


@pytest.mark.parametrize(("opened", "words"), [(denied, "Permission denied"), (Failing, "OSError")])
def test_reports_a_file_that_cannot_be_read(tmp_path, monkeypatch, opened, words):
    make_series(tmp_path, 1)
    monkeypatch.setattr(header, "open", opened, raising=False)
    refused(f"{tmp_path}/01.dcm.*{words}", read_series, tmp_path)


@pytest.mark.slow
def test_makes_a_killed_video_again(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    labels = np.zeros((2, 64, 64), np.uint8)
    frames.keep_slices(tmp_path / "run", np.zeros(labels.shape), labels)
    for epoch in range(1, 41):
        frames.keep_epoch(tmp_path / "run", labels, epoch, 1.0, 0.0)
    out = tmp_path / "video" / "epochs.mp4"
    out.parent.mkdir()
    command = [sys.executable, "-m", "headrest", "video", str(tmp_path / "run"), str(out)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(out.parent.iterdir()) and child.poll() is None:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not out.exists()
    assert main(command[3:]) == 0
    assert imageio_ffmpeg.count_frames_and_secs(str(out))[0] == 40


@pytest.mark.slow
@linux
def test_20000_mutations_are_read_or_refused():
    command = [sys.executable, Path(__file__).with_name("fuzz.py"), "--mutations", "20000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("20000 mutations, 0 faults\n", 0)


BROKEN = {
    "os.abort()": "mutation 7: ended the process (SIGABRT)",
    "exec('while True: pass')": "mutation 7: took more than 2 s",
    "1 / 0": "mutation 7: ZeroDivisionError: division by zero",
    "bytearray(400 << 20)": "mutation 7: took 4",
}


@pytest.mark.slow
@linux
@pytest.mark.parametrize("fault", BROKEN)
def test_finds_a_fault_by_its_number(fault):
    code = f"""
import os, fuzz
def broken(path):
    if path.stem == "7":
        {fault}
    return read(path)
read, fuzz.read_series = fuzz.read_series, broken
assert fuzz.fuzz(20) == 1
"""
    command, here = [sys.executable, "-c", code], Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith(BROKEN[fault])
