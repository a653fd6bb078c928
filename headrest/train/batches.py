"""Batches of augmented slices in random order; patients split into training and held out."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from headrest.hounsfield import scale
from headrest.train.augment import augment, ignore_air, sample_augmentation, sample_noise
from headrest.util.arrays import crop
from headrest.util.errors import HeadrestError

BATCH_THREADS = max(1, min((os.cpu_count() or 1) // 2, 8))
"""Threads that prepare a batch during the training step of the previous one."""


def split_patients(
    patients: np.ndarray, held_out: float | list[str] = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split slices into training and held out, by patient: slices of one patient look alike.

    Parameters
    ----------
    patients : str array (n,), patient of each slice.
    held_out : float, share of the patients, at least one and not all of them; or their names.
    seed : int

    Returns
    -------
    (training, held_out) : int arrays, ascending indices of slices.

    Raises
    ------
    HeadrestError
        If there are fewer than two patients, or the names leave one side empty.

    Examples
    --------
    >>> split_patients(np.array(["a", "a", "b", "b"]))
    (array([2, 3]), array([0, 1]))
    """
    names = sorted(set(map(str, patients)))
    if len(names) < 2:
        raise HeadrestError("training needs two patients or more, one of them held out")
    if isinstance(held_out, list):
        chosen = held_out
    else:
        n = min(max(round(held_out * len(names)), 1), len(names) - 1)
        chosen = np.random.default_rng(seed).permutation(names)[:n].tolist()
    out = np.isin(patients, chosen)
    if out.all() or not out.any():
        raise HeadrestError("the names of held-out patients match no patient, or all of them")
    return np.flatnonzero(~out), np.flatnonzero(out)


class Batches:
    """Batches of an epoch; the same for the same seed.

    Parameters
    ----------
    hu : array (n, size, size), in HU.
    labels : uint8 array (n, size, size), 1 for support, 0 for the rest, or `IGNORE_LABEL`.
    indices : int array, slices to sample from.
    batch_size : int
        Slices that do not fill the last batch of an epoch are left out of it.
    output_size : int, rows and columns that the network returns; labels are cropped to it.
    augment : bool
    slices_per_epoch : int, optional
        Default: each of `indices` once.
    half_resolution : bool
        Half as many rows and columns (`headrest.train.augment.sample_augmentation`), and four
        times as many slices per batch and epoch: the same work for the network. Needs `augment`.
    """

    def __init__(
        self,
        hu: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        batch_size: int,
        output_size: int,
        augment: bool = True,
        slices_per_epoch: int | None = None,
        half_resolution: bool = False,
    ) -> None:
        slices, factor = slices_per_epoch or len(indices), 4 if half_resolution else 1
        available = min(len(indices), slices)
        if available < batch_size:
            raise HeadrestError(f"{available} slices are fewer than a batch of {batch_size}")
        if half_resolution and not augment:
            raise HeadrestError("half-resolution epochs need augmentation")
        self.hu, self.labels, self.indices = hu, labels, indices
        self.slices, self.batch_size = factor * slices, factor * batch_size
        self.output_size, self.augment = output_size, augment
        self.half_resolution = half_resolution

    def __len__(self) -> int:
        return self.slices // self.batch_size

    def epoch(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the batches of an epoch.

        Yields
        ------
        float32 array (batch, rows, columns, 1), scaled, and uint8 array (batch, output, output),
        1 for support, 0 for the rest, `headrest.hounsfield.IGNORE_LABEL` for air and where the
        labels say so.
        """
        rng, size = np.random.default_rng(seed), self.hu.shape[1]
        noise, previous = sample_noise(rng, size), None
        rows = size // 2 if self.half_resolution else size
        with ThreadPoolExecutor(BATCH_THREADS) as threads:
            for indices in self._order(rng):
                x = np.empty((self.batch_size, rows, rows, 1), np.float32)
                y = np.empty((self.batch_size, self.output_size, self.output_size), np.uint8)
                changes = [self._sample_change(rng, size) for _ in indices]
                examples = zip(x[..., 0], y, indices, changes)
                futures = [threads.submit(self._fill, *one, noise) for one in examples]
                if previous:
                    yield _complete(*previous)
                previous = futures, x, y
            if previous:
                yield _complete(*previous)

    def _order(self, rng):
        """Slices in random order, each equally often: int array (batches, batch)."""
        rounds = [
            rng.permutation(self.indices) for _ in range(-(-self.slices // len(self.indices)))
        ]
        return np.concatenate(rounds)[: len(self) * self.batch_size].reshape(-1, self.batch_size)

    def _sample_change(self, rng, size):
        return sample_augmentation(rng, size, self.half_resolution) if self.augment else None

    def _fill(self, x, y, index, change, noise):
        """Write one example into its place: stacking 32 of them later would delay a fast GPU."""
        hu, label = self.hu[index], self.labels[index]
        if change is None:
            hu, label = scale(hu), ignore_air(hu, label)
        else:
            hu, label = augment(hu, label, change, noise)
        x[...], y[...] = hu, crop(label, self.output_size)


def _complete(futures, x, y):
    for future in futures:
        future.result()
    return x, y
