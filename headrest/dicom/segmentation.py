"""Write labels as a DICOM Segmentation (PS3.3 A.51) of the series in which they were found."""

import copy
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from headrest.dicom.frames import frame_source
from headrest.dicom.mask import BODY, HEADREST, MANUALLY_CORRECTED
from headrest.dicom.series import Series
from headrest.dicom.values import has_place, number
from headrest.dicom.write import (
    SERIES_NUMBER_OFFSET,
    appended,
    derived_uid,
    mask_digest,
    offset_series_number,
)
from headrest.util import __version__
from headrest.util.errors import HeadrestError, require
from headrest.util.files import atomic_file

PHYSICAL_OBJECT = ("260787004", "SCT", "Physical object")
ANATOMICAL = ("123037004", "SCT", "Anatomical Structure")
SEGMENTS = (("Support", PHYSICAL_OBJECT, HEADREST), ("Patient", ANATOMICAL, BODY))
"""Name, category (PS3.16 CID 7150) and type of the segments 1 and 2."""

ARTIFICIAL_INTELLIGENCE = ("123110", "DCM", "Artificial Intelligence")
CLUSTER_ANALYSIS = ("123107", "DCM", "Cluster Analysis")
"""Families of algorithms (PS3.16 CID 7162)."""

TYPE_2: tuple[str, ...] = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
)
TYPE_2 += ("ReferringPhysicianName", "StudyID", "StudyDate", "StudyTime")
"""Type 2 attributes of patient and study: required, may be empty."""

CHECKED_VRS = ("AS", "CS", "DA", "DS", "IS", "LO", "SH", "TM")
"""Value representations whose form is checked in the attributes of patient and study."""


def why_no_segmentation(series: Series) -> str:
    """Reason why a series cannot have a segmentation; empty where it can."""
    if not series.headers:
        return f"its source is {series.kind}, not DICOM"
    placed = all(has_place(header) for header in series.headers)
    return "" if placed else "its slices have no position"


def write_segmentation(
    series: Series,
    labels: np.ndarray,
    path: str | Path,
    parameters: str = "",
    family: tuple[str, str, str] = ARTIFICIAL_INTELLIGENCE,
    kind: str = "BINARY",
) -> None:
    """Write labels as a segmentation of support and patient. Needs highdicom.

    Frames have the native grid, also for tilted and uneven series. A binary segmentation has a
    frame per slice and segment, empty ones too: they tell slices without support from slices that
    were not processed.

    Parameters
    ----------
    series : Series
        The source. Required attributes that its headers lack are added empty.
    labels : uint8 array (slices, rows, columns): 0, 1 support, 2 patient
        Or a bool array of the support, which gives one segment.
    path : path
        Written atomically. The same labels with the same parameters get the same UIDs.
    parameters : str
        How the labels were made.
    family : (value, scheme, meaning)
        Code of the family of the algorithm.
    kind : str
        "BINARY", which every viewer reads, or "LABELMAP" (DICOM 2024c; highdicom 0.25): one frame
        per slice, whose values are the numbers of the segments.

    Raises
    ------
    HeadrestError
        Where highdicom is missing, the labels do not fit the series, slices have no position, or
        the file cannot be written.

    """
    require("highdicom")
    make = partial(_segmentation, series, labels, parameters, family, kind)
    save_object(path, series, labels, make)


def save_object(
    path: str | Path, series: Series, labels: np.ndarray, make: Callable[[], Dataset]
) -> None:
    """Make a DICOM object of the labels of a series, and write it atomically.

    Raises HeadrestError where labels do not fit, slices have no position, or `make` fails.
    """
    refusal = why_no_segmentation(series)
    if np.shape(labels) != series.stored.shape:
        refusal = f"a mask of {np.shape(labels)} for slices of {series.stored.shape}"
    if refusal:
        raise HeadrestError(f"{path}: not written: {refusal}")
    with atomic_file(path) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they may quote the patient's name
                encoded = io.BytesIO()
                made = make()
                frames = {h.SOPInstanceUID: frame_source(h) for h in series.headers}
                if any(frames.values()):
                    _refer_to_frames(made, frames)
                made.save_as(encoded, enforce_file_format=True)
            temporary.write_bytes(encoded.getvalue())
        except OSError:
            raise
        except Exception as error:  # a malformed element of the source raises any exception
            reason = f"its source makes no such object ({type(error).__name__})"
            raise HeadrestError(f"{path}: {reason}") from error


def _segmentation(series, labels, parameters, family, kind):
    from highdicom.seg import Segmentation

    sources = sound_headers(series)
    count = 1 if labels.dtype == bool else len(SEGMENTS)
    digests = [mask_digest(labels == n + 1) for n in range(count)]
    made_of = (series.fingerprint, parameters, *digests, "segmentation", kind)
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=labels.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=[_segment(n, parameters, family) for n in range(count)],
        series_instance_uid=derived_uid(*made_of, "series"),
        series_number=offset_series_number(sources[0], 2 * SERIES_NUMBER_OFFSET),
        series_description=appended(sources[0], "SeriesDescription", " ", "headrest", 64),
        sop_instance_uid=derived_uid(*made_of),
        instance_number=1,
        manufacturer="headrest",
        manufacturer_model_name="headrest",
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="HEADREST",
        content_description="Support with its partial-volume boundary; patient",
        specific_character_set="ISO_IR 192",  # highdicom copies no invalid set of the source
        omit_empty_frames=False,
    )
    dimensions = [*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence]
    for item in dimensions:  # highdicom makes this UID random
        item.DimensionOrganizationUID = derived_uid(*made_of, "dimensions")
    if "PatientName" in series.headers[0]:
        segmentation["PatientName"] = series.headers[0]["PatientName"]
    return segmentation


def _refer_to_frames(dataset, frames):
    """Replace references to single-frame headers by references to the frames they came from."""
    for element in [element for element in dataset if element.VR == "SQ"]:
        for item in element.value:
            if source := frames.get(item.get("ReferencedSOPInstanceUID")):
                item.update(source)
            _refer_to_frames(item, frames)
        if element.keyword == "ReferencedInstanceSequence":
            files = {item.ReferencedSOPInstanceUID: item for item in element.value}
            element.value = list(files.values())
            for item in element.value:
                item.pop("ReferencedFrameNumber", None)


def _segment(n, parameters, family):
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code

    name, category, kind = SEGMENTS[n]
    algorithm = AlgorithmIdentificationSequence("headrest", Code(*family), __version__, "headrest")
    algorithm[0].AlgorithmParameters = parameters
    codes = Code(*category), Code(*kind)
    return SegmentDescription(n + 1, name, *codes, made_by(parameters), algorithm)


def made_by(parameters: str) -> str:
    """SEMIAUTOMATIC for a mask that a person corrected, else AUTOMATIC."""
    return "SEMIAUTOMATIC" if parameters.startswith(MANUALLY_CORRECTED) else "AUTOMATIC"


def sound_headers(series: Series) -> list[Dataset]:
    """One valid header per slice: that of the first slice, with own position and UID.

    Patient's Name is empty in it; the attributes of `TYPE_2` exist.
    """
    first = _sound(copy.deepcopy(series.headers[0]))
    first.PatientName = ""  # highdicom logs malformed names; its caller sets it
    for keyword in TYPE_2:
        first.setdefault(keyword, "")
    method = first.get("DeidentificationMethod") or "DeidentificationMethodCodeSequence" in first
    if first.get("PatientIdentityRemoved") == "YES" and not method:
        first.DeidentificationMethod = "not recorded in the source"
    _fill_geometry(first, series)
    sources = []
    for header in series.headers:
        one = Dataset()
        one.update(first)
        for keyword in ("SOPInstanceUID", "ImagePositionPatient"):
            one[keyword] = header[keyword]
        sources.append(one)
    return sources


def _sound(header):
    """Drop elements that are damaged or would be an error in the segmentation."""
    kept = Dataset()
    for tag in header.keys():  # noqa: SIM118  (iterating a Dataset reads each element)
        try:
            _check(header[tag])
            kept.add(header[tag])
        except Exception:
            continue
    return kept


def _check(element):
    """Raise where an element of patient or study is malformed, such as a weight of "72,5"."""
    of_patient_or_study = element.tag.group == 0x0010 or element.keyword in TYPE_2
    if of_patient_or_study and element.VR in CHECKED_VRS and element.VM == 1:
        validate_value(element.VR, str(element.value), config.RAISE)
    if element.keyword == "PatientSex" and element.value not in (None, "", "M", "F", "O"):
        raise ValueError


def _fill_geometry(source, series):
    # A series has one frame of reference (PS3.3 C.7.4.1). Some files have none, or one per slice.
    frames = {header.get("FrameOfReferenceUID") or "" for header in series.headers}
    if len(frames) > 1 or "" in frames:
        source.FrameOfReferenceUID = derived_uid(series.fingerprint, "frame of reference")
    if not number(source, "SliceThickness"):
        source.SliceThickness = series.spacing_mm[0]
    if "SpacingBetweenSlices" in source:
        del source.SpacingBetweenSlices  # highdicom computes it where it is even
