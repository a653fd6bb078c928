"""Shapes of rigid supports (head holders, couches) and of small parts.

A shape takes x, y, z of points (float32 arrays in mm that broadcast together) and the parameters
of a support. Its frame: x to the patient's left, y down, z to the vertex, the upper face at y = 0.
`soft_shapes` has cushions, cloth and masks.
"""

from typing import NamedTuple

import numpy as np

from headrest.phantom.ranges import Parameters
from headrest.phantom.scene import Array, box, capsule, chain, cylinder, intersection, sphere, union

PEDESTAL_AIR_HU = -985.0  # inside its box frame


class Piece(NamedTuple):
    """A solid of one material."""

    distance: Array  # to its surface in mm, negative inside
    hu: float
    wall_mm: float = 0.0  # its surface layer of another material; none where it is 0
    wall_hu: float = 0.0
    grain_mm: float = 0.0  # size and standard deviation of its granular texture
    grain_hu: float = 0.0
    thin_mm: float | Array = 0.0  # of a sheet: its volume is exact where thinner than a pixel


def channel(x: Array, y: Array, half_width: float, depth: float, power: float) -> Array:
    """Distance to the inside of a U-shaped channel open to the top, its floor at y = 0."""
    low = np.maximum(y + depth, 0) / depth
    radius = ((abs(x) / half_width) ** power + low**power) ** (1 / power)
    return (radius - 1) * min(half_width, depth)


def sheet(inside: Array, thickness_mm: float) -> Array:
    """Distance to a layer of `thickness_mm` on the outside of a solid."""
    return abs(inside - thickness_mm / 2) - thickness_mm / 2


def ends(z: Array, p: Parameters) -> Array:
    """Distance beyond the ends of a support along the table."""
    return np.maximum(z - p["top"], p["foot"] - z)


def _sandwich(body, p, share=0.5):
    """A foam core in a stiff skin."""
    return [Piece(body, p["foam_hu"], p["wall_mm"] * share, p["hu"])]


def u_shell(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A U-shaped shell of carbon or plastic, open to the top."""
    inside = channel(x * (1 + p["taper"] * z / 100), y, p["half_width"], p["depth_mm"], p["power"])
    return [Piece(intersection(sheet(inside, p["wall_mm"]), -y - p["arm_mm"], ends(z, p)), p["hu"])]


def double_shell(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Two nested shells with foam between them."""
    inside = channel(x, y, p["half_width"], p["depth_mm"], p["power"])
    return _sandwich(intersection(sheet(inside, p["core_mm"]), -y - p["arm_mm"], ends(z, p)), p)


def trough(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A flat floor with straight slanting walls, like bent sheet metal."""
    slope = float(np.hypot(1, p["slant"]))
    inside = np.maximum(y, (abs(x) - p["half_width"] * 0.8 - p["slant"] * -y) / slope)
    wall = intersection(sheet(inside, p["wall_mm"]), -y - p["arm_mm"] * 0.7, ends(z, p))
    return [Piece(wall, p["hu"])]


def side_rails(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Two bent plates beside the head, each at its own distance, or only one."""
    low, pieces = np.clip(y - p["bend_y"], 0, None), []
    for name, side in (("left", 1), ("right", -1)):
        if p["only"] in (name, "both"):
            across = side * x - p[name] + p["bend"] * low * low + p["lean"] * (y - p["bend_y"])
            tall = abs(y - p["bend_y"]) - p["tall_mm"] / 2
            rail = intersection(sheet(across, p["wall_mm"]), tall, ends(z, p))
            pieces.append(Piece(rail, p["hu"]))
    return pieces


def open_arms(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Short thick arms on a narrow floor, with a foam core or solid."""
    half, bar = p["half_width"], p["bar_mm"]
    arm = capsule([abs(x), y, z * 0], (half * 0.75, 4, 0), (half + 6, -p["arm_mm"] * 0.6, 0), bar)
    floor = box([x, y - bar, z], (0, 2, 0), (half * 0.8, p["wall_mm"], None))
    body = intersection(union(arm, floor), ends(z, p))
    return _sandwich(body, p if p["has_foam"] == "yes" else p | {"foam_hu": p["hu"]})


def flat_board(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A radiotherapy board: a stiff skin around a foam core, with index notches."""
    thick, wide = p["thick_mm"] / 2, p["wide_mm"]
    notch = cylinder([abs(x), y, np.mod(z, 70) - 35], (wide - 5, 0, 0), 8, axis=1)
    slab = box([x, y, z], (0, thick, 0), (wide, thick, None), 2)
    return _sandwich(intersection(slab, ends(z, p), -notch), p, 0.4)


def curved_couch(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A couch top: two shallow arcs of carbon with foam between them."""
    upper = p["radius_mm"] - np.sqrt(x * x + (y + p["radius_mm"]) ** 2)
    deep = p["radius_mm"] * p["belly"]
    lower = np.sqrt(x * x + (y + deep) ** 2) - deep - p["thick_mm"]
    return _sandwich(intersection(upper, lower, abs(x) - p["wide_mm"]) + 0 * z, p)


def flat_couch(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A flat couch top with rounded sides and a foam core."""
    thick = p["thick_mm"] / 2
    slab = box([x, y, z], (0, thick, 0), (p["wide_mm"], thick, None), p["thick_mm"] * 0.45)
    return _sandwich(slab, p)


def head_cup(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A bowl around the back of the head, closed beyond the vertex."""
    deep = p["depth_mm"]
    low, beyond = np.maximum(y + deep, 0), np.maximum(z - p["top"] + 60, 0)
    bowl = np.sqrt((x / p["half_width"]) ** 2 + low**2 / deep**2 + beyond**2 / 80**2)
    inside = (bowl - 1) * min(deep, p["half_width"])
    wall = intersection(sheet(inside, p["wall_mm"]), -y - p["arm_mm"] * 0.6, p["foot"] - z)
    return [Piece(wall, p["hu"])]


def pedestal(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """An empty box frame with struts that carries the head."""
    half, tall = p["half_width"], p["bar_mm"] + 10
    frame = box([x, y, z], (0, tall, 0), (half * 0.7, tall, None), 4)
    strut = capsule([abs(x), y, z * 0], (half * 0.6, 20, 0), (half * 1.1, 60, 0), 4)
    return [
        Piece(intersection(frame, ends(z, p)), PEDESTAL_AIR_HU, p["wall_mm"] * 0.6, p["hu"]),
        Piece(intersection(strut, ends(z, p)), p["hu"]),
    ]


def skull_clamp(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A surgical clamp: a thick arc with pins towards the skull."""
    half, deep, level = p["half_width"], p["depth_mm"], p["pin_z"]
    radial = np.sqrt(x * x + (y + deep) ** 2) - half - 38
    arc = np.maximum(np.sqrt(radial**2 + (z - level) ** 2) - p["bar_mm"], -(y + deep) - 30)
    base, tip = (half + 30, -deep - 15, level), (half - 2, -deep - 8, level)
    pins = capsule([abs(x), y, z], base, tip, 4, 1.5)
    return [Piece(arc, p["hu"]), Piece(pins, p["pin_hu"])]


def couch_rails(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Metal profiles under a couch, slanting or upright."""
    half = abs(x) - p["half_width"] * 0.9
    corners = ((0, 70, 0), (45, 28, 0), (70, 24, 0))
    slant = chain([half, y, z * 0], corners, 1.6 + p["wall_mm"] * 0.2)
    tube = abs(box([half, y, z], (20, 75, 0), (9, 14, None), 3) + 1) - 1
    return [Piece(slant if p["profile"] == "slant" else tube, p["metal_hu"])]


def cables(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Cables beside the head: copper in a sheath."""
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for _ in range(p["count"]):
        side, _ = int(rng.choice([-1, 1])), rng.uniform()  # unused number: keeps the order of draws
        bend = rng.uniform(0, 12) * np.sin(z / rng.uniform(25, 60))
        across = x - side * (p["half_width"] + rng.uniform(10, 30)) - bend
        wire = np.sqrt(across**2 + (y + rng.uniform(-20, 90) + 0.3 * z) ** 2)
        pieces.append(Piece(wire - 1.2 - p["cover_mm"], p["cable_hu"]))
        pieces.append(Piece(wire - 0.6, p["copper_hu"]))
    return pieces


def bolts(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Bolts with knobs at the sides of the head."""
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for _ in range(p["count"]):
        out = int(rng.choice([-1, 1])) * (p["half_width"] + rng.uniform(12, 35))
        at = rng.uniform(-50, 35), rng.uniform(-90, 80)
        shaft = capsule([x, y, z], (out, *at), (out * 1.12, *at), rng.uniform(2, 5))
        radius, half_length = rng.uniform(5, 11), rng.uniform(4, 10)
        knob = cylinder([x, y, z], (out * 1.15, *at), radius, half_length, axis=0)
        pieces += [Piece(knob, p["knob_hu"]), Piece(shaft, p["bolt_hu"])]
    return pieces


def clamps(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Clips that fix a mask or a board at both sides."""
    near, at = [abs(x), y, np.mod(z, 60) - 30], (p["half_width"] + 25, 0, 0)
    clip = box(near, at, (p["tall_mm"] * 0.12 + 4, 9, 12), 2)
    parts = ((clip, "knob_hu"), (sphere(near, at, 3), "bolt_hu"))
    return [Piece(intersection(part, ends(z, p)), p[hu]) for part, hu in parts]


def drip_line(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Infusion lines or oxygen tubes beside the head: thin hoses."""
    rng, pieces = np.random.default_rng(p["seed"]), []
    for _ in range(p["count"]):
        half = p["half_width"] + rng.uniform(-2, 12)
        side, radius = rng.uniform((-1, 1.6), (1, 3.4))
        corners = ((half + 25, 10, 0), (half, rng.uniform(-50, 10), 0), (half + 15, -70, 0))
        across, down = x * np.sign(side) + 0.2 * side * z, y + 0.3 * side * z
        hose = chain([across, down, z * 0], corners, radius)
        pieces.append(Piece(intersection(abs(hose + 0.6) - 0.6, ends(z, p)), p["hose_hu"]))
    return pieces


def covered_shell(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A U-shaped shell with a foam lining in a cover."""
    inside = channel(x, y, p["half_width"], p["depth_mm"], p["power"])
    lining = intersection(sheet(inside + p["core_mm"], p["core_mm"]), -y - p["arm_mm"], ends(z, p))
    foam = p["grain_mm"], p["grain_hu"]
    return [*u_shell(x, y, z, p), Piece(lining, p["foam_hu"], p["cover_mm"], p["cover_hu"], *foam)]


def neck_plate(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A base plate below the neck, with side walls and pegs."""
    thick, wide = p["wall_mm"], p["half_width"] * 1.15
    plate = box([x, y - thick, z], (0, 0, 0), (wide + 20, thick, None), 2)
    wall = box([abs(x), y, z], (wide, -p["tall_mm"] / 2, 0), (thick / 2, p["tall_mm"] / 2, None))
    peg = cylinder([abs(x), y, np.mod(z, 45) - 22], (wide - 14, 0, 0), p["peg_mm"], p["tall_mm"], 1)
    body = intersection(union(plate, wall, peg), ends(z, p), z - p["plate_z"])
    return [Piece(body, p["hu"])]


def border_arc(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A sliver of a cradle at the border of the field of view, whose diameter is "field_mm"."""
    away = np.sqrt(x * x + (y - p["field_mm"] / 2 + p["inside_mm"] + p["radius_mm"]) ** 2)
    near_border = intersection(0.43 * p["field_mm"] - np.hypot(x, y), 0.2 * p["field_mm"] - y)
    body = intersection(sheet(away - p["radius_mm"], p["thick_mm"]), near_border)
    return [Piece(body + 0 * z, p["foam_hu"], p["cover_mm"], p["cover_hu"])]
