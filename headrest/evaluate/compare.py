"""Methods side by side on series with a known truth, and 95 % intervals of their measures.

Intervals are by bootstrap over patients. Slices of one patient are alike, so patients are resampled
with replacement, each with all its slices: B. Efron and R. Tibshirani, An Introduction to the
Bootstrap (1993), chapter 8.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from headrest.dicom import find_series, load_series, read_series
from headrest.dicom.series import Series, check_shape
from headrest.evaluate import metrics
from headrest.evaluate.methods import Method
from headrest.evaluate.score import MIN_SUPPORT_PIXELS, read_reference, reference_labels
from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, PATIENT, SUPPORT, VISIBLE_HU
from headrest.phantom import read_truth
from headrest.segment.morphology import ABSENT, FREE, TOUCHING
from headrest.segment.support import Support
from headrest.util import HeadrestError

SOLVED_DICE = 0.95
"""A slice is solved with this Dice or more and no patient voxel removed."""


@dataclass(frozen=True)
class Case:
    """A series with a known truth."""

    name: str
    series: Series
    labels: np.ndarray  # uint8 (slices, rows, columns), see `headrest.hounsfield`
    patient: np.ndarray  # bool array of that shape; unknown ones of a real scan included
    groups: np.ndarray  # str array (slices,), "free", "touching" or "absent"
    kind: str = ""  # how a synthetic head meets its support

    @property
    def support(self) -> np.ndarray:
        """Voxels of the support, of any HU: bool array."""
        return self.labels == SUPPORT


def read_patient(folder: str | Path) -> Case:
    """Read a synthetic patient that `headrest.phantom` wrote; HeadrestError where slices or truth
    are missing, damaged, or do not belong together."""
    folder = Path(folder)
    series, truth = read_series(folder), read_truth(folder)
    labels, parameters = truth["labels"], folder / "parameters.json"
    check_shape(labels, series, f"{folder}: its truth is ")
    if truth["contact"].shape != (len(series),):
        raise HeadrestError(f"{folder}: its truth is of other slices; synthesize it again")
    try:
        kind = json.loads(parameters.read_text(encoding="utf-8"))["contact_kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeadrestError(f"{parameters}: missing or damaged; synthesize it again") from error
    groups = np.where(truth["contact"], TOUCHING, FREE)
    groups[~(labels == SUPPORT).any((1, 2))] = ABSENT
    return Case(folder.name, series, labels, labels == PATIENT, groups, kind)


def read_scan(folder: str | Path, reference: str | Path) -> Case:
    """Read a real scan that has a reference.

    Parameters
    ----------
    folder : path, searched with all subfolders for the series with as many slices; HeadrestError
        where none fits the reference, or several do.
    reference : path of an .npz file of data/reference.

    Returns
    -------
    Case. Its slices are "free" or "absent": a reference does not say where the support touches.
    """
    arrays = read_reference(reference)
    n = (*arrays["label"].shape, 0)[0]  # 0 for a single number, which fits no series
    fitting = [found for found in find_series(folder).series if len(found.files) == n]
    if len(fitting) != 1:
        raise HeadrestError(f"{folder}: {len(fitting)} series of {n} slices, not one")
    series = load_series(fitting[0])
    labels, patient = reference_labels(series, arrays, f"{folder}: {reference} has ")
    groups = np.where((labels == SUPPORT).any((1, 2)), FREE, ABSENT)
    return Case(Path(reference).stem, series, labels, patient, groups)


@dataclass(frozen=True)
class MethodCounts(metrics.SliceCounts):
    """Pixel counts of one method, further arrays (n,). Those of `SliceCounts` are of the support at
    any HU; "dense" is above `DENSE_HU`, "faint" above `VISIBLE_HU`."""

    names: np.ndarray  # of the Case of the slice
    kinds: np.ndarray  # of that Case
    dense_true: np.ndarray  # as `true`, `found` and `shared`, above `DENSE_HU`
    dense_found: np.ndarray
    dense_shared: np.ndarray
    missed: np.ndarray  # support that is not removed
    faint_true: np.ndarray  # support above `VISIBLE_HU`
    faint_missed: np.ndarray
    lost: np.ndarray  # pixels of the patient that the method removes, unknown ones included
    voxel_ml: np.ndarray  # volume of a pixel
    distance_mm: np.ndarray  # `surface_distance_mm` of the support above `DENSE_HU`
    cpu_ms: np.ndarray  # CPU time per slice, a mean over the Case

    def take(self, chosen: np.ndarray | slice) -> "MethodCounts":
        """Select slices by a bool or int array, or a slice object."""
        return MethodCounts(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def dense_dice(self) -> np.ndarray:
        """Dice above `DENSE_HU` of every slice: float array (n,)."""
        return metrics.dice_from_counts(self.dense_true, self.dense_found, self.dense_shared)

    def solved(self, dense: bool = False) -> np.ndarray:
        """Slices with Dice >= `SOLVED_DICE` and no patient pixel removed: bool array (n,)."""
        dices = self.dense_dice() if dense else self.dice()
        return (dices >= SOLVED_DICE) & (self.lost == 0)

    def worst(self, count: int, dense: bool = False) -> np.ndarray:
        """Indices of slices with `MIN_SUPPORT_PIXELS` of support or more, lowest Dice first."""
        true, dices = (self.dense_true, self.dense_dice()) if dense else (self.true, self.dice())
        shows = np.flatnonzero(true >= MIN_SUPPORT_PIXELS)
        return shows[np.argsort(dices[shows], kind="stable")[:count]]


def compare(cases: Iterable[Case], chosen: Mapping[str, Method]) -> dict[str, MethodCounts]:
    """Run methods on cases and count their pixels.

    Parameters
    ----------
    cases : iterable of Case, one or more; only one of a generator's is in memory at a time.
    chosen : dict of str to callable, as `methods` returns them.

    Returns
    -------
    dict of str to MethodCounts, all of the same slices in the same order. Dice of all support
    compares masks without their partial-volume boundary; the rest counts what is removed.
    """
    counts: dict[str, list] = {name: [] for name in chosen}
    for case in cases:
        hu = case.series.hu  # rescaled before the clock starts
        for name, method in chosen.items():
            start = time.process_time()
            found = method(case.series)
            cpu_ms = 1000 * (time.process_time() - start) / len(hu)
            masks = (found.mask, found.removed) if isinstance(found, Support) else (found, found)
            counts[name].append(_count(case, *masks) | {"cpu_ms": np.full(len(hu), cpu_ms)})
    if not all(counts.values()):
        raise HeadrestError("no series to compare the methods on")
    return {
        name: MethodCounts(**{key: np.concatenate([one[key] for one in each]) for key in each[0]})
        for name, each in counts.items()
    }


def _count(case, mask, removed):
    """Fields of MethodCounts, but for the CPU time: dict of arrays (slices,)."""
    hu, spacing_mm, true = case.series.hu, case.series.spacing_mm, case.support
    known = case.labels != IGNORE_LABEL
    dense, faint = true & (hu > DENSE_HU), true & (hu > VISIBLE_HU)
    dense_found = removed & (hu > DENSE_HU) & known
    whole = metrics.count_slices(true, mask, known)
    overlaps = {"": whole, "dense_": metrics.count_slices(dense, dense_found, known)}
    counts = {
        prefix + name: n
        for prefix, overlap in overlaps.items()
        for name, n in zip(("true", "found", "shared"), overlap)
    }
    masks = {"missed": true & ~removed, "lost": case.patient & removed}
    masks |= {"faint_true": faint, "faint_missed": faint & ~removed}
    counts |= {name: np.count_nonzero(one, axis=(1, 2)) for name, one in masks.items()}
    pairs, mm = zip(dense, dense_found), spacing_mm[1:]
    counts["distance_mm"] = np.array([metrics.surface_distance_mm(*pair, mm) for pair in pairs])
    counts |= {"indices": np.arange(len(hu)), "groups": case.groups, "pixels": whole[3]}
    constants = {"names": case.name, "kinds": case.kind, "voxel_ml": np.prod(spacing_mm) / 1000}
    return counts | {name: np.full(len(hu), value) for name, value in constants.items()}


def patient_weights(names: np.ndarray, samples: int = 1000) -> np.ndarray:
    """How often each slice counts in each resample: float array (1 + samples, n), row 0 once each.

    `names` has the patient of each slice, (n,). The seed is the same for two methods, so that their
    differences are paired. 1000 are enough for a 95 % interval: Efron and Tibshirani, section 13.3.

    >>> patient_weights(np.array(["a", "a", "b"]), samples=1).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    patients, whose = np.unique(names, return_inverse=True)
    n = len(patients)
    resampled = np.random.default_rng(0).multinomial(n, [1 / n] * n, samples)
    return np.vstack([np.ones(len(names)), resampled[:, whose]])


def measures(counts: MethodCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of a method under m weightings (m, n) of its n slices, as by `patient_weights`: dict
    of float arrays (m,).

    Dice, IoU and accuracy are of all pixels together, `case_dice` is the mean of the Dice of each
    patient; `all_background` is the accuracy of an empty mask; ml are means per patient; `solved`
    is a share of slices; distance and CPU time are medians, the distance over slices with a dense
    support, NaN without any. "dense" is above -500 HU, "faint" above -800 HU.
    """
    names, first, whose = np.unique(counts.names, return_index=True, return_inverse=True)

    def ml(pixels):
        return weights @ (pixels * counts.voxel_ml) / len(names)

    def parts(prefix, weight=weights):
        return [weight @ getattr(counts, prefix + name) for name in ("true", "found", "shared")]

    def residual(prefix, true, missed):
        all_ml, missed_ml = ml(true), ml(missed)
        percent = 100 * np.divide(missed_ml, all_ml, out=0 * all_ml, where=all_ml > 0)
        values = {"support_ml": all_ml, "residual_ml": missed_ml, "residual_pct": percent}
        return {prefix + name: value for name, value in values.items()}

    cases = metrics.dice_from_counts(*parts("", np.eye(len(names))[whose].T))
    sums, shows = parts(""), counts.dense_true > 0
    return {
        **metrics.scores_from_counts(sums[0], sums[1], sums[2], weights @ counts.pixels),
        "case_dice": weights[:, first] @ cases / weights[:, first].sum(1),
        "dense_dice": metrics.dice_from_counts(*parts("dense_")),
        "distance_mm": _median(counts.distance_mm[shows], weights[:, shows]),
        **residual("", counts.true, counts.missed),
        **residual("faint_", counts.faint_true, counts.faint_missed),
        **residual("dense_", counts.dense_true, counts.dense_true - counts.dense_shared),
        "lost_ml": ml(counts.lost),
        "solved": weights @ counts.solved() / weights.sum(1),
        "dense_solved": weights @ counts.solved(dense=True) / weights.sum(1),
        "cpu_ms": _median(counts.cpu_ms, weights),
    }


def _median(values, weights):
    """Lower median for each row of weights; NaN where all of them are 0."""
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], 1)
    medians = values[order][(reached >= reached[:, -1:] / 2).argmax(1)]
    return np.where(reached[:, -1] > 0, medians, np.nan)


def summary(counts: MethodCounts, group: str | None = None) -> dict[str, list[float]]:
    """Compute the measures of a method with their intervals.

    Parameters
    ----------
    counts : MethodCounts, as `compare` returns them.
    group : "free", "touching" or "absent", optional, to take its slices alone.

    Returns
    -------
    dict of [value, low, high], for each of `measures`, and for "worst" and "dense_worst", the Dice
    of the worst slice, which has no interval. NaN where the group has no slices.
    """
    chosen = counts if group is None else counts.take(counts.groups == group)
    if not len(chosen.names):
        names = (*measures(counts, patient_weights(counts.names, 0)), "worst", "dense_worst")
        return {name: [np.nan] * 3 for name in names}
    found = measures(chosen, patient_weights(chosen.names))
    found["worst"] = chosen.dice()[chosen.worst(1)]
    found["dense_worst"] = chosen.dense_dice()[chosen.worst(1, dense=True)]
    return {name: _interval(values) for name, values in found.items()}


def _interval(values):
    """The first value, and percentiles of the others, without resamples that have no value."""
    resampled = values[1:][~np.isnan(values[1:])]
    if not len(resampled):
        return [float(values[0]) if len(values) else np.nan, np.nan, np.nan]
    # No interpolation: between a finite and an infinite distance it gives NaN.
    ends = np.percentile(resampled, (2.5, 97.5), method="inverted_cdf")
    return [float(value) for value in (values[0], *ends)]


def difference(one: MethodCounts, other: MethodCounts, measure: str = "dice") -> list[float]:
    """Difference of a measure between two methods, `one` minus `other`, paired by patient: [value,
    low, high].

    Parameters
    ----------
    one, other : MethodCounts of the same slices.
    measure : str, a key of `measures`.
    """
    weights = patient_weights(one.names)
    return _interval(measures(one, weights)[measure] - measures(other, weights)[measure])
