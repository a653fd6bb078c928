"""Write a folder whole or not at all."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from headrest.errors import HeadrestError


@contextmanager
def whole_folder(folder):
    """Fill a folder aside, and give it its name only when everything in it is on the disk.

    A kill, a full disk or an error in between leaves no folder of that name, so whoever sees
    the name sees a complete folder.

    Parameters
    ----------
    folder : path
        Must not exist yet, or be empty; its parents are made.

    Yields
    ------
    Path of the folder to write into.

    Raises
    ------
    HeadrestError
        Where the place cannot be written to.
    """
    folder = Path(folder)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        aside.mkdir(parents=True)
        yield aside
        _flush(aside)
        os.replace(aside, folder)
        _flush_one(folder.parent)
    except OSError as error:
        raise HeadrestError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _flush(folder):
    for root, _, names in os.walk(folder):
        for name in names:
            _flush_one(Path(root, name))
        _flush_one(root)


def _flush_one(path):
    if os.name == "nt" and Path(path).is_dir():
        return  # Windows gives no handle to a folder
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
