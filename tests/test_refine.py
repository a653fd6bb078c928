"""What the series adds: each step has a case that only it decides."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.segment import morphology as masks
from headrest.segment import refine as refining
from headrest.segment.morphology import (
    fill_holes,
    largest_component,
    partial_volume_boundary,
    sum_by_label,
)
from headrest.segment.refine import STEPS, confidence, refine, states

SPACING = (5.0, 1.0, 1.0)


@pytest.fixture
def scan():
    """Three slices: a hollow head, a rail that touches it, a sheet below it."""
    hu = np.full((3, 64, 64), -1000.0)
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 26, x - 32)
    hu[:, radius < 20] = 40
    hu[:, radius < 8] = -1000
    device = np.zeros(hu.shape, bool)
    device[:, 10:45, 52:55] = True
    device[:, 54:56, 10:50] = True
    hu[device] = 120
    return hu, device


def test_a_perfect_network_is_left_alone(scan):
    hu, device = scan
    found, body = refine(device.astype(float), hu, SPACING)
    assert np.array_equal(found, device)
    assert not (body & device).any()
    assert body[:, 26, 32].all()


def test_nothing_inside_the_patient_is_taken(scan):
    hu, device = scan
    hu[:, 24:28, 29:35] = 700  # a plate of bone in the hollow
    wrong = device.astype(float)
    wrong[:, 24:28, 29:35] = 0.99
    assert np.array_equal(refine(wrong, hu, SPACING)[0], device)


def test_what_hangs_on_no_patient_goes_where_the_network_half_believes(scan):
    hu, device = scan
    half = device.astype(float)
    half[1, 54:56, 10:50] = 0.3
    assert np.array_equal(refine(half, hu, SPACING)[0], device)
    half[:, 54:56, 10:50] = 0.1
    assert not refine(half, hu, SPACING)[0][:, 54:56].any()


def test_the_soft_edge_of_a_support_goes_with_it_but_nothing_larger_and_no_skin(scan):
    hu, device = scan
    seen, edge = device.astype(float), np.zeros(hu.shape, bool)
    edge[:, 56, 10:50] = True  # below the sheet, half air: the network is sure that it is none
    hu[edge] = -400
    assert np.array_equal(refine(seen, hu, SPACING)[0], device | edge)
    hu[:, 56:63, 10:50] = 40  # what reaches further is more than an edge: an arm on the sheet
    assert np.array_equal(refine(seen, hu, SPACING)[0], device)
    hu[:, 56:63, 10:50] = -1000
    hu[:, 46:54, 30:34] = 40  # and so is what hangs on the patient, however near
    assert np.array_equal(refine(seen, hu, SPACING)[0], device)


def test_a_soft_edge_goes_though_it_hangs_on_the_patient_but_no_skin_does(scan):
    hu, device = scan
    seen, edge = device.astype(float), np.zeros(hu.shape, bool)
    edge[:, 10:20, 51] = True  # beside the rail, down to where the head lies against it
    hu[edge] = -300
    assert ndimage.label((hu[0] > -500) & ~device[0], np.ones((3, 3)))[1] == 1
    found = refine(seen, hu, SPACING)[0]
    assert found[:, 10:18, 51].all()
    assert not (found & ~device & ~edge).any()  # in the corner, the patient wins
    without = [step for step in STEPS if step != "edges"]
    assert np.array_equal(refine(seen, hu, SPACING, without)[0], device)
    hu[:, 10:20, 49:52] = -300  # three pixels are no edge any more, but an ear
    assert np.array_equal(refine(seen, hu, SPACING)[0], device)


@pytest.mark.parametrize("pixel_mm", [0.45, 0.7, 1.0])
def test_a_strand_of_two_millimetres_along_a_support_is_no_edge(scan, pixel_mm):
    hu, device = scan
    n = round(2 / pixel_mm)
    hu[:, 10:24, 52 - n : 52] = 40  # from the head along the rail
    found = refine(device.astype(float), hu, (5.0, pixel_mm, pixel_mm))[0]
    assert not (found & ~device)[:, 10:20].any()


def test_a_doubtful_find_on_the_skin_stays_and_a_sure_one_goes(scan):
    hu, device = scan
    doubtful = device.astype(float)
    doubtful[1, 7:9, 31:33] = 0.9
    assert np.array_equal(refine(doubtful, hu, SPACING)[0], device)
    doubtful[:, 7:9, 31:33] = 0.99
    assert refine(doubtful, hu, SPACING)[0][:, 7:9, 31:33].any()
    assert refine(doubtful * 0.9, hu, SPACING)[0][:, 10:45, 52:55].all()  # the rail is its own


def test_a_slice_that_is_support_from_edge_to_edge():
    hu = np.full((2, 16, 16), 100.0)
    found, body = refine(np.ones(hu.shape), hu, SPACING)
    assert found.all()
    assert not body.any()


@pytest.mark.parametrize("rim", [0, 1, 40])
def test_air_around_a_scan_changes_nothing(scan, rim):
    hu, device = scan
    seen = device * 0.97
    seen[1, 7:9, 31:33] = 0.9
    seen[:, 24:28, 29:35] = 0.99
    hu[:, 24:28, 29:35] = 700
    alone, around = slice(6, 57), ((0, 0), (rim, rim), (rim, rim))  # 6: where the head begins
    hu, seen = hu[:, alone, alone], seen[:, alone, alone]
    padded = refine(np.pad(seen, around), np.pad(hu, around, constant_values=-1000), SPACING)
    for wide, narrow in zip(padded, refine(seen, hu, SPACING)):
        assert np.array_equal(wide, np.pad(narrow, around))


def test_looking_only_around_finds_changes_nothing(monkeypatch):
    def everywhere(mask, rim):
        return (slice(None),) * mask.ndim

    boxed = [_all_of_it(seed) for seed in range(60)]
    for module in (masks, refining):
        monkeypatch.setattr(module, "bounding_box", everywhere)
    assert boxed == [_all_of_it(seed) for seed in range(60)]


def _all_of_it(seed):
    """What is made of a series of blobs that nobody drew."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((2, 4, 56, 60)), (0, 0.7, 2, 2))
    solid, sure = blobs / blobs.std((1, 2, 3), keepdims=True)
    radius = np.hypot(*np.mgrid[-28:28, -30:30])
    wall = (radius >= 14) & (radius < 18)  # of a hollow, here and there taken for support
    solid = np.select([radius < 14, wall, radius < 26], [-1, 1, solid], 0)
    sure[:, wall] -= 0.7
    hu = np.where(solid > 0.1, 40.0, -1000 + 300 * (solid > 0))
    probability = np.where(hu > -500, np.clip(0.6 + 2 * sure, 0, 1), 0)
    probability[..., : rng.integers(50)] = 0  # few finds, and hollows far from them
    device, body = refine(probability, hu, SPACING)
    rims = [partial_volume_boundary(mask, one, SPACING[1:], -500) for mask, one in zip(device, hu)]
    found = [array.tobytes() for array in (device, body, np.stack(rims))]
    return found, states(device, body, SPACING), int(device.sum())


def test_a_scan_of_nothing():
    hu = np.full((2, 8, 8), -1000.0)
    found, body = refine(np.zeros(hu.shape), hu, SPACING)
    assert not found.any()
    assert not body.any()
    assert states(found, body, SPACING) == ("absent", "absent")


def hollow_phantom(shell_mm):
    """A plastic sphere in a shell that touches it, pixels of 1 mm, and the shell alone."""
    y, x = np.mgrid[:160, :160]
    radius = np.hypot(y - 70, x - 80)
    sphere = (radius < 50) & (radius >= 44)
    shell = (radius < 50 + shell_mm) & (radius >= 50) & (y > 70)
    hu = np.where(sphere, 500.0, np.where(shell, 150.0, -1000.0))
    return hu[None], sphere[None], shell[None]


@pytest.mark.parametrize("shell_mm", [4, 8])
def test_the_wall_of_a_hollow_stays_and_the_shell_it_lies_in_goes(shell_mm):
    hu, _, shell = hollow_phantom(shell_mm)
    bitten = shell.astype(float)
    bitten[0, 20:30, 60:100] = 0.99 * (hu[0, 20:30, 60:100] > 400)
    assert np.array_equal(refine(bitten, hu, SPACING)[0], shell)
    without = [step for step in STEPS if step != "hollows"]
    assert not np.array_equal(refine(bitten, hu, SPACING, without)[0], shell)


def test_crumbs_alone_are_no_support_but_go_with_one(scan):
    hu, device = scan
    crumbs = np.zeros(hu.shape)
    crumbs[1, 26, 48:52] = crumbs[2, 40, 20:30] = 1.0  # 4 and 10 mm2, on the skin and in it
    for with_support in (False, True):
        found, body = refine(crumbs + device * with_support, hu, SPACING)
        assert found[1, 26, 51] == with_support
        assert body[1, 26, 51] != with_support
    without = [step for step in STEPS if step != "crumbs"]
    assert refine(crumbs, hu, SPACING, without)[0].any()
    fine = (5.0, 0.5, 0.5)
    assert refine(device.astype(float), hu, fine)[0].any()  # 45 mm2 a slice
    few = (device & (np.arange(64) < 24)[:, None]).astype(float)  # 10 mm2
    assert not refine(few, hu, fine)[0].any()
    assert refine(few, hu, (40.0, 0.5, 0.5))[0].any()  # more of it may lie between
    assert refine(few[:1], hu[:1], fine)[0].any()


def test_what_flashes_up_in_one_slice_is_patient(scan):
    hu, device = scan
    wrong = device.astype(float)
    wrong[1, 26 - 19 : 26 - 9, 28:36] = 1.0
    assert np.array_equal(refine(wrong, hu, SPACING)[0], device)
    # Without the step it goes, and so it does where the neighbours are too far to tell.
    without = [step for step in STEPS if step not in ("flashes", "body")]
    near = [step for step in STEPS if step != "body"]
    for steps, spacing in ((without, SPACING), (near, (40.0, 1.0, 1.0))):
        assert refine(wrong, hu, spacing, steps)[0][1, 7:17, 28:36].all()
    assert np.array_equal(refine(wrong, hu, SPACING, near)[0], device)


def test_a_strap_that_was_missed_hides_no_holder(scan):
    hu, device = scan
    hu, device = np.pad(hu, ((0, 0), (8, 8), (8, 8)), constant_values=-1000.0), device
    device = np.pad(device, ((0, 0), (8, 8), (8, 8)))
    y, x = np.mgrid[:80, :80]
    strap = abs(np.hypot(y - 40, x - 40) - 37) < 0.8
    hu[:, strap] = 0
    hu[:, 3:15, 39:41] = 0  # it hangs on the head
    found, _ = refine(device.astype(float), hu, SPACING)
    assert np.array_equal(found, device)


def test_the_largest_piece_is_that_of_the_series():
    masks = np.zeros((3, 20, 20), bool)
    masks[:, 2:6, 2:6] = True
    masks[1, 10:16, 10:16] = True  # larger, but in one slice only
    assert np.array_equal(largest_component(masks)[1], masks[1] & (np.arange(20) < 8))
    assert not largest_component(masks & False).any()


def test_filling_is_that_of_another_hand():
    y, x = np.mgrid[:80, :80]
    ring = abs(np.hypot(y - 40, x - 40) - 30) < 5
    ring &= ~((abs(y - 40) < 3) & (x > 60))  # broken: encloses nothing
    masks = np.stack([ring, abs(np.hypot(y - 40, x - 40) - 30) < 5])
    expected = [ndimage.binary_fill_holes(one) for one in masks]
    assert np.array_equal(fill_holes(masks, (1, 1)), expected)


def test_sums_by_label_are_those_of_another_hand():
    rng = np.random.default_rng(2)
    labels, weights = rng.integers(0, 5, (3, 8, 8)), rng.random((3, 8, 8))
    expected = ndimage.sum_labels(weights, labels, range(1, 6))
    assert sum_by_label(labels, 5, weights) == pytest.approx([0, *expected])
    assert sum_by_label(labels, 5)[1:5] == pytest.approx(np.bincount(labels.ravel())[1:])


def test_states(scan):
    hu, device = scan
    device = device.copy()
    device[2] = False
    device[1, :, 52:55] = False
    body = fill_holes(largest_component(hu == 40), SPACING[1:])
    body[0, 10:45, 51] = True
    assert states(device, body, SPACING) == ("touching", "free", "absent")


def test_confidence_is_the_expected_dice():
    rng = np.random.default_rng(1)
    p = rng.random((1, 50, 50))
    mask = p >= 0.5
    p[p < 0.1] = 0
    drawn = [rng.random(p.shape) < p for _ in range(200)]
    dice = np.mean([2 * (t & mask).sum() / (t.sum() + mask.sum()) for t in drawn])
    assert confidence(p, mask, SPACING)[0] == pytest.approx(dice, abs=0.005)


def test_the_noise_of_a_network_is_no_doubt():
    noise = np.full((1, 300, 300), 1e-3)
    assert confidence(noise, np.zeros(noise.shape, bool), SPACING) == (1.0,)
    noise[0, :9, :9] = 0.4  # a pad that it nearly took
    assert confidence(noise, np.zeros(noise.shape, bool), SPACING) == (0.0,)
