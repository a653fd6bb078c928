"""Shapes of supports: head holders, couches, cushions, sheets, straps, and small parts.

A shape takes x, y, z of points (float32 arrays in mm that broadcast together) and the parameters
of a support. Its frame: x to the patient's left, y down, z to the vertex, the upper face at y = 0.
A shape that follows the skin takes points of the table, and the distance to the skin in mm.
"""

from typing import NamedTuple

import numpy as np

from headrest.phantom.materials import Parameters
from headrest.phantom.shapes import (
    Array,
    box,
    capsule,
    chain,
    channel,
    cylinder,
    ellipsoid,
    intersection,
    sheet,
    sphere,
    union,
    waves,
)

PEDESTAL_AIR_HU = -985.0  # inside its box frame


class Piece(NamedTuple):
    """A solid of one material, with an inner wall of another where `wall_mm` is not zero."""

    distance: Array
    hu: float
    wall_mm: float = 0.0
    wall_hu: float = 0.0


def ends(z: Array, p: Parameters) -> Array:
    """Distance beyond the ends of a support along the table."""
    return np.maximum(z - p["top"], p["foot"] - z)


def _sandwich(body, p, share=0.5):
    """A foam core in a stiff skin."""
    return [Piece(body, p["foam_hu"], p["wall_mm"] * share, p["hu"])]


def _covered(body, p):
    """Foam in a cover."""
    return [Piece(body, p["foam_hu"], p["cover_mm"], p["cover_hu"])]


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
    """An infusion line or oxygen tube beside the head: a thin hose."""
    half = p["half_width"]
    corners = ((-half - 25, 10, 0), (-half, -12, 0), (-half - 15, -60, 0))
    hose = chain([x, y, z * 0], corners, 3.2)
    return [Piece(intersection(abs(hose + 0.7) - 0.7, ends(z, p)), p["hose_hu"])]


def curved_cushion(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A foam arc with rounded horns that lies in a U-shaped shell."""
    inner = channel(x, y, p["half_width"] * 0.8, p["depth_mm"] * 0.8, 2)
    body = intersection(sheet(inner, p["thick_mm"]), -y - p["arm_mm"] * 0.5, ends(z, p))
    return _covered(body, p)


def foam_block(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A block with a slight depression."""
    thick, half = p["thick_mm"] / 2, p["half_width"]
    depression = p["thick_mm"] * 0.2 * np.clip(abs(x) / half, 0, 1) ** 2
    block = box([x, y + depression, z], (0, thick, 0), (half * 0.9, thick, None), 5)
    return _covered(intersection(block, ends(z, p)), p)


def pillow(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A pillow: thick in the middle, thin at the sides, creased."""
    thick = p["thick_mm"]
    crease = 2.5 * waves([x, y, z], np.random.default_rng(p["seed"]), 45, 4)
    axes = (p["half_width"] * 1.35, thick, 1e3)
    body = ellipsoid([x, y + crease, z * 0], (0, thick, 0), axes)
    return _covered(intersection(body, ends(z, p)), p)


def gel_pad(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A pad as dense as tissue."""
    thick = p["thick_mm"] * 0.4 + 3
    axes = (p["half_width"] * 0.6, thick, None)
    pad = box([x, y + 0.0015 * x * x, z], (0, thick, 0), axes, thick * 0.8)
    return [Piece(intersection(pad, ends(z, p)), p["gel_hu"], 0.8, p["cover_hu"])]


def ring_donut(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A ring of foam or gel under the occiput."""
    tube = p["thick_mm"] * 0.45 + 4
    across = np.sqrt(x * x + (z - p["ring_z"]) ** 2) - p["half_width"] * 0.65
    ring = np.sqrt(across**2 + (y - tube) ** 2) - tube
    return _covered(ring, p if p["filling"] == "foam" else p | {"foam_hu": p["gel_hu"]})


def rolled_towel(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A towel rolled into a spiral under the neck."""
    radius = p["thick_mm"] * 0.5 + 10
    away = np.sqrt((y - radius) ** 2 + (z - p["foot"] - 60) ** 2)
    turn = np.arctan2(z - p["foot"] - 60, y - radius)
    layers = abs(np.mod(away + turn * 0.8, 5) - 2.5) - 1.4
    return [Piece(intersection(away - radius, layers, abs(x) - p["half_width"]), p["cover_hu"])]


def temple_wedges(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Wedges of foam pushed in at both temples, each at its own distance."""
    thick, tall = p["thick_mm"] * 0.7 + 5, p["tall_mm"] * 0.4
    pieces = []
    for name, side in (("left", 1), ("right", -1)):
        slanted, at = [side * x + 0.25 * (y - 10), y, z], (float(p[name]) + thick, 10, 0)
        wedge = box(slanted, at, (thick, tall, None), thick * p["round"])
        pieces += _covered(intersection(wedge, ends(z, p)), p)
    return pieces


def cradle_cushion(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A cushion moulded to the back of the head."""
    lumps = 2.5 * waves([x, y, z], np.random.default_rng(p["seed"]), 60, 4)
    outer, inner = skin - p["gap_mm"] - p["thick_mm"] - lumps, p["gap_mm"] - skin
    return _covered(intersection(outer, inner, p["from_y"] - y, ends(z, p)), p)


def vacuum_cushion(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A vacuum bag of beads around head and neck, its walls of foil."""
    lumps = 7 * waves([x, y, z], np.random.default_rng(p["seed"]), 70, 4)
    outer = channel(x, y - p["from_y"] - 70, 130, 90, 2.5) + lumps
    front = p["from_y"] + 0.2 * lumps - y
    body = intersection(outer, p["gap_mm"] - skin, front, ends(z, p))
    return [Piece(body, p["foam_hu"], 0.9, p["cover_hu"])]


def strap(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A band over brow or chin that runs down beside the head."""
    wavy = p["gap_mm"] + p["slack_mm"] * (0.5 + 0.5 * np.sin(x * 0.05 + p["seed"] % 6))
    along = abs(z - p["strap_z"] + 0.2 * (y + 60)) - p["strap_mm"] / 2
    return [Piece(intersection(sheet(skin - wavy, p["cloth_mm"]), along, y - 25), p["strap_hu"])]


def linen(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """Sheets under the head: along the skin below it, creased beside it."""
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for number in range(p["sheets"]):
        beside = np.clip((abs(x) - 30) / 50, 0.15, 1.2)
        creases = p["fold_mm"] * waves([x, 0.0 * y, z * 0.3], rng, 55, 4) * beside
        level = p["from_y"] + 45 + 6 * number + creases - 0.0008 * x * x
        wrinkles = p["wrinkle_mm"] * waves([x, y, 0.4 * z], rng, 13, 5, 0.5)
        loose = 0.25 * p["fold_mm"] * np.maximum(waves([x, y, 0.5 * z], rng, 40, 4), 0) ** 2
        under_head = skin - p["gap_mm"] - 1.5 * number - loose - np.maximum(wrinkles, 0)
        cloth = sheet(np.minimum(under_head, y - level - wrinkles), p["cloth_mm"])
        body = intersection(cloth, abs(x) - p["sheet_mm"], p["from_y"] - 5 - y)
        pieces.append(Piece(body, p["cloth_hu"]))
    return pieces


def blanket(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A blanket over neck and shoulders, in layers."""
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for number in range(p["sheets"] + 1):
        creases = p["fold_mm"] * (1 + waves([x, y, z], rng, 60, 4))
        layer = abs(skin - p["gap_mm"] - 2 - 5 * number - abs(creases)) - p["cloth_mm"] / 2
        pieces.append(Piece(intersection(layer, z - p["blanket_z"], y - 20), p["cloth_hu"]))
    return pieces


def thermoplastic_mask(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A mesh moulded over the face."""
    pitch = p["mesh_mm"]
    around, along = (np.mod(v, pitch) - pitch / 2 for v in (np.arctan2(x, -y) * 75, z))
    holes = 0.42 * pitch - np.sqrt(around**2 + along**2)
    mesh = sheet(skin - p["gap_mm"], p["cloth_mm"])
    return [Piece(intersection(mesh, holes, y - 30, z - 70), p["mask_hu"])]
