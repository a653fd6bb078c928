"""Ratios of CPU times, what is wanted of them, and the machine they were measured on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrest.util.text import table


@dataclass(frozen=True)
class Line:
    """What was measured: `ratio` is to be at most or at least `wanted`, or None if it was not."""

    what: str
    ratio: float | None
    bound: str
    wanted: float

    def verdict(self) -> str:
        """Say whether it is as wanted: "yes", "no", or that nobody knows."""
        if self.ratio is None:
            return "not measured"
        met = self.ratio >= self.wanted if self.bound == "at least" else self.ratio <= self.wanted
        return "yes" if met else "no"


def report(lines: Sequence[Line]) -> str:
    """Write lines as a table: str.

    Examples
    --------
    >>> print(report([Line("threshold", 66.0, "at least", 50)]))
         what  ratio       wanted  met
    threshold  66.00  at least 50  yes
    """
    ratios = ["" if line.ratio is None else f"{line.ratio:.2f}" for line in lines]
    columns = {"what": [line.what for line in lines], "ratio": ratios}
    columns["wanted"] = [f"{line.bound} {line.wanted:g}" for line in lines]
    return table(columns | {"met": [line.verdict() for line in lines]})


def in_turns(repeats: int, *calls: Callable[[], Any]) -> list[float]:
    """Median CPU seconds of each call, a list of float. The first turn is not counted."""
    turns = [[_seconds(call) for call in calls] for _ in range(repeats + 1)]
    return np.median(turns[1:], axis=0).tolist()


def _seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start
