"""Measures of masks, scores and appearance of a cleaned series, the bound on removed patient."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import head_hu, make_series, refused
from factories import APPEARANCE, measured_series
from pydicom import dcmread
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score

from headrest import clean_series, find_support, read_series
from headrest.__main__ import main
from headrest.dicom import write_derived_series
from headrest.evaluate import metrics, risk
from headrest.evaluate.compare import read_scan
from headrest.evaluate.score import appearance, compare_appearance, score
from headrest.hounsfield import IGNORE_LABEL
from headrest.phantom import synthesize, write_dicom
from headrest.segment import bound

EMPTY, FULL = np.zeros((2, 8, 8), bool), np.ones((2, 8, 8), bool)


def test_measures_equal_scikit_learn_or_a_count_and_are_defined_for_empty_masks():
    a, b = np.random.default_rng(0).random((2, 4, 16, 16)) < 0.3
    assert metrics.dice(a, b) == pytest.approx(f1_score(a.ravel(), b.ravel()))
    assert metrics.iou(a, b) == pytest.approx(jaccard_score(a.ravel(), b.ravel()))
    assert metrics.dice(EMPTY, EMPTY) == metrics.iou(EMPTY, EMPTY) == 1
    assert metrics.dice(FULL, EMPTY) == metrics.iou(EMPTY, FULL) == 0
    refused("shapes", metrics.dice, FULL, FULL[0])
    full, empty, distance_mm = FULL[0], EMPTY[0], metrics.surface_distance_mm
    assert distance_mm(empty, empty, (1, 1)) == 0
    assert distance_mm(full, empty, (1, 1)) == distance_mm(empty, full, (1, 1)) == float("inf")
    refused("shapes", distance_mm, full, full[0], (1, 1))
    refused("expected 2 numbers", distance_mm, full, full, (5, 1, 1))
    for measure in (metrics.residual_ml, metrics.lost_ml):
        for spacing in ((1, 1), (5, -1, 1), (5, 1, np.nan), ([5, 0], 1, 1), "511", 1):
            refused("expected 3 numbers", measure, FULL, EMPTY, spacing)
    rows, spacing = np.arange(8)[:, None] + 0 * EMPTY, (5, 2, 2.5)  # 25 cubic millimetres a voxel
    support, removed, patient = rows < 4, (rows >= 3) & (rows < 6), rows >= 5
    assert metrics.residual_ml(support, removed, spacing) == 2 * 3 * 8 * 25 / 1000
    assert metrics.lost_ml(patient, removed, spacing) == 2 * 1 * 8 * 25 / 1000
    scores = metrics.scores_from_counts([8, 0], [0, 0], [0, 0], [128, 0])
    assert list(scores["accuracy"]) == list(scores["all_background"]) == [1 - 8 / 128, 1]


def test_surface_distance_equals_a_distance_transform():
    """Borders by scikit-image, distances by a distance transform."""
    from skimage.segmentation import find_boundaries

    rng = np.random.default_rng(2)
    masks = [ndimage.gaussian_filter(rng.normal(size=(60, 70)), 4) > 0.01 for _ in range(2)]
    spacing = (0.7, 1.3)
    borders = [find_boundaries(np.pad(m, 1), 1, mode="inner")[1:-1, 1:-1] for m in masks]
    to_one, to_other = (ndimage.distance_transform_edt(~border, spacing) for border in borders)
    ways = np.concatenate([to_one[borders[1]], to_other[borders[0]]])
    for percent in (50, 95, 100):
        found = metrics.surface_distance_mm(*masks, spacing, percent)
        assert found == pytest.approx(np.percentile(ways, percent))


ROOT = Path(__file__).parents[1]
MM2 = 3.5 * 3.5
ML = MM2 * 5 / 1000


def reference(folder, shape):
    """Write a reference of a patient in the upper 50 rows."""
    label = np.zeros(shape, np.uint8)
    label[:, :50] = 1
    np.savez(folder / "reference.npz", label=label, label_tight=label)


@pytest.fixture
def case(tmp_path):
    """A scan, its cleaned copy without one row of the sheet and 10 pixels of head, a reference."""
    make_series(tmp_path / "scan")
    cleaned = np.stack([head_hu()] * 3)
    cleaned[:, 54, 10:54] = cleaned[1, 26, 20:30] = -1000
    make_series(tmp_path / "cleaned", hu=lambda number: cleaned[number - 1])
    reference(tmp_path, (3, 64, 64))
    return tmp_path


def arguments(folder):
    return [str(folder / name) for name in ("scan", "cleaned", "reference.npz")]


def change(path, where, hu):
    """Write HU into pixels of a slice."""
    ds = dcmread(path)
    pixels = ds.pixel_array.copy()
    pixels[where] = 1024 + hu
    ds.PixelData = pixels.tobytes()
    ds.save_as(path)


def test_figures_and_changed_pixels_equal_a_count_by_hand(case, capsys):
    found, area = score(*arguments(case)), 44
    assert main(["score", *arguments(case)]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert found["dice"] == pytest.approx(2 * 3 * area / (3 * 2 * area + 3 * area + 10), abs=1e-4)
    assert found["worst_slice"] == pytest.approx(2 * area / (3 * area + 10), abs=1e-4)
    assert found["worst_slice_index"] == found["lost_worst_index"] == 1
    assert found["residual_ml"] == pytest.approx(3 * area * ML, abs=1e-3)
    assert found["lost_ml"] == pytest.approx(10 * ML, abs=1e-3)
    assert found["lost_worst_mm2"] == pytest.approx(10 * MM2, abs=0.1)
    assert (found["slices"], found["changed_outside_mask"]) == (3, 0)
    change(case / "cleaned" / "02.dcm", np.s_[10, 10:13], 240)
    assert score(*arguments(case))["changed_outside_mask"] == 3
    for path in (*case.rglob("02.dcm"), *case.rglob("03.dcm")):
        path.unlink()
    reference(case, (1, 64, 64))  # one slice has its own thickness
    assert score(*arguments(case))["residual_ml"] == pytest.approx(area * ML, abs=1e-3)


def test_foam_counts_in_the_faint_figures_only(case):
    before = score(*arguments(case))
    for path in [*(case / "scan").iterdir(), *(case / "cleaned").iterdir()]:
        change(path, np.s_[60, 10:20], -700)
    found, area, foam = score(*arguments(case)), 3 * 2 * 44, 3 * 10
    assert found["residual_ml"] == before["residual_ml"]
    assert found["residual_ml"] == pytest.approx(found["faint_left_ml"] - foam * ML, abs=0.01)
    assert found["faint_ml"] == pytest.approx(before["faint_ml"] + foam * ML, abs=0.01)
    assert found["faint_left_pct"] > before["faint_left_pct"] == 50
    assert found["dice"] == before["dice"] == before["dice_all"]
    whole = 2 * (area / 2) / (area + foam + area / 2 + 10)
    assert found["dice_all"] == pytest.approx(whole, abs=1e-4)
    assert found["faint_lost_ml"] == found["lost_ml"]


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        (dict(n=2), (3, 64, 64), "1 of 3 slices are missing"),
        (dict(), (2, 8, 8), r"reference.npz has .*\(2, 8, 8\)"),
        (dict(hu=np.full((32, 32), -1000)), (3, 64, 64), "slices of"),
        (dict(ImagePositionPatient=lambda n: [-112, -109.5, 5 * n]), (3, 64, 64), "2.5 mm"),
        (dict(), None, "damaged or missing"),
    ],
)
def test_refuses_what_cannot_be_compared(case, changes, shape, words):
    shutil.rmtree(case / "cleaned")
    make_series(case / "cleaned", **changes)
    reference(case, shape) if shape else (case / "reference.npz").write_bytes(b"PK")
    refused(words, score, *arguments(case))


def test_a_synthetic_patient_is_scored_by_its_truth(tmp_path):
    """Tilted; the tool that cleaned it wrote fewer digits of its orientation."""
    study = synthesize(0, slices=9, matrix=64)
    scan = write_dicom(study, tmp_path / "scan")
    series = read_series(scan)
    write_derived_series(series, study.support, tmp_path / "cleaned")
    for path in (tmp_path / "cleaned").glob("*.dcm"):
        ds = dcmread(path)
        ds.ImageOrientationPatient = [round(v, 5) for v in ds.ImageOrientationPatient]
        ds.save_as(path)
    found = score(scan, tmp_path / "cleaned", scan / "truth.npz")
    assert (found["lost_ml"], found["faint_left_pct"], found["changed_outside_mask"]) == (0, 0, 0)
    faint_ml = (study.support & (series.hu > -800)).sum() * np.prod(study.spacing_mm) / 1000
    assert found["faint_ml"] == pytest.approx(faint_ml, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["ge-head", "philips-phantom/S21570/S2010", "lidc-chest"])
def test_network_cleans_real_scans_and_score_equals_the_script(scans, tmp_path, place):
    """The script shares no code with the package."""
    script = scans.parent / "score.py"
    if not script.exists():
        pytest.skip("no scoring script beside the scans")
    reference = ROOT / "data" / "reference" / f"{place.partition('/')[0]}.npz"
    clean_series(read_series(scans / place), tmp_path)
    command = [sys.executable, script, scans / place, tmp_path, reference]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    found = score(scans / place, tmp_path, reference)
    assert {name: found[name] for name in theirs} == pytest.approx(theirs, abs=1e-3)
    assert found["dice"] >= (0.9 if place == "lidc-chest" else 0.98)
    assert found["changed_outside_mask"] == 0


def altered(hu, *masks):
    """Copies of a scan and of masks of it, each with the factors of its spacing."""
    turn = {"angle": 15, "axes": (1, 2), "reshape": False}
    turned = [ndimage.rotate(hu, **turn, order=1, cval=-1000)]
    coarse = [hu.reshape(len(hu), 256, 2, 256, 2).mean((2, 4))]
    smooth = [ndimage.gaussian_filter(hu, (0, 1, 1))]
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=hu.shape), (0, 0.7, 0.7))
    yield (1, 1, 1), [one[:, :, ::-1] for one in (hu, *masks)]
    yield (1, 1, 1), [one[:, ::-1, ::-1] for one in (hu, *masks)]  # prone
    yield (1, 1, 1), turned + [ndimage.rotate(mask, **turn, order=0) for mask in masks]
    yield (1, 1, 1), [one[: len(one) // 2] for one in (hu, *masks)]
    yield (3, 1, 1), [one[::3] for one in (hu, *masks)]
    yield (1, 2, 2), coarse + [mask[:, ::2, ::2] for mask in masks]
    yield (1, 1, 1), [*smooth, *masks]
    yield (1, 1, 1), [hu + 40 * noise / noise.std(), *masks]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ge-head", "philips-phantom"])
def test_altered_copies_of_real_scans_lose_their_support_and_no_patient(scans, name):
    case = read_scan(scans / name, ROOT / "data" / "reference" / f"{name}.npz")
    masks = case.support, case.patient, case.labels != IGNORE_LABEL
    for factors, volumes in altered(case.series.hu, *masks):
        hu, support, patient, known = map(np.ascontiguousarray, volumes)
        spacing, dense = np.multiply(case.series.spacing_mm, factors), hu > -500
        removed = find_support(hu, spacing_mm=spacing).removed
        assert metrics.dice(support & dense, removed & dense & known) >= 0.995
        assert metrics.lost_ml(patient & dense, removed, spacing) <= 0.1


def ball(noise=0.0, blur=1.0, pixel=0.6):
    """A head of one HU in air, with white noise and an edge of known width."""
    y, x = np.mgrid[:300, :300]
    sharp = np.where(np.hypot(y - 160, x - 150) * pixel < 66, 30.0, -1000.0)
    hu = ndimage.gaussian_filter(sharp, blur)
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    return appearance(hu[None].astype(np.float32), (5, pixel, pixel))


def test_measures_hu_noise_and_edge_of_air_and_brain_and_nan_of_missing_parts():
    for noise in (4, 12):  # the second reaches -1024 in air
        found = ball(noise=noise)
        assert found["air (HU)"] == pytest.approx(-1000, abs=0.2)
        assert found["brain (HU)"] == pytest.approx(30, abs=0.2)
        expected = noise * np.sqrt(1 - 1 / 25)  # a 5 x 5 mean removes 1/25 of the variance
        assert found["air noise (HU)"] == pytest.approx(expected, rel=0.03)
        assert found["brain noise (HU)"] == pytest.approx(expected, rel=0.03)
    for blur in (1.0, 1.5, 2.5):
        # A step blurred by a Gaussian rises at its steepest over sqrt(2 pi) of its sigma.
        expected = np.sqrt(2 * np.pi) * blur * 0.6
        assert ball(blur=blur)["edge of the skin (mm)"] == pytest.approx(expected, rel=0.15)
    assert np.isnan(ball()["support, median (HU)"])
    air = appearance(np.full((1, 64, 64), -1000.0), (5, 1, 1))
    missing = ("brain", "edge", "head", "support")
    assert all(np.isnan(value) for name, value in air.items() if name.startswith(missing))
    columns = compare_appearance([{"air": float(i)} for i in range(101)], {"one": {"air": 7.0}})
    assert list(columns.values()) == [["air"], [5], [50], [95], [7]]


def test_risk_is_the_mean_loss_of_the_most_confident_and_equal_confidence_shares_it():
    """The control: by the order of the results a constant would look like a good confidence."""
    rng = np.random.default_rng(0)
    confidence, loss = rng.random(50), rng.random(50)
    coverage, found = risk.risk_coverage(confidence, loss)
    order = np.argsort(-confidence)
    assert found == pytest.approx([loss[order[:n]].mean() for n in range(1, 51)])
    assert coverage[[0, -1]] == pytest.approx([1 / 50, 1])
    assert risk.area_under_risk(np.zeros(50), np.sort(loss)) == pytest.approx(loss.mean())
    assert risk.area_under_risk(-loss, loss) < loss.mean()


def test_the_factor_covers_as_often_as_promised():
    """The control: the plain quantile of the calibration covers less."""
    rng = np.random.default_rng(2)
    for n in (20, 60):
        ratios = rng.lognormal(0, 1, (20_000, n + 1))
        factors = [bound.conformal_factor(one[:-1], np.ones(n)) for one in ratios]
        plain = np.quantile(ratios[:, :-1], bound.LEVEL, axis=1, method="inverted_cdf")
        exact = np.ceil((n + 1) * bound.LEVEL) / (n + 1)  # of exchangeable cases without ties
        assert np.mean(ratios[:, -1] <= factors) == pytest.approx(exact, abs=0.005)
        assert np.mean(ratios[:, -1] <= plain) < bound.LEVEL - 0.01


def test_the_bound_holds_in_95_percent_of_series():
    rng = np.random.default_rng(4)
    found = risk.check_bounds([measured_series(rng) for _ in range(400)])
    assert found["holds"] == pytest.approx(0.95, abs=0.015)
    assert found["bounded"] > 0.9
    assert found["median_bound_ml"] > found["median_lost_ml"] > 0
    assert found["large_flagged"] > 0.9


def test_too_few_series_give_no_bound_and_a_series_beyond_the_calibration_has_none():
    rng = np.random.default_rng(5)
    calibration = risk.calibrate([measured_series(rng) for _ in range(40)])
    inside = bound.bound_ml((0.1, 0.2), APPEARANCE, calibration)
    factor = calibration["strata"]["close"]["factor"]
    assert inside == pytest.approx(factor * (0.3 + bound.OFFSET_ML_PER_MM * 10), abs=1e-3)
    larger = [(name, 1.5 * value) for name, value in APPEARANCE.items() if value]
    for name, value in (*larger, ("lung_share", 0.4), ("cut_share", 1.0), ("slice_mm", 20.0)):
        assert bound.bound_ml((0.1, 0.2), APPEARANCE | {name: value}, calibration) is None
    assert bound.bound_ml((0.1,), APPEARANCE, None) is None
    few = risk.calibrate([measured_series(rng) for _ in range(18)])
    assert few["strata"] == {}
    assert np.isnan(risk.bounds([measured_series(rng)], few)).all()


def test_a_calibration_belongs_to_its_weights(tmp_path):
    (tmp_path / bound.CALIBRATION).write_text(json.dumps({"weights": "abc", "strata": {}}))
    assert bound.read_calibration("abc", tmp_path) == {"weights": "abc", "strata": {}}
    assert bound.read_calibration("abx", tmp_path) is None
    (tmp_path / bound.CALIBRATION).write_text("[]")
    assert bound.read_calibration("abc", tmp_path) is None
    assert bound.read_calibration("abc", tmp_path / "none") is None


def test_expected_volume_sums_probabilities_and_appearance_measures_width_cuts_and_lungs():
    probabilities = np.array([0.5, 0.25], np.float16), np.zeros(0, np.float16)
    assert bound.expected_ml(probabilities, (10, 10, 10)) == (0.75, 0.0)
    hu = np.full((4, 256, 256), -1000.0)
    patient = np.zeros(hu.shape, bool)
    patient[:, 40:200, 40:200] = True
    hu[patient] = 40
    found = bound.measure_appearance(hu, patient, (5, 1, 1))
    assert found["width_mm"] == pytest.approx(160, abs=4)
    assert (found["tissue_hu"], found["air_hu"]) == (40, -1000)
    assert found["cut_share"] == found["lung_share"] == 0
    hu[:, 80:160, 80:160] = -800
    patient[0, :40, 100:120] = True
    found = bound.measure_appearance(hu, patient, (5, 1, 1))
    assert found["lung_share"] == pytest.approx(0.25, abs=0.02)
    assert found["cut_share"] == 0.25
    empty = bound.measure_appearance(hu, patient & False, (5, 1, 1))
    assert empty["width_mm"] == empty["tissue_hu"] == 0


@pytest.mark.slow
def test_calibration_series_are_spread_or_neighbours():
    spacings_mm = [risk.calibration_study(seed, slices=3).spacing_mm[0] for seed in (10, 11)]
    assert list(map(bound.stratum_of, spacings_mm)) == ["apart", "close"]
    (measured,) = risk.measure_seeds([11])
    assert len(measured["lost_ml"]) == len(measured["expected_ml"]) == risk.SLICES
    for confidence in measured["confidences"].values():
        assert risk.area_under_risk(confidence, measured["lost_ml"]) >= 0
