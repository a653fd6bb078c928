"""Optional packages."""

import importlib.util
import os

from headrest.util.errors import HeadrestError


def require(package: str, advice: str = "") -> None:
    """Raise HeadrestError with the line for pip, and the advice, if a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise HeadrestError(f"{package} is not installed: pip install {package}{advice}")


def require_keras(advice: str = "") -> None:
    """`require` for Keras and the backend that KERAS_BACKEND names, by default TensorFlow."""
    for package in ("keras", os.environ.get("KERAS_BACKEND", "tensorflow")):
        require(package, advice)
