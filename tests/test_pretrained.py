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


def test_weights_are_made_from_seeds_and_go_on_where_they_stopped(tmp_path):
    from dataclasses import replace

    from headrest.train.release import SHIPPED, make_weights

    settings = replace(SHIPPED, preset="small", epochs=2, examples=7, halved=1, batch=2)
    card = make_weights(tmp_path, patients=12, jobs=2, settings=settings)
    assert card["data"] == {
        "patients": 12,
        "pressed": 2,
        "limbs": 0,
        "first_seed": 10_000,
        "real": 0,
    }
    told = {key: card["training"][key] for key in ("held_out", "learned", "steps")}
    assert told == {"held_out": 1, "learned": 11, "steps": 6}
    again = make_weights(tmp_path, patients=12, jobs=2, settings=settings)
    assert again == card
    with pytest.raises(HeadrestError, match="too few"):
        make_weights(tmp_path / "few", patients=2, settings=settings)
    assert not (tmp_path / "few").exists()
    with pytest.raises(HeadrestError, match="other patients"):
        make_weights(tmp_path, patients=13, jobs=1, settings=settings)
    assert json.loads((tmp_path / "headrest.json").read_text()) == again


def test_patients_of_every_kind_come_in_turn_and_nobody_twice():
    from headrest.phantom import sample_parameters
    from headrest.train.release import EAR_MM, WIDE_MM, choose_patients

    patients = choose_patients(60, 500)
    assert [one.contact for one in patients[:5]] == [None] * 4 + ["pressed"]
    plain = [one.seed for one in patients if not (one.contact or one.with_limbs)]
    assert plain == list(range(500, 546))
    assert len({one.seed for one in patients}) == 60
    assert choose_patients(30, 500) == patients[:30]  # whoever comes later changes nobody before
    assert [n for n, one in enumerate(patients) if one.with_limbs] == [23, 48]
    for seed, _, with_limbs in (patients[23], patients[48]):
        drawn = sample_parameters(seed, with_limbs=with_limbs, matrix=512, slices=1)
        assert drawn["limbs"]
        assert drawn["protocol"]["pixel_mm"] * 512 >= WIDE_MM
    for seed, contact, _ in patients[4::5]:
        drawn = sample_parameters(seed, contact=contact, matrix=512, slices=1)
        assert EAR_MM[0] <= drawn["protocol"]["z_mm"][0] <= EAR_MM[1]
        assert drawn["kind"] in ("adult", "old", "child")


def test_limbs_are_in_view():
    from headrest.phantom import synthesize
    from headrest.train.release import choose_patients

    gained_mm2 = []
    for one in choose_patients(250, 10_000)[23::25]:
        shown, hidden = (
            synthesize(one.seed, with_limbs=asked, matrix=64, slices=1) for asked in (True, False)
        )
        more = shown.patient & ~hidden.patient
        gained_mm2.append(more.sum() * shown.spacing_mm[1] ** 2)
    assert len(gained_mm2) == 10
    assert sum(area > 300 for area in gained_mm2) >= 8
