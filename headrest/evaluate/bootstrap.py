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
    """How often each slice counts in each resample.

    Parameters
    ----------
    names : str array (n,), the patient of each slice.
    samples : int
    seed : int; the same for two methods, so that their differences are paired.

    Returns
    -------
    float array (1 + samples, n). In row 0 every slice counts once.

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
    """Measures of a method under several weightings of its slices.

    Parameters
    ----------
    counts : MethodCounts, of n slices.
    weights : float array (m, n), as `patient_weights` returns them.

    Returns
    -------
    dict of str to float array (m,). Dice, IoU and accuracy are of all pixels together;
    `all_background` is the accuracy of an empty mask; ml are means per patient; `solved` is a share
    of slices; distance and CPU time are medians, the distance over slices with a support.
    """
    names = ("true", "found", "shared", "pixels", "border_true", "border_found", "border_shared")
    true, found, shared, pixels, *border = (weights @ getattr(counts, name) for name in names)
    missed = counts.true - counts.shared
    residual, support, lost = (
        weights @ (n * counts.voxel_ml) for n in (missed, counts.true, counts.lost)
    )
    patients, shows = len(np.unique(counts.names)), counts.true > 0
    inner = (true - border[0], found - border[1], shared - border[2])
    return scores_from_counts(true, found, shared, pixels) | {
        "border_dice": dice_from_counts(*border),
        "inner_dice": dice_from_counts(*inner),
        "distance_mm": _median(counts.distance_mm[shows], weights[:, shows]),
        "support_ml": support / patients,
        "residual_ml": residual / patients,
        "residual_pct": 100 * np.divide(residual, support, out=0 * support, where=support > 0),
        "lost_ml": lost / patients,
        "solved": weights @ counts.solved() / weights.sum(1),
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
    dict of str to [value, low, high], one for each of `measures`, and "worst", the Dice of the
    worst slice, which has no interval. NaN where the group has no slices.
    """
    chosen = counts if group is None else counts.take(counts.groups == group)
    empty = not len(chosen.names)
    shown = counts if empty else chosen  # an empty group takes the names of the measures from all
    found = measures(shown, patient_weights(shown.names))
    worst = chosen.worst(1)
    lowest = float(chosen.dice()[worst[0]]) if len(worst) else np.nan
    intervals = {name: [np.nan] * 3 if empty else _interval(v) for name, v in found.items()}
    return intervals | {"worst": [lowest, np.nan, np.nan]}


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
