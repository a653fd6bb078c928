"""Patient names stay in the headers, and no tag decides where a file is written."""

import logging
import os
import re
from pathlib import Path

import pytest
from conftest import CANARY, make_series, refused, uid
from factories import clean_tree, other_series, run_clean
from pydicom import dcmread
from pydicom.data import get_testdata_file

from headrest import find_support, read_series
from headrest.show import figures as plots
from headrest.train import checkpoints as frames
from headrest.train.dataset import LabelledStudy, write_training_set

ROOT = Path(__file__).parents[1]
NAMES = ("PatientName", "OtherPatientNames", "ReferringPhysicianName", "OperatorsName")
NAMES += ("PatientID", "InstitutionName", "PatientComments", "PatientAddress", "StudyDescription")
ILLEGAL = ("PatientBirthDate", "PatientAge", "StudyInstanceUID", "AccessionNumber")
"""Attributes where a name is illegal: a reader may warn and quote it."""

IDENTIFYING = {
    **{keyword: f"{CANARY}^{keyword}" for keyword in NAMES},
    **{keyword: f"{CANARY} {keyword} ".encode() for keyword in ILLEGAL},
}


@pytest.fixture
def messages(tmp_path, capfd, caplog, recwarn):
    """A function: all that is printed, logged or warned about once two series are written."""
    caplog.set_level(logging.DEBUG)
    make_series(tmp_path / "scan" / "good", **IDENTIFYING)
    make_series(tmp_path / "scan" / "bad", **IDENTIFYING | other_series("bad", RescaleSlope=None))
    for seen in (recwarn.clear, caplog.clear, capfd.readouterr):
        seen()
    return lambda: "\n".join([*capfd.readouterr(), caplog.text, *(str(w.message) for w in recwarn)])


def test_names_stay_in_the_headers(tmp_path, monkeypatch, messages):
    monkeypatch.chdir(tmp_path)
    outputs = ("--segmentation", "--labelmap", "--structures", "--nifti")
    run_clean("scan", "out", "--report", "report.html", *outputs)
    assert len(list(Path("out", "masks").glob("*.dcm"))) == 3
    series = read_series("scan/good")
    found = find_support(series, "kmeans")
    plots.show_slices(series.hu).savefig("slices.png")
    plots.montage(series.hu, found.mask).savefig("montage.svg")
    plots.histogram(series.stored, series.hu).savefig("histogram.svg")
    study = LabelledStudy("0", series.hu, {"kmeans": found.mask}, {"kmeans": found.states})
    write_training_set("set", [study], matrix=64)
    frames.keep_slices("run", series.hu, found.mask)
    assert CANARY not in messages() + repr(series)
    written = [path for path in Path().rglob("*") if path.is_file() and "scan" not in path.parts]
    kinds = {".dcm", ".json", ".html", ".png", ".svg", ".npz", ".gz"}
    assert {path.suffix for path in written} >= kinds
    assert {p.suffix for p in written if CANARY.encode() in p.read_bytes()} == {".dcm"}


def test_a_name_in_the_place_of_a_modality_is_not_shown(tmp_path):
    """Mutation 7,534,560 of `fuzz.py`."""
    (file,) = make_series(tmp_path / "name", 1, Modality=f"{CANARY}^NAME")
    refused("modality unknown, not CT", read_series, file)
    (file,) = make_series(tmp_path / "mr", 1, Modality="MR")
    refused("modality MR, not CT", read_series, file)


def test_names_would_be_found(tmp_path, messages):
    ds = dcmread(tmp_path / "scan" / "good" / "01.dcm")
    assert sum(CANARY in str(ds[keyword].value) for keyword in IDENTIFYING) >= 12
    assert CANARY in messages()


@pytest.mark.parametrize("name", ["693_UNCR.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_notebooks_and_images_name_no_sample_patient(name):
    header = dcmread(get_testdata_file(name, download=False))
    names = [name.encode() for name in (str(header.PatientName), header.PatientID) if name[3:]]
    for path in (*ROOT.glob("notebooks/*"), *ROOT.glob("images/*")):
        assert not [name for name in names if name in path.read_bytes()]


PATHS = ["../../x", "..", ".", "/etc/passwd", "~/x", "C:\\x", "\\\\host\\x", "a/b", "a\0b", "con"]
COMMANDS = ["$(touch x)", "`touch x`", "; touch x", "| touch x", "--help", "-rf", "%n%s", "{0}"]
MARKUP = ["<script>touch()</script>", "'\"><img src=x>", "\x1b[2J", "\r\n", "\u202e", "=1+1"]
SPELLED = ["file:///etc/passwd", "http://x/", "*.dcm", "a" * 300, "\u00e4\u00f6", "\ud83e", "x\x7f"]
HOSTILE = (PATHS + COMMANDS + MARKUP + SPELLED)[:31]
HOSTILE += [f"{start}{end}" for start in ("../", "/tmp/", "..\\") for end in HOSTILE[:6]] + [""]
TAGS = ["PatientID", "PatientName", "SeriesDescription", "StudyID", "AccessionNumber"]
OUTPUTS = r"failures\.csv|manifest\.(csv|json)|ct-[0-9a-f]{12}(/[a-z]+)?(/[0-9a-z]+\.[a-z]+)?"


def test_50_hostile_tags_write_nothing_outside(tmp_path):
    assert len(HOSTILE) == 50
    scan, out = tmp_path / "a" / "b" / "scan", tmp_path / "a" / "b" / "out"
    for number, text in enumerate(HOSTILE):
        value = text.encode("latin-1", "replace")
        value += b" " * (len(value) % 2)
        tags = {"SOPInstanceUID": uid(number), "SeriesInstanceUID": value + b"%02d" % number}
        make_series(scan / str(number), 1, **tags, **dict.fromkeys(TAGS, value))
    before = sorted(scan.rglob("*"))
    reports = clean_tree(scan, out)
    assert len(reports) == 50
    assert sum(not report.error for report in reports) >= 38  # a backslash separates two values
    written = set(out.rglob("*"))
    assert set(tmp_path.rglob("*")) - written == {out.parent.parent, out.parent, scan, out, *before}
    assert all(re.fullmatch(OUTPUTS, path.relative_to(out).as_posix()) for path in written)


def test_folders_named_by_tags_would_escape(tmp_path, monkeypatch):
    monkeypatch.setattr("headrest.clean.series.CleanOptions.folder_name", lambda *_: "../../x")
    make_series(tmp_path / "a" / "b" / "scan", 1)
    clean_tree(tmp_path / "a" / "b" / "scan", tmp_path / "a" / "b" / "out")
    assert "x" in os.listdir(tmp_path / "a")
