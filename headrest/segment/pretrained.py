"""The pretrained network: an ONNX file, checked before it is loaded, and run by ONNX Runtime."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from headrest.hounsfield import INPUT_HIGH_HU, INPUT_LOW_HU
from headrest.util import HeadrestError, cores
from headrest.util.files import sha256

WEIGHTS = Path(__file__).with_name("weights")

INPUT, OUTPUT, SCALING = "slices", "probability", "input_hu"
"""Names in an ONNX file of headrest: input, output, and the metadata "lowest highest" HU that the
input -1 and 1 stand for."""

PROVIDERS: dict[str, tuple[str, dict]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}),
    "coreml": ("CoreMLExecutionProvider", {}),
    "directml": ("DmlExecutionProvider", {}),
}
"""Execution providers of ONNX Runtime, and options: no TF32, whose mantissa has 10 bits only."""

MAX_AT_ONCE = 4
"""Slices that are predicted at once on a CPU: a slice of 512 x 512 takes about 60 MB."""

MAX_BYTES = 2**31
"""Protocol Buffers, the format of ONNX, hold no larger file."""

LOADING = Lock()


def model_card(folder: Path = WEIGHTS) -> dict[str, Any]:
    """Read the card of the pretrained network, how it was made, or raise a HeadrestError."""
    path = folder / "headrest.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {"sha256": card["sha256"], **card}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise HeadrestError(f"{path}: missing or damaged; reinstall headrest") from error


def load_pretrained(
    path: str | Path | None = None, provider: str | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Load the pretrained network, or one that `headrest export` wrote.

    Parameters
    ----------
    path : path of an .onnx file, optional; the pretrained network if None.
    provider : key of `PROVIDERS`, optional; "cuda" if None and it can be started, or "cpu".

    Returns
    -------
    callable, see `headrest.segment.predict.Network`; of support alone for a network of two classes.

    Raises
    ------
    HeadrestError
        If the file is damaged, not the one of the model card, or another kind of network, or the
        provider cannot be used.
    """
    file = WEIGHTS / "headrest.onnx" if path is None else Path(path)
    digest = _digest(file)
    if path is None and digest != model_card()["sha256"]:
        raise HeadrestError(f"{WEIGHTS}: the SHA-256 differs from the card; reinstall headrest")
    with LOADING:  # a second thread waits for the first
        return _load(file, digest, provider)


def load_ahead(path: str | None = None, provider: str | None = None) -> None:
    """Begin to load a network in a thread while a series is read; `load_pretrained` waits for it,
    and raises what goes wrong."""
    ThreadPoolExecutor(1).submit(load_pretrained, path, provider)


def weights_hash(path: str | Path | None = None) -> str:
    """First 12 digits of the SHA-256 of a network's file; of the pretrained one if None."""
    return (model_card()["sha256"] if path is None else _digest(Path(path)))[:12]


def _digest(path):
    try:
        if path.stat().st_size < MAX_BYTES:
            return sha256(path)
    except OSError as error:
        wanted = "expected an .onnx file, as `headrest export` makes it of a run"
        raise HeadrestError(f"{path}: cannot be read ({error.strerror}); {wanted}") from error
    raise HeadrestError(f"{path}: too large for an ONNX file")


@dataclass(frozen=True)
class _Network:
    """A session of ONNX Runtime as a function of scaled slices."""

    path: Path
    session: Any
    at_once: int

    def __call__(self, scaled: np.ndarray) -> np.ndarray:
        slices = np.ascontiguousarray(scaled, np.float32)
        try:
            return self.session.run([OUTPUT], {INPUT: slices})[0]
        except Exception as error:  # ONNX Runtime has no class of its own for them
            raise HeadrestError(f"{self.path}: fails on slices of {scaled.shape}") from error


@lru_cache(maxsize=4)
def _load(path: Path, digest: str, provider: str | None) -> _Network:
    """Start the network of a file, again when its digest has changed."""
    import onnxruntime as ort  # loaded only where the network is used

    if provider is None:
        with suppress(HeadrestError):
            return _load(path, digest, "cuda")
        return _load(path, digest, "cpu")
    installed = {k: v for k, v in PROVIDERS.items() if v[0] in ort.get_available_providers()}
    if provider not in installed:
        names = ", ".join(installed)
        raise HeadrestError(f"no execution provider {provider!r} is installed; there is: {names}")
    options = ort.SessionOptions()
    at_once = min(cores(), MAX_AT_ONCE) if provider == "cpu" else 1
    options.intra_op_num_threads = cores() // at_once
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [PROVIDERS[name] for name in dict.fromkeys((provider, "cpu"))]
    try:
        session = ort.InferenceSession(path.read_bytes(), options, chosen)
    except Exception as error:  # ONNX Runtime has no class of its own for them
        raise HeadrestError(f"{path}: no ONNX file that {provider!r} can run") from error
    if session.get_providers()[0] != chosen[0][0]:  # ONNX Runtime took the CPU
        raise HeadrestError(f"the execution provider {provider!r} cannot be started")
    found = [value.name for value in (*session.get_inputs(), *session.get_outputs())]
    found.append(session.get_modelmeta().custom_metadata_map.get(SCALING))
    expected = [INPUT, OUTPUT, f"{INPUT_LOW_HU:g} {INPUT_HIGH_HU:g}"]
    if found != expected:
        raise HeadrestError(f"{path}: no network of `headrest export`: {found}, not {expected}")
    return _Network(path, session, at_once)
