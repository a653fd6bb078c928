"""The DICOM Segmentation: read back by highdicom, by pydicom alone, and checked by a validator."""

import numpy as np
import pytest
from conftest import CANARY, make_series, uid
from factories import timeless
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
even_and_uneven = pytest.mark.parametrize("shape", ["even", "tilted-and-uneven"])
every_kind = pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])


def a_mask(series):
    """A random mask with an empty slice in the middle, so that no frame looks like another."""
    mask = np.random.default_rng(0).random(series.stored.shape) > 0.5
    mask[len(mask) // 2] = len(mask) == 1
    return mask


def some_labels(series):
    """Random labels of support and patient, with an empty slice in the middle."""
    labels = np.random.default_rng(0).integers(0, 3, series.stored.shape).astype(np.uint8)
    labels[len(labels) // 2] = 0
    return labels


def segment(tmp_path, mask=a_mask, kind="BINARY", **changes):
    """Write the segmentation of a series with these changes; return series, mask and file."""
    series = read_series(make_series(tmp_path / "scan", **changes)[0].parent)
    mask, path = mask(series), tmp_path / "headrest.dcm"
    write_segmentation(series, mask, path, "method=test", kind=kind)
    return series, mask, path


def read_back(path, series, segments=(1,)):
    """Each segment as highdicom reads it: bool (segments, slices, rows, columns)."""
    uids = [header.SOPInstanceUID for header in series.headers]
    read = highdicom.seg.segread(path)
    found = read.get_pixels_by_source_instance(uids, segment_numbers=list(segments))
    return np.moveaxis(found, -1, 0).astype(bool)


def is_read_back_and_valid(series, mask, path):
    assert np.array_equal(read_back(path, series)[0], mask)
    assert validator_errors("dciodvfy", path) == []


# The mask.


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mask_is_read_back_to_the_bit(tmp_path, shape):
    is_read_back_and_valid(*segment(tmp_path, **SHAPES[shape]))


@pytest.mark.parametrize("fill", [False, True])
def test_writes_empty_and_full_masks(tmp_path, fill):
    found = segment(tmp_path, lambda series: np.full(series.stored.shape, fill))
    is_read_back_and_valid(*found)
    assert dcmread(found[2]).NumberOfFrames == 3


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        *((sets, "Mueller^Anna") for sets in ("ISO_IR 6", "ISO_IR_100", "UTF-8", "ISO_IR 999")),
        (["", "ISO 2022 IR 87"], "Mueller^Anna"),
        ("ISO_IR 100", "M\u00fcller^\u00c5sa"),
    ],
)
def test_a_name_keeps_its_letters_in_any_character_set(tmp_path, sets, name):
    series, mask, path = segment(tmp_path, SpecificCharacterSet=sets, PatientName=name)
    assert np.array_equal(read_back(path, series)[0], mask)
    assert str(dcmread(path).PatientName) == name


@even_and_uneven
def test_each_frame_has_the_position_of_its_slice(tmp_path, shape):
    series, mask, path = segment(tmp_path, **SHAPES[shape])
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


# Attributes.


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
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 9}
    series, _, path = segment(tmp_path, StudyDescription="Head", PatientAge="040Y", **lossy)
    ds, before = dcmread(path), series.headers[0]
    kept = ("PatientName", "PatientID", "PatientAge", "StudyInstanceUID", "StudyDate")
    for keyword in (*kept, "FrameOfReferenceUID", *lossy):
        assert ds[keyword].value == before[keyword].value
    assert ds.SeriesInstanceUID != before.SeriesInstanceUID
    assert validator_errors("dcentvfy", path, *(tmp_path / "scan").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("keyword", TYPE_2)
def test_adds_missing_attributes_empty(tmp_path, keyword):
    found = segment(tmp_path, **{keyword: None})
    assert not dcmread(found[2])[keyword].value
    is_read_back_and_valid(*found)


ODD = {
    "sex-unknown": {"PatientSex": "U"},
    "birth-year": {"PatientBirthDate": b"1990"},
    "time-in-words": {"StudyTime": b"noon"},
    "decimal-comma": {"PatientWeight": b"72,5"},
    "no-thickness": {"SliceThickness": None},
    "empty-thickness": {"SliceThickness": b""},
    "wrong-spacing": {"SpacingBetweenSlices": 1} | UNEVEN,
    "no-frame-of-reference": {"FrameOfReferenceUID": None},
    "negative-number": {"SeriesNumber": -7000},
    "long-description": {"SeriesDescription": "x" * 64},
    "no-method": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""},
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_odd_headers_make_a_valid_segmentation(tmp_path, changes):
    is_read_back_and_valid(*segment(tmp_path, **changes))


@pytest.mark.parametrize(("shape", "spacing"), [("even", 5), ("uneven", None)])
def test_computes_the_spacing_between_slices(tmp_path, shape, spacing):
    _, _, path = segment(tmp_path, SpacingBetweenSlices=1, **SHAPES[shape])
    shared = dcmread(path).SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].get("SpacingBetweenSlices") == spacing


@pytest.mark.parametrize("others", [None, "", uid("another frame")])
def test_a_series_without_one_frame_of_reference_gets_one(tmp_path, others):
    series, mask, path = segment(tmp_path)
    for header in series.headers[1:]:
        header.FrameOfReferenceUID = others
    made = set()
    for _ in range(2):
        write_segmentation(series, mask, path)
        made.add(dcmread(path).FrameOfReferenceUID)
    assert len(made) == 1
    assert made.isdisjoint({uid("frame"), others})
    assert validator_errors("dciodvfy", path) == []


def test_shows_no_name_and_keeps_the_headers(tmp_path, capfd, caplog, recwarn):
    series = read_series(make_series(tmp_path / "scan", PatientName=CANARY)[0].parent)
    before = [str(header) for header in series.headers]
    write_segmentation(series, a_mask(series), tmp_path / "headrest.dcm")
    assert [str(header) for header in series.headers] == before
    shown = "".join([*capfd.readouterr(), caplog.text, *(str(w.message) for w in recwarn)])
    assert CANARY not in shown
    assert dcmread(tmp_path / "headrest.dcm").PatientName == CANARY


def test_a_rerun_writes_the_same_and_other_parameters_make_other_uids(tmp_path):
    series, mask, path = segment(tmp_path)
    for name in ("test", "other"):
        write_segmentation(series, mask, tmp_path / f"{name}.dcm", f"method={name}")
    assert timeless(path) == timeless(tmp_path / "test.dcm")
    one, other = dcmread(path), dcmread(tmp_path / "other.dcm")
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID


# Refusals.


@pytest.mark.parametrize(
    ("mask", "changes", "words"),
    [
        (lambda series: a_mask(series)[:2], {}, "mask"),
        (a_mask, {"ImagePositionPatient": None}, "have no position"),
    ],
)
def test_refuses_a_mask_of_another_shape_and_slices_without_position(
    tmp_path, mask, changes, words
):
    folder = make_series(tmp_path / "scan", **changes)[0].parent
    series = read_series(folder, by_instance_number=bool(changes))
    with pytest.raises(HeadrestError, match=words):
        write_segmentation(series, mask(series), tmp_path / "headrest.dcm")
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ge-head", "philips-phantom/S21570", "lidc-chest"])
def test_real_scans_have_a_valid_segmentation(scans, tmp_path, name):
    series, path = read_series(scans / name), tmp_path / "headrest.dcm"
    write_segmentation(series, a_mask(series), path, uid("real"))
    is_read_back_and_valid(series, a_mask(series), path)


# Support and patient.


@every_kind
@even_and_uneven
def test_support_and_patient_are_read_back_to_the_bit(tmp_path, kind, shape):
    series, labels, path = segment(tmp_path, some_labels, kind, **SHAPES[shape])
    for number, found in enumerate(read_back(path, series, (1, 2)), 1):
        assert np.array_equal(found, labels == number)
    assert validator_errors("dciodvfy", path) == []
    ds = dcmread(path)
    assert ds.SegmentationType == kind
    assert ds.NumberOfFrames == (6 if kind == "BINARY" else 3)
    support, patient = ds.SegmentSequence[-2:]
    assert code(support.SegmentedPropertyTypeCodeSequence) == ("706683002", "SCT", "Headrest")
    assert code(patient.SegmentedPropertyTypeCodeSequence) == ("38266002", "SCT", "Entire body")
    category = ("123037004", "SCT", "Anatomical Structure")
    assert code(patient.SegmentedPropertyCategoryCodeSequence) == category


@every_kind
def test_the_mask_reader_takes_the_support_and_never_the_patient(tmp_path, kind):
    series, labels, path = segment(tmp_path, some_labels, kind)
    assert np.array_equal(read_mask(path, series), labels == 1)
    ds = dcmread(path)
    for one in ds.SegmentSequence:
        one.SegmentedPropertyTypeCodeSequence[0].CodeValue = "85756007"  # tissue
    ds.save_as(path)
    with pytest.raises(HeadrestError, match="labels 1, 2: keep"):
        read_mask(path, series)
    write_segmentation(series, np.where(labels == 1, 0, labels), path, kind=kind)
    with pytest.raises(HeadrestError, match="label 2 alone, which is the patient"):
        read_mask(path, series)
    write_segmentation(series, labels == 9, path)
    assert not read_mask(path, series).any()
