import numpy as np
import pytest
from scipy import ndimage

from headrest.segment.components import PATIENT, SUPPORT, classify, find_components, measure
from headrest.segment.labels import label_series, label_slice
from headrest.segment.morphology import (
    ABSENT,
    FREE,
    TOUCHING,
    dilate,
    open_mask,
    partial_volume_boundary,
)
from headrest.util import HeadrestError

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


def test_components_agree_with_scipy_on_filled_holes():
    mask = np.random.default_rng(1).random((64, 64)) < 0.45
    labels, count = find_components(mask)
    filled = ndimage.binary_fill_holes(mask)
    theirs, n = ndimage.label(filled, np.ones((3, 3)))
    assert count == n
    assert np.array_equal(labels, theirs)


def test_measures_agree_with_numpy_on_each_component():
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


def test_width_is_the_thickness_of_a_strip_and_the_radius_of_a_disc():
    strip = (Y > 20) & (Y <= 30)
    disc = np.hypot(Y - 150, X - 128) < 60
    hu = np.where(strip | disc, 40.0, -1000.0)
    found = measure(*find_components(hu > -500), hu, -500, (1, 1))
    assert found.width_mm[0] == pytest.approx(10, rel=0.05)
    assert found.width_mm[1] == pytest.approx(60, rel=0.15)


def head_with(part, value):
    hu = head()
    hu[part] = value
    return hu


TIP = np.s_[100:122, 232:235]
PATIENTS = {
    "air": np.full((32, 32), -1000.0),
    "head": head(),
    "tip-of-an-ear": head_with(TIP, -100),  # thin, short, soft: 18 mm, apart from the head
    "splinter-of-bone": head_with(TIP, 1500),
}


@pytest.mark.parametrize(("shape", "mm"), [((3, 64, 64), SPACING), ((64, 64), (5, *SPACING))])
def test_refuses_a_series_as_a_slice(shape, mm):
    with pytest.raises(HeadrestError, match=r"label_series\(hu, \(z, y, x\)\)"):
        label_slice(np.zeros(shape), mm)


@pytest.mark.parametrize("hu", PATIENTS.values(), ids=PATIENTS)
def test_a_patient_alone_has_no_support(hu):
    label = label_slice(blurred(hu), SPACING)
    assert label.state == ABSENT
    assert not label.mask.any()


def test_finds_a_free_shell_and_nothing_of_the_head():
    hu, shell = with_shell(head())
    label = label_slice(blurred(hu), SPACING)
    assert label.state == FREE
    assert label.mask[shell].mean() > 0.98
    assert not label.mask[head() > -500].any()
    labels, count = find_components(blurred(hu) > -480)
    classes = classify(measure(labels, count, blurred(hu), -480, SPACING))
    assert classes[labels[118, 128] - 1] == PATIENT
    assert (classes == SUPPORT).sum() == 1


def with_ear_on_a_rail():
    """A rail beside the head, and an ear that lies against it."""
    hu = head()
    hu[66:180, 232:236] = 450
    free = hu.copy()
    hu[114:122, 214:234] = 20
    return free, hu


def test_keeps_a_rail_that_touches_and_reports_the_state():
    free, touching = (label_slice(blurred(hu), SPACING) for hu in with_ear_on_a_rail())
    assert free.state == FREE
    assert free.mask[70:175, 233:235].all()
    assert touching.state == TOUCHING
    assert not touching.mask.any()


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


def test_rail_that_continues_inside_the_patient_touches():
    free, touching = with_ear_on_a_rail()
    touching[touching == 450] = 1500  # as bright as bone: by itself no sign of a support
    volume = np.stack([blurred(free), blurred(touching)])
    assert label_slice(volume[1], SPACING).state == ABSENT
    assert label_series(volume, (5, *SPACING))[1].state == TOUCHING


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
