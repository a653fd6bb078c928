"""What a comparison comes to: measures with 95 % intervals, by drawing patients anew.

Slices of one patient are alike, so it is patients that are drawn with replacement, each with all
their slices: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 8.
"""

import numpy as np

SAMPLES = 1000

BEYOND = (2.5, 97.5)
"""Per cent: the ends of an interval."""


def patient_weights(names, samples=SAMPLES, seed=0):
    """How often each slice counts in each drawing.

    Parameters
    ----------
    names : str array (n,), the patient of each slice.
    samples : int
    seed : int; the same for two methods, so that their differences can be told.

    Returns
    -------
    float array (1 + samples, n). In the first row every slice counts once; in every other one,
    as many patients as there are have been drawn with replacement.

    Examples
    --------
    >>> patient_weights(np.array(["a", "a", "b"]), samples=1).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    patients, whose = np.unique(names, return_inverse=True)
    n = len(patients)
    drawn = np.random.default_rng(seed).multinomial(n, [1 / n] * n, samples)
    return np.vstack([np.ones(len(names)), drawn[:, whose]])


def _ratio(above, below, empty=1.0):
    return np.divide(above, below, out=np.full(len(below), empty), where=below > 0)


def _dice(c, w):
    return _ratio(2 * w @ c.shared, w @ (c.true + c.found))


def _rim_dice(c, w):
    return _ratio(2 * w @ c.rim_shared, w @ (c.rim_true + c.rim_found))


def _inner_dice(c, w):
    shared, both = c.shared - c.rim_shared, c.true + c.found - c.rim_true - c.rim_found
    return _ratio(2 * w @ shared, w @ both)


def _iou(c, w):
    return _ratio(w @ c.shared, w @ (c.true + c.found - c.shared))


def _accuracy(c, w):
    return 1 - w @ (c.true + c.found - 2 * c.shared) / (w @ c.pixels)


def _all_background(c, w):
    return 1 - w @ c.true / (w @ c.pixels)


def _left_ml(c, w):
    return w @ ((c.true - c.shared) * c.voxel_ml) / len(np.unique(c.names))


def _left_pct(c, w):
    return 100 * _ratio(w @ ((c.true - c.shared) * c.voxel_ml), w @ (c.true * c.voxel_ml), 0.0)


def _lost_ml(c, w):
    return w @ (c.lost * c.voxel_ml) / len(np.unique(c.names))


def _solved(c, w):
    return w @ c.solved() / w.sum(1)


def _distance_mm(c, w):
    """Median over the slices with a support, where missing it altogether counts as infinite."""
    shows = c.true > 0
    order = np.argsort(c.distance_mm[shows], kind="stable")
    return _median(c.distance_mm[shows][order], w[:, shows][:, order])


def _cpu_ms(c, w):
    order = np.argsort(c.cpu_ms, kind="stable")
    return _median(c.cpu_ms[order], w[:, order])


def _median(ascending, weights):
    if not len(ascending):
        return np.full(len(weights), np.nan)
    reached = np.cumsum(weights, 1)
    return ascending[(reached >= reached[:, -1:] / 2).argmax(1)]


MEASURES = {
    "dice": _dice,
    "rim_dice": _rim_dice,
    "inner_dice": _inner_dice,
    "iou": _iou,
    "accuracy": _accuracy,
    "all_background": _all_background,
    "distance_mm": _distance_mm,
    "left_ml": _left_ml,
    "left_pct": _left_pct,
    "lost_ml": _lost_ml,
    "solved": _solved,
    "cpu_ms": _cpu_ms,
}
"""Dice, IoU and accuracy are of all pixels together, ml are means a patient, `solved` is a share
of slices, distance and CPU time are medians over slices. The rim is that of
`headrest.evaluate.compare`."""


def summary(compared, group=None):
    """Measure what a method made of its slices.

    Parameters
    ----------
    compared : headrest.evaluate.compare.Compared
    group : "free", "touching" or "absent", or None for all slices.

    Returns
    -------
    dict of str to [value, low, high], for every one of `MEASURES`, and "worst", the Dice of the
    worst slice, which has no interval.
    """
    c = compared if group is None else compared.take(compared.groups == group)
    if not len(c.names):
        return {name: [np.nan] * 3 for name in (*MEASURES, "worst")}
    weights = patient_weights(c.names)
    found = {name: _interval(measure(c, weights)) for name, measure in MEASURES.items()}
    hardest = c.hardest(1)
    worst = float(c.dice()[hardest[0]]) if len(hardest) else np.nan
    return found | {"worst": [worst, np.nan, np.nan]}


def _interval(values):
    # No interpolation: it would make numbers of infinite distances.
    ends = np.percentile(values[1:], BEYOND, method="inverted_cdf")
    return [float(value) for value in (values[0], *ends)]


def difference(one, other, measure="dice", group=None):
    """By how much a method is above another one, on the same patients.

    Parameters
    ----------
    one, other : headrest.evaluate.compare.Compared, of the same slices.
    measure : str, of `MEASURES`.
    group : as for `summary`.

    Returns
    -------
    [value, low, high]; where the interval holds no 0, the difference is no chance of who the
    patients were. NaN where the group has no slices.
    """
    chosen = slice(None) if group is None else one.groups == group
    one, other = one.take(chosen), other.take(chosen)
    if not len(one.names):
        return [np.nan] * 3
    weights = patient_weights(one.names)
    return _interval(MEASURES[measure](one, weights) - MEASURES[measure](other, weights))
