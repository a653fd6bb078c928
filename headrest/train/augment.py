"""Slices as another scanner or another positioning would give them."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from headrest.hounsfield import FLOOR, IGNORE_LABEL, INPUT_HIGH_HU, INPUT_LOW_HU, SUPPORT_HU, scale

SIDEWAYS, MIRRORED, UPSIDE_DOWN = 1 / 12, 0.5, 0.2
"""Shares of slices whose rows become columns, as of patients on their side, and that are flipped
from left to right and from top to bottom, as of series stored upside down."""

SHIFT = 24
"""Pixels, at most, by which a slice is moved."""

TURNED, DEGREES, ZOOM = 0.5, 15.0, 1.25
"""Share of slices that are turned and resized besides; by how much, at most, either way."""

OFFSET, NOISE = 15.0, 20.0
"""HU: standard deviation of what is added to a whole slice; at most that of added noise."""

STORE = 4
"""Slices of noise that all of an epoch is taken from: where in it one begins is drawn."""


class Change(NamedTuple):
    """What is changed about a slice.

    Attributes
    ----------
    sideways, upside_down, mirrored : bool
    by : (rows, columns), pixels by which it is moved.
    turn : (angle in degrees, factor of its size), or None.
    offset, noise : HU that are added, and standard deviation of noise in HU.
    start : int, where in the store of noise its own begins.
    size : int, rows and columns of what comes out.
    """

    sideways: bool
    upside_down: bool
    mirrored: bool
    by: tuple
    turn: tuple | None
    offset: float
    noise: float
    start: int
    size: int


def draw_change(rng, size, halved=False):
    """Draw what is changed about a slice.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int, rows and columns of the slice.
    halved : bool
        Half as many rows and columns come out: the whole slice at half its size, a quarter of it
        at its own, or anything between.

    Returns
    -------
    Change
    """
    reach = min(SHIFT, size // 8)
    turn = (rng.uniform(-DEGREES, DEGREES), ZOOM ** rng.uniform(-1, 1))
    change = Change(
        sideways=rng.random() < SIDEWAYS,
        upside_down=rng.random() < UPSIDE_DOWN,
        mirrored=rng.random() < MIRRORED,
        by=tuple(rng.integers(-reach, reach + 1, 2).tolist()),
        turn=turn if rng.random() < TURNED else None,
        offset=rng.normal(0, OFFSET),
        noise=rng.uniform(0, NOISE),
        start=int(rng.integers((STORE - 1) * size**2)),
        size=size,
    )
    return _halve(change, rng) if halved else change


def _halve(change, rng):
    zoom = 2 ** rng.uniform(-1, 0)
    beyond = (zoom - 0.5) * change.size / 2  # what of the slice lies outside, on either side
    by = tuple(d / 2 + rng.uniform(-beyond, beyond) for d in change.by)
    degrees = change.turn[0] if change.turn else 0.0
    return change._replace(by=by, turn=(degrees, zoom), size=change.size // 2)


def store_of_noise(rng, size):
    """Numbers of variance 1 for `augment`: float32 array."""
    return rng.standard_normal(STORE * size**2, np.float32)


def augment(hu, label, change, noise):
    """Change a slice and its label, and scale it for a network.

    Parameters
    ----------
    hu : array (size, size), in HU.
    label : uint8 array (size, size), 1 for headrest, 0 for the rest, or `IGNORE_LABEL`.
    change : Change
    noise : float32 array, as `store_of_noise` makes it.

    Returns
    -------
    (float32 array, uint8 array), of `change.size` rows and columns : scaled as by
    `headrest.hounsfield.scale`; the label moved with it, `IGNORE_LABEL` in air. What moves in from
    outside is `FLOOR`.
    """
    if change.sideways:
        hu, label = hu.T, label.T
    flips = [axis for axis, flip in enumerate((change.upside_down, change.mirrored)) if flip]
    hu, label = np.flip(hu, flips), np.flip(label, flips)
    if change.turn is None:
        hu, label = moved(hu, change.by, FLOOR), moved(label, change.by, 0)
    else:
        hu = turned(hu.astype(np.float32), *change.turn, change.by, FLOOR, change.size)
        label = turned(label, *change.turn, change.by, 0, change.size)
    label = unjudged_in_air(hu, label)
    scaled = hu + np.float32(change.offset)
    scale(scaled, out=scaled)
    grains = noise[change.start : change.start + scaled.size].reshape(scaled.shape)
    scaled += np.float32(change.noise * 2 / (INPUT_HIGH_HU - INPUT_LOW_HU)) * grains
    return scaled, label


def unjudged_in_air(hu, label):
    """Labels with `IGNORE_LABEL` wherever a slice is air.

    Examples
    --------
    >>> unjudged_in_air(np.array([-1000, 40]), np.array([0, 1], np.uint8))
    array([255,   1], dtype=uint8)
    """
    return np.where(hu > SUPPORT_HU, label, np.uint8(IGNORE_LABEL))


def moved(image, by, fill):
    """Move an image by whole pixels; what moves in is `fill`.

    Examples
    --------
    >>> moved(np.array([[1, 2], [3, 4]]), (1, 0), 0)
    array([[0, 0],
           [1, 2]])
    """
    out = np.full_like(image, fill)
    to = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, image.shape))
    back = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, image.shape))
    out[to] = image[back]
    return out


def turned(image, degrees, zoom, by, fill, size=None):
    """Turn and resize an image about its centre, and move it; what moves in is `fill`.

    Between pixels, numbers are interpolated along both axes, labels are the nearest one's.

    Parameters
    ----------
    image : float32 or uint8 array (size, size)
    degrees : float, from the columns towards the rows.
    zoom : float, above 1 for larger.
    by : (rows, columns) in pixels.
    fill : float
    size : int, optional; rows and columns of what comes out, as many as go in if None.

    Examples
    --------
    >>> turned(np.array([[1, 2], [3, 4]], np.uint8), 90, 1.0, (0, 0), 0)
    array([[3, 1],
           [4, 2]], dtype=uint8)
    """
    cos, sin = (f(np.deg2rad(degrees)) / zoom for f in (np.cos, np.sin))
    back = np.array([[cos, sin], [-sin, cos]])  # of x and y, from where a pixel is taken
    size = size or len(image)
    x, y = np.column_stack([back, len(image) / 2 - back @ (size / 2 + np.array(by[::-1]))])
    between = Image.Resampling.NEAREST if image.dtype == np.uint8 else Image.Resampling.BILINEAR
    whole = Image.fromarray(np.ascontiguousarray(image))
    taken = whole.transform(
        (size, size), Image.Transform.AFFINE, (*x, *y), between, fillcolor=int(fill)
    )
    return np.asarray(taken)
