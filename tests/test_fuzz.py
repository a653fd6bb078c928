"""20,000 damaged files, each read in a child process; and that the child's end would be noticed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="looks at its memory as Linux reports it"
)
FUZZ = Path(__file__).with_name("fuzz.py")


def run(*options):
    return subprocess.run(
        [sys.executable, str(FUZZ), *map(str, options)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_20000_mutations_are_read_or_refused():
    done = run("--mutations", 20_000)
    assert done.stdout == "20000 mutations, 0 faults\n"
    assert done.returncode == 0


@pytest.mark.slow
def test_continues_a_stopped_run(tmp_path):
    log = tmp_path / "log"
    assert run("--mutations", 1000, "--log", log).returncode == 0
    before = log.read_text()
    again = run("--mutations", 1000, "--log", log)
    assert again.stdout == "1000 mutations, 0 faults\n"
    assert log.read_text() == before


BROKEN = {
    "os.abort()": "mutation 7: ended the process (SIGABRT)",
    "exec('while True: pass')": "mutation 7: took more than 2 s",
    "1 / 0": "mutation 7: ZeroDivisionError: division by zero",
    "bytearray(400 << 20)": "mutation 7: took 4",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", BROKEN)
def test_finds_a_fault_by_its_number(fault):
    code = f"""
import os, fuzz
read = fuzz.read_series
def broken(path):
    if path.read_bytes() == fuzz.mutate(fuzz.FILES, 7):
        {fault}
    return read(path)
fuzz.FILES = fuzz.seed_files()
fuzz.read_series = broken
fuzz.fuzz(20)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=FUZZ.parent, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith(BROKEN[fault])
