"""The weights that ship: what is read, and what is refused."""

import json
import zipfile

import numpy as np
import pytest

from headrest import HeadrestError
from headrest.segment.weights import PLACE, weights_card
from headrest.util.files import sha256

shipped = pytest.importorskip("headrest.segment.pretrained", reason="needs Keras and a backend")
network = pytest.importorskip("headrest.segment.unet")


@pytest.fixture
def made(tmp_path):
    """A small network, its folder and what it wants."""
    model = network.build_unet("small", seed=5)
    shipped.write_weights(tmp_path, model, {"seed": 5})
    card = json.loads((tmp_path / "headrest.json").read_text())
    wanted = {v.path: tuple(v.shape) for v in model.weights}
    return model, tmp_path / "headrest.npz", wanted, card


def test_what_is_written_is_read(made):
    model, path, wanted, card = made
    assert card["seed"] == 5
    assert card["parameters"] == model.count_params()
    read = shipped.read_weights(path, wanted, card["sha256"])
    for name, value in network.get_weights(model).items():
        assert read[name] == pytest.approx(value, rel=1e-3, abs=1e-4)


def test_a_changed_byte_is_refused(made):
    _, path, wanted, card = made
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(HeadrestError, match="SHA-256"):
        shipped.read_weights(path, wanted, card["sha256"])


def spoil(path, name, value):
    arrays = dict(np.load(path))
    arrays[name] = value
    np.savez_compressed(path, **arrays)
    return sha256(path)


KERNEL = "down0_0/kernel"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (KERNEL, np.zeros((2, 2), np.float16), "another network"),
        (KERNEL, np.zeros((4000, 4000), np.float16), "larger"),
        (KERNEL, np.array([{}], object), "damaged"),
        (KERNEL, np.zeros((6, 6, 1, 8), np.int16), "another network"),
        ("more", np.zeros(2, np.float16), "another network"),
    ],
)
def test_other_arrays_are_refused(made, name, value, words):
    _, path, wanted, _ = made
    digest = spoil(path, name, value)
    with pytest.raises(HeadrestError, match=words):
        shipped.read_weights(path, wanted, digest)


def test_weights_that_are_no_numbers_are_refused(made):
    _, path, wanted, _ = made
    digest = spoil(path, KERNEL, np.full(wanted[KERNEL], np.nan, np.float16))
    with pytest.raises(HeadrestError, match="finite"):
        shipped.read_weights(path, wanted, digest)


def test_a_cut_file_is_refused(made):
    _, path, wanted, _ = made
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(HeadrestError, match="damaged"):
        shipped.read_weights(path, wanted, sha256(path))
    assert not zipfile.is_zipfile(path)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"sha256": "0"}'])
def test_a_damaged_card_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "headrest.json").write_text(text)
    with pytest.raises(HeadrestError, match=r"headrest\.json"):
        weights_card(tmp_path)


def test_weights_too_large_for_their_type_are_refused(tmp_path):
    model = network.build_unet("small")
    model.weights[0].assign(np.full(model.weights[0].shape, 1e6))
    with pytest.raises(HeadrestError, match="finite"), np.errstate(over="ignore"):
        shipped.write_weights(tmp_path, model, {})
    assert not list(tmp_path.iterdir())


def test_the_pretrained_network():
    card = weights_card()
    trained = network.build_unet(card["architecture"]["preset"])
    assert trained.count_params() == card["parameters"]
    assert shipped.load_pretrained() is shipped.load_pretrained()
    files = list(PLACE.glob("headrest.*"))
    assert sum(path.stat().st_size for path in files) <= 10e6
