"""A small valid CT slice that tests change, and the folder of the real scans."""

import os
import re
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, generate_uid
from pydicom.uid import ExplicitVRLittleEndian as EXPLICIT

from headrest import HeadrestError

PYDICOM = Path(pydicom.data.__file__).parent / "test_files"
CANARY = "CANARY"  # in every name and number of the patient; must never appear in a message
SIDE = 64
collect_ignore = ["faults.py", "fuzz.py"] if os.name == "nt" else []
"""Scripts that cannot be imported under Windows; their tests are skipped there."""


def uid(*names):
    """Make a reproducible UID."""
    return generate_uid(entropy_srcs=["tests", *map(str, names)])


def head_hu():
    """HU (64, 64) of a head with skull, and a sheet of plastic 28 mm behind it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(y - 26, x - 32)
    hu = np.full((SIDE, SIDE), -1000)
    hu[radius < 20] = 1000
    hu[radius < 18] = 40 + (x + y)[radius < 18] % 5
    hu[54:56, 10:54] = 120
    return hu


def make_slice(number=1, hu=None, stored=None, **changes):
    """Make a valid CT slice with changed attributes.

    None deletes an attribute; bytes are its raw value in the file, legal or not. Stored values are
    computed from `hu`, unless given as `stored`.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPInstanceUID = uid("slice", number)
    syntax = ds.file_meta.TransferSyntaxUID = changes.pop("TransferSyntaxUID", EXPLICIT)
    ds.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian, "iso8859")
    for keyword, value in {**_attributes(number), **changes}.items():
        if isinstance(value, bytes):
            tag, vr = Tag(tag_for_keyword(keyword)), dictionary_VR(keyword)
            ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        elif value is not None:
            setattr(ds, keyword, value)
    if stored is None:
        given = {k: v for k, v in changes.items() if isinstance(v, (int, float))}  # some are broken
        slope, intercept = given.get("RescaleSlope") or 1, given.get("RescaleIntercept", -1024)
        stored = np.round(((head_hu() if hu is None else hu) - intercept) / slope)
    if "PixelData" not in changes:
        kind = "i2" if changes.get("PixelRepresentation") == 1 else "u2"
        order = "<" if syntax.is_little_endian else ">"
        words = np.asarray(stored).astype(np.int64).astype(order + kind)
        ds.add_new("PixelData", "OW", words.tobytes())
        for keyword, size in zip(("Rows", "Columns"), words.shape):
            if keyword not in changes:
                setattr(ds, keyword, size)
    return ds


def _attributes(number):
    place = [-112, -112, 5.0 * number]
    return {
        **dict.fromkeys(("StudyDate", "ContentDate"), "20200101"),
        **dict.fromkeys(("StudyTime", "ContentTime"), "120000"),
        **dict.fromkeys(("AccessionNumber", "PositionReferenceIndicator", "Laterality"), ""),
        **dict.fromkeys(("PatientBirthDate", "PatientSex"), ""),
        **dict(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], SOPClassUID=CTImageStorage),
        **dict(SOPInstanceUID=uid("slice", number), StudyInstanceUID=uid("study")),
        **dict(SeriesInstanceUID=uid("series"), FrameOfReferenceUID=uid("frame")),
        **dict(Modality="CT", Manufacturer="Maker", KVP=120, SeriesDescription="Head"),
        **dict(ReferringPhysicianName=f"{CANARY}^DOCTOR", PatientName=f"{CANARY}^NAME"),
        **dict(PatientID=f"{CANARY}-ID", StudyID="1", SeriesNumber=2, AcquisitionNumber=1),
        **dict(InstanceNumber=number, PatientPosition="HFS", ImagePositionPatient=place),
        **dict(ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[3.5, 3.5]),
        **dict(SliceThickness=5, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"),
        **dict(BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0),
        **dict(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU"),
    }


def write_slice(path, ds):
    """Write a slice as a DICOM file with its file meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def make_series(folder, n=3, **changes):
    """Write n slices 5 mm apart; changes that are functions get the slice number."""
    return [
        write_slice(
            Path(folder, f"{number:02d}.dcm"),
            make_slice(number, **{k: v(number) if callable(v) else v for k, v in changes.items()}),
        )
        for number in range(1, n + 1)
    ]


def refused(words, call, *given, **options):
    """Call a function, and return the text of its refusal, which must not name the patient."""
    with pytest.raises(HeadrestError, match=words) as caught:
        call(*given, **options)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def process_mb(field="VmHWM"):
    """Memory of this process: VmRSS now, VmHWM at its peak (ru_maxrss begins with the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


@pytest.fixture(scope="session")
def scans():
    """Folder of the real scans, which are too large for the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "scans"
    folder = Path(os.environ.get("HEADREST_SCANS", beside))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}; name their folder in HEADREST_SCANS")
    return folder
