"""The benchmarks print a table; the figures depend on the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def benchmarks(*arguments):
    command = [sys.executable, str(ROOT / "tests" / "benchmarks"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_prints_each_figure_with_its_aim():
    pytest.importorskip("sklearn")
    done = benchmarks("P7", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    heading, threshold, ratio = done.stdout.splitlines()[-3:]
    assert heading.split() == ["what", "figure", "unit", "aim", "met"]
    assert threshold.startswith("P7  K-Means threshold")
    assert threshold.endswith("CPU-ms/slice")
    assert ">= 50" in ratio
    assert ratio.split()[-1] in ("yes", "no")
