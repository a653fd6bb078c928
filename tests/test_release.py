"""make-weights: a training set of synthetic patients, a network and its model card, from seeds."""

import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import refused

from headrest.hounsfield import IGNORE_LABEL
from headrest.phantom import sample_parameters, synthesize
from headrest.train import synthetic
from headrest.train.dataset import read_training_set
from headrest.train.synthetic import SyntheticPatient, synthetic_studies, write_synthetic_set

pytest.importorskip("headrest.util.backend", reason="needs Keras and a backend")
PATIENTS = [SyntheticPatient(*one) for one in ((8400,), (8401, "touch"), (8402, None, True))]
MATRIX = 64


def run_here(work, tasks, jobs):
    """Replaces `run_unordered`: faster than starting processes."""
    return ((task, work(task)) for task in tasks)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "run_unordered", run_here)
    return tmp_path / "folder"


@pytest.mark.slow
def test_an_interrupted_set_holds_the_slices_of_the_phantom_each_rendered_once(folder, monkeypatch):
    def die_at_the_last(work, tasks, jobs):
        return [*run_here(work, tasks[:-1], jobs), (tasks[-1], None)]

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "run_unordered", die_at_the_last)
        refused("synthetic-8402: two processes", write_synthetic_set, folder, PATIENTS, 1, MATRIX)
    assert {p.name for p in folder.iterdir()} == {".lock", "patients.json", "patients"}
    render = Mock(side_effect=synthesize)
    monkeypatch.setattr(synthetic, "synthesize", render)
    for _ in range(2):
        data = read_training_set(write_synthetic_set(folder, PATIENTS, 1, MATRIX))
        assert [call.kwargs["seed"] for call in render.call_args_list] == [8402]
    assert {p.name for p in folder.iterdir()} == {".lock", "patients.json", "set"}
    truth = data.labels["truth"]
    for i, one in enumerate(PATIENTS):
        study = synthesize(**one._asdict(), matrix=MATRIX, slices=1)
        assert np.array_equal(data.hu[i], np.maximum(study.hu[0], -1024))
        assert np.array_equal(truth[i], study.labels[0])
        touching = "touching" if study.contact[0] else "free"
        assert data.states["truth"][i] == (touching if study.support.any() else "absent")
    assert (truth == IGNORE_LABEL).sum() > 50
    assert list(data.patient) == ["synthetic-8400", "synthetic-8401", "synthetic-8402"]
    refused("choose from truth", data.target, "kmeans")


def test_refuses_other_patients_and_damaged_lists(folder):
    write_synthetic_set(folder, PATIENTS[:1], 1, MATRIX)
    path = folder / "patients.json"
    old = json.dumps(json.loads(path.read_text()) | {"headrest": "0.0"})
    refused("other patients", write_synthetic_set, folder, PATIENTS, 1, MATRIX)
    refused("other patients", write_synthetic_set, folder, PATIENTS[:1], 1, 2 * MATRIX)
    for text, words in ((old, "other patients"), ("{", "damaged")):
        path.write_text(text)
        refused(words, write_synthetic_set, folder, PATIENTS[:1], 1, MATRIX)


@pytest.mark.slow
def test_make_weights_gives_the_same_card_when_called_again(tmp_path):
    """Of one epoch, another follows."""
    small = {"preset": "small", "epochs": 1, "slices_per_epoch": 7, "batch_size": 2}
    settings = replace(synthetic.RELEASE_SETTINGS, **small, half_resolution_epochs=0)
    card = synthetic.make_weights(tmp_path, patients=12, jobs=2, settings=settings)
    kinds = {"plain": 5, "tips": 3, "hair": 1, "pressed": 2, "plastic": 1}
    assert card["data"] == {"patients": 12, "kinds": kinds, "first_seed": 10_000, "real": 0}
    assert card["training"].items() >= {"held_out": 1, "trained": 11, "steps": 6}.items()
    again = synthetic.make_weights(tmp_path, patients=12, jobs=2, settings=settings)
    assert again == card
    refused("too few", synthetic.make_weights, tmp_path / "few", patients=2, settings=settings)
    assert not (tmp_path / "few").exists()
    assert json.loads((tmp_path / "headrest.json").read_text()) == again


def test_chooses_patients_of_every_kind_in_turn_with_both_labels():
    patients = synthetic.choose_patients(60, 500)
    assert [one.contact for one in patients[:5]] == [None] * 4 + ["pressed"]
    plain = [one.seed for one in patients if one.seed < 100_000]
    assert plain == list(range(500, 500 + len(plain)))
    assert len({one.seed for one in patients}) == 60
    assert synthetic.choose_patients(30, 500) == patients[:30]
    assert [n for n, one in enumerate(patients) if one.with_limbs] == [23, 48]
    low, high = synthetic.EARS_Z_MM
    for one in patients:
        sampled = sample_parameters(**one._asdict(), matrix=512, slices=1)
        assert not 400_000 < one.seed < 500_000 or sampled["kind"] in ("plastic", "water")
        assert one.seed < 500_000 or "pressed_hair" in sampled["effects"]
        assert not 300_000 < one.seed < 400_000 or "shoulder_tips" in sampled["effects"]
        place, wide = sampled["protocol"], synthetic.WIDE_FIELD_MM
        assert not one.with_limbs or (sampled["limbs"] and place["pixel_mm"] * 512 >= wide)
        assert not one.contact or low <= place["z_mm"][0] <= high
        assert not one.contact or sampled["kind"] in ("adult", "old", "child")
    (study,) = synthetic_studies(1, seed=8400, matrix=MATRIX, slices=2)
    truth = synthesize(8400, matrix=MATRIX, slices=2).labels
    assert np.array_equal(study.labels["truth"], truth)
