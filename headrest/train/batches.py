"""Batches of augmented slices in random order; patients split into training and held out."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from headrest.hounsfield import scale
from headrest.train.augment import augment, sample_augmentation, sample_noise
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


@dataclass(frozen=True)
class Batches:
    """Batches of an epoch; the same for the same seed.

    Slices that do not fill the last batch of an epoch are left out of it. At half resolution
    (`headrest.train.augment.sample_augmentation`) slices have half the rows and columns, and there
    are four times as many per batch and epoch: the same work for the network.
    """

    hu: np.ndarray  # (n, size, size)
    labels: np.ndarray  # uint8 (n, size, size)
    indices: np.ndarray  # slices to sample from
    batch_size: int
    output_size: int  # rows and columns that the network returns; labels are cropped to it
    augment: bool = True
    slices_per_epoch: int | None = None  # None: each of `indices` once
    half_resolution: bool = False

    def __post_init__(self) -> None:
        available = min(len(self.indices), self.slices_per_epoch or len(self.indices))
        if available < self.batch_size:
            raise HeadrestError(f"{available} slices are fewer than a batch of {self.batch_size}")
        if self.half_resolution and not self.augment:
            raise HeadrestError("half-resolution epochs need augmentation")

    def __len__(self) -> int:
        return (self.slices_per_epoch or len(self.indices)) // self.batch_size

    def epoch(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield batches: scaled slices, float32 (batch, rows, columns, 1), and their labels, uint8
        (batch, output, output)."""
        rng, size = np.random.default_rng(seed), self.hu.shape[1]
        noise, previous = sample_noise(rng, size), None
        rows, batch = size, self.batch_size
        if self.half_resolution:
            rows, batch = size // 2, 4 * batch
        with ThreadPoolExecutor(BATCH_THREADS) as threads:
            for indices in self._order(rng, batch):
                x = np.empty((batch, rows, rows, 1), np.float32)
                y = np.empty((batch, self.output_size, self.output_size), np.uint8)
                changes = [self._sample_change(rng, size) for _ in indices]
                examples = zip(x[..., 0], y, indices, changes)
                futures = [threads.submit(self._fill, *one, noise) for one in examples]
                if previous:
                    yield _complete(*previous)
                previous = futures, x, y
            if previous:
                yield _complete(*previous)

    def _order(self, rng, batch):
        """Slices in random order, each equally often: int array (batches, batch)."""
        slices = (self.slices_per_epoch or len(self.indices)) * (batch // self.batch_size)
        rounds = -(-slices // len(self.indices))
        order = np.concatenate([rng.permutation(self.indices) for _ in range(rounds)])
        return order[: len(self) * batch].reshape(-1, batch)

    def _sample_change(self, rng, size):
        return sample_augmentation(rng, size, self.half_resolution) if self.augment else None

    def _fill(self, x, y, index, change, noise):
        """Write one example into its place: stacking 32 of them later would delay a fast GPU."""
        hu, label = self.hu[index], self.labels[index]
        if change is None:
            hu = scale(hu)
        else:
            hu, label = augment(hu, label, change, noise)
        x[...], y[...] = hu, crop(label, self.output_size)


def _complete(futures, x, y):
    for future in futures:
        future.result()
    return x, y
