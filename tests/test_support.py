"""From HU to probability to support: any matrix, uncertain slices, whole patients."""

from threading import Barrier

import numpy as np
import pydicom.data
import pytest
from conftest import refused
from factories import hide
from scipy.special import expit

pytest.importorskip("keras", reason="needs Keras and a backend")

from headrest import clean_series, find_support, read_series
from headrest.evaluate import metrics
from headrest.hounsfield import DENSE_HU, IGNORE_LABEL, VISIBLE_HU, scale
from headrest.phantom import render, sample_parameters, synthesize, write_dicom
from headrest.segment.morphology import dilate
from headrest.segment.predict import network_size, series_probability
from headrest.segment.support import SKIN_MM, check_method

SPACING_MM = (5.0, 0.5, 0.5)
BRIGHT = np.full((1, 512, 512), 100.0)


def classes(support):
    """Probabilities of support and patient from that of the support."""
    return np.stack([support, 1 - support], axis=1)


class Bright:
    """A network that finds support above 0 HU where it is decided, by default in the left half."""

    def __init__(self, decided=lambda size: np.arange(size) < size // 2):
        self.decided, self.seen = decided, []

    def __call__(self, x):
        self.seen.append(x)
        z = np.where(x > float(scale(np.array(0.0))), 9.0, -9.0)
        return classes(expit(z * self.decided(x.shape[-1])))


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (1024, 1024), (480, 512), (300, 700)])
def test_any_matrix(shape):
    hu = np.full((2, *shape), -1000.0)
    hu[1, shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 100
    found = series_probability(hu, SPACING_MM, Bright(np.ones))
    assert found.shape == hu.shape
    assert found[0].max() < 2e-4
    edge = 2 * max(max(shape) / 512, 1)
    assert ((found[1] >= 0.5) != (hu[1] > 0)).sum() <= edge * sum(shape)
    assert found[1].min() >= 0


def test_only_an_uncertain_slice_is_averaged_with_its_horizontal_flip():
    network = Bright()
    found = series_probability(BRIGHT, SPACING_MM, network)
    averaged = pytest.approx((expit(9) + 0.5) / 2, abs=1e-3)
    assert found == averaged
    once, again = network.seen
    assert np.array_equal(again, once[:, :, ::-1])
    network, hu = Bright(), np.full((3, 512, 512), -1000.0)
    hu[:2, 100:200, :256] = hu[2, 100:200] = 100
    found = series_probability(hu, SPACING_MM, network)
    assert (found[:2, 100:200, :256] > 0.99).all()
    assert found[2, 100:200] == averaged
    for pixels, batches in ((0, [1]), (79, [1]), (80, [1, 1])):  # undecided, of 0.25 mm2
        network = Bright(lambda size: np.arange(size * size).reshape(size, size) >= pixels)  # noqa: B023
        series_probability(BRIGHT, SPACING_MM, network)
        assert [len(x) for x in network.seen] == batches


@pytest.mark.parametrize(("mm", "at_once"), [(0.5, 1), (0.5, 4), (1.4, 2)])
def test_slices_are_predicted_in_as_many_threads_as_the_network_takes(mm, at_once):
    hu = np.full((8, 512, 512), -1000.0)
    hu[[0, 1, 2, 4, 5, 7]] = 100
    together = Barrier(at_once)

    def network(x):
        together.wait(10)  # until so many threads are here
        return classes(expit(np.where(x > float(scale(np.array(0.0))), 9.0, -9.0)))

    if at_once > 1:
        network.at_once = at_once
    found = series_probability(hu, (5, mm, mm), network)
    assert ((found >= 0.5) != (hu > 0)).sum() <= (0 if mm == 0.5 else 2 * 8 * 512)


def test_refuses_a_keras_model_itself_valid_padding_and_probabilities_that_are_not_finite():
    from headrest.segment.unet import build_unet, keras_probability

    small, valid = (build_unet(preset, widths=(1, 1, 1)) for preset in ("small", "valid3"))
    for network in (small, keras_probability(valid)):
        refused("the network returns", series_probability, BRIGHT, SPACING_MM, network)
    refused("not finite", series_probability, BRIGHT, SPACING_MM, lambda x: classes(np.nan * x))


def test_finds_foam_scales_dense_pixels_to_two_classes_and_stores_no_subnormal_numbers():
    """At an edge a dense pixel is mostly air, and the network says background."""
    hu = np.full((1, 512, 512), -750.0)
    hu[0, 100, 100] = -499
    hu[0, :50] = -900
    found = series_probability(hu, SPACING_MM, lambda x: np.stack([0.3 + 0 * x, 0.1 + 0 * x], 1))
    assert found == pytest.approx(np.where(hu > DENSE_HU, 0.75, 0.3), abs=1e-3)
    found = series_probability(hu, SPACING_MM, lambda x: classes(x < 0)[:, :1])
    assert not found[0, :49].any()
    assert (found[0, 51:] == 1).all()
    assert not series_probability(BRIGHT, SPACING_MM, lambda x: classes(1e-5 + 0 * x)).any()


def test_oblong_pixels_are_resampled_to_square_ones():
    network, (y, x) = Bright(), np.mgrid[:256, :512]
    disc = np.hypot(2 * (y - 127.5), x - 255.5) < 100
    hu = np.where(disc, 100.0, -1000.0)[None]
    found = series_probability(hu, (5, 1.0, 0.5), network)[0] >= 0.5
    bright = network.seen[0][0] > 0
    assert bright.any(0).sum() == pytest.approx(bright.any(1).sum(), abs=2)
    assert (found != disc).sum() < 300


def test_network_size_keeps_pixels_in_range():
    sizes = ((512, 0.48, 512), (768, 0.3, 512), (512, 0.2, 256), (512, 2.5, 1024), (64, 3.5, 512))
    for columns, mm, size in (*sizes, (1024, 0.25, 512), (128, 0.661, 256), (700, 0.5, 512)):
        assert network_size((300 if columns == 700 else columns, columns), (mm, mm)) == size


@pytest.fixture(scope="module")
def touching(tmp_path_factory):
    """A patient whose support touches, as a study and as a series."""
    study = synthesize(8101, matrix=256, slices=4, contact="touch")
    return study, read_series(write_dicom(study, tmp_path_factory.mktemp("support") / "scan"))


def test_network_finds_a_touching_support_and_kmeans_gives_no_probability(touching):
    study, series = touching
    support, kmeans = find_support(series), find_support(series, "kmeans")
    scored = (study.labels != IGNORE_LABEL) & (study.hu > VISIBLE_HU)
    masks = support.mask & scored, kmeans.mask & scored
    by_network, by_kmeans = (metrics.dice(study.support & scored, mask) for mask in masks)
    assert by_network > max(0.9, by_kmeans + 0.1)
    patient = study.patient & (study.hu > DENSE_HU)
    assert metrics.lost_ml(patient, support.removed, series.spacing_mm) < 0.5
    assert len(support.states) == len(support.confidence) == len(series)
    assert metrics.dice(study.patient & scored, support.patient & scored) > 0.98
    assert support.probability.shape == series.hu.shape
    assert np.array_equal(kmeans.removed, kmeans.mask | kmeans.boundary)
    assert kmeans.patient.any()
    for overlap in (support.mask & support.boundary, kmeans.patient & kmeans.mask):
        assert not overlap.any()
    assert (kmeans.confidence, kmeans.probability) == ((), None)
    assert len(repr(kmeans)) < 80


def test_network_segments_a_single_slice():
    series = read_series(pydicom.data.get_testdata_file("693_UNCR.dcm", download=False))
    support = find_support(series)
    reference = find_support(series, "kmeans").mask  # complete, as the support is free
    assert metrics.dice(reference, support.mask & (series.hu > DENSE_HU)) > 0.97
    assert (support.mask & (series.hu < DENSE_HU)).sum() > 1000  # foam
    assert not support.removed[0, 130:380, 240:330].any()


def test_removes_nothing_from_a_head_without_a_support(tmp_path):
    parameters = sample_parameters(8200, matrix=256, slices=4, contact=False)
    parameters["support_parameters"]["list"] = []
    series = read_series(write_dicom(render(parameters), tmp_path / "scan"))
    support = find_support(series)
    assert metrics.volume_ml(support.removed, series.spacing_mm) <= 0.1


@pytest.mark.slow
def test_outside_blanks_foam_and_keeps_the_patient_with_its_skin(touching, tmp_path):
    study, series = touching
    report = clean_series(series, tmp_path, patient_only=True)
    cleaned = read_series(tmp_path / report.folder)
    near = np.stack([dilate(one, 0, (1, 1)) for one in study.patient])
    near &= ~find_support(series).removed
    assert np.array_equal(cleaned.stored[near], series.stored[near])
    solid = study.patient | (cleaned.hu > DENSE_HU)
    far = np.stack([~dilate(one, 2 * SKIN_MM, series.spacing_mm[1:]) for one in solid])
    assert (cleaned.hu[far & ~series.padding] == -1000).all()


def test_a_missing_package_is_named_and_kmeans_needs_none(monkeypatch, tmp_path):
    hide(monkeypatch, "onnxruntime")
    refused("pip install onnxruntime, or choose the method kmeans", check_method, "network")
    file = pydicom.data.get_testdata_file("693_UNCR.dcm", download=False)
    assert clean_series(file, tmp_path, method="kmeans").states == ("free",)
