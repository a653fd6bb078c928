"""A network over a whole series: HU in, probability of support out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage

from headrest.hounsfield import DENSE_HU, FLOOR, VISIBLE_HU, crop, fit_to_matrix, scale
from headrest.util import HeadrestError, progress

Network = Callable[[np.ndarray], np.ndarray]
"""Scaled slices, float32 (n, rows, columns) -> probabilities of support and patient, float32 (n, 2,
rows, columns), or of support alone, (n, 1, rows, columns)."""

PIXEL_MM = (0.35, 1.0)
"""Pixels of the synthetic patients that networks are trained on."""

SIZES = range(256, 1025, 256)
"""Rows and columns that slices are resampled to: multiples of 256 for a first stride of 4 and six
poolings. Larger slices than the last, which bounds the memory, get coarser pixels."""

MIN_PROBABILITY = 1.3e-4
"""Lower ones are stored as 0. Below half of it float16 is subnormal, and NumPy 30 times slower."""

UNCERTAIN, UNCERTAIN_MM2 = (0.05, 0.95), 20.0
"""A slice is predicted a second time, flipped, if its dense pixels with a probability between these
cover this area: 35 % of the slices of 141 synthetic patients. Of each patient 0.24 ml is removed;
0.23 if all slices are predicted twice, 0.25 if none is. With 80 mm2 it would be 15 % of the slices,
but of 1,361 patients 46 would lose more, and 15 less."""


def series_probability(hu: np.ndarray, spacing_mm: Sequence[float], network: Network) -> np.ndarray:
    """Probability that a voxel belongs to the support.

    Uncertain slices are predicted twice, the second time flipped horizontally, and averaged.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU, of any matrix.
    spacing_mm : (z, y, x) in mm.
    network : callable
        Gets one slice, (1, rows, columns), in another thread than the caller's. Its attribute
        `at_once` says how many slices it can take at the same time, 1 if it has none.

    Returns
    -------
    float16 array (slices, rows, columns), 0 to 1. Above `DENSE_HU`, where no background is, support
    and patient are scaled to a sum of 1: a network takes edges for background. A network of support
    alone finds none up to `VISIBLE_HU`.

    Raises
    ------
    HeadrestError
        If the network does not return one or two finite probabilities per pixel.

    Examples
    --------
    >>> hu = np.full((1, 40, 30), 100.0)
    >>> def network(scaled):
    ...     return np.stack([0.3 * np.ones_like(scaled), 0.1 * np.ones_like(scaled)], axis=1)
    >>> float(series_probability(hu, (5, 8, 8), network).max())
    0.75
    """
    found = np.empty(hu.shape, np.float16)
    low, high = UNCERTAIN

    def predict(i):
        found[i] = p = _slice_probability(hu[i], spacing_mm[1:], network)
        pixels = np.count_nonzero((p > low) & (p < high) & (hu[i] > DENSE_HU))
        if pixels * spacing_mm[1] * spacing_mm[2] >= UNCERTAIN_MM2:
            flipped = _slice_probability(hu[i, :, ::-1], spacing_mm[1:], network)
            found[i] = (found[i] + flipped[:, ::-1]) / 2

    with ThreadPoolExecutor(getattr(network, "at_once", 1)) as pool:
        list(progress(pool.map(predict, range(len(hu))), "predicting", len(hu), brief=True))
    return found


def network_size(shape: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """Choose the rows and columns to which slices are resampled, of `SIZES`: as near to 512 as
    pixels within `PIXEL_MM` allow.

    >>> network_size((512, 512), (0.5, 0.5)), network_size((512, 512), (1.37, 1.37))
    (512, 768)
    """
    field_mm = max(n * mm for n, mm in zip(shape, spacing_mm))
    finest, coarsest = PIXEL_MM
    low, high = np.ceil(field_mm / coarsest / 256) * 256, field_mm / finest // 256 * 256
    return int(np.clip(min(max(512, low), high), SIZES[0], SIZES[-1]))


def _slice_probability(hu, spacing_mm, network):
    """Probability of support in a slice, float32 (rows, columns)."""
    mm, size = min(spacing_mm), network_size(hu.shape, spacing_mm)
    isotropic = [round(n * own / mm) for n, own in zip(hu.shape, spacing_mm)]
    square = fit_to_matrix(_resample(hu, isotropic), max(isotropic), FLOOR)
    x = scale(_resample(square, (size, size)))[np.newaxis]
    predicted = np.asarray(network(x), np.float32)
    if predicted.shape not in [(1, n, size, size) for n in (1, 2)]:
        raise HeadrestError(
            f"the network returns {predicted.shape}, not {(1, 2, size, size)}: "
            "wrap a Keras model with SAME padding by headrest.segment.unet.keras_probability"
        )
    if not np.isfinite(predicted).all():
        raise HeadrestError("the network returns probabilities that are not finite")
    if predicted.shape[1] == 1:
        visible = x[:, None] > scale(VISIBLE_HU)
        predicted = np.concatenate([predicted * visible, 1 - predicted], axis=1)
    support, patient = (
        _resample(crop(_resample(p, square.shape), isotropic), hu.shape) for p in predicted[0]
    )
    total = np.maximum(support + patient, MIN_PROBABILITY)
    support = np.where(hu > DENSE_HU, support / total, support)
    support[support <= MIN_PROBABILITY] = 0
    return support


def _resample(image, shape):
    """Resample linearly; average blocks of 2 x 2 first, where both axes are even and
    shrink by 2 or more."""
    while all(n >= 2 * m and n % 2 == 0 for n, m in zip(image.shape, shape)):
        image = 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])
    if image.shape == tuple(shape):
        return image
    zoom = [m / n for n, m in zip(image.shape, shape)]
    return ndimage.zoom(image, zoom, order=1, mode="nearest", grid_mode=True)
