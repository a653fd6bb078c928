"""Stacks of a series: what is separated, joined, left out or refused.

Oracles: highdicom decides whether the images of a stack are a volume, SimpleITK gives their HU.
"""

import os
import re
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
from conftest import make_series, make_slice, refused, uid, write_slice
from factories import clean_tree, other_series, run_clean, sitk_hu
from makers import TILT, dicomdir, of_size, peaks, refusal, with_peak
from pydicom import dcmread
from pydicom import uid as uids

from headrest import read_series
from headrest.dicom import find_series, load_series, pixels

TILTED = {
    "ImageOrientationPatient": TILT,
    "ImagePositionPatient": lambda one, n: [-112, 5 * n * 0.342, 5 * n * 0.94],
}
TIMES = 3
SLICES = 4


def repeated(folder, passes=TIMES, slices=SLICES, private=(), **changes):
    """Several passes over one range; a change that is a function gets the pass and the slice.

    The first pixel of each image is 100 HU times the pass plus the slice. `private` has functions
    by the number of a private element.
    """
    for one in range(passes):
        for n in range(1, slices + 1):
            number = one * slices + n
            made = {k: v(one, n) if callable(v) else v for k, v in changes.items()}
            made.setdefault("ImagePositionPatient", [-112, -112, 5.0 * n])
            made.setdefault("hu", with_peak(100 * one + n))
            ds = make_slice(number, SOPInstanceUID=uid(folder, number), **made)
            for element, value in dict(private).items():
                block = ds.private_block(0x01F1, "SPECTRAL", create=True)
                block.add_new(element, "LO", value(one, n))
            write_slice(folder / f"{number:03d}.dcm", ds)


def loaded(folder):
    """Every stack of a folder; a volume for highdicom, its HU those of SimpleITK."""
    highdicom = pytest.importorskip("highdicom")
    stacks = []
    for files in find_series(folder).series:
        series = load_series(files)
        headers = [dcmread(path, stop_before_pixels=True) for path in files.files]
        spacing, order = highdicom.spatial.get_series_volume_positions(headers)
        assert spacing == pytest.approx(series.spacing_mm[0], rel=1e-3)  # of rounded axes
        assert sorted(order) == list(range(len(series)))
        for path, hu in zip(series.files, series.hu):
            assert np.array_equal(sitk_hu(path)[0], hu)
        stacks.append(series)
    return stacks


KVP = {"KVP": lambda one, n: 80 + 20 * one}
TWO = {"KVP": lambda one, n: 80 + 60 * (one % 2), "AcquisitionNumber": lambda one, n: one // 2}
ALTERNATE = {"ImagePositionPatient": lambda one, n: [-112, -112, 5.0 * n + 0.3 * one]}
ENERGY = {38: lambda one, n: f"{40 + 30 * one} keV"}
SEPARATED = {
    "acquisition": {"AcquisitionNumber": lambda one, n: 2**31 - 9 + one},  # nearly the largest IS
    "temporal-position": {"TemporalPositionIdentifier": lambda one, n: one + 1},
    "content-time-of-the-pass": {"ContentTime": lambda one, n: f"12000{one}.5"},
    "content-time-of-the-slice": {"ContentTime": lambda one, n: f"12{one:02d}{n:02d}"},
    "image-type": {"ImageType": lambda one, n: [*["DERIVED"] * 9, f"ENERGY_{one}"]},
    "kvp": KVP,
    "private-energy": {"private": ENERGY | {39: lambda one, n: f"slice {n}"}},
    "each-slice-its-time-but-kvp-apart": KVP | {"ContentTime": lambda one, n: f"1200{n:02d}"},
    "two-attributes": {"passes": 4, **TWO},
    "acquisition-whose-slices-alternate": {"AcquisitionNumber": lambda one, n: one} | ALTERNATE,
}


def of_passes(passes=TIMES):
    return [[100 * one + n for n in range(1, SLICES + 1)] for one in range(passes)]


@pytest.mark.parametrize("changes", SEPARATED.values(), ids=SEPARATED)
def test_separates_images_that_share_positions(tmp_path, changes):
    repeated(tmp_path, **changes)
    stacks = loaded(tmp_path)
    assert sorted(map(peaks, stacks)) == of_passes(changes.get("passes", TIMES))
    named = ", value 1)" in " ".join(stacks[0].warnings).lower()
    assert named == ("private" in changes)
    assert "choose one stack of the series by stack=..., or acquisition=..." in refusal(tmp_path)
    assert "no stack 0" in refusal(tmp_path, stack=0)
    assert len(read_series(tmp_path, stack=TIMES)) == SLICES


UNPLACED = {"ImagePositionPatient": lambda one, n: [0, 0, 5.0 * n] if n != 2 else b"a\\b\\c "}
UNPLACED["private"] = ENERGY
APART = "no attribute separates them"
AMBIGUOUS = {
    "public": ({"AcquisitionNumber": lambda one, n: 10 * one + n}, APART),
    "another-way": ({"private": ENERGY | {39: lambda one, n: str((one + n) % TIMES)}}, APART),
    "value-too-many": ({"private": {38: lambda one, n: f"{one + (one == n == 1) * 9}"}}, APART),
    "twice-at-one": ({"private": {38: lambda one, n: f"{min(one, n)}"}}, APART),
    "damaged-position": (UNPLACED, "ImagePosition"),  # without the guard missing from each pass
}


@pytest.mark.parametrize(("changes", "words"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_refuses_images_at_one_position_that_no_attribute_separates(tmp_path, changes, words):
    repeated(tmp_path, **changes)
    assert words in refusal(tmp_path)


def test_the_stacks_of_a_series_are_cleaned_into_folders_of_their_own(tmp_path):
    repeated(tmp_path / "in", 2, **SEPARATED["acquisition"])
    reports = clean_tree(tmp_path / "in", tmp_path / "out")
    assert [report.error for report in reports] == ["", ""]
    folders = {report.folder for report in reports}
    derived = [read_series(tmp_path / "out" / folder) for folder in folders]
    assert sorted(map(peaks, derived)) == [[1, 2, 3, 4], [101, 102, 103, 104]]
    assert len({series.uid for series in derived}) == 2
    again = clean_tree(tmp_path / "in", tmp_path / "out")
    assert {report.folder for report in again} == folders
    (report,) = clean_tree(tmp_path / "in", tmp_path / "one", acquisition=2**31 - 8)
    assert peaks(read_series(tmp_path / "one" / report.folder)) == [101, 102, 103, 104]
    assert "4 images of other acquisitions left out" in report.warnings
    assert "Acquisition Number 7" in refusal(tmp_path / "in", acquisition=7)
    repeated(tmp_path / "in" / "damaged", 1, 2, AcquisitionNumber=3, PixelSpacing=None)
    assert "PixelSpacing is missing" in refusal(tmp_path / "in", acquisition=3)
    assert len(read_series(tmp_path / "in", acquisition=2**31 - 8)) == SLICES


def test_joins_two_acquisitions_that_share_a_boundary_slice(tmp_path):
    for overlap in (0, 1, 2):
        step = 5.0 * (SLICES - overlap)
        place = {"ImagePositionPatient": lambda one, n, s=step: [-112, -112, 5.0 * n + s * one]}
        repeated(tmp_path / str(overlap), 2, AcquisitionNumber=lambda one, n: one + 1, **place)
    (series,) = loaded(tmp_path / "0")
    assert (len(series), series.warnings) == (8, ())
    (series,) = loaded(tmp_path / "1")
    assert peaks(series) == [1, 2, 3, 4, 102, 103, 104]
    assert series.warnings == ("skipped 005.dcm: acquisitions 1 and 2 share its position",)
    place = {"ImagePositionPatient": lambda one, n: [-112, -112, 5.0 * (n + (SLICES - 1) * one)]}
    repeated(tmp_path / "three", 3, AcquisitionNumber=lambda one, n: one + 1, **place)
    (series,) = loaded(tmp_path / "three")
    assert [re.findall(r"\d and \d", one) for one in series.warnings] == [["1 and 2"], ["2 and 3"]]
    assert list(map(peaks, loaded(tmp_path / "2"))) == of_passes(2)
    for name in ("001", "002", "003", "005", "006", "007", "008"):  # with the shared one
        (header := dcmread(path := tmp_path / "1" / f"{name}.dcm")).SOPInstanceUID = ""
        header.save_as(path)
    assert "SOPInstanceUID is missing" in refusal(tmp_path / "1")


@pytest.mark.parametrize("changes", [TILTED, {"PixelSpacing": [2, 2]}, {"hu": of_size(64, 96)}])
def test_separates_stacks_of_another_grid(tmp_path, changes):
    repeated(tmp_path / "a", 1, slices=5)
    repeated(tmp_path / "b", 1, slices=3, **changes)
    assert [len(series) for series in loaded(tmp_path)] == [5, 3]


EXAM = {
    "thin": ({"n": 6, "ImagePositionPatient": lambda n: [-112, -112, 2.5 * n]}, ""),
    "thick": ({}, ""),
    "localizer": ({"n": 1, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer, not a"),
    "coronal": ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not axial"),
    "dose report": ({"SOPClassUID": uids.XRayRadiationDoseSRStorage, "PixelData": None}, "X-Ray R"),
}


def test_cleans_the_axial_series_of_a_whole_exam_and_names_the_rest(tmp_path, capsys):
    for name, (changes, _) in EXAM.items():
        about = {"SeriesDescription": name, **other_series(name)}
        make_series(tmp_path / "in" / name, **about, **changes)
    where = {"ImagePositionPatient": [-112, -112, 100.0], "SeriesInstanceUID": uid("bolus")}
    times = {"AcquisitionNumber": lambda one, n: one + 1, "SeriesDescription": "Monitoring"}
    repeated(tmp_path / "in" / "bolus", 12, 1, **where, **times)
    cut = tmp_path / "in" / "bolus" / "cut.dcm"
    cut.write_bytes((cut.parent / "001.dcm").read_bytes()[:700])
    assert run_clean(tmp_path / "in", tmp_path / "out") == 0
    shown = "".join(capsys.readouterr())
    for name, (_, reason) in EXAM.items():
        assert shown.count(f"({name}): {reason}") == bool(reason), name
    bolus = "12 images at one position, no volume"
    assert f"skipped bolus{os.sep}001.dcm and 11 more (Monitoring): {bolus}" in shown
    assert bolus in refusal(tmp_path / "in" / "bolus")
    assert f"{cut}: " in shown  # of no stack
    assert "6 slices" in shown
    assert "3 slices" in shown


DAMAGES = {
    "header-cut": lambda data: data[:500],
    "header-cut-behind-the-series": lambda data: data[: data.index(b"\x20\x00\x13\x00") + 4],
    "pixels-cut": lambda data: data[:-100],
    "empty": lambda data: b"",
}


def damage_file(path, how="header-cut"):
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    return path


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("member", [2, 5])
def test_refuses_a_series_with_a_damaged_member_unless_it_may_be_missing(tmp_path, how, member):
    path = damage_file(make_series(tmp_path / "in", 5)[member - 1], how)
    make_series(tmp_path / "in" / "other", 3, **other_series("other"))
    text = refusal(tmp_path / "in", series_uid=uid("series"))
    assert path.name in text
    assert "--allow-missing" in text
    series = read_series(tmp_path / "in", uid("series"), allow_missing=True)
    assert len(series) == 4
    assert path.name in " ".join(series.warnings)
    assert len(read_series(tmp_path / "in", uid("other"))) == 3
    assert run_clean(tmp_path / "in", tmp_path / "out") == 1
    assert f",{path}," in (tmp_path / "out" / "failures.csv").read_text()
    assert run_clean(tmp_path / "in", tmp_path / "out", "--allow-missing") == 0


def test_too_little_memory_is_no_damaged_member(tmp_path, monkeypatch):
    make_series(tmp_path, 4)
    decode = Mock(wraps=pixels.decode, side_effect=[DEFAULT, MemoryError, DEFAULT, DEFAULT])
    monkeypatch.setattr(pixels, "decode", decode)
    refused("too large for this machine", read_series, tmp_path, allow_missing=True)


OWNERS = {"first": (3, "series"), "second": (8, "other"), "by-its-name": (10, "other")}
OWNERS["none"] = (5, None)


@pytest.mark.parametrize(("member", "owner"), OWNERS.values(), ids=OWNERS)
def test_a_damaged_header_refuses_only_the_series_that_it_may_belong_to(tmp_path, member, owner):
    """Of two series in one folder, slices 1 to 5 and 6 to 10; without slice 5 none has a gap."""
    paths = make_series(tmp_path, 5)
    for n, path in enumerate(make_series(tmp_path / "others", 5, **other_series("other")), 6):
        paths.append(path.rename(tmp_path / (f"x{n}" if member == 10 else f"{n:02d}.dcm")))
    path = damage_file(paths[member - 1])
    for name in ("series", "other"):
        if name == owner:
            assert path.name in refusal(tmp_path, series_uid=uid(name))
            continue
        series = read_series(tmp_path, uid(name))
        assert len(series) == 5 - (member == 5 and name == "series")
        complete = f"skipped {path.name}: .*no series beside it lacks a slice"
        assert bool(re.search(complete, " ".join(series.warnings))) == (owner is None)


def test_a_damaged_header_among_few_slices_and_a_broken_link_refuse_the_series(tmp_path):
    """With two slices no gap can be seen: the damaged file may be the third."""
    damage_file(make_series(tmp_path, 3)[1])
    write_slice(tmp_path / "09.dcm", make_slice(9, SeriesInstanceUID=uid("other")))
    for name in ("series", "other"):
        assert "02.dcm" in refusal(tmp_path, series_uid=uid(name))
    links = make_series(tmp_path / "links", 3)[0].parent
    (links / "04.dcm").symlink_to("nowhere")
    assert "04.dcm: a broken link" in refusal(links)
    (links / "04.dcm").rename(links / "link")
    assert read_series(links).warnings == ("skipped link: a broken link",)


def test_names_what_to_give_instead_of_a_dicomdir_or_an_archive(tmp_path):
    dicomdir(tmp_path / "exam")
    assert f"give its folder: {tmp_path / 'exam'}" in refusal(tmp_path / "exam" / "DICOMDIR")
    (tmp_path / "exam.zip").write_bytes(b"PK\3\4" + bytes(100))
    assert "unpack it" in refusal(tmp_path / "exam.zip")
    make_series(tmp_path / "in", 3)
    np.savez(tmp_path / "in" / "truth.npz", labels=np.zeros(3))
    said = read_series(tmp_path / "in").warnings
    assert said == ("skipped truth.npz: not DICOM but arrays of NumPy",)
