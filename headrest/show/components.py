"""Figures of K-Means and connected components: one slice, and the components of many patients."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from headrest.hounsfield import DENSE_HU
from headrest.segment.components import (
    BONE_MEAN_HU,
    BONE_STD_HU,
    CLASSES,
    DARK_HU,
    PLASTIC_MEAN_HU,
    PLASTIC_STD_HU,
    classify,
    find_components,
    measure,
)
from headrest.segment.kmeans import kmeans_centers, kmeans_threshold
from headrest.show.figures import WIDTH_IN, overlay, plt
from headrest.util.report import EXTRA_COLOR, PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR

CLASS_COLORS = {"patient": SECOND_COLOR, "support": SUPPORT_COLOR, "ambiguous": PADDING_COLOR}

TRUTH_COLORS = {"patient": SECOND_COLOR, "support": SUPPORT_COLOR, "both": "#000000"}
"""Components by the truth; "both" holds at least a tenth of either."""

SMALLEST_MM2 = 5.0
"""Smaller components are noise and are not drawn."""


def draw_clusters(hu: np.ndarray, spacing_mm: tuple[float, float], k: int = 3) -> Figure:
    """Draw a slice, its K-Means clusters, and its components in the colours of their classes.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.
    k : int, number of clusters.

    Returns
    -------
    matplotlib Figure
    """
    centers, threshold = kmeans_centers(hu, k), kmeans_threshold(hu, k)
    clusters = abs(hu[..., None] - centers).argmin(-1)
    labels, count = find_components(hu > threshold)
    classes = classify(measure(labels, count, hu, threshold, spacing_mm))
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH_IN, 3))
    axes[0].imshow(overlay(hu))
    axes[1].imshow(clusters, cmap="viridis")
    rgb = overlay(hu)
    for name, color in CLASS_COLORS.items():
        mask = np.r_[False, classes == CLASSES.index(name)][labels] & (hu > threshold)
        rgb[mask] = overlay(hu, mask, color=color)[mask]
        axes[2].plot([], [], "s", color=color, label=name)
    axes[2].imshow(rgb)
    figure.legend(loc="outside lower right", ncols=3)
    for axis, title in zip(axes, ("slice", f"{k} clusters", f"{count} components")):
        axis.set_axis_off()
        axis.set_title(title)
    return figure


def measure_components(studies: Iterable[Any]) -> dict[str, np.ndarray]:
    """Measure the components of all slices of synthetic studies, with their class by the truth.

    Parameters
    ----------
    studies : iterable of headrest.phantom.Study

    Returns
    -------
    dict of arrays (n,): "mean_hu", "std_hu", "area_mm2", "width_mm", "length_mm", "guess" (class by
    `headrest.segment.components.classify`) and "truth" (a key of `TRUTH_COLORS`).
    """
    names = ("mean_hu", "std_hu", "area_mm2", "width_mm", "length_mm")
    rows: dict[str, list] = {name: [] for name in (*names, "guess", "truth")}
    for study in studies:
        for hu, support, patient in zip(study.hu, study.support, study.patient):
            hu = np.maximum(hu, -1024).astype(np.float32)
            threshold = kmeans_threshold(hu)
            labels, count = find_components(hu > threshold)
            found = measure(labels, count, hu, threshold, study.spacing_mm[1:])
            held = _share(labels, support & (hu > DENSE_HU)), _share(labels, patient)
            truth = np.where(held[0] > held[1], "support", "patient")
            truth = np.where(np.minimum(*held) > 0.1 * np.maximum(*held), "both", truth)
            keep = (found.area_mm2 >= SMALLEST_MM2) & (np.maximum(*held) > 0)
            for name in names:
                rows[name].append(getattr(found, name)[keep])
            rows["guess"].append(np.array(CLASSES)[classify(found)][keep])
            rows["truth"].append(truth[keep])
    return {name: np.concatenate(values) for name, values in rows.items()}


def _share(labels, mask):
    return np.bincount(labels[mask], minlength=labels.max() + 1)[1:]


def draw_components(components: dict[str, np.ndarray]) -> Figure:
    """Plot components by mean and standard deviation of HU, coloured by truth, with the limits of
    `headrest.segment.components`.

    Parameters
    ----------
    components : as `measure_components` returns them.

    Returns
    -------
    matplotlib Figure
    """
    figure, axis = plt.subplots(figsize=(WIDTH_IN, 4.2))
    for name, color in TRUTH_COLORS.items():
        chosen = components["truth"] == name
        points = components["mean_hu"][chosen], components["std_hu"][chosen]
        size = np.clip(np.sqrt(components["area_mm2"][chosen]), 3, 60)
        label = f"{name} ({chosen.sum()})"
        axis.scatter(*points, s=size, color=color, alpha=0.5, label=label, linewidths=0)
    _draw_limits(axis)
    axis.set(xlabel="mean of the component, HU", title="standard deviation, HU")
    axis.set(xlim=(-520, 1100), ylim=(0, 620))
    legend = axis.legend(loc="upper left", title="by the truth", alignment="left")
    for handle in legend.legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]
    return figure


def _draw_limits(axis: Axes) -> None:
    (left, right), (low, high) = PLASTIC_MEAN_HU, PLASTIC_STD_HU
    box = Rectangle((left, low), right - left, high - low, color=EXTRA_COLOR, alpha=0.5, zorder=0)
    axis.add_patch(box)
    axis.text(left + 8, high - 8, "short plastic", fontsize=9, va="top")
    axis.axvline(DARK_HU, color="0.3", linestyle=":")
    axis.text(DARK_HU - 8, 8, "darker than tissue", fontsize=9, ha="right")
    axis.plot([BONE_MEAN_HU] * 2, [0, BONE_STD_HU], color="0.3", linestyle="--")
    axis.plot([-520, BONE_MEAN_HU], [BONE_STD_HU] * 2, color="0.3", linestyle="--")
    axis.text(BONE_MEAN_HU + 8, 8, "bone", fontsize=9)
