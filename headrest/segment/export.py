"""A trained network to an ONNX file, and its weights back into Keras. Needs onnx and Keras."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from headrest.hounsfield import INPUT_HIGH_HU, INPUT_LOW_HU
from headrest.segment.pretrained import INPUT, OUTPUT, SCALING
from headrest.segment.unet import PixelShuffle, get_weights, set_weights
from headrest.util import HeadrestError, __version__, require
from headrest.util.backend import keras, layers
from headrest.util.files import atomic_file, check_finite, sha256

MAX_LOGIT = 60.0
"""Largest difference of logits: the exponential of more than 88 is no float32."""

OPSET, IR_VERSION = 17, 8
"""Versions of ONNX's operators and file format that ONNX Runtime reads since 1.13 (2022)."""


def export_network(model: keras.Model, path: str | Path) -> None:
    """Write a trained network as ONNX: scaled slices to the probabilities of support and patient.

    Kernels are stored as float16 (the output head as float32) and computed with as float32.

    Parameters
    ----------
    model : keras.Model of `headrest.segment.unet` with SAME padding.
    path : path of the .onnx file; an existing one is replaced.

    Raises
    ------
    HeadrestError
        If onnx is not installed, the network has VALID padding, or a weight is not finite as
        float16.
    """
    require("onnx")
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph()
    graph.constant("channels", np.array([1]))
    graph.node("Unsqueeze", [INPUT, "channels"], "slice")
    for layer in model.layers[1:]:
        inputs = [tensor._keras_history.operation.name for tensor in _as_list(layer.input)]
        _add_layer(graph, layer, inputs)
    if model.output_shape[-1] == 2:
        graph.node("Sigmoid", ["logits"], OUTPUT)
    else:  # the operator Softmax takes as long as the network along this axis
        graph.constant("highest", np.array(MAX_LOGIT, np.float32))
        graph.constant("one", np.array(1, np.float32))
        graph.node("Clip", ["logits", "", "highest"], "clipped")
        graph.node("Exp", ["clipped"], "odds")
        graph.node("ReduceSum", ["odds", "channels"], "sum")
        graph.node("Add", ["sum", "one"], "total")
        graph.node("Div", ["odds", "total"], OUTPUT)
    shape: list[Any] = ["slices", "rows", "columns"]
    values = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)]
    shape.insert(1, model.output_shape[-1] - 1)
    values.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "headrest", values[:1], values[1:], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="headrest",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {SCALING: f"{INPUT_LOW_HU:g} {INPUT_HIGH_HU:g}"})
    with atomic_file(path) as temporary:
        onnx.save(proto, temporary)


class _Graph:
    """Nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def constant(self, name: str, value: np.ndarray) -> None:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))

    def convolution(
        self, x: str, name: str, kernel: np.ndarray, bias: np.ndarray, **attributes: Any
    ) -> None:
        """A convolution by a kernel (features, inputs, rows, columns), stored as float16."""
        from onnx import TensorProto

        # Differences of logits do not fit into float16 exactly, and are small.
        stored = kernel.astype(np.float32 if name == "logits" else np.float16)
        check_finite({name: stored}, "weights")
        self.constant(f"{name}/kernel", stored)
        self.constant(f"{name}/bias", bias.astype(np.float32))
        self.node("Cast", [f"{name}/kernel"], f"{name}/float", to=TensorProto.FLOAT)
        inputs = [x, f"{name}/float", f"{name}/bias"]
        self.node("Conv", inputs, f"{name}/convolved", **attributes)


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _add_layer(graph: _Graph, layer: Any, inputs: list[str]) -> None:
    name = layer.name
    if isinstance(layer, PixelShuffle):
        kernel, bias = _shuffle_weights(layer)
        graph.convolution(inputs[0], name, kernel, bias)
        before = f"{name}/convolved"
        if name != "logits":
            graph.node("Relu", [before], f"{name}/relu")
            before = f"{name}/relu"
        graph.node("DepthToSpace", [before], name, blocksize=layer.strides[0], mode="CRD")
    elif isinstance(layer, layers.Conv2D) and layer.padding == "same":
        kernel, bias = (keras.ops.convert_to_numpy(v) for v in (layer.kernel, layer.bias))
        step = layer.strides[0]  # a kernel of 3 steps: SAME pads one step on each side
        options = {"strides": [step, step], "pads": [step] * 4}
        graph.convolution(inputs[0], name, kernel.transpose(3, 2, 0, 1), bias, **options)
        graph.node("Relu", [f"{name}/convolved"], name)
    elif isinstance(layer, layers.MaxPooling2D):
        graph.node("MaxPool", inputs, name, kernel_shape=[2, 2], strides=[2, 2])
    elif isinstance(layer, layers.Concatenate):
        graph.node("Concat", inputs, name, axis=1)
    else:
        raise HeadrestError(f"a network with VALID padding cannot be exported ({name})")


def _shuffle_weights(layer: PixelShuffle) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of the 1x1 convolution before depth to space; logits are those of support
    and patient relative to the background."""
    kernel, bias = (keras.ops.convert_to_numpy(v) for v in (layer.kernel, layer.bias))
    if layer.name == "logits":
        kernel, bias = kernel[:, :, 1:] - kernel[:, :, :1], bias[1:] - bias[:1]
    step, _, features, inputs = kernel.shape
    kernel = kernel.transpose(2, 0, 1, 3).reshape(features * step**2, inputs, 1, 1)
    return kernel, np.repeat(bias, step**2)


def set_exported_weights(model: keras.Model, path: str | Path) -> None:
    """Set the weights of a network as an exported file holds them, to train it further.

    Parameters
    ----------
    model : keras.Model of the same architecture; it returns the same probabilities then.
    path : path of a file of `export_network`.

    Raises
    ------
    HeadrestError
        If the file holds another network.
    """
    require("onnx")
    import onnx

    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    weights = get_weights(model)
    try:
        for layer in model.layers:
            if layer.weights:
                kernel, bias = (tensors[f"{layer.name}/{part}"] for part in ("kernel", "bias"))
                kernel, bias = _keras_weights(layer, kernel.astype(np.float32), bias)
                weights |= {f"{layer.name}/kernel": kernel, f"{layer.name}/bias": bias}
    except (KeyError, ValueError) as error:
        raise HeadrestError(f"{path}: weights of another network than {model.name!r}") from error
    set_weights(model, weights)


def _keras_weights(
    layer: Any, kernel: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a Keras layer, from those of the exported convolution."""
    if not isinstance(layer, PixelShuffle):
        return kernel.transpose(2, 3, 1, 0), bias
    step = layer.strides[0]
    kernel = kernel.reshape(-1, step, step, kernel.shape[1]).transpose(1, 2, 0, 3)
    bias = bias[:: step**2]
    if layer.name == "logits":  # 0 for the background
        kernel, bias = np.pad(kernel, ((0, 0), (0, 0), (1, 0), (0, 0))), np.pad(bias, (1, 0))
    return kernel, bias


def write_release(folder: str | Path, model: keras.Model, card: dict) -> dict:
    """Write a network as headrest.onnx, and its model card headrest.json beside it.

    Parameters
    ----------
    folder : path; made if it does not exist.
    model : keras.Model, see `export_network`.
    card : dict that JSON can hold

    Returns
    -------
    dict, the card with "parameters", "keras" and "sha256" added.

    Raises
    ------
    HeadrestError
        As `export_network`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    export_network(model, folder / "headrest.onnx")
    card = card | {
        "parameters": model.count_params(),
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
        "sha256": sha256(folder / "headrest.onnx"),
    }
    with atomic_file(folder / "headrest.json") as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return json.loads(json.dumps(card))
