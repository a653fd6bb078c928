"""Loss and Dice of three short trainings."""

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs Keras and a backend")

from headrest.train.curves import COMPARED, DICE_POINTS, loss_curves
from headrest.train.dataset import TrainingSet


@pytest.fixture
def data():
    """Bright bars on noise: 4 patients of one slice, 256 x 256."""
    rng = np.random.default_rng(0)
    truth = np.zeros((4, 256, 256), np.uint8)
    for mask in truth:
        row = rng.integers(40, 200)
        mask[row : row + 12, 30:220] = 1
    hu = (rng.normal(0, 30, truth.shape) + 600.0 * truth).astype(np.int16)
    states = {"truth": np.full(4, "free")}
    return TrainingSet(hu, {"truth": truth}, states, np.array(list("abcd")), np.zeros(4, int))


@pytest.mark.slow
def test_curves_are_reproducible_and_stored(data, tmp_path, monkeypatch):
    compared = {"2 levels": (1, 1), "3 levels": (1, 1, 1)}
    monkeypatch.setattr("headrest.train.curves.COMPARED", compared)
    parts = np.array([0, 1, 2]), np.array([3])
    found = loss_curves(data, *parts, tmp_path / "one.json", iterations=16)
    again = loss_curves(data, *parts, tmp_path / "two.json", iterations=16)
    assert found == again
    assert list(found) == list(compared)
    for curve in found.values():
        assert len(curve["loss"]) == 16
        assert curve["step"] == np.linspace(0, 16, DICE_POINTS + 1).astype(int).tolist()
        assert np.mean(curve["loss"][-4:]) < np.mean(curve["loss"][:4])
        assert all(0 <= dice <= 1 for dice in curve["dice"])
    assert found["2 levels"]["loss"] != found["3 levels"]["loss"]
    assert loss_curves(None, None, None, tmp_path / "one.json", iterations=16) == found


def test_compares_the_networks_of_2018():
    assert [len(convolutions) for convolutions in COMPARED.values()] == [5, 7, 7]
    assert COMPARED["7 levels, 2/4/8"] == (2, 2, 2, 4, 4, 4, 8)
    assert set(COMPARED["5 levels, 2/2/2"] + COMPARED["7 levels, 2/2/2"]) == {2}
