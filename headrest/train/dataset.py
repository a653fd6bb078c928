"""Training sets on disk: slices and labels as memory-mapped arrays, and an index."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headrest.hounsfield import (
    BACKGROUND,
    FLOOR,
    IGNORE_LABEL,
    NOT_SUPPORT,
    PATIENT,
    SUPPORT,
    fit_to_matrix,
)
from headrest.util import HeadrestError
from headrest.util.files import READ_ERRORS, atomic_folder

LABELS_NAME = re.compile(r"[A-Za-z0-9-]{1,40}")
"""Names of labels become names of files."""

LABEL_VALUES = (BACKGROUND, SUPPORT, PATIENT, NOT_SUPPORT, IGNORE_LABEL)


@dataclass(frozen=True)
class TrainingSet:
    """Slices and their labels.

    Labels have the values of `headrest.hounsfield`: `BACKGROUND`, `SUPPORT`, `PATIENT`,
    `NOT_SUPPORT` or `IGNORE_LABEL`. Those named "truth" are exact, "kmeans" come from K-Means and
    connected components.
    """

    hu: np.ndarray  # int16 (n, rows, columns)
    labels: dict[str, np.ndarray]  # uint8 (n, rows, columns), by name
    states: dict[str, np.ndarray]  # str (n,), by the name of the labels: see `slice_states`
    patient: np.ndarray  # str (n,)
    slice: np.ndarray  # int (n,), from 0 along the slice normal

    def __len__(self) -> int:
        return len(self.hu)

    def target(self, name: str) -> np.ndarray:
        """Labels of a name; HeadrestError if the set has none."""
        if name not in self.labels:
            known = ", ".join(self.labels)
            raise HeadrestError(f"no labels {name!r} in this training set: choose from {known}")
        return self.labels[name]

    def take(self, indices: np.ndarray) -> "TrainingSet":
        """Copy slices into memory, in the order of `indices`: a smaller TrainingSet."""
        labels, states = (
            {name: array[indices] for name, array in arrays.items()}
            for arrays in (self.labels, self.states)
        )
        return TrainingSet(
            self.hu[indices], labels, states, self.patient[indices], self.slice[indices]
        )


@dataclass(frozen=True)
class LabelledStudy:
    """A study for a training set."""

    patient: str  # a pseudonym: it is stored
    hu: np.ndarray  # (slices, rows, columns), in HU
    labels: dict[str, np.ndarray]  # of that shape, by name; or bool, of support alone
    # By the names of labels; default: from the labels.
    states: Mapping[str, Sequence[str] | np.ndarray] = field(default_factory=dict)


def slice_states(
    labels: np.ndarray, contact: Sequence[bool] | np.ndarray | None = None
) -> list[str]:
    """States of slices: "absent" without support; "free" or "touching", by the contact of support
    and patient (bool per slice); "unknown" if that is not given.

    >>> slice_states(np.array([[[0]], [[1]], [[1]]]), [False, False, True])
    ['absent', 'free', 'touching']
    """
    present = [bool((label == SUPPORT).any()) for label in labels]
    known = ["unknown"] * len(present)
    if contact is not None:
        known = ["touching" if touching else "free" for touching in contact]
    return [state if shown else "absent" for state, shown in zip(known, present)]


def write_training_set(
    folder: str | Path, studies: Iterable[LabelledStudy], matrix: int = 512
) -> None:
    """Write a training set: hu.npy, a file labels_NAME.npy per kind of labels, and index.csv.

    Parameters
    ----------
    folder : path, must not exist; appears only when it is complete.
    studies : iterable of LabelledStudy
        All with labels of the same names. They are written one by one, so that a generator needs
        little memory.
    matrix : int
        Other slices are padded with `FLOOR` HU or cropped around their centre.

    Raises
    ------
    HeadrestError
        If arrays of a study differ in shape or are not of slices, HU are not finite, labels have
        other values or names, there is no slice, or the folder exists or cannot be written.

    Examples
    --------
    A training set from a mask that a person corrected::

        series = read_series("scan")
        study = LabelledStudy("patient-1", series.hu, {"manual": mask})
        write_training_set("training-set", [study])
    """
    if Path(folder).exists():
        raise HeadrestError(f"{folder}: exists already; choose another folder")
    rows: list[dict] = []
    with atomic_folder(folder) as temporary, ExitStack() as stack:
        files: dict = {}
        for study in studies:
            _check_study(study)
            arrays = _fitted(study, matrix)
            if not files:
                for name, array in arrays.items():
                    files[name] = stack.enter_context(open(temporary / f"{name}.npy", "wb"))
                    _write_header(files[name], array.dtype, (0, matrix, matrix))
            if list(files) != list(arrays):
                raise HeadrestError(f"{study.patient}: other labels than the studies before")
            for name, array in arrays.items():
                files[name].write(array.tobytes())
            rows += _index_rows(study)
        if not rows:
            raise HeadrestError(f"{folder}: no slices to store")
        for name, file in files.items():
            _write_header(file, arrays[name].dtype, (len(rows), matrix, matrix))
        with open(temporary / "index.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)


def check_name(name: str) -> None:
    """Refuse a name of labels that cannot be part of the name of a file."""
    if not LABELS_NAME.fullmatch(name):
        raise HeadrestError(f"labels {name!r}: name them in letters, digits and hyphens")


def _check_study(study):
    shapes = {getattr(array, "shape", None) for array in (study.hu, *study.labels.values())}
    alike = len(shapes) == 1 and None not in shapes and study.hu.ndim == 3
    if not alike or any(len(one) != len(study.hu) for one in study.states.values()):
        reason = "HU, labels and states differ in shape, or are not arrays (slices, rows, columns)"
        raise HeadrestError(f"{study.patient}: {reason}: {shapes}")
    if not study.labels or not set(study.states) <= set(study.labels):
        raise HeadrestError(f"{study.patient}: no labels, or states of labels that are missing")
    for name, labels in study.labels.items():
        check_name(name)
        if not np.isin(labels, LABEL_VALUES).all():
            raise HeadrestError(f"{study.patient}: labels other than {LABEL_VALUES}")
    if not np.isfinite(study.hu).all():
        raise HeadrestError(f"{study.patient}: HU that are not finite")


def _fitted(study, matrix):
    hu = np.clip(np.rint(study.hu), FLOOR, 32767).astype("<i2")
    arrays = {"hu": fit_to_matrix(hu, matrix, int(FLOOR))}
    for name, labels in sorted(study.labels.items()):
        arrays[f"labels_{name}"] = fit_to_matrix(as_labels(labels), matrix, 0)
    return arrays


def as_labels(labels: np.ndarray) -> np.ndarray:
    """Labels as a new uint8 array; what a bool mask of the support leaves open is `NOT_SUPPORT`."""
    values = np.where(labels, SUPPORT, NOT_SUPPORT) if labels.dtype == bool else labels
    return values.astype(np.uint8)


def _index_rows(study):
    rows = [{"patient": study.patient, "slice": i} for i in range(len(study.hu))]
    for name, labels in sorted(study.labels.items()):
        states = study.states[name] if name in study.states else slice_states(labels)
        for row, state in zip(rows, states):
            row[f"state_{name}"] = state
    return rows


def _write_header(file, dtype, shape):
    fields = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    file.seek(0)  # NumPy pads the header so that the first axis can grow
    np.lib.format.write_array_header_1_0(file, fields)


def read_training_set(folder: str | Path) -> TrainingSet:
    """Open a training set that `write_training_set` wrote; slices are read when they are used.

    Raises a HeadrestError if files are missing or damaged.
    """
    folder = Path(folder)
    try:
        hu = np.lib.format.open_memmap(folder / "hu.npy", mode="r")
        labels: dict[str, np.ndarray] = {
            path.stem.removeprefix("labels_"): np.lib.format.open_memmap(path, mode="r")
            for path in sorted(folder.glob("labels_*.npy"))
        }
        with open(folder / "index.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        states = {name: np.array([row[f"state_{name}"] for row in rows]) for name in labels}
        patient = np.array([row["patient"] for row in rows])
        number = np.array([row["slice"] for row in rows]).astype(int)
    except (*READ_ERRORS, csv.Error) as error:
        hint = "`headrest dataset` writes one"
        raise HeadrestError(f"{folder}: no training set ({error}); {hint}") from error
    shapes = {array.shape for array in (hu, *labels.values())}
    if not labels or shapes != {(len(rows), *hu.shape[1:])}:
        raise HeadrestError(f"{folder}: slices, labels and index differ in length")
    return TrainingSet(hu, labels, states, patient, number)
