"""How well a network finds the headrest in slices that it never saw."""

from dataclasses import dataclass

import numpy as np

from headrest.hounsfield import IGNORE_LABEL, SUPPORT_HU, scale
from headrest.segment.unet import logit, sigmoid
from headrest.util.arrays import crop

AT_ONCE = 10
"""Slices of a set that a network sees at once."""


@dataclass(frozen=True)
class Judged:
    """Counts of pixels, a slice an entry.

    Attributes
    ----------
    indices : int array (n,), of the slices in their training set.
    groups : str array (n,), "free", "touching" or "absent".
    true, found, shared, pixels : int arrays (n,), headrest by the labels, by the network, by
        both, and pixels of a slice; where the labels say `IGNORE_LABEL`, none of them.
    """

    indices: np.ndarray
    groups: np.ndarray
    true: np.ndarray
    found: np.ndarray
    shared: np.ndarray
    pixels: np.ndarray

    def dice(self):
        """Dice of every slice: float array (n,), 1.0 where nothing was there and nothing found."""
        both = self.true + self.found
        return np.where(both, 2 * self.shared / np.maximum(both, 1), 1.0)

    def scores(self, group=None):
        """Scores over the pixels of all slices, or of a group's.

        Returns
        -------
        dict of "dice", "iou", "accuracy", and "all_background", the accuracy of a network that
        finds nothing anywhere; floats, or None where there are no slices.
        """
        chosen = slice(None) if group is None else self.groups == group
        true, found, shared, pixels = (
            int(counts[chosen].sum())
            for counts in (self.true, self.found, self.shared, self.pixels)
        )
        if not pixels:
            return dict.fromkeys(("dice", "iou", "accuracy", "all_background"))
        return {
            "dice": 2 * shared / (true + found) if true + found else 1.0,
            "iou": shared / (true + found - shared) if true + found else 1.0,
            "accuracy": 1 - (true + found - 2 * shared) / pixels,
            "all_background": 1 - true / pixels,
        }


def probability(model, hu):
    """Probability of headrest in slices; 0 at `SUPPORT_HU` HU and below, where nothing is labelled.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    hu : array (n, rows, columns), in HU; the network sees all of them at once.

    Returns
    -------
    float32 array (n, output, output), 0 to 1; smaller than the slices for a network without
    padding.
    """
    found = sigmoid(logit(model, scale(hu)))
    return found * (crop(hu, found.shape[-1]) > SUPPORT_HU)


def judge(model, data, indices, labels="truth"):
    """Compare a network with the labels.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    data : headrest.train.dataset.TrainingSet
    indices : int array, of slices the network was not trained on.
    labels : "truth" or "kmeans", what is held against it.

    Returns
    -------
    Judged
    """
    target, size = data.target(labels), model.output_shape[1]
    indices = np.asarray(indices)
    counts = [np.zeros((4, 0), int)]
    for start in range(0, len(indices), AT_ONCE):
        chosen = indices[start : start + AT_ONCE]
        found = probability(model, data.slices[chosen]) >= 0.5
        counts.append(_count(found, crop(target[chosen], size)))
    return Judged(indices, data.group(indices), *np.concatenate(counts, 1))


def _count(found, labels):
    true, judged = labels == 1, labels != IGNORE_LABEL
    masks = (true, found & judged, true & found, judged)
    return np.stack([mask.sum((1, 2)) for mask in masks])
