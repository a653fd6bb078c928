"""Train a network epoch by epoch; a run continues where it was interrupted."""

import json
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from headrest.evaluate.metrics import evaluate_slices, slice_probability
from headrest.hounsfield import DENSE_HU, DENSE_LABEL, SUPPORT, crop, fit_to_matrix, scale
from headrest.segment.export import set_exported_weights
from headrest.segment.pretrained import WEIGHTS, load_pretrained
from headrest.segment.unet import build_unet, get_weights, output_size, set_weights
from headrest.train import checkpoints
from headrest.train.batches import Batches, split_patients
from headrest.train.checkpoints import Checkpoint, Settings, load_checkpoint
from headrest.train.dataset import TrainingSet
from headrest.train.losses import LOSSES, OPTIMIZERS
from headrest.util import HeadrestError, progress
from headrest.util.backend import keras
from headrest.util.files import lock_folder

DIVERGED = 1e3
"""Training stops when a loss exceeds that of the first epoch by this factor."""

FINE_TUNING_RATES = {"muon": 4e-4, "adam": 1.5e-4, "sgd": 1e-4}
"""Highest learning rates of a run that starts from trained weights: a tenth of the defaults, but
for SGD, which does not clip gradients: at 5e-4, a Dice of 0.84 fell to 0.79."""

FINE_TUNING_AVERAGE = 1.44
"""Averaging window of such a run, as a multiple of its number of steps. The network that it starts
from keeps exp(-1 / 1.44), half of the weight (M. Wortsman et al., arXiv:2109.01903). Its encoder is
not trained: otherwise results on other scanners fell more, and those on the own rose no more."""

DEFAULTS: dict[str, Any] = {"start_from": None, "average": 0.0, "encoder": True}
"""Settings that runs of 0.15 and older do not all store."""

NO_MEMORY = ("resourceexhausted", "resource_exhausted", "out of memory", "memoryerror")
"""Words of TensorFlow, JAX, PyTorch and Python for too little memory."""


def train(
    data: TrainingSet,
    run: str | Path,
    resume: bool = True,
    on_epoch: Callable[[list[dict]], Any] | None = None,
    **settings: Any,
) -> list[dict]:
    """Train a network and evaluate it on held-out patients after every epoch.

    Parameters
    ----------
    data : headrest.train.dataset.TrainingSet
        Evaluated by its labels "truth" if it has them, otherwise by the training labels.
    run : path
        Folder for checkpoints/ and frames/, for one process at a time.
    resume : bool
        Continue after the last epoch in `run`: the weights end the same, bit for bit, as without
        interruption (on the same machine and backend). If False, a folder with a run is refused.
    on_epoch : callable, optional, called with the history after every epoch.
    **settings : of `headrest.train.checkpoints.Settings`.

    Returns
    -------
    list of dict, one per epoch: "epoch", "loss", and over held-out slices "dice", "iou",
    "accuracy", "all_background" (accuracy of an empty mask), "dice_free", "dice_touching".

    Raises
    ------
    HeadrestError
        If the data cannot be trained on, the training diverges, memory is short, or the folder
        holds another run. Earlier epochs are kept.
    """
    with lock_folder(run):
        session = _Session(data, Path(run), Settings(**settings), resume)
        history, epochs, steps = session.history, session.settings.epochs, len(session.batches)
        total, begun = steps * epochs, steps * len(history)
        with progress(None, "training", total, unit="step", initial=begun) as bar:
            while len(history) < epochs:
                bar.set_description(f"epoch {len(history) + 1}/{epochs}")
                session.run_epoch(bar)
                figures = f"loss {history[-1]['loss']:.3f}, Dice {history[-1]['dice']:.3f}"
                bar.set_postfix_str(figures)
                if bar.disable:  # a line for the log
                    print(f"epoch {len(history)}/{epochs}: {figures}", file=sys.stderr)
                if on_epoch:
                    on_epoch(history)
    if history[-1]["all_background"] == 1:
        print("no held-out slice has support: the Dice says nothing", file=sys.stderr)
    return history


def held_out(data: TrainingSet, **settings: Any) -> np.ndarray:
    """Indices of the slices that a run with these `Settings` does not train on."""
    return _split(data, Settings(**settings))[1]


def _reference(data, settings):
    return "truth" if "truth" in data.labels else settings.labels


def _split(data, settings):
    states = data.states.get(_reference(data, settings))
    shows = None if states is None else states != "absent"
    return split_patients(data.patient, settings.held_out, settings.seed, shows)


def start_network(settings: Settings) -> keras.Model:
    """Build the network that a run begins with; HeadrestError for weights of another network."""
    source = settings.start_from
    if source is None:
        return build_unet(settings.preset, settings.seed)
    if source != "pretrained" and Path(source).is_dir():
        return load_network(source)
    path = WEIGHTS / "headrest.onnx" if source == "pretrained" else Path(source)
    # Refuses a missing or damaged file, and another kind of network.
    load_pretrained(None if source == "pretrained" else path)
    for preset, classes in product(("wide", "standard", "small", "original"), (3, 2)):
        model = build_unet(preset, classes=classes)
        with suppress(HeadrestError):
            set_exported_weights(model, path)
            return model
    raise HeadrestError(f"{path}: not a network of one of the presets; start from another file")


def load_network(run: str | Path) -> keras.Model:
    """Build the network of a run with its last weights; HeadrestError if there are none intact."""
    checkpoint = load_checkpoint(Path(run) / "checkpoints")
    if checkpoint is None:
        raise HeadrestError(f"{run}: holds no checkpoint; train into it first")
    classes = len(checkpoint.weights["logits/bias"])
    model = build_unet(str(checkpoint.settings.get("preset")), classes=classes)
    set_weights(model, checkpoint.weights)
    return model


def compile_network(
    model: keras.Model,
    steps: int,
    epochs: int,
    loss: str = "dice",
    optimizer: str = "muon",
    learning_rate: float | None = None,
    average: float = 0.0,
) -> None:
    """Compile a network for `epochs` of `steps` steps; for the names see `Settings`."""
    for name, choices in ((loss, LOSSES), (optimizer, OPTIMIZERS)):
        if name not in choices:
            raise HeadrestError(f"no {name!r}: choose from {', '.join(choices)}")
    options = {} if learning_rate is None else {"learning_rate": learning_rate}
    chosen = OPTIMIZERS[optimizer](steps, epochs, **options)
    chosen.use_ema = average > 0
    chosen.ema_momentum = 1 - 1 / max(average * steps * epochs, 1)
    xla = keras.backend.backend() == "jax"  # XLA makes TensorFlow slower on a CPU
    model.compile(chosen, LOSSES[loss], jit_compile=xla)
    model.optimizer.build(model.trainable_variables)


class _Session:
    """A network in training, its data, and the folder of its run."""

    def __init__(self, data, run, settings, resume):
        self.data, self.run, self.history = data, run, []
        target, size = data.target(settings.labels), data.hu.shape[1]
        _check_data(data.hu, target)
        self.reference = _reference(data, settings)
        training, self.held_out = _split(data, settings)
        if settings.labels == "kmeans":  # wrong where support and patient are one component
            training = training[data.states["kmeans"][training] != "touching"]
        self.model = start_network(settings)
        last = load_checkpoint(run / "checkpoints")
        self.settings = settings = _complete(settings, self.model, last)
        source = (data.hu, target, training, settings.batch_size, output_size(self.model, size))
        self.batches = Batches(*source, settings.augment, settings.slices_per_epoch)
        if settings.half_resolution_epochs:
            half = output_size(self.model, size // 2)
            self.half_batches = replace(self.batches, output_size=half, half_resolution=True)
        for layer in () if settings.encoder else self.model.layers:
            layer.trainable = not layer.name.startswith("down")
        names = (settings.loss, settings.optimizer, settings.learning_rate, settings.average)
        compile_network(self.model, len(self.batches), settings.epochs, *names)
        target = data.target(self.reference)
        self.watched = checkpoints.choose_slices(self.held_out, target, data.hu)
        stored = asdict(settings) | {"size": size, "slices": len(data)}
        self.stored_settings = json.loads(json.dumps(stored))  # as a checkpoint holds them
        if last and not resume:
            raise HeadrestError(f"{run}: holds a run already; resume it or choose another")
        if last:
            self._restore(last)
        checkpoints.keep_slices(run, data.hu[self.watched], target[self.watched])
        if not self.history:
            with _memory_hint(settings.batch_size):
                self._keep_frame(0, float("nan"), self._evaluate()["dice"])

    def _restore(self, last):
        _check_same(last.settings, self.stored_settings, self.run)
        set_weights(self.model, last.training or last.weights)
        variables = self.model.optimizer.variables
        if sorted(last.optimizer) != sorted(v.path for v in variables):
            raise HeadrestError(f"{self.run}: has another optimizer; train into another folder")
        for variable in variables:
            variable.assign(last.optimizer[variable.path])
        self.history = last.history

    def _keep_frame(self, epoch, loss, dice):
        found = slice_probability(self.model, self.data.hu[self.watched])
        found = fit_to_matrix(found, self.data.hu.shape[1], 0)
        checkpoints.keep_epoch(self.run, found, epoch, loss, dice)

    def run_epoch(self, bar):
        """Train an epoch, evaluate it, store it, and append it to the history."""
        number, optimizer = len(self.history) + 1, self.model.optimizer
        with _memory_hint(self.settings.batch_size):
            loss = self._train_epoch(number, bar)
            training = get_weights(self.model) if self.settings.average else {}
            optimizer.finalize_variable_values(self.model.trainable_variables)  # to the average
            row = {"epoch": number, "loss": loss} | self._evaluate()
            self._keep_frame(number, loss, row["dice"])
        variables = {v.path: keras.ops.convert_to_numpy(v) for v in optimizer.variables}
        state = (get_weights(self.model), variables, [*self.history, row], self.stored_settings)
        checkpoints.save_checkpoint(self.run / "checkpoints", Checkpoint(*state, training))
        if training:
            set_weights(self.model, training)
        self.history.append(row)

    def _train_epoch(self, number, bar):
        half = number <= self.settings.half_resolution_epochs
        batches, losses = self.half_batches if half else self.batches, []
        # The seed of an epoch depends on nothing else, so that a resumed run has the same.
        seed = np.random.SeedSequence([self.settings.seed, number]).generate_state(1)[0]
        for x, y in batches.epoch(int(seed)):
            self.model.reset_metrics()  # or Keras returns the mean since the start
            y = y + DENSE_LABEL * (crop(x[..., 0], y.shape[1]) > scale(DENSE_HU)).astype(np.uint8)
            losses.append(float(self.model.train_on_batch(x, y)))
            first = self.history[0]["loss"] if self.history else losses[0]
            converges = losses[-1] <= DIVERGED * first  # false for NaN
            if not converges:
                break
            bar.update()
        if not converges or not all(np.isfinite(w).all() for w in self.model.get_weights()):
            raise HeadrestError(
                f"the training diverged in epoch {number} (loss {losses[-1]:.3g}); earlier epochs "
                "are kept. Train into another folder with a lower learning rate"
            )
        return float(np.mean(losses))

    def _evaluate(self):
        counts = evaluate_slices(self.model, self.data, self.held_out, self.reference)
        if not counts.pixels.any():
            raise HeadrestError("held-out patients with ignored pixels alone: hold out others")
        groups = {f"dice_{name}": counts.scores(name)["dice"] for name in ("free", "touching")}
        return counts.scores() | groups


def _check_data(hu, labels):
    if hu.shape[1] != hu.shape[2]:
        raise HeadrestError(f"slices of {hu.shape[1]} x {hu.shape[2]}: not square")
    for i, one in enumerate(hu if hu.dtype.kind == "f" else ()):
        if not np.isfinite(one).all():
            raise HeadrestError(f"HU that are not finite in slice {i} of the training set")
    if not any((label == SUPPORT).any() for label in labels):
        raise HeadrestError("the labels hold no pixel of support: nothing can be learned")


def _complete(settings, model, last):
    """Settings with the defaults of a new run or a further training; a resumed one has its own."""
    begun = DEFAULTS | last.settings if last else {}
    source = settings.start_from and str(settings.start_from)  # JSON holds no path
    defaults = DEFAULTS | {"loss": "dice", "optimizer": "muon", "learning_rate": None}
    if source:
        optimizer = settings.optimizer or begun.get("optimizer", "adam")
        defaults |= {"loss": "dense", "optimizer": optimizer, "average": FINE_TUNING_AVERAGE}
        defaults |= {"learning_rate": FINE_TUNING_RATES.get(optimizer), "encoder": False}
    chosen = {k: begun.get(k, v) for k, v in defaults.items() if getattr(settings, k) is None}
    return replace(settings, **chosen | {"preset": model.name, "start_from": source})


def _check_same(stored, wanted, run):
    stored = DEFAULTS | stored
    if stored.keys() != wanted.keys():
        raise HeadrestError(f"{run}: a run of another version; train into another folder")
    for key, value in wanted.items():
        if stored[key] != value:
            raise HeadrestError(
                f"{run}: its {key} was {stored[key]!r}, not {value!r}; "
                "resume it as it was begun, or train into another folder"
            )


@contextmanager
def _memory_hint(batch_size):
    """Turn the backend's error for too little memory into one with a remedy."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower()
        if not any(words in text for words in NO_MEMORY):
            raise
        raise HeadrestError(
            f"out of memory with a batch of {batch_size}; earlier epochs are kept. "
            "Resume on a larger machine, or train into another folder with a smaller batch size"
        ) from error
