"""What a network is fed."""

import numpy as np
import pytest

from headrest import HeadrestError
from headrest.batches import HIGH, LOW, NOISE, OFFSET, UNJUDGED, Batches, augment, scale, split
from headrest.hounsfield import DEVICE

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
            air = slices[i] <= DEVICE
            assert (label[air] == UNJUDGED).all()
            assert np.array_equal(label[~air], labels[i][~air])
            seen.append(i)
    assert sorted(seen) == list(range(N))


def test_the_same_seed_gives_the_same_epoch(slices, labels):
    batches = Batches(slices, labels, np.arange(N), 5, SIDE)
    one, two, other = (list(batches.epoch(seed)) for seed in (1, 1, 2))
    assert len(one) == len(batches) == 2
    assert all(np.array_equal(a, b) for p, q in zip(one, two) for a, b in zip(p, q))
    assert not np.array_equal(one[0][0], other[0][0])


def test_labels_move_with_their_slice():
    hu = np.full((64, 64), -1000, np.int16)
    hu[40:50, 10:30] = 300
    label = (hu > 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * hu.size, np.float32)
    places = set()
    for _ in range(50):
        image, moved = augment(hu, label, rng, noise)
        bright = image > scale(np.array(300 - 4 * OFFSET - 6 * NOISE))
        assert np.array_equal(bright, moved == 1)
        places.add(tuple(np.argwhere(moved == 1).mean(0)))
    assert len(places) > 25


def test_labels_are_cropped_to_what_the_network_gives(slices, labels):
    _, y = next(Batches(slices, labels, np.arange(N), 2, 20, augment=False).epoch(0))
    assert y.shape == (2, 20, 20)


def test_fewer_slices_than_a_batch_are_refused(slices, labels):
    with pytest.raises(HeadrestError, match="fewer"):
        Batches(slices, labels, np.arange(3), 4, SIDE)


def test_values_beyond_the_window_are_clipped():
    assert list(scale(np.array([LOW - 1000, LOW, HIGH, HIGH + 2000]))) == [-1, -1, 1, 1]
