"""Packages that only some of headrest needs."""

import importlib.util
import os

from headrest.util.errors import HeadrestError


def require(package, otherwise=""):
    """Say what to install where a package is missing, or what to do otherwise.

    Raises
    ------
    HeadrestError
        With the line for pip.
    """
    if importlib.util.find_spec(package) is None:
        raise HeadrestError(f"{package} is not installed: pip install {package}{otherwise}")


def require_keras(otherwise=""):
    """The same for Keras and the backend that KERAS_BACKEND names, TensorFlow by default."""
    for package in ("keras", os.environ.get("KERAS_BACKEND", "tensorflow")):
        require(package, otherwise)
