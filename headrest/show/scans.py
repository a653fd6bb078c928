"""Figures of slices: a viewer, cleaned slices, a surface, the pipeline, the masks of methods."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import ndimage

from headrest.dicom import as_series
from headrest.dicom.series import Series, check_shape
from headrest.evaluate.compare import MethodCounts, read_patient
from headrest.evaluate.methods import Method
from headrest.hounsfield import AIR, WIDE
from headrest.segment.morphology import bounding_box
from headrest.segment.support import Support
from headrest.show.figures import (
    WIDTH_IN,
    image_sides,
    mark_sides_and_scale,
    marks_of,
    montage,
    overlay,
    plt,
    subplots,
)
from headrest.util import PADDING_COLOR, PATIENT_COLOR, SUPPORT_COLOR, HeadrestError, in_notebook

WINDOWS = {"wide": WIDE, "brain": (40.0, 80.0), "bone": (500.0, 2000.0), "air": (-850.0, 300.0)}
"""Center and width in HU. "air" shows foam, covers and linen: -1000 to -700 HU."""

SURFACE_HU, SURFACE_MM = -300.0, 0.7
"""Surfaces are drawn where HU rise above this, skin and plastic without noise and foam; voxels."""

AROUND_MM = 8.0
"""Air that is shown around all above `SURFACE_HU` and all that is removed."""


def browse(
    series: Any, support: Support | None = None, index: int | None = None, window: str = "wide"
) -> Any:
    """Show the slices of a series one by one, with the outlines of support and patient.

    Parameters
    ----------
    series : Series, path, or nibabel image
    support : Support, optional, of this series; HeadrestError for that of another shape.
    index : int, optional, the first slice shown, from 0; by default the middle one. HeadrestError
        for a slice that the series lacks.
    window : str, of `WINDOWS`; HeadrestError for another.

    Returns
    -------
    Widget with a slider, in Jupyter with ipywidgets; elsewhere a matplotlib Figure of that slice.
    """
    _window(window)  # refuses other names
    series = as_series(series)
    index = len(series) // 2 if index is None else index
    if index not in range(len(series)):
        raise HeadrestError(f"no slice {index}: choose from 0 to {len(series) - 1}")
    if not _has_widgets():
        return draw_slice(series, support, index, window)
    import ipywidgets

    picture = ipywidgets.Image(format="jpeg")
    slider = ipywidgets.IntSlider(index, 0, len(series) - 1, description="slice")
    choice = ipywidgets.Dropdown(options=list(WINDOWS), value=window, description="window")

    def update(_=None):
        figure, stored = draw_slice(series, support, slider.value, choice.value), BytesIO()
        figure.savefig(stored, format="jpeg")
        plt.close(figure)
        picture.value = stored.getvalue()

    for control in (slider, choice):
        control.observe(update, "value")
    update()
    return ipywidgets.VBox([slider, choice, picture])


def _has_widgets():
    return in_notebook() and find_spec("ipywidgets") is not None


def draw_slice(
    series: Series, support: Support | None = None, index: int = 0, window: str = "wide"
) -> Figure:
    """Draw a slice with the outlines of support and patient; arguments as of `browse`."""
    hu, (center, width) = series.hu[index], _window(window)
    if support:
        check_shape(support.mask, series)
    figure, axis = subplots(figsize=(5, 5 * hu.shape[0] / hu.shape[1] + 0.4))
    axis.imshow(overlay(hu, None, center, width))
    axis.set_axis_off()
    axis.set_title(f"slice {index + 1} of {len(series)}, {window} window")
    mark_sides_and_scale(axis, hu.shape, series.spacing_mm, image_sides(series.orientation))
    masks = ((support.patient, PATIENT_COLOR), (support.removed, SUPPORT_COLOR)) if support else ()
    for mask, color in masks:
        if mask[index].any():
            axis.contour(mask[index], [0.5], colors=color, linewidths=1.2)
    return figure


def _window(name):
    if name not in WINDOWS:
        raise HeadrestError(f"no window {name!r}: choose from {', '.join(WINDOWS)}")
    return WINDOWS[name]


def draw_cleaned(
    series: Series,
    masks: dict[str, np.ndarray],
    slices: Sequence[int],
) -> Figure:
    """Draw slices before, the masks of several methods, and the slices after the last of them.

    Parameters
    ----------
    series : Series
    masks : dict of method to what it removes, bool array (slices, rows, columns).
    slices : sequence of int, from 0, one row each.
    """
    before, removed = series.hu[list(slices)], list(masks.values())[-1][list(slices)]
    solid = ((before > SURFACE_HU) | removed).any(0)
    box = bounding_box(solid, round(AROUND_MM / min(series.spacing_mm[1:])))
    tiles, shown, labels = [], [], []
    for i, hu, filled in zip(slices, before, removed):
        tiles += [hu] * (1 + len(masks)) + [np.where(filled, np.float32(AIR), hu)]
        found = [mask[i] for mask in masks.values()]
        shown += [None, *(mask[box] for mask in found), None]
        labels += ["", *("" if one.any() else "nothing removed" for one in found), ""]
    titles = ["before", *masks, "after"]
    return montage(
        np.array([one[box] for one in tiles]),
        shown,
        len(titles),
        step=1,
        column_titles=titles,
        row_titles=[f"slice {i + 1}" for i in slices],
        labels=labels,
        **marks_of(series),
    )


def draw_surface(
    series: Series, removed: np.ndarray, degrees: Sequence[float] = (90.0, 20.0)
) -> Figure:
    """Draw the surface of a series from several directions: before cleaning above, after it below.

    Parameters
    ----------
    series : Series
    removed : bool array (slices, rows, columns), what cleaning fills; orange in "before".
    degrees : sequence of float, directions around the long axis, 0 from the upper edge of slices.
    """
    options = {"order": 1, "grid_mode": True, "mode": "nearest"}
    factors = np.maximum(np.array(series.spacing_mm) / SURFACE_MM, np.divide(2, removed.shape))
    zoom = partial(ndimage.zoom, zoom=factors, **options)
    hu, mask = zoom(np.maximum(series.hu, AIR)), zoom(removed.astype(np.float32))
    figure, axes = subplots(2, len(degrees), figsize=(WIDTH_IN, 5.2), squeeze=False)
    turn = partial(ndimage.rotate, axes=(1, 2), order=1, reshape=False)
    for angle, (above, below) in zip(degrees, axes.T):
        turned, support = turn(hu, angle, cval=AIR), turn(mask, angle) > 0.5
        above.imshow(_shade(turned, support), interpolation="bilinear")
        cleaned = np.where(support, np.float32(AIR), turned)
        below.imshow(_shade(cleaned), interpolation="bilinear")
    for row, name in zip(axes, ("before", "after")):
        for axis in row:
            axis.set_axis_off()
            axis.set_title(name, fontsize=16)  # README shows it at half width
    return figure


def _shade(hu, support=None):
    """Light the first surface along axis 1, seen from its start; axis 0 points up."""
    solid = hu > SURFACE_HU
    seen, first = solid.any(1), solid.argmax(1)[:, None]
    inside = np.take_along_axis(hu, first, 1)
    before = np.take_along_axis(hu, np.maximum(first - 1, 0), 1)
    depth = (first - (inside - SURFACE_HU) / np.maximum(inside - before, 1))[:, 0]
    weight = ndimage.gaussian_filter(seen.astype(np.float32), 1) + 1e-6
    depth = ndimage.gaussian_filter(np.where(seen, depth, 0).astype(np.float32), 1) / weight
    dz, dx = np.gradient(depth)
    light = (1 + 0.4 * dz - 0.4 * dx) / np.sqrt((1 + dz**2 + dx**2) * 1.32)
    rgb = np.clip(0.15 + 0.85 * light, 0, 1)[..., None] * np.ones(3)
    if support is not None:
        rgb[seen & np.take_along_axis(support, first, 1)[:, 0]] *= to_rgb(SUPPORT_COLOR)
    rgb[~seen] = 1
    return rgb[::-1]


def draw_pipeline(series: Series, probability: np.ndarray, support: Support) -> Figure:
    """Draw the steps from the middle slice of a series to its cleaned slice.

    Six panels: stored values; HU; probability of support; support and its partial-volume boundary;
    cleaned HU; histograms before and after.

    Parameters
    ----------
    series : Series
    probability : float array (slices, rows, columns), 0 to 1.
    support : Support
    """
    i = len(series) // 2
    hu, mask, boundary = series.hu[i], support.mask[i], support.boundary[i]
    cleaned = np.where(mask | boundary, np.float32(AIR), hu)
    marked = overlay(hu, mask)
    marked[boundary] = to_rgb(PADDING_COLOR)
    figure, axes = subplots(2, 3, figsize=(WIDTH_IN, 6))
    figure.get_layout_engine().set(h_pad=0.12)  # type: ignore[union-attr, call-arg]
    flat = axes.ravel()
    limits = WIDE[0] - WIDE[1] / 2, WIDE[0] + WIDE[1] / 2
    _panel(flat[0], series.stored[i], "stored value")
    _panel(flat[1], hu, "HU", *limits)
    _panel(flat[2], probability[i], "probability of support", 0, 1, "cividis")
    _panel(flat[3], marked, "HU", *limits)
    _panel(flat[4], cleaned, "HU", *limits)
    bins = np.arange(-1100, 1600, 20)
    flat[5].hist(hu.ravel(), bins, color=SUPPORT_COLOR, label="before")
    flat[5].hist(cleaned.ravel(), bins, label="after")
    flat[5].set(xlabel="HU", ylabel="pixels", yscale="log", ylim=(10, None), box_aspect=1)
    flat[5].locator_params(axis="x", nbins=4)
    flat[5].legend(loc="upper right")
    steps = ("Read", "Rescale", "Predict", "Refine", "Write", "Check")
    for number, (axis, step) in enumerate(zip(flat, steps), 1):
        axis.set_title(f"{number}  {step}", fontweight="bold")
    for name, color, y in (("support", SUPPORT_COLOR, 0.9), ("boundary", PADDING_COLOR, 0.8)):
        flat[3].text(0.03, y, name, color=color, transform=flat[3].transAxes)
    return figure


def _panel(axis, image, label, low=None, high=None, colors="gray"):
    shown = axis.imshow(image.astype(np.float32), vmin=low, vmax=high, cmap=colors)
    axis.set_axis_off()
    bar_axis = axis.inset_axes([0.04, -0.07, 0.92, 0.035])
    bar = axis.figure.colorbar(shown, cax=bar_axis, orientation="horizontal")
    bar.set_label(label)
    bar_axis.locator_params(nbins=4)


def draw_hardest(
    compared: Mapping[str, MethodCounts], chosen: Mapping[str, Method], place: Path, count: int = 4
) -> Figure:
    """Show the slices with the lowest Dice of each method, in a window of foam: truth, found.

    Parameters
    ----------
    compared, chosen : dict of method to MethodCounts, and to callable.
    place : path, folder of the synthetic patients; errors as of `read_patient`.
    count : int, slices per method, if so many have support.
    """
    tiles, masks, labels, rows = [], [], [], []
    for name, counts in compared.items():
        drawn, pairs = [], []
        for k in counts.worst(count):
            case, i = read_patient(place / counts.names[k]), counts.indices[k]
            found = chosen[name](case.series)
            mask = found.mask if isinstance(found, Support) else found
            drawn.append((case.series.hu[i], case.series))
            pairs.append((case.labels[i], mask[i]))
            labels.append(f"{counts.dice()[k]:.2f}")
        tiles += 2 * drawn
        masks += [pair[n] for n in (0, 1) for pair in pairs]
        labels += [""] * len(pairs)
        rows += [f"{name}: truth", "found"]
    if not tiles:
        raise HeadrestError("no slice shows enough support to be drawn")
    hu, each = zip(*tiles)
    options: dict = {"labels": labels, "row_titles": rows, **marks_of(*each)}
    return montage(np.array(hu), masks, len(pairs), *WINDOWS["air"], step=3, **options)


def draw_methods(series: Series, chosen: Mapping[str, Method]) -> Figure:
    """Show what each method would remove from the first slice of a series."""
    found = [method(series) for method in chosen.values()]
    masks = [one.removed[0] if isinstance(one, Support) else one[0] for one in found]
    shown = np.repeat(series.hu[:1], len(masks), axis=0)
    return montage(shown, masks, columns=4, step=3, labels=list(chosen), **marks_of(series))
