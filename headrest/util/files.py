"""Write a file or a folder whole or not at all, and one process at a time."""

import errno
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from headrest.util.errors import HeadrestError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What network shares without locks answer."""

NO_FLUSH = (errno.EINVAL, errno.EOPNOTSUPP)
"""What network shares answer that do not flush folders."""


@contextmanager
def atomic_folder(folder):
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


@contextmanager
def atomic_file(path):
    """Write a file aside, and give it its name only when all of it is on the disk.

    Parameters
    ----------
    path : path
        A file of that name is replaced, at once and whole; its folder must exist.

    Yields
    ------
    Path of the file to write, with the same suffix.

    Raises
    ------
    HeadrestError
        Where the place cannot be written to.
    """
    path = Path(path)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield aside
        _flush_one(aside)
        os.replace(aside, path)
        _flush_one(path.parent)
    except OSError as error:
        raise HeadrestError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def alone(folder):
    """Hold a folder for one process; the system lets go of it however that process ends.

    What a killed process left half-written in there is swept out. The folder is made
    if need be. On a share without locks nobody is kept out, and nothing is swept.

    Raises
    ------
    HeadrestError
        Where another process holds it, or it cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise HeadrestError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        try:
            locked = _lock(handle)
        except OSError:
            raise HeadrestError(f"{folder}: another process is at work in it") from None
        for left in list(folder.rglob(".*.partial*")) if locked else []:
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _lock(handle):
    """Lock a file, or fail as another process holds it; False where there are no locks."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
    return True


def sha256(path):
    """SHA-256 of a file: str of hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


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
    except OSError as error:
        if error.errno not in NO_FLUSH or not Path(path).is_dir():
            raise
    finally:
        os.close(handle)
