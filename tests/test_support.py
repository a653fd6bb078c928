"""Both methods from end to end, on synthetic patients with exact truth and on real scans."""

import importlib.util

import numpy as np
import pydicom.data
import pytest

from headrest import HeadrestError, clean_series, find_support, read_series
from headrest.evaluate import metrics
from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, VISIBLE_HU
from headrest.phantom import render, sample_parameters, synthesize, write_dicom
from headrest.segment.morphology import dilate
from headrest.segment.support import SKIN_MM, check_method, outside_patient

pytest.importorskip("keras", reason="needs Keras and a backend")


@pytest.fixture(scope="module")
def study():
    """A patient whose support touches."""
    return synthesize(8101, matrix=512, slices=4, contact="touch")


@pytest.fixture(scope="module")
def series(study, tmp_path_factory):
    return read_series(write_dicom(study, tmp_path_factory.mktemp("support") / "scan"))


def test_network_finds_a_touching_support_and_keeps_the_patient(study, series):
    support = find_support(series)
    scored = (study.labels != IGNORE_LABEL) & (study.hu > VISIBLE_HU)
    kmeans = find_support(series, "kmeans")
    by_network = metrics.dice(study.support & scored, support.mask & scored)
    by_kmeans = metrics.dice(study.support & scored, kmeans.mask & scored)
    assert by_network > max(0.9, by_kmeans + 0.1)
    patient = study.patient & (study.hu > DENSE_HU)
    assert metrics.lost_ml(patient, support.removed, series.spacing_mm) < 0.5
    assert len(support.states) == len(support.confidence) == len(series)
    assert not (support.mask & support.boundary).any()
    assert metrics.dice(study.patient & scored, support.patient & scored) > 0.98
    assert support.probability.shape == series.hu.shape


def test_support_of_kmeans_has_patient_and_boundary_but_no_probability(series):
    support = find_support(series, "kmeans")
    assert np.array_equal(support.removed, support.mask | support.boundary)
    assert support.patient.any()
    assert not (support.patient & support.mask).any()
    assert (support.confidence, support.probability) == ((), None)
    assert len(repr(support)) < 80


def test_network_segments_a_single_slice():
    series = read_series(pydicom.data.get_testdata_file("693_UNCR.dcm", download=False))
    support = find_support(series)
    reference = find_support(series, "kmeans").mask  # complete, as the support is free
    assert metrics.dice(reference, support.mask & (series.hu > DENSE_HU)) > 0.97
    assert (support.mask & (series.hu < DENSE_HU)).sum() > 1000  # foam
    assert not support.removed[0, 130:380, 240:330].any()


def test_removes_nothing_from_a_head_without_a_support(tmp_path):
    parameters = sample_parameters(8200, matrix=512, slices=4, contact=False)
    parameters["support_parameters"]["list"] = []
    series = read_series(write_dicom(render(parameters), tmp_path / "scan"))
    support = find_support(series)
    assert metrics.volume_ml(support.removed, series.spacing_mm) <= 0.1


@pytest.mark.slow
def test_outside_blanks_foam_and_keeps_the_patient(study, series, tmp_path):
    report = clean_series(series, tmp_path, patient_only=True)
    cleaned = read_series(tmp_path / report.folder)
    patient = study.patient & ~find_support(series).mask
    assert np.array_equal(cleaned.stored[patient], series.stored[patient])
    solid = study.patient | (cleaned.hu > DENSE_HU)
    far = np.stack([~dilate(one, 2 * SKIN_MM, series.spacing_mm[1:]) for one in solid])
    air = far & ~series.padding
    assert (cleaned.hu[air] == -1000).all()
    assert report.folder != clean_series(series, tmp_path).folder


def test_outside_keeps_voxels_near_the_skin():
    patient = np.zeros((2, 60, 60), bool)
    patient[:, 10:30, 10:30] = patient[:, 10:30, 40:55] = True  # a head and an arm
    outside = outside_patient(patient, (5, 1, 1))
    assert not outside[:, 9:31, 9:31].any()
    assert not outside[:, 9:31, 39:56].any()
    assert outside[:, 10:30, 32:38].all()
    assert outside[:, 32:].all()


def test_a_missing_package_is_named_with_its_pip_line(monkeypatch):
    found, missing = importlib.util.find_spec, "onnxruntime"
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else found(name)
    )
    with pytest.raises(HeadrestError, match=f"pip install {missing}, or choose the method kmeans"):
        check_method("network")


@pytest.mark.parametrize(
    ("name", "floor"),
    [("ge-head", 0.98), ("philips-phantom/S21570/S2010", 0.98), ("lidc-chest", 0.9)],
)
def test_real_scans(scans, name, floor):
    reference = scans.parent / "reference" / f"{name.partition('/')[0]}.npz"
    if not reference.exists():
        pytest.skip("no reference beside the scans")
    series, truth = read_series(scans / name), np.load(reference)
    support, solid = find_support(series), series.hu > DENSE_HU
    scored = solid & (truth["label"] != 2)
    expected = (truth["label"] == 0) & scored
    assert metrics.dice(expected, support.mask & scored) >= floor
