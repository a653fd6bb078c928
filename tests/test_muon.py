"""Muon against the singular value decomposition."""

import numpy as np
import pytest

pytest.importorskip("keras")
from headrest.train.losses import muon
from headrest.train.muon import RMS, Muon, orthogonal
from headrest.util.backend import keras


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6), (1, 7), (7, 1)])
def test_singular_values_become_one_and_nothing_else_changes(shape):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 1e3
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ np.asarray(orthogonal(matrix)) @ v.T
    values = np.diag(turned)
    assert (values > 0.67).all()
    assert (values < 1.15).all()
    assert np.allclose(turned - np.diag(values), 0, atol=1e-4)


def test_a_step_is_as_long_as_said_whatever_the_gradient():
    rng = np.random.default_rng(1)
    start = rng.standard_normal((3, 3, 8, 16)).astype(np.float32)
    lengths = []
    for scale in (1e-4, 1e4):
        kernel, bias = keras.Variable(start), keras.Variable(np.zeros(16, np.float32))
        gradients = [
            scale * rng.standard_normal(v.shape).astype(np.float32) for v in (kernel, bias)
        ]
        Muon(0.01).apply([keras.ops.convert_to_tensor(g) for g in gradients], [kernel, bias])
        moved = keras.ops.convert_to_numpy(kernel) - start, keras.ops.convert_to_numpy(bias)
        assert all((step * gradient).sum() < 0 for step, gradient in zip(moved, gradients))
        lengths.append([np.sqrt((step**2).mean()) for step in moved])
    assert np.allclose(lengths, 0.01 * RMS, rtol=0.3)


def test_finds_the_least_squares():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((256, 12)) * np.geomspace(1, 0.1, 12)
    y = x @ rng.standard_normal((12, 5)) + 3
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(5)])
    model.compile(muon(steps=150, epochs=1, rate=0.4), "mse")
    losses = [float(model.train_on_batch(x, y, return_dict=False)) for _ in range(150)]
    assert losses[-1] < 1e-3 * losses[0]


def test_kernels_of_one_shape_step_together_as_they_would_apart():
    rng = np.random.default_rng(3)
    gradients = [scale * rng.standard_normal((2, 2, 4, 8)).astype(np.float32) for scale in (1, 9)]
    gradients.insert(1, rng.standard_normal((3, 3, 4, 8)).astype(np.float32))

    def moved(gradients):
        kernels = [keras.Variable(np.zeros(g.shape, np.float32)) for g in gradients]
        Muon(0.01).apply([keras.ops.convert_to_tensor(g) for g in gradients], kernels)
        return [keras.ops.convert_to_numpy(kernel) for kernel in kernels]

    for together, gradient in zip(moved(gradients), gradients):
        assert np.allclose(together, moved([gradient])[0], atol=1e-6)


def test_momentum_goes_on_where_the_gradient_is_none():
    kernel = keras.Variable(np.eye(4, dtype=np.float32))
    optimizer, gradient = Muon(0.01), keras.ops.eye(4)
    optimizer.apply([gradient], [kernel])
    before = keras.ops.convert_to_numpy(kernel)
    optimizer.apply([0 * gradient], [kernel])
    assert (np.diag(keras.ops.convert_to_numpy(kernel)) < np.diag(before) - 1e-3).all()


def test_a_long_training_has_a_lower_rate():
    def highest(**chosen):
        return muon(**chosen)._learning_rate.get_config()["warmup_target"]

    assert highest(steps=50, epochs=10) == highest(steps=10, epochs=2) == 4e-3
    assert highest(steps=200, epochs=10) == pytest.approx(2e-3)
    assert highest(steps=200, epochs=10, rate=3e-3) == 3e-3
    assert highest(steps=200, epochs=0) == 4e-3


def test_is_made_again_with_its_schedule():
    made = muon(steps=10, epochs=2)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is Muon
    assert (again.momentum, again.name) == (made.momentum, made.name)
    curves = [one._learning_rate.get_config() for one in (again, made)]
    assert curves[0] == curves[1]
