import numpy as np
import pytest
from scipy import ndimage

from headrest.evaluate.score import appearance, compare_appearance

Y, X = np.mgrid[:300, :300]


def ball(noise=0.0, blur=1.0, pixel=0.6):
    """A head of one HU in air, with white noise and an edge of known width."""
    r = np.hypot(Y - 160, X - 150) * pixel
    sharp = np.where(r < 66, 30.0, -1000.0)
    hu = ndimage.gaussian_filter(sharp, blur)
    hu += np.random.default_rng(0).normal(0, noise, hu.shape) if noise else 0
    return appearance(hu[None].astype(np.float32), (5, pixel, pixel))


def test_measures_hu_and_noise_of_air_and_brain():
    found = ball(noise=4)
    assert found["air (HU)"] == pytest.approx(-1000, abs=0.2)
    assert found["brain (HU)"] == pytest.approx(30, abs=0.2)
    expected = 4 * np.sqrt(1 - 1 / 25)  # a 5 x 5 mean removes 1/25 of the variance
    assert found["air noise (HU)"] == pytest.approx(expected, rel=0.03)
    assert found["brain noise (HU)"] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("blur", [1.0, 1.5, 2.5])
def test_edge_width_follows_the_blur(blur):
    # A step blurred by a Gaussian rises at its steepest over sqrt(2 pi) of its sigma.
    expected = np.sqrt(2 * np.pi) * blur * 0.6
    assert ball(blur=blur)["edge of the skin (mm)"] == pytest.approx(expected, rel=0.15)


def test_missing_parts_are_nan():
    found = ball()
    assert np.isnan(found["support, median (HU)"])
    assert all(
        np.isnan(v)
        for k, v in appearance(np.full((1, 64, 64), -1000.0), (5, 1, 1)).items()
        if k.startswith(("brain", "edge", "head", "support"))
    )


def test_real_measures_stand_beside_the_range_of_synthetic_ones():
    synthetic = [{"air": float(i), "skin": 2.0} for i in range(101)]
    columns = compare_appearance(synthetic, {"one": {"air": 7.0, "skin": 3.0}})
    assert columns["measure"] == ["air", "skin"]
    assert [columns[name][0] for name in ("5 %", "50 %", "95 %", "one")] == [5, 50, 95, 7]
