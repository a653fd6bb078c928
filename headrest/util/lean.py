"""Import Keras in silence, and in two thirds of the time where only a network is wanted of it."""

import gc
import os
import sys
from contextlib import contextmanager, suppress

from headrest.util.packages import require_keras

UNUSED = ("sklearn", "matplotlib", "pandas")
"""Keras imports these where it finds them, for wrappers and plots of its own."""

RARELY = 100_000
"""How many more objects come into being than go between two looks for garbage: Python's own number
is 700, or 2,000."""

_hidden: list[str] = []


def serve_cleaning_only() -> None:
    """Say that this process does nothing but clean: Keras will come without `UNUSED`, and Python
    looks for garbage more rarely, as it hardly finds any among headers and layers."""
    _hidden[:] = UNUSED
    gc.set_threshold(RARELY)


def import_keras() -> None:
    """Import Keras, unless it is there already.

    Python looks for garbage again and again while thousands of modules pile up; none of it is.
    """
    if "keras" in sys.modules:
        return
    require_keras()
    hidden = [name for name in _hidden if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes its import fail
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _silence():
            import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
        if _hidden:
            gc.freeze()
        if collecting:
            gc.enable()


@contextmanager
def _silence():
    """Nothing comes to standard error, not even from compiled code.

    While TensorFlow is loaded it writes there that oneDNN is on, whatever level it is told.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
