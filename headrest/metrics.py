"""How much support is left, how much patient was lost, and how well two masks agree."""

import numpy as np

from headrest.errors import HeadrestError


def _same_shape(*masks):
    masks = [np.asarray(m, bool) for m in masks]
    if len({m.shape for m in masks}) > 1:
        raise HeadrestError(f"masks of different shapes: {[m.shape for m in masks]}")
    return masks


def dice(mask_true, mask_pred):
    """Dice coefficient: twice the shared pixels over the sum of both masks.

    Parameters
    ----------
    mask_true, mask_pred : bool array, of one shape.

    Returns
    -------
    float from 0 to 1; 1.0 where both masks are empty (nothing was there, nothing was found).

    Source: L. R. Dice, Ecology 26 (1945) 297.

    Examples
    --------
    >>> dice([1, 1, 0, 0], [1, 0, 0, 0])
    0.6666666666666666
    """
    a, b = _same_shape(mask_true, mask_pred)
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def iou(mask_true, mask_pred):
    """Intersection over union (Jaccard index); 1.0 where both masks are empty.

    Examples
    --------
    >>> iou([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    a, b = _same_shape(mask_true, mask_pred)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def pixel_accuracy(mask_true, mask_pred):
    """Share of pixels that agree, beside the share that an empty mask would reach.

    A headrest fills about 2 % of a slice, so "no headrest anywhere" scores 98 %: read the
    first figure only beside the second.

    Returns
    -------
    (accuracy, all_background) : floats from 0 to 1; (1.0, 1.0) for arrays of no pixels.

    Examples
    --------
    >>> pixel_accuracy([1, 0, 0, 0], [0, 0, 0, 0])
    (0.75, 0.75)
    """
    a, b = _same_shape(mask_true, mask_pred)
    if not a.size:
        return 1.0, 1.0
    return float((a == b).mean()), float((~a).mean())


def volume_ml(mask, spacing_mm):
    """Volume of a mask in millilitres.

    Parameters
    ----------
    mask : bool array (slices, rows, columns) or (rows, columns).
    spacing_mm : (z, y, x) in mm.

    Examples
    --------
    >>> volume_ml(np.ones((10, 10, 10), bool), (1, 1, 1))
    1.0
    """
    return float(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000


def residual_ml(device, removed, spacing_mm):
    """Device that was left standing, in ml; 0.0 where there was no device."""
    device, removed = _same_shape(device, removed)
    return volume_ml(device & ~removed, spacing_mm)


def lost_ml(patient, removed, spacing_mm):
    """Patient that was removed, in ml; 0.0 where nothing was removed."""
    patient, removed = _same_shape(patient, removed)
    return volume_ml(patient & removed, spacing_mm)


def worst_slice(mask_true, mask_pred, at_least=30):
    """Find the slice with the lowest Dice.

    Parameters
    ----------
    mask_true, mask_pred : bool array (slices, rows, columns).
    at_least : int
        Slices with fewer true pixels than this are not judged: their Dice is noise.

    Returns
    -------
    (dice, index), or (1.0, None) where no slice holds enough of the true mask.

    Examples
    --------
    >>> worst_slice(np.ones((2, 8, 8)), np.stack([np.ones((8, 8)), np.zeros((8, 8))]))
    (0.0, 1)
    """
    a, b = _same_shape(mask_true, mask_pred)
    scores = [(dice(t, p), i) for i, (t, p) in enumerate(zip(a, b)) if t.sum() >= at_least]
    return min(scores, default=(1.0, None))
