"""Methods side by side, on series with a known truth: synthetic patients, and scans with labels."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from headrest.dicom import find_series, load_series, read_series
from headrest.dicom.series import Series
from headrest.evaluate.baselines import BASELINES, outside_body_mask
from headrest.evaluate.metrics import (
    SliceCounts,
    count_slices,
    dice_from_counts,
    slice_probability,
    surface_distance_mm,
)
from headrest.evaluate.score import FAINT_HU, MIN_SUPPORT_PIXELS, reference_labels
from headrest.hounsfield import DENSE_HU, FLOOR, IGNORE_LABEL, PATIENT, SUPPORT, fit_to_matrix
from headrest.phantom import read_truth
from headrest.segment.morphology import ABSENT, FREE, TOUCHING
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained
from headrest.segment.refine import STEPS, SUPPORT_PROBABILITY, refine
from headrest.segment.support import Support, find_support
from headrest.util import HeadrestError
from headrest.util.files import read_arrays

BORDER_PX = 20
"""Border band: pixels along each edge of 512 x 512 that the VALID network cannot answer for."""

SOLVED_DICE = 0.95
"""A slice is solved with this Dice or more and no patient voxel removed."""

PRETRAINED, ALONE = "pretrained", "pretrained, no refinement"
KMEANS, BODY_MASK, NOTHING = "K-Means + components", "body mask, 3-D", "nothing removed"

DENSE_ONLY = (KMEANS, BODY_MASK, *(name for name in BASELINES if name != NOTHING))
"""Methods that find support above `DENSE_HU` only: read their figures of dense support."""

Method = Callable[[Series], "Support | np.ndarray"]
"""From a Series to a Support, or to the voxels to remove, a bool array (slices, rows, columns)."""


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

    @property
    def known(self) -> np.ndarray:
        """Voxels that count: bool array, without mixtures and what cannot be told from air."""
        return self.labels != IGNORE_LABEL


def read_patient(folder: str | Path) -> Case:
    """Read a synthetic patient that `headrest.phantom.write_dicom` wrote; HeadrestError where the
    slices or their truth cannot be read."""
    folder = Path(folder)
    series, truth = read_series(folder), read_truth(folder)
    parameters = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
    labels = truth["labels"]
    groups = np.where(truth["contact"], TOUCHING, FREE)
    groups[~(labels == SUPPORT).any((1, 2))] = ABSENT
    kind = parameters["contact_kind"]
    return Case(folder.name, series, labels, labels == PATIENT, groups, kind)


def read_scan(folder: str | Path, reference: str | Path) -> Case:
    """Read a real scan that has a reference.

    Parameters
    ----------
    folder : path, searched with all its subfolders for the series with as many slices as the
        reference.
    reference : path of an .npz file of data/reference.

    Returns
    -------
    Case. Its slices are "free" or "absent": a reference does not say where the support touches.

    Raises
    ------
    HeadrestError
        Where no series fits, or several do.
    """
    label, tight = read_arrays(reference, ("label", "label_tight")).values()
    fitting = [found for found in find_series(folder).series if len(found.files) == len(label)]
    if len(fitting) != 1:
        raise HeadrestError(f"{folder}: {len(fitting)} series of {len(label)} slices, not one")
    series = load_series(fitting[0])
    if series.hu.shape != label.shape:
        raise HeadrestError(f"{folder}: {series.hu.shape}, but {reference} has {label.shape}")
    labels, patient = reference_labels(series.hu, label, tight)
    groups = np.where((labels == SUPPORT).any((1, 2)), FREE, ABSENT)
    return Case(Path(reference).stem, series, labels, patient, groups)


@dataclass(frozen=True)
class MethodCounts(SliceCounts):
    """Pixel counts of one method, further arrays (n,). Those of `SliceCounts` are of the support at
    any HU; "dense" is above `DENSE_HU`, "faint" above `FAINT_HU`."""

    names: np.ndarray  # of the Case of the slice
    kinds: np.ndarray  # of that Case
    dense_true: np.ndarray  # as `true`, `found` and `shared`, above `DENSE_HU`
    dense_found: np.ndarray
    dense_shared: np.ndarray
    border_true: np.ndarray  # as `true`, `found` and `shared`, within `BORDER_PX` of an edge
    border_found: np.ndarray
    border_shared: np.ndarray
    missed: np.ndarray  # support that is not removed
    faint_true: np.ndarray  # support above `FAINT_HU`
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
        return dice_from_counts(self.dense_true, self.dense_found, self.dense_shared)

    def solved(self, dense: bool = False) -> np.ndarray:
        """Slices with Dice >= `SOLVED_DICE` and no patient pixel removed: bool array (n,)."""
        dices = self.dense_dice() if dense else self.dice()
        return (dices >= SOLVED_DICE) & (self.lost == 0)

    def worst(
        self, count: int = 5, at_least: int = MIN_SUPPORT_PIXELS, dense: bool = False
    ) -> np.ndarray:
        """Indices of the slices with the lowest Dice, of those with `at_least` support pixels."""
        true, dices = (self.dense_true, self.dense_dice()) if dense else (self.true, self.dice())
        shows = np.flatnonzero(true >= at_least)
        return shows[np.argsort(dices[shows], kind="stable")[:count]]


def methods(networks: Mapping[str, Any] | None = None) -> dict[str, Method]:
    """All methods by name, the pretrained network first, with further networks (keras.Model).

    The functions of `BASELINES` and further networks see single slices.
    """
    return {
        PRETRAINED: find_support,
        ALONE: _pretrained_alone,
        **{name: by_network(model) for name, model in (networks or {}).items()},
        KMEANS: lambda series: find_support(series, "kmeans"),
        BODY_MASK: lambda series: outside_body_mask(series.hu, series.spacing_mm),
        **{name: by_slice(function) for name, function in BASELINES.items()},
    }


def by_slice(function: Callable) -> Method:
    """Make a method of a function of `headrest.evaluate.baselines`."""
    return lambda series: np.stack([function(hu, series.spacing_mm[1:]) for hu in series.hu])


def by_network(model: Any) -> Method:
    """Make a method of a keras.Model that sees single slices, without resampling.

    In the border band of a VALID network it finds nothing.
    """

    def find(series: Series) -> np.ndarray:
        from headrest.segment.unet import layer_sizes  # needs Keras

        shape = series.hu.shape[1:]
        size = next(n for n in count(max(shape)) if layer_sizes(model, n))
        seen = slice_probability(model, fit_to_matrix(series.hu, size, FLOOR))
        lead = [(max(shape) - n) // 2 for n in shape]
        rows, columns = (slice(start, start + n) for start, n in zip(lead, shape))
        return fit_to_matrix(seen, max(shape), 0)[:, rows, columns] >= 0.5

    return find


def _pretrained_alone(series):
    found, _ = series_probability(series.hu, series.spacing_mm, load_pretrained())
    return found >= SUPPORT_PROBABILITY


def step_methods() -> dict[str, Method]:
    """The pretrained network alone, and with one more step of the refinement each."""
    kept: dict[str, Any] = {}  # of the last series

    def method(steps: Sequence[str]) -> Method:
        def find(series: Series) -> np.ndarray:
            if kept.get("series") is not series:
                found = series_probability(series.hu, series.spacing_mm, load_pretrained())
                kept.update(series=series, probability=found)
            return refine(kept["probability"], series.hu, series.spacing_mm, steps)[0]

        return find

    names = ("the network alone", *(f"+ {step}" for step in STEPS))
    return {name: method(STEPS[:n]) for n, name in enumerate(names)}


def compare(cases: Iterable[Case], chosen: Mapping[str, Method]) -> dict[str, MethodCounts]:
    """Run methods on cases and count their pixels.

    Parameters
    ----------
    cases : iterable of Case; only one of a generator's is in memory at a time.
    chosen : dict of str to callable, as `methods` returns them.

    Returns
    -------
    dict of str to MethodCounts, all of the same slices in the same order. Dice of all support
    compares masks without their partial-volume boundary; the rest counts what is removed.
    """
    rows: dict[str, list] = {name: [] for name in chosen}
    for case in cases:
        hu = case.series.hu  # rescaled before the clock starts
        for name, method in chosen.items():
            start = time.process_time()
            found = method(case.series)
            cpu_ms = 1000 * (time.process_time() - start) / len(hu)
            masks = (found.mask, found.removed) if isinstance(found, Support) else (found, found)
            rows[name] += _count(case, *masks, cpu_ms)
    return {name: MethodCounts(*map(np.array, zip(*row))) for name, row in rows.items()}


def _count(case, mask, removed, cpu_ms):
    """One row per slice, in the order of the fields of MethodCounts."""
    hu, spacing_mm, known, true = case.series.hu, case.series.spacing_mm, case.known, case.support
    dense, faint = hu > DENSE_HU, hu > FAINT_HU
    dense_true, dense_found = true & dense, removed & dense & known
    inner = np.s_[:, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    counts = count_slices(true, mask, known)
    border = (counts - count_slices(true[inner], mask[inner], known[inner]))[:3]
    masks = (true & ~removed, true & faint, true & faint & ~removed, case.patient & removed)
    further = [
        *count_slices(dense_true, dense_found, known)[:3],
        *border,
        *(np.count_nonzero(one, axis=(1, 2)) for one in masks),
    ]
    voxel_ml, mm = np.prod(spacing_mm) / 1000, spacing_mm[1:]
    return [
        (
            *(i, case.groups[i], *counts[:, i], case.name, case.kind),
            *(one[i] for one in further),
            *(voxel_ml, surface_distance_mm(dense_true[i], dense_found[i], mm), cpu_ms),
        )
        for i in range(len(hu))
    ]
