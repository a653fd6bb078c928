"""Which objects are CT images, and multi-frame ones as single-frame headers (PS3.3 C.7.6.16)."""

import copy
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import numpy as np
from pydicom import Dataset, uid
from pydicom.datadict import dictionary_VR
from pydicom.encaps import encapsulate, generate_frames

from headrest.dicom.geometry import slice_normal
from headrest.dicom.header import PLACE, number, numbers, text, value_of
from headrest.util import HeadrestError

MAX_FRAMES = 4096  # of one file: 2 GiB of slices of 512 x 512
ENHANCED_CLASSES = (uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
CT_CLASSES = {uid.CTImageStorage, *ENHANCED_CLASSES}
CT_KEYWORDS = ["RescaleSlope", "RescaleIntercept", "PixelSpacing", *dict(PLACE)]
"""Attributes that an image of Modality CT with an anonymised class must have."""

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
OFFSET_TABLES = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
FRAME_KEYWORDS = [*CT_KEYWORDS, "NumberOfFrames", "SpacingBetweenSlices", "GridFrameOffsetVector"]
FRAME_KEYWORDS += GROUPS
"""Attributes that `identify_ct` and `single_frames` need."""

MULTI_FRAME_ONLY = ["NumberOfFrames", "GridFrameOffsetVector", *GROUPS, "FrameIncrementPointer"]
MULTI_FRAME_ONLY += ["DimensionOrganizationSequence", "DimensionOrganizationType"]
MULTI_FRAME_ONLY += ["DimensionIndexSequence", "ConcatenationUID", "ConcatenationFrameOffsetNumber"]
MULTI_FRAME_ONLY += ["SOPInstanceUIDOfConcatenationSource", "InConcatenationNumber", "PixelData"]
MULTI_FRAME_ONLY += ["InConcatenationTotalNumber", *OFFSET_TABLES]
"""Attributes that a single-frame image does not have."""

REFERENCES = ["ReferencedImageSequence", "DerivationImageSequence"]
REFERENCES += ["ConversionSourceAttributesSequence", "RealWorldValueMappingSequence"]
"""Functional groups that are no attributes of the frame."""

SINGLE_FRAME_KEYWORD = {  # of an attribute of a frame
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "ExposureTimeInms": "ExposureTime",
    "XRayTubeCurrentInmA": "XRayTubeCurrent",
    "ExposureInmAs": "Exposure",
}


def identify_ct(header: Dataset) -> tuple[str, str]:
    """Class of a CT image and a warning about it; or no class, and the reason to skip the image."""
    given = value_of(header, "SOPClassUID")
    declared = value_of(header.file_meta, "MediaStorageSOPClassUID")
    if given in CT_CLASSES:
        return given, ""
    if not given and declared in CT_CLASSES:
        return declared, "SOPClassUID is missing: taken from the file meta information"
    sop_class = given or declared or uid.UID("")
    capture = sop_class == uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    if capture and "PerFrameFunctionalGroupsSequence" in header:
        return sop_class, "multi-frame capture with positions: read as CT Image"
    known = not sop_class.is_private and sop_class.name != sop_class
    if not known and value_of(header, "Modality") == "CT" and all(k in header for k in CT_KEYWORDS):
        return uid.CTImageStorage, "SOPClassUID is not a class of the Standard: read as CT Image"
    return "", f"{sop_class.name if known else 'unknown object'}, not a CT image"


def frame_count(header: Dataset) -> int:
    """Number of Frames (0028,0008) of a multi-frame image; 0 for a single-frame image."""
    count = number(header, "NumberOfFrames") or 0
    several = count > 1 or text(header, "SOPClassUID") in ENHANCED_CLASSES
    return int(count) if several and count >= 1 else 0


def single_frames(header: Dataset) -> Iterator[Dataset]:
    """Make the header of a single-frame CT Image for each frame, with its pixels if there are any.

    Attributes of the functional groups move to the top. The SOP Instance UID follows from file and
    frame, which Conversion Source Attributes Sequence (0020,9172) names. Raises HeadrestError where
    frames have no positions, or their number is wrong; `decode` checks the size of their pixels.
    """
    count = frame_count(header)
    if count > MAX_FRAMES:
        raise HeadrestError(f"{count} frames in one file: damaged, or not a CT volume")
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    groups = header.get("PerFrameFunctionalGroupsSequence")
    positions = frame_positions(header, count) if groups is None else []
    if groups is not None and len(groups) != count:
        raise HeadrestError(f"{count} frames, but {len(groups)} functional groups; export it again")
    pixels = _pixels(header, count) if "PixelData" in header else None
    common = _copied(header, MULTI_FRAME_ONLY)
    flatten(common, shared[0])
    for n in range(1, count + 1):
        frame = _copied(common)
        if groups is None:
            frame.ImagePositionPatient = positions[n - 1].round(6).tolist()
        else:
            flatten(frame, groups[n - 1])
        _identify(frame, header, n)
        if pixels is not None:
            frame.add_new("PixelData", header["PixelData"].VR, next(pixels))
        yield frame


def frame_source(header: Dataset) -> Dataset | None:
    """Reference to the frame that a header of `single_frames` was made from, else None."""
    with suppress(Exception):  # a damaged element raises any exception
        (item,) = header.ConversionSourceAttributesSequence
        return item if _frame_uid(item) == header.SOPInstanceUID else None
    return None


def _frame_uid(source):
    """SOP Instance UID of the frame that an item of Conversion Source Attributes refers to."""
    frame = source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber
    return uid.generate_uid(entropy_srcs=["headrest", "frame", *map(str, frame)])


def _copied(header, without=()):
    """Copy of a header, with elements of its own but the same values."""
    made = Dataset()
    made.update({tag: copy.copy(header.get_item(tag)) for tag in header.keys()})  # noqa: SIM118
    implicit, little = header.original_encoding
    made.set_original_encoding(implicit, little, header.original_character_set)
    made.file_meta, made.preamble = header.file_meta, header.preamble
    for keyword in without:
        made.pop(keyword, None)
    return made


def flatten(frame: Dataset, groups: Dataset) -> None:
    """Copy the attributes of functional groups to the top of a header."""
    for element in groups:
        if element.VR != "SQ" or element.tag.is_private:
            frame.add(copy.copy(element))
        elif element.keyword not in REFERENCES and element.value:
            # Such groups of a legacy converted image do not replace attributes.
            replaces = not element.keyword.startswith("Unassigned")
            for attribute in element.value[0]:
                if replaces or attribute.tag not in frame:
                    _add(frame, attribute)


def _add(frame, attribute):
    keyword, value = attribute.keyword, attribute.value
    if keyword == "FrameType":
        kind, *rest = list(value)[2:] or ["AXIAL"]
        kinds = [kind, *rest] if kind in ("AXIAL", "LOCALIZER") else ["AXIAL", kind, *rest]
        frame.ImageType = [*list(value)[:2], *kinds]
        return
    frame.add(copy.copy(attribute))
    if (name := SINGLE_FRAME_KEYWORD.get(keyword)) and value not in (None, ""):
        with suppress(ValueError, OverflowError):  # NaN and infinity are no integers
            setattr(frame, name, round(value) if dictionary_VR(name) == "IS" else value)
    if keyword == "FrameAcquisitionDateTime":
        digits = re.split("[+-]", str(value))[0]  # without the offset from UTC
        frame.AcquisitionDate, frame.AcquisitionTime = digits[:8], digits[8:]


def _identify(frame, header, n):
    source = Dataset()
    source.ReferencedSOPClassUID = value_of(header, "SOPClassUID")
    source.ReferencedSOPInstanceUID = value_of(header, "SOPInstanceUID")
    source.ReferencedFrameNumber = n
    frame.ConversionSourceAttributesSequence = [source]
    frame.SOPClassUID, frame.InstanceNumber = uid.CTImageStorage, n
    # The reader refuses an empty one.
    frame.SOPInstanceUID = _frame_uid(source) if source.ReferencedSOPInstanceUID else ""
    for keyword in ("KVP", "AcquisitionNumber"):  # type 2
        frame.setdefault(keyword, None)


def frame_positions(header: Dataset, count: int) -> np.ndarray:
    """Positions (frames, 3) of frames without functional groups, by their distances; or refuse."""
    offsets, step = numbers(header, "GridFrameOffsetVector", count), None
    if offsets is None:
        step = number(header, "SpacingBetweenSlices")
        offsets = np.arange(count) * (step or 0)
    first = numbers(header, "ImagePositionPatient", 3)
    axes = numbers(header, "ImageOrientationPatient", 6)
    if first is None or axes is None or step == 0 or len(set(offsets)) < count:
        raise HeadrestError(
            f"{count} frames in one file, without positions of their own; "
            "export the series as enhanced or single-frame CT"
        )
    return first + np.outer(offsets - offsets[0], slice_normal(axes))


def _pixels(header, count):
    """Pixel Data of each frame, as that of a single-frame image."""
    data = header.PixelData
    if header.file_meta.TransferSyntaxUID.is_encapsulated:
        tables = tuple(map(header.get, OFFSET_TABLES))
        extended = tables if all(tables) else None
        frames = generate_frames(data, number_of_frames=count, extended_offsets=extended)
        return (encapsulate([frame]) for frame in frames)
    size = header.Rows * header.Columns * 2
    last = data[(count - 1) * size :]  # of another size where the header is wrong: not decoded
    return chain((data[n * size : (n + 1) * size] for n in range(count - 1)), [last])
