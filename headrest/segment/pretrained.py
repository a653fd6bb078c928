"""The network that ships: weights as plain arrays, checked before they are used, and their card."""

import json
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from headrest.segment.unet import build_unet, get_weights, keras_probability, set_weights
from headrest.segment.weights import PLACE, weights_card
from headrest.util.arrays import READ_ERRORS, check_finite, read_arrays
from headrest.util.backend import keras
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file, sha256

HEADER_ROOM = 192
"""Bytes that the header of a .npy file may take."""


@lru_cache(maxsize=1)
def load_pretrained() -> Callable[[np.ndarray], np.ndarray]:
    """Load the pretrained network.

    Returns
    -------
    callable, float32 (n, rows, columns), scaled as by `headrest.hounsfield.scale` -> float32 (n,
    rows, columns), probability of support.

    Raises
    ------
    HeadrestError
        If the files are damaged.
    """
    card = weights_card()
    model = build_unet(card["architecture"]["preset"])
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    set_weights(model, read_weights(PLACE / "headrest.npz", shapes, card["sha256"]))
    return keras_probability(model)


def write_weights(folder: str | Path, model: keras.Model, card: dict) -> dict:
    """Write a network's weights as float16 arrays, and their card beside them.

    Parameters
    ----------
    folder : path; gets headrest.npz and headrest.json.
    model : keras.Model
    card : dict that JSON can hold

    Returns
    -------
    dict, the card with "parameters", "keras" and "sha256" added.

    Raises
    ------
    HeadrestError
        Where a weight is no number that float16 holds.
    """
    weights: dict[str, Any] = {
        name: value.astype(np.float16) for name, value in get_weights(model).items()
    }
    check_finite(weights, "weights")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "headrest.npz") as aside:
        np.savez_compressed(aside, **weights)
    card = card | {
        "parameters": model.count_params(),
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
        "sha256": sha256(folder / "headrest.npz"),
    }
    with atomic_file(folder / "headrest.json") as aside:
        aside.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return json.loads(json.dumps(card))


def read_weights(
    path: str | Path, wanted: dict[str, tuple[int, ...]], digest: str
) -> dict[str, np.ndarray]:
    """Read weights, after names, shapes and sizes have been checked.

    Parameters
    ----------
    path : path of an .npz file.
    wanted : dict of str to shape.
    digest : str, SHA-256 of the file.

    Returns
    -------
    dict of str to float32 array

    Raises
    ------
    HeadrestError
        Where the file is another one, or cut, or holds anything but these arrays.
    """
    try:
        if sha256(path) != digest:
            raise HeadrestError(f"{path}: its SHA-256 differs from its card; install headrest anew")
        _check_members(path, wanted)
        weights = read_arrays(path)
    except READ_ERRORS as error:
        raise HeadrestError(f"{path}: damaged weights ({type(error).__name__})") from error
    odd = [name for name, shape in wanted.items() if weights[name].shape != shape]
    odd += [name for name, value in weights.items() if value.dtype != np.float16]
    if odd:
        raise HeadrestError(f"{path}: weights of another network ({odd[0]})")
    check_finite(weights, "weights")
    return {name: value.astype(np.float32) for name, value in weights.items()}


def _check_members(path, wanted):
    """Names, and sizes as they unpack, before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
    if sorted(sizes) != sorted(wanted):
        raise HeadrestError(f"{path}: weights of another network")
    for name, shape in wanted.items():
        if sizes[name] > 2 * np.prod(shape, dtype=int) + HEADER_ROOM:
            raise HeadrestError(f"{path}: {name} is larger than its network's")
