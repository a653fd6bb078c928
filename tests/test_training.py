"""Training sets on disk."""

import numpy as np
import pytest

from headrest import HeadrestError
from headrest.hounsfield import IGNORE_LABEL, NOT_SUPPORT, fit_to_matrix
from headrest.train.dataset import (
    LabelledStudy,
    read_training_set,
    slice_states,
    write_training_set,
)

STATES = ["free", "touching", "absent"]


def study(patient, slices, size=40, seed=0, **changes):
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3000, (slices, size, size)).astype(np.float32)
    parts = {"hu": hu, "labels": {"kmeans": hu > 2000}, "states": {"kmeans": STATES[:slices]}}
    return LabelledStudy(patient, **(parts | changes))


def test_reads_what_was_written(tmp_path):
    studies = [study("a", 3), study("b", 2, seed=1)]
    write_training_set(tmp_path / "set", iter(studies), matrix=40)
    stored = read_training_set(tmp_path / "set")
    assert (stored.hu.dtype, stored.labels["kmeans"].dtype) == (np.int16, np.uint8)
    assert isinstance(stored.hu, np.memmap)
    assert np.array_equal(stored.hu, np.concatenate([s.hu for s in studies]))
    masks = np.concatenate([s.labels["kmeans"] for s in studies])
    assert np.array_equal(stored.target("kmeans"), np.where(masks, 1, NOT_SUPPORT))
    assert list(stored.patient) == ["a"] * 3 + ["b"] * 2
    assert list(stored.slice) == [0, 1, 2, 0, 1]
    assert list(stored.states["kmeans"][:3]) == STATES
    some = stored.take(np.array([4, 0]))
    assert np.array_equal(some.hu, stored.hu[[4, 0]])
    assert list(some.patient) == ["b", "a"]
    assert list(some.states["kmeans"]) == ["touching", "free"]


@pytest.mark.parametrize("matrix", [32, 41, 64])
def test_pads_or_crops_around_the_centre(tmp_path, matrix):
    one = study("a", 1)
    write_training_set(tmp_path / "set", [one], matrix=matrix)
    stored = read_training_set(tmp_path / "set")
    assert stored.hu.shape == (1, matrix, matrix)
    back = fit_to_matrix(stored.hu, 40, 0)
    edge = max(0, (40 - matrix) // 2)
    inner = slice(edge, 40 - edge)
    assert np.array_equal(back[:, inner, inner], one.hu[:, inner, inner])


def test_stores_labels_of_any_name_and_unknown_pixels(tmp_path):
    one = study("a", 3)
    manual = np.zeros(one.hu.shape, np.uint8)
    manual[0, 5], manual[1:, 6] = 1, IGNORE_LABEL
    both = study("a", 3, labels={"manual": manual} | one.labels)
    write_training_set(tmp_path / "set", [both], matrix=40)
    stored = read_training_set(tmp_path / "set")
    assert np.array_equal(stored.target("manual"), manual)
    assert list(stored.states["manual"]) == ["unknown", "absent", "absent"]
    assert list(stored.states["kmeans"]) == STATES
    with pytest.raises(HeadrestError, match="choose from kmeans, manual"):
        stored.target("truth")
    assert slice_states(manual[:2], [True, False]) == ["touching", "absent"]


def test_refuses_contradictions_and_leaves_no_folder(tmp_path):
    one = study("a", 2)
    labels = one.labels["kmeans"]
    for bad, words in (
        ([study("a", 2, labels={"kmeans": labels[:1]})], "a: .*differ in shape"),
        ([study("a", 2, states={"kmeans": ["free"]})], "a: .*differ in shape"),
        ([study("a", 2, hu=np.full_like(one.hu, np.nan))], "a: .*finite"),
        ([study("a", 2, labels={}, states={})], "a: no labels"),
        ([study("a", 2, labels={"../x": labels}, states={})], "letters, digits"),
        ([study("a", 2, labels={"x": 4 * labels}, states={})], "labels other than"),
        ([one, study("b", 2, labels={"truth": labels}, states={})], "b: other labels"),
        ([], "no slices"),
    ):
        with pytest.raises(HeadrestError, match=words):
            write_training_set(tmp_path / "set", bad, matrix=40)
        assert not list(tmp_path.iterdir())


def test_refuses_an_existing_a_damaged_or_an_older_set(tmp_path):
    folder = tmp_path / "set"
    write_training_set(folder, [study("a", 2)], matrix=40)
    with pytest.raises(HeadrestError, match="exists"):
        write_training_set(folder, [study("b", 1)], matrix=40)
    for name, content, words in (
        ("index.csv", b"patient,slice,state_kmeans\na,0,free\n", "differ"),
        ("index.csv", b"patient,slice,state\na,0,free\n", "no training set"),
        ("hu.npy", b"", "no training set"),
        ("slices.npy", b"", r"headrest 0\.5 or older; write it again"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(HeadrestError, match=words):
            read_training_set(folder)
