"""Networks: sizes, parameters, and the same results under every backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headrest import HeadrestError

network = pytest.importorskip("headrest.segment.unet", reason="needs Keras and a backend")
from headrest.segment import inference  # noqa: E402


def test_presets():
    parameters = {name: network.build(name).count_params() for name in network.PRESETS}
    assert parameters["original"] == pytest.approx(100.1e6, rel=0.001)
    assert 1.4e6 < parameters["standard"] < 1.6e6
    assert parameters["small"] < 30_000


@pytest.mark.parametrize(
    ("arguments", "out", "bottom"),
    [
        ({"preset": "original"}, 512, 8),
        ({"preset": "valid3"}, 472, 121),
        ({"preset": "standard"}, 512, 2),
        ({"preset": "original", "levels": 5, "convolutions": 2, "widths": (1,) * 5}, 512, 32),
        ({"preset": "original", "convolutions": 2, "widths": (1,) * 7}, 512, 8),
    ],
)
def test_sizes(arguments, out, bottom):
    model = network.build(**arguments)
    assert model.output_shape == (None, out, out, 2)
    convolved = [layer for layer in model.layers if layer.name.startswith("down")]
    assert convolved[-1].output.shape[1] == bottom


def test_logits_have_no_activation():
    assert network.build("small").get_layer("logits").activation.__name__ == "linear"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        ({"preset": "original", "size": 500}, "448 and 512"),
        ({"preset": "standard", "size": 513}, "512 and 768"),
        ({"preset": "valid3", "size": 510}, "508 and 512"),
        ({"preset": "original", "size": 0}, ": 64$"),
    ],
)
def test_sizes_that_cannot_be_halved(arguments, nearest):
    with pytest.raises(HeadrestError, match=nearest):
        network.build(**arguments)


def test_every_level_is_named():
    for arguments in ({"levels": 3}, {"widths": (1, 2)}, {"padding": "reflect"}):
        with pytest.raises(HeadrestError, match="levels"):
            network.encoder_decoder(**arguments)
    with pytest.raises(HeadrestError, match="standard"):
        network.build("larger")


def test_first_weights_differ_by_layer_and_seed():
    one, again, other = (network.get_weights(network.build("small", seed=s)) for s in (1, 1, 2))
    kernels = [name for name in one if name.endswith("kernel")]
    assert all(np.array_equal(one[k], again[k]) for k in one)
    assert not any(np.array_equal(one[k], other[k]) for k in kernels if "logits" not in k)
    assert not np.array_equal(one["down1_1/kernel"], one["down2_1/kernel"])


def test_weights_of_another_network_are_refused():
    model = network.build("small")
    weights = network.get_weights(model)
    for bad, text in (
        ({**weights, "logits/bias": np.zeros(3)}, "logits/bias"),
        (dict(list(weights.items())[1:]), "down0_0/kernel"),
        ({**weights, "logits/bias": np.array([0, np.nan])}, "finite"),
    ):
        with pytest.raises(HeadrestError, match=text):
            network.set_weights(model, bad)
    assert all(np.array_equal(v, weights[k]) for k, v in network.get_weights(model).items())


def test_a_halved_network_is_the_same_network():
    model = network.build("small")
    half = network.halve(model)
    assert half.output_shape == (None, 32, 32, 2)
    weights = network.get_weights(model)
    network.set_weights(half, {k: v + 1 for k, v in weights.items()})
    assert all(np.array_equal(v, weights[k] + 1) for k, v in network.get_weights(model).items())
    for preset, size in (("standard", 256), ("standard", 768), ("small", 72)):
        with pytest.raises(HeadrestError, match=f"{size // 2} x {size // 2} cannot be halved"):
            network.halve(network.build(preset, size=size))


@pytest.mark.parametrize(
    "arguments",
    [
        {"preset": "small"},
        {"preset": "small", "fold": 4, "widths": (4, 12, 8)},
        {"preset": "small", "padding": "valid", "fold": 1},
    ],
)
def test_a_network_laid_out_for_use_gives_the_same_answers(arguments, monkeypatch):
    model = network.build(**arguments)
    rng = np.random.default_rng(1)
    weights = network.get_weights(model)
    drawn = {k: v + 0.1 * rng.standard_normal(v.shape) for k, v in weights.items()}
    network.set_weights(model, {k: v.astype(np.float32) for k, v in drawn.items()})
    laid_out = inference.for_inference(model)
    x = rng.standard_normal((3, 64, 64, 1)).astype(np.float32)
    expected = np.exp(model.predict_on_batch(x))
    expected = expected[..., 1] / expected.sum(-1)
    found = laid_out.predict_on_batch(x)[..., 0]
    assert found.shape == expected.shape
    assert expected.std() > 0.05
    assert np.allclose(found, expected, atol=1e-5)
    assert laid_out.output_shape[1:3] == found.shape[1:]
    monkeypatch.setattr(inference, "LARGE", 100)  # so nearly all are tensors and no constants
    again = inference.for_inference(model).predict_on_batch(x)[..., 0]
    assert np.allclose(again, found, atol=1e-6)


def test_laid_out_for_use_a_network_sees_other_sizes_and_learns_no_more():
    model = network.build("small", seed=3)
    small, large = inference.for_inference(model), inference.for_inference(model, 128)
    assert (small.output_shape[1:], large.output_shape[1:]) == ((64, 64, 1), (128, 128, 1))
    x = np.ones((1, 64, 64, 1), np.float32)
    before = small.predict_on_batch(x)
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    assert not small.weights
    assert np.array_equal(small.predict_on_batch(x), before)
    assert inference.for_inference(network.halve(model)).output_shape == (None, 32, 32, 1)
    with pytest.raises(HeadrestError, match="64 and 72"):
        inference.for_inference(model, 65)
    with pytest.raises(HeadrestError, match="laid out for use already"):
        inference.for_inference(small)


@pytest.mark.parametrize("step", [2, 4])
def test_unfolding_is_a_transposed_convolution(step):
    from headrest.util.backend import keras, layers

    rng = np.random.default_rng(step)
    x = rng.standard_normal((2, 6, 8, 5)).astype(np.float32)
    y = rng.standard_normal((2, 6 * step, 8 * step, 3)).astype(np.float32)
    ends = []
    for kind in (layers.Conv2DTranspose, network.Unfolding):
        slices = layers.Input((6, 8, 5))
        layer = kind(3, step, step, activation="relu", kernel_initializer="he_normal")
        model = keras.Model(slices, layer(slices))
        if ends:
            model.set_weights(ends[0][0])
        else:
            model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
        first, seen = model.get_weights(), model.predict_on_batch(x)
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.train_on_batch(x, y)
        ends.append((first, seen, model.get_weights()))
    (first, expected, learned), (_, found, again) = ends
    assert np.allclose(found, expected, atol=1e-5)
    for before, one, other in zip(first, learned, again):
        assert np.abs(one - before).max() > 1e-3
        assert np.allclose(other, one, atol=1e-5)


def test_drawing_shows_every_level():
    from headrest.show.architecture import architecture, draw_architecture

    model = network.build("valid3")
    blocks = architecture(model)
    assert blocks["size"] == [508, 250, 121, 238, 472]
    assert blocks["features"] == [16, 32, 64, 32, 16]
    assert blocks["convolutions"] == [2] * 5
    logits = model.get_layer("logits").count_params()
    assert sum(blocks["parameters"]) + logits == model.count_params()
    figure = draw_architecture(model)
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(f"{size}²" in words for size in (512, 508, 250, 121, 238, 472))
    figure.clear()


def test_nothing_loads_keras_before_it_is_needed():
    code = (
        "import sys, headrest.__main__, headrest.train.dataset, headrest.show.video; "
        "assert 'keras' not in "
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", f"{code}sys.modules"], check=True, cwd=root)


STEP = """
import sys, numpy as np
from headrest.segment import inference
from headrest.segment import unet as network
from headrest.train.loop import compile_network
model = network.build("small", convolutions=1, seed=int(sys.argv[2]))
x = np.random.default_rng(0).standard_normal((2, 64, 64, 1)).astype(np.float32)
network.set_weights(model, dict(np.load(sys.argv[1])))
logits = model.predict_on_batch(x)
compile_network(model, steps=10, epochs=1)
before = network.get_weights(model)
loss = float(model.train_on_batch(x, (x[..., 0] > 1).astype(np.uint8)))
after = network.get_weights(model)
trained, laid_out = model.predict_on_batch(x), inference.for_inference(model).predict_on_batch(x)
probability = network.sigmoid(np.asarray(trained)[..., 1] - np.asarray(trained)[..., 0])
assert np.allclose(laid_out[..., 0], probability, atol=1e-4)
assert np.isfinite(loss) and any((before[k] != after[k]).any() for k in before)
np.savez(sys.argv[3], logits=logits, loss=loss)
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_trains_and_carries_weights_under_every_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    model = network.build("small", convolutions=1)
    np.savez(tmp_path / "weights.npz", **network.get_weights(model))
    arguments = [str(tmp_path / "weights.npz"), "1", str(tmp_path / "out.npz")]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", STEP, *arguments], check=True, env=environment, cwd=root)
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 1)).astype(np.float32)
    with np.load(tmp_path / "out.npz") as out:
        assert np.allclose(out["logits"], model.predict_on_batch(x), atol=1e-4)
