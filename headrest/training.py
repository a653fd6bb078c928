"""The training set: slices and their labels as memory-mapped arrays, and an index."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.errors import HeadrestError
from headrest.files import whole_folder
from headrest.hounsfield import FLOOR

HEADER_BYTES = 128
"""Length of a .npy header of a three-dimensional array, room for a growing first axis included."""


@dataclass(frozen=True)
class TrainingSet:
    """Slices, their labels, and where they come from.

    Attributes
    ----------
    slices : int16 memory map (n, rows, columns), in HU.
    labels : uint8 memory map (n, rows, columns), 1 for headrest, 0 for the rest.
    patient : str array (n,), slice : int array (n,), from 0 along the slice normal.
    state : str array (n,), "free", "touching" or "absent".
    """

    slices: np.ndarray
    labels: np.ndarray
    patient: np.ndarray
    slice: np.ndarray
    state: np.ndarray

    def __len__(self):
        return len(self.slices)


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


def write_training_set(folder, studies, matrix=512):
    """Store slices beside their labels.

    Parameters
    ----------
    folder : path
        Must not exist; gets slices.npy, labels.npy and index.csv, whole or not at all.
    studies : iterable of (patient, hu, labels, states)
        A name that is no identifier, HU (slices, rows, columns), bool labels of that shape,
        and one state a slice. Taken one after another, so a generator keeps memory flat.
    matrix : int
        Slices of another size are padded with -1024 HU or cropped, about their centre.

    Raises
    ------
    HeadrestError
        Where a study contradicts itself, none is given, or the folder cannot be written.
    """
    if Path(folder).exists():
        raise HeadrestError(f"{folder}: exists already; choose another folder")
    shape, rows = (matrix, matrix), []
    with whole_folder(folder) as aside:
        with (
            open(aside / "slices.npy", "wb") as slices_file,
            open(aside / "labels.npy", "wb") as labels_file,
        ):
            for file in (slices_file, labels_file):
                file.write(bytes(HEADER_BYTES))
            for patient, hu, labels, states in studies:
                _check_study(patient, hu, labels, states)
                whole = np.clip(np.rint(hu), -32768, 32767).astype(np.int16)
                slices_file.write(fit_to_matrix(whole, matrix, int(FLOOR)).tobytes())
                labels_file.write(fit_to_matrix(labels.astype(np.uint8), matrix, 0).tobytes())
                rows += [(patient, i, state) for i, state in enumerate(states)]
            _write_header(slices_file, np.int16, (len(rows), *shape))
            _write_header(labels_file, np.uint8, (len(rows), *shape))
        _write_index(aside / "index.csv", rows)


def _check_study(patient, hu, labels, states):
    if np.shape(hu) != np.shape(labels) or len(hu) != len(states):
        raise HeadrestError(
            f"{patient}: slices {np.shape(hu)}, labels {np.shape(labels)}, {len(states)} states"
        )
    if not np.isfinite(hu).all():
        raise HeadrestError(f"{patient}: HU that are not finite")


def _write_header(file, dtype, shape):
    # NumPy pads its headers so that the first axis may grow: this one fits the room kept for it.
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype).newbyteorder("<"))
    np.lib.format.write_array_header_1_0(
        header, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    if header.tell() != HEADER_BYTES:
        raise HeadrestError(f"a .npy header of {header.tell()} bytes")
    file.seek(0)
    file.write(header.getvalue())


def _write_index(path, rows):
    if not rows:
        raise HeadrestError("no slices to store")
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("patient", "slice", "state"), *rows])


def read_training_set(folder):
    """Open a training set; pixels are read from the disk as they are used.

    Parameters
    ----------
    folder : path, as `write_training_set` left it.

    Returns
    -------
    TrainingSet

    Raises
    ------
    HeadrestError
        Where files are missing or do not belong together.
    """
    folder = Path(folder)
    try:
        slices, labels = (
            np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in ("slices.npy", "labels.npy")
        )
        with open(folder / "index.csv", newline="", encoding="utf-8") as file:
            index = list(csv.DictReader(file))
    except (OSError, ValueError, EOFError) as error:
        raise HeadrestError(f"{folder}: no training set ({error})") from error
    if not slices.shape == labels.shape == (len(index), *slices.shape[1:]):
        raise HeadrestError(f"{folder}: slices, labels and index differ in length")
    patient, state = (np.array([row[key] for row in index]) for key in ("patient", "state"))
    return TrainingSet(slices, labels, patient, np.array([int(r["slice"]) for r in index]), state)
