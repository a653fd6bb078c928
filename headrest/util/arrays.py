"""Read arrays from untrusted .npz files; pad and crop images."""

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headrest.util.errors import HeadrestError

MAX_UNPACKED_BYTES = 2**31
"""Limit for all arrays of a file: twice the optimizer state of the largest network."""

HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
READ_ERRORS = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, NotImplementedError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)
"""Exceptions of NumPy and zipfile on damaged or hostile files."""


def read_arrays(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file, all or those of some names.

    Raises a HeadrestError if the file is damaged, lacks a name, unpacks to more than
    `MAX_UNPACKED_BYTES`, or holds anything but arrays of numbers or text: pickled objects can run
    code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
            if sum(one.file_size for one in members.values()) > MAX_UNPACKED_BYTES:
                raise HeadrestError(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
            if missing := sorted(set(names or ()) - set(members)):
                raise HeadrestError(f"{path}: has no {missing[0]!r}; write the file again")
            return {name: _read_array(archive, members[name]) for name in names or members}
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
        raise HeadrestError(f"{description} that are not finite: {bad[0]} and {len(bad) - 1} more")


def fit_to_matrix(images: np.ndarray, matrix: int, fill: float) -> np.ndarray:
    """Pad or crop images (..., rows, columns) around their centre to (..., matrix, matrix).

    Examples
    --------
    >>> fit_to_matrix(np.ones((1, 2, 4)), 3, 0).sum(axis=2)
    array([[3., 3., 0.]])
    """
    out = np.full((*images.shape[:-2], matrix, matrix), fill, images.dtype)
    size = [min(n, matrix) for n in images.shape[-2:]]
    out[_centre(out, size)] = images[_centre(images, size)]
    return out


def crop(masks: np.ndarray, size: int) -> np.ndarray:
    """Crop the last two axes around their centre to (size, size): a view.

    Examples
    --------
    >>> crop(np.arange(16).reshape(4, 4), 2)
    array([[ 5,  6],
           [ 9, 10]])
    """
    return masks[_centre(masks, (size, size))]


def _centre(images, size):
    first = [(whole - part) // 2 for whole, part in zip(images.shape[-2:], size)]
    return (..., *(slice(start, start + part) for start, part in zip(first, size)))
