"""One figure of the whole pipeline: a slice from its file to its cleaned file."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from headrest.dicom.series import Series
from headrest.hounsfield import AIR, WIDE
from headrest.segment.support import Support
from headrest.show.figures import overlay, plt
from headrest.util.report import PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR

PIPELINE_STEPS = ("Read", "Rescale", "Predict", "Refine", "Write", "Check")


def draw_pipeline(series: Series, probability: np.ndarray, support: Support) -> Figure:
    """Draw the steps from the middle slice of a series to its cleaned slice.

    Parameters
    ----------
    series : Series
    probability : float array (slices, rows, columns), 0 to 1, of `headrest.segment.predict`.
    support : Support, of `headrest.find_support`.

    Returns
    -------
    matplotlib Figure of six panels: stored values; HU; probability of support; support and its
    partial-volume boundary; cleaned HU; histograms of HU before and after.
    """
    i = len(series) // 2
    hu, mask, boundary = series.hu[i], support.mask[i], support.boundary[i]
    cleaned = np.where(mask | boundary, np.float32(AIR), hu)
    marked = overlay(hu, mask)
    marked[boundary] = to_rgb(PADDING_COLOR)
    layout = ConstrainedLayoutEngine(h_pad=0.14)
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 8.3), layout=layout)
    flat = axes.ravel()
    center, width = WIDE
    label = f"HU (window: center {center:.0f}, width {width:.0f})"
    limits = center - width / 2, center + width / 2
    _panel(flat[0], series.stored[i], "stored value")
    _panel(flat[1], hu, label, *limits)
    _panel(flat[2], probability[i], "probability of support", 0, 1, "cividis")
    _panel(flat[3], marked, label, *limits)
    _panel(flat[4], cleaned, label, *limits)
    _histograms(flat[5], hu, cleaned)
    for number, (axis, step) in enumerate(zip(flat, PIPELINE_STEPS), 1):
        axis.set_title(f"{number}  {step}", fontsize=16, fontweight="bold")
    for name, color, y in (("support", SUPPORT_COLOR, 0.92), ("boundary", PADDING_COLOR, 0.85)):
        flat[3].text(0.03, y, name, color=color, fontsize=13, transform=flat[3].transAxes)
    return figure


def _panel(axis, image, label, low=None, high=None, colors="gray"):
    shown = axis.imshow(image.astype(np.float32), vmin=low, vmax=high, cmap=colors)
    axis.set_axis_off()
    bar_axis = axis.inset_axes([0.04, -0.07, 0.92, 0.035])
    bar = axis.figure.colorbar(shown, cax=bar_axis, orientation="horizontal")
    bar.set_label(label, fontsize=12)
    bar_axis.locator_params(nbins=5)


def _histograms(axis, before, after):
    bins = np.arange(-1100, 1600, 20)
    axis.hist(before.ravel(), bins, color=SUPPORT_COLOR, label="before")
    axis.hist(after.ravel(), bins, color=SECOND_COLOR, label="after")
    axis.set(xlabel="HU", ylabel="pixels", yscale="log", ylim=(10, None), box_aspect=1)
    axis.locator_params(axis="x", nbins=4)
    axis.legend(loc="upper right")
