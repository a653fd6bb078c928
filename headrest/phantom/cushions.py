"""Cushions and pads: foam or gel in a cover, in frames as in `supports`."""

import numpy as np

from headrest.phantom.shapes import box, ellipsoid, waves
from headrest.phantom.supports import Piece, channel, ends


def curved_cushion(points, p):
    """A foam arc with rounded horns, as lies in U-shaped holders."""
    x, y, z = points
    inner = channel(x, y, p["half_width"] * 0.8, p["depth_mm"] * 0.8, 2)
    body = np.maximum(abs(inner - p["thick_mm"] / 2) - p["thick_mm"] / 2, -y - p["arm_mm"] * 0.5)
    return [Piece(np.maximum(body, ends(z, p)), p["foam_hu"], p["cover_mm"], p["cover_hu"])]


def foam_block(points, p):
    """A plain block, slightly hollowed."""
    x, y, z = points
    hollow = p["thick_mm"] * 0.2 * np.clip(abs(x) / p["half_width"], 0, 1) ** 2
    block = box(
        [x, y + hollow, z],
        (0, p["thick_mm"] / 2, 0),
        (p["half_width"] * 0.9, p["thick_mm"] / 2, None),
        5,
    )
    return [Piece(np.maximum(block, ends(z, p)), p["foam_hu"], p["cover_mm"], p["cover_hu"])]


def pillow(points, p):
    """A pillow: thick in the middle, thin at the sides, creased."""
    x, y, z = points
    crease = 2.5 * waves(points, np.random.default_rng(p["seed"]), 45, 4)
    body = ellipsoid(
        [x, y + crease, z * 0], (0, p["thick_mm"], 0), (p["half_width"] * 1.35, p["thick_mm"], 1e3)
    )
    return [Piece(np.maximum(body, ends(z, p)), p["foam_hu"], p["cover_mm"], p["cover_hu"])]


def gel_pad(points, p):
    """A pad as dense as tissue."""
    x, y, z = points
    thick = p["thick_mm"] * 0.4 + 3
    pad = box(
        [x, y + 0.0015 * x * x, z],
        (0, thick, 0),
        (p["half_width"] * 0.6, thick, None),
        thick * 0.8,
    )
    return [Piece(np.maximum(pad, ends(z, p)), p["gel_hu"], 0.8, p["cover_hu"])]


def ring_donut(points, p):
    """A ring of foam or gel under the occiput."""
    x, y, z = points
    tube = p["thick_mm"] * 0.45 + 4
    ring = (
        np.sqrt(
            (np.sqrt(x * x + (z - p["ring_z"]) ** 2) - p["half_width"] * 0.65) ** 2
            + (y - tube) ** 2
        )
        - tube
    )
    return [
        Piece(
            ring,
            p["gel_hu"] if p["filling"] == "gel" else p["foam_hu"],
            p["cover_mm"],
            p["cover_hu"],
        )
    ]


def rolled_towel(points, p):
    """A towel rolled into a spiral under the neck."""
    x, y, z = points
    radius = p["thick_mm"] * 0.5 + 10
    away = np.sqrt((y - radius) ** 2 + (z - p["foot"] - 60) ** 2)
    turn = np.arctan2(z - p["foot"] - 60, y - radius)
    layers = abs(np.mod(away + turn * 0.8, 5) - 2.5) - 1.4
    roll = np.maximum(np.maximum(away - radius, layers), abs(x) - p["half_width"])
    return [Piece(roll, p["cover_hu"])]


def temple_wedges(points, p):
    """Wedges of foam pushed in at both temples; each side was settled by itself."""
    x, y, z = points
    pieces = []
    for name, side in (("left", 1), ("right", -1)):
        thick, tall = p["thick_mm"] * 0.7 + 5, p["tall_mm"] * 0.4
        middle = float(p[name]) + thick
        wedge = box(
            [side * x + 0.25 * (y - 10), y, z],
            (middle, 10, 0),
            (thick, tall, None),
            thick * p["round"],
        )
        wedge = np.maximum(wedge, ends(z, p))
        pieces.append(Piece(wedge, p["foam_hu"], p["cover_mm"], p["cover_hu"]))
    return pieces
