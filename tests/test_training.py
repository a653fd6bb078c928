import numpy as np
import pytest

from headrest import HeadrestError
from headrest.train.dataset import read_training_set, write_training_set
from headrest.util.arrays import fit_to_matrix


def study(name, slices, size=40, seed=0):
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3000, (slices, size, size)).astype(np.float32)
    return name, hu, hu > 2000, ["free", "touching", "absent"][:slices]


def test_what_is_written_is_read(tmp_path):
    studies = [study("a", 3), study("b", 2, seed=1)]
    write_training_set(tmp_path / "set", iter(studies), matrix=40)
    stored = read_training_set(tmp_path / "set")
    assert stored.slices.dtype == np.int16
    assert stored.labels.dtype == np.uint8
    assert isinstance(stored.slices, np.memmap)
    assert np.array_equal(stored.slices, np.concatenate([s[1] for s in studies]))
    assert np.array_equal(stored.labels, np.concatenate([s[2] for s in studies]))
    assert list(stored.patient) == ["a"] * 3 + ["b"] * 2
    assert list(stored.slice) == [0, 1, 2, 0, 1]
    assert list(stored.state[:3]) == ["free", "touching", "absent"]


@pytest.mark.parametrize("matrix", [32, 41, 64])
def test_other_matrices_are_padded_or_cropped_about_the_centre(tmp_path, matrix):
    name, hu, labels, states = study("a", 1)
    write_training_set(tmp_path / "set", [(name, hu, labels, states)], matrix=matrix)
    stored = read_training_set(tmp_path / "set")
    assert stored.slices.shape == (1, matrix, matrix)
    back = fit_to_matrix(stored.slices, 40, 0)
    edge = max(0, (40 - matrix) // 2)
    inner = slice(edge, 40 - edge)
    assert np.array_equal(back[:, inner, inner], hu[:, inner, inner])


def test_contradictions_are_refused_and_leave_nothing(tmp_path):
    name, hu, labels, states = study("a", 2)
    for bad in (
        (name, hu, labels[:1], states),
        (name, hu, labels, states[:1]),
        (name, np.full_like(hu, np.nan), labels, states),
    ):
        with pytest.raises(HeadrestError, match="a:"):
            write_training_set(tmp_path / "set", [bad], matrix=40)
        assert not list(tmp_path.iterdir())
    with pytest.raises(HeadrestError, match="no slices"):
        write_training_set(tmp_path / "set", [], matrix=40)


def test_an_existing_folder_is_kept(tmp_path):
    write_training_set(tmp_path / "set", [study("a", 1)], matrix=40)
    with pytest.raises(HeadrestError, match="exists"):
        write_training_set(tmp_path / "set", [study("b", 1)], matrix=40)


def test_a_damaged_set_is_refused(tmp_path):
    write_training_set(tmp_path / "set", [study("a", 2)], matrix=40)
    (tmp_path / "set" / "index.csv").write_text("patient,slice,state\na,0,free\n")
    with pytest.raises(HeadrestError, match="differ"):
        read_training_set(tmp_path / "set")
    (tmp_path / "set" / "slices.npy").write_bytes(b"")
    with pytest.raises(HeadrestError, match="no training set"):
        read_training_set(tmp_path / "set")


def test_a_truth_lies_beside_the_labels(tmp_path):
    name, hu, labels, states = study("a", 3)
    truth, contact = hu > 2500, [True, False, False]
    truth[2] = False
    write_training_set(tmp_path / "set", [(name, hu, labels, states, truth, contact)], matrix=40)
    stored = read_training_set(tmp_path / "set")
    assert np.array_equal(stored.target("truth"), truth)
    assert np.array_equal(stored.target("kmeans"), labels)
    assert list(stored.contact) == contact
    assert list(stored.group([2, 1, 0])) == ["absent", "free", "touching"]
    assert list(stored.state) == states


def test_without_a_truth_the_labels_maker_is_believed(tmp_path):
    write_training_set(tmp_path / "set", [study("a", 3)], matrix=40)
    stored = read_training_set(tmp_path / "set")
    assert list(stored.group([0, 1, 2])) == ["free", "touching", "absent"]
    with pytest.raises(HeadrestError, match="kmeans"):
        stored.target("truth")


def test_a_truth_belongs_to_all_or_none(tmp_path):
    name, hu, labels, states = study("a", 2)
    whole = (name, hu, labels, states, labels, [True, False])
    for bad, text in (
        ([whole, study("b", 2)], "unlike"),
        ([(name, hu, labels, states, labels)], "together"),
        ([(*whole[:4], labels[:1], [True, False])], "arrays"),
    ):
        with pytest.raises(HeadrestError, match=text):
            write_training_set(tmp_path / "set", bad, matrix=40)
        assert not list(tmp_path.iterdir())
