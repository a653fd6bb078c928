"""Series with a known truth: synthetic patients, and real scans that have a reference."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.dicom import find_series, load_series, read_series
from headrest.dicom.series import Series
from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, PATIENT, SUPPORT
from headrest.phantom import read_truth
from headrest.segment.morphology import ABSENT, FREE, TOUCHING
from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError

LABEL_OUTSIDE, LABEL_PATIENT, LABEL_UNKNOWN = 0, 1, 2
"""Labels of a reference, see data/reference."""


@dataclass(frozen=True)
class Case:
    """A series with a known truth; masks are bool arrays (slices, rows, columns).

    Voxels in which neither support nor patient fills half are not `known`, as in the references.
    """

    name: str
    series: Series
    support: np.ndarray  # known voxels above `DENSE_HU` HU
    patient: np.ndarray  # above `DENSE_HU` HU
    known: np.ndarray  # voxels whose class is known
    groups: np.ndarray  # str array (slices,), "free", "touching" or "absent"
    kind: str = ""  # how a synthetic head meets its support


def read_patient(folder: str | Path) -> Case:
    """Read a synthetic patient that `headrest.phantom.write_dicom` wrote.

    Raises
    ------
    HeadrestError
        Where the slices or their truth cannot be read.
    """
    folder = Path(folder)
    series, truth = read_series(folder), read_truth(folder)
    parameters = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
    labels, solid = truth["labels"], series.hu > DENSE_HU
    support, patient = (labels == SUPPORT) & solid, (labels == PATIENT) & solid
    groups = np.where(truth["contact"], TOUCHING, FREE)
    groups[~support.any((1, 2))] = ABSENT
    known = labels != IGNORE_LABEL
    return Case(folder.name, series, support, patient, known, groups, parameters["contact_kind"])


def read_scan(folder: str | Path, reference: str | Path) -> Case:
    """Read a real scan that has a reference.

    Parameters
    ----------
    folder : path, searched with all its subfolders for the series with as many slices as the
        reference.
    reference : path of an .npz file of data/reference.

    Returns
    -------
    Case. Its slices are "free" or "absent": a reference does not say where the support touches.

    Raises
    ------
    HeadrestError
        Where no series fits, or several do.
    """
    label, tight = read_arrays(reference, ("label", "label_tight")).values()
    fitting = [found for found in find_series(folder).series if len(found.files) == len(label)]
    if len(fitting) != 1:
        raise HeadrestError(f"{folder}: {len(fitting)} series of {len(label)} slices, not one")
    series = load_series(fitting[0])
    if series.hu.shape != label.shape:
        raise HeadrestError(f"{folder}: {series.hu.shape}, but {reference} has {label.shape}")
    solid = series.hu > DENSE_HU
    support, patient = (label == LABEL_OUTSIDE) & solid, (tight == LABEL_PATIENT) & solid
    groups = np.where(support.any((1, 2)), FREE, ABSENT)
    known = label != LABEL_UNKNOWN
    return Case(Path(reference).stem, series, support, patient, known, groups)
