"""What a folder of head CT can hold, and what must come of it."""

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from conftest import CANARY, head_hu, make_series, make_slice, uid, write_slice
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import get_decoder
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from headrest import HeadrestError, read_series
from headrest.dicom import find_series, load_series
from headrest.dicom.find import SeriesFiles

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
SAGITTAL = [0, 1, 0, 0, 0, -1]
SKEWED = [1, 0, 0, 0.1, 1, 0]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


# Makers: each takes a folder and fills it.


def whole(n=3, **changes):
    """Change every slice of a series."""
    return lambda folder: make_series(folder, n, **changes)


def odd(n=3, **changes):
    """Change the second slice only."""

    def make(folder):
        make_series(folder, n)
        write_slice(folder / "02.dcm", make_slice(2, **changes))

    return make


def extra(**changes):
    """Lay one more image beside a good series."""

    def make(folder):
        make_series(folder)
        write_slice(folder / "09.dcm", make_slice(9, **changes))

    return make


def spoilt(spoil, syntax=None, n=1, **changes):
    """Write good files, then change the bytes of the first."""

    def make(folder):
        paths = [folder / f"{number:02d}.dcm" for number in range(1, n + 1)]
        for number, path in enumerate(paths, 1):
            write_slice(path, encoded(make_slice(number, **changes), syntax))
        paths[0].write_bytes(spoil(paths[0].read_bytes()))

    return make


def compressed(syntax, **changes):
    """Compress one slice, and change its header only then."""

    def make(folder):
        ds = encoded(make_slice(), syntax)
        ds.update(changes)
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        write_slice(folder / "01.dcm", ds)

    return make


def encoded(ds, syntax):
    if syntax:
        ds.compress(syntax, encoding_plugin=ENCODERS[syntax], generate_instance_uid=False)
    return ds


def overlaid(syntax=None):
    """Hide an overlay in bit 15 of a 12-bit image."""

    def make(folder):
        stored = (head_hu() + 1024) | (drawing().astype(int) << 15)
        ds = encoded(make_slice(stored=stored), syntax)
        ds.BitsStored, ds.HighBit = 12, 11
        for element, vr, value in OVERLAY:
            ds.add_new((0x6000, element), vr, value)
        write_slice(folder / "01.dcm", ds)

    return make


OVERLAY = [
    (0x0010, "US", 64),
    (0x0011, "US", 64),
    (0x0040, "CS", "G"),
    (0x0050, "SS", [1, 1]),
    (0x0100, "US", 16),
    (0x0102, "US", 15),
]


def drawing():
    return np.eye(64, dtype=bool) | (np.arange(64) % 7 == 3)


def file_beside(name, content, n=3):
    """Lay a file of other bytes beside n good slices."""

    def make(folder):
        make_series(folder, n)
        (folder / name).write_bytes(content)

    return make


def without_preamble(n):
    def make(folder):
        make_series(folder, n)
        path = write_slice(folder / "09.dcm", make_slice(9))
        path.write_bytes(path.read_bytes()[132:])

    return make


def lacking_slice(folder):
    make_series(folder, 5)[2].unlink()


def copied(folder):
    shutil.copy(make_series(folder)[1], folder / "copy.dcm")


def relabelled(old, new):
    """Declare another transfer syntax than the one that the file is in."""
    return lambda data: data.replace(old.encode(), new.encode(), 1)


def dicomdir(folder):
    """A DICOMDIR that refers to a series outside the folder."""
    make_series(folder.parent / f"{folder.name}-outside")
    ds, record = make_slice(), Dataset()
    record.ReferencedFileID = ["..", f"{folder.name}-outside", "01.dcm"]
    ds.DirectoryRecordSequence = [record]
    ds.SOPClassUID = MediaStorageDirectoryStorage
    write_slice(folder / "DICOMDIR", ds)


def both(*makers):
    return lambda folder: [make(folder) for make in makers]


def of_size(rows, columns):
    return np.pad(head_hu(), ((0, rows - 64), (0, columns - 64)), constant_values=-1000)


def with_peak(hu):
    """The head with one pixel so bright."""
    image = head_hu()
    image[0, 0] = hu
    return image


def tilted(n=4, degrees=18.5):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return whole(n, ImageOrientationPatient=[1, 0, 0, 0, round(c, 6), round(-s, 6)])


def at(*heights):
    """One slice at each height, in mm."""
    return whole(len(heights), ImagePositionPatient=lambda n: [-112, -112, heights[n - 1]])


def case(name, make, outcome, words="", hu=None):
    return pytest.param(make, outcome, words, head_hu() if hu is None else hu, id=name)


TABLE = [
    case("01-no-rescale", whole(RescaleSlope=None, RescaleIntercept=None), "refused", "Rescale"),
    case("02-no-intercept", whole(RescaleIntercept=None), "refused", "RescaleIntercept"),
    case("02-no-slope", whole(RescaleSlope=None), "refused", "RescaleSlope"),
    case("03-slope-zero", whole(RescaleSlope=0), "refused", "RescaleSlope"),
    case("04-slope-nan", whole(RescaleSlope=b"NaN "), "refused", "RescaleSlope"),
    case("04-intercept-inf", whole(RescaleIntercept=b"-inf"), "refused", "RescaleIntercept"),
    case("05-slope-empty", whole(RescaleSlope=b""), "refused", "RescaleSlope"),
    case("05-slope-comma", whole(RescaleSlope=b"1,0 "), "refused", "RescaleSlope"),
    case("05-slope-twice", whole(RescaleSlope=b"1\\1 "), "refused", "RescaleSlope"),
    case("06-half-slope", whole(RescaleSlope=0.5), "handled"),
    case("06-negative-slope", whole(RescaleSlope=-1, RescaleIntercept=2000), "handled"),
    case("07-slopes-differ", whole(RescaleSlope=lambda n: 0.5**n), "warned", "rescale"),
    case("07-intercepts-differ", odd(RescaleIntercept=-2048), "warned", "rescale"),
    case("09-signed-as-unsigned", whole(stored=head_hu()), "refused", "unsigned"),
    case("09-over-16000", whole(hu=with_peak(20000)), "warned", "20000 HU", with_peak(20000)),
    case("09-under-16000", whole(hu=with_peak(15999)), "handled", "", with_peak(15999)),
    case("10-overlay-raw", overlaid(), "handled"),
    case("10-overlay-rle", overlaid(RLELossless), "handled"),
    case("11-overlay-jpeg-ls", overlaid(JPEGLSLossless), "handled"),
    case("11-overlay-jpeg-2000", overlaid(JPEG2000Lossless), "handled"),
    case(
        "12-signed-12-bit-overflow",
        whole(
            PixelRepresentation=1, BitsStored=12, HighBit=11, RescaleIntercept=0, hu=with_peak(3000)
        ),
        "warned",
        "BitsStored",
        with_peak(3000 - 4096),
    ),
    case("13-high-bit-15", whole(BitsStored=12, HighBit=15), "warned", "HighBit"),
    case("14-monochrome1", whole(PhotometricInterpretation="MONOCHROME1"), "handled"),
    case(
        "15-extended-hu",
        whole(RescaleIntercept=-8192, hu=with_peak(57343)),
        "warned",
        "57343 HU",
        with_peak(57343),
    ),
    case("16-enhanced", whole(SOPClassUID=EnhancedCTImageStorage), "refused", "multi-frame"),
    case("16-two-frames", whole(NumberOfFrames=2), "refused", "frames"),
    case("17-lossy", whole(LossyImageCompression="01"), "warned", "lossy"),
    case("18-cut-raw", spoilt(lambda data: data[:-100]), "refused", "cut short"),
    case("18-cut-rle", spoilt(lambda data: data[:-300], RLELossless), "refused", "no pixel data"),
    case("18-cut-jpeg-ls", spoilt(lambda data: data[:-300], JPEGLSLossless), "refused", "no pixel"),
    case("18-no-pixels", whole(PixelData=None), "refused", "no pixel data"),
    case("19-header-cut", spoilt(lambda data: data[:600]), "refused", "header"),
    case("20-rows-too-many", whole(Rows=128), "refused", "bytes"),
    case("20-rows-too-many-rle", compressed(RLELossless, Rows=128), "refused", "damaged"),
    case("20-rows-too-many-jpeg-ls", compressed(JPEGLSLossless, Rows=128), "refused", "damaged"),
    case(
        "20-rows-too-many-jpeg-2000", compressed(JPEG2000Lossless, Rows=128), "refused", "damaged"
    ),
    case("21-rows-too-few", whole(Rows=32), "refused", "bytes"),
    case("21-two-bytes-too-many", spoilt(lambda d: grown(d, 2)), "refused", "bytes"),
    case("21-one-byte-too-many", spoilt(lambda d: grown(d, 1)), "handled"),
    case("21-rows-too-few-rle", compressed(RLELossless, Rows=32), "refused", "declared wrongly"),
    case("21-rows-too-few-jpeg-ls", compressed(JPEGLSLossless, Rows=32), "refused", "damaged"),
    case("21-rows-too-few-jpeg-2000", compressed(JPEG2000Lossless, Rows=32), "refused", "damaged"),
    case("22-no-rows", whole(Rows=None), "refused", "Rows"),
    case("22-no-columns", whole(Columns=0), "refused", "64 x 0"),
    case("22-no-sign", whole(PixelRepresentation=None), "refused", "PixelRepresentation"),
    case("22-no-bits-stored", whole(BitsStored=None), "refused", "BitsStored"),
    case("23-rows-of-three-bytes", whole(Rows=b"\x40\x00\x00"), "refused", ""),
    case("23-bits-of-one-byte", whole(BitsAllocated=b"\x10"), "refused", ""),
    case("23-high-bit-of-three-bytes", whole(HighBit=b"\x0f\x00\x00"), "refused", ""),
    case("24-empty-file", file_beside("empty", b""), "warned", "not DICOM"),
    case("24-text", file_beside("notes.txt", b"seen, fine\n" * 50), "warned", "not DICOM"),
    case("24-picture", file_beside("a.png", PNG), "warned", "not DICOM"),
    case("24-no-preamble", without_preamble(3), "warned", "not DICOM"),
    case("24-empty-file-alone", file_beside("empty", b"", 0), "refused", "no axial CT"),
    case("24-text-alone", file_beside("a.dcm", b"seen, fine\n" * 50, 0), "refused", "no axial CT"),
    case("24-nothing", lambda folder: None, "refused", "empty"),
    case("25-no-preamble-alone", without_preamble(0), "refused", "no axial CT"),
    case(
        "27-unknown-syntax",
        spoilt(relabelled(ExplicitVRLittleEndian, "1.2.840.10008.1.2.9")),
        "refused",
        "not supported",
    ),
    case(
        "27-raw-called-rle",
        spoilt(relabelled(ExplicitVRLittleEndian, RLELossless)),
        "refused",
        "declared wrongly",
    ),
    case(
        "27-jpeg-2000-called-jpeg-ls",
        spoilt(relabelled(JPEG2000Lossless, JPEGLSLossless), JPEG2000Lossless),
        "refused",
        "declared wrongly",
    ),
    case(
        "27-jpeg-2000-called-deflated",
        spoilt(relabelled(JPEG2000Lossless, DeflatedExplicitVRLittleEndian), JPEG2000Lossless),
        "refused",
        "cannot be read",
    ),
    case("28-three-samples", whole(SamplesPerPixel=3), "refused", "colour"),
    case("28-called-32-bit", whole(BitsAllocated=32), "refused", "32 bits"),
    case("28-called-12-bit", whole(BitsAllocated=12), "refused", "12 bits"),
    case("28-stored-over-allocated", whole(BitsStored=32), "refused", "32 of 16 bits"),
    case("29-512x480", whole(1, hu=of_size(512, 480)), "handled", "", of_size(512, 480)),
    case("29-768x768", whole(1, hu=of_size(768, 768)), "handled", "", of_size(768, 768)),
    case("29-1024x1024", whole(1, hu=of_size(1024, 1024)), "handled", "", of_size(1024, 1024)),
    case("36-slice-missing", lacking_slice, "warned", "10.00 mm apart.*after slice 2"),
    case("37-same-file-twice", copied, "warned", "1 copies"),
    case(
        "38-two-at-one-position",
        odd(
            SOPInstanceUID=uid("x"),
            **{"ImagePositionPatient": [-112, -112, 5], "AcquisitionNumber": 2},
        ),
        "refused",
        "acquisition",
    ),
    case("39-scout", extra(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "warned", "localizer"),
    case("39-sagittal-scout", extra(ImageOrientationPatient=SAGITTAL), "warned", "not axial"),
    case("40-two-series", extra(SeriesInstanceUID=uid("other")), "refused", "choose one series"),
    case("41-number-reversed", whole(InstanceNumber=lambda n: 9 - n), "handled"),
    case("41-number-missing", whole(InstanceNumber=None), "handled"),
    case("42-no-position", whole(ImagePositionPatient=None), "refused", "ImagePositionPatient"),
    case("42-no-orientation", whole(ImageOrientationPatient=None), "refused", "Orientation"),
    case("43-tilt", tilted(), "warned", "tilted by 18.5 degrees"),
    case("44-spacing-changes", at(0, 2.5, 5, 7.5, 12.5, 17.5, 22.5), "warned", "2.50 to 5.00 mm"),
    case("44-spacing-shrinks", at(0, 5, 10, 15, 17.5, 20), "warned", "2.50 to 5.00 mm"),
    case("45-odd-matrix", odd(hu=of_size(64, 80)), "refused", "matrix"),
    case("46-odd-pixel-spacing", odd(PixelSpacing=[3.5, 3.4]), "refused", "pixel spacing"),
    case("46-no-pixel-spacing", odd(PixelSpacing=None), "refused", "PixelSpacing"),
    case("47-mr", extra(SOPClassUID=MRImageStorage, Modality="MR"), "warned", "MR Image"),
    case(
        "47-pet",
        extra(SOPClassUID=PositronEmissionTomographyImageStorage, Modality="PT"),
        "warned",
        "Positron",
    ),
    case("47-capture", extra(SOPClassUID=SecondaryCaptureImageStorage), "warned", "Secondary"),
    case("47-other-modality", extra(Modality="PT"), "warned", "modality PT"),
    case("47-dose", extra(ImageType=["DERIVED", "SECONDARY", "DOSE_INFO"]), "warned", "dose_info"),
    case("47-screen", extra(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "warned", "screen"),
    case("47-8-bit", extra(BitsAllocated=8, BitsStored=8, HighBit=7), "warned", "8-bit"),
    case("47-mr-alone", whole(SOPClassUID=MRImageStorage, Modality="MR"), "refused", "MR Image"),
    case("47-capture-alone", whole(BitsAllocated=8, BitsStored=8), "refused", "8-bit"),
    case("48-burned-in", whole(BurnedInAnnotation="YES"), "warned", "burned-in"),
    case("49-dicomdir", both(make_series, dicomdir), "warned", "a DICOMDIR"),
    case("49-dicomdir-alone", dicomdir, "refused", "a DICOMDIR"),
    case("50-position-of-two", odd(ImagePositionPatient=b"-112\\-11"), "refused", "ImagePosition"),
    case("50-position-of-words", odd(ImagePositionPatient=b"a\\b\\c "), "refused", "ImagePosition"),
    case("50-position-nan", odd(ImagePositionPatient=b"0\\0\\nan "), "refused", "ImagePosition"),
    case(
        "50-orientation-of-five",
        odd(ImageOrientationPatient=b"1\\0\\0\\0\\1 "),
        "refused",
        "Orient",
    ),
    case("50-axes-skewed", whole(ImageOrientationPatient=SKEWED), "refused", "unit axes"),
    case("50-spacing-of-words", odd(PixelSpacing=b"a\\b "), "refused", "PixelSpacing"),
    case("50-series-number-of-words", whole(SeriesNumber=b"two "), "handled"),
    case("50-no-instance-uid", whole(SOPInstanceUID=None), "refused", "SOPInstanceUID"),
    case("50-no-series-uid", whole(SeriesInstanceUID=None), "refused", "lacks its series"),
    case("one-slice", whole(1), "handled"),
    case("implicit-vr", whole(TransferSyntaxUID=ImplicitVRLittleEndian), "handled"),
    case("deflated", whole(TransferSyntaxUID=DeflatedExplicitVRLittleEndian), "handled"),
    case("big-endian", whole(TransferSyntaxUID=ExplicitVRBigEndian), "handled"),
]


def grown(data, by):
    """Make the pixel data, the last element of the file, longer by some bytes."""
    length = 64 * 64 * 2
    head = data[: -length - 4]
    return head + (length + by).to_bytes(4, "little") + data[-length:] + bytes(by)


def refusal(folder, **options):
    """The text of the refusal, which must name the place and never the patient."""
    with pytest.raises(HeadrestError) as caught:
        read_series(folder, **options)
    text = str(caught.value)
    assert str(folder) in text
    assert CANARY not in text
    return text


def read_or_refused(found):
    try:
        return load_series(found).hu, ""
    except HeadrestError as error:
        return np.zeros(1), str(error)


@pytest.mark.parametrize(("make", "outcome", "words", "hu"), TABLE)
def test_every_kind_of_input_has_its_outcome(tmp_path, make, outcome, words, hu):
    folder = tmp_path / "scan"
    folder.mkdir()
    make(folder)
    if outcome == "refused":
        assert words in refusal(folder)
        return
    series = read_series(folder)
    assert all(np.array_equal(one, hu) for one in series.hu)
    told = " | ".join(series.warnings)
    assert bool(told) == (outcome == "warned"), told
    assert re.search(words, told)
    assert CANARY not in told


# Values.


def test_default_rescale_is_for_images_without_any(tmp_path):
    make_series(tmp_path, RescaleSlope=None, RescaleIntercept=None)
    assert np.array_equal(read_series(tmp_path, default_rescale=(1, -1024)).hu[0], head_hu())


def test_default_rescale_never_replaces_a_broken_one(tmp_path):
    make_series(tmp_path, RescaleSlope=None)
    assert "RescaleSlope" in refusal(tmp_path, default_rescale=(1, -1024))


def test_signed_values_called_unsigned_are_never_silent_in_12_bits(tmp_path):
    make_series(tmp_path, 1, stored=head_hu(), BitsStored=12, HighBit=11)
    hu, text = read_or_refused(find_series(tmp_path).series[0])
    assert hu.min() >= -1024
    assert text or read_series(tmp_path).warnings


def test_half_hu_survive_behind_a_slice_of_whole_ones(tmp_path):
    stored = np.full((64, 64), 2053)
    make_series(tmp_path, stored=stored, RescaleSlope=lambda n: 1 if n == 1 else 1.5)
    assert [one[0, 0] for one in read_series(tmp_path).hu] == [1029, 2055.5, 2055.5]


def test_an_overlay_in_the_pixels_moves_to_overlay_data(tmp_path):
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


@pytest.mark.parametrize(
    ("syntax", "package"), [(JPEG2000Lossless, "pylibjpeg"), (JPEGLSLossless, "pyjpegls")]
)
def test_a_missing_decoder_names_what_to_install(tmp_path, monkeypatch, syntax, package):
    compressed(syntax)(tmp_path)
    decoder = get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {ENCODERS[syntax]: ("numpy", package)})
    assert f"pip install {package}" in refusal(tmp_path)


def test_no_plugin_is_called_that_is_not_named(tmp_path, monkeypatch):
    compressed(RLELossless)(tmp_path)
    calls, decoder = [], get_decoder(RLELossless)
    plugins = {"other": lambda *frame: calls.append(frame), **decoder._available}
    monkeypatch.setattr(decoder, "_available", plugins)
    assert np.array_equal(read_series(tmp_path).hu[0], head_hu())
    assert calls == []


@pytest.mark.parametrize("syntax", [None, *ENCODERS], ids=lambda s: s.name if s else "raw")
def test_a_file_cut_anywhere_is_refused(tmp_path, syntax):
    path = write_slice(tmp_path / "1.dcm", encoded(make_slice(), syntax))
    data = path.read_bytes()
    for length in range(0, len(data) - 2, 61):
        path.write_bytes(data[:length])
        refusal(tmp_path)


def test_near_lossless_pixels_are_told_without_a_tag(tmp_path):
    ds = make_slice(BitsStored=12, HighBit=11)
    options = {"encoding_plugin": "pyjpegls", "jls_error": 2, "generate_instance_uid": False}
    ds.compress(JPEGLSNearLossless, **options)
    write_slice(tmp_path / "1.dcm", ds)
    series = read_series(tmp_path)
    assert np.abs(series.hu[0] - head_hu()).max() <= 2
    assert "lossy" in " ".join(series.warnings)


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
def test_padding_is_marked_and_set_to_the_floor(tmp_path, value, tags):
    series = padded(tmp_path, value, **tags)
    assert np.array_equal(series.padding[0], CORNER)
    assert np.array_equal(series.hu[0], np.where(CORNER, -1024, head_hu()))
    assert (series.stored[0][CORNER] == value).all()
    assert series.warnings == ()


@pytest.mark.parametrize("tissue", [40, -100, 1000, -800])
def test_a_padding_value_that_tissue_has_is_not_believed(tmp_path, tissue):
    series = padded(tmp_path, tissue, PixelPaddingValue=("SS", tissue))
    assert not series.padding.any()
    assert "padding" in " ".join(series.warnings)


def test_a_range_of_padding_that_holds_tissue_is_not_believed(tmp_path):
    tags = {"PixelPaddingValue": ("SS", -2000), "PixelPaddingRangeLimit": ("SS", 100)}
    series = padded(tmp_path, -2000, **tags)
    assert np.array_equal(series.padding[0], CORNER)
    assert "padding" in " ".join(series.warnings)


@pytest.mark.parametrize("air", [-1000, -1024, -1050])
def test_air_is_not_padding(tmp_path, air):
    assert not padded(tmp_path, air).padding.any()


# Geometry.


def numbered(number):
    """HU of a slice that can be told from the others by its corner."""
    return with_peak(10 * number)


def corners(series):
    return [int(one[0, 0]) for one in series.hu]


@pytest.mark.parametrize("rising", [1, -1])
def test_slices_are_sorted_along_their_normal(tmp_path, rising):
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


def test_slices_of_tilted_gantry_keep_grid_and_true_spacing(tmp_path):
    tilted(4, 20)(tmp_path)
    series = read_series(tmp_path)
    assert abs(series.tilt_deg) == pytest.approx(20, abs=0.01)
    assert series.spacing_mm == pytest.approx((5 * np.cos(np.deg2rad(20)), 3.5, 3.5))
    assert np.array_equal(series.hu[0], head_hu())


def test_a_series_without_position_is_sorted_by_number_where_asked(tmp_path):
    lost = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    make_series(tmp_path, hu=numbered, InstanceNumber=lambda n: 9 - n, **lost)
    series = read_series(tmp_path, by_instance_number=True)
    assert corners(series) == [30, 20, 10]
    assert "InstanceNumber" in " ".join(series.warnings)


@pytest.mark.parametrize("lost", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("slices", ["all", "one"])
def test_the_way_out_that_a_refusal_offers_is_open(tmp_path, lost, slices):
    (whole if slices == "all" else odd)(**{lost: None})(tmp_path)
    assert "by_instance_number=True" in refusal(tmp_path)
    assert len(read_series(tmp_path, by_instance_number=True)) == 3


@pytest.mark.parametrize("number", [None, b"abcd"])
def test_neither_position_nor_number_is_refused(tmp_path, number):
    make_series(tmp_path, ImagePositionPatient=None, InstanceNumber=number)
    assert "InstanceNumber" in refusal(tmp_path, by_instance_number=True)


def test_a_thickness_of_words_is_no_other_exception(tmp_path):
    make_series(tmp_path, 1, SliceThickness=b"thin")
    hu, text = read_or_refused(find_series(tmp_path).series[0])
    assert np.array_equal(hu[0], head_hu()) or str(tmp_path) in text


def two_acquisitions(folder):
    make_series(folder / "a", hu=numbered, AcquisitionNumber=1)
    again = {"SOPInstanceUID": lambda n: uid("again", n), "AcquisitionNumber": 2}
    make_series(folder / "b", hu=lambda n: numbered(n + 5), **again)


def test_one_acquisition_of_several_can_be_chosen(tmp_path):
    two_acquisitions(tmp_path)
    text = refusal(tmp_path)
    assert "1, 2" in text
    assert "acquisition=" in text
    assert corners(read_series(tmp_path, acquisition=2)) == [60, 70, 80]


def test_an_acquisition_that_is_not_there_is_refused(tmp_path):
    two_acquisitions(tmp_path)
    assert "7" in refusal(tmp_path, acquisition=7)


def test_two_series_are_listed_and_one_can_be_chosen(tmp_path):
    make_series(tmp_path / "a")
    other = {"SeriesInstanceUID": uid("other"), "SeriesDescription": "Bone"}
    make_series(tmp_path / "b", 2, **other, SOPInstanceUID=lambda n: uid("bone", n))
    text = refusal(tmp_path)
    for part in (uid("series"), uid("other"), "3 images", "2 images", "Head", "Bone"):
        assert part in text
    assert len(read_series(tmp_path, uid("other"))) == 2
    refusal(tmp_path, series_uid=uid("absent"))


def test_the_same_uid_with_other_pixels_is_refused(tmp_path):
    make_series(tmp_path)
    write_slice(tmp_path / "x.dcm", make_slice(2, hu=with_peak(7)))
    assert "share a SOP Instance UID" in refusal(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")


# Files from elsewhere.


def test_enhanced_ct_of_a_scanner_is_refused(tmp_path):
    shutil.copy(get_testdata_file("eCT_Supplemental.dcm", download=False), tmp_path)
    assert "multi-frame" in refusal(tmp_path)


def test_jpeg_without_a_safe_decoder_is_refused(tmp_path):
    shutil.copy(get_testdata_file("bad_sequence.dcm", download=False), tmp_path)
    assert "not supported" in refusal(tmp_path)


def test_untagged_padding_and_tilt_of_a_real_slice(tmp_path):
    shutil.copy(get_testdata_file("J2K_pixelrep_mismatch.dcm"), tmp_path)
    series = read_series(tmp_path)
    assert abs(series.tilt_deg) == pytest.approx(22, abs=0.5)
    assert series.padding.any()
    assert series.hu.min() >= -1100


def test_lossy_padding_of_a_real_slice_does_not_ring(tmp_path):
    shutil.copy(get_testdata_file("693_J2KI.dcm"), tmp_path)
    series = read_series(tmp_path)
    assert series.stored.min() + series.intercepts[0] < -3024
    assert series.hu.min() >= -1100
    assert "lossy" in " ".join(series.warnings)


def same_hu_as_simpleitk(folder):
    """Compare every single-frame CT below a folder; return how many both could read."""
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    compared = 0
    for found in find_series(folder).series:
        for path in found.files:
            try:
                series = load_series(SeriesFiles(found.uid, "", "", (path,)))
                theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            except (HeadrestError, RuntimeError):
                continue
            assert np.array_equal(series.hu[~series.padding], theirs[~series.padding]), path
            compared += 1
    return compared


def test_hu_of_the_slices_of_pydicom_are_those_of_simpleitk():
    assert same_hu_as_simpleitk(Path(pydicom.data.__file__).parent / "test_files") >= 12


def test_hu_of_the_slices_of_pydicom_data_are_those_of_simpleitk():
    data = pytest.importorskip("data_store", reason="no pydicom-data")
    assert same_hu_as_simpleitk(Path(data.__file__).parent / "data") >= 4


@pytest.mark.parametrize(
    ("name", "count"), [("ge-head", 28), ("philips-phantom", 82), ("lidc-chest", 23)]
)
def test_hu_of_real_scans_are_those_of_simpleitk(scans, name, count):
    assert same_hu_as_simpleitk(scans / name) == count


def test_a_folder_as_the_scanner_wrote_it_gives_its_two_series(scans):
    found = find_series(scans / "philips-phantom")
    assert sorted(len(s.files) for s in found.series) == [28, 54]
    told = " | ".join(found.warnings)
    for reason in ("DICOMDIR", "localizer", "Secondary Capture"):
        assert reason in told


def test_tilt_and_uneven_gaps_of_a_real_head_are_told(scans):
    series = read_series(scans / "ge-head")
    assert abs(series.tilt_deg) == pytest.approx(18.5, abs=0.1)
    told = " | ".join(series.warnings)
    assert "tilted" in told
    assert re.search("1.08 to 7.00 mm apart.*uneven", told)
    assert series.hu[series.padding].max() == -1024


def test_every_ct_of_pydicom_is_read_or_refused_in_our_words():
    folder = Path(pydicom.data.__file__).parent / "test_files"
    contents = find_series(folder)
    assert all(str(folder) in str(error) for error in contents.broken)
    for found in contents.series:
        hu, text = read_or_refused(found)
        assert np.isfinite(hu).all()
        assert not text or str(folder) in text


def test_headers_keep_no_pixels_and_their_class(tmp_path):
    make_series(tmp_path)
    header = read_series(tmp_path).headers[0]
    assert "PixelData" not in header
    assert header.SOPClassUID == CTImageStorage
    assert header.get("PatientID") == dcmread(tmp_path / "01.dcm").PatientID


def test_one_uid_at_two_places_is_refused(tmp_path):
    make_series(tmp_path, 2, SOPInstanceUID=uid("one"), hu=lambda n: head_hu())
    assert "place" in refusal(tmp_path)


def test_a_roll_to_the_side_is_tilt_as_well(tmp_path):
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    make_series(tmp_path, 1, ImageOrientationPatient=[c, 0, -s, 0, 1, 0])
    assert abs(read_series(tmp_path).tilt_deg) == pytest.approx(20, abs=0.1)
