"""Write labels as a DICOM Segmentation (PS3.3 A.51) of the series in which they were found."""

import copy
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage
from pydicom.valuerep import DSfloat, validate_value

from headrest.dicom import write
from headrest.dicom.header import drop_private_elements, named_errors, number, text
from headrest.dicom.mask import BODY, HEADREST, LABEL_MAP_STORAGE, MANUALLY_CORRECTED
from headrest.dicom.series import Series, check_shape
from headrest.dicom.write import code, item, mask_digest, reference
from headrest.util import HeadrestError, __version__
from headrest.util.files import atomic_file

PHYSICAL_OBJECT = ("260787004", "SCT", "Physical object")
ANATOMICAL = ("123037004", "SCT", "Anatomical Structure")
SEGMENTS = (("Support", PHYSICAL_OBJECT, HEADREST), ("Patient", ANATOMICAL, BODY))
BACKGROUND_SEGMENT = ("Background", *[("125040", "DCM", "Background")] * 2)
"""Name, category (PS3.16 CID 7150) and type of the segments 1 and 2, and of 0 in a label map."""

DIMENSIONS = (  # attribute and functional group that number the frames; a label map lacks the first
    ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
    ("ImagePositionPatient", "PlanePositionSequence"),
)

ARTIFICIAL_INTELLIGENCE = ("123110", "DCM", "Artificial Intelligence")  # families of algorithms
CLUSTER_ANALYSIS = ("123107", "DCM", "Cluster Analysis")  # (PS3.16 CID 7162)

TYPE_2: tuple[str, ...] = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID")
TYPE_2 += ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
TYPE_2 += ("PositionReferenceIndicator",)
"""Type 2 attributes of patient, study and frame of reference: required, may be empty."""

COPIED: tuple[str, ...] = ("StudyInstanceUID", "StudyDescription", "FrameOfReferenceUID")
COPIED += ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
COPIED_GROUPS = (0x0010, 0x0012)
"""Attributes of the source beside `TYPE_2`, and groups of the patient and the clinical trial."""

EVEN_MM = 0.01  # distances of slices that differ by less are equal: positions have few decimals
CHECKED_VRS = ("AS", "CS", "DA", "DS", "IS", "LO", "SH", "TM")  # of patient and study


def why_no_segmentation(series: Series) -> str:
    """Reason why a series cannot have a segmentation; empty where it can."""
    if not series.headers:
        return f"its source is {series.kind}, not DICOM"
    lost = "" if text(series.headers[0], "StudyInstanceUID") else "StudyInstanceUID is missing"
    return lost or series.why_not_placed


def write_segmentation(
    series: Series,
    labels: np.ndarray,
    path: str | Path,
    parameters: str = "",
    family: tuple[str, str, str] = ARTIFICIAL_INTELLIGENCE,
    kind: str = "BINARY",
) -> None:
    """Write labels as a segmentation of support and patient.

    Frames have the native grid, also for tilted and uneven series. A binary segmentation has a
    frame per slice and segment, empty ones too: they tell slices without support from slices that
    were not processed.

    Parameters
    ----------
    series : Series, the source. Required attributes that its headers lack are added empty.
    labels : uint8 array (slices, rows, columns): 0, 1 support, 2 patient
        Or a bool array of the support, which gives one segment.
    path : path, written atomically. The same labels and parameters get the same UIDs.
    parameters : str, how the labels were made.
    family : (value, scheme, meaning), code of the family of the algorithm.
    kind : str
        "BINARY", which every viewer reads, or "LABELMAP" (DICOM 2024c): one frame per slice, whose
        values are the numbers of the segments.

    Raises
    ------
    HeadrestError
        Where the labels do not fit the series, slices have no position, or the file cannot be
        written.
    """
    if kind not in ("BINARY", "LABELMAP"):
        raise HeadrestError(f"{path}: not written: kind {kind}: expected BINARY or LABELMAP")
    make = partial(_segmentation, series, labels, parameters, family, kind)
    save_object(path, series, labels, make)


def save_object(
    path: str | Path, series: Series, labels: np.ndarray, make: Callable[[], Dataset]
) -> None:
    """Make a DICOM object of labels, and write it atomically; HeadrestError where that fails."""
    check_shape(labels, series, f"{path}: not written: ")
    if np.max(labels) > len(SEGMENTS):
        raise HeadrestError(f"{path}: not written: a label {np.max(labels)}: expected 0, 1 or 2")
    if refusal := why_no_segmentation(series):
        raise HeadrestError(f"{path}: not written: {refusal}")
    reason = "its source makes no such object"
    with atomic_file(path) as temporary, named_errors(path, reason, passed=(OSError,)):
        encoded = io.BytesIO()
        make().save_as(encoded, enforce_file_format=True)
        temporary.write_bytes(encoded.getvalue())


def _segmentation(series, labels, parameters, family, kind):
    binary, source = kind == "BINARY", sound_header(series)
    count = 1 if labels.dtype == bool else len(SEGMENTS)
    masks = [labels == n + 1 for n in range(count)]
    made_of = (series.fingerprint, parameters, *map(mask_digest, masks), "segmentation", kind)
    bits = 1 if binary else 8
    ds = new_object(
        source,
        made_of,
        ExplicitVRLittleEndian,
        "Content",
        SOPClassUID=SegmentationStorage if binary else LABEL_MAP_STORAGE,
        SeriesNumber=write.offset_series_number(source, 2 * write.SERIES_NUMBER_OFFSET),
        Modality="SEG",
        ImageType=["DERIVED", "PRIMARY"],
        DeviceSerialNumber=__version__,
        ContentLabel="HEADREST",
        ContentDescription="Support with its partial-volume boundary; patient",
        ContentCreatorName="",
        LossyImageCompression="00",
        SegmentationType=kind,
        SegmentsOverlap="NO",
        SegmentSequence=_segments(count, binary, parameters, family),
        Rows=labels.shape[1],
        Columns=labels.shape[2],
        NumberOfFrames=len(labels) * (count if binary else 1),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelRepresentation=0,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    copied = {tag_for_keyword(keyword) for keyword in (*TYPE_2, *COPIED)}
    kept = [tag for tag in source.keys() if tag in copied or tag.group in COPIED_GROUPS]  # noqa: SIM118
    ds.update({tag: source[tag] for tag in kept})
    _describe_frames(ds, series, source, range(1, count + 1) if binary else [0])
    # Frames of one bit follow each other without padding (PS3.5 8.1.1).
    pixels = np.packbits(masks, bitorder="little") if binary else labels.astype(np.uint8)
    ds.add_new("PixelData", "OB", pixels.tobytes() + bytes(pixels.size % 2))
    return ds


def new_object(
    source: Dataset, made_of: Sequence[str], syntax: UID, made: str, **elements: object
) -> Dataset:
    """Make an object in a series of its own, whose UIDs follow from `made_of`."""
    ds = item(
        SpecificCharacterSet="ISO_IR 192",
        SOPInstanceUID=write.derived_uid(*made_of),
        SeriesInstanceUID=write.derived_uid(*made_of, "series"),
        SeriesDescription=write.appended(source, "SeriesDescription", " ", "headrest", 64),
        InstanceNumber=1,
        Manufacturer="headrest",
        ManufacturerModelName="headrest",
        SoftwareVersions=__version__,
        **elements,
    )
    write.set_times(ds, datetime.now(), "InstanceCreation", made)
    ds.file_meta = write.file_meta(syntax)
    return ds


def _segments(count, binary, parameters, family):
    algorithm = item(
        AlgorithmFamilyCodeSequence=[code(*family)],
        AlgorithmName="headrest",
        AlgorithmVersion=__version__,
        AlgorithmSource="headrest",
        AlgorithmParameters=parameters,
    )
    segments = [
        item(
            SegmentNumber=n,
            SegmentLabel=name,
            SegmentedPropertyCategoryCodeSequence=[code(*category)],
            SegmentedPropertyTypeCodeSequence=[code(*kind)],
            SegmentAlgorithmType=made_by(parameters),
            SegmentAlgorithmName="headrest",
        )
        for n, (name, category, kind) in enumerate((BACKGROUND_SEGMENT, *SEGMENTS[:count]))
    ]
    for segment in segments[1:]:
        segment.SegmentationAlgorithmIdentificationSequence = [algorithm]
    return segments[binary:]


def _describe_frames(ds, series, source, segments):
    """Add references, functional groups and dimensions; segment 0: frames hold all of them."""
    files = {one.ReferencedSOPInstanceUID: one for one in map(reference, series.headers)}
    for one in files.values():
        one.pop("ReferencedFrameNumber", None)
    own = item(SeriesInstanceUID=series.uid, ReferencedInstanceSequence=list(files.values()))
    ds.ReferencedSeriesSequence = [own]
    measures = item(SliceThickness=source.SliceThickness, PixelSpacing=source["PixelSpacing"])
    if len(series) > 1 and np.ptp(series.gaps_mm) < EVEN_MM:
        measures.SpacingBetweenSlices = DSfloat(float(np.mean(series.gaps_mm)), auto_format=True)
    orientation = item(ImageOrientationPatient=source["ImageOrientationPatient"])
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ds.SharedFunctionalGroupsSequence = [shared]
    done, frames = [code("113076", "DCM", "Segmentation")], []
    for n, (i, header) in product(segments, enumerate(series.headers, 1)):
        images = [write.source_image(header)]
        frame = item(
            FrameContentSequence=[item(DimensionIndexValues=[n, i] if n else [i])],
            DerivationImageSequence=[item(SourceImageSequence=images, DerivationCodeSequence=done)],
            PlanePositionSequence=[item(ImagePositionPatient=header["ImagePositionPatient"])],
        )
        if n:
            frame.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=n)]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    uid = write.derived_uid(ds.SOPInstanceUID, "dimensions")
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=uid)]
    ds.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=uid,
            DimensionIndexPointer=tag_for_keyword(attribute),
            FunctionalGroupPointer=tag_for_keyword(group),
        )
        for attribute, group in DIMENSIONS[not all(segments) :]
    ]


def made_by(parameters: str) -> str:
    """SEMIAUTOMATIC for a mask that a person corrected, else AUTOMATIC."""
    return "SEMIAUTOMATIC" if parameters.startswith(MANUALLY_CORRECTED) else "AUTOMATIC"


def sound_header(series: Series) -> Dataset:
    """Keep the valid elements of the first header; those of `TYPE_2` exist."""
    first = _sound(copy.deepcopy(series.headers[0]))
    drop_private_elements(first)
    for keyword in TYPE_2:
        first.setdefault(keyword, "")
    method = first.get("DeidentificationMethod") or "DeidentificationMethodCodeSequence" in first
    if first.get("PatientIdentityRemoved") == "YES" and not method:
        first.DeidentificationMethod = "not recorded in the source"
    # A series has one frame of reference (PS3.3 C.7.4.1). Some files have none, or one per slice.
    frames = {header.get("FrameOfReferenceUID") or "" for header in series.headers}
    if len(frames) > 1 or "" in frames:
        first.FrameOfReferenceUID = write.derived_uid(series.fingerprint, "frame of reference")
    if not number(first, "SliceThickness"):
        first.SliceThickness = series.spacing_mm[0]
    return first


def _sound(header):
    """Drop elements that are damaged or would be an error in the segmentation."""
    kept = Dataset()
    for tag in header.keys():  # noqa: SIM118  (iterating a Dataset reads each element)
        with suppress(Exception):  # a damaged element raises any exception
            _check(element := header[tag])
            for one in element.value if element.VR == "SQ" else ():
                one.decode()  # raw bytes would keep the character set of the source
            kept.add(element)
    return kept


def _check(element):
    """Raise where an element of patient or study is malformed, such as a weight of "72,5"."""
    of_patient_or_study = element.tag.group == 0x0010 or element.keyword in TYPE_2
    if of_patient_or_study and element.VR in CHECKED_VRS and element.VM == 1:
        validate_value(element.VR, str(element.value), config.RAISE)
    if element.keyword == "PatientSex" and element.value not in (None, "", "M", "F", "O"):
        raise ValueError
