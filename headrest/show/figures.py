"""Figures of slices, histograms and components. Import it by name: `from headrest import plots`.

Every function draws on axes of its own and returns the figure, so `figure.savefig` keeps it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from headrest.hounsfield import WIDE, window
from headrest.util.text import table

__all__ = [
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
from headrest.segment.components import Components
from headrest.util.colors import PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR

plt.style.use(Path(__file__).with_name("headrest.mplstyle"))


def show_slices(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    center: float = WIDE[0],
    width: float = WIDE[1],
    masks: Sequence[np.ndarray | None] | None = None,
    color: str = SUPPORT_COLOR,
) -> Figure:
    """Show slices side by side, each with a mask laid over it in colour.

    Parameters
    ----------
    images : sequence of float arrays (rows, columns), in HU.
    titles : sequence of str, optional
    center, width : float, the window, in HU; said below the figure.
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
    """Turn a slice in HU into RGB (rows, columns, 3) from 0 to 1, the mask in colour."""
    rgb = np.repeat(window(image, center, width)[..., None], 3, axis=2)
    if mask is not None:
        tint = np.array(plt.matplotlib.colors.to_rgb(color))
        rgb[mask] = 0.25 * rgb[mask] + 0.75 * tint
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
    """Lay all slices of a series out on one sheet.

    Parameters
    ----------
    volume : float array (slices, rows, columns), in HU.
    masks : bool array of that shape, optional
    columns : int, slices in a row.
    center, width : float, the window, in HU.
    step : int, show every `step`-th pixel.
    labels : sequence of str, optional, written into the corner of each slice.

    Returns
    -------
    matplotlib Figure
    """
    rows = -(-len(volume) // columns)
    height, breadth = volume[0, ::step, ::step].shape
    sheet = np.ones((rows * height, columns * breadth, 3))
    for i, image in enumerate(volume):
        y, x = i // columns * height, i % columns * breadth
        mask = None if masks is None else masks[i, ::step, ::step]
        tile = overlay(image[::step, ::step], mask, center, width)
        sheet[y : y + height, x : x + breadth] = tile
    figure, axis = plt.subplots(figsize=(12, 12 * sheet.shape[0] / sheet.shape[1]))
    axis.imshow(sheet)
    axis.set_axis_off()
    for i, text in enumerate(labels or []):
        y, x = i // columns * height, i % columns * breadth
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
    xlabel : str
    marks : dict of str to float, optional, named vertical lines.
    title : str
    bins : int
    ylabel : str, what is counted.

    Returns
    -------
    matplotlib Figure
    """
    figure, axis = plt.subplots(figsize=(8, 3.2))
    axis.hist(np.ravel(values), bins=bins, log=True, color=SECOND_COLOR)
    for name, place in (marks or {}).items():
        axis.axvline(place, color=SUPPORT_COLOR, linewidth=1.4)
        axis.text(place, 1.01, f" {name}", transform=axis.get_xaxis_transform(), fontsize=9)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.set_title(title, pad=18 if marks else 6)
    return figure


def component_scatter(components: Components, device: np.ndarray) -> Figure:
    """Plot each component by mean and standard deviation of its HU, its size by its area.

    Parameters
    ----------
    components : headrest.segment.components.Components
    device : bool array (n,), which of them are the headrest.

    Returns
    -------
    matplotlib Figure
    """
    figure, axis = plt.subplots(figsize=(6.5, 4))
    for chosen, color, name in (
        (~device, SECOND_COLOR, "everything else"),
        (device, SUPPORT_COLOR, "headrest"),
    ):
        size = 8 * np.sqrt(components.area_mm2[chosen])
        axis.scatter(
            components.mean_hu[chosen],
            components.std_hu[chosen],
            s=size,
            color=color,
            alpha=0.6,
            label=name,
        )
    axis.set(xlabel="mean of the component (HU)", ylabel="standard deviation (HU)")
    axis.margins(0.15)  # or the frame cuts the largest circle
    legend = axis.legend(loc="upper left")
    for handle in legend.legend_handles:
        handle.set_sizes([60])  # type: ignore[union-attr]
    return figure


def training_curves(history: list[dict]) -> Figure:
    """Plot the loss and the Dice on held-out slices by epoch: `headrest.train.loop.train`.

    Parameters
    ----------
    history : list of dict, a row an epoch.

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
    right.set(xlabel="epoch", ylabel="Dice, held out", ylim=(0, 1))
    right.legend(loc="lower right")
    return figure


class Live:
    """A figure in a notebook that is drawn anew, in its place, whenever there is news.

    Parameters
    ----------
    draw : callable, from the news to a matplotlib Figure, such as `training_curves`.
    """

    def __init__(self, draw: Callable[[Any], Figure]) -> None:
        self.draw, self.shown = draw, None

    def __call__(self, news: Any) -> Figure:
        """Show the news; returns the Figure."""
        from IPython.display import display

        figure = self.draw(news)
        plt.close(figure)  # or the notebook shows it once more below the cell
        if self.shown is None:
            self.shown = display(figure, display_id=True)
        else:
            self.shown.update(figure)
        return figure
