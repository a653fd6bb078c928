"""The RT Structure Set: contours filled again by other code, and checked by a validator."""

import numpy as np
import pytest
from conftest import CANARY, make_series
from makers import validator_errors
from pydicom import dcmread
from scipy import ndimage

from headrest import HeadrestError, __version__, read_series
from headrest.dicom.structures import write_structures

pytest.importorskip("contourpy")

C, S = (round(float(f(np.radians(15))), 6) for f in (np.cos, np.sin))
TILT = {"ImageOrientationPatient": [1, 0, 0, 0, C, -S]}
UNEVEN = {"ImagePositionPatient": lambda n: [-112, -112, round(5.0 * n**1.5, 3)]}
SHAPES = {
    "even": {},
    "one-slice": {"n": 1},
    "tilted-and-uneven": TILT | UNEVEN,
    "oblong": {"PixelSpacing": [2.5, 3.5], "hu": np.zeros((64, 60), int)},
}


def some_labels(shape):
    """Blobs with holes, blobs in these and single pixels; all reach the border."""
    noise = np.random.default_rng(0).random(shape)
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    labels = np.digitize(smooth, np.quantile(smooth, [0.4, 0.7])).astype(np.uint8)
    labels[noise > 0.995] = 1
    labels[len(labels) // 2] = 0
    return labels


def write(tmp_path, labels=some_labels, **changes):
    make_series(tmp_path / "scan", **changes)
    series = read_series(tmp_path / "scan")
    labels, path = labels(series.stored.shape), tmp_path / "structures.dcm"
    write_structures(series, labels, path, "method=test")
    return series, labels, path


def filled(series, contours):
    """Pixels whose centres lie inside an odd number of times: by the even-odd rule, in mm."""
    masks = np.zeros(series.stored.shape, bool)
    rows, columns = np.mgrid[: masks.shape[1], : masks.shape[2]]
    uids = [header.SOPInstanceUID for header in series.headers]
    for contour in contours:
        i = uids.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        header = series.headers[i]
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        axes = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        away = (points - np.array(header.ImagePositionPatient, float)) @ np.cross(*axes)
        assert np.abs(away).max() < 0.01
        at = (points - np.array(header.ImagePositionPatient, float)) @ axes.T
        across, down = at[:, 0] / header.PixelSpacing[1], at[:, 1] / header.PixelSpacing[0]
        assert contour.NumberOfContourPoints == len(points)
        centres = np.column_stack([columns.ravel(), rows.ravel()])
        inside = _even_odd(np.column_stack([across, down]), centres)
        masks[i] ^= inside.reshape(rows.shape)
    return masks


def _even_odd(vertices, points):
    """Cross each edge with a ray to the right; no library, so that the rule is known."""
    inside = np.zeros(len(points), bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(vertices, np.roll(vertices, -1, 0)):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_contours_enclose_exactly_the_labelled_pixels(tmp_path, changes):
    series, labels, path = write(tmp_path, **changes)
    ds = dcmread(path)
    for n, roi in enumerate(ds.ROIContourSequence, 1):
        assert roi.ReferencedROINumber == n
        assert np.array_equal(filled(series, roi.get("ContourSequence", [])), labels == n)
    assert validator_errors("dciodvfy", path) == []


def test_types_names_and_references(tmp_path):
    series, _, path = write(tmp_path, StudyDescription="Head")
    ds = dcmread(path)
    types = [o.RTROIInterpretedType for o in ds.RTROIObservationsSequence]
    assert types == ["SUPPORT", "EXTERNAL"]
    assert [roi.ROIName for roi in ds.StructureSetROISequence] == ["SUPPORT", "EXTERNAL"]
    assert {roi.ROIGenerationAlgorithm for roi in ds.StructureSetROISequence} == {"AUTOMATIC"}
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert ds[keyword].value == series.headers[0][keyword].value
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    (referenced,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.uid
    assert len(referenced.ContourImageSequence) == 3
    assert (ds.Modality, ds.SoftwareVersions) == ("RTSTRUCT", __version__)


def test_an_empty_structure_has_no_contour(tmp_path):
    _, _, path = write(tmp_path, lambda shape: np.full(shape, 2, np.uint8))
    support, patient = dcmread(path).ROIContourSequence
    assert "ContourSequence" not in support
    assert len(patient.ContourSequence) == 3
    assert validator_errors("dciodvfy", path) == []


def test_a_rerun_has_the_same_uids_and_a_name_keeps_its_letters(tmp_path):
    changes = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "M\u00fcller^\u00c5sa"}
    series, labels, path = write(tmp_path, **changes)
    write_structures(series, labels, tmp_path / "again.dcm", "method=test")
    one, other = dcmread(path), dcmread(tmp_path / "again.dcm")
    assert one.SOPInstanceUID == other.SOPInstanceUID
    assert str(one.PatientName) == "M\u00fcller^\u00c5sa"


def test_refuses_other_shapes_and_lost_positions(tmp_path, capfd, caplog):
    make_series(tmp_path / "scan", ImagePositionPatient=None)
    series = read_series(tmp_path / "scan", by_instance_number=True)
    labels = np.zeros(series.stored.shape, np.uint8)
    for given, words in ((labels, "have no position"), (labels[:2], "a mask of")):
        with pytest.raises(HeadrestError, match=words):
            write_structures(series, given, tmp_path / "structures.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]
    assert CANARY not in "".join([*capfd.readouterr(), caplog.text])
