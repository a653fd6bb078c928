"""Risk-coverage curves, and the bound on the removed patient."""

import json

import numpy as np
import pytest
from factories import APPEARANCE, measured_series

from headrest.evaluate import risk
from headrest.segment import bound

SPACING = (5.0, 1.0, 1.0)


def test_risk_is_the_mean_loss_of_the_most_confident():
    rng = np.random.default_rng(0)
    confidence, loss = rng.random(50), rng.random(50)
    coverage, found = risk.risk_coverage(confidence, loss)
    order = np.argsort(-confidence)
    assert found == pytest.approx([loss[order[:n]].mean() for n in range(1, 51)])
    assert coverage[[0, -1]] == pytest.approx([1 / 50, 1])


def test_equal_confidence_shares_its_loss():
    """The control: by the order of the results a constant would look like a good confidence."""
    loss = np.sort(np.random.default_rng(1).random(20))
    assert risk.area_under_risk(np.zeros(20), loss) == pytest.approx(loss.mean())
    assert risk.area_under_risk(-loss, loss) < loss.mean()


@pytest.mark.parametrize("n", [20, 60])
def test_the_factor_covers_as_often_as_promised(n):
    """The control: the plain quantile of the calibration covers less."""
    rng = np.random.default_rng(2)
    ratios = rng.lognormal(0, 1, (20_000, n + 1))
    factors = [bound.conformal_factor(one[:-1], np.ones(n)) for one in ratios]
    plain = np.quantile(ratios[:, :-1], bound.LEVEL, axis=1, method="inverted_cdf")
    exact = np.ceil((n + 1) * bound.LEVEL) / (n + 1)  # of exchangeable cases without ties
    assert np.mean(ratios[:, -1] <= factors) == pytest.approx(exact, abs=0.005)
    assert np.mean(ratios[:, -1] <= plain) < bound.LEVEL - 0.01


def test_the_bound_holds_in_95_percent_of_series():
    rng = np.random.default_rng(4)
    held = []
    for _ in range(40):
        calibration = risk.calibrate([measured_series(rng) for _ in range(100)])
        tested = [measured_series(rng) for _ in range(100)]
        found = risk.bounds(tested, calibration)
        assert np.isfinite(found).mean() > 0.9
        held.append(risk.share_within(np.array([m["lost_ml"].sum() for m in tested]), found))
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_check_of_bounds_needs_no_further_series():
    rng = np.random.default_rng(6)
    found = risk.check_bounds([measured_series(rng) for _ in range(200)])
    assert found["holds"] == pytest.approx(0.95, abs=0.03)
    assert found["bounded"] > 0.9
    assert found["median_bound_ml"] > found["median_lost_ml"] > 0
    assert found["large_flagged"] > 0.9


def test_too_few_series_give_no_bound_and_a_series_beyond_the_calibration_has_none():
    rng = np.random.default_rng(5)
    calibration = risk.calibrate([measured_series(rng) for _ in range(40)])
    inside = bound.bound_ml((0.1, 0.2), APPEARANCE, calibration)
    factor = calibration["strata"]["close"]["factor"]
    assert inside == pytest.approx(factor * (0.3 + bound.OFFSET_ML_PER_MM * 10), abs=1e-3)
    beyond = {"lung_share": 0.4, "cut_share": 1.0} | {
        name: 1.5 * value for name, value in APPEARANCE.items() if value
    }
    for name, value in beyond.items():
        assert bound.bound_ml((0.1, 0.2), APPEARANCE | {name: value}, calibration) is None
    assert bound.bound_ml((0.1,), APPEARANCE | {"slice_mm": 20.0}, calibration) is None
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
    found = bound.measure_appearance(hu, patient, SPACING)
    assert found["width_mm"] == pytest.approx(160, abs=4)
    assert (found["tissue_hu"], found["air_hu"]) == (40, -1000)
    assert found["cut_share"] == found["lung_share"] == 0
    hu[:, 80:160, 80:160] = -800
    patient[0, :40, 100:120] = True
    found = bound.measure_appearance(hu, patient, SPACING)
    assert found["lung_share"] == pytest.approx(0.25, abs=0.02)
    assert found["cut_share"] == 0.25
    empty = bound.measure_appearance(hu, patient & False, SPACING)
    assert empty["width_mm"] == empty["tissue_hu"] == 0


@pytest.mark.slow
def test_calibration_series_are_spread_or_neighbours():
    apart, close = (risk.calibration_study(seed, slices=3) for seed in (10, 11))
    assert bound.stratum_of(apart.spacing_mm[0]) == "apart"
    assert bound.stratum_of(close.spacing_mm[0]) == "close"
    (measured,) = risk.measure_seeds([11])
    assert len(measured["lost_ml"]) == len(measured["expected_ml"]) == risk.SLICES
    areas = [risk.area_under_risk(c, measured["lost_ml"]) for c in measured["confidences"].values()]
    assert all(a >= 0 for a in areas)
