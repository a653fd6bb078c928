"""Figures of slices, and the pipeline figure: one slice from stored values to cleaned HU."""

import numpy as np
import pytest

from headrest import read_series
from headrest.segment.support import Support
from headrest.show.figures import montage, plt, show_slices
from headrest.show.pipeline import draw_pipeline
from tests.conftest import make_series


@pytest.fixture
def panels(tmp_path):
    make_series(tmp_path, 3)
    series = read_series(tmp_path)
    mask = series.hu == 120
    boundary = np.roll(mask, 1, axis=1) & ~mask
    support = Support(mask, boundary, series.hu > 120, ("free",) * 3)
    figure = draw_pipeline(series, mask.astype(np.float16), support)
    yield series, support, figure.axes[:6]
    figure.clear()


def test_titles_name_six_steps_in_order(panels):
    titles = [axis.get_title(loc="left") for axis in panels[2]]
    steps = ["Read", "Rescale", "Predict", "Refine", "Write", "Check"]
    assert titles == [f"{i}  {step}" for i, step in enumerate(steps, 1)]


def test_each_panel_shows_its_step(panels):
    series, support, axes = panels
    stored, hu, probability, _, cleaned = (axis.images[0].get_array() for axis in axes[:5])
    assert np.array_equal(stored, series.stored[1])
    assert np.array_equal(hu, series.hu[1])
    assert np.array_equal(probability, support.mask[1])
    assert (cleaned[support.removed[1]] == -1000).all()
    assert np.array_equal(cleaned[~support.removed[1]], hu[~support.removed[1]])


def test_scales_have_labels(panels):
    bars = [axis.child_axes[0].get_xlabel() for axis in panels[2][:5]]
    window = "HU (window: center -300, width 1400)"
    assert bars == ["stored value", window, "probability of support", window, window]
    assert (panels[2][5].get_xlabel(), panels[2][5].get_ylabel()) == ("HU", "pixels")


@pytest.mark.parametrize("draw", [show_slices, montage])
def test_masks_are_coloured(draw):
    hu = np.full((3, 8, 8), -300.0)
    figure = draw(hu, masks=np.arange(3)[:, None, None] + 0 * hu > 1)
    shown = np.concatenate([axis.images[0].get_array().reshape(-1, 3) for axis in figure.axes])
    coloured = (np.ptp(shown, axis=1) > 0).mean()
    assert coloured == pytest.approx(1 / 3 if draw is show_slices else 1 / 7)
    plt.close(figure)
