"""Train a network, epoch by epoch, and go on where a run was stopped."""

import dataclasses
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from headrest.evaluate.counts import evaluate_slices, slice_probability
from headrest.segment.unet import build_unet, get_weights, output_size, set_weights
from headrest.train import frames
from headrest.train.batches import Batches, split
from headrest.train.checkpoints import Checkpoint, epoch_seed, load_checkpoint, save_checkpoint
from headrest.train.losses import LOSSES, OPTIMIZERS, choose
from headrest.util.arrays import fit_to_matrix
from headrest.util.backend import keras
from headrest.util.errors import HeadrestError
from headrest.util.files import lock_folder

GROUPS = ("free", "touching")

NO_MEMORY = ("resourceexhausted", "resource_exhausted", "out of memory", "memoryerror")
"""How TensorFlow, JAX, PyTorch and Python say it."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that makes a run what it is.

    Attributes
    ----------
    preset : str, of `headrest.segment.unet.build_unet`.
    epochs : int, times that the network is judged and kept.
    examples : int or None, slices that are seen in an epoch; each of them once if None.
    halved : int, epochs, the first ones, that see slices at half to all of their size through a
        window of half the rows and columns: four times as many of them for the same work of the
        network (progressive resizing; M. Tan and Q. Le, arXiv:2104.00298).
    labels : "truth" or "kmeans", what is learned.
    loss : "dice", cross entropy and Dice, or "cross-entropy" as in 2018.
    optimizer : "muon", "adam", or "sgd" as in 2018.
    rate : float or None, highest learning rate; the optimizer's own if None.
    batch : int, slices a step.
    held_out : float, share of the patients that are kept for judging; or a list of their names.
    augment : bool, change slices at random.
    seed : int, of the split, the first weights, and the order and changes of slices.
    """

    preset: str = "standard"
    epochs: int = 10
    examples: int | None = None
    halved: int = 0
    labels: str = "truth"
    loss: str = "dice"
    optimizer: str = "muon"
    rate: float | None = None
    batch: int = 4
    held_out: float | list[str] = 0.2
    augment: bool = True
    seed: int = 0


def train(data, run, resume=True, tell=None, known=None, **choices):
    """Train a network, judge it after every epoch, and keep what the video needs.

    Parameters
    ----------
    data : headrest.train.dataset.TrainingSet
        Where the truth is known, held-out slices are judged by it, whatever is learned.
    run : path
        Folder of the run: gets checkpoints/ and frames/. One process at a time.
    resume : bool
        Go on after the last epoch that is on the disk: the run ends with the same weights, to
        the bit, as one that was never stopped (same machine and backend). If False, a folder
        that holds a run is refused.
    tell : callable, optional, called with the history after every epoch.
    known : callable, optional
        Epoch, from 1 on -> how many of the slices, the first ones, are there to learn from; the
        set may still grow meanwhile. All of them if None.
    **choices : fields of `Settings`

    Returns
    -------
    list of dict, a row an epoch: "epoch", "loss", and of held-out slices "dice", "iou",
    "accuracy", "all_background" (the accuracy of finding nothing), "dice_free", "dice_touching".

    Raises
    ------
    HeadrestError
        Where the data are not what they should be, a loss or weight is no number any more,
        memory is short, or the folder holds another run.
    """
    settings = Settings(**choices)
    with lock_folder(run):
        session = _Session(data, Path(run), settings, known)
        session.start(resume)
        steps = len(session.batches)
        with tqdm(total=steps * settings.epochs, initial=steps * len(session.history)) as bar:
            while len(session.history) < settings.epochs:
                bar.set_description(f"epoch {len(session.history) + 1}/{settings.epochs}")
                bar.set_postfix(_shown(session.epoch(bar)))
                if tell:
                    tell(session.history)
    return session.history


def held_out(data, **choices):
    """Indices of the slices that a run with these `Settings` never learns from."""
    settings = Settings(**choices)
    return split(data.patient, settings.held_out, settings.seed)[1]


def load_network(run):
    """Build the network of a run, with the weights of its last epoch.

    Returns
    -------
    keras.Model
    """
    checkpoint = load_checkpoint(Path(run) / "checkpoints")
    if checkpoint is None:
        raise HeadrestError(f"{run}: no checkpoint there; train into it first")
    try:
        preset = str(checkpoint.settings["preset"])
    except KeyError:
        raise HeadrestError(f"{run}: a checkpoint of no network") from None
    model = build_unet(preset)
    set_weights(model, checkpoint.weights)
    return model


def compile_network(model, steps, epochs, loss="dice", optimizer="muon", rate=None):
    """Give a network its loss and optimizer.

    Parameters
    ----------
    model : keras.Model
    steps, epochs : int, steps of an epoch and epochs of the whole training.
    loss : "dice" or "cross-entropy"
    optimizer : "muon", "adam" or "sgd"
    rate : float, optional, highest learning rate.
    """
    chosen = {} if rate is None else {"rate": rate}
    optimizer = choose(optimizer, OPTIMIZERS)(steps, epochs, **chosen)
    xla = keras.backend.backend() == "jax"  # on a CPU it is slower than TensorFlow's own
    model.compile(optimizer, choose(loss, LOSSES), jit_compile=xla)
    model.optimizer.build(model.trainable_variables)


class _Session:
    """A network in training, and where its run is kept."""

    def __init__(self, data, run, settings, known=None):
        self.data, self.run, self.settings, self.known = data, run, settings, known
        if settings.halved and not 0 < settings.halved < settings.epochs:
            raise HeadrestError(
                f"{settings.halved} of {settings.epochs} epochs halved: the last one at least sees "
                "slices as they are"
            )
        target = data.target(settings.labels)
        _check(data.slices, target)
        self.judged_by = settings.labels if data.truth is None else "truth"
        training, self.held_out = split(data.patient, settings.held_out, settings.seed)
        if settings.labels == "kmeans":  # where support and patient are one piece, they are wrong
            training = training[data.state[training] != "touching"]
        size = data.slices.shape[1]
        self.model = build_unet(settings.preset, settings.seed)
        out = output_size(self.model, size)
        shown = (data.slices, target, training, settings.batch)
        changed = (settings.augment, settings.examples)
        self.batches = Batches(*shown, out, *changed)
        if settings.halved:
            half = output_size(self.model, size // 2)
            self.half_batches = Batches(*shown, half, *changed, halved=True)
        compile_network(
            self.model,
            len(self.batches),
            settings.epochs,
            settings.loss,
            settings.optimizer,
            settings.rate,
        )
        self.watched = frames.choose_slices(self.held_out, data.target(self.judged_by))
        self.history = []

    def start(self, resume):
        """Take up the newest checkpoint, if there is one."""
        last = load_checkpoint(self.run / "checkpoints")
        if last and not resume:
            raise HeadrestError(f"{self.run}: holds a run already; resume it or choose another")
        if last:
            _check_same(last.settings, self._whole_settings(), self.run)
            set_weights(self.model, last.weights)
            _set_state(self.model.optimizer, last.optimizer)
            self.history = last.history
        target = self.data.target(self.judged_by)
        frames.keep_slices(self.run, self.data.slices[self.watched], target[self.watched])

    def epoch(self, bar):
        """Train an epoch, judge it, keep it; return its row."""
        number = len(self.history) + 1
        halved = number <= self.settings.halved
        batches = self.half_batches if halved else self.batches
        losses = []
        with _memory_hint(self.settings.batch):
            seed = epoch_seed(self.settings.seed, number)
            for x, y in batches.epoch(seed, self._there(number)):
                self.model.reset_metrics()  # or Keras gives the mean since the run began
                losses.append(float(self.model.train_on_batch(x, y)))
                bar.update()
            weights, optimizer = get_weights(self.model), _state(self.model.optimizer)
            _check_numbers(losses, weights, number)
            row = self._row(number, float(np.mean(losses)))
        history = [*self.history, row]
        self._keep_frames(row)
        checkpoint = Checkpoint(weights, optimizer, history, self._whole_settings())
        save_checkpoint(self.run / "checkpoints", checkpoint)
        self.history = history
        return row

    def _there(self, number):
        """How many of the slices to learn from are among the first that there are by now."""
        if self.known is None:
            return None
        there = int(np.searchsorted(self.batches.indices, self.known(number)))
        if not there:
            raise HeadrestError(f"epoch {number}: nobody to learn from is there yet")
        return there

    def _row(self, number, loss):
        judged = evaluate_slices(self.model, self.data, self.held_out, self.judged_by)
        groups = {f"dice_{name}": judged.scores(name)["dice"] for name in GROUPS}
        return {"epoch": number, "loss": loss, **judged.scores(), **groups}

    def _keep_frames(self, row):
        size = self.data.slices.shape[1]
        predicted = slice_probability(self.model, self.data.slices[self.watched])
        whole = fit_to_matrix(predicted, size, 0)
        frames.keep_epoch(self.run, whole, row["epoch"], row["loss"], row["dice"])

    def _whole_settings(self):
        size, n = self.data.slices.shape[1], len(self.data)
        return {**dataclasses.asdict(self.settings), "size": size, "slices": n}


def _check(slices, target):
    if slices.shape[1] != slices.shape[2]:
        raise HeadrestError(f"slices of {slices.shape[1]} x {slices.shape[2]}: not square")
    if slices.dtype.kind == "f":
        bad = [i for i, hu in enumerate(slices) if not np.isfinite(hu).all()]
        if bad:
            raise HeadrestError(f"HU that are not finite in slice {bad[0]} of the training set")
    if not any((label == 1).any() for label in target):
        raise HeadrestError("labels without a single pixel of headrest: nothing can be learned")


def _check_numbers(losses, weights, epoch):
    if not all(np.isfinite(values).all() for values in (losses, *weights.values())):
        raise HeadrestError(
            f"the loss or a weight is no finite number after epoch {epoch}; earlier epochs are "
            "kept. Train into another folder with a lower rate"
        )


def _check_same(kept, asked, run):
    kept = {"halved": 0} | kept  # runs that were begun before there was such a thing
    differ = [key for key in asked if kept.get(key) != asked[key]]
    if differ:
        key = differ[0]
        raise HeadrestError(
            f"{run}: its {key} was {kept.get(key)!r}, not {asked[key]!r}; "
            "resume it as it was begun, or train into another folder"
        )


def _state(optimizer):
    return {v.path: keras.ops.convert_to_numpy(v) for v in optimizer.variables}


def _set_state(optimizer, state):
    if sorted(state) != sorted(v.path for v in optimizer.variables):
        raise HeadrestError("the checkpoint's optimizer is another one")
    for variable in optimizer.variables:
        variable.assign(state[variable.path])


def _shown(row):
    return {key: f"{row[key]:.3f}" for key in ("loss", "dice")}


@contextmanager
def _memory_hint(batch):
    """Turn a backend's word for too little memory into what to do about it."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower()
        if not any(words in text for words in NO_MEMORY):
            raise
        raise HeadrestError(
            f"out of memory with a batch of {batch}; the last checkpoint is intact. "
            "Resume on a larger machine, or train into another folder with a smaller batch"
        ) from error
