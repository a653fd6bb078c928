"""The training set on disk: slices and their labels as memory-mapped arrays, and an index."""

import csv
import io
import itertools
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headrest.hounsfield import FLOOR
from headrest.util.arrays import fit_to_matrix
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_folder

INDEX = ("patient", "slice", "state", "contact")

STORED = {"slices.npy": np.int16, "labels.npy": np.uint8, "truth.npy": np.uint8}

HEADER_BYTES = 128
"""Length of a .npy header of a three-dimensional array, room for a growing first axis included."""


@dataclass(frozen=True)
class TrainingSet:
    """Slices, their labels, and where they come from.

    Attributes
    ----------
    slices : int16 memory map (n, rows, columns), in HU.
    labels : uint8 memory map (n, rows, columns), 1 for headrest, 0 for the rest, as K-Means and
        connected components find it; or None where they were not asked.
    patient : str array (n,), slice : int array (n,), from 0 along the slice normal.
    state : str array (n,), "free", "touching" or "absent", as the labels' maker judges.
    truth : uint8 memory map (n, rows, columns), 1 for the exact headrest, 0 for the rest; or None
        where nobody knows. Of a `headrest.train.growing.GrowingSet` 255 where a voxel is ambiguous.
    contact : bool array (n,), support and patient do touch, or None where nobody knows.
    """

    slices: np.ndarray
    labels: np.ndarray | None
    patient: np.ndarray
    slice: np.ndarray
    state: np.ndarray
    truth: np.ndarray | None = None
    contact: np.ndarray | None = None

    def __len__(self):
        return len(self.slices)

    def target(self, labels):
        """Labels to train on or to judge by: "kmeans" or "truth".

        Raises
        ------
        HeadrestError
            Where what is asked for is not known.
        """
        choices = {"kmeans": self.labels, "truth": self.truth}
        if choices.get(labels) is None:
            known = [name for name, array in choices.items() if array is not None]
            raise HeadrestError(f"no labels {labels!r} in this set: choose from {', '.join(known)}")
        return choices[labels]

    def group(self, indices):
        """Say of slices whether their headrest is free, touching or absent: str array.

        From the truth where it is known, otherwise as the labels' maker judged.
        """
        if self.truth is None:
            return self.state[indices]
        present = np.array([(self.truth[i] == 1).any() for i in indices], bool)
        return np.where(present, np.where(self.contact[indices], "touching", "free"), "absent")

    def take(self, indices):
        """Take some of the slices, into memory: a smaller TrainingSet.

        Parameters
        ----------
        indices : int array, in the order wanted.
        """
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return TrainingSet(**{k: None if v is None else v[indices] for k, v in columns.items()})


class Labelled(NamedTuple):
    """A study to be stored.

    Attributes
    ----------
    patient : str, a name that is no identifier.
    hu : array (slices, rows, columns), in HU.
    labels : bool array of that shape, the headrest as K-Means and components find it.
    states : sequence of str (slices,), "free", "touching" or "absent".
    truth : bool array of that shape, the exact headrest where it is known.
    contact : bool sequence (slices,), support and patient do touch; needed beside a truth.
    """

    patient: str
    hu: np.ndarray
    labels: np.ndarray
    states: Sequence[str]
    truth: np.ndarray | None = None
    contact: Sequence[bool] | None = None


def write_training_set(folder, studies, matrix=512):
    """Store slices beside their labels.

    Parameters
    ----------
    folder : path
        Must not exist; gets slices.npy, labels.npy, index.csv and, where every study has a
        truth, truth.npy: whole or not at all.
    studies : iterable of Labelled, or of tuples in that order
        Taken one after another, so a generator keeps memory flat.
    matrix : int
        Slices of another size are padded with -1024 HU or cropped, about their centre.

    Raises
    ------
    HeadrestError
        Where a study contradicts itself, none is given, or the folder cannot be written.
    """
    if Path(folder).exists():
        raise HeadrestError(f"{folder}: exists already; choose another folder")
    rows = []
    with atomic_folder(folder) as aside, ExitStack() as stack:
        files = {}
        for study in itertools.starmap(Labelled, studies):
            _check_study(study)
            arrays = _arrays(study, matrix)
            if not files:
                files = {name: stack.enter_context(_npy(aside / name)) for name in arrays}
            if list(files) != list(arrays):
                raise HeadrestError(f"{study.patient}: with a truth, unlike the others, or without")
            for name, array in arrays.items():
                files[name].write(array.tobytes())
            rows += _rows(study)
        for name, file in files.items():
            _write_header(file, STORED[name], (len(rows), matrix, matrix))
        _write_index(aside / "index.csv", rows)


def _arrays(study, matrix):
    hu = np.clip(np.rint(study.hu), -32768, 32767).astype(np.int16)
    masks = {"labels.npy": study.labels, "truth.npy": study.truth}
    return {"slices.npy": fit_to_matrix(hu, matrix, int(FLOOR))} | {
        name: fit_to_matrix(np.asarray(mask, np.uint8), matrix, 0)
        for name, mask in masks.items()
        if mask is not None
    }


def _rows(study):
    contact = [""] * len(study.hu) if study.contact is None else map(int, study.contact)
    return [
        (study.patient, i, state, touches)
        for i, (state, touches) in enumerate(zip(study.states, contact))
    ]


def _check_study(study):
    shapes = {np.shape(a) for a in (study.hu, study.labels, study.truth) if a is not None}
    lengths = {len(a) for a in (study.hu, study.states, study.contact) if a is not None}
    if len(shapes) > 1 or len(lengths) > 1:
        raise HeadrestError(f"{study.patient}: arrays {shapes}, {lengths} slices")
    if (study.truth is None) != (study.contact is None):
        raise HeadrestError(f"{study.patient}: a truth and its contacts belong together")
    if not np.isfinite(study.hu).all():
        raise HeadrestError(f"{study.patient}: HU that are not finite")


@contextmanager
def _npy(path):
    with open(path, "wb") as file:
        file.write(bytes(HEADER_BYTES))
        yield file


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
        csv.writer(file).writerows([INDEX, *rows])


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
        arrays = {
            name: np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in STORED
            if name != "truth.npy" or (folder / name).exists()
        }
        with open(folder / "index.csv", newline="", encoding="utf-8") as file:
            index = list(csv.DictReader(file))
        columns = {key: np.array([row[key] for row in index]) for key in INDEX[:3]}
        number = columns["slice"].astype(int)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise HeadrestError(f"{folder}: no training set ({error})") from error
    shapes = {array.shape for array in arrays.values()}
    if shapes != {(len(index), *arrays["slices.npy"].shape[1:])}:
        raise HeadrestError(f"{folder}: slices, labels and index differ in length")
    truth = arrays.get("truth.npy")
    contact = None if truth is None else np.array([row["contact"] == "1" for row in index])
    return TrainingSet(
        arrays["slices.npy"],
        arrays["labels.npy"],
        columns["patient"],
        number,
        columns["state"],
        truth,
        contact,
    )
