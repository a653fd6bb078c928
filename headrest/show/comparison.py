"""Figures of a comparison of methods, and of the bound on what they remove."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from headrest.dicom.series import Series
from headrest.evaluate.compare import MethodCounts, read_patient
from headrest.evaluate.methods import BASELINES, Method
from headrest.evaluate.risk import area_under_risk, bounds, calibrate, risk_coverage, share_within
from headrest.segment.support import Support
from headrest.show.figures import WIDTH_IN, montage, plt
from headrest.util import OTHER_COLOR, SECOND_COLOR, SUPPORT_COLOR

MARKERS = "os^vDPX*<>hpd"

LABELLED = ("pretrained", "K-Means + components", "nothing removed")
"""Methods named beside their point as well as in the legend."""


def draw_trade_off(summaries: Mapping) -> Figure:
    """Plot removed patient against residual support, one point per method. Lower left is better.

    `summaries` are those of `headrest.evaluate.tables.summarize`; free supports are above, touching
    ones below, with 95 % intervals.
    """
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH_IN, 8), sharex=True)
    for axis, group in zip(axes, ("free", "touching")):
        for marker, (name, groups) in zip(2 * MARKERS, summaries.items()):
            _point(axis, name, groups[group]["residual_pct"], groups[group]["lost_ml"], marker)
        title = f"{group} support: removed patient, ml"
        axis.set_xscale("symlog", linthresh=1)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set(title=title, xlim=(-0.1, 130), ylim=(-0.05, None))
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
        side, offset = ("left", (6, 12)) if x[0] < 10 else ("right", (-8, 7 if y[0] else -11))
        style = {"xytext": offset, "textcoords": "offset points", "ha": side, "fontsize": 9}
        axis.annotate(name, (x[0], y[0]), color=color, **style)


def draw_risk_coverage(measured: Sequence[Mapping]) -> Figure:
    """Plot the mean loss of the most confident slices against their share, per confidence.

    `measured` are those of `headrest.evaluate.risk.measure_series`; removed patient is on the left,
    residual support on the right. The legend gives the area under each curve; lower is better.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH_IN, 4.4))
    losses = {"lost_ml": "removed patient", "residual_ml": "residual support"}
    for axis, (key, title) in zip(axes, losses.items()):
        loss = np.concatenate([one[key] for one in measured])
        for name in measured[0]["confidences"]:
            confidence = np.concatenate([one["confidences"][name] for one in measured])
            area = area_under_risk(confidence, loss)
            axis.plot(*risk_coverage(confidence, loss), label=f"{name}: {area:.3g}")
        axis.set(title=f"{title}, ml per slice", xlabel="share of slices kept")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8)
    return figure


def draw_bound(measured: Sequence[Mapping]) -> Figure:
    """Plot the removed patient against its bound, and the share of series in which bounds hold.

    `measured` as for `draw_risk_coverage`: bounds are calibrated on every second series, and
    plotted for the others. Each series is on the left, with the bound of 95 % as a line; on the
    right is the share for levels from 50 to 95 %.
    """
    tested, levels = measured[1::2], np.linspace(0.5, 0.95, 10)
    lost = np.array([one["lost_ml"].sum() for one in tested])
    found = [bounds(tested, calibrate(measured[::2], level)) for level in levels]
    shares = [share_within(lost, one) for one in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH_IN, 3.2))
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


def draw_hardest(
    compared: Mapping[str, MethodCounts], chosen: Mapping[str, Method], place: Path, count: int = 4
) -> Figure:
    """Show the slices with the lowest Dice of some methods: truth above, found support below.

    Parameters
    ----------
    compared, chosen : results and functions of the methods, by name.
    place : folder of the synthetic patients.
    count : int, slices per method.
    """
    hu, masks, labels, titles = [], [], [], []
    for name, counts in compared.items():
        for k in counts.worst(count):
            case, i = read_patient(place / counts.names[k]), counts.indices[k]
            found = chosen[name](case.series)
            mask = found.mask if isinstance(found, Support) else found
            hu.append(case.series.hu[i])
            masks.append((case.labels[i], mask[i]))
            labels.append(f"{counts.dice()[k]:.2f}")
        titles += ["", name, *[""] * len(labels)][: len(labels) - len(titles)]
    return montage(
        np.array(hu * 2),
        [pair[n] for n in (0, 1) for pair in masks],
        columns=len(hu),
        step=3,
        labels=labels + [""] * len(hu),
        column_titles=titles,
        row_titles=("truth", "found"),
    )


def draw_methods(series: Series, chosen: Mapping[str, Method], columns: int = 4) -> Figure:
    """Show what each method would remove from the first slice of a series."""
    found = [method(series) for method in chosen.values()]
    masks = [one.removed[0] if isinstance(one, Support) else one[0] for one in found]
    shown = np.repeat(series.hu[:1], len(masks), axis=0)
    return montage(shown, masks, columns=columns, step=3, labels=list(chosen))
