"""Speed, as ratios to the usual way, both measured in turns in one process.

CPU time, all threads of the process counted, and medians: so a busy machine slows both sides
alike; but whole series are cleaned by the clock, in a process of their own too. Run it with
`python -m headrest benchmark`.
"""

import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

import numpy as np

from benchmarks.batch import batch_lines
from benchmarks.ratios import Line, in_turns
from benchmarks.slices import slice_lines

EPOCHS = 10
"""Frames of the video that is composed, one an epoch."""


def benchmark(size=512, repeats=5, matrix_product=2048):
    """Measure everything.

    Parameters
    ----------
    size : int, rows and columns of the slices.
    repeats : int, times that each side is measured; the median counts.
    matrix_product : int, rows and columns of the matrices whose product sets the pace.

    Yields
    ------
    Line
    """
    hu = _slice(size)
    yield from slice_lines(hu, repeats)
    yield from network_lines(hu, repeats, matrix_product)
    yield from batch_lines(hu, repeats)
    yield video_line(hu, repeats)
    yield import_line(repeats)


def _slice(size):
    from headrest.phantom import synthesize

    return np.maximum(synthesize(0, matrix=size, slices=1).hu[0], -1024).astype(np.float32)


def network_lines(hu, repeats, matrix_product):
    """Training step, its input, and inference, of the standard network."""
    from headrest.segment.unet import build_unet

    model = build_unet("standard")
    yield from _training_lines(model, hu, repeats, matrix_product)
    yield from _inference_lines(model, hu, repeats)


def _training_lines(model, hu, repeats, matrix_product, batch=4, steps=30):
    from headrest.show.architecture import operations
    from headrest.train.batches import Batches
    from headrest.train.loop import compile_network
    from headrest.util.backend import keras

    # Adam's steps are next to nothing; Muon's products would have to be counted besides.
    compile_network(model, steps, epochs=1, optimizer="adam")
    slices, labels = np.int16(hu)[None], np.uint8(hu > 0)[None]
    several = Batches(slices, labels, np.zeros(steps * batch, int), batch, len(hu))
    x, y = next(several.epoch(0))
    square = np.ones((matrix_product, matrix_product), np.float32)
    step, given, product = in_turns(
        4 * repeats,
        lambda: model.train_on_batch(x, y),
        lambda: deque(several.epoch(0), 0),  # to its end, so that no thread works on behind it
        lambda: keras.ops.convert_to_numpy(keras.ops.matmul(square, square)),
    )
    pace = 2 * matrix_product**3 / product
    ratio = 3 * batch * operations(model, len(hu)) / step / pace
    yield Line("training step: its products a second / matrix product's", ratio, "at least", 0.5)
    yield Line("training: input / step", given / steps / step, "at most", 0.05)


def _inference_lines(model, hu, repeats):
    from headrest.hounsfield import scale
    from headrest.segment.predict import batch_probability
    from headrest.segment.unet import keras_probability

    _bias(model)
    slices, network = np.stack([hu] * 8), keras_probability(model)
    x = scale(slices)[..., None]

    def helper():
        return batch_probability(slices, (0.5, 0.5), network)

    model.predict_on_batch(x)  # Keras exports no network that was never called
    others = [("bare tf.function", _bare(model, x), 1.1), ("ONNX Runtime", _onnx(model, x), 1.0)]
    calls = [helper, *(call for _, call, _ in others if call)]
    spent = dict(zip(calls, in_turns(4 * repeats, *calls)))
    for name, other, wanted in others:
        ratio = spent[helper] / spent[other] if other else None
        yield Line(f"inference: here / {name}", ratio, "at most", wanted)


def _bias(model):
    """Give convolutions some bias: what adds nothing would be left out."""
    for variable in model.weights:
        if variable.path.endswith("bias"):
            variable.assign(np.full(variable.shape, 0.01, np.float32))


def _bare(model, x):
    """The same network as nothing but a compiled function of TensorFlow, or None."""
    from headrest.util.backend import keras

    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    function = tf.function(lambda given: model(given, training=False))
    return lambda: function(tf.constant(x)).numpy()


def _onnx(model, x):
    """The same network in ONNX Runtime, on as many threads as it likes, or None."""
    if any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "onnx", "tf2onnx")):
        return None
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "network.onnx"))
        model.export(path, format="onnx", verbose=False)
        options = onnxruntime.SessionOptions()  # its threads go on asking for work, on our time
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})


def video_line(hu, repeats):
    """A frame of the epoch video beside the same content through matplotlib."""
    from headrest.show.figures import plt
    from headrest.show.video import compose
    from headrest.train.frames import read_frames

    with tempfile.TemporaryDirectory() as run:
        _keep_epochs(run, hu)
        frames = read_frames(run)
        figure = _figure(frames)
        ours, theirs = in_turns(
            repeats,
            lambda: deque(compose(frames), 0),
            lambda: figure.savefig(io.BytesIO(), format="rgba", dpi=100, bbox_inches=None),
        )
        plt.close(figure)
    ratio = EPOCHS * theirs / ours
    return Line("video frame: matplotlib's savefig / here", ratio, "at least", 20)


def _keep_epochs(run, hu):
    from headrest.train.frames import COUNT, keep_epoch, keep_slices

    labels = np.zeros((COUNT, *hu.shape), np.uint8)
    labels[:, 3 * len(hu) // 4 :: 8, len(hu) // 8 : -len(hu) // 8] = 1
    keep_slices(run, np.stack([hu] * COUNT), labels)
    for epoch in range(1, EPOCHS + 1):
        found = 0.9 * np.roll(labels, EPOCHS - epoch, 1)
        keep_epoch(run, found, epoch, 1 / epoch, epoch / EPOCHS)


def _figure(frames):
    """Thirty tiles and two curves, 1920 x 1080 pixels, all of it drawn but for being saved."""
    from headrest.show.figures import overlay, plt

    with plt.rc_context({"figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(19.2, 10.8), dpi=100)
    grid = figure.add_gridspec(5, 8)
    for k, (hu, label) in enumerate(zip(frames.hu, frames.labels)):
        row, column = divmod(k, 2)
        for part, mask in enumerate((None, label > 0, label > 0)):
            axis = figure.add_subplot(grid[row, 3 * column + part])
            axis.imshow(overlay(hu.astype(np.float32), mask))
            axis.set_axis_off()
    for rows, values in ((slice(2), frames.dice), (slice(3, 5), frames.loss)):
        figure.add_subplot(grid[rows, 6:]).plot(frames.epoch, values)
    return figure


def import_line(repeats):
    """Importing headrest beside importing what it rests on, each in a fresh process."""
    compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def spent(modules):
        code = f"import time; t = time.process_time(); import {modules}"
        code += "; print(time.process_time() - t)"
        return float(subprocess.check_output([sys.executable, "-c", code], env=compiled))

    both = ("headrest", "pydicom, scipy.ndimage")
    turns = [[spent(modules) for modules in both] for _ in range(repeats + 1)]
    ours, theirs = np.median(turns[1:], axis=0)  # the first ones read from a cold disk
    ratio = float(ours / theirs)
    return Line("import: headrest / pydicom and scipy.ndimage", ratio, "at most", 1.2)
