"""The levels of a network, as a table and as a drawing."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from headrest.segment.unet import PixelShuffle, layer_sizes, output_size
from headrest.show.figures import WIDTH_IN, plt
from headrest.util.backend import keras
from headrest.util.report import OTHER_COLOR, SECOND_COLOR, SUPPORT_COLOR

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
    """Draw a network: one bar per block, as long as the features are many; one row per level.

    A size in brackets is that of the decoder, where convolutions without padding change it.
    """
    blocks = architecture(model, size)
    rows = list(zip(*blocks.values()))
    depth = len(rows) // 2
    figure, axis = plt.subplots(figsize=(WIDTH_IN, 0.9 + 0.42 * depth))
    for i, (name, out, features, convolutions, _) in enumerate(rows):
        level, side = min(i, len(rows) - 1 - i), -1 if i < depth else i > depth
        _draw_block(axis, name, level, int(side), features)
        if i <= depth:
            decoder = rows[len(rows) - 1 - i][1]
            sizes = f"{out} x {out}" + (f" ({decoder} x {decoder})" if decoder != out else "")
            text = f"{sizes}, {features} features, {convolutions} convolutions"
            axis.text(1.75, -level, text, fontsize=9, va="center")
    for level in range(depth):
        _arrow(axis, (-0.45, -level), (0.45, -level), dashed=True)
        for side in (-1, 1):
            ends = [(side, -level - 0.25), (side * (level + 1 < depth), -level - 0.75)]
            _arrow(axis, *(ends if side < 0 else ends[::-1]))
    out = output_size(model, size)
    for x, text in ((-1, f"slice, {size} x {size}"), (1, f"logits, {out} x {out}")):
        axis.text(x, 0.45, text, ha="center", fontsize=9)
    title = f"{model.name}: {model.count_params():,} parameters"
    axis.set(xlim=(-1.6, 4.6), ylim=(-depth - 0.5, 0.8), title=title)
    axis.set_axis_off()
    return figure


def _draw_block(axis, name, level, side, features):
    """A bar in the encoder (side -1), the decoder (1), or at the bottleneck (0)."""
    width = 0.12 * np.log2(features)
    corner = side - width / 2, -level - 0.2
    axis.add_patch(Rectangle(corner, width, 0.4, color=COLORS[name.rstrip("0123456789")]))


def _arrow(axis, start, end, dashed=False):
    style = {"linestyle": (0, (4, 3)), "color": OTHER_COLOR} if dashed else {"color": "0.4"}
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, **style))
