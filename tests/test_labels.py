"""Classical segmentation: HU, the K-Means threshold, and the components of slices and series."""

from itertools import combinations

import numpy as np
import pytest
from conftest import refused
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_rescale
from scipy import ndimage
from sklearn.cluster import KMeans

from headrest.hounsfield import outside_field_of_view, rescale, window
from headrest.segment.components import PATIENT, SUPPORT, classify, find_components, measure
from headrest.segment.kmeans import hu_histogram, kmeans_centers, kmeans_threshold, optimal_centers
from headrest.segment.labels import label_series, label_slice
from headrest.segment.morphology import dilate, open_mask, partial_volume_boundary


def test_rescale_equals_pydicom_slice_by_slice_and_keeps_fractions_and_large_values():
    header = dcmread(get_testdata_file("CT_small.dcm"))
    expected = apply_rescale(header.pixel_array, header)
    ours = rescale(header.pixel_array, header.RescaleSlope, header.RescaleIntercept)
    assert np.array_equal(ours, expected)
    stored = np.array([[[100]], [[65535]]], np.uint16)
    both = rescale(stored, np.array([1.0, 0.5]), np.array([-1000.0, 0.0]))
    assert both.ravel().tolist() == [-900, 32767.5]
    assert rescale(stored, 1, -8192).ravel().tolist() == [-8092, 57343]
    assert rescale(np.zeros((2, 1, 2)), 1, [0, -1024])[:, 0].tolist() == [[0, 0], [-1024, -1024]]
    assert window(np.array([0.0, 40.0, 80.0, 500.0]), 40, 80).tolist() == [0, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("hu", "padding", "outside"),
    [
        (-3024.0, (-3024.0, -3024.0), True),  # declared
        (-2016.0, (-3024.0, -3024.0), True),  # rings beside what is declared
        (-1500.0, None, True),  # not declared
        (-1005.0, (-1010.0, -1000.0), True),  # a declared range within air
        (-1090.0, None, False),  # noise in air
        (-1000.0, (-3024.0, -3024.0), False),
    ],
)
def test_padding_rule(hu, padding, outside):
    assert outside_field_of_view(np.array([hu]), padding).tolist() == [outside]


def inertia(values, counts, centers):
    return (counts * ((values[:, None] - centers) ** 2).min(axis=1)).sum()


def brute_force(values, counts, k):
    """The least inertia over every way to cut the sorted values into k intervals."""
    n, best = len(values), np.inf
    for cuts in combinations(range(1, n), k - 1):
        parts = list(zip((0, *cuts), (*cuts, n)))
        centers = [np.average(values[a:b], weights=counts[a:b]) for a, b in parts]
        best = min(best, inertia(values, counts, np.array(centers)))
    return best


@pytest.mark.parametrize("k", [1, 2, 5, 14])
@pytest.mark.parametrize("seed", range(4))
def test_centers_have_the_least_inertia_and_are_no_more_than_the_values(k, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice(np.arange(-1024.0, 1500), 14, replace=False))
    counts = rng.integers(1, 1000, 14)
    ours = inertia(values, counts, optimal_centers(values, counts, k))
    assert ours == pytest.approx(brute_force(values, counts, k), rel=1e-9)
    refused("15 clusters", optimal_centers, values, counts, 15)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4])
def test_inertia_is_that_of_scikit_learn_or_less(k):
    rng = np.random.default_rng(k)
    parts = [(-1000, 20, 4000), (-100, 30, 400), (40, 15, 3000), (900, 250, 800)]
    hu = np.concatenate([rng.normal(m, s, n) for m, s, n in parts]).round()
    values, counts = hu_histogram(hu)
    pixels = np.clip(hu, -1024, 1500)[:, None]
    theirs = KMeans(k, n_init=10, random_state=0).fit(pixels).inertia_
    centers = kmeans_centers(hu, k)
    assert inertia(values, counts, centers) <= theirs * (1 + 1e-9)
    # Started at the exact optimum, the K-Means of scikit-learn stays there.
    oracle = KMeans(k, init=centers[:, None], n_init=1, tol=0)
    oracle.fit(values[:, None], sample_weight=counts)
    assert centers == pytest.approx(np.sort(oracle.cluster_centers_.ravel()), abs=1e-6)


def test_threshold_lies_between_air_and_tissue_and_separates_no_foam_from_air():
    hu = np.r_[np.full(600, -1000.0), np.full(300, 40.0), np.full(50, 1000.0)]
    assert kmeans_threshold(hu) == pytest.approx(-480)
    for hu in ([-1000.0, -1000.0], [-1000.0] * 50 + [-960.0] * 30 + [-900.0] * 9):
        assert kmeans_threshold(np.array(hu)) == -500


SPACING = (0.8, 0.8)
Y, X = np.mgrid[:256, :256]


def head(radius=90, center=(118, 128)):
    """A head: skin, skull and brain about a centre, blurred as a scanner blurs it."""
    r = np.hypot((Y - center[0]) / 1.15, X - center[1])
    hu = np.where(r < radius, 20.0, -1000.0)
    hu[(r < radius - 6) & (r > radius - 13)] = 1100
    return hu


def with_shell(hu, gap=14.0, value=450.0):
    """Add a U-shaped shell three pixels wide, `gap` pixels from the head (90 px in radius)."""
    r = np.hypot((Y - 118) / 1.15, X - 128)
    shell = (abs(r - 90 - gap - 1.5) <= 1.5) & (Y > 130)
    return np.where(shell, np.maximum(hu, value), hu), shell


def blurred(hu, seed=0):
    noise = np.random.default_rng(seed).normal(0, 8, hu.shape)
    return (ndimage.gaussian_filter(hu, 0.8) + noise).astype(np.float32)


def test_components_and_their_measures_agree_with_scipy_numpy_and_geometry():
    mask = np.random.default_rng(1).random((64, 64)) < 0.45
    labels, count = find_components(mask)
    filled = ndimage.binary_fill_holes(mask)
    theirs, n = ndimage.label(filled, np.ones((3, 3)))
    assert count == n
    assert np.array_equal(labels, theirs)
    hu = blurred(with_shell(head())[0])
    labels, count = find_components(hu > -480)
    found = measure(labels, count, hu, -480, SPACING)
    for i in range(count):
        inside = (labels == i + 1) & (hu > -480)
        rows, columns = np.nonzero(labels == i + 1)
        assert found.area_mm2[i] == pytest.approx(inside.sum() * 0.64)
        assert found.mean_hu[i] == pytest.approx(hu[inside].mean(), rel=1e-4)
        assert found.std_hu[i] == pytest.approx(hu[inside].std(), rel=1e-3, abs=0.5)
        diagonal = np.hypot(np.ptp(rows) + 1, np.ptp(columns) + 1) * 0.8
        assert found.length_mm[i] == pytest.approx(diagonal)
    strip = (Y > 20) & (Y <= 30)
    disc = np.hypot(Y - 150, X - 128) < 60
    hu = np.where(strip | disc, 40.0, -1000.0)
    found = measure(*find_components(hu > -500), hu, -500, (1, 1))
    assert found.width_mm[0] == pytest.approx(10, rel=0.05)
    assert found.width_mm[1] == pytest.approx(60, rel=0.15)


TIP = (Y >= 100) & (Y < 122) & (X >= 232) & (X < 235)

PATIENTS = {
    "air": np.full((32, 32), -1000.0),
    "head": head(),
    "tip-of-an-ear": np.where(TIP, -100, head()),  # thin, short, soft: 18 mm, apart from the head
    "splinter-of-bone": np.where(TIP, 1500, head()),
}


@pytest.mark.parametrize(("shape", "mm"), [((3, 64, 64), SPACING), ((64, 64), (5, *SPACING))])
def test_refuses_a_series_as_a_slice_a_slice_as_a_series_and_nan(shape, mm):
    refused(r"label_series\(hu, \(z, y, x\)\)", label_slice, np.zeros(shape), mm)
    refused(r"label_slice\(hu, \(y, x\)\)", label_series, np.zeros(shape), mm)
    refused("nan_to_num", label_slice, np.full((64, 64), np.nan), SPACING)


@pytest.mark.parametrize("hu", PATIENTS.values(), ids=PATIENTS)
def test_a_patient_alone_has_no_support(hu):
    label = label_slice(blurred(hu), SPACING)
    assert label.state == "absent"
    assert not label.mask.any()


def test_finds_a_free_shell_and_nothing_of_the_head():
    hu, shell = with_shell(head())
    label = label_slice(blurred(hu), SPACING)
    assert label.state == "free"
    assert label.mask[shell].mean() > 0.98
    assert not label.mask[head() > -500].any()
    labels, count = find_components(blurred(hu) > -480)
    classes = classify(measure(labels, count, blurred(hu), -480, SPACING))
    assert classes[labels[118, 128] - 1] == PATIENT
    assert (classes == SUPPORT).sum() == 1


def test_keeps_a_rail_that_touches_also_inside_the_patient():
    beside = head()
    beside[66:180, 232:236] = 450  # a rail
    against = beside.copy()
    against[114:122, 214:234] = 20  # an ear
    free, touching = (label_slice(blurred(hu), SPACING) for hu in (beside, against))
    assert free.state == "free"
    assert free.mask[70:175, 233:235].all()
    assert touching.state == "touching"
    assert not touching.mask.any()
    against[against == 450] = 1500  # as bright as bone: by itself no sign of a support
    volume = np.stack([blurred(beside), blurred(against)])
    assert label_slice(volume[1], SPACING).state == "absent"
    assert label_series(volume, (5, *SPACING))[1].state == "touching"


def test_hollow_skull_in_parts_is_patient():
    r = np.hypot((Y - 118) / 1.15, X - 128)
    skull = (r < 88) & (r > 80)
    hu = np.where(skull, 900.0, -1000.0)
    hu[(r < 20)] = 40
    label = label_slice(blurred(with_shell(hu)[0]), SPACING)
    assert not label.mask[r < 92].any()
    broken = np.where(abs(X - 128) < 8, -1000.0, hu)
    assert not label_slice(blurred(broken), SPACING).mask[r < 92].any()


def test_neighbouring_slices_decide_on_ambiguous_components():
    piece = np.full((256, 256), -1000.0)
    piece[150:200, 20:23] = -250  # a dark strip, 40 mm: ambiguous by itself
    alone = np.maximum(head(), piece)
    assert not label_slice(blurred(alone), SPACING).mask.any()
    volume = np.stack([blurred(alone, i) for i in range(3)])
    labels = label_series(volume, (5, *SPACING))
    assert all(label.mask[155:195, 21].mean() > 0.9 for label in labels)
    # The same strip where the neighbours have the cheek of a head is left alone.
    wide = np.where(X < 120, head(center=(118, 90)), head())
    labels = label_series(np.stack([blurred(wide), blurred(alone), blurred(wide)]), (5, *SPACING))
    assert not labels[1].mask.any()
    alone_too = label_series(volume, (5, *SPACING), use_neighbours=False)
    assert not any(label.mask.any() for label in alone_too)


def test_partial_volume_boundary_is_below_the_threshold_and_not_beside_the_patient():
    hu = blurred(with_shell(head())[0])
    label = label_slice(hu, SPACING)
    boundary = partial_volume_boundary(label.mask, hu, SPACING, label.threshold)
    assert boundary.any()
    assert not (boundary & label.mask).any()
    assert (hu[boundary] <= label.threshold).all()
    kept = (hu > label.threshold) & ~label.mask
    assert not (boundary & ndimage.binary_dilation(kept)).any()
    # With the boundary filled, only the noise of air is left around the shell.
    around = ndimage.binary_dilation(label.mask, iterations=4)
    assert hu[around & ~label.mask & ~boundary & ~kept].max() < -900


@pytest.mark.parametrize("reach", [(1, 1), (2, 3), (5, 4), (40, 1)])
def test_dilate_and_open_agree_with_scipy(reach):
    mask = np.random.default_rng(3).random((40, 33)) < 0.7
    mask[10:30, 8:30] = True
    size, spacing_mm = [2 * n + 1 for n in reach], [40 / n for n in reach]

    def filtered(theirs, image):
        return theirs(image.astype(np.uint8), size, mode="nearest").astype(bool)

    dilated = filtered(ndimage.maximum_filter, mask)
    opened = filtered(ndimage.maximum_filter, filtered(ndimage.minimum_filter, mask)) & mask
    assert np.array_equal(dilate(mask, 40, spacing_mm), dilated)
    assert np.array_equal(open_mask(mask, 80, spacing_mm), opened)
