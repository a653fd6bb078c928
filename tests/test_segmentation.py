"""Masks as DICOM Segmentation, RT Structure Set and NIfTI, read back by other code."""

from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import CANARY, make_series, refused, uid
from factories import sitk_hu, sitk_image, timeless
from makers import TILT_15, C, S, made, validator_errors
from pydicom import Dataset, dcmread
from scipy import ndimage
from skimage.measure import grid_points_in_poly

from headrest import __version__, read_series
from headrest.dicom import write_segmentation
from headrest.dicom.mask import read_mask
from headrest.dicom.nifti import is_sheared, needs_resampling, write_nifti
from headrest.dicom.segmentation import CLUSTER_ANALYSIS, TYPE_2
from headrest.dicom.structures import write_structures

highdicom = pytest.importorskip("highdicom")
pytest.importorskip("contourpy")
nibabel = pytest.importorskip("nibabel")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
UNEVEN = {"ImagePositionPatient": lambda n: [-112, -112, round(5.0 * n**1.5, 3)]}

SHAPES = {
    "even": {},
    "one-slice": {"n": 1},
    "tilted": TILT_15,
    "tilted-and-uneven": TILT_15 | UNEVEN,
    "feet-first": {"ImagePositionPatient": lambda n: [-112, -112, -5.0 * n]},
    "63-columns": {"hu": np.zeros((64, 63), int)},
    "oblong": {"PixelSpacing": [2.5, 3.5], "hu": np.zeros((64, 60), int)},
}

every_kind = pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])


def shapes(*names):
    return pytest.mark.parametrize("changes", [SHAPES[name] for name in names], ids=names)


def some_labels(series):
    """Blobs of support and patient with holes, blobs in these and single pixels; an empty slice."""
    noise = np.random.default_rng(0).random(series.stored.shape)
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    labels = np.digitize(smooth, np.quantile(smooth, [0.4, 0.7])).astype(np.uint8)
    labels[noise > 0.995] = 1
    labels[len(labels) // 2] *= len(labels) == 1
    return labels


def segment(tmp_path, kind="BINARY", **changes):
    """Write the segmentation of a series with these changes; return series, labels and file."""
    series, path = made(tmp_path / "scan", **changes), tmp_path / "headrest.dcm"
    labels = some_labels(series)
    write_segmentation(series, labels, path, "method=test", CLUSTER_ANALYSIS, kind)
    return series, labels, path


def assert_valid(path, series, labels):
    """Highdicom reads each segment as the labels, and a validator finds no error."""
    uids = [header.SOPInstanceUID for header in series.headers]
    numbers = [1] if labels.dtype == bool else [1, 2]
    found = highdicom.seg.segread(path).get_pixels_by_source_instance(uids, segment_numbers=numbers)
    assert np.array_equal(found @ numbers, labels)
    assert validator_errors("dciodvfy", path) == []


def code(sequence):
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator, sequence[0].CodeMeaning


SUPPORT = ("260787004", "SCT", "Physical object"), ("706683002", "SCT", "Headrest")
PATIENT = ("123037004", "SCT", "Anatomical Structure"), ("38266002", "SCT", "Entire body")


@every_kind
@shapes(*SHAPES)
def test_support_and_patient_are_read_back_to_the_bit(tmp_path, kind, changes):
    series, labels, path = segment(tmp_path, kind, **changes, SpacingBetweenSlices=1)
    assert_valid(path, series, labels)
    ds = dcmread(path)
    assert ds.SegmentationType == kind
    assert ds.NumberOfFrames == len(series) * (2 if kind == "BINARY" else 1)
    for one, codes in zip(ds.SegmentSequence[-2:], (SUPPORT, PATIENT)):
        kinds = one.SegmentedPropertyCategoryCodeSequence, one.SegmentedPropertyTypeCodeSequence
        assert tuple(map(code, kinds)) == codes
    places = {header.SOPInstanceUID: header.ImagePositionPatient for header in series.headers}
    for frame in ds.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        assert place == places[source.ReferencedSOPInstanceUID]
    (shared,) = ds.SharedFunctionalGroupsSequence
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert np.allclose(orientation, series.orientation, atol=1e-6)
    (measures,) = shared.PixelMeasuresSequence
    assert measures.PixelSpacing == list(series.spacing_mm[1:])
    is_even = len(series) > 1 and np.ptp(series.gaps_mm) < 0.01
    between = pytest.approx(series.spacing_mm[0]) if is_even else None
    assert measures.get("SpacingBetweenSlices") == between


@every_kind
def test_the_mask_reader_takes_the_support_empty_or_full_and_never_the_patient(tmp_path, kind):
    series, labels, path = segment(tmp_path, kind, **SHAPES["tilted-and-uneven"])
    assert np.array_equal(read_mask(path, series), labels == 1)
    ds = dcmread(path)
    for one in ds.SegmentSequence:
        one.SegmentedPropertyTypeCodeSequence[0].CodeValue = "85756007"  # tissue
        one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = one.SegmentLabel = "Tissue"
    ds.save_as(path)
    refused("labels 1, 2 of .*1 Tissue, 2 Tissue: keep", read_mask, path, series)
    write_segmentation(series, np.where(labels == 1, 0, labels), path, kind=kind)
    refused("label 2 alone, which is the patient", read_mask, path, series)
    for fill in (False, True):
        mask = np.full(labels.shape, fill)
        write_segmentation(series, mask, path)
        assert_valid(path, series, mask)
        assert (read_mask(path, series) == mask).all()
        assert dcmread(path).NumberOfFrames == 3


SETS = ["ISO_IR 6", "ISO_IR_100", "UTF-8", "ISO_IR 999", ["", "ISO 2022 IR 87"]]
NAMES = [(sets, "Mueller^Anna") for sets in SETS] + [("ISO_IR 100", "M\u00fcller^\u00c5sa")]


@pytest.mark.parametrize(("sets", "name"), NAMES)
def test_a_name_keeps_its_letters_in_any_character_set(tmp_path, sets, name):
    (other := Dataset()).PatientID, other.TypeOfPatientID = name, "TEXT"
    other.private_block(0x11, "OURS", create=True).add_new(1, "LO", "private")
    named = {"PatientName": name, "OtherPatientIDsSequence": [other]}
    series, labels, path = segment(tmp_path, SpecificCharacterSet=sets, **named)
    assert_valid(path, series, labels)
    assert str(dcmread(path).PatientName) == name
    assert dcmread(path).OtherPatientIDsSequence[0].PatientID == name
    assert b"private" not in path.read_bytes()
    write_structures(series, labels, path)
    assert str(dcmread(path).PatientName) == name


def test_patient_and_study_are_those_of_the_source_and_the_algorithm_is_named(tmp_path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 9}
    series, labels, path = segment(tmp_path, StudyDescription="Head", PatientAge="040Y", **lossy)
    write_structures(series, labels, tmp_path / "rt.dcm")
    ds, structures, before = dcmread(path), dcmread(tmp_path / "rt.dcm"), series.headers[0]
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert ds[keyword].value == structures[keyword].value == before[keyword].value
    for keyword in ("PatientAge", "StudyDescription", *lossy):
        assert ds[keyword].value == before[keyword].value
    assert ds.SeriesInstanceUID != before.SeriesInstanceUID
    one = ds.SegmentSequence[0]
    (algorithm,) = one.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("headrest", __version__)
    assert algorithm.AlgorithmParameters == "method=test"
    assert code(algorithm.AlgorithmFamilyCodeSequence) == CLUSTER_ANALYSIS
    assert one.SegmentAlgorithmType == "AUTOMATIC"
    assert validator_errors("dcentvfy", path, *(tmp_path / "scan").iterdir()) == []


ODD = {
    "sex-unknown": {"PatientSex": "U"},
    "birth-year": {"PatientBirthDate": b"1990"},
    "time-in-words": {"StudyTime": b"noon"},
    "no-thickness": {"SliceThickness": None},
    "no-frame-of-reference": {"FrameOfReferenceUID": None},
    "one-frame-of-reference": {"FrameOfReferenceUID": lambda n: uid("frame") if n == 1 else None},
    "frames-of-reference": {"FrameOfReferenceUID": lambda n: uid("frame", n)},
    "negative-number": {"SeriesNumber": -7000},
    "no-method": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""},
    **{keyword: {keyword: None} for keyword in TYPE_2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_odd_headers_make_a_valid_segmentation(tmp_path, name):
    series, labels, path = segment(tmp_path, **ODD[name])
    assert_valid(path, series, labels)
    assert name not in TYPE_2 or not dcmread(path)[name].value  # added empty
    frames = {header.get("FrameOfReferenceUID") for header in series.headers}
    assert (dcmread(path).FrameOfReferenceUID in frames) == (frames == {uid("frame")})


@pytest.mark.parametrize("write", [write_segmentation, write_structures])
def test_a_rerun_writes_the_same_and_other_parameters_make_other_uids(tmp_path, write):
    series, names = made(tmp_path / "scan"), ("one", "one again", "other")
    before = [str(header) for header in series.headers]
    for name in names:
        write(series, some_labels(series), tmp_path / name, f"method={name[:3]}")
    assert [str(header) for header in series.headers] == before
    one, again, other = (dcmread(tmp_path / name) for name in names)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert one[keyword].value == again[keyword].value != other[keyword].value
    assert write is write_structures or timeless(tmp_path / "one") == timeless(tmp_path / names[1])


@pytest.mark.parametrize(
    "write",
    [write_segmentation, write_structures, write_nifti, partial(write_nifti, resample=True)],
)
def test_refuses_what_it_cannot_write_and_leaves_no_file(tmp_path, write, monkeypatch, capfd):
    path, good = tmp_path / "headrest.dcm", made(tmp_path / "scan")
    make_series(tmp_path / "scan", ImagePositionPatient=None)
    series = read_series(tmp_path / "scan", by_instance_number=True)
    refused("have no position", write, series, some_labels(series), path)
    refused("a mask of", write, good, some_labels(good)[:2], path)
    if write in (write_segmentation, write_structures):
        lost = made(tmp_path / "scan", StudyInstanceUID="")
        refused("StudyInstanceUID is missing", write, lost, some_labels(lost), path)
        refused("a label 255: expected", write, good, some_labels(good) * np.uint8(255), path)
    if write is write_segmentation:
        for fault in (OSError(28, "Value"), ValueError(CANARY)):
            monkeypatch.setattr(Dataset, "save_as", Mock(side_effect=fault))
            refused("Value", write, good, some_labels(good), path)
        refused("FRACTIONAL: expected", write, good, some_labels(good), path, kind="FRACTIONAL")
    if write is write_nifti:
        near = {"ImagePositionPatient": lambda n: [0.1 * (n == 2), 0, 5 * n]}
        series, words = made(tmp_path / "scan", 4, **near), "up to 0.10 mm from an even grid"
        refused(words, write, series, some_labels(series), path)
        refused("int64: expected", write, good, some_labels(good).astype(np.int64), path)
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]
    assert CANARY not in "".join(capfd.readouterr())


def filled(series, contours):
    """Pixels whose centres lie inside an odd number of contours."""
    masks = np.zeros(series.stored.shape, bool)
    uids = [header.SOPInstanceUID for header in series.headers]
    for contour in contours:
        i = uids.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        points = np.reshape(contour.ContourData, (-1, 3))
        assert contour.NumberOfContourPoints == len(points)
        to_image = highdicom.spatial.ReferenceToImageTransformer.for_image(series.headers[i])
        placed = to_image(points)
        assert np.abs(placed[:, 2]).max() < 0.01
        masks[i] ^= grid_points_in_poly(masks[i].shape, placed[:, 1::-1] - 0.5)
    return masks


@shapes("one-slice", "tilted-and-uneven", "oblong")
def test_contours_enclose_exactly_the_labelled_pixels_of_named_structures(tmp_path, changes):
    series, path = made(tmp_path / "scan", **changes), tmp_path / "structures.dcm"
    labels = some_labels(series)
    write_structures(series, labels, path, "method=test")
    ds = dcmread(path)
    for n, roi in enumerate(ds.ROIContourSequence, 1):
        assert roi.ReferencedROINumber == n
        assert np.array_equal(filled(series, roi.ContourSequence), labels == n)
    assert [one.ROIName for one in ds.StructureSetROISequence] == ["SUPPORT", "EXTERNAL"]
    types = [one.RTROIInterpretedType for one in ds.RTROIObservationsSequence]
    assert types == ["SUPPORT", "EXTERNAL"]
    assert {roi.ROIGenerationAlgorithm for roi in ds.StructureSetROISequence} == {"AUTOMATIC"}
    (study,) = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    (referenced,) = study.RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.uid
    assert len(referenced.ContourImageSequence) == len(series)
    assert validator_errors("dciodvfy", path) == []
    write_structures(series, np.full_like(labels, 2), path)
    support, patient = dcmread(path).ROIContourSequence
    assert "ContourSequence" not in support
    assert len(patient.ContourSequence) == len(series)
    assert validator_errors("dciodvfy", path) == []


NAMED = ("one.nii.gz", "UPPER.NII.GZ", "raw.nii")
PLACED = {
    **{name: SHAPES[name] for name in ("one-slice", "oblong", "feet-first", "tilted")},
    "roughly-rounded-axes": {"n": 1, "ImageOrientationPatient": [1, 0, 0, 0, 0.9272, -0.3746]},
    "rounded-positions": {"n": 7, "ImagePositionPatient": lambda n: [0, 0, round(n / 0.3, 2)]},
    "head-turned": TILT_15
    | {"ImagePositionPatient": lambda n: [-112, round(5 * n * S, 6), round(5 * n * C, 6)]},
}


@pytest.mark.parametrize("changes", PLACED.values(), ids=PLACED)
def test_a_mask_lies_where_its_scan_does_and_is_read_by_simpleitk_unless_tilted(tmp_path, changes):
    """A tilted gantry gives a sheared sform only."""
    series, paths = made(tmp_path / "scan", **changes), [tmp_path / name for name in NAMED]
    mask, pixels = some_labels(series) == 1, np.array([[0, 0], [60, 0], [0, 60], [3, 5]])
    for path in paths:
        write_nifti(series, mask, path, "method=test")
        image = nibabel.load(path)
        assert np.array_equal(image.get_fdata().T, mask)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"]).startswith(b"headrest ")
    assert CANARY.encode() not in image.to_bytes()
    near_mm = 0.01 if changes is PLACED["rounded-positions"] else 1e-3
    for k, header in enumerate(series.headers):
        axes = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        place = header.ImagePositionPatient, list(unit.ravel()), header.PixelSpacing
        expected = highdicom.spatial.PixelToReferenceTransformer(*place)(pixels)
        found = nibabel.affines.apply_affine(image.affine, np.insert(pixels, 2, k, axis=1))
        assert np.abs(found * [-1, -1, 1] - expected).max() < near_mm
    assert is_sheared(series) == (changes is TILT_15)
    if is_sheared(series):
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
        with pytest.raises(RuntimeError, match="orthonormal"):
            sitk_image(path)
    else:
        assert np.array_equal(sitk_hu(path), mask)


PLACES = [0, 2, 5, 9, 14, 15, 20, 26, 27, 28.2]
UNEVEN_10 = {"ImagePositionPatient": lambda n: [-112, -112, float(PLACES[n - 1])]}
GRIDS = {"uneven": UNEVEN_10, "tilted": TILT_15, "tilted-and-uneven": TILT_15 | UNEVEN_10}


def ramp(points):
    """HU that rise evenly along each axis, so that linear interpolation is exact."""
    return points @ [1.5, -2.0, 3.0] - 40


@pytest.mark.parametrize("changes", GRIDS.values(), ids=GRIDS)
def test_resampled_values_lie_where_they_did_and_labels_stay_labels(tmp_path, changes):
    series, path = made(tmp_path / "scan", 10, **changes), tmp_path / "resampled.nii.gz"
    assert needs_resampling(series)
    axes = series.orientation.reshape(2, 3)
    r, c = np.mgrid[:64, :64]
    plane = 3.5 * (c[..., None] * axes[0] + r[..., None] * axes[1])
    write_nifti(series, ramp(series.positions[:, None, None] + plane), path, resample=True)
    image = nibabel.load(path)
    steps = image.affine[:3, :3]
    assert np.allclose(steps.T @ steps, np.diag(np.square(image.header.get_zooms())), atol=1e-4)
    assert image.header.get_zooms() == pytest.approx((3.5, 3.5, series.spacing_mm[0]), rel=1e-5)
    i, j, k = np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij")
    points = nibabel.affines.apply_affine(image.affine, np.stack([i, j, k], -1)) * [-1, -1, 1]
    inside = np.zeros(image.shape, bool)
    inside[2:-2, 12:-12, 1:-1] = True
    assert np.abs(image.get_fdata() - ramp(points))[inside].max() < 0.01
    sitk_image(path)
    write_nifti(series, np.full(series.stored.shape, -1000, np.int16), path, resample=True)
    assert (nibabel.load(path).get_fdata() == -1000).all()  # air beyond the slices too
    labels = np.zeros(series.stored.shape, np.uint8)
    labels[:, 20:30, 20:30], labels[:, 40:44] = 2, 1
    write_nifti(series, labels, path, resample=True)
    found = np.asarray(nibabel.load(path).dataobj)
    assert found.dtype == np.uint8
    for k in range(found.shape[2]):
        assert [(found[..., k] == n).sum() for n in (1, 2)] == [4 * 64, 100]
    write_nifti(series, labels * np.uint8(np.arange(10) == 9)[:, None, None], path, resample=True)
    assert np.asarray(nibabel.load(path).dataobj).any()  # the last slice, near the one before
