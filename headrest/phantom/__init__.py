"""Synthetic head CT on a support, with its exact truth; on disk, a valid CT series per patient."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from headrest.phantom.chest_limbs import limb_center
from headrest.phantom.ranges import LIVING
from headrest.phantom.study import Study, render, sample_parameters, synthesize
from headrest.phantom.supports import CATALOGUE as _CATALOGUE
from headrest.util import HeadrestError, progress
from headrest.util.files import atomic_folder, read_arrays
from headrest.util.workers import run_ordered

SUPPORTS = tuple(_CATALOGUE)

__all__ = [
    "LIVING",
    "SUPPORTS",
    "Study",
    "limb_center",
    "read_truth",
    "render",
    "sample_parameters",
    "synthesize",
    "synthesize_patients",
    "write_dicom",
]

# Implementation Class UID (0002,0012), derived from a random UUID (PS3.5 B.2).
PHANTOM_IMPLEMENTATION_UID = UID("2.25.291538721960341284512379043716925213771")
TRUTH_FILE, PARAMETERS_FILE = "truth.npz", "parameters.json"
TRUTH_ARRAYS = ("labels", "contact")  # of `Study`, written beside the slices


def _uid(study, *names):
    """UID of a part of a study; another one if any parameter differs."""
    source = [json.dumps(study.parameters), *map(str, names)]
    return generate_uid(prefix="2.25.", entropy_srcs=source)


def _number(value):
    """A decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")[:16]


def _slice_dataset(study, index):
    p, ds = study.parameters, Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID = "Synthetic^Phantom", f"synthetic-{p['seed']:06d}"
    ds.PatientBirthDate = ds.PatientSex = ds.ReferringPhysicianName = ds.AccessionNumber = ""
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "synthetic, no patient"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20000101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "1", 1, 1
    ds.StudyDescription, ds.SeriesDescription = "Synthetic CT", "headrest phantom"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(study, "study"), _uid(study, "series")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid(study, "frame"), ""
    ds.Modality, ds.SOPClassUID = "CT", CTImageStorage
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.DerivationDescription = "Computed by headrest.phantom from random parameters"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "headrest", "phantom", "1"
    ds.BodyPartExamined = "CHEST" if p["region"] == "chest" else "HEAD"
    ds.PatientPosition = "HFP" if p["protocol"]["prone"] else "HFS"
    ds.KVP, ds.ConvolutionKernel = "120", p["scanner"]["kernel"].upper()
    ds.GantryDetectorTilt = _number(p["protocol"]["tilt"])
    ds.SliceThickness = _number(p["protocol"]["thickness_mm"])
    ds.SOPInstanceUID, ds.InstanceNumber = _uid(study, "slice", index), index + 1
    ds.ImagePositionPatient = [_number(value) for value in study.positions[index]]
    ds.ImageOrientationPatient = [_number(value) for value in study.orientation]
    _set_pixels(ds, study, index)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = PHANTOM_IMPLEMENTATION_UID
    return ds


def _set_pixels(ds, study, index):
    """Unsigned 12 bits where the padding allows it, else signed 16 bits."""
    protocol = study.parameters["protocol"]
    value = -1024 if protocol["padding"] == "none" else int(protocol["padding"])
    unsigned, intercept = (True, -1024) if value >= -1024 else (False, 0)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = study.hu.shape[1:]
    ds.PixelSpacing = [_number(mm) for mm in study.spacing_mm[1:]]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (16, 12, 11) if unsigned else (16, 16, 15)
    ds.PixelRepresentation = 0 if unsigned else 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(intercept), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "100"
    if ratio := protocol["lossy_ratio"]:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", str(ratio)
        ds.LossyImageCompressionMethod = "ISO_15444_1"
    if protocol["tagged"]:
        ds.add_new("PixelPaddingValue", "US" if unsigned else "SS", value - intercept)
    ds.PixelData = (study.hu[index].astype(np.int32) - intercept).astype("<i2").tobytes()


def write_dicom(study: Study, folder: str | Path) -> Path:
    """Write a study as an uncompressed CT series, with its truth.

    Parameters
    ----------
    study : Study
    folder : new or empty folder, gets 0001.dcm and on, one per slice in ascending order along the
        slice normal; truth.npz with labels and contact of `Study`; and parameters.json.

    Returns
    -------
    Path of the folder, which appears only when it is complete. Raises a HeadrestError if it is not
    empty or cannot be written.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise HeadrestError(f"{folder} is not empty: name a new folder")
    with atomic_folder(folder) as temporary:
        for index in range(len(study.hu)):
            path = temporary / f"{index + 1:04d}.dcm"
            _slice_dataset(study, index).save_as(path, enforce_file_format=True)
        truth = {name: getattr(study, name) for name in TRUTH_ARRAYS}
        np.savez_compressed(temporary / TRUTH_FILE, **truth)
        (temporary / PARAMETERS_FILE).write_text(json.dumps(study.parameters, indent=1))
    return folder


def read_truth(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the labels and contact of `Study` that `write_dicom` wrote; HeadrestError if the file
    cannot be read, or an older version wrote it."""
    return read_arrays(Path(folder) / TRUTH_FILE, TRUTH_ARRAYS)


def synthesize_patients(
    folder: str | Path, patients: int, seed: int, jobs: int = 1, **options: Any
) -> list[Path]:
    """Write synthetic patients, one folder each; complete ones are kept.

    Parameters
    ----------
    patients, seed : their number, and the seed of the first; the others follow.
    jobs : number of processes.
    **options : for `synthesize`.

    Returns
    -------
    list of the folders. Raises a HeadrestError if a folder of that name contains another patient,
    or cannot be written.
    """
    work = partial(_write_patient, folder=Path(folder), options=options)
    results = run_ordered(work, range(seed, seed + patients), jobs)
    return list(progress(results, "synthetic patients", patients, unit="patient"))


def _write_patient(seed, folder, options):
    target = folder / f"synthetic-{seed:06d}"
    if not target.exists():
        return write_dicom(synthesize(seed, **options), target)
    try:
        existing = json.loads((target / PARAMETERS_FILE).read_text())
    except (OSError, ValueError):
        existing = None
    wanted = json.loads(json.dumps(sample_parameters(seed, **options)))
    if not isinstance(existing, dict) or not wanted.items() <= existing.items():
        reason = "made with other options or by another version; choose another folder"
        raise HeadrestError(f"{target}: {reason}")
    return target
