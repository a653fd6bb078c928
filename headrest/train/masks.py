"""A training set from scans, and the masks that people drew or corrected."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import dcmread

from headrest.clean.report import REPORT_FILE
from headrest.dicom import Series, SeriesFiles, find_series, load_series
from headrest.dicom.find import find_nifti
from headrest.dicom.header import is_nifti, quiet, text
from headrest.dicom.mask import SEGMENTATION_CLASSES, read_labels
from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, NOT_SUPPORT, PATIENT, SUPPORT
from headrest.phantom import TRUTH_FILE
from headrest.segment.morphology import partial_volume_boundary
from headrest.train.dataset import LabelledStudy, as_labels, check_name, write_training_set
from headrest.train.synthetic import SyntheticPatient, choose_patients
from headrest.util import HeadrestError, counted, progress
from headrest.util.workers import run_ordered

ENDINGS = re.compile(r"(\.nii|\.nii\.gz|\.npz|\.dcm)$", re.IGNORECASE)

MASK_WORDS = re.compile(
    r"[-_. ](mask|labels?|labelmap|seg|segmentation|support|headrest|corrected|edit(ed)?|manual)$",
    re.IGNORECASE,
)
"""Words that a mask's name may have after that of its scan."""

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
"""Patient in the names of BIDS, https://bids-specification.readthedocs.io."""

FIRST_SEED = 900_000
"""Seed of the first synthetic patient that is added; those of the pretrained network are lower."""


class Scan(NamedTuple):
    """A series, and the place below the folder of scans that names it."""

    files: SeriesFiles
    place: str

    @property
    def keys(self) -> set[str]:
        """Names by which a mask can refer to this scan."""
        return {self.files.uid, self.place, self.place.rpartition("/")[2]} - {""}


def dataset_from_masks(
    scans: str | Path,
    masks: str | Path,
    folder: str | Path,
    name: str = "manual",
    matrix: int = 512,
    synthetic: int = 200,
    on_message: Callable[[str], Any] = lambda _: None,
    jobs: int = 1,
) -> None:
    """Write a training set from scans and their masks.

    Parameters
    ----------
    scans : path of DICOM series, or of NIfTI files, searched with all subfolders.
    masks : path of NIfTI (.nii, .nii.gz), .npz, or DICOM Segmentations, likewise.
        A DICOM Segmentation names its series by UID. Other masks are named, by their file (a
        word such as "-mask" may follow) or their folder, as the Series Instance UID, the NIfTI
        file, or the folder of DICOM files of their scan. Values are 0 background, 1 support, 2
        patient, 255 ignored; a mask of one value, be it 255, is of the support alone, and its
        other voxels are background or patient. The partial-volume boundary of dense support is
        ignored. Can be the folder of scans, if `headrest synthesize` wrote it.
    folder : path of the training set, see `headrest.train.dataset.write_training_set`.
    name : str, of the labels, as `headrest train --labels` takes it.
    matrix : int, rows and columns.
    synthetic, jobs : int, synthetic patients to add, one slice each, and processes that render
        them, of the kinds that the pretrained network saw. Without them, a network that is trained
        further on few slices of one scanner forgets other scanners; with only 40, it forgets some
        (rehearsal, A. Robins, Connection Science 7, 1995).
    on_message : callable, gets one line per scan, and one about scans without a mask.

    Raises
    ------
    HeadrestError
        If a mask has no scan or several, a scan has two masks, a mask has other values or another
        geometry than its scan, or the folder exists.

    Notes
    -----
    Patients differ by Patient ID (0010,0020), or by "sub-..." as in BIDS, or by the first
    folder or file below `scans`. They are stored as patient-1, patient-2 and so on.
    """
    check_name(name)
    mask_files = _find_masks(Path(masks))
    found = _find_scans(Path(scans), {path.resolve() for path in mask_files})
    pairs = pair(found, mask_files, Path(masks))
    without = [scan.place for scan in found if scan not in pairs]
    if without:
        on_message(f"{counted(len(without), 'scan')} without a mask left out, {without[0]} first")
    write_training_set(folder, _studies(pairs, name, matrix, synthetic, on_message, jobs), matrix)


def _find_scans(folder, masks):
    """Find DICOM series, or NIfTI files where there are none; not masks and derived series."""
    contents = find_series(folder)
    if contents.broken:
        raise contents.broken[0]
    series = [one for one in contents.series if not one.derived]
    scans = [Scan(one, _place(one.files[0].parent, folder)) for one in series]
    for one in () if scans else find_nifti(folder, REPORT_FILE)[0]:
        if one.files[0].resolve() not in masks:
            scans.append(Scan(one, _place(one.files[0], folder).removesuffix("_0000")))
    if not scans:
        remedy = "masks need a folder of their own"
        raise HeadrestError(f"{folder}: no CT series and no NIfTI image of one; {remedy}")
    return scans


def _find_masks(folder):
    """Find NIfTI files, .npz files and DICOM Segmentations."""
    files = [folder] if folder.is_file() else sorted(filter(Path.is_file, folder.rglob("[!.]*")))
    masks = [p for p in files if is_nifti(p) or p.suffix.lower() == ".npz" or _references(p)]
    if not masks:
        raise HeadrestError(f"{folder}: no mask; expected NIfTI, .npz or DICOM Segmentations")
    return masks


def _references(path):
    """Series Instance UIDs that a DICOM Segmentation refers to; empty for another file."""
    try:
        with quiet():
            ds = dcmread(path, specific_tags=["SOPClassUID", "ReferencedSeriesSequence"])
        if ds.SOPClassUID in SEGMENTATION_CLASSES:
            return [str(one.SeriesInstanceUID) for one in ds.ReferencedSeriesSequence]
    except Exception:  # a file that is not DICOM, or damaged, raises any exception
        pass
    return []


def _place(path, folder):
    """Path below a folder, or that of a file, without its ending; its own name for the folder."""
    inside = path.relative_to(folder if folder.is_dir() else folder.parent).as_posix()
    return ENDINGS.sub("", inside if inside != "." else path.resolve().name)


def pair(scans: list[Scan], masks: list[Path], folder: Path) -> dict[Scan, Path]:
    """Pair each mask with the scan of its name or its reference."""
    pairs: dict[Scan, Path] = {}
    named: dict[str, list[Scan]] = {}
    for scan in scans:
        for key in scan.keys:
            named.setdefault(key, []).append(scan)
    for path in masks:
        fitting = next((named[key] for key in _mask_keys(path, folder) if key in named), [])
        if not fitting and len(scans) == len(masks) == 1:
            fitting = scans
        if len(fitting) != 1:
            several = ", ".join(scan.place for scan in fitting[:3])
            why = f"{len(fitting)} scans of its name ({several})" if fitting else "no scan of it"
            remedy = "name it as the Series Instance UID, the file or the folder of its scan"
            raise HeadrestError(f"{path}: {why}; {remedy}")
        (scan,) = fitting
        if scan in pairs:
            raise HeadrestError(f"{path}: {pairs[scan].name} is of the same scan; keep one of them")
        pairs[scan] = path
    return pairs


def _mask_keys(path, folder) -> Iterator[str]:
    """Names that the scan of a mask may have, the surest first."""
    if references := _references(path):
        yield from references
        return
    place = _place(path, folder)
    names = [place]
    while (shorter := MASK_WORDS.sub("", names[-1])) != names[-1]:
        names.append(shorter)
    above = place.rpartition("/")[0]
    yield from (*names, *(one.rpartition("/")[2] for one in names))
    yield from (above, above.rpartition("/")[2])


def _studies(pairs, name, matrix, synthetic, on_message, jobs):
    patients: dict[Any, str] = {}
    for scan, path in progress(pairs.items(), "scans", unit="scan"):
        series = load_series(scan.files)
        labels = _without_boundary(label_values(read_labels(path, series), path), series)
        patient = patients.setdefault(_patient(scan, series), f"patient-{len(patients) + 1}")
        shown = int((labels == SUPPORT).any((1, 2)).sum())
        cropped = max(series.stored.shape[1:]) > matrix
        about = f"{scan.place}, {counted(len(series), 'slice')}, {shown} with support"
        on_message(f"{patient}: {about}{f', cropped to {matrix} x {matrix}' * cropped}")
        yield LabelledStudy(patient, series.hu, {name: labels})
    if len(patients) + synthetic < 2:
        on_message("one patient: training needs two or more, one of them held out")
    chosen = choose_patients(synthetic, FIRST_SEED)
    rendered = run_ordered(partial(SyntheticPatient.render, matrix=matrix), chosen, jobs)
    added = progress(rendered, "synthetic patients", synthetic, unit="patient")
    for study, one in zip(added, chosen):
        yield LabelledStudy(one.name, study.hu, {name: study.labels})


def _without_boundary(labels, series):
    """Ignore the partial-volume boundary of dense support, which `clean` adds to its masks: from
    synthetic patients, networks learn the support without it."""
    labels = as_labels(labels)
    for label, hu in zip(labels, series.hu):
        mask, near = label == SUPPORT, (hu, series.spacing_mm[1:], DENSE_HU)
        label[mask & partial_volume_boundary(mask & (hu > DENSE_HU), *near)] = IGNORE_LABEL
    return labels


def _patient(scan, series: Series):
    """Identify the patient of a series; stays in memory."""
    if series.headers and (identifier := text(series.headers[0], "PatientID")):
        return "PatientID", identifier
    subject = SUBJECT.search(scan.place)
    return "place", subject[0] if subject else scan.place.partition("/")[0]


def label_values(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Labels to train on, from the values of a file: uint8 array with 0 background, 1 support,
    2 patient and 255 ignored; or bool array of the support, where the values are 0 and one other,
    unless that is 2.

    >>> label_values(np.array([0, 7]), "mask.nii"), label_values(np.array([0., 1, 2]), "mask.nii")
    (array([False,  True]), array([0, 1, 2], dtype=uint8))
    """
    expected = "expected 1 support, 2 patient, 255 ignored"
    if values.dtype.kind not in "biuf":
        raise HeadrestError(f"{path}: labels of {values.dtype}; {expected}")
    present = np.unique(values[values != 0])
    if len(present) <= 1 and PATIENT not in present and not np.isnan(present).any():
        return values != 0
    known = [SUPPORT, PATIENT, IGNORE_LABEL] + [NOT_SUPPORT] * (Path(path).name == TRUTH_FILE)
    if not np.isin(present, known).all():
        shown = ", ".join(f"{value:g}" for value in present[:5])
        raise HeadrestError(f"{path}: labels {shown}; {expected}")
    return values.astype(np.uint8)
