"""Small hard things about a holder: cables, bolts, clamps, an infusion line."""

import numpy as np

from headrest.phantom.shapes import box, capsule, chain, cylinder, sphere
from headrest.phantom.supports import Piece, ends


def cables(points, p):
    """Cables beside the head: copper in a sheath."""
    x, y, z = points
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for _ in range(p["count"]):
        side, _ = int(rng.choice([-1, 1])), rng.uniform()  # the second keeps seeds what they were
        bend = rng.uniform(0, 12) * np.sin(z / rng.uniform(25, 60))
        wire = np.sqrt(
            (x - side * (p["half_width"] + rng.uniform(10, 30)) - bend) ** 2
            + (y + rng.uniform(-20, 90) + 0.3 * z) ** 2
        )
        pieces += [
            Piece(wire - 1.2 - p["cover_mm"], p["cable_hu"]),
            Piece(wire - 0.6, p["copper_hu"]),
        ]
    return pieces


def bolts(points, p):
    """Bolts, knobs and clamps of a holder."""
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for _ in range(p["count"]):
        at = (
            int(rng.choice([-1, 1])) * (p["half_width"] + rng.uniform(12, 35)),
            rng.uniform(-50, 35),
            rng.uniform(-90, 80),
        )
        shaft = capsule(points, at, (at[0] * 1.12, at[1], at[2]), rng.uniform(2, 5))
        knob = cylinder(
            points, (at[0] * 1.15, at[1], at[2]), rng.uniform(5, 11), rng.uniform(4, 10), axis=0
        )
        pieces += [Piece(knob, p["knob_hu"]), Piece(shaft, p["bolt_hu"])]
    return pieces


def clamps(points, p):
    """Clips that hold mask or board at both sides."""
    x, y, z = points
    near = np.mod(z, 60) - 30
    clip = box([abs(x), y, near], (p["half_width"] + 25, 0, 0), (p["tall_mm"] * 0.12 + 4, 9, 12), 2)
    pin = sphere([abs(x), y, near], (p["half_width"] + 25, 0, 0), 3)
    return [
        Piece(np.maximum(clip, ends(z, p)), p["knob_hu"]),
        Piece(np.maximum(pin, ends(z, p)), p["bolt_hu"]),
    ]


def drip_line(points, p):
    """An infusion line or oxygen tube lying on the holder: a thin hollow hose."""
    x, y, z = points
    hose = chain(
        [x, y, z * 0],
        (
            (-p["half_width"] - 25, 10, 0),
            (-p["half_width"], -12, 0),
            (-p["half_width"] - 15, -60, 0),
        ),
        3.2,
    )
    return [Piece(np.maximum(abs(hose + 0.7) - 0.7, ends(z, p)), p["hose_hu"])]
