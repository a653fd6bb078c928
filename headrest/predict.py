"""A network over a whole series: HU in, probability of support out."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from tqdm.auto import tqdm

from headrest.backend import keras
from headrest.hounsfield import DEVICE_HU, FLOOR
from headrest.network import logit, sigmoid
from headrest.scaling import scale

SIZE = 512
"""Rows and columns that a network sees, unless its pixels would be finer or coarser than these."""

PIXEL_MM = (0.35, 1.0)
"""Pixels of the synthetic patients that networks learn from."""

STEP = 256
"""Slices of the standard network are multiples of this: six poolings of folded pixels."""

MOST_STEPS = 4
"""A network never sees more than 1024 x 1024: coarser pixels rather than no memory."""

TOGETHER = 4
"""Slices of `SIZE` x `SIZE` that a network sees at once, each with its mirror image; fewer where
they are larger."""


def series_probability(
    hu: np.ndarray, spacing_mm: Sequence[float], network: Callable[[int], keras.Model]
) -> np.ndarray:
    """Probability that a voxel belongs to a support.

    Each slice is seen as it is and mirrored, and the two answers are averaged.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU. Any matrix; one slice is enough.
    spacing_mm : (z, y, x) in mm.
    network : callable, size -> keras.Model of that size, as `headrest.shipped.shipped_network`.

    Returns
    -------
    float16 array (slices, rows, columns), 0 to 1; 0 at `DEVICE_HU` HU and below.

    Examples
    --------
    >>> from headrest.network import build
    >>> empty = np.full((1, 40, 30), -1000.0)
    >>> float(series_probability(empty, (5, 8, 8), lambda size: build(size=size)).max())
    0.0
    """
    size = network_size(hu.shape[1:], spacing_mm[1:])
    model, batch = network(size), max(TOGETHER * SIZE**2 // size**2, 1)
    found = np.zeros(hu.shape, np.float16)
    seen = [i for i, one in enumerate(hu) if (one > DEVICE_HU).any()]
    with tqdm(total=len(seen), desc="predicting", unit="slice", delay=2, leave=False) as bar:
        for start in range(0, len(seen), batch):
            chosen = seen[start : start + batch]
            answers = batch_probability(hu[chosen], spacing_mm[1:], model)
            found[chosen] = np.where(hu[chosen] > DEVICE_HU, answers, 0)
            bar.update(len(chosen))
    return found


def network_size(shape: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """Rows and columns to which slices are resampled for a network.

    As near to `SIZE` as pixels within `PIXEL_MM` allow, in steps of `STEP`.

    Examples
    --------
    >>> network_size((512, 512), (0.5, 0.5)), network_size((512, 512), (1.37, 1.37))
    (512, 768)
    """
    field_mm = max(n * mm for n, mm in zip(shape, spacing_mm))
    fewest, most = (field_mm / mm / STEP for mm in PIXEL_MM[::-1])
    steps = min(max(SIZE / STEP, np.ceil(fewest)), max(np.floor(most), 1), MOST_STEPS)
    return int(steps) * STEP


def batch_probability(
    hu: np.ndarray, spacing_mm: Sequence[float], model: keras.Model
) -> np.ndarray:
    """Probability of support in some slices, which the network sees at once.

    Parameters
    ----------
    hu : float array (n, rows, columns), in HU.
    spacing_mm : (y, x) in mm.
    model : keras.Model of `headrest.network`, for square slices of any size.

    Returns
    -------
    float32 array (n, rows, columns), 0 to 1.
    """
    shape, mm = hu.shape[1:], min(spacing_mm)
    even = [round(n * own / mm) for n, own in zip(shape, spacing_mm)]
    square = (max(even),) * 2
    lead = [(max(even) - n) // 2 for n in even]
    middle = tuple(slice(a, a + n) for a, n in zip(lead, even))
    x = np.empty((2, len(hu), *model.input_shape[1:3]), np.float32)  # as they are, and mirrored
    for n, one in enumerate(hu):  # slice by slice, as a cache holds no more
        seen = _resampled(_within(_resampled(one, even), square, middle), x.shape[2:])
        x[0, n] = scale(seen)
        x[1, n] = x[0, n, :, ::-1]
    both = logit(model, x.reshape(-1, *x.shape[2:])).reshape(x.shape)
    found = np.empty(hu.shape, np.float32)
    for n, (straight, mirrored) in enumerate(zip(*both)):
        z = _resampled(0.5 * (straight + mirrored[:, ::-1]), square)[middle]
        found[n] = sigmoid(_resampled(z, shape))
    return found


def _within(hu, square, middle):
    """A slice in the middle of a square, around it what lies outside the field of view."""
    around = np.full(square, FLOOR, hu.dtype)
    around[middle] = hu
    return around


def _resampled(image, shape):
    """Resample an image; averaged first where both axes shrink by two or more."""
    while all(n >= 2 * m and n % 2 == 0 for n, m in zip(image.shape, shape)):
        image = 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])
    if image.shape == tuple(shape):
        return image
    zoom = [m / n for n, m in zip(image.shape, shape)]
    return ndimage.zoom(image, zoom, order=1, mode="nearest", grid_mode=True)
