"""The pretrained network and exported ones: the same probabilities as Keras, checked files."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import refused
from one_run import SETTINGS, easy_set
from pydicom.data import get_testdata_file

from headrest import HeadrestError, find_support, read_series
from headrest.__main__ import main
from headrest.hounsfield import scale
from headrest.segment import pretrained
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import WEIGHTS, load_pretrained, model_card, weights_hash
from headrest.segment.support import check_method
from headrest.util.files import sha256

unet = pytest.importorskip("headrest.segment.unet", reason="needs Keras and a backend")
export = pytest.importorskip("headrest.segment.export")
from headrest.train.loop import load_network, train  # noqa: E402


def noise(n=2, size=128):
    hu = np.random.default_rng(0).normal(0, 500, (n, size, size))
    return scale(np.cumsum(hu, axis=1) / 5)


@pytest.fixture(scope="module")
def trained():
    return unet.build_unet("small", seed=5)


@pytest.fixture
def exported(trained, tmp_path):
    export.export_network(trained, tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


def test_an_exported_network_gives_the_probabilities_of_keras_and_is_read_back(tmp_path):
    path, rng = tmp_path / "own.onnx", np.random.default_rng(1)
    for classes, x in ((2, noise(1, 64)), (3, noise(3, 128))):
        # Another network in the same file is loaded again.
        trained, other = (unet.build_unet("small", seed, classes=classes) for seed in (5, 8))
        for variable in trained.weights:  # that float16 holds, and biases that are not 0
            bias = variable.path.endswith("bias")
            value = rng.normal(0, 0.1, variable.shape) if bias else variable.numpy()
            variable.assign(np.float16(value).astype(np.float32))
        export.export_network(trained, path)
        expected = unet.keras_probability(trained)(x)
        assert expected.std() > 0.01
        assert load_pretrained(path)(x) == pytest.approx(expected, abs=1e-5)
        export.set_exported_weights(other, path)
        written = path.read_bytes()
        export.export_network(other, path)
        assert path.read_bytes() == written
    refused("another network", export.set_exported_weights, unet.build_unet("standard"), path)


def test_the_pretrained_network_gives_the_probabilities_of_its_release():
    """Which TensorFlow computed then, in pixels where it is neither 0 nor 1."""
    y, x = np.mgrid[:256, :256] / 256 - 0.5
    from_centre, shell = np.hypot(1.2 * x, y + 0.08), np.hypot(x, y + 0.1)
    hu = np.where(from_centre < 0.34, 40.0, -1000.0)
    hu[from_centre < 0.32] = 30
    hu[(np.abs(shell - 0.42) < 0.012) & (y > 0.05)] = 120
    hu[np.abs(y - 0.33) < 0.01] = 300
    rows, columns = [149, 165, 182, 200, 201, 204, 206, 216], [28, 212, 204, 123, 114, 52, 183, 181]
    released = [0.653241, 0.92241, 0.945304, 0.054567, 0.01388, 0.010361, 0.064566, 0.20453]
    found = load_pretrained()(scale(hu)[None])
    assert found[0, 0, rows, columns] == pytest.approx(released, abs=1e-5)
    assert found[0].mean((1, 2)) == pytest.approx([0.053546, 0.303598], abs=1e-5)


def test_refuses_to_export_valid_padding_infinite_weights_and_no_run(tmp_path, capsys):
    refused("VALID", export.export_network, unet.build_unet("valid3"), tmp_path / "valid.onnx")
    model = unet.build_unet("small")
    model.weights[0].assign(np.full(model.weights[0].shape, 1e6))
    with pytest.raises(HeadrestError, match="finite"), np.errstate(over="ignore"):
        export.export_network(model, tmp_path / "infinite.onnx")
    assert main(["export", str(tmp_path / "none"), str(tmp_path / "own.onnx")]) == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_refuses_a_changed_byte_a_damaged_card_and_an_empty_name(tmp_path, monkeypatch):
    refused("cannot be read", load_pretrained, "")  # not the default, as an unset variable gives it
    refused("no execution provider ''", load_pretrained, provider="")
    refused("no weights and no provider", check_method, "kmeans", weights="")
    data = bytearray((WEIGHTS / "headrest.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "headrest.onnx").write_bytes(data)
    (tmp_path / "headrest.json").write_bytes((WEIGHTS / "headrest.json").read_bytes())
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    refused("SHA-256", load_pretrained)
    for content in ("{", "[]", "{}", "0"):
        (tmp_path / "headrest.json").write_text(content)
        refused(r"headrest\.json", model_card, tmp_path)
    refused(r"headrest\.json", model_card, tmp_path / "none")


CHANGES = {2**31: "too large", "operator": "no ONNX file", "external": "no ONNX file"}
CHANGES |= {"scaling": "-1000 1000", "input": "image"}


@pytest.mark.parametrize(("change", "reason"), CHANGES.items())
def test_refuses_a_file_or_a_network_of_another_kind(exported, change, reason):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported)
    if change == "input":
        model.graph.input[0].name = model.graph.node[0].input[0] = "image"
    elif change == "operator":
        model.graph.node[1].MergeFrom(onnx.NodeProto(op_type="Run", domain="com.example"))
    elif change == "external":
        tensor = model.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, "../../../../etc/passwd")
        tensor.ClearField("raw_data")
    elif change == "scaling":
        onnx.helper.set_model_props(model, {"input_hu": "-1000 1000"})
    exported.write_bytes(model.SerializeToString())
    if change == 2**31:
        os.truncate(exported, change)  # sparse: takes no room
    refused(reason, load_pretrained, exported)


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("5,2", 4), ("0", None), ("many", None)])
def test_predicts_in_the_threads_of_a_worker_or_the_cores(exported, monkeypatch, value, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    pretrained._load.cache_clear()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert load_pretrained(exported).at_once == (threads or min(cores, 4))


@pytest.mark.slow
def test_a_run_is_exported_and_cleans_a_series(tmp_path, capsys):
    run, path = tmp_path / "run", tmp_path / "own.onnx"
    train(easy_set(), run, **{**SETTINGS, "epochs": 1, "half_resolution_epochs": 0})
    assert main(["export", str(run), str(path)]) == 0
    assert weights_hash(path) in capsys.readouterr().out
    source = get_testdata_file("CT_small.dcm")
    assert main(["clean", source, str(tmp_path / "out"), "--weights", str(path)]) == 0
    written = next(tmp_path.glob("out/ct-*/*.dcm")).read_bytes()
    assert f"method=network weights={weights_hash(path)}".encode() in written
    series, network = read_series(source), unet.keras_probability(load_network(run))
    own, released = (find_support(series, weights=w).probability for w in (path, None))
    expected = series_probability(series.hu, series.spacing_mm, network)
    assert own == pytest.approx(expected, abs=0.01)
    assert np.abs(own - released).max() > 0.1


def test_refuses_weights_that_cannot_be_used_before_any_series(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("no network")
    for options, reason in (
        ("--weights text.onnx", "text.onnx: no ONNX file"),
        ("--weights missing.onnx", "missing.onnx: cannot be read"),
        ("--weights .", "expected an .onnx file, as `headrest export` makes it"),
        ("--weights text.onnx --method kmeans", "'kmeans' has no weights"),
        ("--provider coreml", "no execution provider 'coreml'.*cpu"),
    ):
        assert main(["clean", get_testdata_file("CT_small.dcm"), "out", *options.split()]) == 1
        assert re.search(reason, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("raises", [True, False])
def test_uses_the_cpu_where_cuda_cannot_start(exported, monkeypatch, raises):
    """The start fails, or ONNX Runtime takes the CPU by itself."""
    import onnxruntime as ort

    start, tried = ort.InferenceSession, []
    installed = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def without_gpu(data, options, providers):
        tried.append([name for name, _ in providers])
        if raises and len(providers) > 1:
            raise RuntimeError("no CUDA-capable GPU is detected")
        return start(data, options, providers[-1:])

    expected = load_pretrained(exported, "cpu")(noise())
    pretrained._load.cache_clear()
    monkeypatch.setattr(ort, "get_available_providers", lambda: installed)
    monkeypatch.setattr(ort, "InferenceSession", without_gpu)
    assert np.array_equal(load_pretrained(exported)(noise()), expected)
    assert tried == [installed, installed[1:]]
    refused("'cuda'", load_pretrained, exported, "cuda")
    exported.write_bytes(b"damaged")
    refused("no ONNX file", load_pretrained, exported, "cuda")


def test_the_pretrained_network_and_a_release_match_their_cards(trained, tmp_path):
    card = model_card()
    assert unet.build_unet(**card["architecture"]).count_params() == card["parameters"]
    assert weights_hash() == sha256(WEIGHTS / "headrest.onnx")[:12]
    assert load_pretrained() is load_pretrained()
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 10e6
    card = export.write_release(tmp_path, trained, {"seed": 5})
    assert card == json.loads((tmp_path / "headrest.json").read_text())
    counted = {"seed": 5, "parameters": trained.count_params()}
    assert card.items() >= (counted | {"sha256": sha256(tmp_path / "headrest.onnx")}).items()


@pytest.mark.slow
def test_a_foreign_keras_json_has_no_influence(tmp_path):
    (tmp_path / ".keras").mkdir()
    foreign = {"backend": "theano", "image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(foreign))
    code = """
from headrest.segment.unet import build_unet
from headrest.util.backend import keras
model = build_unet("small")
print(keras.backend.backend(), keras.config.image_data_format(), model.compute_dtype)"""
    environment = os.environ | {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / ".keras")}
    environment.pop("KERAS_BACKEND", None)
    found = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert found.split() == ["tensorflow", "channels_last", "float32"]
