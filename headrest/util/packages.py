"""Optional packages."""

import importlib.util

from headrest.util.errors import HeadrestError


def require(package: str, advice: str = "") -> None:
    """Raise HeadrestError with the line for pip, and the advice, if a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise HeadrestError(f"{package} is not installed: pip install {package}{advice}")
