"""The benchmark's table has its form; what the figures are is the machine's business."""

import numpy as np
import pytest
from benchmarks.ratios import Line, in_turns, report
from benchmarks.slices import bytes_to_hu, least_inertia, simpleitk_to_hu, write_series

from headrest import read_series


def test_best_of_all_partitions():
    values, counts = np.array([0.0, 1.0, 9.0, 11.0]), np.array([1, 1, 1, 3])
    assert least_inertia(values, counts, 2) == pytest.approx(0.5 + 3)
    assert least_inertia(values, counts, 3) == pytest.approx(0.5)
    assert least_inertia(values, counts, 4) == 0


def test_all_ways_of_reading_give_the_same_hu(tmp_path):
    pytest.importorskip("SimpleITK")
    hu = np.arange(64.0 * 64).reshape(64, 64) - 1024
    paths = write_series(hu, tmp_path, 6)
    every = np.stack([hu] * len(paths))
    assert np.array_equal(read_series(tmp_path).hu, every)
    assert np.array_equal(bytes_to_hu(paths, hu.shape), every)
    assert np.array_equal(simpleitk_to_hu(tmp_path), every)


def test_verdicts():
    lines = [
        Line("slow", 2.0, "at least", 20),
        Line("lean", 1.0, "at most", 1.2),
        Line("fat", 1.3, "at most", 1.2),
        Line("absent", None, "at most", 1),
    ]
    assert [line.verdict() for line in lines] == ["no", "yes", "no", "not measured"]
    assert report(lines).splitlines()[-1].split() == [
        "absent",
        "at",
        "most",
        "1",
        "not",
        "measured",
    ]


def test_each_takes_its_turn():
    taken = []
    spent = in_turns(2, lambda: taken.append("a"), lambda: taken.append("b"))
    assert "".join(taken) == "ababab"
    assert all(seconds >= 0 for seconds in spent)
