"""Which results to look at first, and how much patient they may have lost: risk and coverage.

A selective method keeps the results that it is confident about. Its risk-coverage curve gives the
mean loss of the kept ones against their share: R. El-Yaniv and Y. Wiener, J Mach Learn Res 11
(2010) 1605; Y. Geifman and R. El-Yaniv, NeurIPS (2017). The loss is removed patient or residual
support, in ml. `calibrate` makes the bound of `headrest.segment.bound`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrest.dicom.series import Series, series_from_array
from headrest.hounsfield import FLOOR, PATIENT, SUPPORT
from headrest.phantom import Study, render, sample_parameters
from headrest.segment import bound
from headrest.segment.morphology import dilate
from headrest.segment.pretrained import WEIGHTS, weights_hash
from headrest.segment.support import Support, find_support
from headrest.util import progress
from headrest.util.files import atomic_file
from headrest.util.workers import run_ordered

CALIBRATION_SEED = 7_001_000
"""First seed of the calibration: no training, choice of constants or evaluation takes these."""

SLICES = 6
"""Slices of a calibration series: spread over the scan, or neighbours."""

LARGE_ML = 0.5
"""Removed patient that a person should look at."""

NEAR_MM = 5.0
"""Entropy counts within this distance of the patient."""


def risk_coverage(confidence: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean loss of the most confident results by their share.

    Parameters
    ----------
    confidence, loss : float array (n,); higher confidence is surer.

    Returns
    -------
    coverage, risk : float arrays (n,); results of equal confidence share their mean loss.

    Examples
    --------
    >>> risk_coverage(np.array([0.9, 0.5]), np.array([0.0, 1.0]))[1].tolist()
    [0.0, 0.5]
    """
    values, ties = np.unique(-np.asarray(confidence), return_inverse=True)
    means = np.bincount(ties, loss, len(values)) / np.bincount(ties)
    kept, counts = means[np.sort(ties)], np.arange(1, len(ties) + 1)
    return counts / len(ties), np.cumsum(kept) / counts


def area_under_risk(confidence: np.ndarray, loss: np.ndarray) -> float:
    """Area under the risk-coverage curve: the mean over all coverages; lower is better."""
    return float(risk_coverage(confidence, loss)[1].mean())


def confidences(support: Support, spacing_mm: Sequence[float]) -> dict[str, np.ndarray]:
    """Candidates for a confidence of each slice, higher is surer: float arrays (slices,)."""
    assert support.probability is not None
    entropy, contact = [], []
    for p, mask, patient in zip(support.probability, support.mask, support.patient):
        near = dilate(patient, NEAR_MM, spacing_mm[1:])
        p = np.clip(p[near].astype(np.float64), 1e-6, 1 - 1e-6)
        entropy.append(-np.sum(p * np.log(p) + (1 - p) * np.log(1 - p)))
        contact.append(np.count_nonzero(mask & dilate(patient)))
    return {
        "expected Dice": np.array(support.confidence),
        "expected removed patient": -np.array(support.expected_lost_ml),
        "expected residual support": -np.array(support.expected_residual_ml),
        "entropy near the patient": -np.array(entropy),
        "support beside the patient": -np.array(contact),
    }


def measure_series(series: Series, labels: np.ndarray) -> dict[str, Any]:
    """Find the support of a series, and measure what that removes and leaves.

    Parameters
    ----------
    series : Series
    labels : uint8 array (slices, rows, columns), the truth, see `headrest.hounsfield`.

    Returns
    -------
    dict of lost_ml and residual_ml, float arrays (slices,); `confidences`; expected_ml, tuple of
    float; appearance, as `measure_appearance` returns it; bound_ml, as in `Support`.
    """
    support, spacing_mm = find_support(series), series.spacing_mm
    removed, ml = support.removed, np.prod(spacing_mm) / 1000
    lost, residual = (labels == PATIENT) & removed, (labels == SUPPORT) & ~removed
    return {
        "lost_ml": lost.sum((1, 2)) * ml,
        "residual_ml": residual.sum((1, 2)) * ml,
        "confidences": confidences(support, spacing_mm),
        "expected_ml": support.expected_lost_ml,
        "appearance": bound.measure_appearance(series.hu, support.patient, spacing_mm),
        "bound_ml": support.bound_ml,
    }


def calibration_study(seed: int, slices: int = SLICES) -> Study:
    """Synthesize a study of few slices: spread over the scan (even seeds), or neighbours (odd)."""
    if seed % 2 == 0:
        return render(sample_parameters(seed, slices=slices))
    parameters = sample_parameters(seed)
    heights = parameters["protocol"]["z_mm"]
    start = int(np.random.default_rng(seed).integers(max(len(heights) - slices, 0) + 1))
    parameters["protocol"]["z_mm"] = heights[start : start + slices]
    return render(parameters)


def measure_seeds(seeds: Sequence[int], jobs: int = 1) -> list[dict[str, Any]]:
    """Measure the study of each seed by `measure_series`, rendered in `jobs` processes."""
    studies = run_ordered(calibration_study, seeds, jobs)
    return [
        measure_series(series_from_array(np.maximum(s.hu, FLOOR), s.spacing_mm), s.labels)
        for s in progress(studies, "measuring", len(seeds), unit="series")
    ]


def calibrate(measured: Sequence[Mapping], level: float = bound.LEVEL) -> dict[str, Any]:
    """Calibrate the bound on series of `measure_series`, separately for series of close slices and
    for others. The factor is that of series within the ranges of all others: those beyond have no
    bound. A part with too few series for the `level` is left out."""
    strata = {}
    for name in ("close", "apart"):
        chosen = [m for m in measured if bound.stratum_of(m["appearance"]["slice_mm"]) == name]
        seen = [m["appearance"] for m in chosen]
        others = [seen[:i] + seen[i + 1 :] for i in range(len(seen))]
        within = [bound.is_within(one, _ranges(rest)) for one, rest in zip(seen, others)]
        chosen = [m for m, is_within in zip(chosen, within) if is_within]
        losses = [m["lost_ml"].sum() for m in chosen]
        expected = [bound.with_offset(m["expected_ml"], m["appearance"]) for m in chosen]
        factor = bound.conformal_factor(losses, expected, level)
        if np.isfinite(factor):
            found = {"series": len(chosen), "factor": round(factor, 4), "ranges": _ranges(seen)}
            strata[name] = found
    return {"weights": weights_hash(), "level": level, "strata": strata}


def _ranges(appearances):
    names = appearances[0] if appearances else ()
    columns = {name: [one[name] for one in appearances] for name in names}
    return {n: [min(v), max(v)] for n, v in columns.items()}


def bounds(measured: Sequence[Mapping], calibration: Mapping) -> np.ndarray:
    """Bound of each of some measured series: float array (n,), NaN where there is none."""
    found = [bound.bound_ml(m["expected_ml"], m["appearance"], calibration) for m in measured]
    return np.array([np.nan if one is None else one for one in found])


def share_within(losses: np.ndarray, found: np.ndarray) -> float:
    """Share of series that lose no more than their bound, of those that have one; NaN for none."""
    known = np.isfinite(found)
    return float(np.mean(losses[known] <= found[known])) if known.any() else float("nan")


def check_bounds(measured: Sequence[Mapping]) -> dict[str, float]:
    """Calibrate on a random half of measured series and test on the other; means over 50 splits.

    Returns the share of series in which the bound holds, the share that has one, the median bound
    and removed patient in ml, and the share of series that lose more than `LARGE_ML` whose bound
    says so, or that have none.
    """
    rng, rows = np.random.default_rng(0), []
    for _ in range(50):
        order = [measured[k] for k in rng.permutation(len(measured))]
        tested, calibration = order[::2], calibrate(order[1::2])
        lost, found = np.array([m["lost_ml"].sum() for m in tested]), bounds(tested, calibration)
        known, large = np.isfinite(found), lost > LARGE_ML
        flagged = np.mean(~(found[large] <= LARGE_ML)) if large.any() else np.nan
        median = np.median(found[known]) if known.any() else np.nan
        rows.append((share_within(lost, found), known.mean(), median, np.median(lost), flagged))
    names = ("holds", "bounded", "median_bound_ml", "median_lost_ml", "large_flagged")
    return {name: round(float(v), 4) for name, v in zip(names, np.nanmean(np.array(rows), axis=0))}


def write_calibration(jobs: int = 1) -> dict[str, Any]:
    """Calibrate the pretrained network on 500 synthetic patients, half of them with close slices,
    which `jobs` processes render, and store it beside the weights."""
    measured = measure_seeds(range(CALIBRATION_SEED, CALIBRATION_SEED + 500), jobs)
    calibration = {**calibrate(measured), "first_seed": CALIBRATION_SEED}
    calibration["checked"] = check_bounds(measured)
    with atomic_file(WEIGHTS / bound.CALIBRATION) as temporary:
        temporary.write_text(json.dumps(calibration, indent=1) + "\n", encoding="utf-8")
    return calibration


if __name__ == "__main__":
    print(json.dumps(write_calibration(jobs=2), indent=1))
