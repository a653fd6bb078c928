"""Keras 3, on the backend that KERAS_BACKEND names; a user's keras.json has no influence."""

import os
from contextlib import contextmanager

from headrest.util import require

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up messages
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off without AVX-512, where it is 1.6x faster

os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
for package in ("keras", os.environ["KERAS_BACKEND"]):
    require(package, ", or pip install 'headrest[train]', to train networks")


@contextmanager
def _quiet():
    """Discard the messages that TensorFlow's compiled code writes while it is imported."""
    try:
        kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is no standard error
        yield
        return
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


with _quiet():
    import keras
    from keras import layers, ops

keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")

__all__ = ["keras", "layers", "ops"]
