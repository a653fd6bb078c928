"""A trained network to an ONNX file, and its weights back into Keras. Needs onnx and Keras."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headrest.hounsfield import INPUT_HIGH_HU, INPUT_LOW_HU
from headrest.segment.pretrained import INPUT, OUTPUT, SCALING
from headrest.segment.unet import PixelShuffle, get_weights, set_weights
from headrest.util import HeadrestError, __version__, require
from headrest.util.backend import keras, layers, ops
from headrest.util.files import atomic_file, check_finite, sha256

MAX_LOGIT = 60.0
"""Largest difference of logits: the exponential of more than 88 is no float32."""

OPSET, IR_VERSION = 17, 8
"""Versions of ONNX's operators and file format that ONNX Runtime reads since 1.13 (2022)."""

FLOAT = 1
"""The data type float32 in ONNX, `onnx.TensorProto.FLOAT`."""


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
    from onnx import helper, numpy_helper

    constants: dict[str, np.ndarray] = {}
    nodes = [
        helper.make_node(kind, inputs, [output], name=output, **attributes)
        for kind, inputs, output, attributes in _network_nodes(model, constants)
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    shapes: dict[str, list] = {INPUT: ["slices", "rows", "columns"]}
    shapes[OUTPUT] = ["slices", model.output_shape[-1] - 1, "rows", "columns"]
    first, last = (helper.make_tensor_value_info(k, FLOAT, v) for k, v in shapes.items())
    proto = helper.make_model(
        helper.make_graph(nodes, "headrest", [first], [last], initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="headrest",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {SCALING: f"{INPUT_LOW_HU:g} {INPUT_HIGH_HU:g}"})
    with atomic_file(path) as temporary:
        onnx.save(proto, temporary)


def _network_nodes(model: keras.Model, constants: dict[str, np.ndarray]) -> Iterator[tuple]:
    """Yield operator, inputs, output and attributes of each node, and add their constants."""
    constants["channels"] = np.array([1])
    yield "Unsqueeze", [INPUT, "channels"], "slice", {}
    for layer in model.layers[1:]:
        tensors = keras.tree.flatten(layer.input)
        inputs = [tensor._keras_history.operation.name for tensor in tensors]
        yield from _layer_nodes(layer, inputs, constants)
    if model.output_shape[-1] == 2:
        yield "Sigmoid", ["logits"], OUTPUT, {}
        return
    # The operator Softmax takes as long as the network along this axis.
    constants["highest"] = np.array([MAX_LOGIT], np.float32)
    constants["one"] = np.array([1], np.float32)
    yield "Clip", ["logits", "", "highest"], "clipped", {}
    yield "Exp", ["clipped"], "odds", {}
    yield "ReduceSum", ["odds", "channels"], "sum", {}
    yield "Add", ["sum", "one"], "total", {}
    yield "Div", ["odds", "total"], OUTPUT, {}


def _layer_nodes(layer, inputs, constants):
    name, convolved = layer.name, f"{layer.name}/convolved"
    if isinstance(layer, PixelShuffle):
        yield from _convolution(inputs[0], name, *_shuffle_weights(layer), constants)
        if name != "logits":
            yield "Relu", [convolved], f"{name}/relu", {}
            convolved = f"{name}/relu"
        yield "DepthToSpace", [convolved], name, {"blocksize": layer.strides[0], "mode": "CRD"}
    elif isinstance(layer, layers.Conv2D) and layer.padding == "same":
        kernel, bias = map(ops.convert_to_numpy, (layer.kernel, layer.bias))
        step = layer.strides[0]  # a kernel of 3 steps: SAME pads one step on each side
        options = {"strides": [step, step], "pads": [step] * 4}
        kernel = kernel.transpose(3, 2, 0, 1)
        yield from _convolution(inputs[0], name, kernel, bias, constants, **options)
        yield "Relu", [convolved], name, {}
    elif isinstance(layer, layers.MaxPooling2D):
        yield "MaxPool", inputs, name, {"kernel_shape": [2, 2], "strides": [2, 2]}
    elif isinstance(layer, layers.Concatenate):
        yield "Concat", inputs, name, {"axis": 1}
    else:
        raise HeadrestError(f"a network with VALID padding cannot be exported ({name})")


def _convolution(x, name, kernel, bias, constants, **attributes):
    """A convolution by a kernel (features, inputs, rows, columns), stored as float16."""
    # Differences of logits do not fit into float16 exactly, and are small.
    stored = kernel.astype(np.float32 if name == "logits" else np.float16)
    check_finite({name: stored}, "weights")
    constants[f"{name}/kernel"] = np.ascontiguousarray(stored)
    constants[f"{name}/bias"] = bias.astype(np.float32)
    yield "Cast", [f"{name}/kernel"], f"{name}/float", {"to": FLOAT}
    yield "Conv", [x, f"{name}/float", f"{name}/bias"], f"{name}/convolved", attributes


def _shuffle_weights(layer: PixelShuffle) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of the 1x1 convolution before depth to space; logits are those of support
    and patient relative to the background."""
    kernel, bias = map(ops.convert_to_numpy, (layer.kernel, layer.bias))
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
    export_network(model, folder / "headrest.onnx")
    card = card | {
        "parameters": model.count_params(),
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
        "sha256": sha256(folder / "headrest.onnx"),
    }
    with atomic_file(folder / "headrest.json") as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return json.loads(json.dumps(card))
