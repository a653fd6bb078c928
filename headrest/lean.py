"""Import Keras in two thirds of the time, where nothing is wanted of it but a network."""

import gc
import sys

UNUSED = ("sklearn", "matplotlib", "pandas")
"""Keras imports these where it finds them, for wrappers and plots of its own."""

_hidden: list[str] = []


def serve_cleaning_only() -> None:
    """Say that this process does nothing but clean: Keras will come without `UNUSED`."""
    _hidden[:] = UNUSED


def import_keras() -> None:
    """Import Keras, unless it is there already.

    Python looks for garbage again and again while thousands of modules pile up; none of it is.
    """
    if "keras" in sys.modules:
        return
    hidden = [name for name in _hidden if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes its import fail
    collecting = gc.isenabled()
    gc.disable()
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        if collecting:
            gc.enable()
