"""Series whose truth is known: synthetic patients, and real scans that have a reference."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.dicom import find_series, load_series, read_series
from headrest.dicom.series import Series
from headrest.evaluate.score import OUTSIDE, PATIENT, UNKNOWN
from headrest.hounsfield import SUPPORT_HU
from headrest.phantom import ambiguous_voxels, read_truth
from headrest.segment.morphology import ABSENT, FREE, TOUCHING
from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError


@dataclass(frozen=True)
class Case:
    """A series whose truth is known.

    Attributes
    ----------
    name : str
    series : Series
    device, patient : bool array (slices, rows, columns), both above `SUPPORT_HU` HU.
    judged : bool array of that shape, where the truth is known. Nobody can tell what a voxel is
        that a support fills by less than half, and the patient too: in references it is unknown.
    groups : str array (slices,), "free", "touching" or "absent".
    kind : str, how a synthetic head meets its support; empty where nobody knows.
    """

    name: str
    series: Series
    device: np.ndarray
    patient: np.ndarray
    judged: np.ndarray
    groups: np.ndarray
    kind: str = ""


def read_patient(folder):
    """Read a synthetic patient.

    Parameters
    ----------
    folder : path, as `headrest.phantom.write_dicom` left it.

    Returns
    -------
    Case

    Raises
    ------
    HeadrestError
        Where the slices or their truth cannot be read.
    """
    folder = Path(folder)
    series, truth = read_series(folder), read_truth(folder)
    drawn = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
    groups = np.where(truth["contact"], TOUCHING, FREE)
    groups[~truth["support"].any((1, 2))] = ABSENT
    unsure = ambiguous_voxels(truth["support_share"], truth["support"], truth["patient"])
    judged, solid = ~truth["ignore"] & ~unsure, series.hu > SUPPORT_HU
    device, patient = truth["support"] & judged & solid, truth["patient"] & solid
    return Case(folder.name, series, device, patient, judged, groups, drawn["contact_kind"])


def read_scan(folder, reference):
    """Read a real scan that has a reference.

    Parameters
    ----------
    folder : path, walked to the bottom.
    reference : path of an .npz file of data/reference.

    Returns
    -------
    Case, of the one series below the folder with as many slices as the reference. Whether its
    support touches is not known: its slices are "free" or "absent".

    Raises
    ------
    HeadrestError
        Where no series fits, or several do.
    """
    name, labels = Path(reference).stem, read_arrays(reference, ("label", "label_tight"))
    label, tight = labels["label"], labels["label_tight"]
    fitting = [found for found in find_series(folder).series if len(found.files) == len(label)]
    if len(fitting) != 1:
        raise HeadrestError(f"{folder}: {len(fitting)} series of {len(label)} slices, not one")
    series = load_series(fitting[0])
    if series.hu.shape != label.shape:
        raise HeadrestError(f"{folder}: {series.hu.shape}, but {name} has {label.shape}")
    solid = series.hu > SUPPORT_HU
    device, patient = (label == OUTSIDE) & solid, (tight == PATIENT) & solid
    groups = np.where(device.any((1, 2)), FREE, ABSENT)
    return Case(name, series, device, patient, label != UNKNOWN, groups)
