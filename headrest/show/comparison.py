"""Figures of a comparison of methods, and of training curves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from headrest.evaluate.baselines import BASELINES
from headrest.show.figures import WIDTH_IN, plt
from headrest.util.report import OTHER_COLOR, SECOND_COLOR, SUPPORT_COLOR

MARKERS = "os^vDPX*<>hpd"

LABELLED = ("pretrained", "K-Means + components", "nothing removed")
"""Methods named beside their point as well as in the legend."""


def draw_trade_off(summaries: Mapping) -> Figure:
    """Plot removed patient against residual support, one point per method. Lower left is better.

    Parameters
    ----------
    summaries : as `headrest.evaluate.tables.summarize` returns them.

    Returns
    -------
    matplotlib Figure; free supports above, touching ones below, with 95 % intervals.
    """
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH_IN, 8), sharex=True)
    for axis, group in zip(axes, ("free", "touching")):
        for marker, (name, groups) in zip(2 * MARKERS, summaries.items()):
            _point(axis, name, groups[group]["residual_pct"], groups[group]["lost_ml"], marker)
        title = f"{group} support: removed patient, ml"
        axis.set_xscale("symlog", linthresh=1)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set(title=title, xlim=(-0.1, 130), ylim=(-0.02, None))
        axis.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes[1].set_xlabel("residual support, %")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _point(axis, name, x, y, marker):
    color = OTHER_COLOR if name in BASELINES else SECOND_COLOR
    color = SUPPORT_COLOR if name.startswith("pretrained") else color
    bars = [[[max(v - low, 0)], [max(high - v, 0)]] for v, low, high in (y, x)]
    style = {"fmt": marker, "color": color, "elinewidth": 0.8, "alpha": 0.85}
    axis.errorbar(x[0], y[0], *bars, label=name, **style)
    if name in LABELLED:
        side, offset = ("left", (6, 12)) if x[0] < 10 else ("right", (-8, 7))
        style = {"xytext": offset, "textcoords": "offset points", "ha": side, "fontsize": 9}
        axis.annotate(name, (x[0], y[0]), color=color, **style)


def draw_curves(curves: Mapping[str, Mapping]) -> Figure:
    """Plot loss and Dice against iterations.

    Parameters
    ----------
    curves : as `headrest.train.curves.loss_curves` returns them.

    Returns
    -------
    matplotlib Figure
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH_IN, 2.8))
    for name, curve in curves.items():
        losses = np.array(curve["loss"])
        width = max(len(losses) // 20, 1)
        smooth = np.convolve(losses, np.ones(width) / width, "valid")
        left.plot(np.arange(len(smooth)) + width, smooth, label=name)
        right.plot(curve["step"], curve["dice"], marker="o", markersize=4, label=name)
    left.set(xlabel="iteration", title=f"cross entropy, mean of {width}", yscale="log")
    right.set(xlabel="iteration", title="Dice, held out", ylim=(-0.02, 1))
    right.legend(loc="lower right")
    return figure
