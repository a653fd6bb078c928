"""Methods side by side, on series whose truth is known."""

import time
from dataclasses import dataclass, fields
from itertools import count

import numpy as np

from headrest.evaluate.baselines import BASELINES
from headrest.evaluate.counts import EVALUATION_BATCH, SliceCounts, slice_probability
from headrest.evaluate.metrics import surface_distance_mm
from headrest.hounsfield import FLOOR, SUPPORT_HU
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained
from headrest.segment.refine import FOUND
from headrest.segment.support import find_support
from headrest.segment.unet import layer_sizes
from headrest.util.arrays import fit_to_matrix

RIM = 20
"""Pixels along every edge of 512 x 512 for which the network "valid3" has no answer."""

SOLVED = 0.95
"""Dice from which a slice is solved, if nothing of the patient is lost besides."""


@dataclass(frozen=True)
class Compared(SliceCounts):
    """What a method made of many slices; a slice an entry. Unjudged pixels count for nothing
    but `lost`.

    Attributes
    ----------
    names, kinds : str arrays (n,), of the slice's Case.
    rim_true, rim_found, rim_shared : int arrays (n,), pixels less than `RIM` from an edge.
    lost : int array (n,), pixels of the patient that the method takes.
    voxel_ml : float array (n,), volume of a pixel of the slice.
    distance_mm : float array (n,), see `headrest.evaluate.metrics.surface_distance_mm`.
    cpu_ms : float array (n,), CPU time, the mean over the slices of the Case.
    """

    names: np.ndarray
    kinds: np.ndarray
    rim_true: np.ndarray
    rim_found: np.ndarray
    rim_shared: np.ndarray
    lost: np.ndarray
    voxel_ml: np.ndarray
    distance_mm: np.ndarray
    cpu_ms: np.ndarray

    def take(self, chosen):
        """Some of the slices, by a bool or int array: Compared."""
        return Compared(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def solved(self):
        """Slices with a Dice of `SOLVED` and nothing of the patient lost: bool array (n,)."""
        return (self.dice() >= SOLVED) & (self.lost == 0)

    def hardest(self, count=5, at_least=30):
        """The slices with the lowest Dice, the lowest first: int array (count,).

        Only slices with so many true pixels are asked: the Dice of fewer is noise.
        """
        asked = np.flatnonzero(self.true >= at_least)
        return asked[np.argsort(self.dice()[asked], kind="stable")[:count]]


def methods(networks=None):
    """Every method, by name.

    Parameters
    ----------
    networks : dict of str to keras.Model, optional; more of them.

    Returns
    -------
    dict of str to callable, from a Series to what is to be removed from it, a bool array (slices,
    rows, columns). All but "shipped" and K-Means see each slice by itself.
    """
    baselines = {name: by_slice(function) for name, function in BASELINES.items()}
    trained = {name: by_network(model) for name, model in (networks or {}).items()}
    return {
        **baselines,
        "K-Means + components": lambda series: find_support(series, "kmeans").removed,
        **trained,
        "shipped, slices alone": _shipped_alone,
        "shipped": lambda series: find_support(series).removed,
    }


def by_slice(function):
    """Make a method of a function of `headrest.evaluate.baselines`."""
    return lambda series: np.stack([function(hu, series.spacing_mm[1:]) for hu in series.hu])


def by_network(model):
    """Make a method of a network that sees each slice by itself, pixel for pixel.

    Where it has no answer, beyond the output of one without padding, it finds nothing.
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


def _shipped_alone(series):
    return series_probability(series.hu, series.spacing_mm, load_pretrained()) >= FOUND


def compare(cases, chosen):
    """Let methods find the support of cases, and judge them.

    Parameters
    ----------
    cases : iterable of Case; of a generator, one at a time is kept in memory.
    chosen : dict of str to callable, as `methods` gives them. What they take at `SUPPORT_HU` HU and
        below does not count.

    Returns
    -------
    dict of str to Compared, all of the same slices in the same order.
    """
    rows = {name: [] for name in chosen}
    for case in cases:
        hu = case.series.hu  # rescaled here, so that no method pays for it
        for name, method in chosen.items():
            began = time.process_time()
            found = method(case.series)
            cpu_ms = 1000 * (time.process_time() - began) / len(hu)
            rows[name] += _judged(case, found, cpu_ms)
    return {name: Compared(*map(np.array, zip(*row))) for name, row in rows.items()}


def _judged(case, found, cpu_ms):
    """A row a slice, in the order of the fields of Compared."""
    spacing_mm = case.series.spacing_mm
    found = found & (case.series.hu > SUPPORT_HU)
    lost = (case.patient & found).sum((1, 2))  # skin, too, beside what nobody can tell
    found &= case.judged
    counts = np.stack(_overlap(case.device, found))
    inner = np.s_[:, RIM:-RIM, RIM:-RIM]
    rim = counts - np.stack(_overlap(case.device[inner], found[inner]))
    pixels = case.judged.sum((1, 2))
    return [
        (
            *(i, case.groups[i], *counts[:, i], pixels[i], case.name, case.kind, *rim[:, i]),
            *(lost[i], np.prod(spacing_mm) / 1000),
            surface_distance_mm(case.device[i], found[i], spacing_mm[1:]),
            cpu_ms,
        )
        for i in range(len(found))
    ]


def _overlap(true, found):
    return [mask.sum((1, 2)) for mask in (true, found, true & found)]
