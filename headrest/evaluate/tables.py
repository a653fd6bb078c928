"""Results of a comparison as text tables, as JSON, and as the Markdown tables of README."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from headrest.evaluate.bootstrap import summary
from headrest.evaluate.compare import MethodCounts
from headrest.segment.pretrained import weights_hash
from headrest.util import __version__
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file

TABLE_GROUPS = ("all", "free", "touching")

Counts = Mapping[str, MethodCounts]
Summaries = dict[str, dict[str, dict[str, list[float]]]]

DICE, ML, SHARE = "{:.3f} ({:.3f}-{:.3f})", "{:.2f} ({:.2f}-{:.2f})", "{:.0%} ({:.0%}-{:.0%})"
"""Formats of a value and its interval."""

METHOD_COLUMNS = {
    "Dice": ("dice", DICE),
    "IoU": ("iou", "{:.3f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "surface mm": ("distance_mm", "{:.1f}"),
    "residual support ml": ("residual_ml", "{:.1f} ({:.1f}-{:.1f})"),
    "removed patient ml": ("lost_ml", ML),
    "worst": ("worst", "{:.2f}"),
    "solved": ("solved", SHARE),
    "CPU ms": ("cpu_ms", "{:.0f}"),
}
SCAN_COLUMNS = {
    "Dice": ("dice", "{:.3f}"),
    "worst slice": ("worst", "{:.3f}"),
    "surface mm": ("distance_mm", "{:.1f}"),
    "support ml": ("support_ml", "{:.1f}"),
    "residual support ml": ("residual_ml", "{:.2f}"),
    "removed patient ml": ("lost_ml", "{:.2f}"),
}
README_COLUMNS = {
    "Dice, free": (("free", "dice"), DICE),
    "Dice, touching": (("touching", "dice"), DICE),
    "residual support, %": (("all", "residual_pct"), "{:.1f}"),
    "removed patient, ml": (("all", "lost_ml"), ML),
    "solved, free": (("free", "solved"), SHARE),
    "solved, touching": (("touching", "solved"), SHARE),
    "accuracy": (("all", "accuracy"), "{:.4f}"),
}
"""Columns of the tables: heading, measure of `headrest.evaluate.bootstrap.measures`, format."""


README_METHODS = (
    *("pretrained", "7 levels, SAME", "convex hull", "K-Means + components", "nothing removed"),
)
"""Rows of README's table, the first in bold; the notebook on methods shows all."""


def summarize(counts: Counts) -> Summaries:
    """Measures of every method and each of `TABLE_GROUPS`: dict of method to group to measures."""
    return {
        name: {group: summary(one, None if group == "all" else group) for group in TABLE_GROUPS}
        for name, one in counts.items()
    }


def method_columns(summaries: Summaries, group: str = "all") -> dict[str, list[str]]:
    """Columns of a group for `headrest.util.report.table`, with intervals in brackets."""
    rows = {name: groups[group] for name, groups in summaries.items()}
    return _columns("method", rows, METHOD_COLUMNS)


def scan_columns(counts: Counts) -> dict[str, list[str]]:
    """Columns of one real scan for `headrest.util.report.table`, one row per method."""
    return _columns("method", {name: summary(one) for name, one in counts.items()}, SCAN_COLUMNS)


def _columns(head, rows, columns):
    return {head: list(rows)} | {
        name: [_text(row[measure], form) for row in rows.values()]
        for name, (measure, form) in columns.items()
    }


def _text(values, form):
    value = values[0]
    return "none" if value is None or not np.isfinite(value) else form.format(*values)


def describe(counts: Counts, profile: str) -> str:
    """Describe a comparison of synthetic patients in one line."""
    names = next(iter(counts.values())).names
    patients = len(np.unique(names))
    return f"profile {profile}: {len(names)} slices of {patients} synthetic patients"


def write_results(
    path: str | Path, counts: Counts, profile: str, scans: Mapping[str, Counts] | None = None
) -> dict[str, Any]:
    """Write the results of a comparison as JSON, and read them back.

    Parameters
    ----------
    path : path of a .json file; its folder is made.
    counts : dict of method to MethodCounts, of synthetic patients.
    profile : str
    scans : dict of scan to such a dict, of real scans, optional.
    """
    results = {
        "description": describe(counts, profile),
        "headrest": __version__,
        "weights": weights_hash(),
        "date": date.today().isoformat(),
        "synthetic": summarize(counts),
        "scans": {
            scan: {name: summary(one) for name, one in found.items()}
            for scan, found in (scans or {}).items()
        },
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(_finite(results), indent=1) + "\n", encoding="utf-8")
    return read_results(path)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def read_results(path: str | Path) -> dict[str, Any]:
    """Read the results that `write_results` wrote; None stands for what is not finite.

    Raises
    ------
    HeadrestError
        Where the file is missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HeadrestError(f"{path}: no results to read ({type(error).__name__})") from error


def synthetic_table(results: dict[str, Any]) -> str:
    """README's table of `README_METHODS` on synthetic patients, in Markdown."""
    names = [name for name in README_METHODS if name in results["synthetic"]]
    rows = {
        f"**{name}**" if name == names[0] else name: {
            (group, key): values
            for group, measures in results["synthetic"][name].items()
            for key, values in measures.items()
        }
        for name in names
    }
    return _markdown(_columns("method", rows, README_COLUMNS), results, results["description"])


def scans_table(results: dict[str, Any], method: str = "pretrained") -> str:
    """README's table of one method on real scans, in Markdown."""
    rows = {f"`{name}`": found[method] for name, found in results["scans"].items()}
    description = f"real scans, one patient each, by the method {method}"
    return _markdown(_columns("scan", rows, SCAN_COLUMNS), results, description)


def _markdown(columns, results, description):
    rows = [columns, ["---"] * len(columns), *zip(*columns.values())]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    origin = f"version {results['headrest']}, weights {results['weights']}, {results['date']}"
    return "\n".join([*lines, "", f"*{description.capitalize()}; {origin}.*"])
