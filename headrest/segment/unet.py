"""The U-Net, for slices of any size, on any backend of Keras 3."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from scipy.special import softmax

from headrest.util import HeadrestError
from headrest.util.backend import keras, layers, ops
from headrest.util.files import check_finite

CONVOLUTIONS = (2, 2, 2, 4, 4, 4, 8)
"""3x3 convolutions of each level in the 2018 network (harsh1795/CNN-DICOM-Segmentation)."""

PRESETS: dict[str, dict[str, Any]] = {
    "original": {"widths": (16, 32, 64, 128, 256, 512, 1024), "classes": 2},
    "valid3": {"widths": (16, 32, 64), "convolutions": (2, 2, 2), "padding": "valid", "classes": 2},
    "standard": {"widths": (24, 32, 48, 64, 64, 64, 64), "stride": 4},
    "wide": {"widths": (24, 32, 64, 96, 96, 96, 96), "stride": 4},
    "small": {"widths": (8, 16, 16), "convolutions": (2, 2, 2), "stride": 2},
}
"""Arguments of `_unet`. "original" and "valid3" are the networks of 2018. "standard" has 1 / 35 of
the operations of "original". "wide" is the pretrained network, "small" is for tests."""


def build_unet(preset: str = "standard", seed: int = 0, **changes: Any) -> keras.Model:
    """Build an encoder-decoder with skip connections (O. Ronneberger et al., arXiv:1505.04597).

    Parameters
    ----------
    preset : "original", "valid3", "standard", "wide" or "small"
    seed : int, of the initial weights.
    **changes
        Replace those of the preset: `widths`, the features of each level, from the slice down to
        the bottleneck; `convolutions` of each level, in the encoder and again in the decoder;
        `padding`, "same", or "valid", which loses one pixel per convolution on each side;
        `stride` of the first convolution, by which its kernel is larger and the output head
        upsamples: the levels have a grid of 1 / stride (space to depth);
        `classes`, 3 for background, support and patient, or 2, where the patient is background.

    Returns
    -------
    keras.Model, float32 (batch, rows, columns, 1) -> logits (batch, rows, columns, classes).

    Examples
    --------
    >>> build_unet("small").output_shape
    (None, None, None, 3)
    """
    if preset not in PRESETS:
        raise HeadrestError(f"no network {preset!r}: choose from {', '.join(PRESETS)}")
    return _unet(**{**PRESETS[preset], **changes}, seed=seed, name=preset)


def _unet(
    widths, convolutions=CONVOLUTIONS, padding="same", stride=1, classes=3, seed=0, name=None
):
    if len(widths) != len(convolutions) or padding not in ("same", "valid"):
        levels = f"{len(widths)} widths and {len(convolutions)} convolutions"
        raise HeadrestError(f"{levels} for the levels of a network with padding {padding!r}")
    seeds = count(1000 * seed)

    def options(name):
        initial = keras.initializers.HeNormal(seed=next(seeds))
        return {"activation": "relu", "kernel_initializer": initial, "name": name}

    def convolve(x, width, name, stride=1):
        return layers.Conv2D(width, 3 * stride, stride, padding, **options(name))(x)

    x = inputs = layers.Input((None, None, 1), name="slice")
    skips = []
    for level, (width, n) in enumerate(zip(widths, convolutions)):
        if level:
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        for i in range(n):
            x = convolve(x, width, f"down{level}_{i}", stride if level == i == 0 else 1)
        skips.append(x)
    lost = 0  # pixels lost to VALID convolutions since the skip connection, on its grid
    for level in reversed(range(len(widths) - 1)):
        lost = 2 * (lost + 2 * convolutions[level + 1]) if padding == "valid" else 0
        x = PixelShuffle(widths[level], 2, 2, **options(f"up{level}_double"))(x)
        skip = layers.Cropping2D(lost // 2)(skips[level]) if lost else skips[level]
        x = layers.Concatenate(name=f"up{level}_concatenate")([skip, x])
        for i in range(convolutions[level]):
            x = convolve(x, widths[level], f"up{level}_{i}")
        lost += 2 * convolutions[level] if padding == "valid" else 0
    initial = keras.initializers.GlorotUniform(seed=next(seeds))
    logits = PixelShuffle(classes, stride, stride, kernel_initializer=initial, name="logits")(x)
    return keras.Model(inputs, logits, name=name)


class PixelShuffle(layers.Conv2DTranspose):
    """Transposed convolution with a kernel of the size of its stride, as a 1x1 convolution and
    depth to space: the same values, 18 % faster on a CPU. W. Shi et al., arXiv:1609.05158."""

    def call(self, x: Any) -> Any:
        """Tensor (n, rows, columns, inputs) -> (n, stride * rows, stride * columns, features)."""
        _, rows, columns, inputs = ops.shape(x)
        step, _, features, _ = self.kernel.shape
        kernel = ops.reshape(ops.transpose(self.kernel, (3, 0, 1, 2)), (1, 1, inputs, -1))
        x = self.activation(ops.add(ops.conv(x, kernel), ops.tile(self.bias, step**2)))
        x = ops.reshape(x, (-1, rows, columns, step, step, features))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, step * rows, step * columns, features))


def layer_sizes(model: keras.Model, size: int) -> dict[str, int]:
    """Rows that each layer returns for slices of `size` rows; empty if these cannot be pooled."""
    sizes = {}
    for layer in model.layers:
        stride = getattr(layer, "strides", (1,))[0]
        if isinstance(layer, PixelShuffle):
            size *= stride
        else:
            fits, size = size % stride == 0, size // stride
            size -= 2 * (isinstance(layer, layers.Conv2D) and layer.padding == "valid")
            if not fits or size < 1:
                return {}
        sizes[layer.name] = size
    return sizes


def output_size(model: keras.Model, size: int) -> int:
    """Rows that a network returns for slices of `size` rows, such as 472 for 512 by "valid3".

    Raises a HeadrestError if they cannot be pooled so often; it names the nearest sizes that can.
    """
    sizes = layer_sizes(model, size)
    if sizes:
        return sizes["logits"]
    works = [n for n in range(1, 2 * abs(size) + 2048) if layer_sizes(model, n)]
    nearest = [n for n in works if n < size][-1:] + [n for n in works if n > size][:1]
    raise HeadrestError(
        f"the network {model.name!r} cannot downsample slices of {size} x {size} as often as it "
        f"has to; the nearest sizes: {' and '.join(map(str, nearest))}"
    )


def keras_probability(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a U-Net as `headrest.segment.pretrained.load_pretrained` returns a network: float32
    (n, rows, columns), scaled -> probabilities of support and patient; it refuses sizes as
    `output_size`."""

    def probability(scaled: np.ndarray) -> np.ndarray:
        for size in scaled.shape[1:]:
            output_size(model, size)
        logits = np.asarray(model.predict_on_batch(scaled[..., None]))
        return softmax(np.moveaxis(logits, -1, 1), axis=1)[:, 1:]

    return probability


def get_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Read weights by layer and variable, as "down0_0/kernel"; the same under every backend."""
    return {variable.path: ops.convert_to_numpy(variable) for variable in model.weights}


def set_weights(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Set weights as `get_weights` reads them.

    Raises a HeadrestError if they belong to another network or are not finite.
    """
    expected = {variable.path: tuple(variable.shape) for variable in model.weights}
    given = {name: np.shape(value) for name, value in weights.items()}
    if expected != given:
        odd = sorted(set(expected.items()) ^ set(given.items()))[0][0]
        raise HeadrestError(f"weights of another network than {model.name!r}: {odd} differs")
    check_finite(weights, "weights")
    for variable in model.weights:
        variable.assign(weights[variable.path])
