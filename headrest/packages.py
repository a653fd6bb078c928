"""Packages that only some of headrest needs."""

import importlib.util

from headrest.errors import HeadrestError


def require(package):
    """Say what to install where an optional package is missing.

    Raises
    ------
    HeadrestError
        With the line for pip.
    """
    if importlib.util.find_spec(package) is None:
        raise HeadrestError(f"{package} is not installed: pip install {package}")
