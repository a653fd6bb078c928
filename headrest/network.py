"""The encoder-decoders, for any backend of Keras 3."""

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from headrest.arrays import check_finite
from headrest.backend import keras, layers
from headrest.errors import HeadrestError
from headrest.inference import Unfold, inference_weights

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
    inference: bool = False,
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
    inference : bool
        Lay it out for use, which takes a sixth less time on a CPU; all weights are 0 until it is
        given some of `headrest.inference.inference_weights`. See `for_inference`.
    name : str, optional

    Returns
    -------
    keras.Model, float32 (batch, size, size, 1) -> logits (batch, output, output, 2), background
    first; with `inference`, the probability of a headrest (batch, output, output, 1).

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
    widths = tuple(widths or (16 << level for level in range(levels)))
    counts = (convolutions,) * levels if isinstance(convolutions, int) else tuple(convolutions)
    if not levels == len(widths) == len(counts) or padding not in ("same", "valid"):
        raise HeadrestError(f"{levels} levels, widths {widths}, convolutions {counts}, {padding!r}")
    _check_size(size, counts, padding, fold)
    conv = (_Unfolding if inference else _Convolutions)(padding, seed)
    inputs = x = layers.Input((size, size, 1), name="slice")
    skips = []
    for level, (width, n) in enumerate(zip(widths, counts)):
        x = layers.MaxPooling2D(name=f"down{level}_pool")(x) if level else x
        x = conv(x, f"down{level}", width, n, fold if level == 0 else 1)
        skips.append(x)
    for level in reversed(range(levels - 1)):
        x = conv.up(x, f"up{level}_double", widths[level])
        skip = _crop(skips[level], x.shape[1])
        x = layers.Concatenate(name=f"up{level}_join")([skip, x])
        x = conv(x, f"up{level}", widths[level], counts[level])
    model = keras.Model(inputs, conv.answer(x, fold), name=name)
    model.plan = _Plan(levels, widths, counts, padding, fold)
    return model


class _Plan(NamedTuple):
    """What of the arguments makes a network what it is, whatever the size of its slices."""

    levels: int
    widths: tuple[int, ...]
    convolutions: tuple[int, ...]
    padding: str
    fold: int

    def lay_out(self, size, **more):
        return encoder_decoder(size, **self._asdict(), **more)


class _Convolutions:
    """Lay convolutions of one padding, each with first weights of its own."""

    def __init__(self, padding, seed):
        self.padding = padding
        self.seeds = count(1000 * seed)

    def _first(self, activation="relu"):
        kind = keras.initializers.HeNormal if activation else keras.initializers.GlorotUniform
        return kind(seed=next(self.seeds))

    def __call__(self, x, name, width, n, fold=1):
        for i in range(n):
            step = fold if i == 0 else 1
            x = layers.Conv2D(
                width,
                3 * step,
                strides=step,
                padding=self.padding,
                activation="relu",
                kernel_initializer=self._first(),
                name=f"{name}_{i}",
            )(x)
        return x

    def up(self, x, name, width, step=2, activation="relu"):
        first = self._first(activation)
        return layers.Conv2DTranspose(
            width, step, step, activation=activation, kernel_initializer=first, name=name
        )(x)

    def answer(self, x, fold):
        return self.up(x, "logits", 2, fold, activation=None)


class _Unfolding(_Convolutions):
    """Lay the same ones out for use. Drawing first weights would take a third of the time of
    building them, so they are zeros."""

    def _first(self, activation="relu"):
        return "zeros"

    def up(self, x, name, width, step=2, activation="relu"):
        first = self._first(activation)
        x = layers.Conv2D(
            width * step**2, 1, activation=activation, kernel_initializer=first, name=name
        )(x)
        return Unfold(step, name=f"{name}_unfold")(x)

    def answer(self, x, fold):
        return self.up(x, "logits", 1, fold, activation="sigmoid")


def _crop(x, size):
    rim = x.shape[1] - size
    return layers.Cropping2D(((rim // 2, rim - rim // 2),) * 2)(x) if rim else x


def output_size(
    size: int, convolutions: Sequence[int], padding: str = "same", fold: int = 1
) -> int | None:
    """Rows and columns that come out of a network, or None where it cannot be built.

    Examples
    --------
    >>> output_size(512, (2, 2, 2), "valid"), output_size(500, (2,) * 7)
    (472, None)
    """
    rim = 2 if padding == "valid" else 0
    if size % fold:
        return None
    size = size // fold
    for n in convolutions[:-1]:
        size -= rim * n
        if size % 2:
            return None
        size //= 2
    size -= rim * convolutions[-1]
    smallest = size
    for n in convolutions[-2::-1]:
        size = 2 * size - rim * n
    return fold * size if min(smallest, size) > 0 else None


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
    _check_size(size, model.plan.convolutions, model.plan.padding, model.plan.fold)
    slices = layers.Input((size, size, 1), name="half_slice")
    half = keras.models.clone_model(model, slices, clone_function=lambda layer: layer)
    half.plan = model.plan
    return half


def for_inference(model: keras.Model, size: int | None = None) -> keras.Model:
    """Lay a trained network out for use, with a copy of its weights.

    Parameters
    ----------
    model : keras.Model, as `encoder_decoder` makes it.
    size : int, optional; rows and columns of the slices that it will see, as now if None.

    Returns
    -------
    keras.Model, float32 (batch, size, size, 1) -> probability of a headrest (batch, output,
    output, 1).

    Raises
    ------
    HeadrestError
        Where such slices cannot be halved so often; the text names the nearest that can. Where it
        is laid out for use already.

    Examples
    --------
    >>> for_inference(build("small"), size=128).output_shape
    (None, 128, 128, 1)
    """
    if model.output_shape[-1] != 2:
        raise HeadrestError(f"{model.name!r} is laid out for use already: give the trained network")
    size = size or model.input_shape[1]
    laid_out = model.plan.lay_out(size, inference=True, name=model.name)
    set_weights(laid_out, inference_weights(get_weights(model)))
    return laid_out


def _check_size(size, counts, padding, fold):
    if size < 1 or output_size(size, counts, padding, fold) is None:
        works = [n for n in range(1, 2 * abs(size) + 2048) if output_size(n, counts, padding, fold)]
        below, above = [n for n in works if n < size][-1:], [n for n in works if n > size][:1]
        raise HeadrestError(
            f"slices of {size} x {size} cannot be halved {len(counts) - 1} times by this network; "
            f"the nearest that can: {' and '.join(map(str, below + above))}"
        )


def logit(model: keras.Model, scaled: np.ndarray) -> np.ndarray:
    """What a network says for headrest and against the rest.

    Parameters
    ----------
    model : keras.Model, not laid out for use.
    scaled : float32 array (n, rows, columns), as by `headrest.scaling.scale`.

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
