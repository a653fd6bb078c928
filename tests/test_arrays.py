"""Untrusted model files: refused with a message, and nothing in them is executed."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from headrest.segment.pretrained import load_pretrained
from headrest.train.checkpoints import CHECKPOINT_FILES, read_checkpoint
from headrest.util import files
from headrest.util.files import read_arrays, sha256

NAME = "down0_0/kernel"


class Program:
    """An object that creates the file "ran" when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def zipped(**members):
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def array(shape, content=b""):
    """An archive of one array with any header."""
    fields = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head := io.BytesIO(), fields)
    return zipped(**{f"{NAME}.npy": head.getvalue() + content})


def saved(values):
    np.savez_compressed(file := io.BytesIO(), **{NAME: values})
    return file.getvalue()


VALID = saved(np.ones((3, 3), np.float16))
HOSTILE = {
    "pickle": pickle.dumps(Program()),
    "objects": saved(np.array([Program()], object)),
    "keras": zipped(**{"config.json": "{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
    "claims-a-terabyte": array((1 << 39,)),
    "claims-negative": array((-3, 3), content=bytes(18)),
    "bomb": array((1 << 24,), content=bytes(1 << 25)),
    "no-array": zipped(**{f"{NAME}.npy": b"import os"}),
    "cut": b"PK\3\4" + bytes(50),
    "changed": VALID[:80] + bytes([VALID[80] ^ 1]) + VALID[81:],
}


def checkpoint(place, weights=VALID, state=b'{"history": [], "settings": {}}'):
    """A checkpoint with any contents and a correct manifest."""
    place.mkdir()
    for name, content in zip(CHECKPOINT_FILES, (weights, VALID, state)):
        (place / name).write_bytes(content)
    manifest = {name: sha256(place / name) for name in CHECKPOINT_FILES}
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_weights_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1 << 20)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.npz"
    path.write_bytes(HOSTILE[kind])
    for read in (read_arrays, load_pretrained):
        refused(str(path), read, path)
    refused("epoch", read_checkpoint, checkpoint(tmp_path / "epoch_0001", HOSTILE[kind]))
    assert not Path("ran").exists()


@pytest.mark.parametrize("kind", ["pickle", "objects"])
def test_pickles_run_their_code_in_numpy(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    loaded = np.load(io.BytesIO(HOSTILE[kind]), allow_pickle=True)
    assert kind == "pickle" or loaded[NAME].shape == (1,)
    assert Path("ran").exists()


@pytest.mark.parametrize("state", [b"[]", b"{}", b"3", b'{"history": 1}', b"[" * 100_000, b"\xff"])
def test_hostile_states_are_refused(tmp_path, state):
    refused("damaged checkpoint", read_checkpoint, checkpoint(tmp_path / "epoch_0001", state=state))


def test_changed_checkpoint_is_read_without_the_manifest(tmp_path, monkeypatch):
    place = checkpoint(tmp_path / "epoch_0001")
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "state.json").write_bytes(b'{"history": [3], "settings": {}}')
    refused("SHA-256", read_checkpoint, place)
    monkeypatch.setattr("headrest.train.checkpoints.sha256", lambda path: manifest[path.name])
    assert read_checkpoint(place).history == [3]
    assert np.array_equal(read_checkpoint(place).weights[NAME], np.ones((3, 3)))
