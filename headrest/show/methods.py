"""Figures of methods: K-Means, components, networks (which load Keras), and their comparison."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, groupby
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from headrest.evaluate.methods import BASELINES, KMEANS, NOTHING, PRETRAINED
from headrest.evaluate.risk import area_under_risk, bounds, calibrate, risk_coverage, share_within
from headrest.hounsfield import DENSE_HU, FLOOR
from headrest.segment import components
from headrest.segment.kmeans import kmeans_centers, kmeans_threshold
from headrest.show.figures import WIDTH_IN, overlay, plt, subplots
from headrest.util import EXTRA_COLOR, OTHER_COLOR, PATIENT_COLOR, SUPPORT_COLOR

CLASS_COLORS = {"patient": PATIENT_COLOR, "support": SUPPORT_COLOR, "ambiguous": EXTRA_COLOR}

TRUTH_COLORS = {"patient": PATIENT_COLOR, "support": SUPPORT_COLOR, "both": "#000000"}
"""Components by the truth; "both" holds at least a tenth of either."""

SMALLEST_MM2 = 5.0
"""Smaller components are noise and are not drawn."""

MARKERS = "os^vDPX"
SIMPLE = set(BASELINES) - {NOTHING}
LABELLED = (PRETRAINED, KMEANS, NOTHING)
"""Methods drawn alike, and methods named beside their point as well as in the legend."""


def draw_clusters(hu: np.ndarray, spacing_mm: tuple[float, float]) -> Figure:
    """Draw a slice, its K-Means clusters, and its components in the colours of their classes.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.
    """
    centers, threshold = kmeans_centers(hu), kmeans_threshold(hu)
    clusters = abs(hu[..., None] - centers).argmin(-1)
    labels, count = components.find_components(hu > threshold)
    classes = components.classify(components.measure(labels, count, hu, threshold, spacing_mm))
    figure, axes = subplots(1, 3, figsize=(WIDTH_IN, 3))
    axes[0].imshow(overlay(hu))
    axes[1].imshow(clusters, cmap="viridis")
    rgb = overlay(hu)
    for name, color in CLASS_COLORS.items():
        mask = np.r_[False, classes == components.CLASSES.index(name)][labels] & (hu > threshold)
        rgb[mask] = overlay(hu, mask, color=color)[mask]
        axes[2].plot([], [], "s", color=color, label=name)
    axes[2].imshow(rgb)
    figure.legend(loc="outside lower right", ncols=3)
    for axis, title in zip(axes, ("slice", f"{len(centers)} clusters", f"{count} components")):
        axis.set_axis_off()
        axis.set_title(title)
    return figure


def measure_components(studies: Iterable[Any]) -> dict[str, np.ndarray]:
    """Measure the components of all slices of some `headrest.phantom.Study`, with the true class.

    Returns
    -------
    dict of arrays (n,): "mean_hu", "std_hu", "area_mm2", "width_mm", "length_mm", "guess" (class by
    `headrest.segment.components.classify`) and "truth" (a key of `TRUTH_COLORS`).
    """
    names, rows = ("mean_hu", "std_hu", "area_mm2", "width_mm", "length_mm"), []
    for study in studies:
        for hu, support, patient in zip(study.hu, study.support, study.patient):
            hu = np.maximum(hu, FLOOR).astype(np.float32)
            threshold = kmeans_threshold(hu)
            labels, count = components.find_components(hu > threshold)
            found = components.measure(labels, count, hu, threshold, study.spacing_mm[1:])
            classes = (support & (hu > DENSE_HU), patient)
            held = [np.bincount(labels[one], minlength=count + 1)[1:] for one in classes]
            truth = np.where(held[0] > held[1], "support", "patient")
            truth = np.where(np.minimum(*held) > 0.1 * np.maximum(*held), "both", truth)
            keep = (found.area_mm2 >= SMALLEST_MM2) & (np.maximum(*held) > 0)
            row = {name: getattr(found, name) for name in names} | {"truth": truth}
            row["guess"] = np.array(components.CLASSES)[components.classify(found)]
            rows.append({name: values[keep] for name, values in row.items()})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def draw_components(measured: dict[str, np.ndarray]) -> Figure:
    """Plot components of `measure_components` by mean and deviation of HU, with the limits."""
    figure, axis = subplots(figsize=(WIDTH_IN, 4.2))
    for name, color in TRUTH_COLORS.items():
        chosen = measured["truth"] == name
        points = measured["mean_hu"][chosen], measured["std_hu"][chosen]
        size = np.clip(np.sqrt(measured["area_mm2"][chosen]), 3, 60)
        label = f"{name}, by the truth ({chosen.sum()})"
        axis.scatter(*points, s=size, color=color, alpha=0.5, label=label, linewidths=0)
    _draw_limits(axis)
    axis.set(xlabel="mean of the component, HU", title="standard deviation, HU")
    axis.set(xlim=(-520, None), ylim=(0, None))
    legend = figure.legend(loc="outside lower right", ncols=3)
    for handle in legend.legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]
    return figure


def _draw_limits(axis):
    (left, right), (low, high) = components.PLASTIC_MEAN_HU, components.PLASTIC_STD_HU
    box = Rectangle((left, low), right - left, high - low, color=EXTRA_COLOR, alpha=0.5, zorder=0)
    axis.add_patch(box)
    axis.text(components.DARK_HU + 8, high - 8, "short plastic", fontsize=9, va="top")
    axis.axvline(components.DARK_HU, color="0.3", linestyle=":")
    top = {"transform": axis.get_xaxis_transform(), "fontsize": 9, "va": "top"}
    axis.text(components.DARK_HU - 8, 0.98, "darker than tissue", ha="right", **top)
    mean, std = components.BONE_MEAN_HU, components.BONE_STD_HU
    axis.plot([mean, mean, -520], [0, std, std], color="0.3", linestyle="--")
    axis.text(mean + 8, std - 8, "bone", fontsize=9, va="top")


def _blocks(model, size):
    """Name, output size, features and convolutions of each block of encoder and decoder."""
    from headrest.segment.unet import layer_sizes
    from headrest.util.backend import layers

    sizes = layer_sizes(model, size)
    named = (one for one in model.layers if one.name.startswith(("down", "up")))
    for block, found in groupby(named, key=lambda one: one.name.partition("_")[0]):
        *_, last = group = list(found)
        convolutions = sum(isinstance(one, layers.Conv2D) for one in group)
        yield block, sizes[last.name], last.output.shape[-1], convolutions


def operations(model: Any, size: int = 512) -> int:
    """Count the floating-point operations of the convolutions for one slice.

    A training step takes three times as many: forward, and backward to inputs and weights.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet`
    size : int, rows and columns of a slice; HeadrestError where the model cannot downsample them.

    Examples
    --------
    >>> from headrest.segment.unet import build_unet
    >>> round(operations(build_unet("original")) / 1e9, 1)
    57.3
    """
    from headrest.segment.unet import PixelShuffle, layer_sizes, output_size

    output_size(model, size)  # refuses other sizes
    sizes, total = layer_sizes(model, size), 0
    for layer in model.layers:
        if layer.weights:
            shuffle = layer.strides[0] if isinstance(layer, PixelShuffle) else 1
            total += 2 * int(np.prod(layer.kernel.shape)) * (sizes[layer.name] // shuffle) ** 2
    return total


def draw_architecture(model: Any, size: int = 512) -> Figure:
    """Draw a network: one bar per block, as long as the features are many; one row per level.

    A size in brackets is that of the decoder, where convolutions without padding change it.
    Arguments and errors as of `operations`.
    """
    from headrest.segment.unet import output_size

    out_size = output_size(model, size)  # refuses other sizes
    rows = list(_blocks(model, size))
    depth = len(rows) // 2
    figure, axis = subplots(figsize=(WIDTH_IN, 0.9 + 0.42 * depth))
    for i, (name, out, features, convolutions) in enumerate(rows):
        level, side = min(i, len(rows) - 1 - i), np.sign(i - depth)  # the bottleneck in the middle
        width = 0.12 * np.log2(features)
        color = "C0" if name.startswith("down") else SUPPORT_COLOR
        axis.add_patch(Rectangle((side - width / 2, -level - 0.2), width, 0.4, color=color))
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
    for x, text in ((-1, f"slice, {size} x {size}"), (1, f"logits, {out_size} x {out_size}")):
        axis.text(x, 0.45, text, ha="center", fontsize=9)
    title = f"{model.name}: {model.count_params():,} parameters"
    axis.set(xlim=(-1.6, 4.6), ylim=(-depth - 0.5, 0.8), title=title)
    axis.set_axis_off()
    return figure


def _arrow(axis, start, end, dashed=False):
    style = {"linestyle": (0, (4, 3)), "color": OTHER_COLOR} if dashed else {"color": "0.4"}
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, **style))


def draw_trade_off(summaries: Mapping) -> Figure:
    """Plot removed patient against residual support, one point per method. Lower left is better.

    `summaries` are those of `headrest.evaluate.tables.summarize`; free supports are above, touching
    ones below, with 95 % intervals.
    """
    figure, axes = subplots(2, 1, figsize=(WIDTH_IN, 8), sharex=True)
    for axis, group in zip(axes, ("free", "touching")):
        shapes = cycle(MARKERS)
        for name, groups in summaries.items():
            marker = "." if name in SIMPLE else next(shapes)
            _point(axis, name, groups[group]["residual_pct"], groups[group]["lost_ml"], marker)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set_title(f"{group} support: removed patient, ml")
        axis.set(xlim=(-2, 103), ylim=(-0.05, None))
    axes[1].set_xlabel("residual support, %")
    named = dict(zip(*axes[0].get_legend_handles_labels()[::-1]))
    figure.legend(named.values(), named, loc="outside lower center", ncols=3)
    return figure


def _point(axis, name, x, y, marker):
    color = OTHER_COLOR if name in BASELINES else "C0"
    label = "simple methods" if name in SIMPLE else name
    color = SUPPORT_COLOR if name.startswith(PRETRAINED) else color
    bars = [[[max(v - low, 0)], [max(high - v, 0)]] for v, low, high in (y, x)]
    style = {"fmt": marker, "color": color, "elinewidth": 0.8, "alpha": 0.85}
    axis.errorbar(x[0], y[0], *bars, label=label, **style)
    if name in LABELLED:
        side, offset = ("left", (4, 20)) if x[0] < 10 else ("right", (-8, 7 if y[0] else -11))
        style = {"xytext": offset, "textcoords": "offset points", "ha": side, "fontsize": 9}
        axis.annotate(name, (x[0], y[0]), color=color, **style)


def draw_risk_coverage(measured: Sequence[Mapping]) -> Figure:
    """Plot the mean loss of the most confident slices against their share, per confidence.

    Removed patient is on the left, residual support on the right. The legend gives the area under
    each curve; lower is better.

    Parameters
    ----------
    measured : sequence of dict, as `headrest.evaluate.risk.measure_series` returns them.
    """
    figure, axes = subplots(1, 2, figsize=(WIDTH_IN, 4.4))
    losses = {"lost_ml": "removed patient", "residual_ml": "residual support"}
    for axis, (key, title) in zip(axes, losses.items()):
        loss = np.concatenate([one[key] for one in measured])
        for name in measured[0]["confidences"]:
            confidence = np.concatenate([one["confidences"][name] for one in measured])
            area = area_under_risk(confidence, loss)
            axis.plot(*risk_coverage(confidence, loss), label=f"{name}: {area:.3g}")
        axis.set(title=f"{title}, ml per slice", xlabel="share of slices kept")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=9)
    return figure


def draw_bound(measured: Sequence[Mapping]) -> Figure:
    """Plot the removed patient against its bound, and the share of series in which bounds hold.

    Each series is on the left, with the bound of 95 % as a line; on the right is the share for
    levels from 50 to 95 %.

    Parameters
    ----------
    measured : as for `draw_risk_coverage`, of two series or more, in random order: bounds are
        calibrated on every second one, and plotted for the others.
    """
    tested, levels = measured[1::2], np.linspace(0.5, 0.95, 10)
    lost = np.array([one["lost_ml"].sum() for one in tested])
    found = [bounds(tested, calibrate(measured[::2], level)) for level in levels]
    shares = [share_within(lost, one) for one in found]
    figure, (left, right) = subplots(1, 2, figsize=(WIDTH_IN, 3.2))
    left.plot(found[-1], lost, "o", markersize=3, color=SUPPORT_COLOR)
    ends = [0, max(np.nanmax(found[-1], initial=0), lost.max(), 0.1)]
    left.plot(ends, ends, color=OTHER_COLOR, linewidth=1)
    left.set_xscale("symlog", linthresh=0.1)
    left.set_yscale("symlog", linthresh=0.1)
    left.set(xlabel="bound, ml", title="removed patient, ml")
    right.plot(levels, shares, marker="o", color=SUPPORT_COLOR)
    right.plot([0.5, 1], [0.5, 1], color=OTHER_COLOR, linewidth=1)
    right.set(xlabel="level of the bound", title="share of series in which it holds")
    return figure


class Live:
    """A figure in a notebook, drawn from data by `draw`, that every call replaces in its place."""

    def __init__(self, draw: Callable[[Any], Figure]) -> None:
        self.draw, self.shown = draw, None

    def __call__(self, data: Any) -> Figure:
        """Draw and show the data; returns the Figure."""
        from IPython.display import display

        figure = self.draw(data)
        plt.close(figure)  # or the notebook shows it again below the cell
        if self.shown:
            self.shown.update(figure)
        else:
            self.shown = display(figure, display_id=True)
        return figure
