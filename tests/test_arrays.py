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
VALID = {NAME: np.ones((3, 3), np.float16)}


class Program:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def member(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}.npy", content)


def header(shape, descr="<f2"):
    head = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, fields)
    return head.getvalue()


def keras_archive(path):
    """A Keras archive with a layer that holds code."""
    layer = {"class_name": "Lambda", "config": {"function": ["4wEAAA==", None, None]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"layers": [layer]}))
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))


def later_changed(path):
    """A valid file with one byte of its numbers changed."""
    np.savez_compressed(path, **VALID)
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(data)


HOSTILE = {
    "pickle": lambda path, ran: path.write_bytes(pickle.dumps(Program(ran))),
    "objects": lambda path, ran: np.savez(path, **{NAME: np.array([Program(ran)], object)}),
    "keras": lambda path, ran: keras_archive(path),
    "hdf5": lambda path, ran: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500)),
    "claims-a-terabyte": lambda path, ran: member(path, header((1 << 39,))),
    "claims-negative": lambda path, ran: member(path, header((-3, 3)) + bytes(18)),
    "bomb": lambda path, ran: member(path, header((1 << 24,)) + bytes(1 << 25)),
    "no-array": lambda path, ran: member(path, b"import os"),
    "cut": lambda path, ran: path.write_bytes(b"PK\3\4" + bytes(50)),
    "changed": lambda path, ran: later_changed(path),
    "program-as-type": lambda path, ran: member(path, header((1,), "|O") + bytes(8)),
}


def checkpoint(place, weights=None, state=b'{"history": [], "settings": {}}'):
    """A checkpoint with any contents and a correct manifest."""
    place.mkdir()
    for name in CHECKPOINT_FILES[:2]:
        np.savez_compressed(place / name, **VALID)
    if weights:
        (place / "weights.npz").write_bytes(weights)
    (place / "state.json").write_bytes(state)
    manifest = {name: sha256(place / name) for name in CHECKPOINT_FILES}
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_weights_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1 << 20)
    path, ran = tmp_path / "model.npz", tmp_path / "ran"
    HOSTILE[kind](path, ran)
    for read in (read_arrays, load_pretrained):
        refused(str(path), read, path)
    refused("epoch", read_checkpoint, checkpoint(tmp_path / "epoch_0001", path.read_bytes()))
    assert not ran.exists()


@pytest.mark.parametrize("state", [b"[]", b"{}", b"3", b'{"history": 1}', b"[" * 100_000, b"\xff"])
def test_hostile_states_are_refused(tmp_path, state):
    refused("damaged checkpoint", read_checkpoint, checkpoint(tmp_path / "epoch_0001", state=state))


def test_changed_checkpoint_is_read_without_the_manifest(tmp_path, monkeypatch):
    place = checkpoint(tmp_path / "epoch_0001", state=b'{"history": [1], "settings": {}}')
    (place / "state.json").write_bytes(b'{"history": [3], "settings": {}}')
    refused("SHA-256", read_checkpoint, place)
    manifest = json.loads((place / "manifest.json").read_text())
    monkeypatch.setattr("headrest.train.checkpoints.sha256", lambda path: manifest[path.name])
    assert read_checkpoint(place).history == [3]
    assert np.array_equal(read_checkpoint(place).weights[NAME], VALID[NAME])


def test_pickles_run_their_code_in_numpy(tmp_path):
    path, ran = tmp_path / "model.npz", tmp_path / "ran"
    for kind in ("pickle", "objects"):
        HOSTILE[kind](path, ran)
        loaded = np.load(path, allow_pickle=True)
        if kind == "objects":
            loaded[NAME]
        assert ran.exists()
        ran.unlink()
