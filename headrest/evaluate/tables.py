"""Results of a comparison as text tables, as JSON, and as the Markdown tables of README."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from headrest.evaluate.compare import SOLVED_DICE, Case, MethodCounts, summary
from headrest.evaluate.methods import BODY_MASK, DENSE_ONLY, KMEANS, NOTHING, PRETRAINED
from headrest.evaluate.metrics import dice_from_counts
from headrest.evaluate.score import MIN_SUPPORT_PIXELS
from headrest.segment.pretrained import weights_hash
from headrest.util import __version__
from headrest.util.files import atomic_file

TISSUES = {
    "edges": (-500.0, -200.0),
    "fat": (-200.0, -20.0),
    "soft tissue": (-20.0, 150.0),
    "bone": (150.0, 4000.0),
}
"""HU above and up to which voxels of a patient count as a tissue, without its partial volume."""

Counts = Mapping[str, MethodCounts]
Summaries = dict[str, dict[str, dict[str, list[float]]]]

DICE, ML, SHARE = "{:.3f} ({:.3f}-{:.3f})", "{:.2f} ({:.2f}-{:.2f})", "{:.0%} ({:.0%}-{:.0%})"
"""Formats of a value and its interval."""

METHOD_COLUMNS = {
    "Dice, all support": ("dice", DICE),
    "Dice, dense": ("dense_dice", DICE),
    "residual support ml": ("residual_ml", "{:.1f} ({:.1f}-{:.1f})"),
    "removed patient ml": ("lost_ml", ML),
    "solved": ("solved", SHARE),
}
MORE_COLUMNS = {
    "mean Dice per patient": ("case_dice", "{:.3f}"),
    "residual above -800 HU, ml": ("faint_residual_ml", "{:.1f}"),
    "above -500 HU, ml": ("dense_residual_ml", "{:.1f}"),
    "p95 surface distance, mm": ("distance_mm", "{:.1f}"),
    "solved, dense": ("dense_solved", "{:.0%}"),
    "CPU ms per slice": ("cpu_ms", "{:.0f}"),
}
SCAN_COLUMNS = {
    "Dice, above -800 HU": ("dice", "{:.3f}"),
    "Dice, dense": ("dense_dice", "{:.3f}"),
    "worst slice, dense": ("dense_worst", "{:.3f}"),
    "support ml": ("support_ml", "{:.1f}"),
    "residual support ml": ("residual_ml", "{:.2f}"),
    "dense residual ml": ("dense_residual_ml", "{:.2f}"),
    "removed patient ml": ("lost_ml", "{:.2f}"),
}
"""Columns of the tables: heading, measure of `headrest.evaluate.compare.measures`, format."""

DENSE_NOTE = "\\* finds only support above -500 HU: compare it by the columns of dense support."

README_METHODS = (PRETRAINED, "convex hull", KMEANS, BODY_MASK, NOTHING)
"""Rows of README's table, the first in bold; the notebook on methods shows all."""


def summarize(counts: Counts) -> Summaries:
    """Compute the measures of every method: dict of method to dict of "all", "free" and "touching"
    to what `headrest.evaluate.compare.summary` returns."""
    groups = {"all": None, "free": "free", "touching": "touching"}
    return {
        name: {head: summary(one, group) for head, group in groups.items()}
        for name, one in counts.items()
    }


def methods_table(
    summaries: Summaries, group: str = "all", columns: Mapping[str, Any] = METHOD_COLUMNS
) -> str:
    """Table of all methods over a group of slices, in Markdown, the first method in bold.

    `columns` are `METHOD_COLUMNS` or `MORE_COLUMNS`.
    """
    rows = {name: groups[group] for name, groups in summaries.items()}
    return markdown("method", mark_methods(rows), columns)


def scan_table(counts: Counts) -> str:
    """Table of all methods on one real scan, in Markdown, the first method in bold."""
    rows = {name: summary(one) for name, one in counts.items()}
    return markdown("method", mark_methods(rows), SCAN_COLUMNS)


def kind_columns(counts: MethodCounts) -> dict[str, list]:
    """Columns of Dice and failures of a method per kind of contact, over slices with at least
    `MIN_SUPPORT_PIXELS` of dense support."""
    shows = counts.take(counts.dense_true >= MIN_SUPPORT_PIXELS)
    kinds = [*np.unique(shows.kinds).tolist(), "all"]
    each = [shows.take(shows.kinds == kind) for kind in kinds[:-1]] + [shows]
    sums = [(one.dense_true.sum(), one.dense_found.sum(), one.dense_shared.sum()) for one in each]
    return {
        "contact": kinds,
        "slices": [len(one.names) for one in each],
        "Dice, dense, pooled": [float(dice_from_counts(*one)) for one in sums],
        "failed %": [100 * float(np.mean(one.dense_dice() < SOLVED_DICE)) for one in each],
        "found nothing %": [100 * float(np.mean(one.dense_found == 0)) for one in each],
    }


def case_columns(counts: MethodCounts) -> dict[str, list]:
    """Columns of support, residual support and removed patient in ml, per case."""
    names = np.unique(counts.names)
    parts = {"support ml": counts.true, "residual support ml": counts.missed}
    parts["removed patient ml"] = counts.lost
    return {"case": list(names)} | {
        head: [float((n * counts.voxel_ml)[counts.names == name].sum()) for name in names]
        for head, n in parts.items()
    }


def tissue_columns(cases: Sequence[Case], removed: Sequence[np.ndarray]) -> dict[str, list]:
    """Columns of the removed patient by HU, for `TISSUES`; ml are per case.

    Parameters
    ----------
    cases : sequence of Case
    removed : for each case the removed voxels, bool array (slices, rows, columns).
    """
    part, whole = np.zeros((2, len(TISSUES)))
    for case, mask in zip(cases, removed):
        ml = np.prod(case.series.spacing_mm) / 1000 / len(cases)
        for k, (low, high) in enumerate(TISSUES.values()):
            tissue = case.patient & (case.series.hu > low) & (case.series.hu <= high)
            whole[k] += np.count_nonzero(tissue) * ml
            part[k] += np.count_nonzero(tissue & mask) * ml
    columns = {"tissue, by HU": list(TISSUES), "removed ml": list(part), "whole ml": list(whole)}
    return columns | {"removed %": list(100 * part / np.maximum(whole, 1e-9))}


def mark_methods(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Names of methods as tables show them: the first in bold, `DENSE_ONLY` with an asterisk."""
    names = [f"{name} \\*" if name in DENSE_ONLY else name for name in rows]
    names[0] = f"**{names[0]}**"
    return dict(zip(names, rows.values()))


def markdown(head: str, rows: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
    """Table in Markdown, with a note where a method finds dense support only; `columns` have a key
    of the rows and a format each."""
    lines = [(head, *columns), ("---",) * (len(columns) + 1)]
    for name, row in rows.items():
        lines.append((name, *(_text(row[measure], form) for measure, form in columns.values())))
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{DENSE_NOTE}" if any("\\*" in name for name in rows) else text


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
    """Write the results of a comparison as JSON.

    Parameters
    ----------
    path : path of the file, whose folder is made.
    counts : dict of method to MethodCounts, of synthetic patients.
    profile : str, size of the comparison, for its description.
    scans : dict of real scan to such counts, optional.

    Returns
    -------
    dict, as it is stored: None for what is not finite.
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
    results = json.loads(  # with None for NaN and infinity
        json.dumps(results),
        parse_float=lambda text: round(float(text), 6),
        parse_constant=lambda _: None,
    )
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results
