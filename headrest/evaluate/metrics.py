"""Overlap of masks, residual support and removed patient in ml, surface distance, pixel counts."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, SUPPORT, crop, scale
from headrest.segment.morphology import volume_ml
from headrest.util import HeadrestError

EVALUATION_BATCH = 10
"""Slices per batch of a network; ten of 512 x 512 fit into memory beside a training run."""


def dice(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Dice coefficient: twice the intersection over the sum of both masks.

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty (no support, and none found).

    Raises
    ------
    HeadrestError
        For masks of different shapes.

    Notes
    -----
    L. R. Dice, Ecology 26 (1945) 297.

    Examples
    --------
    >>> dice([1, 1, 0, 0], [1, 0, 0, 0])
    0.6666666666666666
    """
    return float(_scores(mask_true, mask_pred)["dice"])


def iou(mask_true: ArrayLike, mask_pred: ArrayLike) -> float:
    """Intersection over union (Jaccard index).

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty. Errors as for `dice`.

    Notes
    -----
    P. Jaccard, New Phytologist 11 (1912) 37.

    Examples
    --------
    >>> iou([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    return float(_scores(mask_true, mask_pred)["iou"])


def _scores(mask_true, mask_pred):
    true, found = _same_shape(mask_true, mask_pred)
    return scores_from_counts(true.sum(), found.sum(), (true & found).sum(), true.size)


def _same_shape(*masks):
    arrays = [np.asarray(m, bool) for m in masks]
    if len({m.shape for m in arrays}) > 1:
        raise HeadrestError(f"masks of different shapes: {[m.shape for m in arrays]}")
    return arrays


def count_slices(true: np.ndarray, found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Count pixels of two masks, of their intersection, and all, per slice and where known: bool
    arrays (slices, rows, columns) -> int array (4, slices)."""
    masks = (true & known, found & known, true & found & known, known)
    return np.stack([np.count_nonzero(mask, axis=(1, 2)) for mask in masks])


def dice_from_counts(true: ArrayLike, found: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """Dice from the pixel counts of two masks and of their intersection, arrays of any one shape.

    >>> dice_from_counts([2, 0], [1, 0], [1, 0]).round(3).tolist()
    [0.667, 1.0]
    """
    return _ratio(2 * np.asarray(shared), np.add(true, found))


def scores_from_counts(
    true: ArrayLike, found: ArrayLike, shared: ArrayLike, pixels: ArrayLike
) -> dict[str, np.ndarray]:
    """Dice, IoU, accuracy and the accuracy of an empty mask, from the counts of `count_slices`."""
    wrong = np.add(true, found) - 2 * np.asarray(shared)
    return {
        "dice": dice_from_counts(true, found, shared),
        "iou": _ratio(shared, wrong + shared),
        "accuracy": _ratio(pixels - wrong, pixels),
        "all_background": _ratio(np.subtract(pixels, true), pixels),
    }


def _ratio(part, whole):
    return np.where(np.equal(whole, 0), 1.0, part / np.maximum(whole, 1))


def residual_ml(support: ArrayLike, removed: ArrayLike, spacing_mm: Sequence[ArrayLike]) -> float:
    """Residual support: the volume of support that was not removed.

    Parameters
    ----------
    support, removed : bool array (slices, rows, columns), of one shape.
    spacing_mm : (z, y, x) in mm; z may be an array (slices,), as `Series.extent_mm` is.

    Returns
    -------
    float, in ml; 0.0 where there was no support.

    Raises
    ------
    HeadrestError
        For masks of different shapes, or a spacing of another number of axes.

    Examples
    --------
    >>> residual_ml([[[1, 1, 0]]], [[[1, 0, 0]]], (10, 10, 10))
    1.0
    """
    there, taken = _same_shape(support, removed)
    return volume_ml(there & ~taken, _checked(spacing_mm, 3, len(there)))


def lost_ml(patient: ArrayLike, removed: ArrayLike, spacing_mm: Sequence[ArrayLike]) -> float:
    """Removed patient: the volume of patient that was removed.

    Parameters
    ----------
    patient, removed : bool array (slices, rows, columns), of one shape.
    spacing_mm : (z, y, x) in mm; z may be an array, as for `residual_ml`.

    Returns
    -------
    float, in ml. Errors as for `residual_ml`.

    Examples
    --------
    >>> lost_ml([[[0, 0, 1]]], [[[1, 0, 0]]], (10, 10, 10))
    0.0
    """
    there, taken = _same_shape(patient, removed)
    return volume_ml(there & taken, _checked(spacing_mm, 3, len(there)))


def _checked(spacing_mm, axes, slices=1):
    with suppress(TypeError):  # of other types
        positive = [np.all(np.isfinite(mm) & np.greater(mm, 0)) for mm in spacing_mm]
        if len(positive) == axes and all(positive) and np.size(spacing_mm[0]) in (1, slices):
            return spacing_mm
    raise HeadrestError(f"spacing_mm={spacing_mm}: expected {axes} numbers above 0, one per axis")


def surface_distance_mm(
    mask_true: ArrayLike, mask_pred: ArrayLike, spacing_mm: Sequence[float], percent: float = 95.0
) -> float:
    """Percentile of the distances between the surfaces of two masks, in both directions.

    A surface consists of the pixels with a 4-neighbour (in a volume, a voxel that shares a face)
    outside the mask; pixels beyond the image are outside.

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.
    spacing_mm : of each axis, in mm.
    percent : float; 100 gives the Hausdorff distance.

    Returns
    -------
    float, in mm; 0.0 where both masks are empty, infinite where one of them is. Errors as for
    `residual_ml`.

    Notes
    -----
    D. P. Huttenlocher et al., IEEE PAMI 15 (1993) 850.

    Examples
    --------
    >>> surface_distance_mm([[1, 0, 0, 0]], [[0, 0, 0, 1]], (1, 0.5))
    1.5
    """
    from scipy.spatial import KDTree  # imported here: it takes as long as this whole module

    masks = _same_shape(mask_true, mask_pred)
    spacing_mm = _checked(spacing_mm, masks[0].ndim)
    a, b = (np.argwhere(m & ~ndimage.binary_erosion(m)) * spacing_mm for m in masks)
    if not (len(a) and len(b)):
        return 0.0 if len(a) == len(b) else float("inf")
    distances = [KDTree(there).query(here)[0] for here, there in ((a, b), (b, a))]
    return float(np.percentile(np.concatenate(distances), percent))


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
        return self._scores(slice(None) if group is None else self.groups == group)

    def _scores(self, chosen):
        counts = (self.true, self.found, self.shared, self.pixels)
        sums = [int(one[chosen].sum()) for one in counts]
        return {k: float(v) if sums[-1] else None for k, v in scores_from_counts(*sums).items()}

    def score_columns(self) -> dict[str, list]:
        """Table of `headrest.util.table`: scores of all slices with support, and by state.

        "Dice, pooled" is over the pixels of these slices, "median" and ">= 0.95" over slices; "of
        nothing" is the accuracy of an empty mask.
        """
        rows: list[dict[str, Any]] = []
        for group in ("all", "free", "touching"):
            chosen = (self.true > 0) & ((group == "all") | (self.groups == group))
            scores, each = self._scores(chosen), self.dice()[chosen]
            row = {"slices": group, "count": len(each), "Dice, pooled": scores["dice"]}
            row |= {"median": np.median(each) if len(each) else None}
            row |= {">= 0.95": np.mean(each >= 0.95) if len(each) else None}
            row |= {"accuracy": scores["accuracy"], "of nothing": scores["all_background"]}
            rows.append(row)
        return {name: [row[name] for row in rows] for name in rows[0]}


def slice_probability(model: Any, hu: np.ndarray) -> np.ndarray:
    """Predict the probability of support in slices.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    hu : array (n, rows, columns), in HU; HeadrestError for sizes that it cannot downsample.

    Returns
    -------
    float32 array (n, rows, columns), 0 to 1; of a VALID network without the border band.
    """
    from headrest.segment.unet import keras_probability  # needs Keras

    network, starts = keras_probability(model), range(0, len(hu), EVALUATION_BATCH)
    return np.concatenate([network(scale(hu[k : k + EVALUATION_BATCH]))[:, 0] for k in starts])


def evaluate_slices(
    model: Any, data: Any, indices: ArrayLike, labels: str = "truth"
) -> SliceCounts:
    """Compare the predictions of a network with labels.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    data : headrest.train.dataset.TrainingSet
    indices : int array (n,), slices that the network was not trained on.
    labels : str, name of the labels; HeadrestError where `data` has none of it.
    """
    from headrest.segment.unet import output_size  # needs Keras

    target, size = data.target(labels), output_size(model, data.hu.shape[1])
    indices = np.asarray(indices)
    counts = [np.zeros((4, 0), int)]
    for start in range(0, len(indices), EVALUATION_BATCH):
        chosen = indices[start : start + EVALUATION_BATCH]
        found, label = slice_probability(model, data.hu[chosen]) >= 0.5, crop(target[chosen], size)
        counts.append(count_slices(label == SUPPORT, found, label != IGNORE_LABEL))
    return SliceCounts(indices, data.states[labels][indices], *np.concatenate(counts, 1))


def evaluate_labels(data: Any, labels: str = "kmeans", reference: str = "truth") -> SliceCounts:
    """Compare labels of a TrainingSet with others of it, both by name, for support above `DENSE_HU`
    only; HeadrestError where `data` has none of that name."""
    true, found = data.target(reference), data.target(labels)
    known = (true != IGNORE_LABEL) & ~((true == SUPPORT) & (data.hu <= DENSE_HU))
    counts = count_slices(true == SUPPORT, found == SUPPORT, known)
    return SliceCounts(np.arange(len(data)), data.states[reference], *counts)
