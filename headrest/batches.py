"""What a network is fed: HU scaled to about -1..1, changed at random, patients kept apart."""

import numpy as np

from headrest.errors import HeadrestError
from headrest.hounsfield import DEVICE, FLOOR

UNJUDGED = 255
"""Label of pixels that no loss looks at: by definition nothing at `DEVICE` HU or below is
labelled, so nothing is to be learned there."""

LOW, HIGH = -1024.0, 600.0
"""HU that a network sees; everything below or above is set to these. Air, foam, plastic, skin
and the edge of bone lie between, and metal counts as bone."""

SHIFT = 24
"""Pixels, at most, by which a slice is moved for training."""

OFFSET, NOISE = 15.0, 20.0
"""HU: standard deviation of what is added to a whole slice; at most that of added noise."""


def scale(hu):
    """Clip HU to `LOW`..`HIGH` and scale them to -1..1.

    Parameters
    ----------
    hu : array of any shape, in HU.

    Returns
    -------
    float32 array of that shape.

    Examples
    --------
    >>> scale(np.array([-3024, -1024, -212, 600, 3071]))
    array([-1., -1.,  0.,  1.,  1.], dtype=float32)
    """
    scaled = np.clip(hu, LOW, HIGH).astype(np.float32)
    scaled -= (LOW + HIGH) / 2
    scaled *= 2 / (HIGH - LOW)
    return scaled


def split(patients, held_out=0.2, seed=0):
    """Keep some patients out of training, whole: slices of one patient are all but copies.

    Parameters
    ----------
    patients : str array (n,), one name a slice.
    held_out : float, share of the patients, rounded, but at least one and never all; or a list of
        their names.
    seed : int

    Returns
    -------
    (training, held_out) : int arrays, indices of slices in ascending order.

    Raises
    ------
    HeadrestError
        Where there are fewer than two patients, or nobody is held out, or everybody.

    Examples
    --------
    >>> split(np.array(["a", "a", "b", "b"]))
    (array([2, 3]), array([0, 1]))
    """
    names = sorted(set(map(str, patients)))
    if len(names) < 2:
        raise HeadrestError("fewer than two patients: none can be held out")
    chosen = held_out
    if not isinstance(held_out, list):
        n = min(max(round(held_out * len(names)), 1), len(names) - 1)
        chosen = np.random.default_rng(seed).permutation(names)[:n]
    out = np.isin(patients, chosen)
    if out.all() or not out.any():
        raise HeadrestError("nobody is held out, or everybody: nothing to judge by, or to learn")
    return np.flatnonzero(~out), np.flatnonzero(out)


def crop(masks, size):
    """Cut the last two axes to a square about their centre: a view.

    Examples
    --------
    >>> crop(np.arange(16).reshape(4, 4), 2)
    array([[ 5,  6],
           [ 9, 10]])
    """
    lead = (masks.shape[-1] - size) // 2
    return masks[..., lead : lead + size, lead : lead + size]


class Batches:
    """Batches of an epoch, the same whenever its seed is.

    Parameters
    ----------
    slices : array (n, size, size), in HU.
    labels : array (n, size, size), 1 for headrest.
    indices : int array, of the slices to draw from.
    batch : int, slices in a batch. What is left over at the end waits for another epoch.
    size : int, rows and columns of the network's output: labels are cropped to it.
    augment : bool, flip, move, offset and add noise at random.
    """

    def __init__(self, slices, labels, indices, batch, size, augment=True):
        if len(indices) < batch:
            raise HeadrestError(f"{len(indices)} slices are fewer than a batch of {batch}")
        self.slices, self.labels, self.indices = slices, labels, indices
        self.batch, self.size, self.augment = batch, size, augment

    def __len__(self):
        return len(self.indices) // self.batch

    def epoch(self, seed):
        """Yield slices and labels in random order.

        Yields
        ------
        float32 array (batch, size, size, 1), scaled, and uint8 array (batch, output, output), 1
        for headrest, 0 for the rest, `UNJUDGED` for air.
        """
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(4 * self.slices[0].size, np.float32)
        order = rng.permutation(self.indices)
        for start in range(0, len(self) * self.batch, self.batch):
            chosen = order[start : start + self.batch]
            pairs = [self._example(i, rng, noise) for i in chosen]
            x, y = (np.stack(side) for side in zip(*pairs))
            yield x[..., None], np.ascontiguousarray(crop(y, self.size))

    def _example(self, i, rng, noise):
        hu = self.slices[i]
        label = np.where(hu > DEVICE, self.labels[i], np.uint8(UNJUDGED))
        return augment(hu, label, rng, noise) if self.augment else (scale(hu), label)


def augment(hu, label, rng, noise):
    """Change a slice as another scanner or positioning would.

    Parameters
    ----------
    hu : array (size, size), in HU.
    label : array (size, size)
        1 for headrest, 0 for the rest, `UNJUDGED` for air.
    rng : numpy Generator
    noise : float32 array, longer than the slice: numbers of variance 1 to take noise from.

    Returns
    -------
    (float32 array (size, size), scaled as by `scale`; label changed alike)

    Notes
    -----
    Left-right flips come half the time, top-bottom flips, as of series stored upside down, a
    fifth of it, and rows become columns, as for patients on their side, one time in twelve.
    What moves in from outside is `FLOOR`.
    """
    if rng.random() < 1 / 12:
        hu, label = hu.T, label.T
    for axis, share in ((1, 0.5), (0, 0.2)):
        if rng.random() < share:
            hu, label = np.flip(hu, axis), np.flip(label, axis)
    reach = min(SHIFT, hu.shape[0] // 8)
    by = rng.integers(-reach, reach + 1, 2)
    hu, label = moved(hu, by, FLOOR), moved(label, by, UNJUDGED)
    scaled = scale(hu + np.float32(rng.normal(0, OFFSET)))
    start = rng.integers(noise.size - scaled.size)
    strength = np.float32(rng.uniform(0, NOISE) * 2 / (HIGH - LOW))
    scaled += strength * noise[start : start + scaled.size].reshape(scaled.shape)
    return scaled, label


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
