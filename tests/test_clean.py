"""The derived series: pixels, attributes, reruns, failures and other readers."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest
from conftest import CANARY, PYDICOM, head_hu, make_series, make_slice, refused, uid, write_slice
from factories import clean_series, clean_tree, sitk_hu, timeless
from makers import ENCODERS, NATIVE, SIGNED, TWELVE, drawing, encoded, in_syntax, overlaid
from makers import validator_errors as errors_of
from pydicom import Dataset, dcmread
from pydicom import uid as uids

from headrest import HeadrestError, find_support, read_series, write_derived_series
from headrest.clean.report import Report, manifest_row
from headrest.dicom import find_series, load_series
from headrest.dicom.write import SERIES_NUMBER_OFFSET, item
from headrest.segment.support import METHODS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
MASK = np.zeros((3, 64, 64), bool)
MASK[1:, 50:60, 5:60] = True
BOTH = pytest.param(TWELVE | SIGNED, marks=pytest.mark.slow)


@pytest.fixture
def source(tmp_path):
    """A folder with one good series of three slices."""
    return make_series(tmp_path / "scan")[0].parent


def derive(folder, mask=MASK, parameters="test", **form):
    """Write a derived series beside its source; return both, slice by slice."""
    series = read_series(folder)
    out = folder.with_name("-".join([folder.name, parameters, *form]))
    write_derived_series(series, mask[: len(series)], out, parameters, **form)
    return series, [dcmread(path) for path in sorted(out.glob("*.dcm"))]


def derive_one(tmp_path, ds=None, **changes):
    """Derive from one slice, or from a valid one with these changes."""
    write_slice(tmp_path / "scan" / "1.dcm", ds or make_slice(**changes))
    return derive(tmp_path / "scan", MASK[1:2])[1][0]


FILLS = {
    "unsigned": (24, {}),
    "slope-3": (8, {"RescaleSlope": 3, "stored": head_hu() + 1024}),
    "negative-slope": (3000, {"RescaleSlope": -1, "RescaleIntercept": 2000}),
    "own-slope-of-each-slice": ([[[48]], [[96]], [[192]]], {"RescaleSlope": lambda n: 0.5**n}),
    "air-below-12-bits": (-2048, {"RescaleSlope": 0.25, "stored": head_hu()} | TWELVE | SIGNED),
}


@pytest.mark.parametrize(("fill", "changes"), FILLS.values(), ids=FILLS)
def test_fills_the_mask_with_air_and_keeps_other_pixels(tmp_path, fill, changes):
    files = make_series(tmp_path / "scan", **changes)
    before = np.stack([dcmread(path).pixel_array for path in files])
    after = np.stack([ds.pixel_array for ds in derive(tmp_path / "scan")[1]])
    assert np.array_equal(after, np.where(MASK, fill, before))


def test_reports_the_fill_value_where_air_cannot_be_stored(tmp_path):
    make_series(tmp_path / "scan", RescaleIntercept=-500, hu=np.maximum(head_hu(), -500))
    report = clean_series(read_series(tmp_path / "scan"), tmp_path / "out")
    assert "reads as -500 HU: -1000 cannot be stored" in " ".join(report.warnings)
    derived = dcmread(tmp_path / "out" / report.folder / "0001.dcm")
    assert "filled with -500 HU" in derived.DerivationDescription


LOSSY = {uids.JPEGLSNearLossless: (uids.JPEGLSLossless, {"jls_error": 2})}
LOSSY |= {uids.JPEG2000: (uids.JPEG2000Lossless, {"j2k_cr": [5]})}
"""Lossless syntaxes in their place, and options of their encoders."""


@pytest.mark.parametrize("syntax", [*ENCODERS, *LOSSY, *NATIVE], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("kind", [TWELVE, SIGNED, BOTH], ids=str)
def test_writes_every_syntax_uncompressed_or_losslessly_compressed(tmp_path, syntax, kind):
    lossless, options = LOSSY.get(syntax, (syntax, {}))
    lossy = options and encoded(make_slice(**kind), syntax, **options)
    plain = derive_one(tmp_path, lossy or in_syntax(syntax, **kind))
    series, (packed,) = derive(tmp_path / "scan", MASK[1:2], compress=True)
    assert not plain.file_meta.TransferSyntaxUID.is_compressed
    assert packed.file_meta.TransferSyntaxUID == lossless
    assert packed.SOPInstanceUID == plain.SOPInstanceUID
    assert packed.PatientName == plain.PatientName == f"{CANARY}^NAME"
    before, after = tmp_path / "scan" / "1.dcm", tmp_path / "scan-test-compress" / "0001.dcm"
    assert np.array_equal(read_series(after).stored[0], plain.pixel_array)
    assert np.array_equal(plain.pixel_array[~MASK[1]], series.stored[0][~MASK[1]])
    assert len(errors_of("dciodvfy", after)) <= len(errors_of("dciodvfy", before))


def test_compression_warns_where_it_cannot_and_changes_no_pixels(source, tmp_path, monkeypatch):
    series = read_series(source)
    for header in series.headers:  # nothing at hand writes uids.HTJ2K
        header.file_meta.TransferSyntaxUID = uids.HTJ2K
    report = clean_series(series, tmp_path / "out", compress=True)
    assert [w for w in report.warnings if "uncompressed" in w and uids.HTJ2K.name in w]
    after = dcmread(tmp_path / "out" / report.folder / "0001.dcm")
    assert after.file_meta.TransferSyntaxUID == uids.ExplicitVRLittleEndian
    write_slice(tmp_path / "rle" / "1.dcm", encoded(make_slice(), uids.RLELossless))
    whole = Dataset.compress
    careless = lambda ds, syntax, words, **options: whole(ds, syntax, words ^ 1, **options)  # noqa: E731
    monkeypatch.setattr(Dataset, "compress", careless)
    refused("changed its pixels", derive, tmp_path / "rle", compress=True)
    assert set(os.listdir(tmp_path)) == {"scan", "out", "rle"}


def test_moves_an_overlay_from_the_pixels_to_overlay_data(tmp_path):
    overlaid()(tmp_path / "scan")
    (after,) = derive(tmp_path / "scan", MASK[1:2])[1]
    assert np.array_equal(after.pixel_array, np.where(MASK[1], 24, head_hu() + 1024))
    assert np.array_equal(after.overlay_array(0x6000), drawing())
    assert (after[0x6000, 0x0100].value, after[0x6000, 0x0102].value) == (1, 0)


def test_derived_slices_renew_their_identity_and_name_their_source(source):
    renewed = {"SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"}
    renewed |= {"ImageType", "ContentDate", "ContentTime"}
    for path in source.iterdir():  # a preamble that holds a program
        path.write_bytes(b"MZ" * 64 + path.read_bytes()[128:])
    series, slices = derive(source)
    for before, after in zip(series.headers, slices):
        kept = {one.keyword: after[one.tag].value == one.value for one in before}
        assert {keyword for keyword in kept if not kept[keyword]} == renewed
        assert after.preamble == bytes(128)
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
        assert list(after.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
        (origin,), (equipment,) = after.SourceImageSequence, after.ContributingEquipmentSequence
        assert origin.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert origin.SpatialLocationsPreserved == "YES"
        purposes = [one.PurposeOfReferenceCodeSequence[0] for one in (origin, equipment)]
        codes = [one.CodeValue for one in (*after.DerivationCodeSequence, *purposes)]
        assert codes == ["113047", "121322", "109103"]


def test_keeps_earlier_derivations_and_deletes_what_describes_the_source_file(tmp_path):
    earlier = {"DerivationCodeSequence": [item(CodeValue="113043")]}
    earlier["ContributingEquipmentSequence"] = [item(Manufacturer="Before")]
    of_the_file = {"IconImageSequence": [Dataset()], "DigitalSignaturesSequence": [Dataset()]}
    of_the_file |= {"ExtendedOffsetTable": bytes(8), "ExtendedOffsetTableLengths": bytes(8)}
    of_the_file["InstanceCreatorUID"] = uid("scanner")
    ds = make_slice(DerivationDescription="smoothed", **earlier, **of_the_file)
    ds.add_new("LargestImagePixelValue", "US", 7)
    after = derive_one(tmp_path, ds)
    assert after.DerivationDescription.startswith("smoothed")
    assert [one.CodeValue for one in after.DerivationCodeSequence] == ["113043", "113047"]
    assert after.ContributingEquipmentSequence[0].Manufacturer == "Before"
    assert not any(keyword in after for keyword in (*of_the_file, "LargestImagePixelValue"))
    text = derive_one(tmp_path / "long", DerivationDescription="y" * 1024).DerivationDescription
    assert re.fullmatch(r"y+; Support removed by .*\(test\).*HU", text)
    assert len(text) == 1024


def private_elements(ds):
    return [element.tag for element in ds.iterall() if element.tag.is_private]


@pytest.mark.parametrize("syntax", [uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian])
def test_drops_private_elements_on_request_from_the_copy_only(tmp_path, syntax):
    inner, equipment = Dataset(), item(Manufacturer="earlier")
    sequences = {"ContributingEquipmentSequence": [equipment], "ReferencedImageSequence": [inner]}
    before = make_slice(TransferSyntaxUID=syntax, PatientWeight=b"72,5", **sequences)
    for ds, group in ((before, 0x0009), (equipment, 0x0011), (inner, 0x0029)):
        ds.private_block(group, "MAKER", create=True).add_new(1, "LO", CANARY)
    before.private_block(0x0009, "MAKER").add_new(2, "SQ", [item(PatientID=CANARY)])
    kept = derive_one(tmp_path, before)
    series, (dropped,) = derive(tmp_path / "scan", drop_private=True)
    before = dcmread(tmp_path / "scan" / "1.dcm")
    assert len(private_elements(before)) == 7
    for one in (kept, series.headers[0]):
        assert private_elements(one) == private_elements(before)
    assert private_elements(dropped) == []
    assert dropped.SOPInstanceUID != kept.SOPInstanceUID
    assert "private elements dropped" in dropped.DerivationDescription
    assert list(dropped.keys()) == [one.tag for one in kept if not one.tag.is_private]


LEGAL = [
    ({"BurnedInAnnotation": "YES"}, "YES"),
    ({"BurnedInAnnotation": None}, None),
    ({"HighBit": 15, "BitsStored": 12}, 11),
    ({"SeriesNumber": 2**31 - 2}, 2**31 - 1),
    ({"SeriesNumber": b"two "}, SERIES_NUMBER_OFFSET),
    ({"SeriesDescription": "A\\C-/C+"}, "A C-/C+ headrest removed"),
    ({"SeriesDescription": "x" * 64}, "x" * 47 + " headrest removed"),
]


@pytest.mark.parametrize(("changes", "expected"), LEGAL)
def test_copies_declarations_and_keeps_values_legal(tmp_path, changes, expected):
    assert derive_one(tmp_path, **changes).get(next(iter(changes))) == expected


PADDING = [
    ("SS", -2000, {"PixelRepresentation": 1}, -2000),
    ("US", 65536 - 2000, {"PixelRepresentation": 1}, -2000),
    ("US", 65536 - 2000, TWELVE, None),
    ("SS", -32768, TWELVE | SIGNED, None),
]


@pytest.mark.parametrize(("vr", "value", "kind", "expected"), PADDING)
def test_padding_has_the_vr_and_the_range_of_the_pixels(tmp_path, vr, value, kind, expected):
    ds = make_slice(hu=np.clip(head_hu(), -1024, 2000), **kind)
    ds.add_new("PixelPaddingValue", vr, value)
    after = derive_one(tmp_path, ds)
    assert after.get("PixelPaddingValue") == expected
    assert expected is None or after["PixelPaddingValue"].VR == "SS"


@pytest.mark.parametrize("zone", ["+0930", "-0500", "nowhere", None])
def test_times_are_in_the_declared_time_zone(tmp_path, zone):
    before = datetime.now(timezone.utc).replace(microsecond=0)
    after = derive_one(tmp_path, TimezoneOffsetFromUTC=zone)
    offset = zone if zone in ("+0930", "-0500") else f"{datetime.now().astimezone():%z}"
    shown = datetime.strptime(after.ContentDate + after.ContentTime + offset, "%Y%m%d%H%M%S%z")
    assert before <= shown <= datetime.now(timezone.utc)


def test_uids_depend_on_mask_and_parameters_and_bytes_on_nothing_else(source, tmp_path):
    series, found, texts = read_series(source), {}, {}
    runs = {"a": (MASK, ""), "again": (MASK.astype(np.uint8), "")}
    runs |= {"mask": (~MASK, ""), "words": (MASK, "x" * 2000)}
    for name, (mask, parameters) in runs.items():
        write_derived_series(series, mask, tmp_path / name, parameters)
        files = sorted((tmp_path / name).iterdir())
        texts[name], slices = [timeless(path) for path in files], list(map(dcmread, files))
        found[name] = {ds.SOPInstanceUID for ds in slices} | {slices[0].SeriesInstanceUID}
        assert len(found[name]) == 4
        assert len(slices[0].DerivationDescription) <= 1024
    assert texts["a"] == texts["again"]
    assert not found["a"] & (found["mask"] | found["words"])
    forms = [{}, {"compress": True}, {"drop_private": True}, {"patient_only": True}]
    assert len({clean_series(source, tmp_path / "out", **form).folder for form in forms}) == 4


def test_removes_the_support_and_reports_its_volume(source, tmp_path):
    (report,) = clean_tree(source, tmp_path / "out")
    assert (report.slices, report.error, report.method) == (3, "", "kmeans")
    assert report.support_ml == pytest.approx(3 * 88 * 3.5 * 3.5 * 5 / 1000, rel=0.01)
    filled = find_support(source, "kmeans").removed.sum() * 3.5 * 3.5 * 5 / 1000
    assert report.support_ml + report.boundary_ml == pytest.approx(filled, abs=1e-3)
    assert report.boundary_ml > 10
    hu = read_series(tmp_path / "out" / report.folder).hu
    assert hu[:, 54:56, 10:54].max() == -1000
    assert np.array_equal(hu[:, :50], np.stack([head_hu()[:50]] * 3))


def test_report_and_manifest_list_flagged_slices():
    states, sure = ("free", "touching", "touching", "absent", "touching"), (0.99, 0.95, 0.5, 1, 0.2)
    report = Report("scan", slices=5, support_ml=8.0, states=states, confidence=sure)
    row = manifest_row(replace(report, options="method=network weights=0a1b patient-only"))
    assert (row["touching"], row["uncertain"], row["nothing_found"]) == ([2, 3, 5], [3, 5], [4])
    assert row["weights"] == "0a1b"
    for words in ("touches in slices 2-3, 5", "uncertain in slices 3, 5", "found in slice 4"):
        assert words in str(report)
    left = str(replace(report, method="kmeans", boundary_ml=2.04, bound_ml=0.25))
    for words in ("8.0 ml", "2.0 ml of its boundary", "at most 0.25 ml", "is left in slices 2-3"):
        assert words in left


def test_refuses_a_file_as_destination_before_computing(source, tmp_path, monkeypatch):
    """So is a destination inside the source."""
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed"))
    (tmp_path / "link").symlink_to(source, target_is_directory=True)
    (tmp_path / "file").write_text("a file")
    for place in ("scan", "scan/out", "scan/deep/er", "scan/../scan/out", "link"):
        refused("inside", clean_tree, source, tmp_path / place)
    for place in ("file", "file/deeper"):
        refused("file", clean_tree, source, tmp_path / place)
    assert (tmp_path / "file").read_text() == "a file"
    assert sorted(os.listdir(source)) == ["01.dcm", "02.dcm", "03.dcm"]


def test_refuses_other_masks_folders_and_deleted_sources(source, tmp_path):
    series, out, taken = read_series(source), tmp_path / "out", tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    refused("taken", write_derived_series, series, MASK, taken)
    refused("mask", write_derived_series, series, MASK[:2], out)
    refused("labels 1, 3: keep", write_derived_series, series, np.where(MASK, 1, 3), out)
    unread = read_series(source)
    shutil.rmtree(source)
    refused("read it again", write_derived_series, unread, MASK, out)
    assert sorted(tmp_path.rglob("*")) == [taken, taken / "mine"]


def test_module_loads_no_heavy_package(source, tmp_path):
    heavy = {"idc_index", "keras", "matplotlib", "pandas", "pooch", "sklearn", "tensorflow"}
    run = "import sys, headrest.train.dataset, headrest.show.video, headrest.__main__ as package"
    command = [sys.executable, "-X", "importtime", "-c", f"{run}; sys.exit(package.main())"]
    command += ["clean", source, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.M)
    assert imported.index("headrest") < imported.index("onnxruntime")
    assert not heavy & set(imported)


def derive_all(folder, out):
    """Derive every series below a folder, a tenth of it filled; yield source and output files."""
    rng = np.random.default_rng(0)
    for number, found in enumerate(find_series(folder).series):
        with suppress(HeadrestError):
            series = load_series(found)
            removed = rng.random(series.stored.shape) < 0.1
            write_derived_series(series, removed, out / str(number), "test")
            yield list(zip(series.files, sorted((out / str(number)).glob("*.dcm")), removed))


def differences(source, output, removed):
    """Faults of a derived slice: list of str."""
    before, after = (sitk_hu(path)[0] for path in (source, output))
    faults = {
        "changed outside": (before != after)[~removed].any(),
        "not filled": abs(after[removed] + 1000).max() > 1 and after.min() <= -1000,
        "more errors": len(errors_of("dciodvfy", output)) > len(errors_of("dciodvfy", source)),
    }
    return [name for name, found in faults.items() if found]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_100_derived_slices_of_real_scanners_are_valid_and_filled(scans, tmp_path):
    count = 0
    folders = [*(scans / name for name in ("ge-head", "lidc-chest", "philips-phantom")), PYDICOM]
    for number, folder in enumerate(folders):
        for triples in derive_all(folder, tmp_path / str(number)):
            assert [wrong for triple in triples if (wrong := differences(*triple))] == []
            sources, outputs, _ = zip(*triples)
            # Errors between files, but for references to files that are not beside them.
            found = (errors_of("dcentvfy", *files) for files in (sources, outputs))
            before, after = (sum("that was referenced" not in e for e in one) for one in found)
            assert after <= before
            count += len(triples)
    assert count >= 100


def test_detects_a_wrong_derived_slice(tmp_path):
    for ((source, output, removed),) in derive_all(PYDICOM / "CT_small.dcm", tmp_path):
        assert differences(source, output, removed) == []
        ds = dcmread(output)
        ds.PixelData = np.where(removed, 0, ds.pixel_array + 1).astype("<i2").tobytes()
        del ds.DerivationDescription, ds.PixelSpacing
        ds.save_as(output)
        assert len(differences(source, output, removed)) == 3
