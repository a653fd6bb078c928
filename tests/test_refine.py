"""The refinement with the neighbouring slices: each step has a case that it alone decides."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.segment import morphology as morphology_module
from headrest.segment import refine as refine_module
from headrest.segment.morphology import (
    count_around,
    fill_holes,
    label_voxels,
    largest_component,
    partial_volume_boundary,
    select_voxels,
    sum_by_label,
)
from headrest.segment.refine import STEPS, confidence, refine, states

SPACING = (5.0, 1.0, 1.0)


def refined(probability, hu, spacing_mm, *steps):
    """Refine a probability of support; what is dense and not support is patient."""
    both = np.stack([probability, (1 - probability) * (hu > -500)])
    return refine(both, hu, spacing_mm, *steps)


def without(*left_out):
    assert set(left_out) <= set(STEPS)
    return [step for step in STEPS if step not in left_out]


@pytest.fixture
def scan():
    """Three slices: a head with an air-filled cavity, a rail that touches it, a sheet below it."""
    hu = np.full((3, 64, 64), -1000.0)
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 26, x - 32)
    hu[:, radius < 20] = 40
    hu[:, radius < 8] = -1000
    support = np.zeros(hu.shape, bool)
    support[:, 10:45, 52:55] = True
    support[:, 54:56, 10:50] = True
    hu[support] = 120
    return hu, support


def test_keeps_a_perfect_segmentation(scan):
    hu, support = scan
    found, patient = refined(support.astype(float), hu, SPACING)
    assert np.array_equal(found, support)
    assert not (patient & support).any()
    assert patient[:, 26, 32].all()


def test_removes_nothing_enclosed_by_the_patient(scan):
    hu, support = scan
    hu[:, 24:28, 29:35] = 700  # a plate of bone in the cavity
    probability = support.astype(float)
    probability[:, 24:28, 29:35] = 0.99
    assert np.array_equal(refined(probability, hu, SPACING)[0], support)
    found, _ = refined(probability, hu, SPACING, without("enclosed by the patient"))
    assert found[:, 24:28, 29:35].all()


def test_disconnected_components_are_support_from_a_lower_probability_on(scan):
    hu, support = scan
    probability = support.astype(float)
    probability[1, 54:56, 10:50] = 0.5
    assert np.array_equal(refined(probability, hu, SPACING)[0], support)
    found, _ = refined(probability, hu, SPACING, without("disconnected components"))
    assert not found[1, 54:56, 10:50].any()
    probability[:, 54:56, 10:50] = 0.3
    assert not refined(probability, hu, SPACING)[0][:, 54:56].any()


@pytest.fixture
def foam(scan):
    """The scan with covered foam on the sheet, lung in the head, noise in the air, and hair."""
    hu, support = scan
    hu = hu + np.random.default_rng(3).normal(0, 12, hu.shape)
    foam, hair = np.zeros((2, *hu.shape), bool)
    foam[:, 56:62, 12:48] = True
    hu[foam] = -900
    hu[:, 61, 12:48] = -600  # a cover
    hair[:, 3:5, 28:36] = True  # thin, on the scalp
    hu[hair] = -700
    hu[:, 24:28, 29:35] = -900  # enclosed by the head
    return hu, support, foam, hair


def test_foam_and_its_cover_are_support_beside_dense_support(foam):
    hu, support, foam, _ = foam
    found, patient = refined(support.astype(float), hu, SPACING)
    assert found[foam].mean() > 0.95
    assert patient[:, 24:28, 29:35].all()
    assert not (found & patient).any()
    air = (hu < -950) & ~np.stack([ndimage.binary_dilation(m, iterations=2) for m in foam])
    assert not found[air].any()
    found, _ = refined(support.astype(float), hu, SPACING, without("faint support"))
    assert np.array_equal(found, support)


def test_nothing_faint_is_support_without_dense_support(foam):
    hu, support, _, _ = foam
    hu[support] = -1000
    assert not refined(np.zeros(hu.shape), hu, SPACING)[0].any()


def test_faint_voxels_at_the_skin_are_kept(foam):
    hu, support, _, _ = foam
    dense = (hu > -500) & ~support
    edge = np.stack([ndimage.binary_dilation(m, np.ones((3, 3))) for m in dense]) & ~dense
    hu[edge] = -650  # the soft edge of the skin
    found, _ = refined(support.astype(float), hu, SPACING)
    assert not found[edge & ~support].any()


@pytest.mark.parametrize("pixel_mm", [0.45, 0.7, 1.0])
def test_keeps_a_strand_of_the_patient_along_a_support(scan, pixel_mm):
    hu, support = scan
    n = round(2 / pixel_mm)
    hu[:, 10:24, 52 - n : 52] = 40  # 2 mm, from the head along the rail
    found = refined(support.astype(float), hu, (5.0, pixel_mm, pixel_mm))[0]
    assert not (found & ~support)[:, 10:20].any()


def test_low_confidence_component_on_the_skin_is_kept_and_a_sure_one_removed(scan):
    hu, support = scan
    probability = support.astype(float)
    probability[1, 7:9, 31:33] = 0.9
    assert np.array_equal(refined(probability, hu, SPACING)[0], support)
    alone = without("low-confidence components", "single-slice detections")
    assert refined(probability, hu, SPACING, alone)[0][1, 7:9, 31:33].any()
    probability[:, 7:9, 31:33] = 0.99
    assert refined(probability, hu, SPACING)[0][:, 7:9, 31:33].any()
    low = refined(probability * 0.9, hu, SPACING)[0]
    assert low[:, 10:45, 52:55].all()  # the outline of the rail is mostly air


def test_slices_filled_with_support():
    hu = np.full((2, 16, 16), 100.0)
    found, patient = refined(np.ones(hu.shape), hu, SPACING)
    assert found.all()
    assert not patient.any()


@pytest.mark.parametrize("margin", [0, 1, 40])
def test_air_around_a_scan_changes_nothing(scan, margin):
    hu, support = scan
    probability = support * 0.97
    probability[1, 7:9, 31:33] = 0.9
    probability[:, 24:28, 29:35] = 0.99
    hu[:, 24:28, 29:35] = 700
    cropped, around = slice(6, 57), ((0, 0), (margin, margin), (margin, margin))  # 6: top of head
    hu, probability = hu[:, cropped, cropped], probability[:, cropped, cropped]
    wide_hu = np.pad(hu, around, constant_values=-1000)
    padded = refined(np.pad(probability, around), wide_hu, SPACING)
    for wide, narrow in zip(padded, refined(probability, hu, SPACING)):
        assert np.array_equal(wide, np.pad(narrow, around))


def test_bounding_boxes_change_nothing(monkeypatch):
    def everywhere(mask, margin=0):
        return (slice(None),) * mask.ndim

    boxed = [refined_blobs(seed) for seed in range(60)]
    for module in (morphology_module, refine_module):
        monkeypatch.setattr(module, "bounding_box", everywhere)
    assert boxed == [refined_blobs(seed) for seed in range(60)]


def refined_blobs(seed):
    """The refinement, boundary and states of random blobs."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((2, 4, 56, 60)), (0, 0.7, 2, 2))
    solid, sure = blobs / blobs.std((1, 2, 3), keepdims=True)
    radius = np.hypot(*np.mgrid[-28:28, -30:30])
    wall = (radius >= 14) & (radius < 18)  # of a cavity, partly detected as support
    solid = np.select([radius < 14, wall, radius < 26], [-1, 1, solid], 0)
    sure[:, wall] -= 0.7
    hu = np.where(solid > 0.1, 40.0, -1000 + 300 * (solid > 0))
    probability = np.where(hu > -500, np.clip(0.6 + 2 * sure, 0, 1), 0)
    probability[..., : rng.integers(50)] = 0  # detections in a part of the slice only
    found, patient = refined(probability, hu, SPACING)
    boundary = [partial_volume_boundary(m, one, SPACING[1:], -500) for m, one in zip(found, hu)]
    arrays = [array.tobytes() for array in (found, patient, np.stack(boundary))]
    return arrays, states(found, patient, SPACING), int(found.sum())


def test_a_scan_of_air():
    hu = np.full((2, 8, 8), -1000.0)
    found, patient = refined(np.zeros(hu.shape), hu, SPACING)
    assert not found.any()
    assert not patient.any()
    assert states(found, patient, SPACING) == ("absent", "absent")


def test_small_remnants_alone_are_no_support(scan):
    hu, support = scan
    remnants = np.zeros(hu.shape)
    remnants[1, 26, 48:52] = remnants[2, 40, 20:30] = 1.0  # 4 and 10 mm2, on the skin and in it
    for with_support in (False, True):
        found, patient = refined(remnants + support * with_support, hu, SPACING)
        assert found[1, 26, 51] == with_support
        assert patient[1, 26, 51] != with_support
    assert refined(remnants, hu, SPACING, without("small remnants"))[0].any()
    fine = (5.0, 0.5, 0.5)
    assert refined(support.astype(float), hu, fine)[0].any()  # 45 mm2 per slice
    few = (support & (np.arange(64) < 24)[:, None]).astype(float)  # 10 mm2
    assert not refined(few, hu, fine)[0].any()
    assert refined(few, hu, (40.0, 0.5, 0.5))[0].any()  # more of it may lie between the slices
    assert refined(few[:1], hu[:1], fine)[0].any()


def test_single_slice_detections_are_patient(scan):
    hu, support = scan
    probability = support.astype(float)
    probability[1, 26 - 19 : 26 - 9, 28:36] = 1.0
    assert np.array_equal(refined(probability, hu, SPACING)[0], support)
    # Removed without the step, and where the neighbouring slices are too far away.
    neither = without("single-slice detections", "enclosed by the patient")
    near = without("enclosed by the patient")
    for steps, spacing in ((neither, SPACING), (near, (40.0, 1.0, 1.0))):
        assert refined(probability, hu, spacing, steps)[0][1, 7:17, 28:36].all()
    assert np.array_equal(refined(probability, hu, SPACING, near)[0], support)


def test_detections_that_continue_in_a_single_slice_detection_are_patient(scan, monkeypatch):
    hu, support = (np.concatenate([array, array[:1]]) for array in scan)
    probability = support.astype(float)
    probability[2, 7:17, 26:38] = probability[1, 7:17, 26:31] = 1.0
    near = without("enclosed by the patient")
    assert np.array_equal(refined(probability, hu, SPACING, near)[0], support)
    monkeypatch.setattr(refine_module, "SINGLE_SLICE_PASSES", 1)
    assert refined(probability, hu, SPACING, near)[0][1, 7:17, 26:31].all()


def test_a_missed_strap_encloses_no_support(scan):
    hu, support = scan
    around = ((0, 0), (8, 8), (8, 8))
    hu, support = np.pad(hu, around, constant_values=-1000.0), np.pad(support, around)
    y, x = np.mgrid[:80, :80]
    strap = abs(np.hypot(y - 40, x - 40) - 37) < 0.8
    hu[:, strap] = 0
    hu[:, 3:15, 39:41] = 0  # connected to the head
    assert np.array_equal(refined(support.astype(float), hu, SPACING)[0], support)


def test_the_largest_component_is_that_of_the_series():
    masks = np.zeros((3, 20, 20), bool)
    masks[:, 2:6, 2:6] = True
    masks[1, 10:16, 10:16] = True  # larger, but in one slice only
    assert np.array_equal(largest_component(masks)[1], masks[1] & (np.arange(20) < 8))
    assert not largest_component(masks & False).any()


def test_fill_holes_agrees_with_scipy():
    y, x = np.mgrid[:80, :80]
    ring = abs(np.hypot(y - 40, x - 40) - 30) < 5
    ring &= ~((abs(y - 40) < 3) & (x > 60))  # broken: encloses nothing
    masks = np.stack([ring, abs(np.hypot(y - 40, x - 40) - 30) < 5])
    expected = [ndimage.binary_fill_holes(one) for one in masks]
    assert np.array_equal(fill_holes(masks, (1, 1)), expected)


def test_sums_and_selections_of_components_agree_with_scipy():
    rng = np.random.default_rng(2)
    mask, weights = np.zeros((4, 20, 20), bool), rng.random((4, 20, 20))
    mask[:3, 3:18, 1:17] = rng.random((3, 15, 16)) < 0.3
    expected, n = ndimage.label(mask)
    labels, count = label_voxels(mask)
    assert count == n
    of_slices = [one[inside] for one, inside in zip(weights, mask)]
    sums = ndimage.sum_labels(weights, expected, range(1, n + 1))
    assert sum_by_label(labels, count, of_slices)[1:] == pytest.approx(sums)
    assert np.array_equal(sum_by_label(labels, count)[1:], np.bincount(expected.ravel())[1:])
    chosen = rng.random(n + 1) < 0.5
    assert np.array_equal(select_voxels(mask, labels, chosen), mask & chosen[expected])


def test_count_around_agrees_with_scipy():
    mask = np.random.default_rng(4).random((9, 12)) < 0.5
    expected = ndimage.uniform_filter(mask.astype(float), 3) * 9  # reflects one pixel at the edges
    assert np.array_equal(count_around(mask), expected.round())


def test_float16_is_compared_exactly_as_float32():
    values = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # all from 0 to 1
    for least in (0.1, 0.5, 0.75, 1.0):
        exact = values.astype(np.float64) >= least
        assert np.array_equal(refine_module._reaches(values, least), exact)


def test_states(scan):
    hu, support = scan
    support = support.copy()
    support[2] = False
    support[1, :, 52:55] = False
    patient = fill_holes(largest_component(hu == 40), SPACING[1:])
    patient[0, 10:45, 51] = True
    assert states(support, patient, SPACING) == ("touching", "free", "absent")


def test_confidence_is_the_expected_dice():
    rng = np.random.default_rng(1)
    p = rng.random((1, 50, 50))
    mask = p >= 0.5
    p[p < 0.1] = 0
    sampled = [rng.random(p.shape) < p for _ in range(200)]
    dice = np.mean([2 * (t & mask).sum() / (t.sum() + mask.sum()) for t in sampled])
    assert confidence(p, mask, SPACING)[0] == pytest.approx(dice, abs=0.005)


def test_network_noise_does_not_lower_the_confidence():
    noise = np.full((1, 300, 300), 1e-3)
    assert confidence(noise, np.zeros(noise.shape, bool), SPACING) == (1.0,)
    noise[0, :9, :9] = 0.4  # a cushion just below the threshold
    assert confidence(noise, np.zeros(noise.shape, bool), SPACING) == (0.0,)
