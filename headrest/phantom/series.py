"""Synthetic patients on disk: valid CT series with their truth beside them."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from tqdm.auto import tqdm

from headrest.phantom.study import sample_parameters, synthesize
from headrest.util.arrays import read_arrays
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_folder
from headrest.util.workers import run_ordered

IMPLEMENTATION = "2.25.291538721960341284512379043716925213771"
TRUTH_FILE = "truth.npz"
TRUTH = ("support", "support_share", "patient", "ignore", "contact")
"""Arrays of `Study` that are written beside the slices."""


def _uid(study, *names):
    """A UID that depends on the seed, the options drawn and the names only."""
    protocol = study.parameters["protocol"]
    source = [
        study.parameters["region"],
        study.parameters["seed"],
        protocol["matrix"],
        len(study.hu),
        study.parameters["contact_kind"],
        *names,
        *("limbs" for _ in study.parameters["limbs"]),
    ]
    return generate_uid(prefix="2.25.", entropy_srcs=[str(item) for item in source])


def _number(value):
    """A decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")[:16]


def _patient_and_study(study):
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID = "Synthetic^Phantom", f"synthetic-{study.parameters['seed']:06d}"
    ds.PatientBirthDate = ds.PatientSex = ds.ReferringPhysicianName = ds.AccessionNumber = ""
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "synthetic, no patient"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20000101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "1", 1, 1
    ds.StudyDescription, ds.SeriesDescription = "Synthetic CT", "headrest phantom"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(study, "study"), _uid(study, "series")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _uid(study, "frame"), ""
    return ds


def _scanner(study, ds):
    parameters = study.parameters
    ds.Modality, ds.SOPClassUID = "CT", CTImageStorage
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.DerivationDescription = "Computed by headrest.phantom from random parameters"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "headrest", "phantom", "1"
    ds.BodyPartExamined = "CHEST" if parameters["region"] == "chest" else "HEAD"
    ds.PatientPosition = "HFP" if parameters["protocol"]["prone"] else "HFS"
    ds.KVP, ds.ConvolutionKernel = "120", parameters["scanner"]["kernel"].upper()
    ds.GantryDetectorTilt = _number(study.tilt)
    ds.SliceThickness = _number(parameters["protocol"]["thickness_mm"])
    return ds


def _pixels(study, ds):
    unsigned = study.padding[0] is None or study.padding[0] >= -1024
    intercept = -1024 if unsigned else 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = study.hu.shape[1:]
    ds.PixelSpacing = [_number(value) for value in study.spacing_mm[1:]]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (16, 12, 11) if unsigned else (16, 16, 15)
    ds.PixelRepresentation = 0 if unsigned else 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(intercept), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "100"
    if ratio := study.parameters["protocol"]["lossy_ratio"]:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", str(ratio)
        ds.LossyImageCompressionMethod = "ISO_15444_1"
    if study.padding[1]:
        ds.add_new("PixelPaddingValue", "US" if unsigned else "SS", study.padding[0] - intercept)
    return intercept


def _image(study, index):
    """The dataset of one slice."""
    ds = _scanner(study, _patient_and_study(study))
    intercept = _pixels(study, ds)
    ds.SOPInstanceUID, ds.InstanceNumber = _uid(study, "slice", index), index + 1
    ds.ImagePositionPatient = [_number(value) for value in study.positions[index]]
    ds.ImageOrientationPatient = [_number(value) for value in study.orientation]
    ds.PixelData = (study.hu[index].astype(np.int32) - intercept).astype("<i2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        CTImageStorage,
        ds.SOPInstanceUID,
    )
    ds.file_meta.TransferSyntaxUID, ds.file_meta.ImplementationClassUID = (
        ExplicitVRLittleEndian,
        IMPLEMENTATION,
    )
    return ds


def write_dicom(study, folder):
    """Write a study as a CT series of uncompressed files, with its truth beside it.

    ``0001.dcm`` and on, one per slice; ``truth.npz`` holds support, support_share, patient, ignore
    and contact of `Study` in ascending order along the slice normal (the order of the files);
    ``parameters.json`` all sampled parameters.

    Returns
    -------
    pathlib.Path of the folder, which is written aside and then renamed, so that it is whole or not
    there.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise HeadrestError(f"{folder} is not empty: name a new folder")
    with atomic_folder(folder) as aside:
        for index in range(len(study.hu)):
            _image(study, index).save_as(aside / f"{index + 1:04d}.dcm", enforce_file_format=True)
        truth = {name: getattr(study, name) for name in TRUTH}
        np.savez_compressed(aside / TRUTH_FILE, **truth)
        (aside / "parameters.json").write_text(json.dumps(study.parameters, indent=1))
    return folder


def read_truth(folder):
    """Read the truth that `write_dicom` wrote.

    Parameters
    ----------
    folder : path

    Returns
    -------
    dict of arrays: support, support_share, patient, ignore, contact, as in `Study`.

    Raises
    ------
    HeadrestError
        Where the file cannot be read, or an older version wrote it.
    """
    path = Path(folder) / TRUTH_FILE
    truth = read_arrays(path)
    if missing := [name for name in TRUTH if name not in truth]:
        raise HeadrestError(
            f"{path}: no array {missing[0]!r}, an older version wrote this file; synthesize the "
            "patient again (python -m headrest synthesize)"
        )
    return {name: truth[name] for name in TRUTH}


def _one_patient(seed, folder, options):
    target = Path(folder) / f"synthetic-{seed:06d}"
    if not target.exists():
        return write_dicom(synthesize(seed, **options), target)
    if not _is_there(target, seed, options):
        raise HeadrestError(
            f"{target}: drawn with other options, or by another version; choose another folder"
        )
    return target


def _is_there(target, seed, options):
    """Whether a folder holds the patient that is asked for: what was drawn is all that counts."""
    try:
        held = json.loads((target / "parameters.json").read_text())
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps(sample_parameters(seed, **options)))
    return wanted.items() <= held.items() if isinstance(held, dict) else False


def synthesize_patients(folder, patients, seed, jobs=1, **options):
    """Write `patients` synthetic patients, seeds `seed` and on, one folder each; what is complete
    is not made again.

    Parameters
    ----------
    jobs : number of processes.
    options : as for `synthesize`.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    HeadrestError
        Where a folder of that name holds another patient, or cannot be written.
    """
    work = partial(_one_patient, folder=folder, options=options)
    seeds = range(seed, seed + patients)
    return list(
        tqdm(run_ordered(work, seeds, jobs), total=patients, desc="patients", unit="patient")
    )
