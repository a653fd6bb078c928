"""Files of a training run: settings, checkpoints, and frames for the video.

A checkpoint holds all that the next epoch depends on. Frames are predictions of the same ten slices
after every epoch.
"""

import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrest.hounsfield import SUPPORT
from headrest.util import HeadrestError
from headrest.util.files import (
    READ_ERRORS,
    atomic_file,
    atomic_folder,
    check_finite,
    read_arrays,
    sha256,
)

KEPT_CHECKPOINTS = 2
"""The newest, and the one before it in case the newest is damaged."""

TRAINING = "training/"
"""Begins the names of weights that lie beside the variables of the optimizer."""

CHECKPOINT_FILES = ("weights.npz", "optimizer.npz", "state.json")

MAX_EPOCHS = 9999
"""The names of checkpoints and frames have four digits, so that sorted names are in order."""

FRAME_SLICES = 10

SOFT_TISSUE_HU = (10, 90)
"""Brain and muscle; water and fat are below, bone and plastic above."""


@dataclass(frozen=True)
class Settings:
    """Settings of a training run."""

    preset: str = "standard"  # network of headrest.segment.unet.build_unet
    epochs: int = 10
    slices_per_epoch: int | None = None  # None: each training slice once
    half_resolution_epochs: int = 0  # the first ones (progressive resizing, arXiv:2104.00298)
    labels: str = "truth"  # or "kmeans", or another name in the training set
    loss: str | None = None  # of headrest.train.losses; None: "dice", or "dense" with start_from
    optimizer: str | None = None  # of the same; None: "muon", or "adam" with start_from
    learning_rate: float | None = None  # the highest; None: default of the optimizer, or a tenth
    batch_size: int = 4
    held_out: float | list[str] = 0.2  # share of the patients held out for evaluation, or names
    augment: bool = True
    seed: int = 0  # of the split, the initial weights, the order and augmentation of slices
    start_from: str | Path | None = None  # "pretrained", an ONNX file, or the folder of a run
    average: float | None = None  # averaging window as a multiple of the run; None: see loop
    encoder: bool | None = None  # train the encoder as well; None: not with start_from

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= MAX_EPOCHS:
            raise HeadrestError(f"{self.epochs} epochs: choose 1 to {MAX_EPOCHS}")
        if not 0 <= self.half_resolution_epochs < self.epochs:
            raise HeadrestError("half-resolution epochs: choose 0 or more, and fewer than all")


@dataclass(frozen=True)
class Checkpoint:
    """State of a run after an epoch."""

    weights: dict[str, Any]  # arrays; the average of a run that averages
    optimizer: dict[str, Any]  # arrays
    history: list[dict]  # one per epoch
    settings: dict  # of the whole run
    training: dict[str, Any] = field(default_factory=dict)  # weights to go on with, of such a run


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint with the SHA-256 of its files, and remove all but the newest two.

    Keras' `BackupAndRestore`, killed between its two files, ends with other weights, without a
    warning. Raises a HeadrestError if a number is not finite or the folder cannot be written.
    """
    check_finite(checkpoint.weights, "weights")
    check_finite(checkpoint.optimizer, "optimizer variables")
    path = Path(folder) / f"epoch_{len(checkpoint.history):04d}"
    shutil.rmtree(path, ignore_errors=True)  # exists only if it is damaged
    with atomic_folder(path) as temporary:
        np.savez(temporary / "weights.npz", **checkpoint.weights)
        training = {TRAINING + name: value for name, value in checkpoint.training.items()}
        np.savez(temporary / "optimizer.npz", **checkpoint.optimizer, **training)
        state = {"settings": checkpoint.settings, "history": checkpoint.history}
        (temporary / "state.json").write_text(json.dumps(state, indent=1, allow_nan=False))
        (temporary / "manifest.json").write_text(json.dumps(_hashes(temporary), indent=1))
    for old in _newest_first(folder)[KEPT_CHECKPOINTS:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: str | Path) -> Checkpoint | None:
    """Read the newest intact checkpoint, with a warning for newer, damaged ones; None if there is
    no checkpoint, HeadrestError if all are damaged."""
    paths = _newest_first(folder)
    for path in paths:
        try:
            return read_checkpoint(path)
        except HeadrestError as error:
            warnings.warn(f"passed over: {error}", stacklevel=2)
    if paths:
        raise HeadrestError(f"{folder}: every checkpoint is damaged; train into another folder")
    return None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; HeadrestError if a file is missing or differs from its SHA-256."""
    path = Path(path)
    try:
        if json.loads((path / "manifest.json").read_bytes()) != _hashes(path):
            raise HeadrestError(f"{path}: damaged checkpoint (its SHA-256 differ)")
        state = json.loads((path / "state.json").read_bytes())
        history, settings = list(state["history"]), dict(state["settings"])
        weights, optimizer = (read_arrays(path / name) for name in CHECKPOINT_FILES[:2])
    except READ_ERRORS as error:
        raise HeadrestError(f"{path}: damaged checkpoint ({type(error).__name__})") from error
    names = [name for name in optimizer if name.startswith(TRAINING)]
    training = {name.removeprefix(TRAINING): optimizer.pop(name) for name in names}
    return Checkpoint(weights, optimizer, history, settings, training)


def _hashes(path):
    return {name: sha256(path / name) for name in CHECKPOINT_FILES}


def _newest_first(folder):
    return sorted(Path(folder).glob("epoch_[0-9]*"), reverse=True)


@dataclass(frozen=True)
class Frames:
    """Content of a video."""

    hu: np.ndarray  # int16 (slices, rows, columns)
    labels: np.ndarray  # uint8 of that shape, 1 for support
    files: list[Path]  # one per epoch, in order
    epoch: np.ndarray
    loss: np.ndarray
    dice: np.ndarray

    def found(self, i: int) -> np.ndarray:
        """Pixels with a probability of 0.5 or more: bool array (slices, rows, columns)."""
        return read_arrays(self.files[i])["probability"] >= 128


def choose_slices(
    indices: np.ndarray, labels: np.ndarray, hu: np.ndarray, count: int = FRAME_SLICES
) -> np.ndarray:
    """Choose `count` of the slices `indices`, spread evenly over those with support (label 1), or
    over all if these are fewer; those with most soft tissue, of living heads, come first."""
    chosen = np.array([i for i in indices if (labels[i] == SUPPORT).any()], int)
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
    arrays = {"hu": np.asarray(hu, np.int16), "labels": np.asarray(labels == SUPPORT, np.uint8)}
    _write(folder / "slices.npz", **arrays)


def keep_epoch(
    run: str | Path, probability: np.ndarray, epoch: int, loss: float, dice: float
) -> None:
    """Store the probability (slices, rows, columns) of an epoch; 0 is the untrained network."""
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
