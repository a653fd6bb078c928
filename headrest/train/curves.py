"""Loss and Dice against training steps, for the three networks compared in 2018."""

import json
from itertools import chain, count
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from headrest.evaluate.metrics import evaluate_slices
from headrest.segment.unet import CONVOLUTIONS, PRESETS, build_unet
from headrest.train.batches import Batches
from headrest.train.checkpoints import epoch_seed
from headrest.train.dataset import TrainingSet
from headrest.train.loop import compile_network
from headrest.util.files import atomic_file

COMPARED = {
    "5 levels, 2/2/2": (2,) * 5,
    "7 levels, 2/2/2": (2,) * 7,
    "7 levels, 2/4/8": CONVOLUTIONS,
}
"""Convolutions per level of each network."""

DICE_POINTS = 8
"""Evaluations of each network after the first step, evenly spread."""


def loss_curves(
    data: TrainingSet,
    training: np.ndarray,
    held_out: np.ndarray,
    path: str | Path,
    iterations: int,
    batch_size: int = 2,
    seed: int = 0,
) -> dict[str, dict[str, list]]:
    """Train the networks of `COMPARED`, with the widths of the preset "standard".

    Parameters
    ----------
    data : TrainingSet with labels "truth"
    training, held_out : int arrays, indices of slices.
    path : .json file for the result; an existing one is read, and nothing is trained.
    iterations : int, steps per network.

    Returns
    -------
    dict of name to dict of "loss", one per step, and "step" and "dice" over the held-out slices.
    """
    path = Path(path)
    if not path.exists():
        target, size = data.target("truth"), data.hu.shape[1]
        batches = Batches(data.hu, target, training, batch_size, size)
        curves = {
            name: _curve(convolutions, batches, data, held_out, iterations, seed)
            for name, convolutions in tqdm(COMPARED.items(), "networks")
        }
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(curves), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _curve(convolutions, batches, data, held_out, iterations, seed):
    widths = PRESETS["standard"]["widths"][: len(convolutions)]
    model = build_unet("standard", seed, widths=widths, convolutions=convolutions)
    compile_network(model, iterations, 1, "cross-entropy", "adam")
    examples = chain.from_iterable(batches.epoch(epoch_seed(seed, n)) for n in count(1))
    steps = np.unique(np.linspace(0, iterations, DICE_POINTS + 1).astype(int)).tolist()
    losses, dices = [], []
    for step in tqdm(range(iterations + 1), "steps", leave=False):
        if step in steps:
            dices.append(evaluate_slices(model, data, held_out).scores()["dice"])
        if step < iterations:
            model.reset_metrics()  # or Keras returns the mean since the start
            losses.append(float(model.train_on_batch(*next(examples))))
    return {"loss": losses, "step": steps, "dice": dices}
