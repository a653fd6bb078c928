"""What a network is trained for: losses and optimizers, for any backend of Keras 3."""

from headrest.hounsfield import IGNORE_LABEL
from headrest.train.muon import Muon
from headrest.util.backend import keras, ops
from headrest.util.errors import HeadrestError


def _logit(logits):
    """Softmax of two classes is the sigmoid of their difference.

    Split, since the gradient of a slice is an array of zeros with the slice in it: four of these
    took TensorFlow a tenth of a training step.
    """
    rest, headrest = ops.split(logits, 2, -1)
    return ops.squeeze(headrest - rest, -1)


def _targets(labels, dtype):
    """Labels as numbers, and the weight of each pixel: 0 for `IGNORE_LABEL`, otherwise 1."""
    return ops.cast(labels == 1, dtype), ops.cast(labels != IGNORE_LABEL, dtype)


def cross_entropy(labels, logits):
    """Softmax cross entropy, averaged over the pixels that are judged: the loss of 2018.

    Parameters
    ----------
    labels : tensor (batch, rows, columns), 1 for headrest, 0 for the rest, 255 for unjudged.
    logits : tensor (batch, rows, columns, 2)

    Returns
    -------
    scalar tensor

    Examples
    --------
    >>> import numpy as np
    >>> round(float(cross_entropy(np.ones((1, 2, 2)), np.zeros((1, 2, 2, 2)))), 4)
    0.6931
    """
    z = _logit(logits)
    return _cross_entropy(z, *_targets(labels, z.dtype))


def _cross_entropy(z, true, weight):
    return ops.sum(weight * (ops.softplus(z) - true * z)) / (ops.sum(weight) + 1e-6)


SMOOTH = 50.0
"""Pixels that are added to both sides of the fraction of a Dice: a slice without a headrest has a
loss too, and one that falls as its last wrong pixels go."""


def _dice_loss(z, true, weight):
    """One minus the Dice of probabilities, averaged over slices.

    A headrest fills 2 % of a slice: cross entropy alone is content with "none anywhere" for
    long, this is not. Source: F. Milletari et al., V-Net, 3DV 2016, arXiv:1606.04797.
    """
    probability = weight * ops.sigmoid(z)
    shared = ops.sum(probability * true, (1, 2))
    both = ops.sum(probability + true, (1, 2))
    return 1 - ops.mean((2 * shared + SMOOTH) / (both + SMOOTH))


def cross_entropy_and_dice(labels, logits):
    """One and a half times `cross_entropy`, and one minus the Dice: leaves the plateau on which
    all is background."""
    z = _logit(logits)
    targets = _targets(labels, z.dtype)
    return 1.5 * _cross_entropy(z, *targets) + _dice_loss(z, *targets)


LOSSES = {"cross-entropy": cross_entropy, "dice": cross_entropy_and_dice}


def sgd(steps, epochs, rate=0.2):
    """Momentum SGD as in 2018: the rate falls to 0.95 of itself after each epoch.

    Parameters
    ----------
    steps : int, steps of an epoch.
    epochs : int, of the whole training; unused, the decay goes on for ever.
    rate : float, of the first epoch.

    Source: rate, momentum and decay are tf_unet's, J. Akeret et al., arXiv:1609.09077.
    """
    fall = keras.optimizers.schedules.ExponentialDecay(rate, steps, 0.95, staircase=True)
    return keras.optimizers.SGD(fall, momentum=0.2, name="sgd")


def adam(steps, epochs, rate=1.5e-3):
    """Adam, its rate rising for the first steps and then falling along a cosine.

    Parameters
    ----------
    steps : int, steps of an epoch.
    epochs : int, of the whole training.
    rate : float, the highest.

    Source: D. P. Kingma and J. Ba, arXiv:1412.6980; I. Loshchilov and F. Hutter,
    arXiv:1608.03983.
    """
    return keras.optimizers.Adam(_rise_and_fall(steps * epochs, rate), clipnorm=1.0, name="adam")


SHORT = 500
"""Steps that bear the full rate of Muon. Of a training of 5,400, with batches of 32, the loss rose
again after a thousand at 3e-3; of one of 1,500 it fell to the end at 1.5e-3."""


def muon(steps, epochs, rate=None):
    """Muon, its rate rising and falling as `adam`'s.

    Parameters
    ----------
    steps : int, steps of an epoch.
    epochs : int, of the whole training.
    rate : float, optional; the highest. By default 4e-3, and of more than `SHORT` steps less, as
        one over the root of their number.

    Source: `headrest.train.muon.Muon`.
    """
    whole = steps * epochs
    if rate is None:
        rate = 4e-3 * min(1, SHORT / max(whole, 1)) ** 0.5
    return Muon(_rise_and_fall(whole, rate))


def _rise_and_fall(whole, rate):
    rise = max(min(60, whole // 10), whole // 100, 1)
    return keras.optimizers.schedules.CosineDecay(
        rate / 10, max(whole - rise, 1), alpha=0.02, warmup_target=rate, warmup_steps=rise
    )


OPTIMIZERS = {"adam": adam, "muon": muon, "sgd": sgd}


def choose(name, choices):
    """Take a loss or an optimizer by name."""
    if name not in choices:
        raise HeadrestError(f"no {name!r}: choose from {', '.join(choices)}")
    return choices[name]
