"""Training: what is learned, and that it goes on as if it had never been stopped."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from one_run import SETTINGS, easy_set

from headrest import HeadrestError
from headrest.__main__ import main
from headrest.hounsfield import IGNORE_LABEL
from headrest.show.figures import training_curves
from headrest.train.checkpoints import FILES, Checkpoint, load_checkpoint, save_checkpoint
from headrest.train.dataset import write_training_set
from headrest.train.frames import choose_slices, keep_slices, read_frames
from headrest.util.arrays import read_arrays
from headrest.util.files import lock_folder

pytest.importorskip("keras")
from headrest.evaluate.counts import evaluate_slices, slice_probability
from headrest.segment.unet import build_unet
from headrest.train.batches import Batches
from headrest.train.loop import held_out, load_network, train

EPOCHS = 6
ONE_RUN = Path(__file__).with_name("one_run.py")
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ONE_RUN.parents[1])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stopped, and its history."""
    run = tmp_path_factory.mktemp("whole")
    return run, train(easy_set(), run, epochs=EPOCHS, **SETTINGS)


def same(run, other):
    one, two = (load_checkpoint(r / "checkpoints") for r in (run, other))
    assert one.history == two.history
    for arrays, others in ((one.weights, two.weights), (one.optimizer, two.optimizer)):
        assert list(arrays) == list(others)
        assert all(np.array_equal(arrays[k], others[k]) for k in arrays)


@pytest.mark.slow
def test_learns_what_it_never_saw(tmp_path):
    data = easy_set()
    told = []
    settings = SETTINGS | {"rate": 0.01, "halved": 0}
    history = train(data, tmp_path, epochs=25, tell=lambda rows: told.append(len(rows)), **settings)
    assert told == list(range(1, 26))
    assert [row["epoch"] for row in history] == list(range(1, 26))
    assert history[-1]["dice"] > 0.9
    assert history[-1]["accuracy"] > history[-1]["all_background"]
    assert history[-1]["all_background"] == pytest.approx(1 - data.truth.mean())
    out = held_out(data, held_out=0.34)
    judged = evaluate_slices(load_network(tmp_path), data, out)
    assert judged.scores() == {k: history[-1][k] for k in judged.scores()}
    assert judged.scores("touching")["dice"] == history[-1]["dice_touching"]
    assert judged.scores("absent")["dice"] is None
    assert judged.dice().min() > 0.8


def test_what_is_undecided_is_not_judged():
    data = easy_set()
    unsure = np.zeros(data.truth.shape, bool)
    unsure[:, ::2, 5:20] = True  # of what is headrest, of what is not, and of what is found
    tried = dataclasses.replace(data, truth=np.where(unsure, IGNORE_LABEL, data.truth))
    model, indices = build_unet("small"), np.arange(5)
    judged = evaluate_slices(model, tried, indices)
    found = slice_probability(model, data.slices[indices]) >= 0.5
    assert (found & unsure[indices]).any()
    assert (data.truth[indices][unsure[indices]] == 1).any()
    kept = ~unsure[indices]
    true = (data.truth[indices] == 1) & kept
    assert judged.true.tolist() == true.sum((1, 2)).tolist()
    assert judged.found.tolist() == (found & kept).sum((1, 2)).tolist()
    assert judged.pixels.tolist() == kept.sum((1, 2)).tolist()


def test_slices_with_nothing_but_undecided_pixels_show_no_headrest(tmp_path):
    data = easy_set()
    unsure = dataclasses.replace(data, truth=np.where(data.truth == 1, IGNORE_LABEL, 0))
    assert set(unsure.group(np.arange(5))) == {"absent"}
    assert list(choose_slices([0, 1], np.stack([unsure.truth[0], data.truth[1]]), 1)) == [1]
    keep_slices(tmp_path, data.slices[:1], unsure.truth[:1])
    assert not read_arrays(tmp_path / "frames" / "slices.npz")["labels"].any()
    with pytest.raises(HeadrestError, match="without a single pixel"):
        train(unsure, tmp_path / "run", **SETTINGS)


@pytest.mark.slow
def test_learns_from_a_set_that_grows(tmp_path, monkeypatch):
    """Each epoch is shown what is known by then of the slices that it may learn from."""
    data, shown = easy_set(), []
    names = sorted({str(data.patient[i]) for i in held_out(data, held_out=0.34)})
    training = np.setdiff1d(np.arange(len(data)), held_out(data, held_out=names))
    epoch = Batches.epoch
    monkeypatch.setattr(Batches, "epoch", lambda b, *a: shown.append(a[1]) or epoch(b, *a))
    settings = SETTINGS | {"held_out": names, "examples": 8}

    def half_at_first(number):
        return len(data) // (3 - number)

    train(data, tmp_path / "whole", epochs=2, known=half_at_first, **settings)
    assert shown == [(training < len(data) // 2).sum(), len(training)]

    def stopped(number):
        if number == 2:
            raise KeyboardInterrupt
        return half_at_first(number)

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped", epochs=2, known=stopped, **settings)
    train(data, tmp_path / "stopped", epochs=2, known=half_at_first, **settings)
    same(tmp_path / "whole", tmp_path / "stopped")
    with pytest.raises(HeadrestError, match="nobody to learn from"):
        train(data, tmp_path / "nobody", epochs=2, known=lambda number: 0, **settings)
    with pytest.raises(HeadrestError, match="nobody is held out"):
        held_out(data, held_out=["a stranger"])


def test_every_epoch_is_kept(whole):
    run, history = whole
    kept = read_frames(run)
    assert list(kept.epoch) == list(range(1, EPOCHS + 1))
    assert list(kept.dice) == [row["dice"] for row in history]
    last = slice_probability(load_network(run), kept.hu[:1])[0]
    assert np.allclose(kept.probability(EPOCHS - 1)[0], last, atol=1 / 255)
    assert len(list((run / "checkpoints").iterdir())) == 2
    state = json.loads(next((run / "checkpoints").glob("*6/state.json")).read_text())
    assert state["epoch"] == EPOCHS
    assert state["best"]["loss"] == min(row["loss"] for row in history)


def test_curves_show_every_epoch(whole):
    figure = training_curves(whole[1])
    assert [len(line.get_xdata()) for axis in figure.axes for line in axis.lines] == [EPOCHS] * 3


def test_a_finished_run_is_left_alone(whole):
    run, history = whole
    before = {p: p.stat().st_mtime_ns for p in (run / "checkpoints").rglob("*")}
    assert train(easy_set(), run, epochs=EPOCHS, **SETTINGS) == history
    assert before == {p: p.stat().st_mtime_ns for p in (run / "checkpoints").rglob("*")}


@pytest.mark.slow
def test_killed_runs_end_with_the_same_weights(whole, tmp_path):
    command = [sys.executable, str(ONE_RUN), str(tmp_path), str(EPOCHS)]
    rng, kills = random.Random(0), 0
    for n in range(1, EPOCHS):
        child = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        while not (tmp_path / "frames" / f"epoch_{n:04d}.npz").exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        if kills == 2:
            break
    assert kills == 2
    subprocess.run(command, env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)
    same(whole[0], tmp_path)
    assert not list(tmp_path.rglob(".*.partial*"))


def damage(place, rng):
    """Cut, empty, remove or change a file of a checkpoint."""
    path = place / rng.choice([*FILES, "manifest.json"])
    content = bytearray(path.read_bytes())
    kind = rng.choice(["cut", "empty", "remove", "flip"])
    if kind == "remove":
        path.unlink()
    elif kind == "flip":
        at = rng.randrange(len(content))
        content[at] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(content[: rng.randrange(len(content)) if kind == "cut" else 0])


@pytest.mark.slow
def test_damaged_checkpoints_are_passed_over(whole, tmp_path):
    rng = random.Random(0)
    previous, newest = sorted((whole[0] / "checkpoints").iterdir())
    for n in range(200):
        folder = tmp_path / str(n)
        shutil.copytree(whole[0] / "checkpoints", folder)
        damage(folder / newest.name, rng)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            read = load_checkpoint(folder)
        assert read.epoch == EPOCHS - 1
        assert told
        shutil.rmtree(folder / newest.name)
        damage(folder / previous.name, rng)
        with pytest.raises(HeadrestError, match="damaged"), pytest.warns(match="passed"):
            load_checkpoint(folder)
        shutil.rmtree(folder)


@pytest.mark.slow
def test_goes_on_from_the_one_before(whole, tmp_path):
    run = shutil.copytree(whole[0], tmp_path / "run")
    newest = max((run / "checkpoints").iterdir())
    (newest / "weights.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match="passed over"):
        train(easy_set(), run, epochs=EPOCHS, **SETTINGS)
    same(whole[0], run)


def test_another_run_in_the_same_folder_is_refused(whole):
    data = easy_set()
    for changes, text in (
        ({"resume": False}, "holds a run"),
        ({"epochs": 7}, "epochs was 6, not 7"),
        ({"epochs": EPOCHS, "seed": 1}, "seed"),
        ({"epochs": EPOCHS, "preset": "larger"}, "standard"),
        ({"epochs": EPOCHS, "loss": "hinge"}, "cross-entropy"),
    ):
        with pytest.raises(HeadrestError, match=text):
            train(data, whole[0], **{**SETTINGS, **changes})
    with lock_folder(whole[0]), pytest.raises(HeadrestError, match="another process"):
        train(data, whole[0], epochs=EPOCHS, **SETTINGS)


def test_input_that_is_no_number_is_refused_before_training(tmp_path):
    data = easy_set()
    hu = data.slices.astype(np.float32)
    hu[3, 5, 5] = np.nan
    with pytest.raises(HeadrestError, match="slice 3"):
        train(dataclasses.replace(data, slices=hu), tmp_path, epochs=2, **SETTINGS)
    nothing = np.zeros_like(data.truth)
    with pytest.raises(HeadrestError, match="nothing can be learned"):
        train(dataclasses.replace(data, truth=nothing), tmp_path, epochs=2, **SETTINGS)
    with pytest.raises(HeadrestError, match="kmeans"):
        train(dataclasses.replace(data, truth=None), tmp_path, epochs=2, **SETTINGS)
    assert not (tmp_path / "checkpoints").exists()


def test_too_little_memory_is_told_with_what_to_do(tmp_path, monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr("keras.Model.train_on_batch", short)
    with pytest.raises(HeadrestError, match="smaller batch"):
        train(easy_set(), tmp_path, epochs=2, **SETTINGS)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    with pytest.raises(HeadrestError, match="lower rate"):
        train(easy_set(), tmp_path, epochs=3, **{**SETTINGS, "optimizer": "sgd", "rate": 1e30})
    assert not (tmp_path / "checkpoints").exists()
    assert not list((tmp_path / "frames").glob("epoch*"))
    bad = Checkpoint({"a": np.array([np.inf])}, {}, [{"epoch": 1, "loss": 1.0}], {})
    with pytest.raises(HeadrestError, match="finite"):
        save_checkpoint(tmp_path, bad)


@pytest.mark.parametrize("preset", ["small", "valid3"])
def test_the_recipe_of_2018(tmp_path, preset):
    """K-Means labels, cross entropy, momentum SGD; touching slices are not learned from."""
    data = dataclasses.replace(easy_set(size=68 if preset == "valid3" else 64), truth=None)
    choices = {"labels": "kmeans", "loss": "cross-entropy", "optimizer": "sgd", "augment": False}
    history = train(data, tmp_path, epochs=1, preset=preset, held_out=0.34, **choices)
    assert np.isfinite(history[0]["loss"])
    assert read_frames(tmp_path).probability(0).shape[1:] == data.slices.shape[1:]


@pytest.mark.parametrize("halved", [-1, 2, 3])
def test_the_last_epoch_sees_slices_as_they_are(halved, tmp_path):
    with pytest.raises(HeadrestError, match="as they are"):
        train(easy_set(), tmp_path, epochs=2, **SETTINGS | {"halved": halved})


@pytest.mark.slow
def test_a_run_from_before_slices_were_halved_goes_on(tmp_path):
    settings = SETTINGS | {"halved": 0}
    history = train(easy_set(), tmp_path / "run", epochs=2, **settings)
    kept = load_checkpoint(tmp_path / "run" / "checkpoints")
    del kept.settings["halved"]
    save_checkpoint(tmp_path / "old" / "checkpoints", kept)
    assert train(easy_set(), tmp_path / "old", epochs=2, **settings) == history
    with pytest.raises(HeadrestError, match="its halved was 0, not 1"):
        train(easy_set(), tmp_path / "old", epochs=2, **SETTINGS)


def test_a_training_that_is_stopped_is_told_how_to_go_on(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("headrest.__main__._train", stopped)
    assert main(["train", "DATA", "RUN"]) == 130
    assert "--resume goes on" in capsys.readouterr().err
    assert main(["train", "DATA", "RUN", "--resume"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_command(tmp_path, capsys):
    data, out = easy_set(), str(tmp_path / "run")
    parts = [(n, data.patient == n) for n in sorted(set(data.patient))]
    studies = [(n, data.slices[p], data.truth[p], data.state[p]) for n, p in parts]
    write_training_set(tmp_path / "set", studies, matrix=64)
    command = ["train", str(tmp_path / "set"), out, "--preset", "small", "--epochs", "1"]
    assert main(command) == 1
    assert "kmeans" in capsys.readouterr().err
    command += ["--labels", "kmeans"]
    assert main(command) == 0
    assert "finding nothing" in capsys.readouterr().out
    assert main(command) == 1
    assert main([*command, "--resume"]) == 0
