"""Loss and Dice of three short trainings."""

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs Keras and a backend")

from headrest.train.curves import JUDGED, SHAPES, loss_curves
from headrest.train.dataset import TrainingSet


@pytest.fixture
def data():
    """Bright bars on noise: 4 patients of one slice, 256 x 256."""
    rng = np.random.default_rng(0)
    truth = np.zeros((4, 256, 256), np.uint8)
    for mask in truth:
        row = rng.integers(40, 200)
        mask[row : row + 12, 30:220] = 1
    slices = (rng.normal(0, 30, truth.shape) + 600.0 * truth).astype(np.int16)
    names, states = np.array(list("abcd")), np.full(4, "free")
    return TrainingSet(slices, truth, names, np.zeros(4, int), states, truth, np.zeros(4, bool))


@pytest.mark.slow
def test_three_networks_the_same_each_time_and_kept(data, tmp_path, monkeypatch):
    shapes = {"2 levels": (1, 1), "3 levels": (1, 1, 1)}
    monkeypatch.setattr("headrest.train.curves.SHAPES", shapes)
    parts = np.array([0, 1, 2]), np.array([3])
    found = loss_curves(data, *parts, tmp_path / "one.json", iterations=16)
    again = loss_curves(data, *parts, tmp_path / "two.json", iterations=16)
    assert found == again
    assert list(found) == list(shapes)
    for curve in found.values():
        assert len(curve["loss"]) == 16
        assert curve["step"] == np.linspace(0, 16, JUDGED + 1).astype(int).tolist()
        assert np.mean(curve["loss"][-4:]) < np.mean(curve["loss"][:4])
        assert all(0 <= dice <= 1 for dice in curve["dice"])
    assert found["2 levels"]["loss"] != found["3 levels"]["loss"]
    kept = loss_curves(None, None, None, tmp_path / "one.json", iterations=16)
    assert kept == found


def test_the_shapes_are_those_of_2018():
    assert [len(convolutions) for convolutions in SHAPES.values()] == [5, 7, 7]
    assert SHAPES["7 levels, 2/4/8"] == (2, 2, 2, 4, 4, 4, 8)
    assert set(SHAPES["5 levels, 2/2/2"] + SHAPES["7 levels, 2/2/2"]) == {2}
