"""Keras 3 on any of its backends, as every module here takes it: `from headrest.util.backend import
keras`."""

from headrest.util.lean import import_keras

import_keras()

import keras  # noqa: E402
from keras import layers, ops  # noqa: E402

__all__ = ["keras", "layers", "ops"]
