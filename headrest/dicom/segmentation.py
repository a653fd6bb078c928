"""Write a mask as a DICOM Segmentation (PS3.3 A.51) of the series in which it was found."""

import copy
import warnings

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from headrest.dicom.attributes import has_place, number
from headrest.dicom.write import DERIVED_NUMBER, appended, derived_uid, digest, numbered_behind
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file
from headrest.util.packages import require
from headrest.util.version import __version__

PHYSICAL_OBJECT = ("260787004", "SCT", "Physical object")
HEADREST = ("706683002", "SCT", "Headrest")
ARTIFICIAL_INTELLIGENCE = ("123110", "DCM", "Artificial Intelligence")
CLUSTER_ANALYSIS = ("123107", "DCM", "Cluster Analysis")
"""Codes: category and type of the segment, families of algorithms (PS3.16 CID 7162)."""


TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""What must be there, but may be empty."""

CHECKED = ("AS", "CS", "DA", "DS", "IS", "LO", "SH", "TM")
"""Value representations that are held to their form in what is copied of patient and study."""


def why_no_segmentation(series):
    """Say why a series cannot have a segmentation: str, empty where it can."""
    placed = all(has_place(header) for header in series.headers)
    return "" if placed else "its slices do not say where they lie"


def write_segmentation(series, mask, path, parameters="", family=ARTIFICIAL_INTELLIGENCE):
    """Write a mask as a segmentation of one segment, coded as headrest.

    It is binary, with one frame a slice on the native grid, tilted and uneven series included;
    slices in which nothing was found have a frame too, so that nobody takes them for slices
    that were not looked at. Needs highdicom.

    Parameters
    ----------
    series : Series
        The source. What its headers must hold and do not is filled in empty.
    mask : bool array (slices, rows, columns)
    path : path
        File to write, whole or not at all. The same mask with the same parameters gets the same
        UIDs.
    parameters : str, how the mask was made.
    family : (value, scheme, meaning), code of the family of the algorithm.

    Raises
    ------
    HeadrestError
        Where highdicom is missing, the mask does not fit the series, the series does not say
        where it lies, or the file cannot be written.

    Examples
    --------
    >>> import highdicom
    >>> write_segmentation(series, support.removed, "headrest.dcm")       # doctest: +SKIP
    >>> uids = [header.SOPInstanceUID for header in series.headers]    # doctest: +SKIP
    >>> highdicom.seg.segread("headrest.dcm").get_pixels_by_source_instance(uids).shape
    ...                                                                # doctest: +SKIP
    (28, 512, 512, 1)
    """
    require("highdicom")
    refusal = why_no_segmentation(series)
    if np.shape(mask) != series.stored.shape:
        refusal = f"a mask of {np.shape(mask)} for slices of {series.stored.shape}"
    if refusal:
        raise HeadrestError(f"{path}: not written: {refusal}")
    with atomic_file(path) as aside:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they may quote the patient's name
                _segmentation(series, mask, parameters, family).save_as(aside)
        except OSError:
            raise
        except Exception as error:  # an odd element of the source may fail in any way
            reason = f"its source makes no segmentation ({type(error).__name__})"
            raise HeadrestError(f"{path}: {reason}") from error


def _segmentation(series, mask, parameters, family):
    from highdicom.seg import Segmentation

    sources = _sources(series)
    made_of = (series.fingerprint, parameters, digest(mask), "segmentation")
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=mask.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(parameters, family)],
        series_instance_uid=derived_uid(*made_of, "series"),
        series_number=numbered_behind(sources[0], 2 * DERIVED_NUMBER),
        series_description=appended(sources[0], "SeriesDescription", " ", "headrest", 64),
        sop_instance_uid=derived_uid(*made_of),
        instance_number=1,
        manufacturer="headrest",
        manufacturer_model_name="headrest",
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="HEADREST",
        content_description="Patient support and its soft rim",
        specific_character_set="ISO_IR 192",  # highdicom takes over no odd set of the source
        omit_empty_frames=False,
    )
    dimensions = [*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence]
    for item in dimensions:  # highdicom draws this UID by chance
        item.DimensionOrganizationUID = derived_uid(*made_of, "dimensions")
    if "PatientName" in series.headers[0]:
        segmentation["PatientName"] = series.headers[0]["PatientName"]
    return segmentation


def _segment(parameters, family):
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code

    algorithm = AlgorithmIdentificationSequence("headrest", Code(*family), __version__, "headrest")
    algorithm[0].AlgorithmParameters = parameters
    codes = Code(*PHYSICAL_OBJECT), Code(*HEADREST)
    return SegmentDescription(1, "Headrest", *codes, "AUTOMATIC", algorithm)


def _sources(series):
    """A header a slice as highdicom wants them: all of the first, places and UIDs of each."""
    first = _sound(copy.deepcopy(series.headers[0]))
    first.PatientName = ""  # highdicom quotes odd names to the log; it is set at the end
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
    """Leave out what cannot be read, and what would be an error in the segmentation too."""
    kept = Dataset()
    for tag in header.keys():  # noqa: SIM118  (iterating a Dataset reads each element)
        try:
            _check(header[tag])
            kept.add(header[tag])
        except Exception:
            continue
    return kept


def _check(element):
    """Raise where the form of an element of patient or study is wrong: a weight of "72,5"."""
    about_whom = element.tag.group == 0x0010 or element.keyword in TYPE_2
    if about_whom and element.VR in CHECKED and element.VM == 1:
        validate_value(element.VR, str(element.value), config.RAISE)
    if element.keyword == "PatientSex" and element.value not in (None, "", "M", "F", "O"):
        raise ValueError


def _fill_geometry(source, series):
    # A series has one frame of reference (PS3.3 C.7.4.1). Some files have none, some one each.
    frames = {header.get("FrameOfReferenceUID") or "" for header in series.headers}
    if len(frames) > 1 or "" in frames:
        source.FrameOfReferenceUID = derived_uid(series.fingerprint, "frame of reference")
    if not number(source, "SliceThickness"):
        source.SliceThickness = series.spacing_mm[0]
    if "SpacingBetweenSlices" in source:
        del source.SpacingBetweenSlices  # highdicom measures it, where there is one
