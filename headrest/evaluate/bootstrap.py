"""Measures of a comparison with 95 % intervals, by bootstrap over patients.

Slices of one patient are alike, so patients are resampled with replacement, each with all its
slices: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 8.
"""

import numpy as np

from headrest.evaluate.compare import MethodCounts
from headrest.evaluate.metrics import dice_from_counts, scores_from_counts

RESAMPLES = 1000
"""Enough for the percentiles of a 95 % interval: Efron and Tibshirani, section 13.3."""

INTERVAL_PERCENT = (2.5, 97.5)


def patient_weights(names: np.ndarray, samples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each slice counts in each resample: float array (1 + samples, n), row 0 once each.

    `names` has the patient of each slice, (n,). The seed is the same for two methods, so that their
    differences are paired.

    Examples
    --------
    >>> patient_weights(np.array(["a", "a", "b"]), samples=1).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    patients, whose = np.unique(names, return_inverse=True)
    n = len(patients)
    resampled = np.random.default_rng(seed).multinomial(n, [1 / n] * n, samples)
    return np.vstack([np.ones(len(names)), resampled[:, whose]])


def measures(counts: MethodCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of a method under m weightings (m, n) of its n slices, as by `patient_weights`.

    Returns
    -------
    dict of str to float array (m,). Dice, IoU and accuracy are of all pixels together, `case_dice`
    is the mean of the Dice of each patient; `all_background` is the accuracy of an empty mask; ml
    are means per patient; `solved` is a share of slices; distance and CPU time are medians, the
    distance over slices with a dense support. "dense" is above -500 HU, "faint" above -800 HU.
    """

    def parts(prefix: str, weight: np.ndarray = weights) -> list[np.ndarray]:
        return [weight @ getattr(counts, prefix + name) for name in ("true", "found", "shared")]

    def millilitres(pixels: np.ndarray) -> np.ndarray:
        return weights @ (pixels * counts.voxel_ml) / patients

    def residual(prefix: str, true: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
        all_ml, missed_ml = millilitres(true), millilitres(missed)
        percent = 100 * np.divide(missed_ml, all_ml, out=0 * all_ml, where=all_ml > 0)
        names = ("support_ml", "residual_ml", "residual_pct")
        return dict(zip((prefix + name for name in names), (all_ml, missed_ml, percent)))

    names, first, whose = np.unique(counts.names, return_index=True, return_inverse=True)
    patients, per_case = len(names), np.eye(len(names))[whose].T
    cases, shows = dice_from_counts(*parts("", per_case)), counts.dense_true > 0
    sums, border = parts(""), parts("border_")
    return {
        **scores_from_counts(sums[0], sums[1], sums[2], weights @ counts.pixels),
        "case_dice": weights[:, first] @ cases / weights[:, first].sum(1),
        "dense_dice": dice_from_counts(*parts("dense_")),
        "border_dice": dice_from_counts(*border),
        "inner_dice": dice_from_counts(*(a - b for a, b in zip(sums, border))),
        "distance_mm": _median(counts.distance_mm[shows], weights[:, shows]),
        **residual("", counts.true, counts.missed),
        **residual("faint_", counts.faint_true, counts.faint_missed),
        **residual("dense_", counts.dense_true, counts.dense_true - counts.dense_shared),
        "lost_ml": millilitres(counts.lost),
        "solved": weights @ counts.solved() / weights.sum(1),
        "dense_solved": weights @ counts.solved(dense=True) / weights.sum(1),
        "cpu_ms": _median(counts.cpu_ms, weights),
    }


def _median(values, weights):
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], 1)
    return values[order][(reached >= reached[:, -1:] / 2).argmax(1)]


def summary(counts: MethodCounts, group: str | None = None) -> dict[str, list[float]]:
    """Measures of a method with their intervals, over all slices or one group of them.

    Returns
    -------
    dict of str to [value, low, high], one for each of `measures`, and "worst" and "dense_worst",
    the Dice of the worst slice, which has no interval. NaN where the group has no slices.
    """
    chosen = counts if group is None else counts.take(counts.groups == group)
    empty = not len(chosen.names)
    shown = counts if empty else chosen  # an empty group takes the names of the measures from all
    found = measures(shown, patient_weights(shown.names))
    lowest = {
        "worst": chosen.dice()[chosen.worst(1)],
        "dense_worst": chosen.dense_dice()[chosen.worst(1, dense=True)],
    }
    intervals = {name: [np.nan] * 3 if empty else _interval(v) for name, v in found.items()}
    return intervals | {
        k: [float(v[0]) if len(v) else np.nan, np.nan, np.nan] for k, v in lowest.items()
    }


def _interval(values):
    # No interpolation: between a finite and an infinite distance it gives NaN.
    ends = np.percentile(values[1:], INTERVAL_PERCENT, method="inverted_cdf")
    return [float(value) for value in (values[0], *ends)]


def difference(
    one: MethodCounts, other: MethodCounts, measure: str = "dice", group: str | None = None
) -> list[float]:
    """Difference of a measure between two methods, paired by patient.

    Parameters
    ----------
    one, other : MethodCounts, of the same slices.
    measure : str, a key of `measures`.
    group : as for `summary`.

    Returns
    -------
    [value, low, high] of `one` minus `other`; NaN where the group has no slices.
    """
    chosen = slice(None) if group is None else one.groups == group
    one, other = one.take(chosen), other.take(chosen)
    if not len(one.names):
        return [np.nan] * 3
    weights = patient_weights(one.names)
    return _interval(measures(one, weights)[measure] - measures(other, weights)[measure])
