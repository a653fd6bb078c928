"""The tables of a comparison: printed, kept as JSON, and written as README shows them."""

import json
from datetime import date
from pathlib import Path

import numpy as np

from headrest.evaluate.bootstrap import summary
from headrest.segment.weights import weights_card
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file
from headrest.util.version import __version__

GROUPS = ("all", "free", "touching")

SHIPPED = "shipped"
"""The method of which README tells how it does on real scans."""


def summarize(compared):
    """Measure every method on all slices and on those of each group.

    Parameters
    ----------
    compared : dict of str to headrest.evaluate.compare.Compared

    Returns
    -------
    dict of method to dict of group ("all", "free", "touching") to what
    `headrest.evaluate.bootstrap.summary` returns.
    """
    return {
        name: {group: summary(one, None if group == "all" else group) for group in GROUPS}
        for name, one in compared.items()
    }


def columns(summaries, group="all"):
    """Lay the measures of a group out for `headrest.util.text.table`, intervals in brackets."""
    rows = {name: groups[group] for name, groups in summaries.items()}

    def plain(measure, digits):
        return [_number(row[measure][0], digits) for row in rows.values()]

    return {
        "method": list(rows),
        "Dice": [_with_interval(row["dice"], 3) for row in rows.values()],
        "IoU": plain("iou", 3),
        "accuracy": plain("accuracy", 4),
        "surface mm": plain("distance_mm", 1),
        "left ml": [_with_interval(row["left_ml"], 1) for row in rows.values()],
        "lost ml": [_with_interval(row["lost_ml"], 2) for row in rows.values()],
        "worst": plain("worst", 2),
        "solved %": [_with_interval(row["solved"], 0, 100) for row in rows.values()],
        "CPU ms": plain("cpu_ms", 0),
    }


def scan_columns(compared):
    """Lay what methods made of one real scan out for `headrest.util.text.table`."""
    rows = {name: _of_one(one) for name, one in compared.items()}
    shown = {
        "Dice": ("dice", 3),
        "worst": ("worst", 3),
        "surface mm": ("distance_mm", 1),
        "left ml": ("left_ml", 2),
        "of ml": ("device_ml", 2),
        "lost ml": ("lost_ml", 2),
    }
    return {"method": list(rows)} | {
        name: [_number(row[measure], n) for row in rows.values()]
        for name, (measure, n) in shown.items()
    }


def _with_interval(values, digits, times=1):
    value, low, high = (_number(v, digits, times) for v in values)
    return f"{value} ({low}-{high})" if value != "none" else value


def _number(value, digits, times=1):
    return "none" if value is None or not np.isfinite(value) else f"{times * value:.{digits}f}"


def describe(compared, profile):
    """Say in a line what was compared: str."""
    one = next(iter(compared.values()))
    patients = len(np.unique(one.names))
    return f"profile {profile}: {len(one.names)} slices of {patients} synthetic patients"


def write_results(path, compared, profile, scans=None):
    """Keep what a comparison came to.

    Parameters
    ----------
    path : path of a .json file; its folder is made.
    compared : dict of str to headrest.evaluate.compare.Compared, of synthetic patients.
    profile : str
    scans : dict of name to such a dict, of real scans, optional.

    Returns
    -------
    dict, as `read_results` reads it back.
    """
    kept = {
        "what": describe(compared, profile),
        "headrest": __version__,
        "weights": weights_card()["sha256"][:12],
        "date": date.today().isoformat(),
        "synthetic": summarize(compared),
        "scans": {
            scan: {name: _of_one(one) for name, one in found.items()}
            for scan, found in (scans or {}).items()
        },
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as aside:
        aside.write_text(json.dumps(_finite(kept), indent=1) + "\n", encoding="utf-8")
    return read_results(path)


def _of_one(compared):
    """Measures of one patient, without intervals: there is nobody else to draw."""
    values = {measure: found[0] for measure, found in summary(compared).items()}
    return values | {"device_ml": float(compared.true @ compared.voxel_ml)}


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def read_results(path):
    """Read what `write_results` wrote; what is no finite number is None.

    Raises
    ------
    HeadrestError
        Where the file is missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HeadrestError(f"{path}: no results to read ({type(error).__name__})") from error


def synthetic_table(results):
    """The table of all methods as README shows it: str, Markdown."""
    head = ["method", "Dice, free", "Dice, touching", "left, %", "lost, ml a patient"]
    rows = [[*head, "solved, free, %", "solved, touching, %", "CPU-ms a slice"]]
    for name, groups in results["synthetic"].items():
        every = groups["all"]
        dices = [_with_interval(groups[group]["dice"], 3) for group in GROUPS[1:]]
        left = _number(every["left_pct"][0], 1)
        lost = _with_interval(every["lost_ml"], 2)
        solved = [_with_interval(groups[group]["solved"], 0, 100) for group in GROUPS[1:]]
        rows.append([name, *dices, left, lost, *solved, _number(every["cpu_ms"][0], 0)])
    return _markdown(rows, results, results["what"].capitalize())


def scans_table(results, method=SHIPPED):
    """The table of real scans as README shows it: str, Markdown."""
    rows = [["scan", "Dice", "worst slice", "support left", "patient lost"]]
    for name, found in results["scans"].items():
        one = found[method]
        left = f"{one['left_ml']:.2f} of {one['device_ml']:.1f} ml"
        lost = f"{one['lost_ml']:.2f} ml"
        rows.append([f"`{name}`", _number(one["dice"], 3), _number(one["worst"], 3), left, lost])
    return _markdown(rows, results, f"Real scans, a patient each, by the method {method}")


def _markdown(rows, results, what):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    made = f"version {results['headrest']}, weights {results['weights']}, {results['date']}"
    return "\n".join([*lines, "", f"*{what}; {made}.*"])
