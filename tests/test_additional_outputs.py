"""Additional outputs: the same mask, written whole or not at all, apart from the slices."""

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import CANARY, make_series
from pydicom import dcmread

import headrest
from headrest import HeadrestError, read_series
from headrest.__main__ import main
from headrest.clean.outputs import OUTPUTS
from headrest.clean.report import REPORT_FILE
from headrest.dicom import write_segmentation
from headrest.dicom.nifti import write_nifti
from headrest.dicom.structures import write_structures
from headrest.segment.support import METHODS, find_support

for package in ("contourpy", "highdicom", "nibabel"):
    pytest.importorskip(package)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

clean_series = partial(headrest.clean_series, method="kmeans")
WRITERS = {
    "segmentation": write_segmentation,
    "labelmap": partial(write_segmentation, kind="LABELMAP"),
    "structures": write_structures,
    "nifti": write_nifti,
}
"""Writers of labels; the probability, which K-Means lacks, has tests of its own."""
ALL = dict.fromkeys(WRITERS, True)
FILES = {output.file for name in WRITERS for output in OUTPUTS[name]}
UNEVEN = {"ImagePositionPatient": lambda n: [-112, -112, float(n**3)]}


@pytest.fixture
def series(tmp_path):
    make_series(tmp_path / "scan")
    return read_series(tmp_path / "scan")


def files_in(folder):
    """Every file of a series, those beside its folder with {}; a hidden one is a leftover."""
    names = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*")}
    beside = {path for path in folder.parent.glob("masks/*") if folder.name in path.name}
    names |= {f"masks/{path.name.replace(folder.name, '{}')}" for path in beside}
    assert not [name for name in names if "partial" in name]
    return names


def masks(folder):
    """Labels of both segmentations, in the order of the slices, and of the NIfTI."""
    import highdicom
    import nibabel

    slices = [dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    uids = [ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in slices]
    image = nibabel.load(OUTPUTS["nifti"][0].path(folder))
    found = [np.asarray(image.dataobj).T]
    for name in ("segmentation", "labelmap"):
        read = highdicom.seg.segread(OUTPUTS[name][0].path(folder))
        both = read.get_pixels_by_source_instance(uids, segment_numbers=[1, 2])
        found.append(both @ [1, 2])
    return found


@pytest.mark.slow
def test_writes_the_mask_only_on_request(series, tmp_path):
    without = clean_series(series, tmp_path / "without")
    assert not FILES & files_in(tmp_path / "without" / without.folder)
    report = clean_series(series, tmp_path / "out", **ALL)
    assert files_in(tmp_path / "out" / report.folder) > FILES
    support = find_support(series, "kmeans")
    assert support.removed.any()
    for found in masks(tmp_path / "out" / report.folder):
        assert np.array_equal(found == 1, support.removed)
        assert np.array_equal(found == 2, support.patient & ~support.removed)


def test_patient_only_does_not_change_the_mask_that_is_written(series, tmp_path):
    inner, outer = (
        clean_series(series, tmp_path / "out", patient_only=only, **ALL) for only in (False, True)
    )
    assert inner.folder != outer.folder
    for one, other in zip(*(masks(tmp_path / "out" / r.folder) for r in (inner, outer))):
        assert np.array_equal(one, other)


def test_other_readers_find_one_series_in_the_folder(series, tmp_path):
    report = clean_series(series, tmp_path / "out", **ALL)
    folder = tmp_path / "out" / report.folder
    assert len(read_series(folder)) == 3
    sitk = pytest.importorskip("SimpleITK")
    assert len(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))) == 1
    tool = Path(sys.executable).with_name("dcm2niix")
    if not tool.exists():
        pytest.skip("dcm2niix is not installed")
    (tmp_path / "nii").mkdir()
    command = [tool, "-f", "%s", "-b", "n", "-o", tmp_path / "nii", folder]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (made,) = (tmp_path / "nii").iterdir()
    image = pytest.importorskip("nibabel").load(made)
    assert image.header.get_zooms() == pytest.approx((3.5, 3.5, 5))


def test_adds_an_output_to_a_complete_folder(series, tmp_path):
    first = clean_series(series, tmp_path / "out")
    folder = tmp_path / "out" / first.folder
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.*")}
    second = clean_series(series, tmp_path / "out", **ALL)
    assert second == first
    assert files_in(folder) > FILES
    assert before.items() <= {p: p.stat().st_mtime_ns for p in folder.glob("*.*")}.items()
    at_once = clean_series(series, tmp_path / "at-once", **ALL)
    pairs = zip(masks(folder), masks(tmp_path / "at-once" / at_once.folder))
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_does_not_compute_existing_outputs_again(series, tmp_path, monkeypatch):
    first = clean_series(series, tmp_path / "out", **ALL)
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed again"))
    for asked in ({}, {"nifti": True}, ALL):
        assert clean_series(series, tmp_path / "out", **asked) == first


def test_makes_a_lost_output_again(series, tmp_path):
    report = clean_series(series, tmp_path / "out", **ALL)
    folder = tmp_path / "out" / report.folder
    shutil.rmtree(folder.parent / "masks")
    clean_series(series, tmp_path / "out", **ALL)
    assert files_in(folder) > FILES


def test_warns_of_an_impossible_output_and_writes_the_others(tmp_path, monkeypatch):
    make_series(tmp_path / "scan", **UNEVEN)
    series = read_series(tmp_path / "scan")
    first = clean_series(series, tmp_path / "out")
    report = clean_series(series, tmp_path / "out", **ALL)
    assert report.folder == first.folder
    assert files_in(tmp_path / "out" / report.folder) & FILES == FILES - {
        output.file for output in OUTPUTS["nifti"]
    }
    assert [w for w in report.warnings if w.startswith("no headrest.nii.gz: slices lie up to")]
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed again"))
    assert clean_series(series, tmp_path / "out", **ALL) == report


def test_warns_of_a_sheared_nifti(tmp_path):
    make_series(tmp_path / "scan", ImageOrientationPatient=[1, 0, 0, 0, 0.965926, -0.258819])
    series = read_series(tmp_path / "scan")
    report = clean_series(series, tmp_path / "out", **ALL)
    assert "sheared" in " ".join(report.warnings)
    assert files_in(tmp_path / "out" / report.folder) > FILES


@pytest.mark.parametrize("name", ["structures", "nifti"])
def test_refuses_a_missing_package_before_computing(series, tmp_path, monkeypatch, name):
    find, package = importlib.util.find_spec, OUTPUTS[name][0].package
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == package else find(n))
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed"))
    with pytest.raises(HeadrestError, match=f"pip install {package}"):
        clean_series(series, tmp_path / "out", **{name: True})
    with pytest.raises(HeadrestError, match=f"pip install {package}"):
        WRITERS[name](series, np.zeros(series.stored.shape, bool), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_partial_output(series, tmp_path, monkeypatch):
    first = clean_series(series, tmp_path / "there")
    whole = files_in(tmp_path / "there" / first.folder)
    written = Path.write_bytes

    def full(path, content):
        written(path, content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for place in ("there", "new"):
        with pytest.raises(HeadrestError, match="No space left"):
            clean_series(series, tmp_path / place, nifti=True)
    assert files_in(tmp_path / "there" / first.folder) == whole
    assert os.listdir(tmp_path / "new") == []


def test_command_line_writes_additional_outputs(series, tmp_path, capsys):
    options = ["--method", "kmeans", *(f"--{name}" for name in WRITERS)]
    assert main(["clean", str(tmp_path / "scan"), str(tmp_path / "out"), *options]) == 0
    (folder,) = (tmp_path / "out").glob("ct-*")
    assert files_in(folder) > FILES
    assert CANARY not in "".join(capsys.readouterr())
    assert REPORT_FILE in files_in(folder)
