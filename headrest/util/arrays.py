"""Read arrays from an .npz file that may come from a stranger: numbers, and nothing else."""

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headrest.util.errors import HeadrestError

MOST = 2**31
"""Bytes that the arrays of one file may take: twice what the optimizer of the largest net has."""

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
FAULTS = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, NotImplementedError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)
"""What a damaged file, or one made to do harm, makes the readers raise."""


def read_arrays(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file.

    Pickled objects, which would be programs, are refused, and so is what unpacks to more than
    it should: sizes are looked at before memory is set aside.

    Parameters
    ----------
    path : path
    names : sequence of str, optional; all of them otherwise.

    Returns
    -------
    dict of str to array

    Raises
    ------
    HeadrestError
        Where the file is cut or changed, lacks a name, or holds anything but numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MOST:
                raise HeadrestError(f"{path}: unpacks to more than {MOST >> 20} MiB")
            found = {member.filename.removesuffix(".npy"): member for member in members}
            if absent := sorted(set(names or ()) - set(found)):
                raise HeadrestError(f"{path}: holds no {absent[0]!r}; it must be made anew")
            return {name: _read_array(archive, found[name]) for name in names or found}
    except FAULTS as error:
        raise HeadrestError(f"{path}: damaged or missing ({type(error).__name__})") from error


def _read_array(archive, member):
    with archive.open(member) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or size != member.file_size - file.tell():
            raise ValueError(member.filename)
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def check_finite(arrays: dict[str, np.ndarray], what: str) -> None:
    """Refuse a dict of arrays that holds NaN or infinity."""
    bad = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if bad:
        raise HeadrestError(f"{what} that are not finite: {bad[0]} and {len(bad) - 1} more")


def fit_to_matrix(images, matrix, fill):
    """Pad or crop the last two axes to a square, about their centre.

    Examples
    --------
    >>> fit_to_matrix(np.ones((1, 2, 4)), 3, 0).sum(axis=2)
    array([[3., 3., 0.]])
    """
    for axis in (-2, -1):
        size = images.shape[axis]
        lead = max(size - matrix, 0) // 2
        images = np.take(images, range(lead, lead + min(size, matrix)), axis)
        before = max(matrix - size, 0) // 2
        width = [(0, 0)] * images.ndim
        width[axis] = (before, max(matrix - size, 0) - before)
        images = np.pad(images, width, constant_values=fill)
    return images


def crop(masks, size):
    """Cut the last two axes to a square about their centre: a view.

    Examples
    --------
    >>> crop(np.arange(16).reshape(4, 4), 2)
    array([[ 5,  6],
           [ 9, 10]])
    """
    lead = (masks.shape[-1] - size) // 2
    return masks[..., lead : lead + size, lead : lead + size]
