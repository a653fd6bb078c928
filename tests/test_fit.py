"""Training runs: learning, resuming after a kill, damaged checkpoints, divergence."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import refused
from one_run import SETTINGS, easy_set

from headrest import HeadrestError
from headrest.__main__ import main
from headrest.hounsfield import IGNORE_LABEL
from headrest.show.figures import training_curves
from headrest.train import checkpoints
from headrest.train.dataset import LabelledStudy, slice_states, write_training_set
from headrest.util.files import lock_folder, read_arrays

pytest.importorskip("keras")
from headrest.evaluate.metrics import evaluate_labels, evaluate_slices, slice_probability
from headrest.segment.export import export_network
from headrest.segment.unet import build_unet, keras_probability
from headrest.train import loop

EPOCHS = 6
ONE_RUN = Path(__file__).with_name("one_run.py")
ENVIRONMENT = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ONE_RUN.parents[1])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without interruption, and its history."""
    run = tmp_path_factory.mktemp("whole")
    return run, loop.train(easy_set(), run, epochs=EPOCHS, **SETTINGS)


def same(run, other):
    one, two = (checkpoints.load_checkpoint(r / "checkpoints") for r in (run, other))
    np.testing.assert_equal(vars(one), vars(two))


@pytest.mark.slow
def test_generalizes_to_held_out_patients(tmp_path):
    data, seen = easy_set(), []
    truth = data.labels["truth"]
    settings = SETTINGS | {"learning_rate": 0.01, "half_resolution_epochs": 0, "epochs": 70}
    history = loop.train(data, tmp_path, on_epoch=lambda rows: seen.append(len(rows)), **settings)
    assert seen == [row["epoch"] for row in history] == list(range(1, 71))
    last, background = history[-1], 1 - (truth == 1).sum() / (truth != 255).sum()
    assert last["dice"] > 0.9
    assert last["accuracy"] > last["all_background"] == pytest.approx(background)
    out = loop.held_out(data, held_out=0.34)
    counts = evaluate_slices(loop.load_network(tmp_path), data, out)
    assert last.items() >= counts.scores().items()
    assert counts.scores("touching")["dice"] == last["dice_touching"]
    assert counts.dice().min() > 0.8


def test_unknown_pixels_are_neither_evaluated_nor_support(tmp_path):
    data, indices = easy_set(), np.arange(5)
    truth, model = data.labels["truth"][indices], build_unet("small", seed=5)
    found, known = slice_probability(model, data.hu[indices]) >= 0.5, truth != IGNORE_LABEL
    assert (found & ~known).any()
    counts, masks = evaluate_slices(model, data, indices), (truth == 1, found & known, known)
    for count, mask in zip((counts.true, counts.found, counts.pixels), masks):
        assert count.tolist() == mask.sum((1, 2)).tolist()
    labels = np.where(truth == 1, IGNORE_LABEL, 0)
    both = np.stack([labels[0], truth[1]])
    assert list(checkpoints.choose_slices([0, 1], both, truth, 1)) == [1]
    checkpoints.keep_slices(tmp_path, data.hu[:1], labels[:1])
    assert not read_arrays(tmp_path / "frames" / "slices.npz")["labels"].any()


def test_labels_are_evaluated_above_the_threshold_of_dense_support():
    data = easy_set()
    truth = data.labels["truth"]
    half = np.where(np.arange(truth.shape[2]) < truth.shape[2] // 2, truth, 0)
    tried = replace(data, labels={"truth": truth, "kmeans": half})
    counts = evaluate_labels(tried)
    assert counts.true.tolist() == (truth == 1).sum((1, 2)).tolist()
    assert counts.found.tolist() == counts.shared.tolist() == (half == 1).sum((1, 2)).tolist()
    foam = replace(tried, hu=np.where(half == 1, data.hu, -800))
    assert (evaluate_labels(foam).dice() == 1).all()
    assert counts.score_columns()["count"][0] == (counts.true > 0).sum()


def test_labels_of_a_person_have_any_name_and_no_contact(tmp_path, capsys):
    data, changes = easy_set(3, 2), {"half_resolution_epochs": 0, "epochs": 1, "held_out": ["p0"]}
    truth, others = data.labels["truth"], (data.patient != "p0")[:, None, None]
    own = replace(data, labels={"manual": truth}, states={"manual": np.array(slice_states(truth))})
    empty = replace(own, labels={"manual": truth * others})
    (row,) = loop.train(empty, tmp_path, **SETTINGS | changes | {"labels": "manual"})
    assert "no held-out slice has support" in capsys.readouterr().err
    lines = training_curves([row]).axes[1].lines
    assert [line.get_label() for line in lines] == ["all slices"]
    counts = evaluate_slices(loop.load_network(tmp_path), own, np.arange(2), "manual")
    found = [counts.scores(*state)["dice"] is None for state in ((), ("free",), ("touching",))]
    assert found == [False, True, True]


def test_stores_frames_and_checkpoints_and_changes_no_finished_run(whole):
    run, history = whole
    kept = checkpoints.read_frames(run)
    assert list(kept.epoch) == list(range(EPOCHS + 1))  # 0: the untrained network
    assert list(kept.dice[1:]) == [row["dice"] for row in history]
    assert np.isnan(kept.loss[0])
    last = slice_probability(loop.load_network(run), kept.hu[:1])[0]
    stored = read_arrays(kept.files[EPOCHS])["probability"][0] / 255
    assert np.allclose(stored, last, atol=1 / 255)
    assert len(list((run / "checkpoints").iterdir())) == 2
    figure = training_curves(history)
    assert [len(line.get_xdata()) for axis in figure.axes for line in axis.lines] == [EPOCHS] * 3
    before = {p: p.stat().st_mtime_ns for p in (run / "checkpoints").rglob("*")}
    assert loop.train(easy_set(), run, epochs=EPOCHS, **SETTINGS) == history
    assert before == {p: p.stat().st_mtime_ns for p in (run / "checkpoints").rglob("*")}


@pytest.mark.slow
def test_killed_runs_end_with_the_same_weights(whole, tmp_path):
    command = [sys.executable, str(ONE_RUN), str(tmp_path), str(EPOCHS)]
    rng = random.Random(0)
    for n in (1, 3):
        child = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        while not (tmp_path / "frames" / f"epoch_{n:04d}.npz").exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
        assert child.wait() == -signal.SIGKILL
    subprocess.run(command, env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)
    same(whole[0], tmp_path)
    assert not list(tmp_path.rglob(".*.partial*"))


def damage(checkpoint, rng):
    """Cut, empty, remove or change a file of a checkpoint."""
    path = checkpoint / rng.choice([*checkpoints.CHECKPOINT_FILES, "manifest.json"])
    content = path.read_bytes()
    at = rng.randrange(len(content))
    flipped = bytes([content[at] ^ 1 << rng.randrange(8)])
    kinds = [content[:at], b"", content[:at] + flipped + content[at + 1 :], None]
    if (damaged := rng.choice(kinds)) is None:
        path.unlink()
    else:
        path.write_bytes(damaged)


@pytest.mark.slow
def test_starts_from_the_weights_of_a_run_or_an_exported_network(whole, tmp_path):
    pytest.importorskip("onnx", reason="exports networks")
    export_network(loop.load_network(whole[0]), tmp_path / "network.onnx")
    scaled = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    expected = keras_probability(loop.load_network(whole[0]))(scaled)
    settings = checkpoints.Settings("standard", seed=5)
    for start, exact in ((whole[0], 0.0), (tmp_path / "network.onnx", 1e-3)):
        model = loop.start_network(replace(settings, start_from=str(start)))
        assert model.name == "small"
        assert np.allclose(keras_probability(model)(scaled), expected, atol=exact)
    missing = replace(settings, start_from="missing.onnx")
    refused("missing.onnx: cannot be read", loop.start_network, missing)


@pytest.mark.slow
def test_fine_tuning_keeps_the_encoder_and_continues_as_it_began(whole, tmp_path):
    stop = Mock(side_effect=KeyboardInterrupt)
    settings = SETTINGS | {"start_from": whole[0], "learning_rate": None, "epochs": 2}
    loop.train(easy_set(), tmp_path / "one", **settings)
    with pytest.raises(KeyboardInterrupt):
        loop.train(easy_set(), tmp_path / "two", on_epoch=stop, **settings)
    loop.train(easy_set(), tmp_path / "two", **settings)
    same(tmp_path / "one", tmp_path / "two")
    kept = checkpoints.load_checkpoint(tmp_path / "one" / "checkpoints")
    expected = {"optimizer": "adam", "learning_rate": 1.5e-4, "average": loop.FINE_TUNING_AVERAGE}
    assert kept.settings.items() >= expected.items()
    assert not np.array_equal(kept.weights["logits/bias"], kept.training["logits/bias"])
    untuned = checkpoints.load_checkpoint(whole[0] / "checkpoints")
    assert (untuned.settings["average"], untuned.training) == (0.0, {})
    for average, encoder in ((0.5, True), (None, None)):  # goes on as it began
        other = {"average": average, "encoder": encoder}
        loop.train(easy_set(), tmp_path / "other", **settings | other)
    other = checkpoints.load_checkpoint(tmp_path / "other" / "checkpoints")
    for run, trained in ((kept, False), (other, True)):
        pairs = {name: (run.weights[name], untuned.weights[name]) for name in run.weights}
        changed = {name[:4] for name, pair in pairs.items() if not np.array_equal(*pair)}
        assert ("down" in changed, "logi" in changed) == (trained, True)
    loop.compile_network(model := build_unet("small"), 5, 2, optimizer="adam", average=0.5)
    assert model.optimizer.ema_momentum == pytest.approx(0.8)  # 1 - 1 / (0.5 * 10 steps)


@pytest.mark.slow
def test_damaged_checkpoints_are_passed_over(whole, tmp_path):
    rng = random.Random(0)
    previous, newest = sorted((whole[0] / "checkpoints").iterdir())
    for n in range(200):
        folder = tmp_path / str(n)
        shutil.copytree(whole[0] / "checkpoints", folder)
        damage(folder / newest.name, rng)
        with pytest.warns(match="passed"):
            assert len(checkpoints.load_checkpoint(folder).history) == EPOCHS - 1
        shutil.rmtree(folder / newest.name)
        damage(folder / previous.name, rng)
        with pytest.raises(HeadrestError, match="damaged"), pytest.warns(match="passed"):
            checkpoints.load_checkpoint(folder)
        shutil.rmtree(folder)


def test_refuses_another_run_another_version_and_infinite_weights(whole, tmp_path):
    settings = SETTINGS | {"epochs": EPOCHS}
    for changes, text in (
        ({"resume": False}, "holds a run"),
        ({"epochs": 7}, "epochs was 6, not 7"),
        ({"seed": 1}, "seed"),
        ({"preset": "larger"}, "standard"),
        ({"loss": "hinge"}, "cross-entropy"),
    ):
        refused(text, loop.train, easy_set(), whole[0], **settings | changes)
    with lock_folder(whole[0]):
        refused("another process", loop.train, easy_set(), whole[0], **settings)
    kept = checkpoints.load_checkpoint(whole[0] / "checkpoints")
    kept.settings["halved"] = kept.settings.pop("half_resolution_epochs")
    checkpoints.save_checkpoint(tmp_path / "checkpoints", kept)
    refused("another version", loop.train, easy_set(), tmp_path, **settings)
    loop.load_network(tmp_path)
    kept.weights["logits/bias"][0] = np.inf
    refused("finite", checkpoints.save_checkpoint, tmp_path, kept)


def test_refuses_unusable_data_and_settings_before_training(tmp_path):
    data = easy_set()
    hu, ignored = data.hu.astype(np.float32), data.labels["truth"].copy()
    hu[3, 5, 5] = np.nan
    ignored[loop.held_out(data, held_out=0.34)] = IGNORE_LABEL
    for tried, changes, words in (
        (replace(data, hu=hu), {}, "slice 3"),
        (replace(data, labels=dict(truth=0 * ignored, kmeans=ignored)), {}, "no pixel of support"),
        (replace(data, labels=dict(truth=ignored, kmeans=ignored)), {}, "ignored pixels alone"),
        (replace(data, labels=dict(kmeans=ignored)), {}, "choose from kmeans"),
        (data, {"epochs": 0, "half_resolution_epochs": 0}, "0 epochs: choose"),
        (data, {"epochs": 10_000}, "choose 1 to 9999"),  # epoch_10000 would sort before epoch_9999
        *((data, {"half_resolution_epochs": half}, "fewer than all") for half in (-1, 2, 3)),
    ):
        refused(words, loop.train, tried, tmp_path, **SETTINGS | {"epochs": 2} | changes)
    assert not (tmp_path / "checkpoints").exists()


def test_reports_too_little_memory_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("keras.Model.train_on_batch", Mock(side_effect=MemoryError))
    refused("smaller batch size", loop.train, easy_set(), tmp_path, epochs=2, **SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "epochs"), [(2e3, 1), (np.nan, 1), (5e2, 2)])
def test_keeps_the_last_good_epoch_of_a_diverging_training(loss, epochs, tmp_path, monkeypatch):
    losses = iter([1.0] * 5 + [loss, 1.0, 1.0])
    monkeypatch.setattr("keras.Model.train_on_batch", lambda *_: next(losses))
    refusal = pytest.raises(HeadrestError, match=r"diverged in epoch 2 .*lower learning rate")
    with refusal if epochs < 2 else nullcontext():
        loop.train(easy_set(), tmp_path, epochs=2, **SETTINGS | {"half_resolution_epochs": 0})
    assert len(checkpoints.load_checkpoint(tmp_path / "checkpoints").history) == epochs


@pytest.mark.slow
def test_trains_as_in_2018(tmp_path):
    """K-Means labels without touching slices, VALID padding, cross entropy, momentum SGD."""
    settings = {"labels": "kmeans", "loss": "cross-entropy", "optimizer": "sgd", "augment": False}
    settings |= {"preset": "valid3", "held_out": 0.34, "epochs": 1}
    (row,) = loop.train(easy_set(size=68), tmp_path, **settings)
    assert np.isfinite(row["loss"])
    assert checkpoints.read_frames(tmp_path).found(0).shape[1:] == (68, 68)


def test_an_interrupted_training_says_how_to_resume(monkeypatch, capsys):
    monkeypatch.setattr("headrest.__main__._train", Mock(side_effect=KeyboardInterrupt))
    for more, words in (([], "--resume goes on"), (["--resume"], "the same command goes on")):
        assert main(["train", "DATA", "RUN", *more]) == 130
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_command(tmp_path, capsys):
    data, out = easy_set(), str(tmp_path / "run")
    parts = zip("abcdef", np.split(data.hu, 6), np.split(data.labels["kmeans"], 6))
    studies = [LabelledStudy(name, hu, {"kmeans": labels}) for name, hu, labels in parts]
    write_training_set(tmp_path / "set", studies, matrix=64)
    command = ["train", str(tmp_path / "set"), out, "--preset", "small", "--epochs", "2"]
    command += ["--half-resolution", "1", "--batch-size", "2", "--learning-rate", "1e-3"]
    assert main([*command, "--labels", "truth"]) == 1
    assert "kmeans" in capsys.readouterr().err
    assert main(command) == 0
    assert "empty mask" in capsys.readouterr().out
    assert main(command) == 1
    assert main([*command, "--resume"]) == 0
    settings = checkpoints.load_checkpoint(tmp_path / "run" / "checkpoints").settings
    assert (settings["half_resolution_epochs"], settings["batch_size"]) == (1, 2)
    assert settings["learning_rate"] == 1e-3
