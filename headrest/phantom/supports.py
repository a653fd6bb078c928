"""Holders and couches: hard supports, each a named function in its own frame.

The frame of a support: x to the patient's left, y down, z to the vertex, in mm; y = 0 is where its
upper face lies in the middle. A support returns pieces; placing them against the head is the
business of `placing`.
"""

from typing import NamedTuple

import numpy as np

from headrest.phantom.shapes import box, capsule, chain, cylinder


class Piece(NamedTuple):
    """A body of one material, at times with a wall of another on its inner side."""

    distance: np.ndarray
    hu: float
    wall_mm: float = 0.0
    wall_hu: float = 0.0


def channel(x, y, half_width, depth, power):
    """Distance to the inside of a U-shaped channel open to the top, its floor at y = 0."""
    low = np.maximum(y + depth, 0) / depth
    return (((abs(x) / half_width) ** power + low**power) ** (1 / power) - 1) * min(
        half_width, depth
    )


def ends(z, p):
    """Distance beyond the ends of a support along the table."""
    return np.maximum(z - p["top"], p["foot"] - z)


def u_shell(points, p):
    """A U-shaped shell of carbon or plastic, its arms open to the top."""
    x, y, z = points
    inside = channel(x * (1 + p["taper"] * z / 100), y, p["half_width"], p["depth_mm"], p["power"])
    wall = abs(inside - p["wall_mm"] / 2) - p["wall_mm"] / 2
    return [Piece(np.maximum(np.maximum(wall, -y - p["arm_mm"]), ends(z, p)), p["hu"])]


def double_shell(points, p):
    """Two nested shells with foam between them."""
    x, y, z = points
    inside = channel(x, y, p["half_width"], p["depth_mm"], p["power"])
    body = np.maximum(
        np.maximum(abs(inside - p["core_mm"] / 2) - p["core_mm"] / 2, -y - p["arm_mm"]), ends(z, p)
    )
    return [Piece(body, p["foam_hu"], p["wall_mm"] * 0.5, p["hu"])]


def trough(points, p):
    """A flat floor with straight slanting walls, as of bent sheet."""
    x, y, z = points
    slope = float(np.hypot(1, p["slant"]))
    inside = np.maximum(y, (abs(x) - p["half_width"] * 0.8 - p["slant"] * -y) / slope)
    wall = np.maximum(
        abs(inside - p["wall_mm"] / 2) - p["wall_mm"] / 2,
        np.maximum(-y - p["arm_mm"] * 0.7, ends(z, p)),
    )
    return [Piece(wall, p["hu"])]


def side_rails(points, p):
    """Two bent plates beside the head; each stands where its own side was settled, at times only
    one."""
    pieces = []
    for name, side in (("left", 1), ("right", -1)):
        if p["only"] in (name, "both"):
            pieces.append(_rail(points, p, side, p[name]))
    return pieces


def _rail(points, p, side, offset):
    x, y, z = points
    low = np.clip(y - p["bend_y"], 0, None)
    across = side * x - offset + p["bend"] * low * low + p["lean"] * (y - p["bend_y"])
    plate = abs(across - p["wall_mm"] / 2) - p["wall_mm"] / 2
    return Piece(
        np.maximum(np.maximum(plate, abs(y - p["bend_y"]) - p["tall_mm"] / 2), ends(z, p)), p["hu"]
    )


def open_arms(points, p):
    """Short thick arms standing on a narrow floor, hollow or solid."""
    x, y, z = points
    arm = capsule(
        [abs(x), y, z * 0],
        (p["half_width"] * 0.75, 4, 0),
        (p["half_width"] + 6, -p["arm_mm"] * 0.6, 0),
        p["bar_mm"],
    )
    floor = box([x, y - p["bar_mm"], z], (0, 2, 0), (p["half_width"] * 0.8, p["wall_mm"], None))
    body = np.maximum(np.minimum(arm, floor), ends(z, p))
    return [
        Piece(body, p["foam_hu"] if p["hollow"] == "yes" else p["hu"], p["wall_mm"] * 0.5, p["hu"])
    ]


def flat_board(points, p):
    """A radiotherapy board: stiff skin round a foam core, with index notches."""
    x, y, z = points
    notch = cylinder([abs(x), y, np.mod(z, 70) - 35], (p["wide_mm"] - 5, 0, 0), 8, axis=1)
    slab = np.maximum(
        box([x, y, z], (0, p["thick_mm"] / 2, 0), (p["wide_mm"], p["thick_mm"] / 2, None), 2),
        ends(z, p),
    )
    return [Piece(np.maximum(slab, -notch), p["foam_hu"], p["wall_mm"] * 0.4, p["hu"])]


def curved_couch(points, p):
    """A couch top: a shallow double wall of carbon round foam."""
    x, y, z = points
    upper = p["radius_mm"] - np.sqrt(x * x + (y + p["radius_mm"]) ** 2)
    deep = p["radius_mm"] * p["belly"]
    lower = np.sqrt(x * x + (y + deep) ** 2) - deep - p["thick_mm"]
    body = np.maximum(np.maximum(upper, lower), abs(x) - p["wide_mm"])
    return [Piece(body + 0 * z, p["foam_hu"], p["wall_mm"] * 0.5, p["hu"])]


def flat_couch(points, p):
    """A flat couch top with rounded sides and a foam core."""
    x, y, z = points
    slab = box(
        [x, y, z],
        (0, p["thick_mm"] / 2, 0),
        (p["wide_mm"], p["thick_mm"] / 2, None),
        p["thick_mm"] * 0.45,
    )
    return [Piece(slab, p["foam_hu"], p["wall_mm"] * 0.5, p["hu"])]


def head_cup(points, p):
    """A bowl around the back of the head, closed beyond the vertex."""
    x, y, z = points
    deep = p["depth_mm"]
    bowl = np.sqrt(
        (x / p["half_width"]) ** 2
        + np.maximum(y + deep, 0) ** 2 / deep**2
        + np.maximum(z - p["top"] + 60, 0) ** 2 / 80**2
    )
    inside = (bowl - 1) * min(deep, p["half_width"])
    wall = np.maximum(
        abs(inside - p["wall_mm"] / 2) - p["wall_mm"] / 2,
        np.maximum(-y - p["arm_mm"] * 0.6, p["foot"] - z),
    )
    return [Piece(wall, p["hu"])]


def pedestal(points, p):
    """A box frame with struts that carries the head, hollow."""
    x, y, z = points
    frame = box(
        [x, y, z], (0, p["bar_mm"] + 10, 0), (p["half_width"] * 0.7, p["bar_mm"] + 10, None), 4
    )
    strut = capsule(
        [abs(x), y, z * 0], (p["half_width"] * 0.6, 20, 0), (p["half_width"] * 1.1, 60, 0), 4
    )
    return [
        Piece(np.maximum(frame, ends(z, p)), -985.0, p["wall_mm"] * 0.6, p["hu"]),
        Piece(np.maximum(strut, ends(z, p)), p["hu"]),
    ]


def skull_clamp(points, p):
    """A surgical clamp: a thick arc with pins towards the skull."""
    x, y, z = points
    level = p["pin_z"]
    arc = (
        np.sqrt(
            (np.sqrt(x * x + (y + p["depth_mm"]) ** 2) - p["half_width"] - 38) ** 2
            + (z - level) ** 2
        )
        - p["bar_mm"]
    )
    arc = np.maximum(arc, -(y + p["depth_mm"]) - 30)
    pins = np.minimum.reduce(
        [
            capsule(
                points,
                (s * (p["half_width"] + 30), -p["depth_mm"] - 15, level),
                (s * (p["half_width"] - 2), -p["depth_mm"] - 8, level),
                4,
                1.5,
            )
            for s in (-1, 1)
        ]
    )
    return [Piece(arc, p["hu"]), Piece(pins, p["pin_hu"])]


def couch_rails(points, p):
    """Metal profiles under a couch, slanting or upright."""
    x, y, z = points
    half = abs(x) - p["half_width"] * 0.9
    slant = chain(
        [half, y, z * 0], ((0, 70, 0), (45, 28, 0), (70, 24, 0)), 1.6 + p["wall_mm"] * 0.2
    )
    tube = abs(box([half, y, z], (20, 75, 0), (9, 14, None), 3) + 1) - 1
    return [Piece(slant if p["profile"] == "slant" else tube, p["metal_hu"])]
