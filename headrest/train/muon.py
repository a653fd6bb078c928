"""Muon for convolutions."""

from collections.abc import Sequence
from typing import Any

from headrest.util.backend import keras, ops

RMS = 0.2
"""Root mean square of a step at a learning rate of 1, about Adam's (J. Liu et al., 2025)."""


@keras.saving.register_keras_serializable("headrest")
class Muon(keras.optimizers.Muon):
    """Keras' Muon for all weights; Keras leaves those that are no matrices to AdamW.

    A kernel counts as a matrix of all inputs by all outputs, a bias as a matrix of one row. A step
    is the momentum with all singular values set to about 1, times `RMS` sqrt(longer side). On one
    GPU only: gradients of several are not summed first.

    Source: K. Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon; J. Liu et
    al., arXiv:2502.16982, for the length of a step.
    """

    def __init__(self, learning_rate: Any = 4e-3, **options: Any) -> None:
        defaults = {"weight_decay": None, "ns_steps": 5, "name": "muon"}
        super().__init__(learning_rate, **defaults | options)

    def _should_use_adamw(self, variable: Any) -> bool:
        return False  # nor its weight decay, which Keras 3.13 has besides

    def build(self, variables: Sequence[Any]) -> None:
        """Add the momentum of every variable."""
        if not self.built:
            keras.optimizers.Optimizer.build(self, variables)
            self.momenta = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its momentum."""
        momentum = self.momenta[self._get_variable_index(variable)]
        self.assign(momentum, self.momentum * momentum + gradient)
        ahead = ops.reshape(gradient + self.momentum * momentum, (-1, variable.shape[-1]))
        step = self.zeropower_via_newtonschulz5(ahead, self.ns_steps * (1 not in ahead.shape))
        step *= RMS * max(ahead.shape) ** 0.5 * learning_rate
        self.assign_sub(variable, ops.reshape(step, variable.shape))
