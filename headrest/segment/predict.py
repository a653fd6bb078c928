"""A network over a whole series: HU in, probability of support out."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from tqdm.auto import tqdm

from headrest.hounsfield import FLOOR, SUPPORT_HU, scale
from headrest.util.backend import keras
from headrest.util.errors import HeadrestError

SIZE = 512
"""Rows and columns that a network sees, unless its pixels would be finer or coarser than these."""

PIXEL_MM = (0.35, 1.0)
"""Pixels of the synthetic patients that networks learn from."""

STEP = 256
"""Slices of the standard network are multiples of this: six poolings of folded pixels."""

MOST_STEPS = 4
"""A network never sees more than 1024 x 1024: coarser pixels rather than no memory."""

TOGETHER = 8
"""Slices of `SIZE` x `SIZE` that a network sees at once; fewer where they are larger."""

NEXT_TO_NOTHING = 1.3e-4
"""Probability that is taken for none. Below half of it float16 is subnormal, and NumPy thirty times
slower."""

AS_THEY_ARE, MIRRORED = slice(None), slice(None, None, -1)
"""Columns of a slice, in the order in which a network sees them."""

UNSURE, UNSURE_MM2 = (0.05, 0.95), 4.0
"""A slice with an area as large as this between these probabilities is looked at once more,
mirrored: one in four of drawn patients. 99 % of the pixels that a second look changes are there."""


def series_probability(
    hu: np.ndarray, spacing_mm: Sequence[float], network: Callable[[int], keras.Model]
) -> np.ndarray:
    """Probability that a voxel belongs to a support.

    Each slice is seen as it is; where a network is not sure, also mirrored, and the two answers
    are averaged.

    Parameters
    ----------
    hu : float array (slices, rows, columns), in HU. Any matrix; one slice is enough.
    spacing_mm : (z, y, x) in mm.
    network : callable
        Size -> keras.Model of that size, an inference model:
        `headrest.segment.pretrained.shipped_network`
        and `headrest.segment.inference.for_inference` give it.

    Returns
    -------
    float16 array (slices, rows, columns), 0 to 1; 0 at `SUPPORT_HU` HU and below.

    Raises
    ------
    HeadrestError
        Where a network is not laid out for use, or loses its rim.

    Examples
    --------
    >>> from headrest.segment.inference import for_inference
    >>> from headrest.segment.unet import build
    >>> trained, empty = build("small"), np.full((1, 40, 30), -1000.0)
    >>> float(series_probability(empty, (5, 8, 8), lambda n: for_inference(trained, n)).max())
    0.0
    """
    size = network_size(hu.shape[1:], spacing_mm[1:])
    model, batch = network(size), max(TOGETHER * SIZE**2 // size**2, 1)
    found = np.zeros(hu.shape, np.float16)
    seen = [i for i, one in enumerate(hu) if (one > SUPPORT_HU).any()]
    if model.output_shape[1:] != (size, size, 1):
        raise HeadrestError(
            "a network that is not laid out for use: headrest.segment.inference.for_inference"
        )
    fewest, unsure = min(len(seen), batch), []

    def look(chosen, columns):
        given = [hu[i][:, columns] for i in chosen]
        answers, unsure_mm2 = batch_probability(given, spacing_mm[1:], model, fewest)
        for i, answer, doubt in zip(chosen, answers, unsure_mm2):
            answer = answer[:, columns]
            told = answer > NEXT_TO_NOTHING
            told &= hu[i] > SUPPORT_HU
            yield i, answer, told, doubt

    for chosen in _batches(seen, batch, "predicting"):
        for i, answer, told, doubt in look(chosen, AS_THEY_ARE):
            found[i, told] = answer[told]
            if doubt >= UNSURE_MM2:
                unsure.append(i)
    for chosen in _batches(unsure, batch, "looking again"):
        for i, answer, told, _ in look(chosen, MIRRORED):
            found[i] *= 0.5
            found[i, told] += 0.5 * answer[told]
    return found


def _batches(indices, batch, what):
    with tqdm(total=len(indices), desc=what, unit="slice", delay=2, leave=False) as bar:
        for start in range(0, len(indices), batch):
            chosen = indices[start : start + batch]
            yield chosen
            bar.update(len(chosen))


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
    hu: Sequence[np.ndarray], spacing_mm: Sequence[float], model: keras.Model, fewest: int = 1
) -> tuple[list[np.ndarray], np.ndarray]:
    """Probability of support in some slices, which the network sees at once, and its doubts.

    Parameters
    ----------
    hu : n float arrays (rows, columns), all of one shape, in HU.
    spacing_mm : (y, x) in mm.
    model : keras.Model laid out for use, for square slices of any size.
    fewest : int
        Fewer slices are filled up to so many, as another number would be compiled anew.

    Returns
    -------
    probability : list of float32 array (rows, columns), 0 to 1.
    unsure_mm2 : float array (n,), how much of a slice, air apart, lies within `UNSURE`; on the
        network's own pixels, since resampling puts something between 0 and 1 on every edge.
    """
    shape, mm = hu[0].shape, min(spacing_mm)
    even = [round(n * own / mm) for n, own in zip(shape, spacing_mm)]
    square = (max(even),) * 2
    lead = [(max(even) - n) // 2 for n in even]
    middle = tuple(slice(a, a + n) for a, n in zip(lead, even))
    x = np.empty((max(len(hu), fewest), *model.input_shape[1:3]), np.float32)
    x[len(hu) :] = 0
    for one, place in zip(hu, x):  # slice by slice, as a cache holds no more
        inside = _within(_resampled(one, even), square, middle)
        scale(_resampled(inside, place.shape), out=place)
    answers = np.asarray(model.predict_on_batch(x[..., None]))[: len(hu), ..., 0]
    low, high, air = *UNSURE, scale(SUPPORT_HU)
    unsure = [np.count_nonzero((p > low) & (p < high) & (one > air)) for p, one in zip(answers, x)]
    unsure_mm2 = np.array(unsure) * (mm * max(even) / x.shape[1]) ** 2
    return [_resampled(_resampled(p, square)[middle], shape) for p in answers], unsure_mm2


def _within(hu, square, middle):
    """A slice in the middle of a square, around it what lies outside the field of view."""
    if hu.shape == square:
        return hu
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
