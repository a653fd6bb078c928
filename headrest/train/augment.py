"""Augmentation: slices as another scanner or another positioning would give them."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from headrest.hounsfield import FLOOR, INPUT_HIGH_HU, INPUT_LOW_HU, scale

TRANSPOSED_SHARE, FLIPPED_ROWS_SHARE, FLIPPED_COLUMNS_SHARE = 1 / 12, 0.2, 0.5
"""Shares of slices with rows and columns exchanged (patient on the side), and flipped."""

MAX_SHIFT = 24
"""Largest shift along rows and columns, in pixels; an eighth of smaller slices."""

ROTATED_SHARE, MAX_DEGREES, MAX_ZOOM = 0.5, 15.0, 1.25
"""Share of slices that are rotated and resized, with the largest angle and factor."""

OFFSET_HU, MAX_NOISE_HU = 15.0, 20.0
"""Standard deviation of the offset of a slice, and largest standard deviation of added noise."""

NOISE_SLICES = 4
"""Slices of noise per epoch; each example takes its noise from a random place in them."""


class Augmentation(NamedTuple):
    """Changes of one slice."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool
    shift: tuple[float, float]  # rows and columns, in pixels
    rotation: tuple[float, float] | None  # degrees from columns towards rows, zoom factor
    offset_hu: float
    noise_hu: float  # standard deviation
    noise_start: int  # first value used of the array from `sample_noise`
    size: int  # rows and columns of the result


def sample_augmentation(
    rng: np.random.Generator, size: int, half_resolution: bool = False
) -> Augmentation:
    """Sample the changes of a slice of `size` rows and columns.

    At half resolution the result has half of them: the slice at half its size, a quarter of it at
    full size, or a window of any size between.
    """
    reach = min(MAX_SHIFT, size // 8)
    rotation = (rng.uniform(-MAX_DEGREES, MAX_DEGREES), MAX_ZOOM ** rng.uniform(-1, 1))
    sampled = Augmentation(
        transpose=rng.random() < TRANSPOSED_SHARE,
        flip_rows=rng.random() < FLIPPED_ROWS_SHARE,
        flip_columns=rng.random() < FLIPPED_COLUMNS_SHARE,
        shift=tuple(rng.integers(-reach, reach + 1, 2).tolist()),
        rotation=rotation if rng.random() < ROTATED_SHARE else None,
        offset_hu=rng.normal(0, OFFSET_HU),
        noise_hu=rng.uniform(0, MAX_NOISE_HU),
        noise_start=int(rng.integers((NOISE_SLICES - 1) * size**2)),
        size=size,
    )
    return _sample_window(sampled, rng) if half_resolution else sampled


def _sample_window(full, rng):
    zoom = 2 ** rng.uniform(-1, 0)
    margin = (zoom - 0.5) * full.size / 2  # pixels outside the window, on either side
    shift = tuple(d / 2 + rng.uniform(-margin, margin) for d in full.shift)
    degrees = full.rotation[0] if full.rotation else 0.0
    return full._replace(shift=shift, rotation=(degrees, zoom), size=full.size // 2)


def sample_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of variance 1 for an epoch of slices of `size` rows: float32 array."""
    return rng.standard_normal(NOISE_SLICES * size**2, np.float32)


def augment(
    hu: np.ndarray, label: np.ndarray, change: Augmentation, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Change a slice and its label, and scale the slice for a network.

    Parameters
    ----------
    hu : array (size, size), in HU.
    label : uint8 array (size, size), values as of `headrest.hounsfield.SUPPORT`.
    change : Augmentation
    noise : float32 array, as by `sample_noise`.

    Returns
    -------
    (float32 array, uint8 array), both (change.size, change.size) : the slice, scaled as by
    `headrest.hounsfield.scale` and padded with `FLOOR` HU; the label, interpolated by the nearest
    neighbour.
    """
    if change.transpose:
        hu, label = hu.T, label.T
    flips = (change.flip_rows, change.flip_columns)
    axes = tuple(axis for axis, flip in enumerate(flips) if flip)
    hu, label = np.flip(hu, axes), np.flip(label, axes)
    if change.rotation is None:
        hu, label = _shift(hu, change.shift, FLOOR), _shift(label, change.shift, 0)
    else:
        hu, label = _rotate(hu.astype(np.float32), change, FLOOR), _rotate(label, change, 0)
    scaled = hu + np.float32(change.offset_hu)
    scale(scaled, out=scaled)
    added = noise[change.noise_start : change.noise_start + scaled.size].reshape(scaled.shape)
    scaled += np.float32(change.noise_hu * 2 / (INPUT_HIGH_HU - INPUT_LOW_HU)) * added
    return scaled, label


def _shift(image, shift, fill):
    rows, columns = shift
    reach = max(map(abs, shift))
    padded = np.pad(image, reach, constant_values=fill)
    return padded[reach - rows :, reach - columns :][: len(image), : len(image)]


def _rotate(image, change, fill):
    """Rotate, resize and shift, around the centre: linear for HU, nearest neighbour for labels.
    Pillow takes 3 ms per slice and label, scipy.ndimage 12 ms."""
    degrees, zoom = change.rotation
    cos, sin = (f(np.deg2rad(degrees)) / zoom for f in (np.cos, np.sin))
    inverse = np.array([[cos, sin], [-sin, cos]])  # from (x, y) of the result to the slice
    centre = change.size / 2 + np.array(change.shift[::-1])
    x, y = np.column_stack([inverse, len(image) / 2 - inverse @ centre])
    method = Image.Resampling.NEAREST if image.dtype == np.uint8 else Image.Resampling.BILINEAR
    pillow, size = Image.fromarray(np.ascontiguousarray(image)), (change.size, change.size)
    affine = Image.Transform.AFFINE
    return np.asarray(pillow.transform(size, affine, (*x, *y), method, fillcolor=int(fill)))
