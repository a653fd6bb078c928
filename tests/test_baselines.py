"""Each baseline on a small slice where its result is known."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.evaluate.methods import BASELINES, EROSION_MM, outside_body_mask
from headrest.hounsfield import DENSE_HU

SIZE, SPACING = 256, (0.9, 0.9)
Y, X = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
HEAD = np.hypot(Y, X) * 0.9 < 80


def slice_with(*supports, head=HEAD):
    """Air, a head of 40 HU in the centre, and supports: pairs of a mask and its HU."""
    hu = np.where(head, 40.0, -1000.0)
    for mask, value in supports:
        hu[mask & ~head] = value
    return hu


BOARD = (abs(Y * 0.9 - 110) < 2) & (abs(X) < 100)
DARK = (abs(Y * 0.9 + 110) < 2) & (abs(X) < 100)
RAIL = (abs(X * 0.9 - 82) < 2) & (abs(Y) < 60)  # touches the head
FAR_BEHIND = slice_with((BOARD, 200))

CASES = [
    ("fixed threshold", slice_with((BOARD, 200), (DARK, -300)), DARK),
    ("fixed ellipse", FAR_BEHIND, BOARD),
    ("row and column runs", FAR_BEHIND, BOARD),
    ("row and column runs", slice_with((BOARD.T, 200)), BOARD.T),
    ("largest component", FAR_BEHIND, BOARD),
    ("largest component", slice_with((RAIL, 200)), BOARD & False),  # one component with the head
    ("erode, keep, dilate", FAR_BEHIND, BOARD),
    ("convex hull", FAR_BEHIND, BOARD),
]


@pytest.mark.parametrize(("name", "hu", "expected"), CASES)
def test_each_removes_the_expected_support(name, hu, expected):
    found = BASELINES[name](hu, SPACING)
    assert found.dtype == bool
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", BASELINES)
def test_removes_solid_pixels_only(name):
    noise = np.random.default_rng(0).normal(-500, 400, (40, 33))
    assert not (BASELINES[name](noise, (1, 2)) & (noise <= DENSE_HU)).any()
    assert not BASELINES[name](np.full((40, 33), -1000.0), (1, 2)).any()


def test_erosion_separates_a_touching_rail_and_keeps_a_head_too_thin_for_it():
    hu = slice_with((RAIL, 200))
    taken = BASELINES["erode, keep, dilate"](hu, SPACING)
    far = RAIL & ~HEAD & (ndimage.distance_transform_edt(~HEAD, SPACING) > 3)
    assert taken[far].all()
    assert not taken[np.hypot(Y, X) * 0.9 < 78].any()
    hu = slice_with((BOARD, 200), head=np.hypot(Y, X) * 0.9 < EROSION_MM - 1)
    board_is_larger = BASELINES["largest component"](hu, SPACING)
    assert np.array_equal(BASELINES["erode, keep, dilate"](hu, SPACING), board_is_larger)
    dent = HEAD & (np.hypot(Y * 0.9 - 85, X * 0.9) > 25)
    speck = np.hypot(Y * 0.9 - 70, X * 0.9) < 2
    hu = slice_with((speck, 200), head=dent)
    assert BASELINES["erode, keep, dilate"](hu, SPACING)[speck].all()
    assert not BASELINES["convex hull"](hu, SPACING)[speck].any()


def test_body_mask_of_a_series_keeps_an_arm_that_another_slice_connects():
    arm = np.hypot(Y * 0.9, X * 0.9 - 95) < 9
    alone, joined = slice_with((BOARD, 200), (arm, 40)), slice_with((arm, 40))
    joined[(abs(Y) < 8) & (X > 0) & (X * 0.9 < 95)] = 40.0
    taken = outside_body_mask(np.stack([alone, joined]), (5, *SPACING))
    assert not (taken & arm)[0].any()
    assert taken[0][BOARD].all()
    assert outside_body_mask(alone[None], (5, *SPACING))[0][arm].any()
