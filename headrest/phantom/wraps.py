"""What is wrapped about the head: moulded cushions, straps, linen, blankets, masks.

Each takes, besides its points in the table frame, the distance to skin or ear in mm.
"""

import numpy as np

from headrest.phantom.shapes import waves
from headrest.phantom.supports import Piece, channel, ends


def cradle_cushion(points, skin, p):
    """A cushion moulded to the back of the head."""
    _x, y, z = points
    lumps = 2.5 * waves(points, np.random.default_rng(p["seed"]), 60, 4)
    body = np.maximum(skin - p["gap_mm"] - p["thick_mm"] - lumps, p["gap_mm"] - skin)
    body = np.maximum(np.maximum(body, p["from_y"] - y), ends(z, p))
    return [Piece(body, p["foam_hu"], p["cover_mm"], p["cover_hu"])]


def vacuum_cushion(points, skin, p):
    """A bag of beads drawn hard around head and neck, its walls of foil."""
    x, y, z = points
    lumps = 7 * waves(points, np.random.default_rng(p["seed"]), 70, 4)
    outer = channel(x, y - p["from_y"] - 70, 130, 90, 2.5) + lumps
    body = np.maximum(np.maximum(outer, p["gap_mm"] - skin), p["from_y"] + 0.2 * lumps - y)
    return [Piece(np.maximum(body, ends(z, p)), p["foam_hu"], 0.9, p["cover_hu"])]


def strap(points, skin, p):
    """A band over brow or chin that runs down to the holder."""
    x, y, z = points
    wavy = p["gap_mm"] + p["slack_mm"] * (0.5 + 0.5 * np.sin(x * 0.05 + p["seed"] % 6))
    band = abs(skin - wavy - p["cloth_mm"] / 2) - p["cloth_mm"] / 2
    band = np.maximum(
        np.maximum(band, abs(z - p["strap_z"] + 0.2 * (y + 60)) - p["strap_mm"] / 2), y - 25
    )
    return [Piece(band, p["strap_hu"])]


def linen(points, skin, p):
    """Sheets between head and holder: stuck to the skin below it, folded beside it, at times
    double."""
    x, y, z = points
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for number in range(p["sheets"]):
        folds = (
            p["fold_mm"]
            * waves([x, 0.0 * y, z * 0.3], rng, 55, 4)
            * np.clip((abs(x) - 30) / 50, 0.15, 1.2)
        )
        level = p["from_y"] + 45 + 6 * number + folds - 0.0008 * x * x
        wrinkles = p["wrinkle_mm"] * waves([x, y, 0.4 * z], rng, 13, 5, 0.5)
        loose = 0.25 * p["fold_mm"] * np.maximum(waves([x, y, 0.5 * z], rng, 40, 4), 0) ** 2
        under_head = skin - p["gap_mm"] - 1.5 * number - loose - np.maximum(wrinkles, 0)
        above = np.minimum(under_head, y - level - wrinkles)
        sheet = abs(above - p["cloth_mm"] / 2) - p["cloth_mm"] / 2
        pieces.append(
            Piece(
                np.maximum(np.maximum(sheet, abs(x) - p["sheet_mm"]), p["from_y"] - 5 - y),
                p["cloth_hu"],
            )
        )
    return pieces


def blanket(points, skin, p):
    """A blanket over neck and shoulders, in folds over itself."""
    _x, y, z = points
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for number in range(p["sheets"] + 1):
        folds = p["fold_mm"] * (1 + waves(points, rng, 60, 4))
        layer = abs(skin - p["gap_mm"] - 2 - 5 * number - abs(folds)) - p["cloth_mm"] / 2
        pieces.append(
            Piece(np.maximum(np.maximum(layer, z - p["blanket_z"]), y - 20), p["cloth_hu"])
        )
    return pieces


def thermoplastic_mask(points, skin, p):
    """A mesh moulded over the face."""
    x, y, z = points
    around = np.arctan2(x, -y) * 75
    pitch = p["mesh_mm"]
    holes = 0.42 * pitch - np.sqrt(
        (np.mod(around, pitch) - pitch / 2) ** 2 + (np.mod(z, pitch) - pitch / 2) ** 2
    )
    sheet = abs(skin - p["gap_mm"] - p["cloth_mm"] / 2) - p["cloth_mm"] / 2
    return [Piece(np.maximum(np.maximum(np.maximum(sheet, holes), y - 30), z - 70), p["mask_hu"])]
