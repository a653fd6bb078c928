"""Muon against the singular value decomposition."""

import numpy as np
import pytest

pytest.importorskip("keras")
from headrest.train.losses import RMS, Muon, muon
from headrest.util.backend import keras


@pytest.mark.parametrize("scale", [1e-4, 1e3])
@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6), (1, 7), (7, 1), (3, 3, 2, 5)])
def test_sets_singular_values_to_about_one_and_changes_nothing_else(shape, scale):
    gradient = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * scale
    kernel = keras.Variable(np.zeros(shape, np.float32))
    Muon(1.0).apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    matrix = gradient.reshape(-1, shape[-1])
    step = -keras.ops.convert_to_numpy(kernel).reshape(matrix.shape)
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ step @ v.T / (RMS * max(matrix.shape) ** 0.5)
    values = np.diag(turned)
    assert (values > 0.67).all()
    assert (values < 1.15).all()
    assert np.allclose(turned - np.diag(values), 0, atol=1e-4)


def orthogonalize(matrix):
    """Newton-Schulz iteration of K. Jordan, in float64, with the wide side as columns."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(0 if 1 in x.shape else 5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_five_steps_equal_those_of_numpy():
    rng = np.random.default_rng(3)
    start = [rng.standard_normal(shape) for shape in ((3, 3, 4, 8), (8,), (1, 1, 16, 6))]
    variables = [keras.Variable(value.astype(np.float32)) for value in start]
    expected, momenta = start, [np.zeros_like(value) for value in start]
    optimizer = Muon(0.02)
    for _ in range(5):
        gradients = [rng.standard_normal(value.shape).astype(np.float32) for value in start]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        momenta = [0.95 * m + g for m, g in zip(momenta, gradients)]
        matrices = [(g + 0.95 * m).reshape(-1, g.shape[-1]) for m, g in zip(momenta, gradients)]
        steps = [0.02 * RMS * max(m.shape) ** 0.5 * orthogonalize(m) for m in matrices]
        expected = [value - step.reshape(value.shape) for value, step in zip(expected, steps)]
    for variable, value in zip(variables, expected):
        assert np.allclose(keras.ops.convert_to_numpy(variable), value, atol=1e-5)


def test_a_long_training_has_a_lower_rate():
    def highest(**chosen):
        return muon(**chosen)._learning_rate.get_config()["warmup_target"]

    assert highest(steps=50, epochs=10) == highest(steps=10, epochs=2) == 4e-3
    assert highest(steps=200, epochs=10) == pytest.approx(2e-3)
    assert highest(steps=200, epochs=10, learning_rate=3e-3) == 3e-3
    assert highest(steps=200, epochs=0) == 4e-3
