"""The DICOM Segmentation: read back by highdicom, by pydicom alone, and checked by a validator."""

import numpy as np
import pytest
from conftest import CANARY, make_series, uid
from makers import validator_errors
from pydicom import Dataset, dcmread

from headrest import HeadrestError, __version__, read_series
from headrest.dicom import write_segmentation
from headrest.dicom.mask import read_mask
from headrest.dicom.segmentation import CLUSTER_ANALYSIS, TYPE_2

highdicom = pytest.importorskip("highdicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

C, S = (round(float(f(np.radians(15))), 6) for f in (np.cos, np.sin))
TILT = {"ImageOrientationPatient": [1, 0, 0, 0, C, -S]}
UNEVEN = {"ImagePositionPatient": lambda n: [-112, -112, round(5.0 * n**1.5, 3)]}
SHAPES = {
    "even": {},
    "one-slice": {"n": 1},
    "tilted": TILT,
    "uneven": UNEVEN,
    "tilted-and-uneven": TILT | UNEVEN,
    "feet-first": {"ImagePositionPatient": lambda n: [-112, -112, -5.0 * n]},
    "signed": {"PixelRepresentation": 1, "RescaleIntercept": 0},
    "63-columns": {"hu": np.zeros((64, 63), int)},
}


def a_mask(series, seed=0):
    """A random mask with an empty slice in the middle, so that no frame looks like another."""
    mask = np.random.default_rng(seed).random(series.stored.shape) > 0.5
    mask[len(mask) // 2] = len(mask) == 1
    return mask


def segment(tmp_path, mask=a_mask, **changes):
    """Write the segmentation of a series with these changes; return series, mask and file."""
    make_series(tmp_path / "scan", **changes)
    series = read_series(tmp_path / "scan")
    mask, path = mask(series), tmp_path / "headrest.dcm"
    write_segmentation(series, mask, path, "method=test")
    return series, mask, path


@pytest.mark.parametrize(
    "sets", [["", "ISO 2022 IR 87"], "ISO_IR 6", "ISO_IR_100", "UTF-8", "ISO_IR 999", "ISO_IR 100"]
)
def test_accepts_any_character_set(tmp_path, sets):
    series, mask, path = segment(tmp_path, SpecificCharacterSet=sets, PatientName="Mueller^Anna")
    assert (read_back(path, series) == mask).all()
    assert dcmread(path).PatientName == "Mueller^Anna"


def test_a_name_keeps_its_letters(tmp_path):
    changes = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "M\u00fcller^\u00c5sa"}
    _, _, path = segment(tmp_path, **changes)
    assert str(dcmread(path).PatientName) == "M\u00fcller^\u00c5sa"


def read_back(path, series):
    """The mask as highdicom reads it: bool (slices, rows, columns)."""
    uids = [header.SOPInstanceUID for header in series.headers]
    return highdicom.seg.segread(path).get_pixels_by_source_instance(uids)[..., 0].astype(bool)


# The mask.


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_the_mask_is_read_back_to_the_bit(tmp_path, changes):
    series, mask, path = segment(tmp_path, **changes)
    assert np.array_equal(read_back(path, series), mask)
    assert validator_errors("dciodvfy", path) == []


@pytest.mark.parametrize("fill", [False, True])
def test_writes_empty_and_full_masks(tmp_path, fill):
    series, mask, path = segment(tmp_path, lambda s: np.full(s.stored.shape, fill))
    assert np.array_equal(read_back(path, series), mask)
    assert dcmread(path).NumberOfFrames == 3
    assert validator_errors("dciodvfy", path) == []


@pytest.mark.parametrize("changes", [SHAPES["even"], SHAPES["tilted-and-uneven"]])
def test_each_frame_has_the_position_of_its_slice(tmp_path, changes):
    series, mask, path = segment(tmp_path, **changes)
    ds = dcmread(path)
    known = {header.SOPInstanceUID: i for i, header in enumerate(series.headers)}
    seen = set()
    for frame, pixels in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array):
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0]
        i = known[origin.ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert position == series.headers[i].ImagePositionPatient
        assert np.array_equal(pixels, mask[i])
        seen.add(i)
    assert seen == {0, 1, 2}
    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert np.allclose(orientation, series.orientation, atol=1e-6)
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [3.5, 3.5]


# What it says.


def code(sequence):
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator, sequence[0].CodeMeaning


def test_the_segment_is_coded_and_names_its_algorithm(tmp_path):
    series, mask, path = segment(tmp_path)
    write_segmentation(series, mask, path, "method=kmeans", CLUSTER_ANALYSIS)
    ds = dcmread(path)
    (one,) = ds.SegmentSequence
    physical = ("260787004", "SCT", "Physical object")
    assert code(one.SegmentedPropertyCategoryCodeSequence) == physical
    assert code(one.SegmentedPropertyTypeCodeSequence) == ("706683002", "SCT", "Headrest")
    (algorithm,) = one.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("headrest", __version__)
    assert algorithm.AlgorithmParameters == "method=kmeans"
    assert code(algorithm.AlgorithmFamilyCodeSequence) == CLUSTER_ANALYSIS
    assert (ds.SegmentationType, one.SegmentAlgorithmType) == ("BINARY", "AUTOMATIC")


def test_patient_study_and_frame_of_reference_are_those_of_the_source(tmp_path):
    series, _, path = segment(tmp_path, StudyDescription="Head", PatientAge="040Y")
    ds, before = dcmread(path), series.headers[0]
    for keyword in ("PatientName", "PatientID", "PatientAge", "StudyInstanceUID", "StudyDate"):
        assert ds[keyword].value == before[keyword].value
    assert ds.FrameOfReferenceUID == before.FrameOfReferenceUID
    assert ds.SeriesInstanceUID != before.SeriesInstanceUID
    assert validator_errors("dcentvfy", path, *(tmp_path / "scan").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("keyword", TYPE_2)
def test_adds_missing_attributes_empty(tmp_path, keyword):
    series, mask, path = segment(tmp_path, **{keyword: None})
    assert keyword in dcmread(path)
    assert not dcmread(path)[keyword].value
    assert np.array_equal(read_back(path, series), mask)
    assert validator_errors("dciodvfy", path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"PatientSex": "U"}, id="sex-unknown"),
        pytest.param({"PatientBirthDate": b"1990"}, id="birth-year"),
        pytest.param({"StudyTime": b"noon"}, id="time-in-words"),
        pytest.param({"PatientWeight": b"72,5"}, id="decimal-comma"),
        pytest.param({"SliceThickness": None}, id="no-thickness"),
        pytest.param({"SliceThickness": b""}, id="empty-thickness"),
        pytest.param({"SpacingBetweenSlices": 1} | UNEVEN, id="wrong-spacing"),
        pytest.param({"FrameOfReferenceUID": None}, id="no-frame-of-reference"),
        pytest.param({"SeriesNumber": -7000}, id="negative-number"),
        pytest.param({"SeriesDescription": "x" * 64}, id="long-description"),
        pytest.param(
            {"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""}, id="no-method"
        ),
    ],
)
def test_odd_headers_make_a_valid_segmentation(tmp_path, changes):
    series, mask, path = segment(tmp_path, **changes)
    assert np.array_equal(read_back(path, series), mask)
    assert validator_errors("dciodvfy", path) == []


def test_computes_the_spacing_between_slices(tmp_path):
    for name, places, spacing in (("even", {}, 5), ("uneven", UNEVEN, None)):
        (tmp_path / name).mkdir()
        _, _, path = segment(tmp_path / name, SpacingBetweenSlices=1, **places)
        shared = dcmread(path).SharedFunctionalGroupsSequence[0]
        assert shared.PixelMeasuresSequence[0].get("SpacingBetweenSlices") == spacing


@pytest.mark.parametrize("others", [None, "", uid("another frame")])
def test_a_series_without_one_frame_of_reference_gets_one(tmp_path, others):
    make_series(tmp_path / "scan")
    series = read_series(tmp_path / "scan")
    for header in series.headers[1:]:
        header.FrameOfReferenceUID = others
    files = [tmp_path / "one.dcm", tmp_path / "two.dcm"]
    for path in files:
        write_segmentation(series, a_mask(series), path)
    made = {dcmread(path).FrameOfReferenceUID for path in files}
    assert len(made) == 1
    assert made.isdisjoint({uid("frame"), others})
    assert validator_errors("dciodvfy", files[0]) == []


def test_lossy_sources_stay_declared(tmp_path):
    _, _, path = segment(tmp_path, LossyImageCompression="01", LossyImageCompressionRatio=9)
    assert dcmread(path).LossyImageCompression == "01"
    assert dcmread(path).LossyImageCompressionRatio == 9


def test_shows_no_name_and_keeps_the_headers(tmp_path, capfd, caplog, recwarn):
    make_series(tmp_path / "scan", PatientName=CANARY)
    series = read_series(tmp_path / "scan")
    before = [str(header) for header in series.headers]
    write_segmentation(series, a_mask(series), tmp_path / "headrest.dcm")
    assert [str(header) for header in series.headers] == before
    shown = "".join([*capfd.readouterr(), caplog.text, *(str(w.message) for w in recwarn)])
    assert CANARY not in shown
    assert dcmread(tmp_path / "headrest.dcm").PatientName == CANARY


# Reruns.


def timeless(path):
    """A file as text, without the times of its making."""
    ds = dcmread(path)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"):
        del ds[keyword]
    return str(ds.file_meta) + str(ds), ds.PixelData


def test_a_rerun_writes_the_same(tmp_path):
    series, mask, path = segment(tmp_path)
    write_segmentation(series, mask, tmp_path / "again.dcm", "method=test")
    assert timeless(path) == timeless(tmp_path / "again.dcm")


def test_other_parameters_make_other_uids(tmp_path):
    series, mask, path = segment(tmp_path)
    write_segmentation(series, mask, tmp_path / "other.dcm", "method=other")
    one, other = dcmread(path), dcmread(tmp_path / "other.dcm")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert one[keyword].value != other[keyword].value


# Refusals.


def test_refuses_a_mask_of_another_shape(tmp_path):
    make_series(tmp_path / "scan")
    series = read_series(tmp_path / "scan")
    with pytest.raises(HeadrestError, match="mask"):
        write_segmentation(series, a_mask(series)[:2], tmp_path / "headrest.dcm")
    assert not (tmp_path / "headrest.dcm").exists()


def test_refuses_slices_without_position(tmp_path):
    make_series(tmp_path / "scan", ImagePositionPatient=None)
    series = read_series(tmp_path / "scan", by_instance_number=True)
    with pytest.raises(HeadrestError, match="have no position"):
        write_segmentation(series, a_mask(series), tmp_path / "headrest.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [(OSError(28, "disk full"), "disk full"), (ValueError(CANARY), "ValueError")],
)
def test_a_fault_leaves_no_file_and_no_name(tmp_path, monkeypatch, fault, words):
    def failing(*_, **__):
        raise fault

    series, mask, path = segment(tmp_path)
    path.unlink()
    monkeypatch.setattr(Dataset, "save_as", failing)
    with pytest.raises(HeadrestError, match=words) as caught:
        write_segmentation(series, mask, path)
    assert CANARY not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


# Real scans.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ge-head", "philips-phantom/S21570", "lidc-chest"])
def test_real_scans_have_a_valid_segmentation(scans, tmp_path, name):
    series = read_series(scans / name)
    mask = a_mask(series)
    write_segmentation(series, mask, tmp_path / "headrest.dcm", uid("real"))
    assert np.array_equal(read_back(tmp_path / "headrest.dcm", series), mask)
    assert validator_errors("dciodvfy", tmp_path / "headrest.dcm") == []


# Support and patient.


def labelled(tmp_path, kind, **changes):
    """Series, labels of support and patient, and the segmentation of both."""
    make_series(tmp_path / "scan", **changes)
    series = read_series(tmp_path / "scan")
    labels = np.random.default_rng(0).integers(0, 3, series.stored.shape).astype(np.uint8)
    labels[len(labels) // 2] = 0
    path = tmp_path / f"{kind}.dcm"
    write_segmentation(series, labels, path, "method=test", kind=kind)
    return series, labels, path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("changes", [SHAPES["even"], SHAPES["tilted-and-uneven"]])
def test_support_and_patient_are_read_back_to_the_bit(tmp_path, kind, changes):
    series, labels, path = labelled(tmp_path, kind, **changes)
    uids = [header.SOPInstanceUID for header in series.headers]
    read = highdicom.seg.segread(path)
    both = read.get_pixels_by_source_instance(uids, segment_numbers=[1, 2])
    assert np.array_equal(both[..., 0], labels == 1)
    assert np.array_equal(both[..., 1], labels == 2)
    assert validator_errors("dciodvfy", path) == []
    ds = dcmread(path)
    assert ds.SegmentationType == kind
    assert ds.NumberOfFrames == (6 if kind == "BINARY" else 3)
    support, patient = ds.SegmentSequence[-2:]
    assert code(support.SegmentedPropertyTypeCodeSequence) == ("706683002", "SCT", "Headrest")
    assert code(patient.SegmentedPropertyTypeCodeSequence) == ("38266002", "SCT", "Entire body")
    category = ("123037004", "SCT", "Anatomical Structure")
    assert code(patient.SegmentedPropertyCategoryCodeSequence) == category


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_mask_reader_takes_the_segment_of_the_support(tmp_path, kind):
    series, labels, path = labelled(tmp_path, kind)
    assert np.array_equal(read_mask(path, series), labels == 1)
    ds = dcmread(path)
    for segment in ds.SegmentSequence:
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "85756007"  # tissue
    ds.save_as(path)
    with pytest.raises(HeadrestError, match="labels 1, 2: keep"):
        read_mask(path, series)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_mask_reader_never_takes_the_patient_for_support(tmp_path, kind):
    series, labels, path = labelled(tmp_path, kind)
    write_segmentation(series, np.where(labels == 1, 0, labels), path, kind=kind)
    with pytest.raises(HeadrestError, match="label 2 alone, which is the patient"):
        read_mask(path, series)
    write_segmentation(series, labels == 9, path)
    assert not read_mask(path, series).any()
