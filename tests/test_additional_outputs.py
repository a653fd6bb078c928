"""Additional outputs: the same mask, written whole or not at all, apart from the slices."""

import importlib.util
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import make_series
from factories import clean_series, converted
from makers import TILT_15
from pydicom import dcmread

from headrest import HeadrestError, read_series
from headrest.clean.outputs import OUTPUTS
from headrest.dicom import write_segmentation
from headrest.dicom.nifti import write_nifti
from headrest.dicom.structures import write_structures
from headrest.segment.support import METHODS, find_support

highdicom = pytest.importorskip("highdicom")
nibabel = pytest.importorskip("nibabel")
pytest.importorskip("contourpy")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

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
    return read_series(make_series(tmp_path / "scan")[0].parent)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A series, its report and the folder with every output."""
    top = tmp_path_factory.mktemp("complete")
    series = read_series(make_series(top / "scan")[0].parent)
    report = clean_series(series, top / "out", **ALL)
    return series, report, top / "out" / report.folder


def forbid_computing(monkeypatch):
    monkeypatch.setitem(METHODS, "kmeans", lambda series: pytest.fail("computed"))


def files_in(folder):
    """Every file of a series, those beside its folder with {}; a hidden one is a leftover."""
    names = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*")}
    beside = {path for path in folder.parent.glob("masks/*") if folder.name in path.name}
    names |= {f"masks/{path.name.replace(folder.name, '{}')}" for path in beside}
    assert not [name for name in names if "partial" in name]
    return names


def masks(folder):
    """Labels of both segmentations, in the order of the slices, and of the NIfTI."""
    slices = [dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    uids = [ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in slices]
    found = [np.asarray(nibabel.load(OUTPUTS["nifti"][0].path(folder)).dataobj).T]
    for name in ("segmentation", "labelmap"):
        read = highdicom.seg.segread(OUTPUTS[name][0].path(folder))
        both = read.get_pixels_by_source_instance(uids, segment_numbers=[1, 2])
        found.append(both @ [1, 2])
    return found


def test_writes_the_mask_only_on_request(complete, tmp_path):
    series, _, folder = complete
    without = clean_series(series, tmp_path)
    assert not FILES & files_in(tmp_path / without.folder)
    assert files_in(folder) > FILES
    support = find_support(series, "kmeans")
    assert support.removed.any()
    for found in masks(folder):
        assert np.array_equal(found == 1, support.removed)
        assert np.array_equal(found == 2, support.patient & ~support.removed)


def test_patient_only_does_not_change_the_mask_that_is_written(complete, tmp_path):
    series, report, folder = complete
    outer = clean_series(series, tmp_path, patient_only=True, **ALL)
    assert outer.folder != report.folder
    for one, other in zip(masks(folder), masks(tmp_path / outer.folder)):
        assert np.array_equal(one, other)


def test_other_readers_find_one_series_in_the_folder(complete, tmp_path):
    folder = complete[2]
    assert len(read_series(folder)) == 3
    sitk = pytest.importorskip("SimpleITK")
    assert len(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))) == 1
    image = converted(folder, tmp_path / "nii")
    assert image.header.get_zooms() == pytest.approx((3.5, 3.5, 5))


def test_makes_lost_outputs_again_and_does_not_compute_existing_ones(series, tmp_path, monkeypatch):
    first = clean_series(series, tmp_path / "out", **ALL)
    folder = tmp_path / "out" / first.folder
    shutil.rmtree(folder.parent / "masks")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.*")}
    clean_series(series, tmp_path / "out", **ALL)
    assert files_in(folder) > FILES
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.*")}
    assert np.array_equal(*masks(folder)[:2])
    forbid_computing(monkeypatch)
    for asked in ({}, {"nifti": True}, ALL):
        assert clean_series(series, tmp_path / "out", **asked) == first


def test_warns_of_an_impossible_output_and_writes_the_others(tmp_path, monkeypatch):
    series = read_series(make_series(tmp_path / "scan", **UNEVEN)[0].parent)
    first = clean_series(series, tmp_path / "out")
    report = clean_series(series, tmp_path / "out", **ALL)
    assert report.folder == first.folder
    impossible = {output.file for output in OUTPUTS["nifti"]}
    assert files_in(tmp_path / "out" / report.folder) & FILES == FILES - impossible
    assert [w for w in report.warnings if w.startswith("no headrest.nii.gz: slices lie up to")]
    forbid_computing(monkeypatch)
    assert clean_series(series, tmp_path / "out", **ALL) == report


def test_warns_of_a_sheared_nifti(tmp_path):
    series = read_series(make_series(tmp_path / "scan", **TILT_15)[0].parent)
    report = clean_series(series, tmp_path / "out", **ALL)
    assert "sheared" in " ".join(report.warnings)
    assert files_in(tmp_path / "out" / report.folder) > FILES


@pytest.mark.parametrize("name", ["structures", "nifti"])
def test_refuses_a_missing_package_before_computing(series, tmp_path, monkeypatch, name):
    find, package = importlib.util.find_spec, OUTPUTS[name][0].package
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == package else find(n))
    forbid_computing(monkeypatch)
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
