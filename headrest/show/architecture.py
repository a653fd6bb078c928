"""What a network is made of, as a table and as a drawing, both read from the model itself."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle

from headrest.util.backend import keras
from headrest.util.colors import PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR

COLORS = {"down": SECOND_COLOR, "up": SUPPORT_COLOR}


def architecture(model):
    """List a network's levels on the way down and up.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`

    Returns
    -------
    dict of columns for `headrest.util.text.table`: "block" (down0, down1, ..., up0), "size" (rows
    and columns that leave it), "features", "convolutions", "parameters".

    Examples
    --------
    >>> from headrest.segment.unet import build
    >>> architecture(build("small"))["size"]
    [32, 16, 8, 16, 32]
    """
    blocks = {}
    for layer in model.layers:
        block, _, _ = layer.name.partition("_")
        if block.startswith(("down", "up")):
            blocks.setdefault(block, []).append(layer)
    outputs = [layers[-1].output.shape for layers in blocks.values()]
    return {
        "block": list(blocks),
        "size": [shape[1] for shape in outputs],
        "features": [shape[-1] for shape in outputs],
        "convolutions": [_convolutions(layers) for layers in blocks.values()],
        "parameters": [sum(la.count_params() for la in layers) for layers in blocks.values()],
    }


def _convolutions(layers):
    return sum(isinstance(layer, keras.layers.Conv2D) for layer in layers)


def products(model):
    """Floating-point operations of a slice on its way through a network, convolutions only.

    A training step takes three times as many: forward, and backward to inputs and weights.

    Examples
    --------
    >>> from headrest.segment.unet import build
    >>> round(products(build("original")) / 1e9, 1)
    57.3
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose)):
            grid = layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output
            total += 2 * int(np.prod(layer.kernel.shape)) * grid.shape[1] * grid.shape[2]
    return total


def draw_architecture(model):
    """Draw a network: a box a level, high as its slices are large, wide as its features are many.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`

    Returns
    -------
    matplotlib Figure
    """
    blocks = architecture(model)
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
    _ends(axis, model, n)
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


def _ends(axis, model, n):
    given, logits = model.input_shape, model.output_shape
    for x, text in ((-1, f"slice\n{given[1]}²"), (n, f"logits\n{logits[1]}² x {logits[3]}")):
        axis.text(x, 0.1, text, ha="center", va="bottom", fontsize=9)
    _arrow(axis, (-1, 0), (0, 0), 0.35)
    _arrow(axis, (n - 1, 0), (n, 0), 0.35)
