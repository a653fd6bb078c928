"""From HU to probability: any matrix comes back as it went in."""

import numpy as np
import pytest

pytest.importorskip("keras", reason="needs Keras and a backend")
from headrest import HeadrestError
from headrest.hounsfield import scale
from headrest.segment import predict
from headrest.segment.inference import for_inference
from headrest.segment.unet import build, sigmoid

SPACING_MM = (5.0, 0.5, 0.5)


class Bright:
    """A network that calls headrest whatever is brighter than 0 HU, and knows only of the left."""

    def __init__(self, size):
        self.input_shape = self.output_shape = (None, size, size, 1)
        self.left = np.arange(size) < size // 2
        self.seen = []

    def predict_on_batch(self, x):
        self.seen.append(x)
        z = np.where(x > float(scale(np.array(0.0))), 9.0, -9.0)
        return sigmoid(z * self.left[..., None])


class Sure(Bright):
    """A network that knows it everywhere."""

    def __init__(self, size):
        super().__init__(size)
        self.left = np.ones(size)


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (1024, 1024), (480, 512), (300, 700)])
def test_any_matrix(shape):
    hu = np.full((2, *shape), -1000.0)
    hu[1, shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 100
    found = predict.series_probability(hu, (5, 0.5, 0.5), Bright)
    assert found.shape == hu.shape
    assert found[0].max() == 0
    edge = 2 * max(max(shape) / 512, 1)
    wrong = (found[1] >= 0.5) != (hu[1] > 0)
    assert wrong.sum() <= edge * sum(shape)
    assert found[1].min() >= 0


def test_where_a_network_is_not_sure_it_looks_again_in_a_mirror():
    network = Bright(512)  # right of the middle it is at even odds
    found = predict.series_probability(np.full((1, 512, 512), 100.0), SPACING_MM, lambda _: network)
    assert found == pytest.approx((sigmoid(9) + 0.5) / 2, abs=1e-3)
    once, again = network.seen
    assert np.array_equal(again, once[:, :, ::-1])


@pytest.mark.parametrize(("pixels", "looks"), [(0, [1]), (15, [1]), (16, [1, 1])])
def test_a_speck_of_doubt_is_not_worth_a_second_look(pixels, looks):
    network = Bright(512)
    network.left = np.arange(512 * 512).reshape(512, 512) >= pixels
    predict.series_probability(np.full((1, 512, 512), 100.0), SPACING_MM, lambda _: network)
    assert [len(x) for x in network.seen] == looks


@pytest.mark.parametrize(
    ("slices", "mm", "batches"),
    [(8, 0.5, [6]), (8, 1.4, [3, 3]), (14, 0.5, [8, 8]), (5, 1.4, [3, 3])],
)
def test_slices_are_seen_some_at_once_and_empty_ones_not_at_all(slices, mm, batches):
    hu = np.full((slices, 512, 512), -1000.0)
    for i in set(range(slices)) - {3, 6}:
        hu[i, 30 * i + 10 : 30 * i + 40] = 100
    networks = []
    found = predict.series_probability(
        hu, (5, mm, mm), lambda size: networks.append(Sure(size)) or networks[0]
    )
    assert [len(x) for x in networks[0].seen] == batches
    assert ((found >= 0.5) != (hu > 0)).sum() <= (0 if mm == 0.5 else 2 * slices * 512)


def test_a_second_look_at_few_slices_is_filled_up_to_the_first(monkeypatch):
    network = Sure(512)
    network.left = np.ones((512, 512))
    first = predict.batch_probability
    hu = np.full((3, 512, 512), -1000.0)
    hu[:, 100:200] = 100

    def unsure_of_one(*given):
        answers, unsure_mm2 = first(*given)
        return answers, np.arange(len(unsure_mm2)) * predict.UNSURE_MM2 / 2

    monkeypatch.setattr(predict, "batch_probability", unsure_of_one)
    predict.series_probability(hu, SPACING_MM, lambda _: network)
    assert [len(x) for x in network.seen] == [3, 3]


@pytest.mark.parametrize(
    "changes", [{"preset": "small"}, {"preset": "valid3", "widths": (1, 1, 1)}]
)
def test_a_network_in_training_or_without_padding_is_refused(changes):
    hu = np.full((1, 64, 64), 100.0)
    given = for_inference if changes["preset"] == "valid3" else lambda trained: trained
    with pytest.raises(HeadrestError, match="laid out for use"):
        predict.series_probability(hu, SPACING_MM, lambda size: given(build(**changes, size=size)))


def test_no_subnormal_numbers_are_stored():
    network = Sure(512)
    network.predict_on_batch = lambda x: np.full(x.shape, 1e-5, np.float32)
    hu = np.full((1, 512, 512), 100.0)
    assert predict.series_probability(hu, SPACING_MM, lambda _: network).max() == 0


def test_nothing_at_half_way_to_air_or_below():
    hu = np.full((1, 512, 512), -500.0)
    hu[0, 100, 100] = -499
    model = build("standard")
    model.get_layer("logits").bias.assign([-50.0, 50.0])
    found = predict.series_probability(hu, SPACING_MM, lambda size: for_inference(model, size))
    assert np.argwhere(found).tolist() == [[0, 100, 100]]


def test_pixels_that_are_no_squares_are_made_square():
    network = Bright(512)
    y, x = np.mgrid[:256, :512]
    disc = np.hypot(2 * (y - 127.5), x - 255.5) < 100
    hu = np.where(disc, 100.0, -1000.0)[None]
    found = predict.series_probability(hu, (5, 1.0, 0.5), lambda _: network)[0] >= 0.5
    bright = network.seen[0][0, ..., 0] > 0
    assert bright.any(0).sum() == pytest.approx(bright.any(1).sum(), abs=2)
    assert (found != disc).sum() < 300


@pytest.mark.parametrize(
    ("shape", "mm", "size"),
    [
        ((512, 512), 0.48, 512),
        ((768, 768), 0.3, 512),
        ((1024, 1024), 0.25, 512),
        ((512, 512), 0.2, 256),
        ((512, 512), 1.37, 768),
        ((512, 512), 2.5, 1024),
        ((128, 128), 0.661, 256),
        ((64, 64), 3.5, 512),
        ((300, 700), 0.5, 512),
    ],
)
def test_the_size_a_network_sees(shape, mm, size):
    assert predict.network_size(shape, (mm, mm)) == size
