"""20,000 damaged files, each read in a child process; and that the child's end would be noticed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="looks at its memory as Linux reports it"
)
FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.slow
def test_20000_mutations_are_read_or_refused():
    command = [sys.executable, str(FUZZ), "--mutations", "20000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("20000 mutations, 0 faults\n", 0)


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
