"""Results of a comparison as JSON and tables, and the tables in README."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrest import HeadrestError
from headrest.show import figures as plots

pytest.importorskip("keras", reason="needs Keras and a backend")

from factories import measured_series, method_counts

from headrest.evaluate import tables as results
from headrest.show.methods import draw_bound, draw_risk_coverage, draw_trade_off

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
KEPT = ROOT / "data" / "results" / "compare_methods_full.json"


@pytest.fixture
def compared():
    names, pixels = list("aabb"), [40, 50, 60, 70]
    groups = np.array(["free", "touching"] * 2)
    half = np.array(pixels) // 2
    every = {"true": pixels, "dense_true": half, "groups": groups}
    nothing = method_counts(names, missed=pixels, distance_mm=[np.inf] * 4, **every)
    found = {"found": pixels, "dense_found": half, "missed": [0, 10, 0, 30]}
    shared = {"shared": [40, 40, 60, 40], "dense_shared": [20, 20, 30, 20]}
    some = method_counts(names, **every, **found, **shared)
    return {"pretrained": some, "nothing removed": nothing}


def test_written_results_are_read_back(compared, tmp_path):
    path = tmp_path / "new" / "results.json"
    kept = results.write_results(path, compared, "quick", {"ge-head": compared})
    assert kept == results.read_results(path)
    json.loads(path.read_text(), parse_constant=pytest.fail)  # infinity is no JSON
    assert kept["description"] == "profile quick: 4 slices of 2 synthetic patients"
    measures = kept["synthetic"]["pretrained"]["free"]
    assert measures["dice"] == [1, 1, 1]
    assert kept["synthetic"]["nothing removed"]["all"]["distance_mm"] == [None] * 3
    assert kept["scans"]["ge-head"]["pretrained"]["support_ml"][0] == 110


def test_refuses_a_damaged_results_file(tmp_path):
    (tmp_path / "results.json").write_text("{")
    for name in ("results.json", "none.json"):
        with pytest.raises(HeadrestError, match=name):
            results.read_results(tmp_path / name)


def test_tables_hold_the_measures(compared, tmp_path):
    one = {name: replace(c, names=np.full(4, "ge-head")) for name, c in compared.items()}
    kept = results.write_results(tmp_path / "r.json", compared, "quick", {"ge-head": one})
    table = results.synthetic_table(kept)
    dice = 2 * 80 / (120 + 120)
    assert f"| **pretrained** | 1.000 (1.000-1.000) | {dice:.3f} (" in table
    assert kept["headrest"] in table
    assert "profile quick: 4 slices of 2" in table.lower()
    dices = f"{2 * 180 / 440:.3f} | {2 * 90 / 220:.3f} | {20 / 35:.3f}"
    row = f"| {dices} | 220.0 | 40.00 | 20.00 | 0.00 |"
    assert f"| `ge-head` {row}" in results.scans_table(kept)
    assert f"| **pretrained** {row}" in results.scan_table(one)
    summaries = results.summarize(compared)
    text = results.methods_table(summaries, "touching")
    assert f"{dice:.3f}" in text
    nothing = next(line for line in text.splitlines() if "nothing" in line)
    assert "| none |" in nothing  # no detection, so no surface distance
    assert results.DENSE_NOTE not in text
    free = {name: one.take(one.groups == "free") for name, one in compared.items()}
    kept = results.write_results(tmp_path / "r.json", free, "quick")
    assert "| 1.000 (1.000-1.000) | none |" in results.synthetic_table(kept)


def test_methods_for_dense_support_bear_a_note(compared):
    summaries = results.summarize(compared | {"convex hull": compared["pretrained"]})
    table = results.methods_table(summaries)
    assert table.endswith(results.DENSE_NOTE)
    assert "| convex hull \\* |" in table
    assert "| nothing removed |" in table


def test_columns_per_kind_border_and_case(compared):
    one = compared["pretrained"]
    kinds = results.kind_columns(replace(one, kinds=np.array(["gap", "gap", "ear", "ear"])))
    assert kinds["contact"] == ["ear", "all"]  # slices of 30 pixels or more of dense support
    assert kinds["slices"] == [2, 2]
    assert kinds["failed %"] == [50, 50]
    assert kinds["Dice, dense, pooled"][0] == pytest.approx(2 * 50 / 130)
    cases = results.case_columns(one)
    assert cases["case"] == ["a", "b"]
    assert cases["support ml"] == [90, 130]
    assert cases["residual support ml"] == [10, 30]
    border = results.border_columns(results.summarize(compared), compared)
    assert border["support in the border band %"] == [0, 0]


def test_figures_can_be_drawn(compared, tmp_path):
    rng = np.random.default_rng(0)
    measured = [measured_series(rng) | {"residual_ml": rng.random(6)} for _ in range(60)]
    for one in measured:
        one["confidences"] = {"expected Dice": rng.random(6)}
    figures = [draw_trade_off(results.summarize(compared))]
    figures += [draw_risk_coverage(measured), draw_bound(measured), draw_bound(measured[:2])]
    for figure in figures:
        figure.savefig(tmp_path / "figure.png")
        plots.plt.close(figure)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.skipif(not KEPT.exists(), reason="notebook 05 has not been run in full")
def test_readme_has_the_tables_of_the_stored_results():
    """Notebook 05 prints these tables with its full profile."""
    kept = results.read_results(KEPT)
    printed = [results.synthetic_table(kept)]
    printed += [results.scans_table(kept)] if kept["scans"] else []
    for table in printed:
        assert table in README, f"README differs from {KEPT.name}; it should read\n\n{table}"
    scored = [rows for rows in re.findall(r"(?:^\|.*\n)+", README, re.M) if "| Dice" in rows]
    assert len(scored) == len(printed), "a table of scores that no notebook printed"


@pytest.mark.skipif(not KEPT.exists(), reason="notebook 05 has not been run in full")
def test_readme_begins_with_the_figures_of_real_scans():
    scans = [methods["pretrained"] for methods in results.read_results(KEPT)["scans"].values()]
    left = [100 * one["residual_ml"][0] / one["support_ml"][0] for one in scans]
    lost = max(one["lost_ml"][0] for one in scans)
    share = f"{min(left):.1f} to {max(left):.1f} % of the support above -800 HU is left"
    assert f"{share}, and at most {lost:.2f} ml of the patient removed" in README
