"""Predictions of the same ten slices after every epoch, for the video."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file

FRAME_SLICES = 10

SOFT_TISSUE_HU = (10, 90)
"""Brain and muscle; water and fat are below, bone and plastic above."""


@dataclass(frozen=True)
class Frames:
    """Content of a video."""

    hu: np.ndarray  # int16 (slices, rows, columns)
    labels: np.ndarray  # uint8 of that shape, 1 for support
    files: list[Path]  # one per epoch, in order
    epoch: np.ndarray
    loss: np.ndarray
    dice: np.ndarray

    def probability(self, i: int) -> np.ndarray:
        """Probability of support: float32 array (slices, rows, columns), 0 to 1."""
        return read_arrays(self.files[i])["probability"] / np.float32(255)

    def found(self, i: int) -> np.ndarray:
        """Pixels with a probability of 0.5 or more: bool array (slices, rows, columns)."""
        return read_arrays(self.files[i])["probability"] >= 128


def choose_slices(
    indices: np.ndarray, labels: np.ndarray, hu: np.ndarray, count: int = FRAME_SLICES
) -> np.ndarray:
    """Choose `count` of the slices `indices`, spread evenly over those with support (label 1).

    Those with most soft tissue come first: living heads, before plastic skulls.
    """
    chosen = np.array([i for i in indices if (labels[i] == 1).any()], int)
    if len(chosen) < count:
        chosen = np.asarray(indices)
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, count).astype(int))]
    low, high = SOFT_TISSUE_HU
    soft = [((hu[i] > low) & (hu[i] < high)).mean() for i in chosen]
    return chosen[np.argsort(np.negative(soft), kind="stable")]


def keep_slices(run: str | Path, hu: np.ndarray, labels: np.ndarray) -> None:
    """Store the slices of the frames and their labels (1 for support) in the folder of a run."""
    folder = Path(run) / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"hu": np.asarray(hu, np.int16), "labels": np.asarray(labels == 1, np.uint8)}
    _write(folder / "slices.npz", **arrays)


def keep_epoch(
    run: str | Path, probability: np.ndarray, epoch: int, loss: float, dice: float
) -> None:
    """Store the predictions of an epoch: probability (slices, rows, columns), 0 to 1.

    Epoch 0 is the untrained network; its loss is NaN.
    """
    rounded = np.rint(255 * probability).astype(np.uint8)
    path = Path(run) / "frames" / f"epoch_{epoch:04d}.npz"
    _write(path, probability=rounded, epoch=epoch, loss=loss, dice=dice)


def read_frames(run: str | Path) -> Frames:
    """Open the frames of a run; predictions are read when they are used. HeadrestError if there are
    none, or one is damaged."""
    folder = Path(run) / "frames"
    files = sorted(folder.glob("epoch_*.npz"))
    if not files:
        raise HeadrestError(f"{folder}: holds no epochs; train into {run} first")
    slices = read_arrays(folder / "slices.npz", ("hu", "labels"))
    rows = [read_arrays(path, ("epoch", "loss", "dice")) for path in files]
    columns = (np.array([row[key] for row in rows]) for key in ("epoch", "loss", "dice"))
    return Frames(slices["hu"], slices["labels"], files, *columns)


def _write(path, **arrays):
    with atomic_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)
