"""Keras 3, on the backend that KERAS_BACKEND names; a user's keras.json has no influence."""

import os
from contextlib import ExitStack, suppress

from headrest.util import require

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up messages
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off without AVX-512, where it is 1.6x faster

os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
for package in ("keras", os.environ["KERAS_BACKEND"]):
    require(package, ", or pip install 'headrest[train]', to train networks")

with ExitStack() as restore:
    # Discard the messages that TensorFlow's compiled code writes while it is imported.
    with suppress(OSError):  # there is no standard error
        kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        restore.callback(os.close, kept)
        restore.callback(os.dup2, kept, 2)
        os.dup2(null, 2)
        os.close(null)
    import keras
    from keras import layers, ops

keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")

__all__ = ["keras", "layers", "ops"]
