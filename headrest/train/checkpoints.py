"""What a training run leaves after each epoch, so that it can go on as if never stopped."""

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.util.arrays import READ_ERRORS, check_finite, read_arrays
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_folder, sha256

KEPT = 2
"""Checkpoints that are kept: the newest, and the one before should that be damaged."""

FILES = ("weights.npz", "optimizer.npz", "state.json")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next epoch depends on.

    Attributes
    ----------
    weights, optimizer : dict of str to array, as `headrest.segment.unet.get_weights` reads them.
    history : list of dict, a row an epoch.
    settings : dict that JSON can hold, of the whole run.
    """

    weights: dict
    optimizer: dict
    history: list
    settings: dict

    @property
    def epoch(self):
        """Epochs that are done."""
        return len(self.history)

    def state(self):
        """What is stored beside the arrays, as JSON holds it."""
        best = min(self.history, key=lambda row: row["loss"], default=None)
        seed = epoch_seed(self.settings.get("seed", 0), self.epoch + 1)
        return {
            "epoch": self.epoch,
            "best": best and {"epoch": best["epoch"], "loss": best["loss"]},
            "next_seed": seed,
            "settings": self.settings,
            "history": self.history,
        }


def epoch_seed(base, epoch):
    """Seed of an epoch: the same whether or not the run was stopped before it.

    Examples
    --------
    >>> epoch_seed(0, 1) == epoch_seed(0, 1) != epoch_seed(0, 2)
    True
    """
    return int(np.random.SeedSequence([base, epoch]).generate_state(1)[0])


def save_checkpoint(folder, checkpoint):
    """Write a checkpoint whole or not at all, and drop all but the newest two.

    Parameters
    ----------
    folder : path, of the run's checkpoints.
    checkpoint : Checkpoint

    Raises
    ------
    HeadrestError
        Where a number is not finite, or the place cannot be written to; what was saved before
        stays.
    """
    for name in ("weights", "optimizer"):
        check_finite(getattr(checkpoint, name), name)
    place = Path(folder) / f"epoch_{checkpoint.epoch:04d}"
    shutil.rmtree(place, ignore_errors=True)  # damaged, or it would have been gone on from
    with atomic_folder(place) as aside:
        np.savez(aside / "weights.npz", **checkpoint.weights)
        np.savez(aside / "optimizer.npz", **checkpoint.optimizer)
        (aside / "state.json").write_text(json.dumps(checkpoint.state(), indent=1, allow_nan=False))
        manifest = {name: sha256(aside / name) for name in FILES}
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=1))
    for old in _places(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder):
    """Read the newest checkpoint that is sound.

    Parameters
    ----------
    folder : path, of the run's checkpoints.

    Returns
    -------
    Checkpoint, or None where there is none at all.

    Raises
    ------
    HeadrestError
        Where there are some and all are damaged.

    Warns
    -----
    Where a newer one is damaged and passed over.
    """
    places = _places(folder)
    for place in places:
        try:
            return read_checkpoint(place)
        except HeadrestError as error:
            warnings.warn(f"passed over: {error}", stacklevel=2)
    if places:
        raise HeadrestError(f"{folder}: every checkpoint is damaged; train into another folder")
    return None


def read_checkpoint(place):
    """Read one checkpoint.

    Raises
    ------
    HeadrestError
        Where a file is missing, cut or changed.
    """
    place = Path(place)
    try:
        manifest = json.loads((place / "manifest.json").read_bytes())
        if manifest != {name: sha256(place / name) for name in FILES}:
            raise HeadrestError(f"{place}: damaged checkpoint (its SHA-256 differ)")
        state = json.loads((place / "state.json").read_bytes())
        history, settings = list(state["history"]), dict(state["settings"])
        weights, optimizer = (read_arrays(place / name) for name in FILES[:2])
    except READ_ERRORS as error:
        raise HeadrestError(f"{place}: damaged checkpoint ({type(error).__name__})") from error
    return Checkpoint(weights, optimizer, history, settings)


def _places(folder):
    return sorted(Path(folder).glob("epoch_[0-9]*"), reverse=True)
