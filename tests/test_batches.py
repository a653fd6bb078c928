"""Batches: augmentation, random order, and patients held out."""

import threading

import numpy as np
import pytest
from scipy import ndimage

from headrest import HeadrestError
from headrest.hounsfield import FLOOR, INPUT_HIGH_HU, INPUT_LOW_HU, scale
from headrest.train.batches import (
    MAX_DEGREES,
    MAX_NOISE_HU,
    MAX_SHIFT,
    MAX_ZOOM,
    OFFSET_HU,
    ROTATED_SHARE,
    Augmentation,
    Batches,
    augment,
    sample_augmentation,
    sample_noise,
    split_patients,
)

N, SIDE = 12, 32
UNCHANGED = Augmentation(False, False, False, (0, 0), None, 0.0, 0.0, 0, 64)


@pytest.fixture(scope="module")
def hu():
    return np.random.default_rng(0).integers(-1024, 600, (N, SIDE, SIDE)).astype(np.int16)


@pytest.fixture(scope="module")
def labels(hu):
    return (hu > 0).astype(np.uint8)


def test_keeps_the_slices_of_a_patient_on_one_side():
    patients = np.repeat([f"p{i}" for i in range(10)], 7)
    for seed in range(20):
        training, out = split_patients(patients, 0.2, seed)
        assert len(set(patients[out])) == 2
        assert not set(patients[out]) & set(patients[training])
        assert sorted([*training, *out]) == list(range(70))
    assert list(split_patients(patients, 0.2, 3)[1]) == list(split_patients(patients, 0.2, 3)[1])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_holds_out_at_least_one_patient_and_not_all(share):
    assert all(len(side) for side in split_patients(np.array(["a", "a", "b"]), share))
    with pytest.raises(HeadrestError, match="two patients"):
        split_patients(np.array(["a", "a"]), share)
    for names in ([], ["c"], ["a", "b"]):
        with pytest.raises(HeadrestError, match="match no patient, or all"):
            split_patients(np.array(["a", "a", "b"]), names)


def test_synthetic_patients_are_not_held_out_where_there_are_others():
    patients = np.array([f"synthetic-{i}" for i in range(8)] + ["a", "b", "c"])
    for seed in range(20):
        out = split_patients(patients, 0.34, seed)[1]
        assert len(out) == 1
        assert set(out) < {8, 9, 10}
    held = [split_patients(patients[:9], 0.34, seed)[1] for seed in range(20)]
    assert {len(out) for out in held} == {3}


def test_an_epoch_has_every_slice_once(hu, labels):
    seen = []
    for x, y in Batches(hu, labels, np.arange(N), 4, SIDE, augment=False).epoch(0):
        assert x.shape == (4, SIDE, SIDE, 1)
        assert x.dtype == np.float32
        assert (y.shape, y.dtype) == ((4, SIDE, SIDE), np.uint8)
        for image, label in zip(x[..., 0], y):
            i = next(i for i in range(N) if np.array_equal(image, scale(hu[i])))
            assert np.array_equal(label, labels[i])
            seen.append(i)
    assert sorted(seen) == list(range(N))


def test_the_same_seed_gives_the_same_epoch(hu, labels):
    batches = Batches(hu, labels, np.arange(N), 5, SIDE)
    one, two, other = (list(batches.epoch(seed)) for seed in (1, 1, 2))
    assert len(one) == len(batches) == 2
    assert all(np.array_equal(a, b) for p, q in zip(one, two) for a, b in zip(p, q))
    assert not np.array_equal(one[0][0], other[0][0])


def test_an_epoch_can_be_longer_or_shorter_than_the_set(hu, labels):
    for slices in (5, 31):
        batches = Batches(hu, labels, np.arange(N), 2, SIDE, augment=False, slices_per_epoch=slices)
        seen = np.concatenate([x for x, _ in batches.epoch(0)])[..., 0]
        assert len(seen) == 2 * len(batches) == slices // 2 * 2
        times = [sum(np.array_equal(one, scale(image)) for one in seen) for image in hu]
        assert sum(times) == len(seen)
        assert max(times) - min(times) <= 1


def test_closing_an_epoch_early_ends_its_threads(hu, labels):
    before = threading.active_count()
    epoch = Batches(hu, labels, np.arange(N), 4, SIDE).epoch(0)
    next(epoch)
    epoch.close()
    assert threading.active_count() == before


def test_labels_change_with_their_slice():
    hu = np.full((64, 64), -1000, np.int16)
    hu[40:50, 10:30] = 300
    label = (hu > 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise, places, middle = sample_noise(rng, 64), set(), scale(np.array(-350.0))
    for half in [False] * 50 + [True] * 30:
        change = sample_augmentation(rng, 64, half)
        image, moved = augment(hu, label, change, noise)
        differs = (image > middle) != (moved == 1)
        # A rotated edge lies between pixels: the label takes the nearest neighbour.
        support = moved == 1
        boundary = ndimage.binary_dilation(support) & ~ndimage.binary_erosion(support)
        assert not (differs & ~boundary).any()
        assert change.rotation or not differs.any()
        assert image.shape == moved.shape == (change.size,) * 2
        if not half:  # a window need not show the whole object
            places.add(tuple(np.argwhere(support).mean(0)))
    assert len(places) > 25


def test_sampled_changes_stay_within_their_ranges():
    rng = np.random.default_rng(1)
    sampled = [sample_augmentation(rng, 512) for _ in range(4000)]
    assert abs(np.array([c.shift for c in sampled])).max() == MAX_SHIFT
    angles, zooms = np.array([c.rotation for c in sampled if c.rotation]).T
    assert MAX_DEGREES * 0.99 < abs(angles).max() <= MAX_DEGREES
    assert 1 / MAX_ZOOM <= zooms.min() < 1 < zooms.max() <= MAX_ZOOM
    assert len(angles) / len(sampled) == pytest.approx(ROTATED_SHARE, abs=0.03)
    assert np.std([c.offset_hu for c in sampled]) == pytest.approx(OFFSET_HU, rel=0.1)
    assert max(c.noise_hu for c in sampled) <= MAX_NOISE_HU
    for name, share in (("transpose", 1 / 12), ("flip_rows", 0.2), ("flip_columns", 0.5)):
        assert np.mean([getattr(c, name) for c in sampled]) == pytest.approx(share, abs=0.03)


def test_half_resolution_has_four_times_the_slices_of_a_quarter_of_the_pixels(hu, labels):
    full = Batches(hu, labels, np.arange(N), 2, 20)
    half = Batches(hu, labels, np.arange(N), 2, 10, half_resolution=True)
    assert len(half) == len(full)
    (x, y), (one, two) = next(full.epoch(0)), next(half.epoch(0))
    assert (x.shape, y.shape) == ((2, SIDE, SIDE, 1), (2, 20, 20))
    assert (one.shape, two.shape) == ((8, SIDE // 2, SIDE // 2, 1), (8, 10, 10))


def test_half_resolution_shows_the_slice_at_half_to_full_size():
    columns = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    label, noise = np.zeros((64, 64), np.uint8), np.zeros(4 * 64**2, np.float32)
    rng, zooms = np.random.default_rng(0), []
    for _ in range(300):
        change = sample_augmentation(rng, 64, half_resolution=True)
        assert change.size == 32
        degrees, zoom = change.rotation
        assert abs(degrees) <= MAX_DEGREES
        window = UNCHANGED._replace(rotation=(0.0, zoom), shift=change.shift, size=32)
        shown = augment(columns, label, window, noise)[0][8:-8, 8:-8]
        shown = (shown + 1) / 2 * (INPUT_HIGH_HU - INPUT_LOW_HU) + INPUT_LOW_HU
        assert (shown > -0.01).all()  # within the slice but for a small shift
        assert np.diff(shown[8]).mean() == pytest.approx(1 / zoom, rel=0.01)
        zooms.append(zoom)
    assert 0.5 <= min(zooms) < 0.52
    assert 0.97 < max(zooms) <= 1


def test_rotates_as_scipy_does():
    rng = np.random.default_rng(2)
    image = ndimage.gaussian_filter(rng.normal(0, 300, (65, 65)), 2).astype(np.float32)
    degrees, zoom, shift = 12.0, 1.2, (5, -3)
    cos, sin = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    inverse = np.array([[cos, -sin], [sin, cos]])  # rows and columns
    centre = np.array([32.0, 32.0])
    offset = centre - inverse @ (centre + shift)
    expected = ndimage.affine_transform(image, inverse, offset, order=1, cval=FLOOR)
    change = UNCHANGED._replace(rotation=(degrees, zoom), shift=shift, size=65)
    nothing = np.zeros(65**2, np.float32)
    found, _ = augment(image, np.zeros((65, 65), np.uint8), change, nothing)
    inner = np.s_[12:-12, 12:-12]
    half_hu = 0.5 * 2 / (INPUT_HIGH_HU - INPUT_LOW_HU)
    assert np.allclose(found[inner], scale(expected)[inner], atol=half_hu)


@pytest.mark.parametrize(
    ("n", "batch", "options", "message"),
    [
        (3, 4, {}, "3 slices are fewer"),
        (12, 4, {"slices_per_epoch": 3}, "3 slices are fewer"),
        (12, 2, {"augment": False, "half_resolution": True}, "need augmentation"),
    ],
)
def test_refuses_epochs_that_cannot_be(hu, labels, n, batch, options, message):
    with pytest.raises(HeadrestError, match=message):
        Batches(hu, labels, np.arange(n), batch, SIDE, **options)
