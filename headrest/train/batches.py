"""What a network is fed: batches in random order, changed at random, patients kept apart."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from headrest.hounsfield import scale
from headrest.train.augment import augment, draw_change, store_of_noise, unjudged_in_air
from headrest.util.arrays import crop
from headrest.util.errors import HeadrestError

THREADS = max(1, min((os.cpu_count() or 1) // 2, 8))
"""Threads that make a batch while the one before is learned from."""


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


class Batches:
    """Batches of an epoch, the same whenever its seed is.

    Parameters
    ----------
    slices : array (n, size, size), in HU.
    labels : array (n, size, size), 1 for headrest, 0 for the rest, or `IGNORE_LABEL`.
    indices : int array, of the slices to draw from.
    batch : int, slices in a batch. What is left over at the end waits for another epoch.
    size : int, rows and columns of the network's output: labels are cropped to it.
    augment : bool, change slices at random, as `headrest.train.augment` does.
    examples : int, optional; slices of an epoch, each of `indices` once if None.
    halved : bool
        Slices at half to all of their size through a window of half the rows and columns, and
        four times as many in a batch and in an epoch, which is as much work for a network.
        `size` is that of the smaller network. What is seen of a slice is drawn, so `augment` too.
    """

    def __init__(
        self, slices, labels, indices, batch, size, augment=True, examples=None, halved=False
    ):
        examples, many = examples or len(indices), 4 if halved else 1
        fewest = min(len(indices), examples)
        if fewest < batch:
            raise HeadrestError(f"{fewest} slices are fewer than a batch of {batch}")
        if halved and not augment:
            raise HeadrestError("what is seen of a halved slice is drawn: augment, or halve none")
        self.slices, self.labels, self.indices = slices, labels, indices
        self.examples, self.batch = many * examples, many * batch
        self.size, self.augment, self.halved = size, augment, halved

    def __len__(self):
        return self.examples // self.batch

    def epoch(self, seed, known=None):
        """Yield slices and labels in random order.

        Parameters
        ----------
        seed : int
        known : int, optional; so many of `indices`, the first ones, are drawn from.

        Yields
        ------
        float32 array (batch, rows, columns, 1), scaled, and uint8 array (batch, size, size), 1
        for support, 0 for the rest, `headrest.hounsfield.IGNORE_LABEL` for air and as labelled.
        """
        rng, size = np.random.default_rng(seed), self.slices.shape[1]
        noise, following = store_of_noise(rng, size), []
        seen = size // 2 if self.halved else size
        with ThreadPoolExecutor(THREADS) as threads:
            for chosen in self._order(rng, self.indices[:known]):
                changes = [self._change(rng, size) for _ in chosen]
                x = np.empty((self.batch, seen, seen, 1), np.float32)
                y = np.empty((self.batch, self.size, self.size), np.uint8)
                made = [
                    threads.submit(self._fill, x[n, ..., 0], y[n], i, change, noise)
                    for n, (i, change) in enumerate(zip(chosen, changes))
                ]
                if following:
                    yield _complete(*following)
                following = made, x, y
            yield _complete(*following)

    def _change(self, rng, size):
        return draw_change(rng, size, self.halved) if self.augment else None

    def _order(self, rng, indices):
        """Indices, each as often as any other, in random order: int array (batches, batch)."""
        rounds = [rng.permutation(indices) for _ in range(-(-self.examples // len(indices)))]
        return np.concatenate(rounds)[: len(self) * self.batch].reshape(-1, self.batch)

    def _fill(self, x, y, i, change, noise):
        """Make one example, into its place in the batch: gathering 32 of them afterwards, in one
        thread, would keep a fast GPU waiting."""
        hu, label = self.slices[i], self.labels[i]
        if change is None:
            hu, label = scale(hu), unjudged_in_air(hu, label)
        else:
            hu, label = augment(hu, label, change, noise)
        x[...], y[...] = hu, crop(label, self.size)


def _complete(made, x, y):
    for one in made:
        one.result()
    return x, y
