"""Atomic writes, locks on folders, removal of stale files, arrays from untrusted files.

A temporary path is named ``.NAME.PID.partial``, PID being the process that writes it. It gets its
final name when it is complete and on the disk. Temporary paths of killed processes are stale.
"""

import errno
import hashlib
import lzma
import math
import os
import re
import shutil
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from headrest.util import HeadrestError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of flock(2) on network shares without locks."""

NO_FOLDER_FSYNC = (errno.EINVAL, errno.EOPNOTSUPP)
"""Errors of fsync(2) on network shares that cannot flush a folder."""

FSYNC_THREADS = 4
"""Files flushed at once: 40 files of 0.5 MB take 0.05 s in place of 0.24 s, no less with 8."""

TEMPORARY_NAME = re.compile(r"\..+\.(\d{1,9})\.partial(\.\w+)*")

RUN_FOLDER = ".headrest"
"""Folder that lies in a destination while a run writes there."""

RESULT_PATTERNS = (".ct-*", "ct-*/.*.partial*", "ct-*/*/.*.partial*", "masks/.ct-*")
DESTINATION_PATTERNS = (
    *(".failures.*", ".manifest.*", *RESULT_PATTERNS),
    *(f"review/{pattern}" for pattern in RESULT_PATTERNS),
)
"""Where a run of `clean` has its temporary paths: a destination may hold other files too."""

MAX_UNPACKED_BYTES = 2**31
"""Limit for all arrays of a file: twice the optimizer state of the largest network."""

HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
READ_ERRORS = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, NotImplementedError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    tokenize.TokenError,
)
"""Exceptions of NumPy and zipfile on damaged or hostile files."""


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to `folder`, missing or empty, once all its files
    are on the disk. Raises a HeadrestError if it cannot be written."""
    path = Path(folder)
    with _replace(path, f".{path.name}.{os.getpid()}.partial") as temporary:
        temporary.mkdir(parents=True)
        yield temporary


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix, in a folder that is made if needed; rename it once
    it is on the disk. Raises a HeadrestError if it cannot be written."""
    path = Path(path)
    with _replace(path, f".{path.stem}.{os.getpid()}.partial{path.suffix}") as temporary:
        yield temporary


@contextmanager
def _replace(path, name):
    temporary = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete(temporary)  # left by a killed process of this number, as in containers
        yield temporary
        with ThreadPoolExecutor(FSYNC_THREADS) as pool:  # a disk writes many files at once
            list(pool.map(_fsync, (*temporary.rglob("*"), temporary)))
        if os.name == "nt" and temporary.is_dir() and path.is_dir():
            path.rmdir()  # Windows replaces no folder, not even an empty one
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        _delete(temporary)


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Lock a folder, which is created if needed, for this process, and remove stale files from it.

    The system releases the lock when the process ends, killed or not. On a network share without
    locks nothing is locked or removed. Raises a HeadrestError if another process has locked it, or
    it cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise not_written(folder, error) from error
    try:
        try:
            locked = _lock(handle)
            if locked and not os.path.samestat(os.fstat(handle), os.stat(folder / ".lock")):
                raise OSError  # a run that ended in between has deleted the locked file
        except OSError:
            raise HeadrestError(f"{folder}: another process is at work in it") from None
        if locked:
            remove_stale_files(folder)
        yield
    finally:
        os.close(handle)


@contextmanager
def lock_destination(destination: str | Path) -> Iterator[None]:
    """Lock a destination of `clean` for one run, by the `RUN_FOLDER` in it, and remove stale files
    before and after it. Raises as `lock_folder`."""
    run_folder = Path(destination, RUN_FOLDER)
    with lock_folder(run_folder):
        remove_stale_files(destination, DESTINATION_PATTERNS)
        try:
            yield
        finally:
            remove_stale_files(destination, DESTINATION_PATTERNS)
            shutil.rmtree(run_folder, ignore_errors=True)


def remove_stale_files(folder: str | Path, patterns: Iterable[str] = ("**/.*",)) -> None:
    """Delete temporary paths below a folder whose process no longer runs on this machine."""
    for path in [path for pattern in patterns for path in Path(folder).glob(pattern)]:
        name = TEMPORARY_NAME.fullmatch(path.name)
        if name and not _is_running(int(name[1])):
            # Renamed first: a process on another machine cannot publish a half-deleted folder.
            stale = path.with_name(f"{path.name}.stale")
            with suppress(OSError):
                os.replace(path, stale)
                _delete(stale)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def not_written(path: Path, error: OSError) -> HeadrestError:
    """The HeadrestError for a path that cannot be written."""
    return HeadrestError(f"{path}: cannot be written ({error.strerror or error})")


def _delete(path):
    with suppress(OSError):  # such as that of a name that is too long, which is reported before
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock(handle):
    """Lock an open file; return False where the file system has no locks."""
    if sys.platform == "win32":  # a test that type checkers know
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _is_running(pid):
    if pid == os.getpid() or os.name == "nt":
        return False  # Windows cannot be asked like this, and does not rename files in use
    try:
        os.kill(pid, 0)
        # Linux keeps the numbers of ended processes until their parent reads the status (proc(5)).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user, or no /proc
        return True


def _fsync(path):
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_FSYNC or not path.is_dir():
            raise
    finally:
        os.close(handle)


def read_arrays(
    path: str | Path, names: Sequence[str] = (), optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file: all, or those of some names and the optional ones that it has.

    Raises a HeadrestError if the file is damaged, lacks a name, unpacks to more than
    `MAX_UNPACKED_BYTES`, or holds anything but arrays of numbers or text: pickled objects can run
    code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
            if sum(one.file_size for one in members.values()) > MAX_UNPACKED_BYTES:
                raise HeadrestError(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
            if missing := sorted(set(names) - set(members)):
                raise HeadrestError(f"{path}: has no {missing[0]!r}; write the file again")
            chosen = [*names, *(name for name in optional if name in members)] if names else members
            return {name: _read_array(archive, members[name]) for name in chosen}
    except READ_ERRORS as error:
        raise HeadrestError(f"{path}: damaged or missing ({type(error).__name__})") from error


def _read_array(archive, member):
    with archive.open(member) as file:  # its size is checked before memory is allocated
        shape, _, dtype = HEADER_READERS[np.lib.format.read_magic(file)](file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or size != member.file_size - file.tell():
            raise ValueError(member.filename)
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def check_finite(arrays: dict[str, np.ndarray], description: str) -> None:
    """Raise HeadrestError if an array holds NaN or infinity."""
    bad = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if bad:
        more = f" and {len(bad) - 1} more" if bad[1:] else ""
        raise HeadrestError(f"{description} that are not finite: {bad[0]}{more}")
