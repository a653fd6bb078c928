"""Figures of slices, histograms and training, readable at 700 pixels.

Every function draws on axes of its own and returns the figure; `save` stores it. `use_style` sets
the fonts and colours of the notebooks.
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image

from headrest.hounsfield import IGNORE_LABEL, NOT_SUPPORT, WIDE, window
from headrest.util import EXTRA_COLOR, IGNORED_COLOR, PADDING_COLOR, PATIENT_COLOR, SUPPORT_COLOR
from headrest.util import table as table  # notebooks print tables beside their figures

WIDTH_IN = 7.0
"""Width of every figure: 700 pixels at 100 dpi, the column of a notebook in an 800-pixel window."""

SAVED_DPI = 150
"""Resolution of stored pictures: README shows them at about 800 pixels, and on dense screens."""

LABEL_CHARACTERS = 96
"""Characters of a label, at 9 points, that fit into the width of a figure."""

SCALE_BAR_MM = 50

LABEL_COLORS = {1: (SUPPORT_COLOR, 0.75), 2: (PATIENT_COLOR, 0.3)}
LABEL_COLORS |= {NOT_SUPPORT: (EXTRA_COLOR, 0.75), IGNORE_LABEL: (IGNORED_COLOR, 0.75)}
LABEL_NAMES = {1: "support", 2: "patient", NOT_SUPPORT: "not support", IGNORE_LABEL: "ignored"}
"""Colour and opacity, and names, of the values of label images."""

subplots: Any = partial(plt.subplots, layout="constrained")
"""Begin a figure whose axes, titles and legends do not collide."""


def use_style() -> None:
    """Set the style of all later figures of this process, and JPEG as their format in Jupyter."""
    plt.style.use(Path(__file__).with_name("headrest.mplstyle"))
    if "ipykernel" in sys.modules:
        # JPEG takes a third of the bytes of PNG; its subsampling would take the colour of lines.
        from matplotlib_inline.config import InlineBackend

        jpeg: dict = {"bbox_inches": "tight", "pil_kwargs": {"quality": 80, "subsampling": 0}}
        InlineBackend.instance().figure_formats = {"jpeg"}
        InlineBackend.instance().print_figure_kwargs = jpeg


def save(figure: Figure, path: str | Path, close: bool = False) -> None:
    """Store a figure at `SAVED_DPI`.

    Parameters
    ----------
    figure : Figure
    path : path of .jpg for slices, of .png for lines, which gets at most 256 colours, or of another
        format of matplotlib.
    close : bool; a closed figure is not shown below its cell.
    """
    suffix = Path(path).suffix.lower()
    options: dict = {"pil_kwargs": {"quality": 85}} if suffix in (".jpg", ".jpeg") else {}
    figure.savefig(path, dpi=SAVED_DPI, **options)
    if suffix == ".png":
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    if close:
        plt.close(figure)


def show_slices(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    center: float = WIDE[0],
    width: float = WIDE[1],
    masks: Sequence[np.ndarray | None] | None = None,
    color: str = SUPPORT_COLOR,
    spacing_mm: Any = None,
    sides: str | Sequence[str] = "",
) -> Figure:
    """Show slices side by side, each with a coloured mask.

    Parameters
    ----------
    images : sequence of float arrays (rows, columns), in HU.
    titles : sequence of str, optional
    center, width : float, the window in HU; the figure names it.
    masks, color : sequence of masks or None, optional, and their colour, see `overlay`.
    spacing_mm, sides : spacing (..., y, x) in mm for a scale bar, and the sides of the patient at
        the left and the right edge as by `image_sides`; or one such per image. See `marks_of`.
    """
    several = [] if spacing_mm is None else [*np.atleast_2d(spacing_mm)] * len(images)
    named = np.broadcast_to(sides, len(images))
    masks = [None] * len(images) if masks is None else masks
    labelled = any(mask is not None and mask.dtype != bool for mask in masks)  # with a legend
    height = WIDTH_IN / len(images) * np.divide(*images[0].shape) + 0.7 + 0.3 * labelled
    figure, axes = subplots(1, len(images), figsize=(WIDTH_IN, height), squeeze=False)
    for i, (axis, image, mask) in enumerate(zip(axes[0], images, masks)):
        axis.imshow(overlay(image, mask, center, width, color))
        axis.set_axis_off()
        axis.set_title(titles[i] if titles else "")
        if several:
            mark_sides_and_scale(axis, image.shape, several[i], named[i])
    _name(figure, masks, (center, width))
    return figure


def _name(figure, masks, window):
    """Name the colours of label images above the slices, and the window below them."""
    figure.supxlabel("window: center {:.0f} HU, width {:.0f} HU".format(*window), fontsize=9)
    present = [np.unique(one) for one in masks if one is not None and one.dtype != bool]
    shown = [n for n in LABEL_NAMES if any(n in one for one in present)]
    if shown:
        colors = [LABEL_COLORS[n] for n in shown]
        handles = [Patch(fc=c, ec=c[0], label=LABEL_NAMES[n]) for n, c in zip(shown, colors)]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(shown))


def image_sides(orientation: Sequence[float] | np.ndarray) -> str:
    """Sides of the patient at the left and the right edge of an axial image: right, left, anterior
    or posterior.

    The first three numbers of Image Orientation (Patient) (0020,0037) point from left to right in
    the image; x increases to the left of the patient, y to the back (DICOM PS3.3 C.7.6.2.1.1).

    Examples
    --------
    >>> image_sides((1, 0, 0, 0, 1, 0)), image_sides((0, 1, 0, -1, 0, 0))  # supine, on the side
    ('RL', 'AP')
    """
    x, y = orientation[:2]
    sides = "RL" if abs(x) >= abs(y) else "AP"
    return sides if x + y >= 0 else sides[::-1]


def marks_of(*series: Any) -> dict[str, Any]:
    """Keywords `spacing_mm` and `sides` of `show_slices` and `montage`: of a Series or Study of all
    slices, or of one per slice."""
    sides = [image_sides(one.orientation) for one in series]
    return {"spacing_mm": [one.spacing_mm for one in series], "sides": sides}


def mark_sides_and_scale(
    axis: Axes, shape: Any, spacing_mm: Sequence[float], sides: str = "", corner: Any = (0, 0)
) -> None:
    """Write the letters of `image_sides` at the edges of a slice, and draw a scale bar of
    `SCALE_BAR_MM` mm; `shape` is (rows, columns), `spacing_mm` (..., x), `corner` (row, column)."""
    (rows, columns), (top, left) = shape, corner
    for x, letter, align in zip((0.02, 0.98), sides, ("left", "right")):
        _write(axis, left + x * columns, top + 0.5 * rows, letter, ha=align)
    length, x, y = SCALE_BAR_MM / spacing_mm[-1], left + 0.04 * columns, top + 0.96 * rows
    axis.plot([x, x + length], [y, y], color="white", linewidth=2)
    _write(axis, x, y - 0.02 * rows, f"{SCALE_BAR_MM} mm", va="bottom")


def _write(axis, x, y, text, va="center", **options):
    outline = [withStroke(linewidth=2, foreground="black")]
    axis.text(x, y, text, color="white", fontsize=9, va=va, path_effects=outline, **options)


def overlay(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    center: float = WIDE[0],
    width: float = WIDE[1],
    color: str = SUPPORT_COLOR,
) -> np.ndarray:
    """Convert a slice to RGB, with a mask in colour.

    Parameters
    ----------
    image : float array (rows, columns), in HU.
    mask : bool array of that shape, in `color`; or a label image, in `LABEL_COLORS`; or None.
    center, width : float, the window in HU.
    color : any colour of matplotlib.

    Returns
    -------
    float array (rows, columns, 3), 0 to 1.
    """
    rgb = np.repeat(window(image, center, width)[..., None], 3, axis=2)
    if mask is None:
        return rgb
    labelled = {True: (color, 0.75)} if mask.dtype == bool else LABEL_COLORS
    for value, (name, opacity) in labelled.items():
        chosen = mask == value
        rgb[chosen] = (1 - opacity) * rgb[chosen] + opacity * np.array(to_rgb(name))
    return rgb


def montage(
    volume: np.ndarray,
    masks: np.ndarray | Sequence[np.ndarray] | None = None,
    columns: int = 7,
    center: float = WIDE[0],
    width: float = WIDE[1],
    step: int = 2,
    labels: Sequence[str] | None = None,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    spacing_mm: Any = None,
    sides: str | Sequence[str] = "",
) -> Figure:
    """Show slices as a grid in one image.

    Parameters
    ----------
    volume : float array (slices, rows, columns), in HU.
    masks : bool array or label image of that shape, optional, see `overlay`.
    columns, step : int, slices in a row; pixels along each axis that are averaged to one.
    center, width : float, the window in HU.
    labels : sequence of str, optional, written into the corner of each slice.
    column_titles, row_titles : sequence of str, optional, above and beside the grid.
    spacing_mm, sides : as of `show_slices`, of all slices, and the first is marked; or one such
        per slice, and each is marked.
    """
    given = [None] * len(volume) if masks is None else masks
    marked = [None if one is None else one[::step, ::step] for one in given]
    small = [np.asarray(Image.fromarray(np.float32(one)).reduce(step)) for one in volume]
    tiles = [overlay(one, mask, center, width) for one, mask in zip(small, marked)]
    height, breadth = (n + 4 for n in tiles[0].shape[:2])  # a gutter of 4 pixels
    rows = -(-len(tiles) // columns)
    grid = np.ones((rows * height, columns * breadth, 3))
    corners = [(i // columns * height, i % columns * breadth) for i in range(len(tiles))]
    for (y, x), tile in zip(corners, tiles):
        grid[y : y + height - 4, x : x + breadth - 4] = tile
    shape = (WIDTH_IN, WIDTH_IN * grid.shape[0] / grid.shape[1] + 0.25 * bool(column_titles))
    figure, axis = subplots(figsize=shape)
    axis.imshow(grid, aspect="auto")
    axis.set(frame_on=False)
    axis.grid(visible=False)
    axis.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=10)
    axis.set_xticks((np.arange(len(column_titles)) + 0.5) * breadth, column_titles)
    middles = (np.arange(len(row_titles)) + 0.5) * height
    axis.set_yticks(middles, row_titles, rotation=90, va="center")
    for (y, x), text in zip(corners, labels or []):
        lines = textwrap.fill(text, max(LABEL_CHARACTERS // columns, 8))
        _write(axis, x + 0.04 * breadth, y + 0.04 * height, lines, va="top")
    several = [] if spacing_mm is None else step * np.atleast_2d(spacing_mm)
    named = np.broadcast_to(sides, len(several))
    for mm, letters, corner in zip(several, named, corners):
        mark_sides_and_scale(axis, tiles[0].shape[:2], mm, letters, corner)
    _name(figure, given, (center, width))
    return figure


def histogram(
    values: np.ndarray, xlabel: str, marks: Mapping[str, float] | None = None, title: str = ""
) -> Figure:
    """Draw a histogram with a logarithmic count.

    Parameters
    ----------
    values, xlabel, title : array of any shape, and texts.
    marks : dict of name to value, optional, drawn as vertical lines.
    """
    figure, axis = subplots(figsize=(WIDTH_IN, 2.8))
    axis.hist(np.ravel(values), bins=256, log=True)
    top: dict = {"transform": axis.get_xaxis_transform(), "fontsize": 9, "va": "top"}
    for i, (name, value) in enumerate((marks or {}).items()):
        axis.axvline(value, color=SUPPORT_COLOR, linewidth=1.4)
        y = 0.98 - 0.1 * (i % 3)  # names of near lines on different heights
        axis.text(value, y, f" {name}", **top)
    axis.set(xlabel=xlabel, ylabel="pixels", title=title)
    axis.margins(y=0.4 if marks else 0.15)  # names above the bars
    return figure


def training_curves(history: list[dict]) -> Figure:
    """Plot loss and held-out Dice by epoch; `history` is that of `headrest.train.loop.train`."""
    figure, (left, right) = subplots(1, 2, figsize=(WIDTH_IN, 2.8))
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history])
    left.set(xlabel="epoch", title="loss, training", ylim=(0, None))
    for group, color in (("free", SUPPORT_COLOR), ("touching", PADDING_COLOR)):
        values = [row[f"dice_{group}"] for row in history]
        if None not in values:
            right.plot(epochs, values, color=color, label=f"{group} slices")
    if not right.lines:  # labels without a known contact of support and patient
        right.plot(epochs, [row["dice"] for row in history], SUPPORT_COLOR, label="all slices")
    bottom = 0.9 * all(min(line.get_ydata()) > 0.9 for line in right.lines)
    right.set(xlabel="epoch", title="Dice, held out", ylim=(bottom, 1))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
    right.legend(loc="lower right")
    return figure
