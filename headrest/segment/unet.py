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
"""The networks of 2018, one with 1 / 35 of their operations, the pretrained one, one for tests."""


def build_unet(preset: str = "standard", seed: int = 0, **changes: Any) -> keras.Model:
    """Build an encoder-decoder with skip connections (O. Ronneberger et al., arXiv:1505.04597).

    Parameters
    ----------
    preset : key of `PRESETS`
    seed : int, of the initial weights.
    **changes
        Replace those of the preset: `widths`, the features of each level, the bottleneck last;
        `convolutions` of each level, in the encoder and again in the decoder;
        `padding`, "same", or "valid", which loses one pixel per convolution on each side;
        `stride` of the first convolution, by which its kernel is larger and the output head
        upsamples; `classes`, 3 for background, support and patient, or 2, support and the rest.

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
    return _unet(preset, seed, **PRESETS[preset] | changes)


def _unet(name, seed, widths, convolutions=CONVOLUTIONS, padding="same", stride=1, classes=3):
    seeds, lost_by_one = count(1000 * seed), 2 * (padding == "valid")

    def options(name):
        initial = keras.initializers.HeNormal(seed=next(seeds))
        return {"activation": "relu", "kernel_initializer": initial, "name": name}

    def convolve(x, level, block, stride=1):
        for i in range(convolutions[level]):
            step = 1 if i else stride
            of_layer = options(f"{block}{level}_{i}")
            x = layers.Conv2D(widths[level], 3 * step, step, padding, **of_layer)(x)
        return x

    inputs = layers.Input((None, None, 1), name="slice")
    skips = [convolve(inputs, 0, "down", stride)]
    for level in range(1, len(widths)):
        x = layers.MaxPooling2D(name=f"down{level}_pool")(skips[-1])
        skips.append(convolve(x, level, "down"))
    x, lost = skips.pop(), 0  # pixels lost since the skip connection, on its grid
    for level in reversed(range(len(skips))):
        lost = 2 * (lost + lost_by_one * convolutions[level + 1])
        x = PixelShuffle(widths[level], 2, 2, **options(f"up{level}_double"))(x)
        skip = layers.Cropping2D(lost // 2)(skips[level]) if lost else skips[level]
        x = layers.Concatenate(name=f"up{level}_concatenate")([skip, x])
        x = convolve(x, level, "up")
        lost += lost_by_one * convolutions[level]
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
        elif size % stride:
            return {}
        else:
            size //= stride
            size -= 2 * (isinstance(layer, layers.Conv2D) and layer.padding == "valid")
        sizes[layer.name] = size
    return sizes if min(sizes.values()) > 0 else {}


def output_size(model: keras.Model, size: int) -> int:
    """Rows that a network returns for slices of `size` rows, such as 472 for 512 by "valid3"; a
    HeadrestError, with the next larger size, if they cannot be pooled so often."""
    if sizes := layer_sizes(model, size):
        return sizes["logits"]
    larger = next(n for n in count(size) if layer_sizes(model, n))
    raise HeadrestError(
        f"the network {model.name!r} cannot downsample slices of {size} x {size} as often as it "
        f"has to; the next larger size that it can: {larger}"
    )


def keras_probability(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a U-Net as a `headrest.segment.predict.Network`; it refuses sizes as `output_size`."""

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
    """Set weights as `get_weights` reads them; HeadrestError for those of another network, or that
    are not finite."""
    expected = {(variable.path, tuple(variable.shape)) for variable in model.weights}
    if odd := expected ^ {(name, np.shape(value)) for name, value in weights.items()}:
        raise HeadrestError(f"weights of another network than {model.name!r}: {min(odd)[0]}")
    check_finite(weights, "weights")
    for variable in model.weights:
        variable.assign(weights[variable.path])
