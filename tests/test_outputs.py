"""What is written beside a cleaned series: masks, the manifest, pictures; series to be reviewed."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock
from zipfile import ZipFile

import numpy as np
import pytest
from conftest import make_series, refused
from factories import clean_series, clean_tree, converted, hide, other_series, run_clean
from makers import TILT_15, made
from PIL import Image

from headrest import __version__, read_series
from headrest.clean import series as cleaning
from headrest.clean.outputs import OUTPUTS
from headrest.clean.report import Report, read_results
from headrest.dicom.mask import read_mask
from headrest.dicom.nifti import write_nifti
from headrest.dicom.structures import write_structures
from headrest.segment.support import METHODS, find_support

pytest.importorskip("highdicom")
nibabel = pytest.importorskip("nibabel")
pytest.importorskip("contourpy")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

WRITERS = {"structures": write_structures, "nifti": write_nifti}
ALL = dict.fromkeys([*WRITERS, "segmentation", "labelmap"], True)
FILES = {output.file for name in ALL for output in OUTPUTS[name]}


@pytest.fixture
def series(tmp_path):
    return made(tmp_path / "scan")


def forbid_computing(monkeypatch):
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed"))


def files_in(folder):
    """Every file of a series, those beside its folder with {}; a hidden one is a leftover."""
    names = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*")}
    beside = {path for path in folder.parent.glob("masks/*") if folder.name in path.name}
    names |= {f"masks/{path.name.replace(folder.name, '{}')}" for path in beside}
    assert not [name for name in names if "partial" in name]
    return names


def test_writes_masks_on_request_again_where_lost_computed_once(series, tmp_path, monkeypatch):
    """Of the support, also with `patient_only`. Other readers find one series."""
    support, options = find_support(series, "kmeans"), ALL | {"patient_only": True}
    plain = clean_series(series, tmp_path / "out").folder
    assert not FILES & files_in(tmp_path / "out" / plain)
    first = clean_series(series, tmp_path / "out", **options)
    folder = tmp_path / "out" / first.folder
    assert files_in(folder) > FILES
    labels, image = (nibabel.load(one.path(folder)) for one in OUTPUTS["nifti"][:2])
    assert np.array_equal(labels.get_fdata().T == 1, support.removed)
    assert np.array_equal(labels.get_fdata().T == 2, support.patient & ~support.removed)
    for form in ("segmentation", "labelmap"):
        mask = read_mask(OUTPUTS[form][0].path(folder), series)
        assert np.array_equal(mask, support.removed)
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(image.get_fdata().T, read_series(folder).hu)
    before, after = converted(tmp_path / "scan", tmp_path / "1"), converted(folder, tmp_path / "2")
    assert np.array_equal(before.affine, after.affine)
    shutil.rmtree(folder.parent / "masks")
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.*")}
    clean_series(series, folder.parent, **options)
    assert files_in(folder) > FILES
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("*.*")}
    forbid_computing(monkeypatch)
    for asked in ({}, {"nifti": True}, ALL):
        assert clean_series(series, folder.parent, **{"patient_only": True} | asked) == first


def test_warns_of_an_impossible_and_of_a_sheared_output(tmp_path, monkeypatch):
    """And writes the others."""
    series = made(tmp_path / "scan", ImagePositionPatient=lambda n: [-112, -112, float(n**3)])
    report = clean_series(series, tmp_path / "out", **ALL)
    impossible = {output.file for output in OUTPUTS["nifti"]}
    assert files_in(tmp_path / "out" / report.folder) & FILES == FILES - impossible
    assert [w for w in report.warnings if w.startswith("no headrest.nii.gz: slices lie up to")]
    sheared = clean_series(made(tmp_path / "tilted", **TILT_15), tmp_path / "out", **ALL)
    assert "sheared" in " ".join(sheared.warnings)
    assert files_in(tmp_path / "out" / sheared.folder) > FILES
    forbid_computing(monkeypatch)
    assert clean_series(series, tmp_path / "out", **ALL) == report


@pytest.mark.parametrize("name", WRITERS)
def test_refuses_a_missing_package_before_computing(series, tmp_path, monkeypatch, name):
    package = OUTPUTS[name][0].package
    hide(monkeypatch, package)
    forbid_computing(monkeypatch)
    out, mask = tmp_path / "out", np.zeros(series.stored.shape, bool)
    refused(f"pip install {package}", clean_series, series, out, **{name: True})
    refused(f"pip install {package}", WRITERS[name], series, mask, out)
    assert not out.exists()


def test_a_full_disk_leaves_no_partial_output(series, tmp_path, monkeypatch):
    """Nor does a file in the place of the folder of masks."""
    first = clean_series(series, tmp_path / "there")
    whole = files_in(tmp_path / "there" / first.folder)
    (tmp_path / "there" / "masks").touch()
    refused("segmentation.dcm: cannot", clean_series, series, tmp_path / "there", segmentation=True)
    written = Path.write_bytes

    def full(path, content):
        written(path, content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    refused("No space left", clean_series, series, tmp_path / "there", nifti=True)
    assert files_in(tmp_path / "there" / first.folder) == whole


@pytest.fixture
def archive(tmp_path):
    """Three series; b cannot be cleaned."""
    for name, slope in (("a", 1), ("b", None), ("c", 1)):
        changes = {"SeriesDescription": f"=Head {name}", "RescaleSlope": slope}
        make_series(tmp_path / "scan" / name, **other_series(name, **changes))
    return tmp_path / "scan"


def rows(out):
    """Rows of both manifests."""
    document = json.loads((out / "manifest.json").read_text())
    table = list(csv.DictReader((out / "manifest.csv").read_text().splitlines()))
    assert document["headrest"] == __version__
    for key in ("folder", "status"):
        assert [row[key] for row in table] == [row[key] for row in document["series"]]
    return document["series"], table


def test_manifest_lists_each_series_once_also_when_a_run_is_stopped(archive, tmp_path):
    reports = clean_tree(archive, tmp_path / "out", drop_private=True)
    listed, table = rows(tmp_path / "out")
    assert [row["status"] for row in listed] == ["failed", "cleaned", "cleaned"]
    assert "RescaleSlope" in listed[0]["error"]
    figures = ("folder", "source", "support_ml", "boundary_ml")
    expected = [[getattr(report, key) for key in figures] for report in reports if not report.error]
    assert sorted([row[key] for key in figures] for row in listed[1:]) == sorted(expected)
    for row in listed[1:]:
        assert row["options"] == "method=kmeans drop_private"
        assert (row["slices"], row["version"], row["touching"]) == (3, __version__, [])
    assert {row["series_description"] for row in listed[1:]} == {"=Head a", "=Head c"}
    assert {row["series_description"] for row in table[1:]} == {"'=Head a", "'=Head c"}

    def stop(message):
        if isinstance(message, Report) and not message.error:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_tree(archive, tmp_path / "stopped", on_message=stop)
    assert [row["status"] for row in rows(tmp_path / "stopped")[0]] == ["cleaned"]


def test_manifest_keeps_earlier_runs_and_forgets_deleted_series(archive, tmp_path):
    clean_tree(archive / "a", tmp_path / "out")
    first = rows(tmp_path / "out")[0]
    clean_tree(archive / "c", tmp_path / "out")
    both = rows(tmp_path / "out")[0]
    assert first[0] in both
    assert len(both) == 2
    lost = tmp_path / "out" / first[0]["folder"]
    lost.rename(lost.with_name(f".{lost.name}.{os.getppid()}.partial"))  # of a run at work
    clean_tree(archive / "c", tmp_path / "out")
    assert rows(tmp_path / "out")[0] == [row for row in both if row != first[0]]


def test_series_above_the_accepted_bound_lie_in_review(archive, tmp_path, monkeypatch):
    """Another accepted bound moves the result without computing."""
    find = Mock(return_value=find_support(read_series(archive / "a"), "kmeans"))
    monkeypatch.setattr(cleaning.segment, "find_support", find)
    (unbounded,) = clean_tree(archive / "a", tmp_path / "unbounded", accept_ml=9)
    assert unbounded.status == "review"
    assert "no bound on the patient removed" in str(unbounded)
    find.return_value, out = replace(find.return_value, bound_ml=0.5), tmp_path / "out"
    for accept_ml, place in ((0.3, "review/"), (0.5, ""), (0.49, "review/"), (None, "")):
        (report,) = clean_tree(archive / "a", out, accept_ml=accept_ml, segmentation=True)
        name = report.folder.removeprefix("review/")
        assert report.folder == f"{place}{name}"
        assert report.status == (place.removesuffix("/") or "cleaned")
        files = sorted(path.relative_to(out / place).as_posix() for path in out.rglob("*.dcm"))
        slices = [f"{name}/000{n}.dcm" for n in (1, 2, 3)]
        assert files == [*slices, f"masks/{name}-segmentation.dcm"]
        assert rows(out)[0][0]["bound_ml"] == 0.5
        assert [one.folder for one in read_results(out)] == [report.folder]
    assert find.call_count == 2


def test_a_corrected_mask_needs_no_review_and_the_command_counts(archive, tmp_path, capsys):
    series = read_series(archive / "a")
    mask = find_support(series, "kmeans").mask
    assert clean_series(series, tmp_path / "one", mask=mask, accept_ml=0).status == "cleaned"
    refused("expected ml", clean_series, series, tmp_path / "one", accept_ml=-1)
    assert run_clean(archive, tmp_path / "out", "--accept-ml", 0.5) == 1
    assert "2 series cleaned, 2 of them to be reviewed in review, 1 not" in capsys.readouterr().out
    assert run_clean(archive, tmp_path / "out") == 1
    assert "2 series cleaned, 1 not" in capsys.readouterr().out


def test_pictures_show_every_slice_and_both_outlines(series, tmp_path):
    report = clean_series(series, tmp_path / "out", pictures=True)
    removed = find_support(series, "kmeans").removed
    with ZipFile(tmp_path / "out" / report.folder / "preview" / "slices.zip") as file:
        assert len(file.namelist()) == 9
        for n in (1, 2, 3):
            names = (f"000{n}.jpg", f"000{n}-masks.png", f"000{n}-after.png")
            pictures = (Image.open(file.open(name)).convert("RGBA") for name in names)
            before, masks, after = (np.asarray(picture, int) for picture in pictures)
            black, drawn = after[..., 3] > 0, masks[..., 3] > 0
            assert black.sum() == removed[n - 1].sum()
            assert after[black][:, :3].max() == 0
            red = drawn & (masks[..., 0] > 200)
            assert black[red].all()
            assert (drawn & ~red & (masks[..., 2] > 150)).sum() > 50
            assert before[black, 0].max() > 200
