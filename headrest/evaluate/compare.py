"""Methods side by side, on series with a known truth."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import count

import numpy as np

from headrest.evaluate.baselines import BASELINES
from headrest.evaluate.cases import Case
from headrest.evaluate.counts import EVALUATION_BATCH, SliceCounts, slice_probability
from headrest.evaluate.metrics import count_slices, surface_distance_mm
from headrest.evaluate.score import MIN_SUPPORT_PIXELS
from headrest.hounsfield import DENSE_HU, FLOOR
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained
from headrest.segment.refine import SUPPORT_PROBABILITY
from headrest.segment.support import find_support
from headrest.segment.unet import layer_sizes
from headrest.util.arrays import fit_to_matrix
from headrest.util.backend import keras

BORDER_PX = 20
"""Border band: pixels along each edge of 512 x 512 that the VALID network cannot answer for."""

SOLVED_DICE = 0.95
"""A slice is solved with this Dice or more and no patient voxel removed."""

Method = Callable[..., np.ndarray]
"""From a Series to the voxels to remove, a bool array (slices, rows, columns)."""


@dataclass(frozen=True)
class MethodCounts(SliceCounts):
    """Pixel counts of one method, further arrays (n,)."""

    names: np.ndarray  # of the Case of the slice
    kinds: np.ndarray  # of that Case
    border_true: np.ndarray  # as `true`, within `BORDER_PX` of an edge
    border_found: np.ndarray
    border_shared: np.ndarray
    lost: np.ndarray  # pixels of the patient that the method removes, unknown ones included
    voxel_ml: np.ndarray  # volume of a pixel
    distance_mm: np.ndarray  # `headrest.evaluate.metrics.surface_distance_mm`
    cpu_ms: np.ndarray  # CPU time per slice, a mean over the Case

    def take(self, chosen: np.ndarray | slice) -> "MethodCounts":
        """Select slices by a bool or int array, or a slice object."""
        return MethodCounts(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def solved(self) -> np.ndarray:
        """Slices with Dice >= `SOLVED_DICE` and no patient pixel removed: bool array (n,)."""
        return (self.dice() >= SOLVED_DICE) & (self.lost == 0)

    def worst(self, count: int = 5, at_least: int = MIN_SUPPORT_PIXELS) -> np.ndarray:
        """Indices of the slices with the lowest Dice, of those with `at_least` support pixels."""
        shows = np.flatnonzero(self.true >= at_least)
        return shows[np.argsort(self.dice()[shows], kind="stable")[:count]]


def methods(networks: Mapping | None = None) -> dict[str, Method]:
    """All methods by name, with further networks: a dict of str to keras.Model.

    All but "pretrained" and K-Means work on single slices.
    """
    return {
        **{name: by_slice(function) for name, function in BASELINES.items()},
        "K-Means + components": lambda series: find_support(series, "kmeans").removed,
        **{name: by_network(model) for name, model in (networks or {}).items()},
        "pretrained, no refinement": _pretrained_alone,
        "pretrained": lambda series: find_support(series).removed,
    }


def by_slice(function: Callable) -> Method:
    """Make a method of a function of `headrest.evaluate.baselines`."""
    return lambda series: np.stack([function(hu, series.spacing_mm[1:]) for hu in series.hu])


def by_network(model: keras.Model) -> Method:
    """Make a method of a network that sees single slices, without resampling.

    In the border band of a VALID network it finds nothing.
    """
    return lambda series: np.concatenate(
        [
            _found(model, series.hu[start : start + EVALUATION_BATCH])
            for start in range(0, len(series.hu), EVALUATION_BATCH)
        ]
    )


def _found(model, hu):
    size = next(n for n in count(max(hu.shape[1:])) if layer_sizes(model, n))
    seen = fit_to_matrix(hu, size, FLOOR)
    square = fit_to_matrix(slice_probability(model, seen), max(hu.shape[1:]), 0) >= 0.5
    lead = [(n - m) // 2 for n, m in zip(square.shape[1:], hu.shape[1:])]
    rows, columns = (slice(start, start + m) for start, m in zip(lead, hu.shape[1:]))
    return square[:, rows, columns]


def _pretrained_alone(series):
    found, _ = series_probability(series.hu, series.spacing_mm, load_pretrained())
    return found >= SUPPORT_PROBABILITY


def compare(cases: Iterable[Case], chosen: Mapping[str, Method]) -> dict[str, MethodCounts]:
    """Run methods on cases and count their pixels.

    Parameters
    ----------
    cases : iterable of Case; only one of a generator's is in memory at a time.
    chosen : dict of str to callable, as `methods` returns them. Voxels at `DENSE_HU` HU and
        below do not count.

    Returns
    -------
    dict of str to MethodCounts, all of the same slices in the same order.
    """
    rows: dict[str, list] = {name: [] for name in chosen}
    for case in cases:
        hu = case.series.hu  # rescaled before the clock starts
        for name, method in chosen.items():
            start = time.process_time()
            found = method(case.series)
            cpu_ms = 1000 * (time.process_time() - start) / len(hu)
            rows[name] += _count(case, found, cpu_ms)
    return {name: MethodCounts(*map(np.array, zip(*row))) for name, row in rows.items()}


def _count(case, found, cpu_ms):
    """One row per slice, in the order of the fields of MethodCounts."""
    spacing_mm = case.series.spacing_mm
    found = found & (case.series.hu > DENSE_HU)
    lost = (case.patient & found).sum((1, 2))  # unknown voxels of the skin included
    found &= case.known
    masks = (case.support, found, case.known)
    inner = np.s_[:, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    counts = count_slices(*masks)
    border = (counts - count_slices(*(mask[inner] for mask in masks)))[:3]
    voxel_ml = np.prod(spacing_mm) / 1000
    return [
        (
            *(i, case.groups[i], *counts[:, i], case.name, case.kind, *border[:, i]),
            *(lost[i], voxel_ml),
            surface_distance_mm(case.support[i], found[i], spacing_mm[1:]),
            cpu_ms,
        )
        for i in range(len(found))
    ]
