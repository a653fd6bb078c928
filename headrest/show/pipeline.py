"""One figure that says how all of it works: a slice from its file to its cleaned file."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from headrest.dicom.series import Series
from headrest.hounsfield import AIR, WIDE
from headrest.segment.support import Support
from headrest.show.figures import overlay, plt
from headrest.util.colors import PADDING_COLOR, SECOND_COLOR, SUPPORT_COLOR

LOW, HIGH = WIDE[0] - WIDE[1] / 2, WIDE[0] + WIDE[1] / 2
WINDOW = f"HU (window: center {WIDE[0]:.0f}, width {WIDE[1]:.0f})"
STEPS = ("Read", "Rescale", "Predict", "Refine", "Write", "Check")


def journey(series: Series, probability: np.ndarray, support: Support) -> Figure:
    """Draw the middle slice of a series on its way to its cleaned file.

    Parameters
    ----------
    series : Series
    probability : float array (slices, rows, columns), 0 to 1, of `headrest.segment.predict`.
    support : Support, of `headrest.find_support`.

    Returns
    -------
    matplotlib Figure of six panels: stored values; HU; probability of support; support and its
    soft rim; HU without them; how many pixels have which HU, before and after.
    """
    i = len(series) // 2
    hu, mask, boundary = series.hu[i], support.mask[i], support.boundary[i]
    cleaned = np.where(mask | boundary, np.float32(AIR), hu)
    marked = overlay(hu, mask)
    marked[boundary] = to_rgb(PADDING_COLOR)
    room = ConstrainedLayoutEngine(h_pad=0.14)
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 8.3), layout=room)
    flat = axes.ravel()
    _panel(flat[0], series.stored[i], "stored value")
    _panel(flat[1], hu, WINDOW, LOW, HIGH)
    _panel(flat[2], probability[i], "probability of support", 0, 1, "cividis")
    _panel(flat[3], marked, WINDOW, LOW, HIGH)
    _panel(flat[4], cleaned, WINDOW, LOW, HIGH)
    _counts(flat[5], hu, cleaned)
    for number, (axis, step) in enumerate(zip(flat, STEPS), 1):
        axis.set_title(f"{number}  {step}", fontsize=16, fontweight="bold")
    for name, color, y in (("support", SUPPORT_COLOR, 0.92), ("soft rim", PADDING_COLOR, 0.85)):
        flat[3].text(0.03, y, name, color=color, fontsize=13, transform=flat[3].transAxes)
    return figure


def _panel(axis, image, label, low=None, high=None, colors="gray"):
    shown = axis.imshow(image.astype(np.float32), vmin=low, vmax=high, cmap=colors)
    axis.set_axis_off()
    place = axis.inset_axes([0.04, -0.07, 0.92, 0.035])
    bar = axis.figure.colorbar(shown, cax=place, orientation="horizontal")
    bar.set_label(label, fontsize=12)
    place.locator_params(nbins=5)


def _counts(axis, before, after):
    bins = np.arange(-1100, 1600, 20)
    axis.hist(before.ravel(), bins, color=SUPPORT_COLOR, label="before")
    axis.hist(after.ravel(), bins, color=SECOND_COLOR, label="after")
    axis.set(xlabel="HU", ylabel="pixels", yscale="log", ylim=(10, None), box_aspect=1)
    axis.locator_params(axis="x", nbins=4)
    axis.legend(loc="upper right")
