"""Methods, their measures and tables, checked against scikit-learn, SciPy and SimpleITK."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import readme_tables
from conftest import make_series, refused
from factories import measured_series, method_counts, sitk_hu, sitk_image
from pydicom import dcmread
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

pytest.importorskip("keras", reason="needs Keras and a backend")

from headrest import read_series, series_from_array
from headrest.evaluate import metrics
from headrest.evaluate import tables as results
from headrest.evaluate.compare import compare, difference, read_patient, read_scan, summary
from headrest.evaluate.methods import by_network, methods
from headrest.hounsfield import IGNORE_LABEL
from headrest.phantom import synthesize_patients
from headrest.segment.support import Support
from headrest.segment.unet import build_unet, output_size
from headrest.show.methods import draw_bound, draw_risk_coverage, draw_trade_off
from headrest.show.scans import draw_hardest


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return synthesize_patients(tmp_path_factory.mktemp("patients"), 3, 8301, slices=3, matrix=256)


@pytest.fixture(scope="module")
def chosen():
    names = ("fixed ellipse", "row and column runs", "largest component")
    return {name: methods()[name] for name in names} | {"visible": lambda series: series.hu > -800}


@pytest.fixture(scope="module")
def compared(folders, chosen):
    return compare(map(read_patient, folders), chosen)


@pytest.mark.slow
def test_measures_equal_an_independent_count(folders, chosen, compared):
    """Of files read by SimpleITK, with the scores of scikit-learn."""
    for name, method in chosen.items():
        cases, volumes, distances = [], [], []
        for folder in folders:
            hu, (*spacing, gap_mm) = sitk_hu(folder), sitk_image(folder).GetSpacing()
            step = gap_mm * np.cos(np.deg2rad(dcmread(folder / "0001.dcm").GantryDetectorTilt))
            labels, found = np.load(folder / "truth.npz")["labels"], method(read_series(folder))
            known, true, dense = labels < 255, labels == 1, hu > -500
            missed, pairs = true & ~found, zip(true & dense, found & dense & known)
            masks = missed, missed & (hu > -800), missed & dense, found & (labels == 2)
            volumes.append([mask.sum() * step * np.prod(spacing) / 1000 for mask in masks])
            distances += [metrics.surface_distance_mm(*p, spacing) for p in pairs if p[0].any()]
            cases.append((true[known], found[known], dense[known]))
        true, found, dense = map(np.concatenate, zip(*cases))
        expected = {
            "case_dice": np.mean([f1_score(*pair) for *pair, _ in cases]),
            "dice": f1_score(true, found),
            "dense_dice": f1_score(true[dense], found[dense]),
            "iou": jaccard_score(true, found),
            "accuracy": accuracy_score(true, found),
            "all_background": 1 - true.mean(),
            "distance_mm": np.percentile(distances, 50, method="inverted_cdf"),
        }
        keys = ("residual_ml", "faint_residual_ml", "dense_residual_ml", "lost_ml")
        expected |= dict(zip(keys, np.mean(volumes, 0)))
        measured = {measure: values[0] for measure, values in summary(compared[name]).items()}
        assert {key: measured[key] for key in expected} == pytest.approx(expected, rel=1e-6)


def test_unknown_voxels_and_the_boundary_count_as_removed_patient_only(folders):
    case = read_patient(folders[0])
    contact = np.load(folders[0] / "truth.npz")["contact"]
    assert list(case.groups == "touching") == list(contact & case.support.any((1, 2)))
    assert case.kind == json.loads((folders[0] / "parameters.json").read_text())["contact_kind"]
    unknown = replace(case, labels=np.full_like(case.labels, IGNORE_LABEL))
    one = compare([unknown], {"all": lambda series: series.hu > -2000})["all"]
    assert one.found.sum() == one.dense_found.sum() == one.pixels.sum() == 0
    assert one.lost.tolist() == case.patient.sum((1, 2)).tolist()
    empty, boundary = np.zeros((2, *case.support.shape), bool)
    boundary[:, :5] = True
    support = Support(case.support, boundary, empty, ("free",) * 3)
    one = compare([replace(case, patient=~empty)], {"exact": lambda _: support})["exact"]
    assert one.dice().tolist() == [1.0] * 3
    assert one.lost.tolist() == (case.support | boundary).sum((1, 2)).tolist()


def test_intervals_are_those_of_scipy_and_differences_paired_by_patient():
    rng = np.random.default_rng(0)
    names, missed = np.repeat(np.arange(40).astype(str), 4), rng.integers(0, 200, 160)
    missed[:80] *= 3  # patients differ, so the resampling matters
    sums = missed.reshape(40, 4).sum(1)
    value, *interval = summary(method_counts(names, true=missed, missed=missed))["residual_ml"]
    theirs = stats.bootstrap((sums,), np.mean, method="percentile", rng=rng).confidence_interval
    assert value == pytest.approx(sums.mean())
    assert interval == pytest.approx(list(theirs), abs=0.1 * (theirs.high - theirs.low))
    true, names = np.arange(30, 60), np.arange(30).astype(str)
    worse, better = (method_counts(names, true=true, found=true, shared=true - n) for n in (20, 15))
    value, low, high = difference(better, worse)
    assert 0 < low < value < high
    assert difference(better, better) == [0, 0, 0]
    alone = [summary(one)["dice"] for one in (better, worse)]
    assert high - low < min(one[2] - one[1] for one in alone)


def test_solved_and_worst_slices_no_support_scores_1_and_no_slice_nan():
    """The control: a resample without dense support has no distance, not the smallest of all."""
    found = summary(method_counts("ab"))
    assert found["dice"] == found["iou"] == [1, 1, 1]
    assert found["residual_pct"] == [0, 0, 0]
    assert np.isnan(found["distance_mm"][0])
    assert all(np.isnan(values[0]) for values in summary(method_counts("ab"), "touching").values())
    refused("no series to compare", compare, [], methods())
    found = method_counts("abbb", dense_true=[0, 5, 5, 5], distance_mm=[0, 1, 5, 9])
    assert summary(found)["distance_mm"] == [5, 5, 5]
    counts = [20, 20, 15, 0]
    one = method_counts("abcd", true=[20] * 3 + [0], found=counts, shared=counts, lost=[0, 1, 0, 0])
    assert (list(one.solved()), summary(one)["solved"][0]) == ([True, False, False, True], 0.5)
    one = method_counts("abcd", true=[40, 29, 40, 40], found=[40] * 4, shared=[30, 0, 10, 20])
    assert (list(one.worst(2)), summary(one)["worst"][0]) == ([2, 3], pytest.approx(0.25))


def test_a_network_finds_slices_where_they_are_without_border_band(folders, monkeypatch):
    model = build_unet("valid3", widths=(2, 2, 2))
    logits = model.get_layer("logits")
    kernel, bias = logits.get_weights()
    bias[1] = 9.0  # support everywhere
    logits.set_weights([0 * kernel, bias])
    found = by_network(model)(read_patient(folders[0]).series)
    lead = (256 - output_size(model, 256)) // 2
    inner = np.s_[:, lead:-lead, lead:-lead]
    assert found[inner].all()
    assert found.sum() == found[inner].size
    hu = np.full((1, 62, 63), -1000)
    hu[0, 20:30, 20:30] = 40
    monkeypatch.setattr("headrest.evaluate.methods.slice_probability", lambda _, hu: hu > 0)
    found = by_network(build_unet("small"))(series_from_array(hu, (5, 3.5, 3.5)))
    assert np.array_equal(found, hu > 0)


def test_read_scan_takes_the_series_that_fits_the_reference(tmp_path):
    make_series(tmp_path / "scan" / "one", 3)
    make_series(tmp_path / "scan" / "other", 4, SeriesInstanceUID="1.2.3")
    label = np.ones((3, 64, 64), np.uint8)
    label[:, 50:], label[:, 40:50] = 0, 2
    path = tmp_path / "reference.npz"
    np.savez(path, label=label, label_tight=label)
    case = read_scan(tmp_path / "scan", path)
    assert (case.name, list(case.groups)) == ("reference", ["free"] * 3)
    assert case.support.sum() == 3 * 2 * 44
    unknown = (label == 2) | ((label == 0) & (case.series.hu <= -800))  # air, or dark foam
    assert (case.labels[unknown] == IGNORE_LABEL).all()
    for wrong, tight in ((label[:2],) * 2, (label[:, :60],) * 2, (label, label[:, :60])):
        np.savez(path, label=wrong, label_tight=tight)
        refused(r"scan: ", read_scan, tmp_path / "scan", path)
    np.savez(path, label=label, label_tight=label, hu_sha256="0" * 64)
    refused("reference of another scan", read_scan, tmp_path / "scan", path)
    np.savez(path, label=3 * label, label_tight=label)
    refused("label 6: expected 0, 1 or 2", read_scan, tmp_path / "scan", path)


def test_refuses_a_missing_or_damaged_truth(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path, dirs_exist_ok=True)
    truth, whole = tmp_path / "truth.npz", (folders[0] / "truth.npz").read_bytes()
    for damaged in (b"", whole[:1000]):
        truth.write_bytes(damaged)
        refused(r"truth\.npz", read_patient, tmp_path)
    np.savez(truth, device=np.zeros(3))  # of an older version
    refused(r"has no 'contact'; write the file again", read_patient, tmp_path)
    truth.write_bytes(whole)
    for damaged in ("{", "{}", "[]"):
        (tmp_path / "parameters.json").write_text(damaged)
        refused(r"parameters\.json: missing or damaged", read_patient, tmp_path)
    (tmp_path / "0003.dcm").unlink()
    refused(r"its truth is .*\(3, 256, 256\) for slices of \(2, ", read_patient, tmp_path)


@pytest.fixture
def counted():
    pixels, half = np.array([40, 50, 60, 70]), np.array([20, 25, 30, 35])
    every = {"true": pixels, "dense_true": half, "groups": ["free", "touching"] * 2}
    nothing = method_counts("aabb", missed=pixels, distance_mm=[np.inf] * 4, **every)
    found = {"found": pixels, "dense_found": half, "missed": [0, 10, 0, 30]}
    shared = {"shared": [40, 40, 60, 40], "dense_shared": [20, 20, 30, 20]}
    some = method_counts("aabb", **every, **found, **shared)
    return {"pretrained": some, "nothing removed": nothing}


def test_written_results_are_json_and_a_file_in_the_way_is_named(counted, tmp_path):
    path = tmp_path / "new" / "results.json"
    kept = results.write_results(path, counted, "quick", {"ge-head": counted})
    assert kept == json.loads(path.read_text(), parse_constant=pytest.fail)  # infinity is no JSON
    assert kept["synthetic"]["pretrained"]["free"]["dice"] == [1, 1, 1]
    assert kept["synthetic"]["nothing removed"]["all"]["distance_mm"] == [None] * 3
    assert kept["scans"]["ge-head"]["pretrained"]["support_ml"][0] == 110
    (tmp_path / "results.json").write_text("{}")
    below = tmp_path / "results.json" / "results.json"
    refused("results.json: cannot be written", results.write_results, below, counted, "quick")


def test_tables_and_columns_hold_the_measures_and_a_note_of_dense_support(counted):
    one = {name: replace(c, names=np.full(4, "ge-head")) for name, c in counted.items()}
    figures = f"{2 * 180 / 440:.3f} | {2 * 90 / 220:.3f} | {20 / 35:.3f} | 220.0 | 40.00 | 20.00"
    assert f"| **pretrained** | {figures} | 0.00 |" in results.scan_table(one)
    counted["convex hull"] = counted["pretrained"]
    summaries = results.summarize(counted)
    table = results.methods_table(summaries, "touching")
    dice = f"{2 * 80 / (120 + 120):.3f}"
    for words in (dice, "| convex hull \\* |", "| nothing removed |", results.DENSE_NOTE):
        assert words in table
    more = results.methods_table(summaries, "touching", results.MORE_COLUMNS)
    assert re.search(r"nothing.*\| none \|", more)  # no detection, so no surface distance
    kinds = replace(counted["pretrained"], kinds=np.array(["gap", "gap", "ear", "ear"]))
    columns = results.kind_columns(kinds)  # slices of 30 pixels or more of dense support
    assert (columns["contact"], columns["slices"]) == (["ear", "all"], [2, 2])
    assert columns["Dice, dense, pooled"] == pytest.approx([2 * 50 / 130] * 2)
    columns = results.case_columns(kinds)
    assert (columns["support ml"], columns["residual support ml"]) == ([90, 130], [10, 30])


def test_figures_can_be_drawn(counted, folders, chosen, compared):
    rng = np.random.default_rng(0)
    more = {"residual_ml": rng.random(6), "confidences": {"expected Dice": rng.random(6)}}
    measured = [measured_series(rng) | more for _ in range(60)]
    figures = [draw_trade_off(results.summarize(counted)), draw_risk_coverage(measured)]
    for figure in (*figures, draw_bound(measured), draw_bound(measured[:2])):
        figure.canvas.draw()
    # Rows of `count` tiles would shift the second row where fewer slices have a support.
    (name, counts), *_ = compared.items()
    figure = draw_hardest({name: counts}, chosen, folders[0].parent, count=99)
    grid, side = figure.axes[0].images[0].get_array(), -(-256 // 3) + 4
    assert grid.shape == (2 * side, len(counts.worst(99)) * side, 3)


def test_readme_has_the_tables_and_begins_with_the_figures_of_the_stored_results():
    """The full profile of notebook 05 stores them."""
    kept, readme = readme_tables.read_results(), readme_tables.README.read_text("utf-8")
    assert readme_tables.page() == readme, "run tests/readme_tables.py"
    scored = [rows for rows in re.findall(r"(?:^\|.*\n)+", readme, re.M) if "| Dice" in rows]
    assert len(scored) == 2, "a table of scores that no notebook printed"
    scans = [methods["pretrained"] for methods in kept["scans"].values()]
    left = [100 * one["residual_ml"][0] / one["support_ml"][0] for one in scans]
    lost = max(one["lost_ml"][0] for one in scans)
    share = f"{min(left):.1f} to {max(left):.1f} % of the support above -800 HU is left"
    assert f"{share}, and at most {lost:.2f} ml of the patient removed" in readme
