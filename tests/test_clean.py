"""The derived series: pixels, attributes, reruns, failures and other readers."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import CANARY, PYDICOM, head_hu, make_series, make_slice, uid, write_slice
from makers import ENCODERS, NATIVE, encoded
from makers import validator_errors as errors_of
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

import headrest
from headrest import HeadrestError, read_series, write_derived_series
from headrest.__main__ import main
from headrest.clean.report import Report
from headrest.dicom import find_series, load_series
from headrest.segment.support import METHODS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

# K-Means is the faster method, and these tests do not depend on the method.
clean_tree = partial(headrest.clean_tree, method="kmeans")
clean_series = partial(headrest.clean_series, method="kmeans")
KMEANS = ("--method", "kmeans")

MASK = np.zeros((3, 64, 64), bool)
MASK[1:, 50:60, 5:60] = True
KEPT = [
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "PatientName",
    "PatientID",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "Modality",
    "SOPClassUID",
]
TIMES = ["InstanceCreation", "Content"]


@pytest.fixture
def source(tmp_path):
    """A folder with one good series of three slices."""
    make_series(tmp_path / "scan")
    return tmp_path / "scan"


def derive(folder, mask=MASK, parameters="test", **form):
    """Write a derived series beside its source; return both, slice by slice."""
    series = read_series(folder)
    out = folder.with_name("-".join([folder.name, parameters, *form]))
    write_derived_series(series, mask[: len(series)], out, parameters, **form)
    return series, [dcmread(path) for path in sorted(out.glob("*.dcm"))]


def derive_one(tmp_path, **changes):
    """Derive from a series whose slices have these changes; return the first slice."""
    make_series(tmp_path / "scan", **changes)
    return derive(tmp_path / "scan")[1][0]


def outputs(folder):
    """Every name below a folder that is not hidden; a hidden one is a leftover."""
    names = [str(path.relative_to(folder)) for path in sorted(Path(folder).rglob("*"))]
    assert not [name for name in names if name.startswith(".")]
    return names


# Pixels.


@pytest.mark.parametrize(
    ("changes", "fill"),
    [
        pytest.param({}, 24, id="unsigned"),
        pytest.param({"BitsStored": 12, "HighBit": 11}, 24, id="12-bit"),
        pytest.param({"PixelRepresentation": 1, "RescaleIntercept": 0}, -1000, id="signed"),
        pytest.param({"RescaleSlope": 0.5}, 48, id="half-slope"),
        pytest.param({"RescaleSlope": 3, "stored": head_hu() + 1024}, 8, id="slope-3"),
        pytest.param({"RescaleSlope": -1, "RescaleIntercept": 2000}, 3000, id="negative-slope"),
        pytest.param(
            {"RescaleIntercept": 0, "stored": head_hu() + 1024}, 0, id="air-cannot-be-stored"
        ),
        pytest.param(
            {"RescaleSlope": 0.25, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
            | {"RescaleIntercept": 0, "stored": head_hu()},
            -2048,
            id="air-below-12-bits",
        ),
    ],
)
def test_fills_the_mask_with_air_and_keeps_other_pixels(tmp_path, changes, fill):
    make_series(tmp_path / "scan", **changes)
    _, derived = derive(tmp_path / "scan")
    sources = [dcmread(path) for path in sorted((tmp_path / "scan").iterdir())]
    for before, after, mask in zip(sources, derived, MASK):
        expected = np.where(mask, fill, before.pixel_array)
        assert np.array_equal(after.pixel_array, expected)


def test_each_slice_is_filled_by_its_own_rescale(tmp_path):
    make_series(tmp_path / "scan", RescaleSlope=lambda n: 0.5**n)
    _, derived = derive(tmp_path / "scan")
    assert [one.pixel_array[55, 30] for one in derived[1:]] == [24 * 4, 24 * 8]


def test_uids_depend_on_the_mask(tmp_path):
    make_series(tmp_path / "scan")
    series = read_series(tmp_path / "scan")
    for name, mask in (("a", MASK), ("b", ~MASK), ("again", MASK)):
        write_derived_series(series, mask, tmp_path / name)
    a, b, again = (
        {(ds.SeriesInstanceUID, ds.SOPInstanceUID) for ds in map(dcmread, (tmp_path / n).iterdir())}
        for n in ("a", "b", "again")
    )
    assert len(a) == len(b) == 3
    assert a == again
    assert not {uid for pair in a for uid in pair} & {uid for pair in b for uid in pair}


def test_refuses_a_source_that_was_deleted(tmp_path):
    make_series(tmp_path / "scan")
    series = read_series(tmp_path / "scan")
    shutil.rmtree(tmp_path / "scan")
    with pytest.raises(HeadrestError, match="read it again"):
        write_derived_series(series, MASK, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_description_and_number_stay_within_their_vr(tmp_path):
    odd = {"SeriesDescription": "Head\\C-/C+", "SeriesNumber": 2**31 - 2}
    make_series(tmp_path / "scan", **odd)
    _, (derived, *_) = derive(tmp_path / "scan")
    assert derived.SeriesDescription == "Head C-/C+ headrest removed"
    assert derived.SeriesNumber == 2**31 - 1


def test_reports_the_fill_value_where_air_cannot_be_stored(tmp_path):
    make_series(tmp_path / "scan", RescaleIntercept=-500, hu=np.maximum(head_hu(), -500))
    series = read_series(tmp_path / "scan")
    report = clean_series(series, tmp_path / "out")
    assert "reads as -500 HU: -1000 cannot be stored" in " ".join(report.warnings)
    derived = dcmread(next((tmp_path / "out" / report.folder).glob("*.dcm")))
    assert "filled with -500 HU" in derived.DerivationDescription
    assert "()" not in derived.DerivationDescription


@pytest.mark.parametrize("syntax", [*NATIVE, *ENCODERS], ids=lambda syntax: syntax.name)
def test_writes_every_syntax_uncompressed_with_the_same_pixels(tmp_path, syntax):
    native = syntax in NATIVE
    ds = make_slice(TransferSyntaxUID=syntax) if native else make_slice()
    write_slice(tmp_path / "scan" / "1.dcm", ds if native else encoded(ds, syntax))
    _, (after,) = derive(tmp_path / "scan", ~np.ones((1, 64, 64), bool))
    assert np.array_equal(after.pixel_array, head_hu() + 1024)
    assert not after.file_meta.TransferSyntaxUID.is_compressed
    assert after.PatientName == f"{CANARY}^NAME"


COMPRESSED = {
    RLELossless: RLELossless,
    JPEGLSLossless: JPEGLSLossless,
    JPEGLSNearLossless: JPEGLSLossless,
    JPEG2000Lossless: JPEG2000Lossless,
    JPEG2000: JPEG2000Lossless,
    JPEGLosslessSV1: JPEGLosslessSV1,
    **{syntax: syntax for syntax in NATIVE},
}
LOSSY = {JPEGLSNearLossless: {"jls_error": 2}, JPEG2000: {"j2k_cr": [5]}}


@pytest.mark.slow
@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("signed", [0, 1])
def test_compresses_losslessly_as_the_source(tmp_path, syntax, signed):
    native = {"TransferSyntaxUID": syntax} if syntax in NATIVE else {}
    kind = {"PixelRepresentation": signed, "BitsStored": 12, "HighBit": 11}
    ds = make_slice(**kind, RescaleIntercept=0 if signed else -1024, **native)
    if syntax not in NATIVE:
        ds = encoded(ds, syntax, **LOSSY.get(syntax, {}))
    write_slice(tmp_path / "scan" / "1.dcm", ds)
    _, (plain,) = derive(tmp_path / "scan", MASK[1:2])
    _, (packed,) = derive(tmp_path / "scan", MASK[1:2], compress=True)
    assert packed.file_meta.TransferSyntaxUID == COMPRESSED[syntax]
    assert packed.SOPInstanceUID == plain.SOPInstanceUID
    before, after = tmp_path / "scan" / "1.dcm", tmp_path / "scan-test-compress" / "0001.dcm"
    assert np.array_equal(read_series(after).stored[0], plain.pixel_array)
    assert len(errors_of("dciodvfy", after)) <= len(errors_of("dciodvfy", before))


@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL])
def test_warns_of_a_syntax_that_cannot_be_written(source, tmp_path, syntax):
    series = read_series(source)
    for header in series.headers:  # nothing at hand writes HTJ2K
        header.file_meta.TransferSyntaxUID = syntax
    report = clean_series(series, tmp_path / "out", compress=True)
    assert [w for w in report.warnings if "uncompressed" in w and syntax.name in w]
    after = dcmread(tmp_path / "out" / report.folder / "0001.dcm")
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_refuses_compression_that_changes_pixels(tmp_path, monkeypatch):
    ds = make_slice()
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    write_slice(tmp_path / "scan" / "1.dcm", ds)
    compress = Dataset.compress

    def careless(self, syntax, words, **options):
        compress(self, syntax, words ^ 1, **options)

    monkeypatch.setattr(Dataset, "compress", careless)
    with pytest.raises(HeadrestError, match="changed its pixels"):
        derive(tmp_path / "scan", compress=True)
    assert os.listdir(tmp_path) == ["scan"]


def test_compressed_output_has_its_own_folder(tmp_path):
    make_series(tmp_path / "scan")
    series = read_series(tmp_path / "scan")
    choices = ({}, {"compress": True}, {"drop_private": True})
    folders = {clean_series(series, tmp_path / "out", **one).folder for one in choices}
    assert sorted(os.listdir(tmp_path / "out")) == sorted(folders)
    assert len(folders) == 3


def test_moves_an_overlay_from_the_pixels_to_overlay_data(tmp_path):
    drawing = np.eye(64, dtype=int)
    ds = make_slice(stored=(head_hu() + 1024) | (drawing << 15), BitsStored=12, HighBit=11)
    values = [64, 64, "G", [1, 1], 16, 15]
    for element, vr, value in zip(
        (0x10, 0x11, 0x40, 0x50, 0x100, 0x102), ("US", "US", "CS", "SS", "US", "US"), values
    ):
        ds.add_new((0x6000, element), vr, value)
    write_slice(tmp_path / "scan" / "1.dcm", ds)
    _, (after,) = derive(tmp_path / "scan")
    assert np.array_equal(after.pixel_array, head_hu() + 1024)
    assert np.array_equal(after.overlay_array(0x6000), drawing)


def test_refuses_a_mask_of_another_shape(source, tmp_path):
    with pytest.raises(HeadrestError, match="mask"):
        write_derived_series(read_series(source), MASK[:2], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Attributes.


def test_keeps_attributes_of_study_and_grid(source):
    series, derived = derive(source)
    for before, after in zip(series.headers, derived):
        assert {key: after[key].value for key in KEPT} == {key: before[key].value for key in KEPT}


def test_renews_uids_number_description_and_times(source):
    series, derived = derive(source)
    for before, after in zip(series.headers, derived):
        assert after.SOPInstanceUID != before.SOPInstanceUID
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
        assert after.SeriesInstanceUID != before.SeriesInstanceUID
        assert after.SeriesNumber != before.SeriesNumber
        assert after.SeriesDescription != before.SeriesDescription
        for what in TIMES:
            assert after[f"{what}Date"].value > "20200101"
            assert re.fullmatch(r"\d{6}", after[f"{what}Time"].value)
    assert len({one.SeriesInstanceUID for one in derived}) == 1
    assert len({one.SOPInstanceUID for one in derived}) == 3


def code(item):
    return item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning


def test_describes_the_derivation_in_text_and_codes(source):
    series, derived = derive(source, parameters="by hand")
    for before, after in zip(series.headers, derived):
        assert list(after.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
        assert "by hand" in after.DerivationDescription
        assert code(after.DerivationCodeSequence[-1]) == ("113047", "DCM", "Pixel by pixel mask")
        (origin,) = after.SourceImageSequence
        assert origin.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert origin.ReferencedSOPClassUID == before.SOPClassUID
        assert code(origin.PurposeOfReferenceCodeSequence[0])[:2] == ("121322", "DCM")
        assert origin.SpatialLocationsPreserved == "YES"
        equipment = after.ContributingEquipmentSequence[-1]
        assert code(equipment.PurposeOfReferenceCodeSequence[0])[:2] == ("109103", "DCM")


def test_keeps_earlier_derivations_and_equipment(tmp_path):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "113043", "DCM", "Enhanced"
    equipment = Dataset()
    equipment.Manufacturer = "Before"
    after = derive_one(
        tmp_path,
        DerivationDescription="smoothed",
        DerivationCodeSequence=[item],
        ContributingEquipmentSequence=[equipment],
    )
    assert after.DerivationDescription.startswith("smoothed")
    assert [code(one)[0] for one in after.DerivationCodeSequence] == ["113043", "113047"]
    assert after.ContributingEquipmentSequence[0].Manufacturer == "Before"


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("IconImageSequence", "SQ", [Dataset()]),
        ("SmallestImagePixelValue", "US", 7),
        ("LargestImagePixelValue", "US", 7),
        ("DigitalSignaturesSequence", "SQ", [Dataset()]),
        ("InstanceCreatorUID", "UI", uid("scanner")),
        ("ExtendedOffsetTable", "OV", bytes(8)),
        ("ExtendedOffsetTableLengths", "OV", bytes(8)),
    ],
)
def test_deletes_attributes_that_describe_the_source_file(tmp_path, keyword, vr, value):
    path = write_slice(tmp_path / "scan" / "1.dcm", make_slice())
    ds = dcmread(path)
    ds.add_new(keyword, vr, value)
    ds.save_as(path)
    assert keyword in dcmread(path)
    _, (after,) = derive(tmp_path / "scan")
    assert keyword not in after


def private_elements(ds):
    return [element.tag for element in ds.iterall() if element.tag.is_private]


def with_private_elements(path, syntax=ExplicitVRLittleEndian):
    """Write a slice with private elements: at the top, in sequences, and in a private one."""
    ds = make_slice(TransferSyntaxUID=syntax, PatientWeight=b"72,5")
    inner, own, equipment = Dataset(), Dataset(), Dataset()
    equipment.Manufacturer = "earlier"
    equipment.private_block(0x0011, "MAKER", create=True).add_new(1, "LO", CANARY)
    ds.ContributingEquipmentSequence = [equipment]
    inner.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", CANARY)
    own.PatientID = CANARY
    ds.ReferencedImageSequence = [inner]
    block = ds.private_block(0x0009, "MAKER", create=True)
    block.add_new(1, "LO", CANARY)
    block.add_new(2, "SQ", [own])
    return write_slice(path, ds)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_drops_private_elements_on_request_from_the_copy_only(tmp_path, syntax):
    before = dcmread(with_private_elements(tmp_path / "scan" / "1.dcm", syntax))
    _, (kept,) = derive(tmp_path / "scan")
    series, (dropped,) = derive(tmp_path / "scan", drop_private=True)
    assert private_elements(kept) == private_elements(before)
    assert private_elements(series.headers[0]) == private_elements(before)
    assert kept[0x0009, 0x1001].value == before[0x0009, 0x1001].value
    assert private_elements(dropped) == []
    assert dropped.SOPInstanceUID != kept.SOPInstanceUID
    assert "private elements dropped" in dropped.DerivationDescription
    public = [element for element in kept if not element.tag.is_private]
    assert [element.tag for element in dropped] == [element.tag for element in public]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"BurnedInAnnotation": "YES"}, {"BurnedInAnnotation": "YES"}),
        ({"BurnedInAnnotation": "NO"}, {"BurnedInAnnotation": "NO"}),
        ({}, {"BurnedInAnnotation": None}),
        ({"LossyImageCompression": "01"}, {"LossyImageCompression": "01"}),
        ({"BitsStored": 12, "HighBit": 15}, {"BitsStored": 12, "HighBit": 11}),
    ],
)
def test_copies_declarations_and_corrects_the_high_bit(tmp_path, changes, expected):
    after = derive_one(tmp_path, **changes)
    assert {keyword: after.get(keyword) for keyword in expected} == expected


@pytest.mark.parametrize("vr", ["SS", "US"])
def test_padding_has_the_vr_and_the_sign_of_the_pixels(tmp_path, vr):
    ds = make_slice(PixelRepresentation=1)
    ds.add_new("PixelPaddingValue", vr, -2000 if vr == "SS" else 65536 - 2000)
    write_slice(tmp_path / "scan" / "1.dcm", ds)
    _, (after,) = derive(tmp_path / "scan")
    assert (after["PixelPaddingValue"].VR, after.PixelPaddingValue) == ("SS", -2000)


@pytest.mark.parametrize(
    ("value", "shape"), [(63536, {"BitsStored": 12}), (-32768, {"BitsStored": 12, "signed": True})]
)
def test_deletes_padding_that_no_pixel_can_have(tmp_path, value, shape):
    signed = shape.pop("signed", False)
    changes = {"PixelRepresentation": 1, "RescaleIntercept": 0} if signed else {}
    ds = make_slice(HighBit=11, hu=np.clip(head_hu(), -1024, 2000), **shape, **changes)
    ds.add_new("PixelPaddingValue", "SS" if signed else "US", value)
    write_slice(tmp_path / "scan" / "1.dcm", ds)
    series, (after,) = derive(tmp_path / "scan")
    assert "PixelPaddingValue" not in after
    assert any("padding value ignored" in warning for warning in series.warnings)


def test_shortens_a_long_description(tmp_path):
    after = derive_one(tmp_path, SeriesDescription="x" * 64, DerivationDescription="y" * 1024)
    assert re.fullmatch("x+ headrest removed", after.SeriesDescription)
    assert len(after.SeriesDescription) == 64
    assert re.fullmatch(r"y+; Support removed by .*\(test\).*HU", after.DerivationDescription)
    assert len(after.DerivationDescription) == 1024


@pytest.mark.parametrize("zone", ["+0930", "-0500", "nowhere", None])
def test_times_are_in_the_declared_time_zone(tmp_path, zone):
    before = datetime.now(timezone.utc).replace(microsecond=0)
    after = derive_one(tmp_path, TimezoneOffsetFromUTC=zone)
    shown = datetime.strptime(after.ContentDate + after.ContentTime, "%Y%m%d%H%M%S")
    hours = {"+0930": 9.5, "-0500": -5}.get(zone)
    place = (
        datetime.now().astimezone().tzinfo if hours is None else timezone(timedelta(hours=hours))
    )
    assert before <= shown.replace(tzinfo=place) <= datetime.now(timezone.utc)


def test_empties_a_preamble_that_holds_a_program(source, tmp_path):
    for path in source.iterdir():
        path.write_bytes(b"MZ" * 64 + path.read_bytes()[128:])
    derive(source)
    for path in (tmp_path / "scan-test").glob("*.dcm"):
        assert path.read_bytes()[:132] == bytes(128) + b"DICM"


# UIDs and reruns.


def timeless(ds):
    """A slice as text, without the times of its making."""
    for what in TIMES:
        del ds[f"{what}Date"], ds[f"{what}Time"]
    del ds.ContributingEquipmentSequence[-1].ContributionDateTime
    return str(ds.file_meta), str(ds), ds.PixelData


def test_a_rerun_writes_the_same_bytes_but_for_times(source, tmp_path):
    _, first = derive(source)
    shutil.rmtree(tmp_path / "scan-test")
    _, second = derive(source)
    assert [timeless(one) for one in first] == [timeless(one) for one in second]


def test_uids_depend_on_the_parameters(source):
    (_, first), (_, second) = (derive(source, parameters=p) for p in ("one", "two"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert not {one[keyword].value for one in first} & {one[keyword].value for one in second}


def test_report_holds_slices_and_volume(source, tmp_path):
    (report,) = clean_tree(source, tmp_path / "out")
    assert (report.slices, report.error, report.method) == (3, "", "kmeans")
    assert report.removed_ml == pytest.approx(3 * 88 * 3.5 * 3.5 * 5 / 1000, rel=0.01)
    cleaned = read_series(tmp_path / "out")
    assert cleaned.hu[:, 54:56, 10:54].max() == -1000
    assert np.array_equal(cleaned.hu[:, :50], np.stack([head_hu()[:50]] * 3))


def test_report_lists_flagged_slices():
    states = ("free", "touching", "touching", "absent", "touching")
    sure = (0.99, 0.95, 0.5, 1.0, 0.2)
    named = {"source": "scan", "folder": "ct-1", "method": "network", "slices": 5}
    report = Report(**named, removed_ml=8.0, states=states, confidence=sure)
    line = "5 slices, 8.0 ml removed, support touches in 3: 2-3, 5"
    assert str(report).endswith(f"{line}, uncertain in 2: 3, 5, nothing found in 1: 4")
    left = str(replace(report, method="kmeans", confidence=()))
    assert "support touches and is left in 3: 2-3, 5" in left
    assert "uncertain" not in left


# Destinations.


@pytest.mark.parametrize("place", ["scan", "scan/out", "scan/deep/er", "scan/../scan/out", "link"])
def test_refuses_a_destination_inside_the_source(source, tmp_path, place):
    (tmp_path / "link").symlink_to(source, target_is_directory=True)
    before = outputs(source)
    with pytest.raises(HeadrestError, match="inside"):
        clean_tree(source, tmp_path / place)
    assert outputs(source) == before


@pytest.mark.parametrize("below", ["", "deeper"])
def test_refuses_a_file_as_destination_before_computing(source, tmp_path, monkeypatch, below):
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed"))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(HeadrestError, match="out"):
        clean_tree(source, tmp_path / "out" / below)
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_refuses_a_folder_without_write_permission(source, tmp_path):
    (tmp_path / "out").mkdir(mode=0o555)
    with pytest.raises(HeadrestError, match="written"):
        clean_tree(source, tmp_path / "out")


def test_refuses_a_folder_with_other_files(source, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    with pytest.raises(HeadrestError, match="taken"):
        write_derived_series(read_series(source), MASK, tmp_path / "taken")
    assert outputs(tmp_path / "taken") == ["mine"]


# Failures.


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), ValueError("odd tag")])
def test_a_fault_while_writing_leaves_no_folder(source, tmp_path, monkeypatch, fault):
    save, count = Dataset.save_as, iter(range(9))

    def failing(self, *arguments, **options):
        if next(count) == 1:
            raise fault
        save(self, *arguments, **options)

    monkeypatch.setattr(Dataset, "save_as", failing)
    (report,) = clean_tree(source, tmp_path / "out")
    assert report.error
    assert not report.folder
    assert outputs(tmp_path / "out") == ["failures.csv", "manifest.csv", "manifest.json"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"RescaleSlope": None}, id="no-slope"),
        pytest.param({"Rows": 128}, id="rows-too-many"),
        pytest.param({"ImagePositionPatient": None}, id="no-position"),
        pytest.param({"PixelSpacing": b"a\\b "}, id="spacing-of-words"),
        pytest.param({"ImagePositionPatient": b"a\\b\\c "}, id="position-of-words"),
        pytest.param({"SeriesNumber": b"two "}, id="series-number-of-words"),
        pytest.param({"SliceThickness": b"thin", "n": 1}, id="thickness-of-words"),
        pytest.param({"TransferSyntaxUID": ExplicitVRBigEndian}, id="big-endian"),
    ],
)
def test_a_bad_series_fails_alone(tmp_path, changes):
    other = {"SeriesInstanceUID": uid("bad"), "SOPInstanceUID": lambda n: uid("bad", n)}
    make_series(tmp_path / "scan" / "1-bad", **{"n": 3, **other, **changes})
    make_series(tmp_path / "scan" / "2-good")
    bad, good = clean_tree(tmp_path / "scan", tmp_path / "out")
    assert (good.slices, good.error) == (3, "")
    written = [bad.folder or "failures.csv", good.folder, "manifest.csv", "manifest.json"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(written)
    assert CANARY not in f"{bad} {good}"


# The command line.


def test_exit_status_is_zero_only_if_every_series_is_cleaned(source, tmp_path, capsys):
    assert main(["clean", str(source), str(tmp_path / "out"), *KMEANS]) == 0
    bad = {"SeriesInstanceUID": uid("bad"), "SOPInstanceUID": lambda n: uid("bad", n)}
    make_series(source / "bad", RescaleSlope=None, **bad)
    assert main(["clean", str(source), str(tmp_path / "out"), *KMEANS]) == 1
    assert "NOT CLEANED" in capsys.readouterr().out


@pytest.mark.parametrize("problem", ["nothing-there", "no-dicom", "inside"])
def test_prints_a_refusal_as_one_line_on_stderr(source, tmp_path, capsys, problem):
    (tmp_path / "empty").mkdir()
    arguments = {
        "nothing-there": (tmp_path / "absent", tmp_path / "out"),
        "no-dicom": (tmp_path / "empty", tmp_path / "out"),
        "inside": (source, source / "out"),
    }[problem]
    assert main(["clean", *map(str, arguments), *KMEANS]) == 1
    assert capsys.readouterr().err.startswith("headrest: ")


def test_module_runs_and_names_no_patient(source, tmp_path):
    command = [sys.executable, "-m", "headrest", "clean", source, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert CANARY not in next((tmp_path / "out").rglob("*.json")).read_text()
    usage = subprocess.run([*command[:3], "polish"], capture_output=True, check=False)
    assert usage.returncode == 2


# Other readers and validators.


def test_valid_input_gives_valid_output(source, tmp_path):
    clean_tree(source, tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert errors_of("dciodvfy", source / "01.dcm") == []
    assert [errors_of("dciodvfy", path) for path in files] == [[], [], []]
    assert errors_of("dcentvfy", *files, *source.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "693_J2KI.dcm", "693_UNCR.dcm", "J2K_pixelrep_mismatch.dcm"]
)
def test_output_has_no_more_errors_of_than_its_source(tmp_path, name):
    path = get_testdata_file(name, download=False) or pytest.skip(f"no {name}; get pydicom-data")
    (tmp_path / "scan").mkdir()
    shutil.copy(path, tmp_path / "scan")
    clean_tree(tmp_path / "scan", tmp_path / "out")
    (after,) = (tmp_path / "out").rglob("*.dcm")
    assert len(errors_of("dciodvfy", after)) <= len(errors_of("dciodvfy", path))


def test_simpleitk_reads_the_output_as_the_source(source, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    clean_tree(source, tmp_path / "out")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames
    before, after = (
        sitk.ReadImage(names(str(folder)))
        for folder in (source, next((tmp_path / "out").glob("ct-*")))
    )
    assert after.GetSize() == before.GetSize() == (64, 64, 3)
    assert after.GetOrigin() == before.GetOrigin()
    assert after.GetSpacing() == before.GetSpacing()
    kept = sitk.GetArrayFromImage(before)[:, :50]
    assert np.array_equal(sitk.GetArrayFromImage(after)[:, :50], kept)


def test_highdicom_reads_the_output_as_the_source(source, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    clean_tree(source, tmp_path / "out")
    before, after = (
        highdicom.get_volume_from_series([dcmread(path) for path in sorted(folder.glob("*.dcm"))])
        for folder in (source, next((tmp_path / "out").glob("ct-*")))
    )
    assert np.array_equal(after.affine, before.affine)
    assert np.array_equal(after.array[:, :50], before.array[:, :50])


def test_dcm2niix_reads_the_output_as_the_source(source, tmp_path):
    dcm2niix = Path(sys.executable).with_name("dcm2niix")
    if not dcm2niix.exists():
        pytest.skip("dcm2niix is not installed")
    clean_tree(source, tmp_path / "out")
    sizes = []
    for name, folder in (("before", source), ("after", next((tmp_path / "out").glob("ct-*")))):
        (tmp_path / name).mkdir()
        command = [dcm2niix, "-f", "x", "-b", "n", "-z", "n", "-o", tmp_path / name, folder]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout
        sizes.append([path.stat().st_size for path in (tmp_path / name).glob("*.nii")])
    assert sizes[0] == sizes[1]
    assert len(sizes[0]) == 1


# Real scans.


@pytest.fixture
def supports(monkeypatch):
    """Every Support that the method finds, in order."""
    found, method = [], METHODS["kmeans"]

    def keep(series):
        found.append((series, method(series)))
        return found[-1][1]

    monkeypatch.setitem(METHODS, "kmeans", keep)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "slices"), [("ge-head", [28]), ("philips-phantom", [28, 54]), ("lidc-chest", [23])]
)
def test_real_scans_keep_every_pixel_outside_the_mask(scans, tmp_path, supports, name, slices):
    reports = clean_tree(scans / name, tmp_path / "out")
    assert sorted(report.slices for report in reports) == slices
    for report, (series, support) in zip(reports, supports):
        cleaned = read_series(tmp_path / "out" / report.folder)
        assert report.removed_ml > 0
        assert np.array_equal(cleaned.stored[~support.removed], series.stored[~support.removed])
        assert np.abs(cleaned.hu[support.removed] + 1000).max() <= 0.5
        assert np.array_equal(cleaned.positions, series.positions)
        if name == "ge-head":
            assert report.flags["touching"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ge-head", "philips-phantom/S21570", "lidc-chest"])
def test_derived_real_scans_have_no_new_errors_of(scans, tmp_path, name):
    series = read_series(scans / name)
    write_derived_series(series, np.zeros(series.stored.shape, bool), tmp_path / "out")
    (found,) = find_series(scans / name).series
    sources = {dcmread(path).SOPInstanceUID: path for path in found.files}
    files = sorted((tmp_path / "out").glob("*.dcm"))
    for path in files[:2]:
        origin = dcmread(path).SourceImageSequence[0].ReferencedSOPInstanceUID
        assert len(errors_of("dciodvfy", path)) <= len(errors_of("dciodvfy", sources[origin]))
    assert len(conflicts(*files)) <= len(conflicts(*sources.values()))


def conflicts(*files):
    """Errors between files, but for references to files that are not beside them."""
    return [line for line in errors_of("dcentvfy", *files) if "that was referenced" not in line]


# A rerun over a source that has changed.


def test_cleans_a_repaired_series_again(source, tmp_path):
    path = sorted(source.iterdir())[-1]
    whole = path.read_bytes()
    path.unlink()
    (before,) = clean_tree(source, tmp_path / "out")
    path.write_bytes(whole)
    (after,) = clean_tree(source, tmp_path / "out")
    assert after.slices == before.slices + 1
    assert after.folder != before.folder


def test_a_damaged_report_fails_its_series_only(source, tmp_path):
    (report,) = clean_tree(source, tmp_path / "out")
    for damage in ("", "[]", "{}", '{"headrest": "0"}'):
        (tmp_path / "out" / report.folder / "cleaning.json").write_text(damage)
        (again,) = clean_tree(source, tmp_path / "out")
        assert "damaged" in again.error


def test_writes_a_given_rescale(tmp_path):
    folder = tmp_path / "scan"
    make_series(folder, RescaleSlope=None, RescaleIntercept=None)
    series = read_series(folder, default_rescale=(1, -1024))
    write_derived_series(series, np.zeros(series.stored.shape, bool), tmp_path / "out")
    assert np.array_equal(read_series(tmp_path / "out").hu, series.hu)


# A hundred derived slices of real scanners.

SCANS = ("ge-head", "lidc-chest", "philips-phantom/S21610")


def derive_all(folder, out):
    """Derive every series below a folder, a tenth of it filled; yield source and output files."""
    rng = np.random.default_rng(0)
    for number, found in enumerate(find_series(folder).series):
        try:
            series = load_series(found)
        except HeadrestError:
            continue
        removed = rng.random(series.stored.shape) < 0.1
        write_derived_series(series, removed, out / str(number), "test")
        sources = {str(dcmread(path).SOPInstanceUID): path for path in found.files}
        outputs = sorted((out / str(number)).glob("*.dcm"))
        origins = [sources[str(header.SOPInstanceUID)] for header in series.headers]
        yield list(zip(origins, outputs, removed))


def differences(source, output, removed):
    """Faults of a derived slice: list of str."""
    sitk = pytest.importorskip("SimpleITK")
    before, after = (sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (source, output))
    wrong = [] if np.array_equal(before[0][~removed], after[0][~removed]) else ["changed outside"]
    filled = abs(after[0][removed] + 1000).max() <= 1 or after.min() > -1000
    wrong += [] if filled else ["not filled"]
    more = len(errors_of("dciodvfy", output)) - len(errors_of("dciodvfy", source))
    return wrong + ([f"{more} errors more"] if more > 0 else [])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_100_derived_slices_of_real_scanners_are_valid_and_filled(scans, tmp_path):
    count = 0
    folders = [*(scans / name for name in SCANS), PYDICOM]
    for number, folder in enumerate(folders):
        for triples in derive_all(folder, tmp_path / str(number)):
            assert [wrong for triple in triples if (wrong := differences(*triple))] == []
            sources, outputs, _ = zip(*triples)
            assert len(conflicts(*outputs)) <= len(conflicts(*sources))
            count += len(triples)
    assert count >= 100


def test_detects_a_wrong_derived_slice(tmp_path):
    for ((source, output, removed),) in derive_all(PYDICOM / "CT_small.dcm", tmp_path):
        ds = dcmread(output)
        pixels = ds.pixel_array.copy()
        pixels[~removed] += 1
        pixels[removed] = 0
        ds.PixelData = pixels.tobytes()
        del ds.DerivationDescription, ds.PixelSpacing
        ds.save_as(output)
        assert len(differences(source, output, removed)) == 3
