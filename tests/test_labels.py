"""Classical segmentation: HU, the K-Means threshold, and the components of slices and series."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from conftest import refused
from scipy import ndimage

from headrest.segment.components import find_components, measure
from headrest.segment.kmeans import kmeans_centers, kmeans_threshold
from headrest.segment.labels import label_series, label_slice
from headrest.segment.morphology import dilate, open_mask, partial_volume_boundary


def tried_centers(values, counts, k):
    """The centers of least inertia over every way to cut the sorted values into k intervals."""
    ends = ((0, *inner, len(values)) for inner in combinations(range(1, len(values)), k - 1))
    tried = ([np.average(values[a:b], weights=counts[a:b]) for a, b in pairwise(e)] for e in ends)
    return min(tried, key=lambda one: (counts * ((values[:, None] - one) ** 2).min(axis=1)).sum())


@pytest.mark.parametrize("k", [1, 2, 5, 14])
def test_centers_have_the_least_inertia_and_are_no_more_than_the_values(k):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        values = np.sort(rng.choice(np.arange(-1024.0, 1500), 14, replace=False))
        counts = rng.integers(1, 1000, 14)
        found = kmeans_centers(np.repeat(values, counts), k)
        assert found == pytest.approx(tried_centers(values, counts, k), rel=1e-9)
    refused("15 clusters", kmeans_centers, values, 15)


def test_threshold_separates_no_foam_from_air():
    for hu in ([-1000.0, -1000.0], [-1000.0] * 50 + [-960.0] * 30 + [-900.0] * 9):
        assert kmeans_threshold(np.array(hu)) == -500


SPACING = (0.8, 0.8)
Y, X = np.mgrid[:256, :256]
R = np.hypot((Y - 118) / 1.15, X - 128)


def head(column=128):
    """A head: skin, skull and brain, 90 pixels in radius."""
    hu, r = np.full((256, 256), -1000.0), np.hypot((Y - 118) / 1.15, X - column)
    hu[r < 90], hu[(r < 84) & (r > 77)] = 20, 1100
    return hu


SHELL = (abs(R - 90 - 14 - 1.5) <= 1.5) & (Y > 130)  # three pixels wide, 14 pixels from the head
TIP = (Y >= 100) & (Y < 122) & (X >= 232) & (X < 235)  # 18 mm, apart from the head


def blurred(hu, seed=0):
    """As a scanner blurs it, with noise."""
    noise = np.random.default_rng(seed).normal(0, 8, hu.shape)
    return (ndimage.gaussian_filter(hu, 0.8) + noise).astype(np.float32)


HEAD_AND_SHELL = blurred(np.where(SHELL, 450, head()))


def test_components_and_their_measures_agree_with_scipy_numpy_and_geometry():
    mask = np.random.default_rng(1).random((64, 64)) < 0.45
    labels, count = find_components(mask)
    theirs, n = ndimage.label(ndimage.binary_fill_holes(mask), np.ones((3, 3)))
    assert count == n
    assert np.array_equal(labels, theirs)
    hu = HEAD_AND_SHELL
    labels, count = find_components(hu > -480)
    found = measure(labels, count, hu, -480, SPACING)
    for i in range(count):
        inside = (labels == i + 1) & (hu > -480)
        size = np.ptp(np.argwhere(labels == i + 1), axis=0) + 1
        assert found.area_mm2[i] == pytest.approx(inside.sum() * 0.64)
        assert found.mean_hu[i] == pytest.approx(hu[inside].mean(), rel=1e-4)
        assert found.std_hu[i] == pytest.approx(hu[inside].std(), rel=1e-3, abs=0.5)
        assert found.length_mm[i] == pytest.approx(np.hypot(*size) * 0.8)
    hu = np.where((Y > 20) & (Y <= 30) | (np.hypot(Y - 150, X - 128) < 60), 40.0, -1000.0)
    strip, disc = measure(*find_components(hu > -500), hu, -500, (1, 1)).width_mm
    assert strip == pytest.approx(10, rel=0.05)
    assert disc == pytest.approx(60, rel=0.15)


def test_refuses_a_series_as_a_slice_a_slice_as_a_series_and_nan():
    for hu, mm in ((np.zeros((3, 64, 64)), SPACING), (np.zeros((64, 64)), (5, *SPACING))):
        refused(r"label_series\(hu, \(z, y, x\)\)", label_slice, hu, mm)
        refused(r"label_slice\(hu, \(y, x\)\)", label_series, hu, mm)
    refused("nan_to_num", label_slice, np.full((64, 64), np.nan), SPACING)


SKULL = np.where(R < 20, 40.0, np.where((R < 88) & (R > 80), 900.0, -1000.0))


def test_a_patient_alone_has_no_support():
    ear, splinter = (np.where(TIP, hu, head()) for hu in (-100, 1500))  # of bone
    broken = np.where(abs(X - 128) < 8, -1000.0, SKULL)
    for hu in (np.full((32, 32), -1000.0), head(), ear, splinter, broken):
        label = label_slice(blurred(hu), SPACING)
        assert label.state == "absent"
        assert not label.mask.any()


def test_finds_a_free_shell_with_its_boundary_and_nothing_of_the_head():
    label, hu = label_slice(HEAD_AND_SHELL, SPACING), HEAD_AND_SHELL
    assert label.state == "free"
    assert label.mask[SHELL].mean() > 0.98
    assert not label.mask[head() > -500].any()
    half, solid = label.mask & (X < 128), hu > label.threshold  # the other half is kept
    boundary = partial_volume_boundary(half, hu, SPACING, label.threshold)
    assert not (boundary & (solid | ndimage.binary_dilation(solid & ~half))).any()
    boundary = partial_volume_boundary(label.mask, hu, SPACING, label.threshold)
    # With the boundary filled, only the noise of air is left around the shell.
    around = ndimage.binary_dilation(label.mask, iterations=4)
    assert hu[around & ~label.mask & ~boundary].max() < -900
    assert not label_slice(blurred(np.where(SHELL, 450, SKULL)), SPACING).mask[R < 92].any()


def test_keeps_a_rail_that_touches_also_inside_the_patient():
    beside = head()
    beside[66:180, 232:236] = 450  # a rail
    against = beside.copy()
    against[114:122, 214:234] = 20  # an ear
    free, touching = (label_slice(blurred(hu), SPACING) for hu in (beside, against))
    assert free.mask[70:175, 233:235].all()
    assert (free.state, touching.state) == ("free", "touching")
    assert not touching.mask.any()
    against[against == 450] = 1500  # as bright as bone: by itself no sign of a support
    volume = np.stack([blurred(beside), blurred(against)])
    assert label_slice(volume[1], SPACING).state == "absent"
    assert label_series(volume, (5, *SPACING))[1].state == "touching"


def test_neighbouring_slices_decide_on_ambiguous_components():
    hu = head()
    hu[150:200, 20:23] = -250  # a dark strip, 40 mm: ambiguous by itself
    volume = np.stack([blurred(hu, seed) for seed in range(3)])
    assert not label_slice(volume[0], SPACING).mask.any()
    labels = label_series(volume, (5, *SPACING))
    assert all(label.mask[155:195, 21].mean() > 0.9 for label in labels)
    # The same strip where the neighbours have the cheek of a head is left alone.
    volume[[0, 2]] = blurred(np.where(X < 120, head(90), head()))
    assert not label_series(volume, (5, *SPACING))[1].mask.any()


@pytest.mark.parametrize("reach", [(1, 1), (2, 3), (5, 4), (40, 1)])
def test_dilate_and_open_agree_with_scipy(reach):
    mask = np.random.default_rng(3).random((40, 33)) < 0.7
    mask[10:30, 8:30] = True
    size, spacing_mm = [2 * n + 1 for n in reach], [40 / n for n in reach]
    image = mask.astype(np.uint8)
    dilated = ndimage.maximum_filter(image, size, mode="nearest")
    eroded = ndimage.minimum_filter(image, size, mode="nearest")
    opened = ndimage.maximum_filter(eroded, size, mode="nearest") & mask
    assert np.array_equal(dilate(mask, 40, spacing_mm), dilated)
    assert np.array_equal(open_mask(mask, 80, spacing_mm), opened)
