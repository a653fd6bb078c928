"""The benchmark's table has its form; what the figures are is the machine's business."""

import pytest

from headrest.__main__ import main
from headrest.ratios import Line, in_turns, machine, report


def test_table(capsys):
    pytest.importorskip("keras")
    assert main(["benchmark", "--size", "256", "--repeats", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(machine())
    heading, *rows = text[len(machine()) + 1 :].splitlines()
    assert heading.split() == ["what", "ratio", "wanted", "met"]
    for what in ("threshold", "training", "inference", "video frame", "import"):
        assert any(row.strip().startswith(what) for row in rows)
    assert all(row.endswith(("yes", "no", "not measured")) for row in rows)
    assert all(" at least " in row or " at most " in row for row in rows)


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
