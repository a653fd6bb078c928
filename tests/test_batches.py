"""What a network is fed."""

import threading

import numpy as np
import pytest
from scipy import ndimage

from headrest import HeadrestError
from headrest.hounsfield import FLOOR, IGNORE_LABEL, INPUT_HIGH_HU, INPUT_LOW_HU, SUPPORT_HU, scale
from headrest.train.augment import (
    DEGREES,
    NOISE,
    OFFSET,
    SHIFT,
    TURNED,
    ZOOM,
    augment,
    draw_change,
    store_of_noise,
    turned,
)
from headrest.train.batches import Batches, split

N, SIDE = 12, 32


@pytest.fixture(scope="module")
def slices():
    return np.random.default_rng(0).integers(-1024, 600, (N, SIDE, SIDE)).astype(np.int16)


@pytest.fixture(scope="module")
def labels(slices):
    return (slices > 0).astype(np.uint8)


def test_no_patient_on_both_sides():
    patients = np.repeat([f"p{i}" for i in range(10)], 7)
    for seed in range(20):
        training, out = split(patients, 0.2, seed)
        assert len(set(patients[out])) == 2
        assert not set(patients[out]) & set(patients[training])
        assert sorted([*training, *out]) == list(range(70))
    assert list(split(patients, 0.2, 3)[1]) == list(split(patients, 0.2, 3)[1])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_both_sides_have_a_patient(share):
    assert all(len(side) for side in split(np.array(["a", "a", "b"]), share))
    with pytest.raises(HeadrestError, match="two patients"):
        split(np.array(["a", "a"]), share)


def test_an_epoch_shows_every_slice_once(slices, labels):
    seen = []
    for x, y in Batches(slices, labels, np.arange(N), 4, SIDE, augment=False).epoch(0):
        assert x.shape == (4, SIDE, SIDE, 1)
        assert x.dtype == np.float32
        assert (y.shape, y.dtype) == ((4, SIDE, SIDE), np.uint8)
        for image, label in zip(x[..., 0], y):
            i = next(i for i in range(N) if np.array_equal(image, scale(slices[i])))
            air = slices[i] <= SUPPORT_HU
            assert (label[air] == IGNORE_LABEL).all()
            assert np.array_equal(label[~air], labels[i][~air])
            seen.append(i)
    assert sorted(seen) == list(range(N))


def test_the_same_seed_gives_the_same_epoch(slices, labels):
    batches = Batches(slices, labels, np.arange(N), 5, SIDE)
    one, two, other = (list(batches.epoch(seed)) for seed in (1, 1, 2))
    assert len(one) == len(batches) == 2
    assert all(np.array_equal(a, b) for p, q in zip(one, two) for a, b in zip(p, q))
    assert not np.array_equal(one[0][0], other[0][0])


def test_an_epoch_may_be_longer_or_shorter_than_the_set(slices, labels):
    for examples in (5, 31):
        batches = Batches(slices, labels, np.arange(N), 2, SIDE, augment=False, examples=examples)
        seen = np.concatenate([x for x, _ in batches.epoch(0)])[..., 0]
        assert len(seen) == 2 * len(batches) == examples // 2 * 2
        times = [sum(np.array_equal(one, scale(hu)) for one in seen) for hu in slices]
        assert sum(times) == len(seen)
        assert max(times) - min(times) <= 1


def test_of_a_growing_set_only_what_is_known_is_shown(slices, labels):
    batches = Batches(slices, labels, np.arange(N), 4, SIDE, augment=False)
    seen = np.concatenate([x for x, _ in batches.epoch(0, known=3)])[..., 0]
    assert len(seen) == N
    assert all(any(np.array_equal(one, scale(hu)) for hu in slices[:3]) for one in seen)


def test_an_epoch_that_is_left_early_leaves_no_thread(slices, labels):
    before = threading.active_count()
    epoch = Batches(slices, labels, np.arange(N), 4, SIDE).epoch(0)
    next(epoch)
    epoch.close()
    assert threading.active_count() == before


def test_labels_move_with_their_slice():
    hu = np.full((64, 64), -1000, np.int16)
    hu[40:50, 10:30] = 300
    label = (hu > 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise, places, middle = store_of_noise(rng, 64), set(), scale(np.array(-350.0))
    for halved in [False] * 50 + [True] * 30:
        change = draw_change(rng, 64, halved)
        image, moved = augment(hu, label, change, noise)
        off = (image > middle) != (moved == 1)
        # Where a slice is turned, its edge lies between pixels: the label's is the nearest one.
        rim = ndimage.binary_dilation(moved == 1) & ~ndimage.binary_erosion(moved == 1)
        assert not (off & ~rim).any()
        assert change.turn or not off.any()
        assert image.shape == moved.shape == (change.size,) * 2
        assert (moved == IGNORE_LABEL).mean() > (0.8 if halved else 0.9)
        if not halved:  # a window need not see the whole body
            places.add(tuple(np.argwhere(moved == 1).mean(0)))
    assert len(places) > 25


def test_changes_stay_within_what_is_said_of_them():
    rng = np.random.default_rng(1)
    drawn = [draw_change(rng, 512) for _ in range(4000)]
    assert abs(np.array([c.by for c in drawn])).max() == SHIFT
    angles, zooms = np.array([c.turn for c in drawn if c.turn]).T
    assert DEGREES * 0.99 < abs(angles).max() <= DEGREES
    assert 1 / ZOOM <= zooms.min() < 1 < zooms.max() <= ZOOM
    assert len(angles) / len(drawn) == pytest.approx(TURNED, abs=0.03)
    assert np.std([c.offset for c in drawn]) == pytest.approx(OFFSET, rel=0.1)
    assert max(c.noise for c in drawn) <= NOISE
    for name, share in (("sideways", 1 / 12), ("upside_down", 0.2), ("mirrored", 0.5)):
        assert np.mean([getattr(c, name) for c in drawn]) == pytest.approx(share, abs=0.03)


def test_halved_slices_are_as_much_work_and_four_times_as_many(slices, labels):
    whole = Batches(slices, labels, np.arange(N), 2, 20)
    halved = Batches(slices, labels, np.arange(N), 2, 10, halved=True)
    assert len(halved) == len(whole)
    (x, y), (one, two) = next(whole.epoch(0)), next(halved.epoch(0))
    assert (x.shape, y.shape) == ((2, SIDE, SIDE, 1), (2, 20, 20))
    assert (one.shape, two.shape) == ((8, SIDE // 2, SIDE // 2, 1), (8, 10, 10))


def test_halved_slices_are_never_as_they_are(slices, labels):
    with pytest.raises(HeadrestError, match="augment, or halve none"):
        Batches(slices, labels, np.arange(N), 2, 10, augment=False, halved=True)


def test_a_halved_slice_is_the_whole_at_half_its_size_or_a_part_of_it():
    column = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    rng, sizes = np.random.default_rng(0), []
    for _ in range(300):
        change = draw_change(rng, 64, halved=True)
        assert change.size == 32
        degrees, zoom = change.turn
        seen = turned(column, 0.0, zoom, change.by, -1, change.size)[8:-8, 8:-8]
        assert abs(degrees) <= DEGREES
        assert (seen >= 0).all()  # a window leaves the slice by no more than a small shift
        assert np.diff(seen[8]).mean() == pytest.approx(1 / zoom, rel=0.01)
        sizes.append(zoom)
    assert 0.5 <= min(sizes) < 0.52
    assert 0.97 < max(sizes) <= 1


def test_turning_as_scipy_turns():
    rng = np.random.default_rng(2)
    image = ndimage.gaussian_filter(rng.normal(0, 300, (65, 65)), 2).astype(np.float32)
    degrees, zoom, by = 12.0, 1.2, (5, -3)
    cos, sin = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    back = np.array([[cos, -sin], [sin, cos]])  # rows and columns
    middle = np.array([32.0, 32.0])
    offset = middle - back @ (middle + by)
    expected = ndimage.affine_transform(image, back, offset, order=1, cval=FLOOR)
    found = turned(image, degrees, zoom, by, FLOOR)
    inner = np.s_[12:-12, 12:-12]
    assert np.allclose(found[inner], expected[inner], atol=0.5)


def test_labels_are_cropped_to_what_the_network_gives(slices, labels):
    _, y = next(Batches(slices, labels, np.arange(N), 2, 20, augment=False).epoch(0))
    assert y.shape == (2, 20, 20)


def test_fewer_slices_than_a_batch_are_refused(slices, labels):
    for n, examples in ((3, None), (12, 3)):
        with pytest.raises(HeadrestError, match="3 slices are fewer"):
            Batches(slices, labels, np.arange(n), 4, SIDE, examples=examples)


def test_values_beyond_the_window_are_clipped():
    assert list(
        scale(np.array([INPUT_LOW_HU - 1000, INPUT_LOW_HU, INPUT_HIGH_HU, INPUT_HIGH_HU + 2000]))
    ) == [-1, -1, 1, 1]
