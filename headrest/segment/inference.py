"""A trained network laid out for use: the same answers in a fifth less time, on a CPU."""

from typing import Any

import numpy as np

from headrest.segment.unet import Plan, get_weights, unfolding
from headrest.util.backend import keras, layers, ops
from headrest.util.errors import HeadrestError

LARGE = 1_000_000
"""Weights of a convolution that are no constant: TensorFlow copies constants again and again while
it compiles."""


def for_inference(model: keras.Model, size: int | None = None) -> keras.Model:
    """Lay a trained network out for use, with a copy of its weights.

    Parameters
    ----------
    model : keras.Model, as `headrest.segment.unet.encoder_decoder` makes it.
    size : int, optional; rows and columns of the slices that it will see, as now if None.

    Returns
    -------
    keras.Model, float32 (batch, size, size, 1) -> probability of a headrest (batch, output,
    output, 1). It learns no more.

    Raises
    ------
    HeadrestError
        Where such slices cannot be halved so often; the text names the nearest that can. Where it
        is laid out for use already.

    Examples
    --------
    >>> from headrest.segment.unet import build
    >>> for_inference(build("small"), size=128).output_shape
    (None, 128, 128, 1)
    """
    if model.output_shape[-1] != 2:
        raise HeadrestError(f"{model.name!r} is laid out for use already: give the trained network")
    return lay_out(model.plan, get_weights(model), size or model.input_shape[1], model.name)


def lay_out(
    plan: Plan, weights: dict[str, np.ndarray], size: int, name: str | None = None
) -> keras.Model:
    """Lay a network out for use from its plan and weights: `for_inference`."""
    plan.check_size(size)
    slices = layers.Input((size, size, 1), name="slice")
    return keras.Model(slices, Fixed(plan, weights, name="fixed")(slices), name=name)


class Fixed(layers.Layer):
    """A trained network as one layer, whose weights are constants.

    Constants are laid out as a processor likes them once, variables for every batch anew; and no
    layer has to be built.

    Parameters
    ----------
    plan : headrest.segment.unet.Plan
    weights : dict of str to float32 array, as `headrest.segment.unet.get_weights` reads them.
    """

    def __init__(self, plan: Plan, weights: dict[str, np.ndarray], **named: Any) -> None:
        super().__init__(trainable=False, dtype="float32", **named)
        self.plan = plan
        self.parts = _Constants(plan.padding, weights)

    def compute_output_shape(self, input_shape):
        """Shape of what comes out."""
        size = self.plan.output_size(input_shape[1])
        return input_shape[0], size, size, 1

    def call(self, x):
        """Tensor (n, size, size, 1) -> probability of a headrest (n, output, output, 1)."""
        return self.plan.lay(x, self.parts)


class _Constants:
    """Parts that have learned.

    What would be joined is convolved by itself, and added. The logits of two classes are their
    difference, whose sigmoid is the probability of a headrest.
    """

    def __init__(self, padding, weights):
        self.padding = padding
        self.weights = {
            name: value if value.size < LARGE else ops.convert_to_tensor(value)
            for name, value in weights.items()
        }

    def _of(self, name):
        return self.weights[f"{name}/kernel"], self.weights[f"{name}/bias"]

    def convolve(self, x, name, width, step=1):
        skip, x = x if isinstance(x, tuple) else (None, x)
        n = 0 if skip is None else skip.shape[-1]
        kernel, bias = self._of(name)
        x = ops.add(ops.conv(x, kernel[:, :, n:], step, self.padding), bias)
        if skip is not None:
            x = ops.add(x, ops.conv(skip, kernel[:, :, :n], step, self.padding))
        return ops.relu(x)

    def halve(self, x, name):
        return ops.max_pool(x, 2, strides=2)

    def double(self, x, name, width):
        return unfolding(x, *self._of(name), ops.relu)

    def join(self, skip, x, name):
        rim, size = (skip.shape[1] - x.shape[1]) // 2, x.shape[1]
        return (skip[:, rim : rim + size, rim : rim + size] if rim else skip), x

    def answer(self, x, name, step):
        kernel, bias = self._of(name)
        kernel, bias = kernel[:, :, 1:] - kernel[:, :, :1], bias[1:] - bias[:1]
        return unfolding(x, kernel, bias, ops.sigmoid)
