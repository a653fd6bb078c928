"""A set that grows while it is learned from: nobody twice, nobody lost, and faults are told."""

import itertools
import json

import numpy as np
import pytest

from headrest import HeadrestError
from headrest.hounsfield import IGNORE_LABEL
from headrest.phantom import synthesize
from headrest.train import growing
from headrest.train.growing import GrowingSet, Patient

PATIENTS = [Patient(8400), Patient(8401, "touch"), Patient(8402, with_limbs=True)]
SIZE = 64


def in_this_one(work, tasks, jobs):
    """In place of `run_unordered`: quicker than to spawn some."""
    for task in tasks:
        yield task, work(task)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "run_unordered", in_this_one)
    return tmp_path / "set"


def test_everybody_is_drawn_as_the_phantom_draws_them(folder):
    patients = GrowingSet(folder, PATIENTS, SIZE)
    with patients.being_drawn(1):
        assert patients.wait(3) == 3
    data = patients.data()
    unsure = 0
    for i, (seed, contact, with_limbs) in enumerate(PATIENTS):
        study = synthesize(seed, matrix=SIZE, slices=1, contact=contact, with_limbs=with_limbs)
        share, support, patient = study.support_share[0], study.support[0], study.patient[0]
        assert np.array_equal(data.slices[i], np.maximum(study.hu[0], -1024))
        assert np.array_equal(data.truth[i] == 1, support)
        assert not (data.truth[i] == IGNORE_LABEL)[patient | (share == 0)].any()
        assert not (data.truth[i] == 0)[(share > 0) & (share < 127) & ~patient & ~support].any()
        assert data.contact[i] == study.contact[0]
        unsure += (data.truth[i] == IGNORE_LABEL).sum()
    assert unsure > 50
    assert list(data.patient) == ["synthetic-8400", "synthetic-8401", "synthetic-8402"]
    assert set(data.group(np.arange(3))) <= {"free", "touching", "absent"}


def test_labels_of_kmeans_are_not_there(folder):
    with pytest.raises(HeadrestError, match="choose from truth"):
        GrowingSet(folder, PATIENTS, SIZE).data().target("kmeans")


def test_who_is_there_is_not_drawn_again(folder, monkeypatch):
    def killed_over_the_last(work, tasks, jobs):
        yield from in_this_one(work, tasks[:-1], jobs)
        raise HeadrestError("no more")

    monkeypatch.setattr(growing, "run_unordered", killed_over_the_last)
    patients = GrowingSet(folder, PATIENTS, SIZE)
    with patients.being_drawn(1):
        assert patients.wait(2) == 2
        with pytest.raises(HeadrestError, match="cannot be drawn: no more"):
            patients.wait(3)
    kept = patients.data().slices[:2].copy()
    drawn = []
    monkeypatch.setattr(growing, "run_unordered", in_this_one)
    one = growing._draw_one
    monkeypatch.setattr(
        growing, "_draw_one", lambda task, **where: drawn.append(task[0]) or one(task, **where)
    )
    again = GrowingSet(folder, PATIENTS, SIZE)
    with again.being_drawn(1):
        again.wait(3)
    assert drawn == [2]
    assert np.array_equal(again.data().slices[:2], kept)


def test_other_patients_are_refused(folder):
    GrowingSet(folder, PATIENTS, SIZE)
    for patients, size in ((PATIENTS[:2], SIZE), (PATIENTS, 2 * SIZE)):
        with pytest.raises(HeadrestError, match="other patients"):
            GrowingSet(folder, patients, size)
    truth = (folder / "truth.npy").read_bytes()
    (folder / "truth.npy").write_bytes(truth[:200])
    with pytest.raises(HeadrestError, match="no set that grows"):
        GrowingSet(folder, PATIENTS, SIZE)
    (folder / "truth.npy").write_bytes(truth)
    held = json.loads((folder / "patients.json").read_text())
    (folder / "patients.json").write_text(json.dumps(held | {"headrest": "0.0"}))
    with pytest.raises(HeadrestError, match="other patients"):
        GrowingSet(folder, PATIENTS, SIZE)
    (folder / "patients.json").write_text("{")
    with pytest.raises(HeadrestError, match="no set that grows"):
        GrowingSet(folder, PATIENTS, SIZE)


def test_one_process_at_a_time(folder):
    with (
        GrowingSet(folder, PATIENTS, SIZE).being_drawn(1),
        pytest.raises(HeadrestError, match="another process"),
        GrowingSet(folder, PATIENTS, SIZE).being_drawn(1),
    ):
        pass


def test_a_patient_over_whom_processes_die_is_told(folder, monkeypatch):
    monkeypatch.setattr(
        growing, "run_unordered", lambda work, tasks, jobs: ((task, None) for task in tasks)
    )
    patients = GrowingSet(folder, PATIENTS, SIZE)
    with patients.being_drawn(1), pytest.raises(HeadrestError, match="patient 8400"):
        patients.wait(1)


def test_nobody_waits_for_ever(folder):
    patients = GrowingSet(folder, PATIENTS, SIZE)
    with pytest.raises(HeadrestError, match="nobody does"):
        patients.wait(1)
    patients.drawn = np.zeros(4, np.uint8)  # one more than there are patients
    with patients.being_drawn(1), pytest.raises(HeadrestError, match="cannot be drawn"):
        patients.wait(4)


def test_drawing_ends_with_its_block(folder, monkeypatch):
    def endless(work, tasks, jobs):
        yield from (
            (task, work(task)) for task in itertools.chain(tasks, itertools.repeat(tasks[0]))
        )

    monkeypatch.setattr(growing, "run_unordered", endless)
    patients = GrowingSet(folder, PATIENTS, SIZE)
    with patients.being_drawn(1):
        patients.wait(3)
    assert not patients.thread.is_alive()
