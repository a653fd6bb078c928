"""Reading a series: values, padding, geometry. What is damaged is in test_reliability.py."""

import re
import sys
from pathlib import PurePath

import makers
import numpy as np
import pytest
from conftest import head_hu, make_series, make_slice, uid, write_slice
from factories import sitk_hu
from makers import J2K, JLS, JPEG, RLE, TWELVE, encoded, made, peaks, refusal, with_peak
from pydicom import dcmread
from pydicom import uid as uids
from pydicom.pixels import get_decoder

from headrest import read_series, write_derived_series


def test_a_default_rescale_replaces_a_missing_one_and_never_a_damaged_one(tmp_path):
    make_series(tmp_path, RescaleSlope=None, RescaleIntercept=None)
    assert np.array_equal(read_series(tmp_path, default_rescale=(1, -1024)).hu[0], head_hu())
    make_series(tmp_path, RescaleSlope=None)
    for options in ({}, {"default_rescale": (1, -1024)}):
        said = refusal(tmp_path, **options)
        assert "RescaleSlope" in said
        assert "--default-rescale" not in said  # it would not help


@pytest.mark.parametrize(
    ("syntax", "package"), [(J2K, "pylibjpeg"), (JLS, "pyjpegls"), (JPEG, "imagecodecs")]
)
def test_names_the_package_of_a_missing_decoder(tmp_path, monkeypatch, syntax, package):
    makers.compressed(syntax)(tmp_path)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    if syntax != JPEG:
        decoder = get_decoder(syntax)
        monkeypatch.setattr(decoder, "_available", {})
        monkeypatch.setattr(decoder, "_unavailable", {makers.ENCODERS[syntax]: ("numpy", package)})
    assert f"pip install {package}" in refusal(tmp_path)


def test_calls_only_the_named_decoder_plugin(tmp_path, monkeypatch):
    makers.compressed(RLE)(tmp_path)
    decoder = get_decoder(RLE)
    plugins = {"other": lambda *_: pytest.fail("called"), **decoder._available}
    monkeypatch.setattr(decoder, "_available", plugins)
    assert np.array_equal(read_series(tmp_path).hu[0], head_hu())


LOSSY = [uids.JPEGExtended12Bit, uids.HTJ2K, *makers.LOSSLESS]
COMPRESSED = [*makers.ENCODERS, uids.HTJ2KLossless, *LOSSY]


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_reads_a_compressed_frame_with_any_pad_byte(tmp_path, syntax, capfd):
    lossy = {uids.JPEGLSNearLossless: {"jls_error": 2}, uids.JPEG2000: {"j2k_cr": [5]}}
    image, path = head_hu(), tmp_path / "1.dcm"
    image[0, :2] = 0, 2  # so that the frame has an odd length in RLE
    ds = encoded(make_slice(**TWELVE, hu=image), syntax, **lossy.get(syntax, {}))
    frame = makers.frame_of(ds).rstrip(b"\0")
    for pad in (b"\0", b"\xff", b"\xd9", b"\xcc", b"\x33"):
        for length in (len(frame) // 3, len(frame) // 2, len(frame) - 30, len(frame)):
            ds.PixelData = makers.items(frame[:length] + pad * (2 - length % 2))
            write_slice(path, ds)
            if length < len(frame):
                refusal(path)
            else:
                series = read_series(path)
                assert np.array_equal(series.hu, sitk_hu(path))
                assert ("lossy" in " ".join(series.warnings)) == (syntax in LOSSY)
    ds.file_meta.TransferSyntaxUID = makers.LOSSLESS.get(syntax, syntax)  # which it is not
    assert ("lossy" in " ".join(read_series(write_slice(path, ds)).warnings)) == (syntax in LOSSY)


@pytest.mark.parametrize("make", [makers.without_class(uids.CTImageStorage), makers.bare()])
def test_slices_derived_from_files_without_class_or_meta_information_are_valid(tmp_path, make):
    make(tmp_path / "in")
    series, path = read_series(tmp_path / "in"), tmp_path / "out" / "0001.dcm"
    write_derived_series(series, series.hu > 110, tmp_path / "out")
    derived = dcmread(path)
    assert derived.SOPClassUID == derived.file_meta.MediaStorageSOPClassUID == uids.CTImageStorage
    assert makers.validator_errors("dciodvfy", path) == []


def test_the_advice_for_values_that_wrapped_restores_them(tmp_path):
    make_series(tmp_path, stored=head_hu() % 4096, RescaleIntercept=0, BitsStored=16)
    (command,) = re.findall("dcmodify (.*) FILE", refusal(tmp_path))
    for path in tmp_path.iterdir():
        ds = dcmread(path)
        for tag, value in re.findall("-m (\\S+)=(\\d+)", command):
            ds[tuple(int(part, 16) for part in tag.split(","))].value = int(value)
        ds.save_as(path)
    assert np.array_equal(read_series(tmp_path).hu[0], head_hu())


def test_sorts_slices_along_their_normal_and_measures_their_extent(tmp_path):
    thickness = {"SliceThickness": lambda n: "5" if n <= 3 else "10"}
    heights = [0, 5, 10, 20, 30, 70]  # two stacks; then three slices are missing
    for direction in (1, -1):
        place = {"ImagePositionPatient": lambda n, d=direction: [0, 0, d * heights[n - 1]]}
        number = {"InstanceNumber": lambda n: (n * 3) % 7}
        series = made(tmp_path, 6, hu=lambda n: with_peak(10 * n), **place, **number, **thickness)
        assert peaks(series) == [10, 20, 30, 40, 50, 60][::direction]
        assert (np.diff(series.positions[:, 2]) > 0).all()
        assert not [header for header in series.headers if "PixelData" in header]  # takes no memory
        assert series.extent_mm.tolist() == [5, 5, 7.5, 10, 10, 10][::direction]
        assert series.spacing_mm[0] == 10
    series = made(tmp_path, 6, **makers.TILT_15)
    assert abs(series.tilt_deg) == pytest.approx(15, abs=0.01)
    assert series.spacing_mm == pytest.approx((5 * makers.C, 3.5, 3.5))
    assert made(tmp_path / "one", 1).extent_mm == [5]


def test_sorts_a_series_without_position_by_number_on_request(tmp_path):
    lost = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    make_series(tmp_path, hu=lambda n: with_peak(10 * n), InstanceNumber=lambda n: 9 - n, **lost)
    series = read_series(tmp_path, by_instance_number=True)
    assert peaks(series) == [30, 20, 10]
    assert "InstanceNumber" in " ".join(series.warnings)
    make_series(tmp_path, InstanceNumber=lambda n: n // 2, **lost)
    series = read_series(tmp_path, by_instance_number=True)
    assert "their order is unknown" in " ".join(series.warnings)
    make_series(tmp_path, InstanceNumber=b"abcd", **lost)
    assert "InstanceNumber" in refusal(tmp_path, by_instance_number=True)


def test_lists_two_series_and_reads_the_chosen_one(tmp_path):
    make_series(tmp_path / "a")
    other = {"SeriesInstanceUID": uid("other"), "SeriesDescription": "Bone"}
    make_series(tmp_path / "b", 2, **other, SOPInstanceUID=lambda n: uid("bone", n))
    text = refusal(tmp_path)
    for part in ("one series", uid("series"), uid("other"), "3 images", "2 images", "Head", "Bone"):
        assert part in text
    assert len(read_series(PurePath(tmp_path), uid("other"))) == 2  # os.PathLike, but no Path
    assert "choose one series by its UID" in refusal(tmp_path, series_uid=uid("absent"))
    assert "no such folder" in refusal(tmp_path / "nowhere")
    path = tmp_path / "damaged.dcm"  # of no known series
    path.write_bytes((tmp_path / "a" / "01.dcm").read_bytes()[:300])
    assert path.name in refusal(tmp_path)
    assert path.name in " ".join(read_series(tmp_path, uid("series")).warnings)
