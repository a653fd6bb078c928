"""Loss against iterations of networks of three shapes, with their Dice beside it.

The first work on this question showed one figure of it, for five levels of two convolutions, seven
levels of two, and seven levels with more of them further down.
"""

import json
from itertools import count
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from headrest.evaluate.counts import evaluate_slices
from headrest.segment.unet import CONVOLUTIONS, PRESETS, build_unet
from headrest.train.batches import Batches
from headrest.train.checkpoints import epoch_seed
from headrest.train.loop import compile_network
from headrest.util.files import atomic_file

SHAPES = {"5 levels, 2/2/2": (2,) * 5, "7 levels, 2/2/2": (2,) * 7, "7 levels, 2/4/8": CONVOLUTIONS}
"""Convolutions of each level of the three networks."""

JUDGED = 8
"""How often on its way each network is judged."""


def loss_curves(data, training, held_out, path, iterations, batch=2, seed=0):
    """Train the three networks, with the features of the preset "standard", and note each loss.

    Parameters
    ----------
    data : headrest.train.dataset.TrainingSet, with its truth.
    training, held_out : int arrays, indices of slices.
    path : path of a .json file; if it is there already, it is read, and nothing is trained.
    iterations : int, steps of each network.
    batch : int, slices a step.
    seed : int, of the first weights, and of the order and changes of slices: the same for all.

    Returns
    -------
    dict of name to dict of "loss", one a step, and "step" and "dice", of the held-out slices.
    """
    path = Path(path)
    if not path.exists():
        size = data.slices.shape[1]
        batches = Batches(data.slices, data.target("truth"), training, batch, size)
        curves = {
            name: _curve(_network(convolutions, seed), batches, data, held_out, iterations, seed)
            for name, convolutions in tqdm(SHAPES.items(), desc="shapes")
        }
        with atomic_file(path) as aside:
            aside.write_text(json.dumps(curves), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _network(convolutions, seed):
    widths = PRESETS["standard"]["widths"][: len(convolutions)]
    return build_unet("standard", seed, widths=widths, convolutions=convolutions)


def _curve(model, batches, data, held_out, iterations, seed):
    compile_network(model, iterations, 1, loss="cross-entropy", optimizer="adam")
    stops = set(np.linspace(0, iterations, JUDGED + 1).astype(int).tolist())
    losses, steps, dices = [], [], []
    examples = _endless(batches, seed)
    for step in tqdm(range(iterations + 1), desc="steps", leave=False):
        if step in stops:
            steps.append(step)
            dices.append(evaluate_slices(model, data, held_out).scores()["dice"])
        if step < iterations:
            model.reset_metrics()  # or Keras gives the mean since the run began
            losses.append(float(model.train_on_batch(*next(examples))))
    return {"loss": losses, "step": steps, "dice": dices}


def _endless(batches, seed):
    for epoch in count(1):
        yield from batches.epoch(epoch_seed(seed, epoch))
