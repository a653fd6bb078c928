"""Figures of slices, histograms, components and training.

Every function draws on axes of its own and returns the figure, so `figure.savefig` stores it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from headrest.hounsfield import WIDE, window
from headrest.segment.components import Components
from headrest.util.report import PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR, table

__all__ = [
    "PADDING_COLOR",
    "Live",
    "component_scatter",
    "histogram",
    "montage",
    "overlay",
    "plt",
    "show_slices",
    "table",
    "training_curves",
]

plt.style.use(Path(__file__).with_name("headrest.mplstyle"))


def show_slices(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    center: float = WIDE[0],
    width: float = WIDE[1],
    masks: Sequence[np.ndarray | None] | None = None,
    color: str = SUPPORT_COLOR,
) -> Figure:
    """Show slices side by side, each with a coloured mask.

    Parameters
    ----------
    images : sequence of float arrays (rows, columns), in HU.
    titles : sequence of str, optional
    center, width : float, the window in HU; the figure names it.
    masks : sequence of bool arrays or None, optional
    color : colour of the masks.

    Returns
    -------
    matplotlib Figure
    """
    figure, axes = plt.subplots(1, len(images), figsize=(3.6 * len(images), 4), squeeze=False)
    for i, (axis, image) in enumerate(zip(axes[0], images)):
        mask = None if masks is None else masks[i]
        axis.imshow(overlay(image, mask, center, width, color))
        axis.set_axis_off()
        axis.set_title(titles[i] if titles else "")
    figure.supxlabel(f"window: center {center:.0f} HU, width {width:.0f} HU", fontsize=9)
    return figure


def overlay(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    center: float = WIDE[0],
    width: float = WIDE[1],
    color: str = SUPPORT_COLOR,
) -> np.ndarray:
    """Convert a slice in HU to RGB (rows, columns, 3) from 0 to 1, the mask in colour."""
    rgb = np.repeat(window(image, center, width)[..., None], 3, axis=2)
    if mask is not None:
        rgb[mask] = 0.25 * rgb[mask] + 0.75 * np.array(to_rgb(color))
    return rgb


def montage(
    volume: np.ndarray,
    masks: np.ndarray | None = None,
    columns: int = 7,
    center: float = WIDE[0],
    width: float = WIDE[1],
    step: int = 2,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Show all slices of a series as a grid in one image.

    Parameters
    ----------
    volume : float array (slices, rows, columns), in HU.
    masks : bool array of that shape, optional
    columns : int, slices in a row.
    center, width : float, the window in HU.
    step : int, show every `step`-th pixel.
    labels : sequence of str, optional, written into the corner of each slice.

    Returns
    -------
    matplotlib Figure
    """
    height, breadth = volume[0, ::step, ::step].shape
    grid = np.ones((-(-len(volume) // columns) * height, columns * breadth, 3))
    corners = [(i // columns * height, i % columns * breadth) for i in range(len(volume))]
    for i, (y, x) in enumerate(corners):
        mask = None if masks is None else masks[i, ::step, ::step]
        tile = overlay(volume[i, ::step, ::step], mask, center, width)
        grid[y : y + height, x : x + breadth] = tile
    figure, axis = plt.subplots(figsize=(12, 12 * grid.shape[0] / grid.shape[1]))
    axis.imshow(grid)
    axis.set_axis_off()
    for (y, x), text in zip(corners, labels or []):
        written = axis.text(x + 4, y + 4, text, color="white", fontsize=8, va="top")
        written.set_path_effects([withStroke(linewidth=2, foreground="black")])
    return figure


def histogram(
    values: np.ndarray,
    xlabel: str,
    marks: dict[str, float] | None = None,
    title: str = "",
    bins: int = 256,
    ylabel: str = "pixels",
) -> Figure:
    """Draw a histogram with a logarithmic count.

    Parameters
    ----------
    values : array of any shape.
    xlabel, title, ylabel : str
    marks : dict of str to float, optional, named vertical lines.
    bins : int

    Returns
    -------
    matplotlib Figure
    """
    figure, axis = plt.subplots(figsize=(8, 3.2))
    axis.hist(np.ravel(values), bins=bins, log=True, color=SECOND_COLOR)
    for name, value in (marks or {}).items():
        axis.axvline(value, color=SUPPORT_COLOR, linewidth=1.4)
        axis.text(value, 1.01, f" {name}", transform=axis.get_xaxis_transform(), fontsize=9)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.set_title(title, pad=18 if marks else 6)
    return figure


def component_scatter(components: Components, support: np.ndarray) -> Figure:
    """Plot each component by mean and standard deviation of its HU, sized by its area.

    Parameters
    ----------
    components : headrest.segment.components.Components
    support : bool array (n,), which of them are support.

    Returns
    -------
    matplotlib Figure
    """
    figure, axis = plt.subplots(figsize=(6.5, 4))
    classes = ((~support, SECOND_COLOR, "all others"), (support, SUPPORT_COLOR, "support"))
    for chosen, color, name in classes:
        points = components.mean_hu[chosen], components.std_hu[chosen]
        size = 8 * np.sqrt(components.area_mm2[chosen])
        axis.scatter(*points, s=size, color=color, alpha=0.6, label=name)
    axis.set(xlabel="mean of the component (HU)", ylabel="standard deviation (HU)")
    axis.margins(0.15)  # room for the largest circle
    for handle in axis.legend(loc="upper left").legend_handles:
        handle.set_sizes([60])  # type: ignore[union-attr]
    return figure


def training_curves(history: list[dict]) -> Figure:
    """Plot loss and held-out Dice by epoch.

    Parameters
    ----------
    history : list of dict, one per epoch, as `headrest.train.loop.train` returns it.

    Returns
    -------
    matplotlib Figure
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], color=SECOND_COLOR)
    left.set(xlabel="epoch", ylabel="loss, training", ylim=(0, None))
    for group, color in (("free", SUPPORT_COLOR), ("touching", PADDING_COLOR)):
        values = [row[f"dice_{group}"] for row in history]
        if None not in values:
            right.plot(epochs, values, color=color, label=f"{group} slices")
    if not right.lines:  # labels without a known contact of support and patient
        right.plot(epochs, [row["dice"] for row in history], SUPPORT_COLOR, label="all slices")
    right.set(xlabel="epoch", ylabel="Dice, held out", ylim=(0, 1))
    right.legend(loc="lower right")
    return figure


class Live:
    """A figure in a notebook that is replaced, in its place, at every call.

    Parameters
    ----------
    draw : callable, from data to a matplotlib Figure, such as `training_curves`.
    """

    def __init__(self, draw: Callable[[Any], Figure]) -> None:
        self.draw, self.shown = draw, None

    def __call__(self, data: Any) -> Figure:
        """Draw and show the data; returns the Figure."""
        from IPython.display import display

        figure = self.draw(data)
        plt.close(figure)  # or the notebook shows it again below the cell
        if self.shown is None:
            self.shown = display(figure, display_id=True)
        else:
            self.shown.update(figure)
        return figure
