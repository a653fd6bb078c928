"""The methods from end to end, on patients whose truth is known and on real scans."""

import importlib.util

import numpy as np
import pydicom.data
import pytest

from headrest import HeadrestError, clean_series, find_support, read_series
from headrest.evaluate import metrics
from headrest.hounsfield import SUPPORT_HU
from headrest.phantom import render, sample_parameters, synthesize, write_dicom
from headrest.segment.morphology import dilate
from headrest.segment.support import METHODS, SKIN_MM, check_method, outside_patient

pytest.importorskip("keras", reason="needs Keras and a backend")


@pytest.fixture(scope="module")
def study():
    """A patient on a holder that touches."""
    return synthesize(8101, matrix=512, slices=4, contact="touch")


@pytest.fixture(scope="module")
def series(study, tmp_path_factory):
    return read_series(write_dicom(study, tmp_path_factory.mktemp("support") / "scan"))


def test_the_network_takes_what_touches_and_leaves_the_patient(study, series):
    support = find_support(series)
    judged = ~study.ignore
    by_network = metrics.dice(study.support & judged, support.mask & judged)
    by_kmeans = metrics.dice(study.support & judged, METHODS["kmeans"](series).mask & judged)
    assert by_network > max(0.9, by_kmeans + 0.1)
    patient = study.patient & (study.hu > SUPPORT_HU)
    assert metrics.lost_ml(patient, support.removed, series.spacing_mm) < 0.5
    assert len(support.states) == len(support.confidence) == len(series)
    assert not (support.mask & support.boundary).any()


def test_one_slice_is_enough():
    series = read_series(pydicom.data.get_testdata_file("693_UNCR.dcm", download=False))
    support = find_support(series)
    reference = METHODS["kmeans"](series).mask  # its holder stands free: K-Means takes it whole
    assert metrics.dice(reference, support.mask) > 0.97
    assert not support.removed[0, 130:380, 240:330].any()


def test_a_head_without_a_support_stays_whole(tmp_path):
    drawn = sample_parameters(8200, matrix=512, slices=4, contact=False)
    drawn["support_parameters"]["list"] = []
    series = read_series(write_dicom(render(drawn), tmp_path / "scan"))
    support = find_support(series)
    assert metrics.volume_ml(support.removed, series.spacing_mm) <= 0.1


def test_outside_blanks_foam_and_keeps_the_patient(study, series, tmp_path):
    report = clean_series(series, tmp_path, outside=True)
    cleaned = read_series(tmp_path / report.folder)
    patient = study.patient & ~find_support(series).mask
    assert np.array_equal(cleaned.stored[patient], series.stored[patient])
    solid = study.patient | (cleaned.hu > SUPPORT_HU)
    far = np.stack([~dilate(one, 2 * SKIN_MM, series.spacing_mm[1:]) for one in solid])
    air = far & ~series.padding
    assert (cleaned.hu[air] == -1000).all()
    assert report.folder != clean_series(series, tmp_path).folder


def test_outside_keeps_what_lies_near_to_the_skin_of_every_piece():
    hu = np.full((2, 60, 60), -1000.0)
    hu[:, 10:30, 10:30] = 40
    hu[:, 15:25, 15:25] = -900  # lung
    hu[:, 10:30, 40:55] = 40  # an arm
    hu[:, 55:58] = -900  # foam
    hu[:, 50:52, 50:52] = -300  # a crumb of linen
    padding = np.zeros(hu.shape, bool)
    padding[:, :3] = True
    outside = outside_patient(padding & False, hu, padding, (5, 1, 1))
    assert not outside[:, 8:32, 8:32].any()
    assert not outside[:, 8:32, 38:57].any()
    assert outside[:, 10:30, 34:36].all()
    assert outside[:, 55:58].all()
    assert outside[:, 48].all()
    assert not outside[:, :3].any()


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_a_method_without_its_packages_says_what_to_install(monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else found(name)
    )
    with pytest.raises(HeadrestError, match=f"pip install {missing}, or choose the method kmeans"):
        check_method("network")


FLOORS = {"ge-head": 0.98, "philips-phantom/S21570/S2010": 0.98, "lidc-chest": 0.9}


@pytest.mark.parametrize("name", FLOORS)
def test_real_scans(scans, name):
    reference = scans.parent / "reference" / f"{name.partition('/')[0]}.npz"
    if not reference.exists():
        pytest.skip("no reference beside the scans")
    series, truth = read_series(scans / name), np.load(reference)
    support, solid = find_support(series), series.hu > SUPPORT_HU
    judged = solid & (truth["label"] != 2)
    device = (truth["label"] == 0) & judged
    assert metrics.dice(device, support.mask & judged) >= FLOORS[name]
