"""The levels of a network, as a table and as a drawing."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from headrest.segment.unet import PixelShuffle, layer_sizes, output_size
from headrest.util.backend import keras
from headrest.util.report import PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR

COLORS = {"down": SECOND_COLOR, "up": SUPPORT_COLOR}


def architecture(model: keras.Model, size: int = 512) -> dict[str, list]:
    """List the levels of the encoder and of the decoder, for slices of `size` x `size`.

    Returns
    -------
    dict of columns for `headrest.util.report.table`: "block" (down0, down1, ..., up0), "size" (rows
    and columns of its output), "features", "convolutions", "parameters".

    Examples
    --------
    >>> from headrest.segment.unet import build_unet
    >>> architecture(build_unet("small"), 64)["size"]
    [32, 16, 8, 16, 32]
    """
    output_size(model, size)
    sizes = layer_sizes(model, size)
    blocks: dict[str, list] = {}
    for layer in model.layers:
        block, _, _ = layer.name.partition("_")
        if block.startswith(("down", "up")):
            blocks.setdefault(block, []).append(layer)
    return {
        "block": list(blocks),
        "size": [sizes[layers[-1].name] for layers in blocks.values()],
        "features": [layers[-1].output.shape[-1] for layers in blocks.values()],
        "convolutions": [_convolutions(layers) for layers in blocks.values()],
        "parameters": [sum(la.count_params() for la in layers) for layers in blocks.values()],
    }


def _convolutions(layers):
    return sum(isinstance(layer, keras.layers.Conv2D) for layer in layers)


def operations(model: keras.Model, size: int = 512) -> int:
    """Floating-point operations of the convolutions for one slice.

    A training step takes three times as many: forward, and backward to inputs and weights.

    Examples
    --------
    >>> from headrest.segment.unet import build_unet
    >>> round(operations(build_unet("original")) / 1e9, 1)
    57.3
    """
    sizes, total = layer_sizes(model, size), 0
    for layer in model.layers:
        if layer.weights:
            shuffle = layer.strides[0] if isinstance(layer, PixelShuffle) else 1
            total += 2 * int(np.prod(layer.kernel.shape)) * (sizes[layer.name] // shuffle) ** 2
    return total


def draw_architecture(model: keras.Model, size: int = 512) -> Figure:
    """Draw a network: one box per level, its height by the size, its width by the features."""
    blocks = architecture(model, size)
    n = len(blocks["block"])
    figure, axis = plt.subplots(figsize=(12, 0.7 + 0.75 * (n + 1) / 2))
    depth = (n - 1) // 2
    places = {name: (i, -min(i, n - 1 - i)) for i, name in enumerate(blocks["block"])}
    for row in zip(*blocks.values()):
        _box(axis, places[row[0]], *row[:4])
    for one, two in zip(list(places.values()), list(places.values())[1:]):
        _arrow(axis, one, two, 0.22)
    for level in range(depth):
        _arrow(axis, places[f"down{level}"], places[f"up{level}"], 0.3, dashed=True)
    for x, text in ((-1, f"slice\n{size}²"), (n, f"logits\n{output_size(model, size)}² x 2")):
        axis.text(x, 0.1, text, ha="center", va="bottom", fontsize=9)
    _arrow(axis, (-1, 0), (0, 0), 0.35)
    _arrow(axis, (n - 1, 0), (n, 0), 0.35)
    parameters = f"{model.count_params():,} parameters"
    axis.set(xlim=(-1.9, n + 0.9), ylim=(-depth - 0.75, 0.75), title=f"{model.name}: {parameters}")
    axis.set_axis_off()
    return figure


def _box(axis, place, name, size, features, convolutions):
    x, y = place
    width, height = 0.08 + 0.032 * np.log2(features), 0.12 + 0.05 * np.log2(size)
    way = name.rstrip("0123456789")
    axis.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, color=COLORS[way]))
    text = f"{size}²\n{features} features\n{convolutions} conv"
    side, align = (-1, "right") if way == "down" else (1, "left")
    place = x + side * (width / 2 + 0.05), y - 0.1
    axis.text(*place, text, fontsize=8, va="top", ha=align, linespacing=1.1)


def _arrow(axis, one, two, gap, dashed=False):
    direction = np.subtract(two, one)
    lead = gap * direction / np.hypot(*direction)
    style = {"linestyle": (0, (4, 3)), "color": PADDING_COLOR} if dashed else {"color": "0.4"}
    axis.add_patch(
        FancyArrowPatch(one + lead, two - lead, arrowstyle="-|>", mutation_scale=9, **style)
    )
