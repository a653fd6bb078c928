"""The pretrained network: an ONNX file, checked before it is loaded, and run by ONNX Runtime."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from headrest.hounsfield import INPUT_HIGH_HU, INPUT_LOW_HU
from headrest.util.errors import HeadrestError

WEIGHTS = Path(__file__).with_name("weights")

CARD_KEYS = {"architecture", "parameters", "sha256"}

INPUT, OUTPUT, SCALING = "slices", "probability", "input_hu"
"""Names in an ONNX file of headrest: input, output, and the metadata "lowest highest" HU that the
input -1 and 1 stand for."""

MAX_BYTES = 2**31
"""Protocol Buffers, the format of ONNX, hold no larger file."""


def model_card(folder: Path = WEIGHTS) -> dict[str, Any]:
    """Read the model card of the pretrained network: how it was made, and its results.

    Raises
    ------
    HeadrestError
        If the card is missing or damaged.
    """
    path = folder / "headrest.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HeadrestError(f"{path}: missing or damaged; reinstall headrest") from error
    if not isinstance(card, dict) or not set(card) >= CARD_KEYS:
        raise HeadrestError(f"{path}: damaged; reinstall headrest")
    return card


@lru_cache(maxsize=2)
def load_pretrained(
    path: str | Path | None = None, providers: tuple[str, ...] | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Load the pretrained network, or one that `headrest export` wrote.

    Parameters
    ----------
    path : path of an .onnx file, optional; the pretrained network if None.
    providers : tuple of str, optional
        Execution providers of ONNX Runtime, such as ("CUDAExecutionProvider",); if None, those
        of the installed package, a GPU before the CPU.

    Returns
    -------
    callable, float32 (n, rows, columns), scaled as by `headrest.hounsfield.scale` -> float32 (n,
    rows, columns), probability of support.

    Raises
    ------
    HeadrestError
        If the file is damaged, is not the one of the model card, or is another kind of network.
    """
    data = _read(Path(path) if path else WEIGHTS / "headrest.onnx")
    if path is None and hashlib.sha256(data).hexdigest() != model_card()["sha256"]:
        raise HeadrestError(f"{WEIGHTS}: the SHA-256 differs from the card; reinstall headrest")
    session = _session(data, path, providers)

    def probability(scaled: np.ndarray) -> np.ndarray:
        return session.run([OUTPUT], {INPUT: np.ascontiguousarray(scaled, np.float32)})[0]

    return probability


def weights_hash(path: str | Path | None = None) -> str:
    """First 12 digits of the SHA-256 of a network's file; of the pretrained one if None."""
    digest = hashlib.sha256(_read(Path(path))).hexdigest() if path else model_card()["sha256"]
    return digest[:12]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size >= MAX_BYTES:
            raise HeadrestError(f"{path}: {path.stat().st_size} bytes is too large for ONNX")
        return path.read_bytes()
    except OSError as error:
        raise HeadrestError(f"{path}: cannot be read ({error.strerror})") from error


def _session(data: bytes, path: str | Path | None, providers: Sequence[str] | None) -> Any:
    """Session of ONNX Runtime, for a file with the input, output and scaling of headrest."""
    import onnxruntime as ort  # loaded only where the network is used

    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = ort.get_available_providers()
    if providers and not set(providers) <= set(available):
        raise HeadrestError(f"no {', '.join(providers)}; installed: {', '.join(available)}")
    try:
        session = ort.InferenceSession(data, options, providers=list(providers or available))
    except Exception as error:  # ONNX Runtime has no class of its own for them
        raise HeadrestError(f"{path}: no ONNX file that can be run") from error
    names = [[v.name for v in values] for values in (session.get_inputs(), session.get_outputs())]
    scaling = session.get_modelmeta().custom_metadata_map.get(SCALING)
    expected = f"{INPUT_LOW_HU:g} {INPUT_HIGH_HU:g}"
    if names != [[INPUT], [OUTPUT]] or scaling != expected:
        raise HeadrestError(
            f"{path}: not a network of `headrest export`: it needs the input {INPUT!r}, the output "
            f"{OUTPUT!r} and the metadata {SCALING!r} {expected!r}, not {names} and {scaling!r}"
        )
    return session
