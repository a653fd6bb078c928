"""Batches of augmented slices in random order; patients split into training and held out.

Augmentation changes slices as another scanner or another positioning would give them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from headrest.hounsfield import FLOOR, INPUT_HIGH_HU, INPUT_LOW_HU, crop, scale
from headrest.util import HeadrestError, cores

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

SYNTHETIC = "synthetic-"
"""Begins the names of synthetic patients in a training set."""

BATCH_THREADS = max(1, min(cores() // 2, 8))
"""Threads that prepare a batch during the training step of the previous one."""


def split_patients(
    patients: np.ndarray,
    held_out: float | list[str] = 0.2,
    seed: int = 0,
    support: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Split slices into training and held out, by patient: slices of one patient look alike.

    Parameters
    ----------
    patients : str array (n,), the patient of each slice.
    held_out : share of the patients, at least one and not all; or names of patients. With two or
        more real patients, the share is of these, and synthetic ones are all trained on. If two or
        more of them have support, one with support is held out: a Dice says nothing without.
    seed : int
    support : bool array (n,), optional, whether a slice has support.

    Returns
    -------
    training, held_out : int arrays, ascending indices of slices.

    Raises
    ------
    HeadrestError
        For fewer than two patients, unknown names, or names that leave one side empty.

    Examples
    --------
    >>> split_patients(np.array(["a", "a", "b", "b"]))
    (array([2, 3]), array([0, 1]))
    """
    names = sorted(set(map(str, patients)))
    if len(names) < 2:
        raise HeadrestError("training needs two patients or more, one of them held out")
    if not isinstance(held_out, (int, float)):
        chosen = list(map(str, held_out))
        if unknown := sorted(set(chosen) - set(names)):
            raise HeadrestError(f"no patient {', '.join(unknown[:5])} to hold out")
    else:
        others = [name for name in names if not name.startswith(SYNTHETIC)]
        names = others if len(others) > 1 else names
        n = min(max(round(held_out * len(names)), 1), len(names) - 1)
        chosen = np.random.default_rng(seed).permutation(names).tolist()
        shown = set() if support is None else set(patients[support].tolist())
        known = [name for name in chosen if name in shown]
        if len(known) > 1 and not set(known) & set(chosen[:n]):
            chosen = known[:1] + chosen
        chosen = chosen[:n]
    out = np.isin(patients, chosen)
    if out.all() or not out.any():
        raise HeadrestError("hold out some patients, not all and not none")
    return np.flatnonzero(~out), np.flatnonzero(out)


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

    At half resolution the result has half as many. It shows the whole slice at half its size, a
    quarter of the slice at full size, or a part in between.
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
    """Change a slice in HU and its label, (size, size), with noise of `sample_noise`.

    Returns float32 and uint8 arrays (change.size, change.size): the slice, scaled as by
    `headrest.hounsfield.scale` and padded with `FLOOR` HU; the label, interpolated by the nearest
    neighbour.
    """
    if change.transpose:
        hu, label = hu.T, label.T
    axes = tuple(np.flatnonzero([change.flip_rows, change.flip_columns]).tolist())
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


@dataclass(frozen=True)
class Batches:
    """Batches of an epoch; the same for the same seed.

    Slices that do not fill the last batch of an epoch are left out of it. At half resolution
    slices have half the rows and columns, and there are four times as many per batch and epoch: the
    same work for the network.
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
        available = len(self.indices)
        if self.slices_per_epoch is not None:
            available = min(available, self.slices_per_epoch)
        if self.batch_size < 1:
            raise HeadrestError(f"a batch of {self.batch_size} slices: choose 1 or more")
        if available < self.batch_size:
            why = f"{available} slices are fewer than a batch of {self.batch_size}"
            raise HeadrestError(f"{why}: choose a smaller batch size")
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
                args = (rng, size, self.half_resolution)
                changes = [sample_augmentation(*args) if self.augment else None for _ in indices]
                examples = zip(x[..., 0], y, indices, changes)
                futures = [threads.submit(self._fill, *one, noise) for one in examples]
                if previous:
                    yield _complete(*previous)
                previous = futures, x, y
            if previous:
                yield _complete(*previous)

    def _order(self, rng, batch):
        """Slices in random order, each equally often or once more: int array (batches, batch)."""
        slices = (self.slices_per_epoch or len(self.indices)) * (batch // self.batch_size)
        rounds = -(-slices // len(self.indices))
        order = np.concatenate([rng.permutation(self.indices) for _ in range(rounds)])
        return order[: len(self) * batch].reshape(-1, batch)

    def _fill(self, x, y, index, change, noise):
        """Write one example into its place: stacking 32 of them later would delay a fast GPU."""
        hu, label = self.hu[index], self.labels[index]
        hu, label = augment(hu, label, change, noise) if change else (scale(hu), label)
        x[...], y[...] = hu, crop(label, self.output_size)


def _complete(futures, x, y):
    for future in futures:
        future.result()
    return x, y
