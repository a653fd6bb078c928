"""Reading a series: values, padding, geometry. What is damaged is in test_reliability.py."""

import re
import shutil
import sys
from functools import partial

import numpy as np
import pytest
from conftest import head_hu, make_series, make_slice, uid, write_slice
from makers import (
    ENCODERS,
    NATIVE,
    bare,
    compressed,
    drawing,
    encoded,
    items,
    jpeg,
    odd,
    overlaid,
    refusal,
    tilted,
    validator_errors,
    whole,
    with_peak,
    without_class,
)
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    CTImageStorage,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from headrest import read_series, write_derived_series
from headrest.dicom import find_series

# Values.


def test_applies_a_default_rescale_to_images_without_rescale(tmp_path):
    make_series(tmp_path, RescaleSlope=None, RescaleIntercept=None)
    assert np.array_equal(read_series(tmp_path, default_rescale=(1, -1024)).hu[0], head_hu())


def test_never_replaces_a_damaged_rescale_by_the_default(tmp_path):
    make_series(tmp_path / "none", RescaleSlope=None, RescaleIntercept=None)
    assert "--default-rescale" in refusal(tmp_path / "none")
    make_series(tmp_path / "broken", RescaleSlope=None)
    for options in ({}, {"default_rescale": (1, -1024)}):
        said = refusal(tmp_path / "broken", **options)
        assert "RescaleSlope" in said
        assert "--default-rescale" not in said  # it would not help


def test_warns_of_signed_values_declared_unsigned_in_12_bits(tmp_path):
    make_series(tmp_path, 1, stored=head_hu(), BitsStored=12, HighBit=11)
    series = read_series(tmp_path)
    assert series.hu.min() >= -1024
    assert series.warnings


def test_keeps_half_hu_after_a_slice_of_integer_hu(tmp_path):
    stored = np.full((64, 64), 2053)
    make_series(tmp_path, stored=stored, RescaleSlope=lambda n: 1 if n == 1 else 1.5)
    assert [one[0, 0] for one in read_series(tmp_path).hu] == [1029, 2055.5, 2055.5]


def test_moves_an_overlay_in_the_pixels_to_overlay_data(tmp_path):
    overlaid()(tmp_path)
    header = read_series(tmp_path).headers[0]
    assert np.array_equal(header.overlay_array(0x6000).astype(bool), drawing())
    assert header[0x6000, 0x0100].value == 1
    assert header[0x6000, 0x0102].value == 0


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(("bits", "signed"), [(12, 0), (12, 1), (16, 0), (16, 1)])
def test_lossless_compression_changes_nothing(tmp_path, syntax, bits, signed):
    shape = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": signed}
    ds = make_slice(**shape, RescaleIntercept=0 if signed else -1024)
    write_slice(tmp_path / "raw" / "1.dcm", ds)
    write_slice(tmp_path / "small" / "1.dcm", encoded(ds, syntax))
    raw, small = read_series(tmp_path / "raw"), read_series(tmp_path / "small")
    assert np.array_equal(small.stored, raw.stored)
    assert np.array_equal(small.hu[0], head_hu())


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("signed", [0, 1])
def test_reads_jpeg_lossless_as_simpleitk(tmp_path, predictor, signed):
    sitk = pytest.importorskip("SimpleITK")
    shape = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed}
    ds = make_slice(**shape, RescaleIntercept=0 if signed else -1024)
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    path = write_slice(tmp_path / "1.dcm", jpeg(ds, syntax, lossless=True, predictor=predictor))
    series = read_series(tmp_path)
    assert np.array_equal(series.hu[0], head_hu())
    assert np.array_equal(series.hu, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert not series.warnings


def test_reads_jpeg_of_twelve_bits_and_declares_it_lossy(tmp_path):
    ds = make_slice(BitsStored=12, HighBit=11)
    write_slice(tmp_path / "1.dcm", jpeg(ds, JPEGExtended12Bit, level=95))
    series = read_series(tmp_path)
    assert 0 < np.abs(series.hu[0] - head_hu()).max() < 100
    assert "lossy" in " ".join(series.warnings)


def test_warns_of_bits_dropped_before_jpeg_lossless(tmp_path):
    small = {"BitsStored": 12, "HighBit": 11, "hu": np.minimum(head_hu(), -500)}
    ds = encoded(make_slice(**small), JPEGLosslessSV1)
    frame = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
    frame[frame.index(b"\xff\xda") + 9] = 1  # the point transform: as if one bit were missing
    ds.PixelData = encapsulate([bytes(frame)])
    write_slice(tmp_path / "1.dcm", ds)
    assert "lossy" in " ".join(read_series(tmp_path).warnings)


def test_names_a_missing_imagecodecs(tmp_path, monkeypatch):
    compressed(JPEGLosslessSV1)(tmp_path)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert "pip install imagecodecs" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("syntax", "package"), [(JPEG2000Lossless, "pylibjpeg"), (JPEGLSLossless, "pyjpegls")]
)
def test_names_the_package_of_a_missing_decoder(tmp_path, monkeypatch, syntax, package):
    compressed(syntax)(tmp_path)
    decoder = get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {ENCODERS[syntax]: ("numpy", package)})
    assert f"pip install {package}" in refusal(tmp_path)


def test_calls_only_the_named_decoder_plugin(tmp_path, monkeypatch):
    compressed(RLELossless)(tmp_path)
    calls, decoder = [], get_decoder(RLELossless)
    plugins = {"other": lambda *frame: calls.append(frame), **decoder._available}
    monkeypatch.setattr(decoder, "_available", plugins)
    assert np.array_equal(read_series(tmp_path).hu[0], head_hu())
    assert calls == []


@pytest.mark.parametrize("syntax", [*NATIVE, *ENCODERS], ids=lambda syntax: syntax.name)
def test_refuses_a_file_cut_at_any_length(tmp_path, syntax):
    native = syntax in NATIVE
    ds = make_slice(TransferSyntaxUID=syntax) if native else encoded(make_slice(), syntax)
    path = write_slice(tmp_path / "1.dcm", ds)
    data = path.read_bytes()
    for length in range(0, len(data) - 2, 61):
        path.write_bytes(data[:length])
        refusal(tmp_path)


@pytest.mark.parametrize("claimed", [JPEGLSNearLossless, JPEGLSLossless])
def test_warns_of_near_lossless_pixels_without_a_tag(tmp_path, claimed):
    ds = make_slice(BitsStored=12, HighBit=11)
    options = {"encoding_plugin": "pyjpegls", "jls_error": 2, "generate_instance_uid": False}
    ds.compress(JPEGLSNearLossless, **options)
    ds.file_meta.TransferSyntaxUID = claimed
    write_slice(tmp_path / "1.dcm", ds)
    series = read_series(tmp_path)
    assert np.abs(series.hu[0] - head_hu()).max() <= 2
    assert "lossy" in " ".join(series.warnings)


COMPRESSED = [
    RLELossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    JPEGLosslessSV1,
    JPEGExtended12Bit,
    HTJ2KLossless,
    HTJ2K,
]


def unpadded_frame(syntax):
    """A slice and its compressed frame without padding; of odd length for RLE."""
    shape = {"BitsStored": 12, "HighBit": 11}
    options = {JPEGLSNearLossless: {"jls_error": 2}, JPEG2000: {"j2k_cr": [5]}}.get(syntax, {})
    for corner in range(100):  # RLE pads with one zero, if at all; the last pixels are not zero
        ds = encoded(make_slice(**shape, hu=with_corner(corner)), syntax, **options)
        frame = get_frame(ds.PixelData, 0, number_of_frames=1)
        if syntax != RLELossless or frame.endswith(b"\0"):
            return ds, frame.rstrip(b"\0")
    raise AssertionError


def with_corner(value):
    """The head with a few different pixels in the first row."""
    image = head_hu()
    image[0, : value % 10] = np.arange(value % 10) * value
    return image


@pytest.mark.parametrize("pad", [b"\0", b"\xff", b"\xd9", b"\xcc", b"\x33"])
@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_reads_a_compressed_frame_with_any_pad_byte(tmp_path, syntax, pad, capfd):
    sitk = pytest.importorskip("SimpleITK")
    ds, frame = unpadded_frame(syntax)
    ds.PixelData = items(frame + pad * (2 - len(frame) % 2))
    path = write_slice(tmp_path / "1.dcm", ds)
    series = read_series(tmp_path)
    assert np.array_equal(series.hu, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


@pytest.mark.parametrize("pad", [b"\0", b"\xff", b"\xd9", b"\xcc", b"\x33"])
@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_refuses_a_cut_compressed_frame_with_any_pad_byte(tmp_path, syntax, pad):
    ds, frame = unpadded_frame(syntax)
    for length in (len(frame) // 3, len(frame) // 2, len(frame) - 30):
        cut = frame[:length]
        ds.PixelData = items(cut + pad * (2 - len(cut) % 2))
        write_slice(tmp_path / "1.dcm", ds)
        refusal(tmp_path)


# Files without class, meta information or sign.


@pytest.mark.parametrize(
    "make", [without_class(CTImageStorage), bare()], ids=["class-only-in-meta", "bare"]
)
def test_reads_files_without_class_or_meta_information_as_simpleitk(tmp_path, make):
    sitk = pytest.importorskip("SimpleITK")
    make(tmp_path / "in")
    series = read_series(tmp_path / "in")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "in"))
    assert np.array_equal(series.hu, sitk.GetArrayFromImage(sitk.ReadImage(names)))
    write_derived_series(series, series.hu > 110, tmp_path / "out")
    derived = dcmread(tmp_path / "out" / "0001.dcm")
    assert derived.SOPClassUID == derived.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert validator_errors("dciodvfy", tmp_path / "out" / "0001.dcm") == []


def test_the_advice_for_values_that_wrapped_restores_them(tmp_path):
    make_series(tmp_path, stored=head_hu() % 4096, RescaleIntercept=0, BitsStored=16)
    (command,) = re.findall("dcmodify (.*) FILE", refusal(tmp_path))
    for path in tmp_path.iterdir():
        ds = dcmread(path)
        for tag, value in re.findall("-m (\\S+)=(\\d+)", command):
            ds[tuple(int(part, 16) for part in tag.split(","))].value = int(value)
        ds.save_as(path)
    assert np.array_equal(read_series(tmp_path).hu[0], head_hu())


def test_bright_metal_is_not_taken_for_values_that_wrapped(tmp_path):
    make_series(tmp_path, 1, hu=np.where(head_hu() > 110, 3000, head_hu()))
    assert read_series(tmp_path).warnings == ()


# Padding.


def padded(folder, value, **tags):
    """Read one signed slice with a corner of stored value `value`, intercept 0."""
    stored = head_hu()
    stored[:5, :5] = value
    ds = make_slice(stored=stored, PixelRepresentation=1, RescaleIntercept=0)
    for keyword, (vr, number) in tags.items():
        ds.add_new(keyword, vr, number)
    write_slice(folder / "1.dcm", ds)
    return read_series(folder)


CORNER = np.pad(np.ones((5, 5), bool), ((0, 59), (0, 59)))


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        pytest.param(-2000, {"PixelPaddingValue": ("SS", -2000)}, id="tag"),
        pytest.param(-1060, {"PixelPaddingValue": ("SS", -1060)}, id="tag-near-air"),
        pytest.param(-1060, {"PixelPaddingValue": ("US", 65536 - 1060)}, id="tag-of-wrong-vr"),
        pytest.param(-1500, {}, id="no-tag"),
        pytest.param(-3024, {"PixelPaddingValue": ("SS", -2000)}, id="ringing-below-the-tag"),
        pytest.param(
            -1060,
            {"PixelPaddingValue": ("SS", -2000), "PixelPaddingRangeLimit": ("SS", -1050)},
            id="range-limit",
        ),
        pytest.param(
            -1060,
            {"PixelPaddingValue": ("SS", -1050), "PixelPaddingRangeLimit": ("SS", -2000)},
            id="range-limit-below",
        ),
    ],
)
def test_marks_padding_and_sets_it_to_the_floor(tmp_path, value, tags):
    series = padded(tmp_path, value, **tags)
    assert np.array_equal(series.padding[0], CORNER)
    assert np.array_equal(series.hu[0], np.where(CORNER, -1024, head_hu()))
    assert (series.stored[0][CORNER] == value).all()
    assert series.warnings == ()


@pytest.mark.parametrize("tissue", [40, -100, 1000, -800])
def test_ignores_a_padding_value_that_tissue_has(tmp_path, tissue):
    series = padded(tmp_path, tissue, PixelPaddingValue=("SS", tissue))
    assert not series.padding.any()
    assert "padding" in " ".join(series.warnings)


def test_ignores_a_padding_range_that_holds_tissue(tmp_path):
    tags = {"PixelPaddingValue": ("SS", -2000), "PixelPaddingRangeLimit": ("SS", 100)}
    series = padded(tmp_path, -2000, **tags)
    assert np.array_equal(series.padding[0], CORNER)
    assert "padding" in " ".join(series.warnings)


@pytest.mark.parametrize("air", [-1000, -1024, -1050])
def test_air_is_not_padding(tmp_path, air):
    assert not padded(tmp_path, air).padding.any()


# Geometry.


def numbered(number):
    """HU of a slice that differs from the others in its corner."""
    return with_peak(10 * number)


def corners(series):
    return [int(one[0, 0]) for one in series.hu]


@pytest.mark.parametrize("rising", [1, -1])
def test_sorts_slices_along_their_normal(tmp_path, rising):
    place = partial(np.multiply, 5 * rising)
    make_series(
        tmp_path,
        4,
        hu=numbered,
        InstanceNumber=lambda n: (n * 3) % 5,
        ImagePositionPatient=lambda n: [-112, -112, float(place(n))],
    )
    series = read_series(tmp_path)
    assert corners(series) == [10, 20, 30, 40][::rising]
    assert (np.diff(series.positions[:, 2]) > 0).all()


def test_keeps_grid_and_true_spacing_of_a_tilted_gantry(tmp_path):
    tilted(4, 20)(tmp_path)
    series = read_series(tmp_path)
    assert abs(series.tilt_deg) == pytest.approx(20, abs=0.01)
    assert series.spacing_mm == pytest.approx((5 * np.cos(np.deg2rad(20)), 3.5, 3.5))
    assert np.array_equal(series.hu[0], head_hu())


def test_sorts_a_series_without_position_by_number_on_request(tmp_path):
    lost = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    make_series(tmp_path, hu=numbered, InstanceNumber=lambda n: 9 - n, **lost)
    series = read_series(tmp_path, by_instance_number=True)
    assert corners(series) == [30, 20, 10]
    assert "InstanceNumber" in " ".join(series.warnings)


@pytest.mark.parametrize("lost", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("slices", ["all", "one"])
def test_the_option_named_in_a_refusal_works(tmp_path, lost, slices):
    (whole if slices == "all" else odd)(**{lost: None})(tmp_path)
    assert "by_instance_number=True" in refusal(tmp_path)
    assert len(read_series(tmp_path, by_instance_number=True)) == 3


@pytest.mark.parametrize("number", [None, b"abcd"])
def test_refuses_neither_position_nor_number(tmp_path, number):
    make_series(tmp_path, ImagePositionPatient=None, InstanceNumber=number)
    assert "InstanceNumber" in refusal(tmp_path, by_instance_number=True)


def test_reads_a_slice_with_a_malformed_thickness(tmp_path):
    make_series(tmp_path, 1, SliceThickness=b"thin")
    assert np.array_equal(read_series(tmp_path).hu[0], head_hu())


def two_acquisitions(folder):
    make_series(folder / "a", hu=numbered, AcquisitionNumber=1)
    again = {"SOPInstanceUID": lambda n: uid("again", n), "AcquisitionNumber": 2}
    make_series(folder / "b", hu=lambda n: numbered(n + 5), **again)


def test_chooses_one_acquisition_of_several(tmp_path):
    two_acquisitions(tmp_path)
    text = refusal(tmp_path)
    assert "AcquisitionNumber 1" in text
    assert "AcquisitionNumber 2" in text
    assert "acquisition=" in text
    assert corners(read_series(tmp_path, acquisition=2)) == [60, 70, 80]


def test_separates_acquisitions_whose_slices_alternate(tmp_path):
    one, both = {"AcquisitionNumber": 1}, [5 * n + shift for n in range(5) for shift in (0, 0.3)]
    make_series(tmp_path / "a", 5, **one, ImagePositionPatient=lambda n: [0, 0, both[2 * n - 2]])
    again = {"SOPInstanceUID": lambda n: uid("again", n), "AcquisitionNumber": 2}
    make_series(tmp_path / "b", 5, **again, ImagePositionPatient=lambda n: [0, 0, both[2 * n - 1]])
    assert "stack 2 of 2 (AcquisitionNumber 2)" in refusal(tmp_path)
    assert len(read_series(tmp_path, stack=1)) == 5
    assert len(read_series(tmp_path, acquisition=2)) == 5


def test_extent_of_a_slice_is_half_way_to_its_neighbours(tmp_path):
    heights = [0, 5, 10, 20, 30, 70]  # two stacks; then three slices are missing
    make_series(
        tmp_path,
        6,
        ImagePositionPatient=lambda n: [0, 0, heights[n - 1]],
        SliceThickness=lambda n: "5" if n <= 3 else "10",
    )
    series = read_series(tmp_path)
    assert series.spacing_mm[0] == 10
    assert series.extent_mm.tolist() == [5, 5, 7.5, 10, 10, 10]
    make_series(tmp_path / "one", 1)
    assert len(read_series(tmp_path / "one").extent_mm) == 1


def test_warns_of_a_damaged_file_of_unknown_series(tmp_path):
    make_series(tmp_path / "a")
    broken = tmp_path / "b.dcm"
    broken.write_bytes((tmp_path / "a" / "01.dcm").read_bytes()[:300])
    assert "b.dcm" in refusal(tmp_path)
    series = read_series(tmp_path, uid("series"))
    assert len(series) == 3
    assert any("b.dcm" in warning for warning in series.warnings)


def test_refuses_an_anonymised_copy_beside_its_original(tmp_path):
    make_series(tmp_path / "named")
    make_series(tmp_path / "other", PatientID="ANON", PatientName="ANON")
    assert "PatientID" in refusal(tmp_path)


def test_refuses_a_shared_position_if_each_slice_is_an_acquisition(tmp_path):
    make_series(tmp_path / "a", AcquisitionNumber=lambda n: n)
    again = {"SOPInstanceUID": uid("again"), "AcquisitionNumber": 9}
    write_slice(tmp_path / "b.dcm", make_slice(2, hu=np.zeros((64, 64), int), **again))
    text = refusal(tmp_path)
    assert "keep the right one" in text
    assert "acquisition=" not in text


def test_refuses_an_absent_acquisition(tmp_path):
    two_acquisitions(tmp_path)
    assert "7" in refusal(tmp_path, acquisition=7)


def test_lists_two_series_and_reads_the_chosen_one(tmp_path):
    make_series(tmp_path / "a")
    other = {"SeriesInstanceUID": uid("other"), "SeriesDescription": "Bone"}
    make_series(tmp_path / "b", 2, **other, SOPInstanceUID=lambda n: uid("bone", n))
    text = refusal(tmp_path)
    for part in (uid("series"), uid("other"), "3 images", "2 images", "Head", "Bone"):
        assert part in text
    assert len(read_series(tmp_path, uid("other"))) == 2
    refusal(tmp_path, series_uid=uid("absent"))


def test_refuses_one_uid_with_other_pixels(tmp_path):
    make_series(tmp_path)
    write_slice(tmp_path / "x.dcm", make_slice(2, hu=with_peak(7)))
    assert "share a SOP Instance UID" in refusal(tmp_path)


def test_refuses_a_missing_folder(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")


# Files from elsewhere.


def test_refuses_the_blood_flow_map_of_a_scanner(tmp_path):
    """Two frames of enhanced CT whose values are ml/100ml/s."""
    shutil.copy(get_testdata_file("eCT_Supplemental.dcm", download=False), tmp_path)
    assert "skipped eCT_Supplemental.dcm and 1 more: a colour map, no HU" in refusal(tmp_path)


def test_reads_a_real_slice_in_jpeg_lossless_as_simpleitk(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = shutil.copy(get_testdata_file("bad_sequence.dcm", download=False), tmp_path)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(read_series(tmp_path).hu, theirs)


def test_refuses_jpeg_of_eight_bits(tmp_path):
    shutil.copy(get_testdata_file("bad_sequence.dcm", download=False), tmp_path / "1.dcm")
    ds = dcmread(tmp_path / "1.dcm")
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.save_as(tmp_path / "1.dcm")
    assert "not supported" in refusal(tmp_path)


def test_finds_untagged_padding_and_tilt_of_a_real_slice(tmp_path):
    shutil.copy(get_testdata_file("J2K_pixelrep_mismatch.dcm"), tmp_path)
    series = read_series(tmp_path)
    assert abs(series.tilt_deg) == pytest.approx(22, abs=0.5)
    assert series.padding.any()
    assert series.hu.min() >= -1100


def test_clips_the_ringing_of_lossy_padding(tmp_path):
    shutil.copy(get_testdata_file("693_J2KI.dcm"), tmp_path)
    series = read_series(tmp_path)
    assert series.stored.min() + series.intercepts[0] < -3024
    assert series.hu.min() >= -1100
    assert "lossy" in " ".join(series.warnings)


def test_finds_two_series_in_the_folder_of_a_scanner(scans):
    found = find_series(scans / "philips-phantom")
    assert sorted(len(s.files) for s in found.series) == [28, 54]
    warnings = " | ".join(found.warnings)
    for reason in ("DICOMDIR", "localizer", "Secondary Capture"):
        assert reason in warnings


def test_warns_of_tilt_and_uneven_gaps_of_a_real_head(scans):
    series = read_series(scans / "ge-head")
    assert abs(series.tilt_deg) == pytest.approx(18.5, abs=0.1)
    warnings = " | ".join(series.warnings)
    assert "tilted" in warnings
    assert re.search("1.08 to 7.00 mm apart.*uneven", warnings)
    assert series.hu[series.padding].max() == -1024


def test_headers_keep_their_class_and_no_pixels(tmp_path):
    make_series(tmp_path)
    header = read_series(tmp_path).headers[0]
    assert "PixelData" not in header
    assert header.SOPClassUID == CTImageStorage
    assert header.get("PatientID") == dcmread(tmp_path / "01.dcm").PatientID


def test_refuses_one_uid_at_two_positions(tmp_path):
    make_series(tmp_path, 2, SOPInstanceUID=uid("one"), hu=lambda n: head_hu())
    assert "place" in refusal(tmp_path)


def test_a_roll_to_the_side_counts_as_tilt(tmp_path):
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    make_series(tmp_path, 1, ImageOrientationPatient=[c, 0, -s, 0, 1, 0])
    assert abs(read_series(tmp_path).tilt_deg) == pytest.approx(20, abs=0.1)
