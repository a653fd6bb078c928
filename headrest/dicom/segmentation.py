"""Write a mask as a DICOM Segmentation (PS3.3 A.51) of the series in which it was found."""

import copy
import io
import warnings
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from headrest.dicom.attributes import has_place, number
from headrest.dicom.frames import frame_source
from headrest.dicom.mask import MANUALLY_CORRECTED
from headrest.dicom.series import Series
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
HEADREST = ("706683002", "SCT", "Headrest")
ARTIFICIAL_INTELLIGENCE = ("123110", "DCM", "Artificial Intelligence")
CLUSTER_ANALYSIS = ("123107", "DCM", "Cluster Analysis")
"""Codes: category and type of the segment, families of algorithms (PS3.16 CID 7162)."""

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
    mask: np.ndarray,
    path: str | Path,
    parameters: str = "",
    family: tuple[str, str, str] = ARTIFICIAL_INTELLIGENCE,
) -> None:
    """Write a mask as a binary segmentation of one segment, coded as headrest. Needs highdicom.

    One frame per slice on the native grid, also for tilted and uneven series. Slices without
    support have an empty frame, which distinguishes them from slices that were not processed.

    Parameters
    ----------
    series : Series
        The source. Required attributes that its headers lack are added empty.
    mask : bool array (slices, rows, columns)
    path : path
        Written atomically. The same mask with the same parameters gets the same UIDs.
    parameters : str
        How the mask was made.
    family : (value, scheme, meaning)
        Code of the family of the algorithm.

    Raises
    ------
    HeadrestError
        Where highdicom is missing, the mask does not fit the series, slices have no position, or
        the file cannot be written.

    """
    require("highdicom")
    refusal = why_no_segmentation(series)
    if np.shape(mask) != series.stored.shape:
        refusal = f"a mask of {np.shape(mask)} for slices of {series.stored.shape}"
    if refusal:
        raise HeadrestError(f"{path}: not written: {refusal}")
    with atomic_file(path) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they may quote the patient's name
                encoded = io.BytesIO()
                _segmentation(series, mask, parameters, family).save_as(encoded)
            temporary.write_bytes(encoded.getvalue())
        except OSError:
            raise
        except Exception as error:  # a malformed element of the source raises any exception
            reason = f"its source makes no segmentation ({type(error).__name__})"
            raise HeadrestError(f"{path}: {reason}") from error


def _segmentation(series, mask, parameters, family):
    from highdicom.seg import Segmentation

    sources = _sources(series)
    made_of = (series.fingerprint, parameters, mask_digest(mask), "segmentation")
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=mask.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(parameters, family)],
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
        content_description="Patient support and its partial-volume boundary",
        specific_character_set="ISO_IR 192",  # highdicom copies no invalid set of the source
        omit_empty_frames=False,
    )
    dimensions = [*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence]
    for item in dimensions:  # highdicom makes this UID random
        item.DimensionOrganizationUID = derived_uid(*made_of, "dimensions")
    _refer_to_frames(segmentation, {h.SOPInstanceUID: frame_source(h) for h in series.headers})
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
        if element.keyword == "ReferencedInstanceSequence" and any(frames.values()):
            files = {item.ReferencedSOPInstanceUID: item for item in element.value}
            element.value = list(files.values())
            for item in element.value:
                item.pop("ReferencedFrameNumber", None)


def _segment(parameters, family):
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code

    algorithm = AlgorithmIdentificationSequence("headrest", Code(*family), __version__, "headrest")
    algorithm[0].AlgorithmParameters = parameters
    codes = Code(*PHYSICAL_OBJECT), Code(*HEADREST)
    kind = "SEMIAUTOMATIC" if parameters.startswith(MANUALLY_CORRECTED) else "AUTOMATIC"
    return SegmentDescription(1, "Headrest", *codes, kind, algorithm)


def _sources(series):
    """One header per slice for highdicom: that of the first slice with own position and UID."""
    first = _sound(copy.deepcopy(series.headers[0]))
    first.PatientName = ""  # highdicom logs malformed names; `_segmentation` sets it
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
