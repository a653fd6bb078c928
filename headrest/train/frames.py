"""The same ten slices, predicted after every epoch and kept for the video."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file

COUNT = 10


@dataclass(frozen=True)
class Frames:
    """What a video shows.

    Attributes
    ----------
    hu : int16 array (10, rows, columns), in HU.
    labels : uint8 array of that shape, 1 for headrest.
    files : list of path, one an epoch, in order.
    epoch, loss, dice : arrays (epochs,)
    """

    hu: np.ndarray
    labels: np.ndarray
    files: list
    epoch: np.ndarray
    loss: np.ndarray
    dice: np.ndarray

    def probability(self, i):
        """Predicted probability of headrest: float32 array (10, rows, columns), 0 to 1."""
        return read_arrays(self.files[i])["probability"] / np.float32(255)

    def found(self, i):
        """Where that probability is a half or more: bool array (10, rows, columns)."""
        return read_arrays(self.files[i])["probability"] >= 128


def choose_slices(indices, labels, count=COUNT):
    """Choose slices that are watched: spread evenly over those that show a headrest.

    Parameters
    ----------
    indices : int array, of the slices to choose from.
    labels : array (n, rows, columns), 1 for headrest.

    Returns
    -------
    int array (count,), or shorter where there are fewer slices.
    """
    shown = np.array([i for i in indices if (labels[i] == 1).any()], int)
    if len(shown) < count:
        shown = np.asarray(indices)
    return shown[np.unique(np.linspace(0, len(shown) - 1, count).astype(int))]


def keep_slices(run, hu, labels):
    """Store the watched slices of a run, once."""
    folder = Path(run) / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "slices.npz", hu=np.asarray(hu, np.int16), labels=np.asarray(labels == 1, np.uint8)
    )


def keep_epoch(run, probability, epoch, loss, dice):
    """Store what an epoch predicts for the watched slices.

    Parameters
    ----------
    run : path
    probability : float array (slices, rows, columns), 0 to 1.
    epoch : int, from 1.
    loss, dice : float
    """
    whole = np.rint(255 * probability).astype(np.uint8)
    path = Path(run) / "frames" / f"epoch_{epoch:04d}.npz"
    _write(path, probability=whole, epoch=epoch, loss=loss, dice=dice)


def read_frames(run):
    """Open the kept frames of a run; predictions are read as they are used.

    Returns
    -------
    Frames

    Raises
    ------
    HeadrestError
        Where there are none, or one is damaged.
    """
    folder = Path(run) / "frames"
    files = sorted(folder.glob("epoch_*.npz"))
    if not files:
        raise HeadrestError(f"{folder}: no epochs kept there; train into {run} first")
    slices = read_arrays(folder / "slices.npz", ("hu", "labels"))
    rows = [read_arrays(path, ("epoch", "loss", "dice")) for path in files]
    columns = (np.array([row[key] for row in rows]) for key in ("epoch", "loss", "dice"))
    return Frames(slices["hu"], slices["labels"], files, *columns)


def _write(path, **arrays):
    with atomic_file(path) as aside:
        np.savez_compressed(aside, **arrays)
