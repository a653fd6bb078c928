"""What the series adds: each step has a case that only it decides."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.refine import confidence, fill_slices, largest_body, refine, states

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


def test_a_crumb_of_skin_stays(scan):
    hu, device = scan
    crumb = device.astype(float)
    crumb[1, 7:9, 31:33] = 0.9
    assert np.array_equal(refine(crumb, hu, SPACING)[0], device)
    crumb[:, 7:10, 28:36] = 0.9  # too large for an accident
    assert refine(crumb, hu, SPACING)[0][:, 7:10, 28:36].any()


def test_a_scan_of_nothing():
    hu = np.full((2, 8, 8), -1000.0)
    found, body = refine(np.zeros(hu.shape), hu, SPACING)
    assert not found.any()
    assert not body.any()
    assert states(found, body, SPACING) == ("absent", "absent")


def test_the_body_is_the_largest_piece_of_the_series(scan):
    hu, device = scan
    body = largest_body(hu > -500, device)
    labels, _ = ndimage.label((hu > -500) & ~device)
    assert set(np.unique(labels[body & (hu > -500)])) == {labels[0, 10, 32]}


def test_filling_is_that_of_another_hand():
    rng = np.random.default_rng(0)
    masks = rng.random((4, 40, 40)) < 0.5
    expected = [ndimage.binary_fill_holes(one) for one in masks]
    assert np.array_equal(fill_slices(masks), expected)


def test_states(scan):
    hu, device = scan
    device = device.copy()
    device[2] = False
    device[1, :, 52:55] = False
    body = largest_body(hu > -500, (hu == 120))
    body[0, 10:45, 51] = True
    assert states(device, body, SPACING) == ("touching", "free", "absent")


def test_confidence_is_the_expected_dice():
    rng = np.random.default_rng(1)
    p = rng.random((1, 50, 50))
    mask = p >= 0.5
    drawn = [rng.random(p.shape) < p for _ in range(200)]
    dice = np.mean([2 * (t & mask).sum() / (t.sum() + mask.sum()) for t in drawn])
    assert confidence(p, mask)[0] == pytest.approx(dice, abs=0.005)
    assert confidence(np.zeros((1, 4, 4)), np.zeros((1, 4, 4), bool)) == (1.0,)
