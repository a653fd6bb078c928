"""Losses and optimizers, for any backend of Keras 3."""

import functools
from collections.abc import Sequence
from typing import Any

from headrest.hounsfield import BACKGROUND, DENSE_LABEL, NOT_SUPPORT, PATIENT, SUPPORT
from headrest.util.backend import keras, ops

DICE_SMOOTHING = 50.0
"""Pixels added to numerator and denominator of the Dice, so that a slice without support has a
loss too, which falls as its last false pixels go."""

CROSS_ENTROPY_WEIGHT = 1.5
"""Weight of the cross entropy beside the Dice loss."""

NEAR_WEIGHT, NEAR_STEP, NEAR_STEPS = 5.0, 8, 5
"""Weight of dense pixels of the patient within some 20 pixels of the support: in `NEAR_STEPS` x
`NEAR_STEPS` squares, each `NEAR_STEP` pixels wide, around it. Without it, networks took ears that
lie in foam for foam. Like the weights at borders of O. Ronneberger et al., arXiv:1505.04597."""

MUON_STEPS = 500
"""Longest training at the full learning rate of Muon. In a training of 5,400 steps in batches of
32 the loss rose again after a thousand at 3e-3; one of 1,500 converged at 1.5e-3."""

RMS = 0.2
"""Root mean square of a step of Muon at a learning rate of 1, as of Adam (J. Liu et al., 2025)."""


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Softmax cross entropy, averaged over pixels: the loss of 2018.

    Labels are (batch, rows, columns) of `headrest.hounsfield`, with or without `DENSE_LABEL`;
    `IGNORE_LABEL` does not count. Logits are (batch, rows, columns, classes); with two classes the
    patient is background.

    >>> import numpy as np
    >>> round(float(cross_entropy(np.ones((1, 2, 2)), np.zeros((1, 2, 2, 2)))), 4)
    0.6931
    """
    return _cross_entropy(*_prepare(labels, logits))


def cross_entropy_and_dice(labels: Any, logits: Any) -> Any:
    """Cross entropy, and the Dice loss of support and patient; arguments as of `cross_entropy`.

    Support fills 2 % of a slice: with cross entropy alone, training stays for long where all is
    background. Source: F. Milletari et al., V-Net, 3DV 2016, arXiv:1606.04797.
    """
    z, true, either, log_total = _prepare(labels, logits)
    classes = zip(z[SUPPORT:], true[SUPPORT:], (sum(true) + either, sum(true)))
    losses = [_dice_loss(known * ops.exp(one - log_total), mask) for one, mask, known in classes]
    entropy = _cross_entropy(z, true, either, log_total)
    return CROSS_ENTROPY_WEIGHT * entropy + sum(losses) / len(losses)


def dense_loss(labels: Any, logits: Any) -> Any:
    """Half of `cross_entropy_and_dice`, and the same of dense voxels alone: patient, or not.

    What may not be removed is dense, and foam has many more voxels. For networks that are trained
    further: from the start, one of 2018 stayed where it found nothing. Labels need `DENSE_LABEL`.
    A term for hair alone kept the hair, but doubled the residual support.
    """
    z, true, either, _ = _prepare(labels, logits)
    patient, other, logit = true[BACKGROUND], true[SUPPORT], z[SUPPORT] - z[BACKGROUND]
    if len(z) > 2:
        patient, other = true[PATIENT] + either, true[BACKGROUND] + true[SUPPORT]
        logit = ops.logaddexp(z[BACKGROUND], z[SUPPORT]) - z[PATIENT]
    dense = ops.cast(ops.cast(labels, "int32") // DENSE_LABEL == 1, logit.dtype)
    patient, other = dense * patient, dense * other
    weight = other + patient * (1 + (NEAR_WEIGHT - 1) * _near(true[SUPPORT]))
    entropy = ops.sum(weight * (ops.softplus(logit) - logit * other))
    loss = CROSS_ENTROPY_WEIGHT * entropy / (ops.sum(patient + other) + 1e-6)
    loss = loss + _dice_loss(weight * ops.sigmoid(logit), other)
    return loss + cross_entropy_and_dice(labels, logits) / 2


def _dice_loss(probability, is_class):
    shared = ops.sum(probability * is_class, (1, 2))
    both = ops.sum(probability + is_class, (1, 2))
    return 1 - ops.mean((2 * shared + DICE_SMOOTHING) / (both + DICE_SMOOTHING))


def _near(mask):
    """Pixels near a mask, on the grid of `NEAR_STEP`."""
    rows, columns = mask.shape[1:]
    for size, step in ((NEAR_STEP, NEAR_STEP), (NEAR_STEPS, 1)):
        mask = ops.max_pool(mask[..., None], size, step, "same")[..., 0]
    for axis in (1, 2):
        mask = ops.repeat(mask, NEAR_STEP, axis)
    return mask[:, :rows, :columns]


def _prepare(labels, logits):
    """Logits of each class; masks of the pixels of each class, and of `NOT_SUPPORT`; logarithm of
    the summed exponentials of the logits."""
    # The gradient of indexing pads with zeros: it took a tenth of TensorFlow's training step.
    z = [ops.squeeze(one, -1) for one in ops.split(logits, logits.shape[-1], -1)]
    labels = ops.cast(labels, "int32") % DENSE_LABEL
    true = [ops.cast(labels == value, logits.dtype) for value in (BACKGROUND, SUPPORT, PATIENT)]
    either = ops.cast(labels == NOT_SUPPORT, logits.dtype)
    if len(z) == 2:
        true, either = [true[BACKGROUND] + true[PATIENT] + either, true[SUPPORT]], 0 * either
    return z, true, either, functools.reduce(ops.logaddexp, z)


def _cross_entropy(z, true, either, log_total):
    chosen = sum(one * is_class for one, is_class in zip(z, true))
    chosen = chosen + either * functools.reduce(ops.logaddexp, z[:1] + z[PATIENT:])
    known = sum(true) + either
    return ops.sum(known * log_total - chosen) / (ops.sum(known) + 1e-6)


def sgd(steps: int, epochs: int, learning_rate: float = 0.2) -> keras.optimizers.Optimizer:
    """Momentum SGD as in 2018; the learning rate falls by 5 % per epoch of `steps` steps. Source of
    the numbers: tf_unet, J. Akeret et al., arXiv:1609.09077."""
    rate = keras.optimizers.schedules.ExponentialDecay(learning_rate, steps, 0.95, staircase=True)
    return keras.optimizers.SGD(rate, momentum=0.2, name="sgd")


def adam(steps: int, epochs: int, learning_rate: float = 1.5e-3) -> keras.optimizers.Optimizer:
    """Adam; the learning rate rises to `learning_rate` and falls along a cosine (D. P. Kingma and
    J. Ba, arXiv:1412.6980; I. Loshchilov and F. Hutter, arXiv:1608.03983)."""
    rate = _warm_up_and_cosine(steps * epochs, learning_rate)
    return keras.optimizers.Adam(rate, clipnorm=1.0, name="adam")


class Muon(keras.optimizers.Muon):
    """Keras' Muon for all weights; Keras leaves those that are no matrices to AdamW.

    A kernel counts as a matrix of all inputs by all outputs, a bias as a matrix of one row. A step
    is the momentum with all singular values set to about 1, times `RMS` sqrt(longer side). On one
    GPU only: gradients of several are not summed first.

    Source: K. Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon; J. Liu et
    al., arXiv:2502.16982, for the length of a step.
    """

    def __init__(self, learning_rate: Any = 4e-3) -> None:
        super().__init__(learning_rate, weight_decay=None, ns_steps=5, name="muon")

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


def muon(steps: int, epochs: int, learning_rate: float | None = None) -> keras.optimizers.Optimizer:
    """`Muon`, with the schedule of `adam`; the learning rate is 4e-3 by default, and falls with the
    root of the number of steps above `MUON_STEPS`."""
    total = steps * epochs
    if learning_rate is None:
        learning_rate = 4e-3 * min(1, MUON_STEPS / max(total, 1)) ** 0.5
    return Muon(_warm_up_and_cosine(total, learning_rate))


def _warm_up_and_cosine(total, highest):
    rise = max(min(60, total // 10), total // 100, 1)
    return keras.optimizers.schedules.CosineDecay(
        highest / 10, max(total - rise, 1), alpha=0.02, warmup_target=highest, warmup_steps=rise
    )


LOSSES = {"cross-entropy": cross_entropy, "dice": cross_entropy_and_dice, "dense": dense_loss}
OPTIMIZERS = {"adam": adam, "muon": muon, "sgd": sgd}
