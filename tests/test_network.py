"""U-Nets, losses and Muon: sizes, weights, steps, and the same results under every backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

pytest.importorskip("headrest.segment.unet", reason="needs Keras and a backend")
from headrest.segment import unet
from headrest.show.methods import draw_architecture, operations
from headrest.train.losses import RMS, Muon, cross_entropy, cross_entropy_and_dice, dense_loss, muon
from headrest.util.backend import keras, layers


@pytest.mark.slow
def test_parameters_and_sizes_are_those_of_the_layers_and_other_sizes_refused():
    for preset, changes, parameters, size, out, wrong, larger in (
        ("original", {}, 100_128_866, 512, 512, 500, 512),
        ("valid3", {}, 116_770, 512, 472, 510, 512),
        ("standard", {}, 1_520_331, 512, 512, 513, 768),
        ("small", {"padding": "valid"}, 19_355, 120, 40, 0, 88),
    ):
        model = unet.build_unet(preset, **changes)
        assert model.count_params() == parameters
        assert unet.output_size(model, size) == out
        assert model.compute_output_shape((1, size, size, 1))[:3] == (1, out, out)
        refused(f": {larger}$", unet.output_size, model, wrong)
        image = np.zeros((1, wrong, wrong), np.float32)
        refused(f": {larger}$", unet.keras_probability(model), image)


@pytest.mark.parametrize("step", [2, 4])
def test_pixel_shuffle_is_a_transposed_convolution(step):
    rng, slices = np.random.default_rng(step), layers.Input((6, 8, 5))
    x = rng.standard_normal((2, 6, 8, 5)).astype(np.float32)
    y = rng.standard_normal((2, 6 * step, 8 * step, 3)).astype(np.float32)
    kinds = layers.Conv2DTranspose, unet.PixelShuffle
    models = [keras.Model(slices, k(3, step, step, activation="relu")(slices)) for k in kinds]
    weights = [rng.standard_normal(w.shape) for w in models[0].get_weights()]
    for model in models:
        model.set_weights(weights)
    assert np.allclose(*(model.predict_on_batch(x) for model in models), atol=1e-5)
    for model in models:
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.train_on_batch(x, y)
    for before, one, other in zip(weights, *(model.get_weights() for model in models)):
        assert np.abs(one - before).max() > 1e-3
        assert np.allclose(other, one, atol=1e-5)


def test_drawing_shows_every_level():
    figure = draw_architecture(model := unet.build_unet("valid3"))
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(f"{size} x {size}" in words for size in (512, 508, 250, 121, 238, 472))
    for size in (draw_architecture, operations):
        refused(": 512$", size, model, 510)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["", "jax", "torch"])
def test_trains_and_carries_weights_under_every_backend(backend, tmp_path):
    """The default is TensorFlow."""
    code = """
import sys, numpy as np
from headrest.segment.unet import build_unet, set_weights
from headrest.train.loop import compile_network
model = build_unet("small", 1, convolutions=(1, 1, 1))
x = np.random.default_rng(0).standard_normal((2, 64, 64, 1)).astype(np.float32)
set_weights(model, dict(np.load(sys.argv[1])))
np.save(sys.argv[2], logits := model.predict_on_batch(x))
compile_network(model, steps=10, epochs=1)
for image in (x, x[:, :32, :32]):
    assert np.isfinite(float(model.train_on_batch(image, (image[..., 0] > 1).astype(np.uint8))))
assert (model.predict_on_batch(x) != logits).any()"""
    if importlib.util.find_spec(backend or "tensorflow") is None:
        pytest.skip(f"{backend} is not installed")
    model = unet.build_unet("small", convolutions=(1, 1, 1))
    np.savez(tmp_path / "w.npz", **unet.get_weights(model))
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code, tmp_path / "w.npz", tmp_path / "logits.npy"]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1])
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 1)).astype(np.float32)
    found, expected = np.load(tmp_path / "logits.npy"), model.predict_on_batch(x)
    assert np.allclose(found, expected, atol=1e-4)


def test_losses_leave_unknown_labels_open():
    """A pixel that is background or patient gets the sum of both; ignored ones do not count."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    labels = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (2, 8, 8))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chances = {0: p[..., 0], 1: p[..., 1], 2: p[..., 2], 3: p[..., 0] + p[..., 2]}
    expected = np.concatenate([-np.log(chances[value][labels == value]) for value in chances])
    assert float(cross_entropy(labels, logits)) == pytest.approx(expected.mean(), rel=1e-5)
    changed = np.where((labels == 255)[..., None], 9 * logits, logits)
    losses = [float(cross_entropy_and_dice(labels, z)) for z in (logits, changed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_patient_near_the_support_weighs_five_times_in_the_loss(classes):
    """A dense pixel that is taken for support: beside the support, far away, and not dense."""
    labels = np.full((1, 96, 96), 2, np.uint8)
    labels[:, 40:44, 40:44] = 1
    sure = np.eye(classes, dtype=np.float32)[labels % classes] * 9

    def error_at(place, dense):
        wrong = sure.copy()
        wrong[0, place, place] = np.eye(classes)[1] * 9
        return np.subtract(*(float(dense_loss(labels + dense, one)) for one in (wrong, sure)))

    near, far, faint = (error_at(*at) for at in ((46, np.uint8(64)), (90, np.uint8(64)), (90, 0)))
    assert near > 2.5 * far > 2.5 * faint > 0


def orthogonalize(matrix):
    """Newton-Schulz iteration of K. Jordan, in float64, with the wide side as columns."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(0 if 1 in x.shape else 5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_five_steps_equal_those_of_numpy_and_a_long_training_has_a_lower_rate():
    rng, optimizer = np.random.default_rng(3), Muon(0.02)
    shapes = ((3, 3, 4, 8), (8,), (1, 1, 16, 6), (1, 7), (7, 1), (6, 6))
    expected = [rng.standard_normal(shape) for shape in shapes]
    variables = [keras.Variable(value.astype(np.float32)) for value in expected]
    momenta = [np.zeros(shape) for shape in shapes]
    for _ in range(5):
        gradients = [rng.standard_normal(s) * 10.0 ** (2 - n) for n, s in enumerate(shapes)]
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(g)) for g in gradients], variables)
        for n, g in enumerate(gradients):
            momenta[n] = 0.95 * momenta[n] + g
            matrix = (g + 0.95 * momenta[n]).reshape(-1, g.shape[-1])
            step = 0.02 * RMS * max(matrix.shape) ** 0.5 * orthogonalize(matrix)
            expected[n] = expected[n] - step.reshape(g.shape)
    for variable, value in zip(variables, expected):
        assert np.allclose(keras.ops.convert_to_numpy(variable), value, atol=1e-5)
    schedules = (50, 10, None), (10, 2, None), (200, 0, None), (200, 10, None), (200, 10, 3e-3)
    rates = [muon(*one)._learning_rate.get_config()["warmup_target"] for one in schedules]
    assert rates == pytest.approx([4e-3, 4e-3, 4e-3, 2e-3, 3e-3])


def test_initial_weights_differ_by_layer_and_seed_and_those_of_another_network_are_refused():
    models = [unet.build_unet("small", seed) for seed in (1, 1, 2)]
    one, again, other = map(unet.get_weights, models)
    kernels = [name for name in one if name.endswith("kernel")]
    np.testing.assert_equal(again, one)
    assert not any(np.array_equal(one[k], other[k]) for k in kernels if "logits" not in k)
    assert not np.array_equal(one["down1_1/kernel"], one["down2_1/kernel"])
    for bad, text in (
        ({**one, "logits/bias": np.zeros(4)}, "logits/bias"),
        (dict(list(one.items())[1:]), "down0_0/kernel"),
        ({**one, "logits/bias": np.array([0, 1, np.nan])}, "finite"),
    ):
        refused(text, unet.set_weights, models[2], bad)
    np.testing.assert_equal(unet.get_weights(models[2]), other)
