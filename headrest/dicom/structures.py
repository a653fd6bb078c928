"""Write support and patient as an RT Structure Set (PS3.3 A.19), for treatment planning."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from headrest.dicom import segmentation as seg
from headrest.dicom import write
from headrest.dicom.series import Series
from headrest.util import require

STRUCTURES = {"SUPPORT": [213, 94, 0], "EXTERNAL": [0, 158, 115]}
"""RT ROI Interpreted Type (3006,00A4) of the labels 1 and 2, and the color of each. PS3.3 C.8.8.8:
SUPPORT is an external patient support device, EXTERNAL the contour of the patient."""

STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"  # SOP class of a study; retired, but still usual


def write_structures(
    series: Series, labels: np.ndarray, path: str | Path, parameters: str = ""
) -> None:
    """Write labels as contours, one RT structure each for support and patient. Needs contourpy.

    A contour runs half-way between the centres of the pixels on both sides, so that exactly the
    centres of the labelled pixels are inside. A hole is joined to its outer contour by a channel
    of no width (PS3.3 C.8.8.6.3).

    Parameters
    ----------
    series : Series
    labels : uint8 array (slices, rows, columns): 0, 1 support, 2 patient
    path : path, written atomically. The same labels and parameters get the same UIDs.
    parameters : str, how the labels were made.

    Raises
    ------
    HeadrestError
        Where contourpy is missing, the labels do not fit the series, slices have no position, or
        the file cannot be written.
    """
    require("contourpy")
    seg.save_object(path, series, labels, partial(_structure_set, series, labels, parameters))


def _structure_set(series, labels, parameters):
    source = seg.sound_header(series)
    images = [write.reference(header) for header in series.headers]
    digests = [write.mask_digest(labels == n) for n in (1, 2)]
    made_of = (series.fingerprint, parameters, *digests, "structures")
    ds = seg.new_object(
        source,
        made_of,
        ImplicitVRLittleEndian,  # no limit of 64 KB for a contour
        "StructureSet",
        SOPClassUID=RTStructureSetStorage,
        SeriesNumber=write.offset_series_number(source, 3 * write.SERIES_NUMBER_OFFSET),
        Modality="RTSTRUCT",
        OperatorsName="",
        StructureSetLabel="HEADREST",
        StructureSetDescription=parameters[:1024],
        ApprovalStatus="UNAPPROVED",
    )
    for keyword in (*seg.TYPE_2, "StudyDescription", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(ds, keyword, source.get(keyword, ""))
    ds.PatientName = str(series.headers[0].get("PatientName", ""))
    one = write.item(SeriesInstanceUID=source.SeriesInstanceUID, ContourImageSequence=images)
    study = write.item(ReferencedSOPClassUID=STUDY_MANAGEMENT, RTReferencedSeriesSequence=[one])
    study.ReferencedSOPInstanceUID = source.StudyInstanceUID
    frame = write.item(RTReferencedStudySequence=[study])
    frame.FrameOfReferenceUID = source.FrameOfReferenceUID
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    ds.RTROIObservationsSequence = []
    for n, (kind, color) in enumerate(STRUCTURES.items(), 1):
        roi = write.item(ROINumber=n, ROIName=kind, ROIGenerationAlgorithm=seg.made_by(parameters))
        roi.ReferencedFrameOfReferenceUID = source.FrameOfReferenceUID
        contour = write.item(ReferencedROINumber=n, ROIDisplayColor=color)
        masks = enumerate(labels == n)
        if items := [_contour(c, images[i]) for i, m in masks for c in _contours(series, m, i)]:
            contour.ContourSequence = items
        seen = write.item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType=kind)
        seen.ROIInterpreter = ""
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(contour)
        ds.RTROIObservationsSequence.append(seen)
    return ds


def _contours(series, mask, i):
    """Closed contours of a mask of slice i: list of float array (points, 3), in mm."""
    from contourpy import FillType, contour_generator

    outlines, offsets = contour_generator(  # type: ignore[misc]
        z=np.pad(mask, 1).astype(float), fill_type=FillType.OuterOffset
    ).filled(0.5, 2)
    _, y_mm, x_mm = series.spacing_mm
    to_mm = series.orientation.reshape(2, 3) * [[x_mm], [y_mm]]
    found = []
    for points, ends in zip(outlines, offsets):
        outer, *holes = [_corners(points[a : b - 1]) for a, b in pairwise(ends)]
        joined = [outer]
        for hole in holes:
            joined += [outer[:1], hole, hole[:1]]
        joined += [outer[:1]] * bool(holes)
        found.append(series.positions[i] + (np.concatenate(joined) - 1) @ to_mm)
    return found


def _corners(ring):
    """Points of a ring at which its direction changes."""
    step = ring - np.roll(ring, 1, 0)
    return ring[(step != np.roll(step, -1, 0)).any(1)]


def _contour(points, image):
    values = "\\".join(f"{value:.3f}" for value in points.ravel()).encode()
    values += b" " * (len(values) % 2)
    item = write.item(ContourImageSequence=[image], ContourGeometricType="CLOSED_PLANAR")
    item.NumberOfContourPoints = len(points)
    tag = Tag("ContourData")  # raw: pydicom takes seconds to check so many numbers
    item[tag] = RawDataElement(tag, "DS", len(values), values, 0, True, True)
    return item
