"""Pixel counts of a network in training on slices that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from headrest.evaluate.metrics import count_slices, dice_from_counts, scores_from_counts
from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, SUPPORT, scale
from headrest.util.arrays import crop

if TYPE_CHECKING:
    import keras

EVALUATION_BATCH = 10
"""Slices per batch of a network; ten of 512 x 512 fit into memory beside a training run."""


@dataclass(frozen=True)
class SliceCounts:
    """Pixel counts: arrays (n,), one entry per slice. Pixels of unknown class do not count."""

    indices: np.ndarray  # of the slices in their training set or series
    groups: np.ndarray  # "free", "touching", "absent" or "unknown"
    true: np.ndarray  # pixels of support by the labels
    found: np.ndarray  # by the network
    shared: np.ndarray  # by both
    pixels: np.ndarray  # all

    def dice(self) -> np.ndarray:
        """Dice of every slice: float array (n,), 1.0 without support and without detection."""
        return dice_from_counts(self.true, self.found, self.shared)

    def scores(self, group: str | None = None) -> dict[str, float | None]:
        """Scores over the pixels of all slices, or of one group; None where it has no slices."""
        chosen = slice(None) if group is None else self.groups == group
        counts = (self.true, self.found, self.shared, self.pixels)
        sums = [int(one[chosen].sum()) for one in counts]
        scores = scores_from_counts(*sums)
        return {name: float(value) if sums[-1] else None for name, value in scores.items()}

    def score_columns(self) -> dict[str, list]:
        """Table of `headrest.util.report.table`: scores of all slices with support, and by state.

        "Dice, pooled" is over the pixels of all slices, "median" and ">= 0.95" over slices;
        "of nothing" is the accuracy of an empty mask.
        """
        columns: dict[str, list] = {"slices": ["all", "free", "touching"]}
        for group in columns["slices"]:
            chosen = self.true > 0 if group == "all" else self.groups == group
            scores, each = self.scores(None if group == "all" else group), self.dice()[chosen]
            row: dict[str, Any] = {"count": len(each), "Dice, pooled": scores["dice"]}
            row |= {"median": np.median(each) if len(each) else None}
            row |= {">= 0.95": np.mean(each >= 0.95) if len(each) else None}
            row |= {"accuracy": scores["accuracy"], "of nothing": scores["all_background"]}
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
        return columns


def slice_probability(model: keras.Model, hu: np.ndarray) -> np.ndarray:
    """Probability of support in a batch of slices.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    hu : array (n, rows, columns), in HU.

    Returns
    -------
    float32 array (n, output, output), 0 to 1; smaller than the slices for a VALID network.
    """
    from headrest.segment.unet import keras_probability  # needs Keras

    return keras_probability(model)(scale(hu))[:, 0]


def evaluate_slices(
    model: keras.Model, data: Any, indices: ArrayLike, labels: str = "truth"
) -> SliceCounts:
    """Compare the predictions of a network with labels.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    data : headrest.train.dataset.TrainingSet
    indices : int array (n,), slices that the network was not trained on.
    labels : str, name of the labels.
    """
    from headrest.segment.unet import output_size  # needs Keras

    target, size = data.target(labels), output_size(model, data.hu.shape[1])
    indices = np.asarray(indices)
    counts = [np.zeros((4, 0), int)]
    for start in range(0, len(indices), EVALUATION_BATCH):
        chosen = indices[start : start + EVALUATION_BATCH]
        found = slice_probability(model, data.hu[chosen]) >= 0.5
        label = crop(target[chosen], size)
        counts.append(count_slices(label == SUPPORT, found, label != IGNORE_LABEL))
    return SliceCounts(indices, data.states[labels][indices], *np.concatenate(counts, 1))


def evaluate_labels(data: Any, labels: str = "kmeans", reference: str = "truth") -> SliceCounts:
    """Compare the labels of a training set with others of it, for support above `DENSE_HU` only.

    Parameters
    ----------
    data : headrest.train.dataset.TrainingSet
    labels, reference : str, names of labels.
    """
    true, found = data.target(reference), data.target(labels)
    known = (true != IGNORE_LABEL) & ~((true == SUPPORT) & (data.hu <= DENSE_HU))
    counts = count_slices(true == SUPPORT, found == SUPPORT, known)
    return SliceCounts(np.arange(len(data)), data.states[reference], *counts)
