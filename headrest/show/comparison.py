"""Figures of a comparison of methods, and of training curves."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from headrest.evaluate.baselines import BASELINES
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
    matplotlib Figure; free supports on the left, touching ones on the right, with 95 % intervals.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.6), sharex=True, sharey=True)
    for axis, group in zip(axes, ("free", "touching")):
        for marker, (name, groups) in zip(2 * MARKERS, summaries.items()):
            _point(axis, name, groups[group]["residual_pct"], groups[group]["lost_ml"], marker)
        axis.set_title(f"support {'free of' if group == 'free' else 'touching'} the patient")
        axis.set_xscale("symlog", linthresh=1)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set(xlabel="residual support, %", xlim=(-0.1, 130), ylim=(-0.01, None))
        axis.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes[0].set_ylabel("removed patient, ml")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure


def _point(axis, name, x, y, marker):
    color = OTHER_COLOR if name in BASELINES else SECOND_COLOR
    color = SUPPORT_COLOR if name.startswith("pretrained") else color
    bars = [[[max(v - low, 0)], [max(high - v, 0)]] for v, low, high in (y, x)]
    style = {"fmt": marker, "color": color, "elinewidth": 0.8, "alpha": 0.85}
    axis.errorbar(x[0], y[0], *bars, label=name, **style)
    if name in LABELLED:
        side, offset = ("left", (5, 30)) if x[0] < 10 else ("right", (-7, 7))
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
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    for name, curve in curves.items():
        losses = np.array(curve["loss"])
        width = max(len(losses) // 20, 1)
        smooth = np.convolve(losses, np.ones(width) / width, "valid")
        left.plot(np.arange(len(smooth)) + width, smooth, label=name)
        right.plot(curve["step"], curve["dice"], marker="o", markersize=4, label=name)
    left.set(xlabel="iteration", ylabel=f"cross entropy, mean of {width}", yscale="log")
    right.set(xlabel="iteration", ylabel="Dice, held out", ylim=(-0.02, 1))
    right.legend(loc="lower right")
    return figure
