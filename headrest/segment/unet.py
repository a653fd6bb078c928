"""The encoder-decoders, for any backend of Keras 3."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from headrest.util.arrays import check_finite
from headrest.util.backend import keras, layers, ops
from headrest.util.errors import HeadrestError

CONVOLUTIONS = (2, 2, 2, 4, 4, 4, 8)
"""Convolutions of each level in the first work on this question, 2018."""

PRESETS: dict[str, dict[str, Any]] = {
    "original": {},
    "valid3": {"levels": 3, "convolutions": 2, "padding": "valid"},
    "standard": {"widths": (24, 32, 48, 64, 64, 64, 64), "fold": 4},
    "wide": {"widths": (24, 32, 64, 96, 96, 96, 96), "fold": 4},
    "small": {"size": 64, "levels": 3, "widths": (8, 16, 16), "convolutions": 2, "fold": 2},
}
"""Arguments of `encoder_decoder`. The first two are the networks of 2018; the third trains on a
CPU at 1 / 35 of the first one's products; the fourth, wider further down, is the one that ships;
the fifth is for tests."""


def build(preset: str = "standard", **changes: Any) -> keras.Model:
    """Build a network by name.

    Parameters
    ----------
    preset : "original", "valid3", "standard", "wide" or "small"
    changes : arguments of `encoder_decoder` that replace the preset's.

    Returns
    -------
    keras.Model, as `encoder_decoder` makes it.

    Examples
    --------
    >>> build("small").output_shape
    (None, 64, 64, 2)
    """
    if preset not in PRESETS:
        raise HeadrestError(f"no network {preset!r}: choose from {', '.join(PRESETS)}")
    return encoder_decoder(**{**PRESETS[preset], **changes}, name=preset)


def encoder_decoder(
    size: int = 512,
    levels: int = 7,
    widths: Sequence[int] | None = None,
    convolutions: int | Sequence[int] = CONVOLUTIONS,
    padding: str = "same",
    fold: int = 1,
    seed: int = 0,
    name: str | None = None,
) -> keras.Model:
    """Build a network that halves the slice level by level, and doubles it back.

    What each level saw on the way down is laid beside what comes up to it.

    Parameters
    ----------
    size : int, rows and columns of a slice.
    levels : int, sizes from the slice itself to the smallest, one more than poolings.
    widths : sequence of int, optional
        Features of each level; 16 that double from level to level if None.
    convolutions : int or sequence of int, 3x3 convolutions of each level, down as well as up.
    padding : "same" or "valid"
        With "valid" a convolution loses its rim, and the output is smaller than the input.
    fold : int
        The first convolution steps over so many pixels and takes in as many times more; the
        last one undoes it. The same as folding squares of pixels into features (space to
        depth) before the first level and unfolding them after it.
    seed : int, of the first weights.
    name : str, optional

    Returns
    -------
    keras.Model, float32 (batch, size, size, 1) -> logits (batch, output, output, 2), background
    first. `headrest.segment.inference.for_inference` turns a trained one into a faster one.

    Raises
    ------
    HeadrestError
        Where a size cannot be halved so often; the text names the nearest that can.

    Notes
    -----
    O. Ronneberger et al., U-Net, MICCAI 2015, arXiv:1505.04597.

    Examples
    --------
    >>> encoder_decoder(levels=3, convolutions=2, padding="valid").output_shape
    (None, 472, 472, 2)
    """
    plan = Plan.of(levels, widths, convolutions, padding, fold)
    plan.check_size(size)
    inputs = layers.Input((size, size, 1), name="slice")
    model = keras.Model(inputs, plan.lay(inputs, _Layers(padding, seed)), name=name)
    model.plan = plan
    return model


class Plan(NamedTuple):
    """What makes a network what it is, whatever the size of its slices and of what parts it is
    laid: layers that learn, or what they have learned (`headrest.segment.inference`)."""

    levels: int
    widths: tuple[int, ...]
    convolutions: tuple[int, ...]
    padding: str
    fold: int

    @classmethod
    def of(
        cls,
        levels: int = 7,
        widths: Sequence[int] | None = None,
        convolutions: int | Sequence[int] = CONVOLUTIONS,
        padding: str = "same",
        fold: int = 1,
    ) -> "Plan":
        """Make a plan from arguments of `encoder_decoder`."""
        widths = tuple(widths or (16 << level for level in range(levels)))
        counts = (convolutions,) * levels if isinstance(convolutions, int) else tuple(convolutions)
        if not levels == len(widths) == len(counts) or padding not in ("same", "valid"):
            raise HeadrestError(
                f"{levels} levels, widths {widths}, convolutions {counts}, {padding!r}"
            )
        return cls(levels, widths, counts, padding, fold)

    def lay(self, x: Any, parts: Any) -> Any:
        """Lead slices down and up again, through whatever `parts` are laid at each station."""
        skips = []
        for level, (width, n) in enumerate(zip(self.widths, self.convolutions)):
            x = parts.halve(x, f"down{level}_pool") if level else x
            for i in range(n):
                step = self.fold if level == i == 0 else 1
                x = parts.convolve(x, f"down{level}_{i}", width, step)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            x = parts.double(x, f"up{level}_double", self.widths[level])
            x = parts.join(skips[level], x, f"up{level}_join")
            for i in range(self.convolutions[level]):
                x = parts.convolve(x, f"up{level}_{i}", self.widths[level])
        return parts.answer(x, "logits", self.fold)

    def output_size(self, size: int) -> int | None:
        """Rows and columns that come out, or None where such slices cannot be halved so often.

        Examples
        --------
        >>> valid = Plan.of(levels=3, convolutions=2, padding="valid")
        >>> valid.output_size(512), Plan.of().output_size(500)
        (472, None)
        """
        rim = 2 if self.padding == "valid" else 0
        if size % self.fold:
            return None
        size = size // self.fold
        for n in self.convolutions[:-1]:
            size -= rim * n
            if size % 2:
                return None
            size //= 2
        size -= rim * self.convolutions[-1]
        smallest = size
        for n in self.convolutions[-2::-1]:
            size = 2 * size - rim * n
        return self.fold * size if min(smallest, size) > 0 else None

    def check_size(self, size: int) -> None:
        """Refuse sizes that cannot be halved so often, and name the nearest that can."""
        if size >= 1 and self.output_size(size) is not None:
            return
        works = [n for n in range(1, 2 * abs(size) + 2048) if self.output_size(n)]
        below, above = [n for n in works if n < size][-1:], [n for n in works if n > size][:1]
        raise HeadrestError(
            f"slices of {size} x {size} cannot be halved {self.levels - 1} times by this network; "
            f"the nearest that can: {' and '.join(map(str, below + above))}"
        )


class _Layers:
    """Parts that learn: layers of Keras, convolutions each with first weights of its own."""

    def __init__(self, padding, seed):
        self.padding = padding
        self.seeds = count(1000 * seed)

    def convolve(self, x, name, width, step=1):
        return layers.Conv2D(
            width,
            3 * step,
            strides=step,
            padding=self.padding,
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(seed=next(self.seeds)),
            name=name,
        )(x)

    def halve(self, x, name):
        return layers.MaxPooling2D(name=name)(x)

    def double(self, x, name, width):
        first = keras.initializers.HeNormal(seed=next(self.seeds))
        return Unfolding(width, 2, 2, activation="relu", kernel_initializer=first, name=name)(x)

    def join(self, skip, x, name):
        rim = skip.shape[1] - x.shape[1]
        skip = layers.Cropping2D(((rim // 2, rim - rim // 2),) * 2)(skip) if rim else skip
        return layers.Concatenate(name=name)([skip, x])

    def answer(self, x, name, step):
        first = keras.initializers.GlorotUniform(seed=next(self.seeds))
        return Unfolding(2, step, step, kernel_initializer=first, name=name)(x)


class Unfolding(layers.Conv2DTranspose):
    """A transposed convolution whose kernel is as large as its step, as `unfolding` does it."""

    def call(self, x):
        """Tensor (n, rows, columns, inputs) -> (n, step * rows, step * columns, features)."""
        return unfolding(x, self.kernel, self.bias, self.activation)


def unfolding(x: Any, kernel: Any, bias: Any, activation: Callable[[Any], Any]) -> Any:
    """Convolve by 1 x 1 and lay features out as squares of pixels (depth to space).

    The same as a transposed convolution whose kernel is as large as its step, and CPUs are faster
    at it. Source: W. Shi et al., CVPR 2016, arXiv:1609.05158.

    Parameters
    ----------
    x : tensor (n, rows, columns, inputs)
    kernel : tensor or array (step, step, features, inputs)
    bias : tensor or array (features,)
    activation : callable, tensor -> tensor

    Returns
    -------
    tensor (n, step * rows, step * columns, features)
    """
    (rows, columns, inputs), (step, _, features, _) = x.shape[1:], kernel.shape
    kernel = ops.reshape(ops.transpose(kernel, (3, 0, 1, 2)), (1, 1, inputs, -1))
    x = activation(ops.add(ops.conv(x, kernel), ops.tile(bias, step**2)))
    x = ops.reshape(x, (-1, rows, columns, step, step, features))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, step * rows, step * columns, features))


def halve(model: keras.Model) -> keras.Model:
    """Lay the layers of a network out for slices of half as many rows and columns.

    Parameters
    ----------
    model : keras.Model, as `encoder_decoder` makes it, not compiled yet.

    Returns
    -------
    keras.Model, the same weights, not a copy of them.

    Raises
    ------
    HeadrestError
        Where such slices cannot be halved so often; the text names the nearest that can.

    Examples
    --------
    >>> halve(build("small")).output_shape
    (None, 32, 32, 2)
    """
    size = model.input_shape[1] // 2
    # Layers that are laid out again do not look whether sizes fit.
    model.plan.check_size(size)
    slices = layers.Input((size, size, 1), name="half_slice")
    half = keras.models.clone_model(model, slices, clone_function=lambda layer: layer)
    half.plan = model.plan
    return half


def logit(model: keras.Model, scaled: np.ndarray) -> np.ndarray:
    """What a network says for headrest and against the rest.

    Parameters
    ----------
    model : keras.Model, not laid out for use.
    scaled : float32 array (n, rows, columns), as by `headrest.hounsfield.scale`.

    Returns
    -------
    float32 array (n, output, output)
    """
    logits = np.asarray(model.predict_on_batch(scaled[..., None]))
    return logits[..., 1] - logits[..., 0]


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Probability from a logit, without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1e9, 0, 1e9])).round(3)
    array([0. , 0.5, 1. ])
    """
    return 1 / (1 + np.exp(-np.clip(logit, -80, 80)))


def get_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Read a network's weights: dict of layer and variable to float32 array.

    The same under every backend, so what one has trained another can use.

    Examples
    --------
    >>> list(get_weights(build("small")))[:2]
    ['down0_0/kernel', 'down0_0/bias']
    """
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}


def set_weights(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Give a network weights that `get_weights` read.

    Raises
    ------
    HeadrestError
        Where they belong to another network, or are not finite; the network stays as it was.
    """
    wanted = {variable.path: tuple(variable.shape) for variable in model.weights}
    given = {name: np.shape(value) for name, value in weights.items()}
    if wanted != given:
        odd = sorted(set(wanted.items()) ^ set(given.items()))[0][0]
        raise HeadrestError(f"weights of another network than {model.name!r}: {odd} differs")
    check_finite(weights, "weights")
    for variable in model.weights:
        variable.assign(weights[variable.path])
