"""Muon, an optimizer that turns every kernel in all directions alike."""

import numpy as np

from headrest.util.backend import keras, ops

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5: a few rounds bring every number from 0 to 1 near 1."""

ROUNDS = 5

RMS = 0.2
"""Root mean square of a step at a rate of 1: about Adam's, so that rates are of the same order."""


@keras.saving.register_keras_serializable("headrest")
class Muon(keras.optimizers.Optimizer):
    """Momentum, made orthogonal: a step is as long in the rare directions as in the common ones.

    A kernel is taken as a matrix of all that comes in by all that goes out, a bias as one of a
    single row. Keras has a Muon too, which leaves the kernels of convolutions to Adam. For one
    device: the gradients of several are not brought together before they are made orthogonal.

    Parameters
    ----------
    learning_rate : float or keras schedule
    momentum : float, share of the last step's momentum that goes on.
    name : str

    Source: K. Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon; J. Liu et
    al., arXiv:2502.16982, for the length of a step.
    """

    def __init__(self, learning_rate=4e-3, momentum=0.95, name="muon"):
        super().__init__(learning_rate=learning_rate, name=name)
        self.momentum = momentum

    def build(self, variables):
        """Make room for the momentum of every variable."""
        if not self.built:
            super().build(variables)
            self._momenta = self.add_optimizer_variables(variables, "momentum")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Turn gradients into steps, and take them."""
        steps = self._steps(grads, trainable_variables)
        super()._backend_update_step(steps, trainable_variables, learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        """Take one step of one variable."""
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * gradient)

    def _steps(self, gradients, variables):
        """All kernels of one shape are made orthogonal at once: a GPU waits for each product."""
        ahead = [self._ahead(*pair) for pair in zip(gradients, variables)]
        alike = {}
        for i, one in enumerate(ahead):
            alike.setdefault((int(np.prod(one.shape[:-1])), one.shape[-1]), []).append(i)
        steps = {}
        for shape, chosen in alike.items():
            matrices = ops.stack([ops.reshape(ahead[i], shape) for i in chosen])
            turned = orthogonal(matrices) * (RMS * max(shape) ** 0.5)
            steps |= dict(zip(chosen, ops.unstack(turned, len(chosen))))
        return [ops.reshape(steps[i], one.shape) for i, one in enumerate(ahead)]

    def _ahead(self, gradient, variable):
        """Where the momentum, moved on by a gradient, will be at the next."""
        held = self._momenta[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(held, self.momentum * held + gradient)
        return gradient + self.momentum * held

    def get_config(self):
        """Arguments that make the same optimizer."""
        config = super().get_config()
        return {key: config[key] for key in ("learning_rate", "name")} | {"momentum": self.momentum}


def orthogonal(matrix):
    """Set all singular values of a matrix, or of each of several, to about 1.

    Parameters
    ----------
    matrix : tensor (..., rows, columns)

    Returns
    -------
    tensor of that shape; its singular values lie within 0.68 and 1.14 where those of `matrix`
    are not below a hundredth of its norm.

    Examples
    --------
    >>> import numpy as np
    >>> found = orthogonal(np.array([[3.0, 4.0], [-8.0, 6.0]], np.float32))
    >>> bool(np.allclose(found, [[0.6, 0.8], [-0.8, 0.6]], atol=0.3))
    True
    """
    x = matrix / (ops.sqrt(ops.sum(matrix * matrix, (-2, -1), keepdims=True)) + 1e-7)
    if min(x.shape[-2:]) == 1:
        return x
    tall = x.shape[-2] > x.shape[-1]
    x = ops.swapaxes(x, -2, -1) if tall else x
    a, b, c = NEWTON_SCHULZ
    for _ in range(ROUNDS):
        square = ops.matmul(x, ops.swapaxes(x, -2, -1))
        x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
    return ops.swapaxes(x, -2, -1) if tall else x
