"""Multi-frame CT images: enhanced, legacy converted, and plain CT Image of several frames.

Oracles: highdicom, SimpleITK and dcm2niix, and the single-frame series that was converted.
"""

import shutil

import makers
import numpy as np
import pytest
from conftest import head_hu, make_series, make_slice, uid, write_slice
from factories import sitk_hu, sitk_image
from makers import TILT, made, peaks, refusal, validator_errors, with_peak
from pydicom import dcmread
from pydicom.encaps import encapsulate_extended, generate_frames
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage as CAPTURE

from headrest import read_series
from headrest.dicom import find_series, load_series, write_derived_series, write_segmentation
from headrest.dicom.write import item

highdicom = pytest.importorskip("highdicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
FRAMES = 5
MOVED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
MOVED += ("RescaleSlope", "RescaleIntercept", "RescaleType", "AcquisitionNumber")
SHARED = {
    "PixelMeasures": {"PixelSpacing": [3.5, 3.5], "SliceThickness": 5},
    "PlaneOrientation": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelValueTransformation": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
    "CTImageFrameType": {"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]},
}


def groups(**sequences):
    """Functional groups: name of the sequence (without Sequence) to the attributes of its item."""
    return item(**{f"{name}Sequence": [item(**one)] for name, one in sequences.items()})


def height(n):
    return {"PlanePosition": {"ImagePositionPatient": [-112, -112, 5.0 * n]}}


def plain(n=FRAMES, pixels=with_peak, **changes):
    """A CT Image of several frames without functional groups."""
    words = np.concatenate([pixels(i) + 1024 for i in range(1, n + 1)])
    return make_slice(stored=words, **{"Rows": 64, "NumberOfFrames": n, **changes})


def enhanced(of_frame=lambda n: {}, n=FRAMES, shared=SHARED, **changes):
    """An enhanced CT image, its first frame highest; `of_frame` gives groups of each frame."""
    about = {"SOPClassUID": EnhancedCTImageStorage, "SOPInstanceUID": uid("enhanced")}
    about["ImageType"] = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds = plain(n, **dict.fromkeys(MOVED), **about | changes)
    ds.SharedFunctionalGroupsSequence = [groups(**shared)]
    each = [groups(**{**height(FRAMES - i), **of_frame(i)}) for i in range(1, n + 1)]
    ds.PerFrameFunctionalGroupsSequence = each
    return ds


@pytest.fixture
def path(tmp_path):
    return tmp_path / "in" / "multi.dcm"


def read(path, ds):
    return read_series(write_slice(path, ds))


DESCENDING = [5, 4, 3, 2, 1]
"""Peaks of `enhanced`, from feet to head."""


def test_reads_hu_and_geometry_of_each_frame(path):
    series = read(path, enhanced())
    assert peaks(series) == DESCENDING
    assert np.array_equal(series.hu[:, 1:], [head_hu()[1:]] * FRAMES)
    assert np.array_equal(series.positions, [[-112, -112, 5 * i] for i in range(FRAMES)])
    assert (series.spacing_mm, series.warnings) == ((5, 3.5, 3.5), ())
    assert series.frames == (5, 4, 3, 2, 1)
    series = read(path, enhanced(height))  # SimpleITK does not sort frames
    assert np.array_equal(series.hu, sitk_hu(path))
    assert np.allclose(sitk_image(path).GetOrigin(), series.positions[0])
    volume = highdicom.imread(path).get_volume(apply_real_world_transform=False)
    order = [np.flatnonzero((volume.array == hu).all((1, 2)))[0] for hu in series.hu]
    corners = [volume.map_indices_to_reference(np.array([[i, 0, 0]]))[0] for i in order]
    assert np.allclose(corners, series.positions)


@pytest.mark.parametrize("syntax", [makers.RLE, makers.JLS, makers.J2K], ids=str)
def test_reads_compressed_frames_and_an_extended_offset_table(path, syntax):
    ds = makers.encoded(enhanced(), syntax)
    assert peaks(read(path, ds)) == DESCENDING
    frames = encapsulate_extended(list(generate_frames(ds.PixelData, number_of_frames=FRAMES)))
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = frames
    assert peaks(read(path, ds)) == DESCENDING


CHANGES = {
    "tilted": {"ImageOrientationPatient": TILT},
    "uneven": {"ImagePositionPatient": lambda n: [-112, -112, 5.0 * n**1.5]},
    "rescale-differs": {"RescaleSlope": lambda n: 0.5**n},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_reads_a_legacy_converted_series_as_its_source(tmp_path, changes):
    converter = highdicom.legacy.LegacyConvertedEnhancedCTImage
    paths = make_series(tmp_path / "single", FRAMES, **changes)
    ds = converter([dcmread(path) for path in paths], uid("legacy"), 7, uid("legacy", 1), 1)
    assert ds.SOPClassUID == LegacyConvertedEnhancedCTImageStorage
    ds.save_as(tmp_path / "legacy.dcm")
    single, multi = (read_series(tmp_path / name) for name in ("single", "legacy.dcm"))
    for name in ("hu", "positions", "orientation", "spacing_mm", "extent_mm", "warnings"):
        assert np.array_equal(getattr(single, name), getattr(multi, name)), name


def by_phase(n):
    """Two phases over the same positions, ten frames in all."""
    content = {"TemporalPositionIndex": 1 + (n > FRAMES)}
    content["FrameAcquisitionDateTime"] = "20200102030405.5" + ("-0500", "+0930", "")[n % 3]
    exposure = {"ExposureTimeInms": float(("nan", "inf")[n % 2])}  # no integers
    return height((n - 1) % FRAMES) | {"FrameContent": content, "CTExposure": exposure}


def test_phases_of_one_file_are_stacks_with_fingerprints_of_their_own(path):
    write_slice(path, enhanced(by_phase, n=2 * FRAMES))
    found, phases = find_series(path).series, [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    assert [peaks(load_series(files)) for files in found] == phases
    assert len({files.fingerprint() for files in found}) == 2
    for header in load_series(found[0]).headers:  # the offset from UTC is no part of a time
        assert (header.AcquisitionDate, header.AcquisitionTime) == ("20200102", "030405.5")


def test_frames_of_several_files_are_one_stack_and_copies_are_dropped(tmp_path):
    for part in (0, 1):
        here = {"of_frame": lambda n, part=part: height(n + FRAMES * part)}
        here["pixels"] = lambda n, part=part: with_peak(n + 10 * part)
        write_slice(tmp_path / f"{part}.dcm", enhanced(SOPInstanceUID=uid("part", part), **here))
    assert peaks(read_series(tmp_path)) == [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]
    shutil.copy(tmp_path / "0.dcm", tmp_path / "copy.dcm")
    (files,) = find_series(tmp_path).series
    series = load_series(files)
    assert files.fingerprint() == series.fingerprint
    assert peaks(series) == [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]
    assert series.warnings == ("5 repeated files dropped",)


def test_leaves_out_localizers_other_orientations_and_captures_without_positions(path):
    scout = {"CTImageFrameType": {"FrameType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]}}
    sagittal = {"PlaneOrientation": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}
    series = read(path, enhanced(lambda n: {1: scout, 2: sagittal}.get(n, {})))
    assert peaks(series) == [5, 4, 3]
    found = "localizer, not a slice", "not axial"
    assert series.warnings == tuple(f"skipped multi.dcm (Head): {reason}" for reason in found)
    series = read(path, enhanced(SOPClassUID=CAPTURE))
    assert peaks(series) == DESCENDING
    assert "multi-frame capture" in " ".join(series.warnings)
    ds = plain(SeriesInstanceUID=uid("capture"), SOPClassUID=CAPTURE)
    write_slice(path.with_name("screens.dcm"), ds)
    assert "skipped screens.dcm (Head): " in " ".join(read_series(path.parent).warnings)


@pytest.mark.parametrize(
    "changes", [{"SpacingBetweenSlices": 2.5}, {"GridFrameOffsetVector": [0, 2.5, 5, 7.5, 10]}]
)
def test_places_frames_by_their_distances_and_warns(path, changes):
    series = read(path, plain(SOPClassUID="1.2.826.0.1.77", **changes))
    assert peaks(series) == [1, 2, 3, 4, 5]
    assert np.array_equal(series.positions[:, 2], [5, 7.5, 10, 12.5, 15])
    for remark in ("head and feet may be swapped", "not a class of the Standard"):
        assert remark in " ".join(series.warnings)


OF_FIVE = {"PixelData": bytes(5 * 64 * 64 * 2), "Columns": 64}
COLOUR = {"CTImageFrameType": {"PixelPresentation": "COLOR", **SHARED["CTImageFrameType"]}}
REFUSED = {
    "no-uid": (lambda: enhanced(SOPInstanceUID=None), "SOPInstanceUID is missing"),
    "too-many": (lambda: enhanced(NumberOfFrames=5000), "5000 frames in"),
    "groups-of-fewer": (lambda: enhanced(NumberOfFrames=7), "5 functional groups"),
    "pixels-of-fewer": (lambda: enhanced(n=4, **OF_FIVE), "bytes of pixel data"),
    "map": (lambda: enhanced(shared=SHARED | COLOUR), "a colour map, no HU"),
}


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_frames_that_are_no_volume(path, make, words):
    assert words in refusal(write_slice(path, make()))


def test_derived_slices_and_the_segmentation_refer_to_their_frames(path, tmp_path):
    """But a slice that names another conversion refers to itself."""
    origin = item(ReferencedSOPClassUID=EnhancedCTImageStorage, ReferencedFrameNumber=3)
    origin.ReferencedSOPInstanceUID = uid("x")
    single = made(tmp_path / "single", 1, ConversionSourceAttributesSequence=[origin])
    write_derived_series(single, single.hu == 120, tmp_path / "one")
    (source,) = dcmread(tmp_path / "one" / "0001.dcm").SourceImageSequence
    assert source.ReferencedSOPInstanceUID == uid("slice", 1)
    assert "ReferencedFrameNumber" not in source
    series = read(path, enhanced())
    write_derived_series(series, series.hu == 120, tmp_path / "out", "method=test")
    slices = sorted((tmp_path / "out").iterdir())
    derived = read_series(tmp_path / "out")
    assert np.array_equal(derived.hu, np.where(series.hu == 120, -1000, series.hu))
    assert np.array_equal(derived.positions, series.positions)
    for n, one in zip(DESCENDING, map(dcmread, slices)):
        (source,) = one.SourceImageSequence
        assert source.ReferencedSOPClassUID == EnhancedCTImageStorage
        assert source.ReferencedSOPInstanceUID == uid("enhanced")
        assert source.ReferencedFrameNumber == n
        assert one.ImageType == ["DERIVED", "PRIMARY", "AXIAL", "VOLUME", "NONE"]
        assert "NumberOfFrames" not in one
        assert "PerFrameFunctionalGroupsSequence" not in one
    assert validator_errors("dciodvfy", *slices) == []
    assert validator_errors("dcentvfy", path, *slices) == []
    mask = np.random.default_rng(0).random(series.stored.shape) > 0.5
    write_segmentation(series, mask, tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    pixels = seg.get_pixels_by_source_frame(uid("enhanced"), DESCENDING)[..., 0]
    assert np.array_equal(pixels, mask)
    (referred,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert referred.ReferencedSOPClassUID == EnhancedCTImageStorage
    assert validator_errors("dciodvfy", tmp_path / "seg.dcm") == []
