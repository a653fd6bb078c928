"""From HU to probability: any matrix, uncertain slices, and networks that do not fit."""

from threading import Barrier

import numpy as np
import pytest
from scipy.special import expit

from headrest import HeadrestError
from headrest.hounsfield import scale
from headrest.segment.predict import network_size, series_probability

SPACING_MM = (5.0, 0.5, 0.5)
BRIGHT = np.full((1, 512, 512), 100.0)


def classes(support):
    """Probabilities of support and patient from that of the support."""
    return np.stack([support, 1 - support], axis=1)


class Bright:
    """A network that finds support above 0 HU where it is decided, by default in the left half."""

    def __init__(self, decided=lambda size: np.arange(size) < size // 2):
        self.decided, self.seen = decided, []

    def __call__(self, x):
        self.seen.append(x)
        z = np.where(x > float(scale(np.array(0.0))), 9.0, -9.0)
        return classes(expit(z * self.decided(x.shape[-1])))


def certain():
    return Bright(decided=lambda size: np.ones((size, size)))


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (1024, 1024), (480, 512), (300, 700)])
def test_any_matrix(shape):
    hu = np.full((2, *shape), -1000.0)
    hu[1, shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 100
    found = series_probability(hu, SPACING_MM, certain())
    assert found.shape == hu.shape
    assert found[0].max() < 2e-4
    edge = 2 * max(max(shape) / 512, 1)
    wrong = (found[1] >= 0.5) != (hu[1] > 0)
    assert wrong.sum() <= edge * sum(shape)
    assert found[1].min() >= 0


def test_an_uncertain_slice_is_averaged_with_its_horizontal_flip():
    network = Bright()
    found = series_probability(BRIGHT, SPACING_MM, network)
    assert found == pytest.approx((expit(9) + 0.5) / 2, abs=1e-3)
    once, again = network.seen
    assert np.array_equal(again, once[:, :, ::-1])


@pytest.mark.parametrize(("pixels", "batches"), [(0, [1]), (79, [1]), (80, [1, 1])])
def test_augmentation_starts_at_an_uncertain_area(pixels, batches):
    network = Bright(lambda size: np.arange(size * size).reshape(size, size) >= pixels)
    series_probability(BRIGHT, SPACING_MM, network)
    assert [len(x) for x in network.seen] == batches


@pytest.mark.parametrize(("mm", "at_once"), [(0.5, 1), (0.5, 4), (1.4, 2)])
def test_slices_are_predicted_in_as_many_threads_as_the_network_takes(mm, at_once):
    hu = np.full((8, 512, 512), -1000.0)
    hu[[0, 1, 2, 4, 5, 7]] = 100
    network, together = certain(), Barrier(at_once)

    def waiting(x):
        together.wait(10)  # until so many threads are here
        return network(x)

    if at_once > 1:
        waiting.at_once = at_once
    found = series_probability(hu, (5, mm, mm), waiting)
    assert [len(x) for x in network.seen] == [1] * 8
    assert ((found >= 0.5) != (hu > 0)).sum() <= (0 if mm == 0.5 else 2 * 8 * 512)


def test_only_uncertain_slices_are_augmented():
    network, hu = Bright(), np.full((3, 512, 512), -1000.0)
    hu[:, 100:200] = 100
    hu[:2, :, 256:] = -1000
    found = series_probability(hu, SPACING_MM, network)
    assert [len(x) for x in network.seen] == [1, 1, 1, 1]
    assert (found[:2, 100:200, :256] > 0.99).all()
    assert found[2, 100:200] == pytest.approx((expit(9) + 0.5) / 2, abs=1e-3)


@pytest.mark.parametrize("preset", ["small", "valid3"])
def test_refuses_a_keras_model_itself_and_valid_padding(preset):
    pytest.importorskip("keras")
    from headrest.segment.unet import build_unet, keras_probability

    model = build_unet(preset, widths=(1, 1, 1))
    given = keras_probability(model) if preset == "valid3" else model
    with pytest.raises(HeadrestError, match="the network returns"):
        series_probability(BRIGHT[:, :64, :64], SPACING_MM, given)


def test_no_subnormal_numbers_are_stored():
    found = series_probability(BRIGHT, SPACING_MM, lambda x: classes(np.full_like(x, 1e-5)))
    assert found.max() == 0


@pytest.mark.parametrize(("probabilities", "support"), [((0.3, 0.1), 0.75), ((0.05, 0.15), 0.25)])
def test_what_is_dense_is_support_or_patient(probabilities, support):
    """At an edge a voxel is mostly air, and the network says background."""
    hu = np.full((1, 512, 512), -1000.0)
    hu[0, 100:200] = -400
    found = series_probability(
        hu, SPACING_MM, lambda x: np.stack([p + 0 * x for p in probabilities], axis=1)
    )[0]
    assert found[100:200] == pytest.approx(support, abs=1e-3)
    assert (found[:100] == np.float16(probabilities[0])).all()


def test_finds_foam_and_with_two_classes_what_is_visible():
    hu = np.full((1, 512, 512), -750.0)
    hu[0, 100, 100] = -499
    hu[0, :50] = -900
    found = series_probability(hu, SPACING_MM, lambda x: classes(0.5 + 0 * x))
    assert (found == 0.5).all()
    found = series_probability(hu, SPACING_MM, lambda x: classes(x < 0)[:, :1])
    assert not found[0, :49].any()
    assert (found[0, 51:] == 1).all()


def test_oblong_pixels_are_resampled_to_square_ones():
    network = Bright()
    y, x = np.mgrid[:256, :512]
    disc = np.hypot(2 * (y - 127.5), x - 255.5) < 100
    hu = np.where(disc, 100.0, -1000.0)[None]
    found = series_probability(hu, (5, 1.0, 0.5), network)[0] >= 0.5
    bright = network.seen[0][0] > 0
    assert bright.any(0).sum() == pytest.approx(bright.any(1).sum(), abs=2)
    assert (found != disc).sum() < 300


@pytest.mark.parametrize(
    ("rows", "columns", "mm", "size"),
    [
        *((512, 512, 0.48, 512), (768, 768, 0.3, 512), (1024, 1024, 0.25, 512)),
        *((512, 512, 0.2, 256), (512, 512, 1.37, 768), (512, 512, 2.5, 1024)),
        *((128, 128, 0.661, 256), (64, 64, 3.5, 512), (300, 700, 0.5, 512)),
    ],
)
def test_network_size_keeps_pixels_in_range(rows, columns, mm, size):
    assert network_size((rows, columns), (mm, mm)) == size
