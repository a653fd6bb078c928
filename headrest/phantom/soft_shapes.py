"""Shapes of soft supports: cushions, cloth, straps and masks.

As in `support_shapes`. A shape that follows the skin takes points of the table and the distance to
the skin in mm.
"""

import numpy as np

from headrest.phantom.ranges import Parameters
from headrest.phantom.scene import Array, box, ellipsoid, intersection, waves
from headrest.phantom.support_shapes import Piece, channel, ends, sheet


def _covered(body, points, p):
    """Foam in a cover, and a second, loose cover with creases around it."""
    foam = Piece(body, p["foam_hu"], p["cover_mm"], p["cover_hu"], p["grain_mm"], p["grain_hu"])
    if not p["loose_mm"]:
        return [foam]
    creases = waves(points, np.random.default_rng(p["seed"]), 35, 3)
    thick = max(p["cover_mm"], 0.6)
    loose = sheet(body - p["loose_mm"] * np.clip(0.6 + 0.5 * creases, 0.1, 2), thick)
    return [foam, Piece(loose, p["cover_hu"], thin_mm=thick)]


def curved_cushion(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A foam arc with rounded horns that lies in a U-shaped shell."""
    inner = channel(x, y, p["half_width"] * 0.8, p["depth_mm"] * 0.8, 2)
    body = intersection(sheet(inner, p["thick_mm"]), -y - p["arm_mm"] * 0.5, ends(z, p))
    return _covered(body, [x, y, z], p)


def foam_block(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A block with a slight depression."""
    thick, half = p["thick_mm"] / 2, p["half_width"]
    depression = p["thick_mm"] * 0.2 * np.clip(abs(x) / half, 0, 1) ** 2
    block = box([x, y + depression, z], (0, thick, 0), (half * 0.9, thick, None), 5)
    return _covered(intersection(block, ends(z, p)), [x, y, z], p)


def pillow(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A pillow: thick in the middle, thin at the sides, creased."""
    thick = p["thick_mm"]
    crease = 2.5 * waves([x, y, z], np.random.default_rng(p["seed"]), 45, 4)
    axes = (p["half_width"] * 1.35, thick, 1e3)
    body = ellipsoid([x, y + crease, z * 0], (0, thick, 0), axes)
    return _covered(intersection(body, ends(z, p)), [x, y, z], p)


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
    return _covered(ring, [x, y, z], p if p["filling"] == "foam" else p | {"foam_hu": p["gel_hu"]})


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
        slanted, at = [side * x + p["slant"] * (y - 10), y, z], (float(p[name]) + thick, 10, 0)
        wedge = box(slanted, at, (thick, tall, None), thick * p["round"])
        pieces += _covered(intersection(wedge, ends(z, p)), [x, y, z], p)
    return pieces


def cradle_cushion(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A cushion moulded to the back of the head."""
    lumps = 2.5 * waves([x, y, z], np.random.default_rng(p["seed"]), 60, 4)
    outer, inner = skin - p["gap_mm"] - p["thick_mm"] - lumps, p["gap_mm"] - skin
    return _covered(intersection(outer, inner, p["from_y"] - y, ends(z, p)), [x, y, z], p)


def foam_cup(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A foam cup or bowl close around the back and the sides of the head, plain or with teeth."""
    lumps = waves([x, y, z], np.random.default_rng(p["seed"]), 60, 3)
    pitch = 2 * np.pi / p["pitch_mm"]
    teeth = 0.5 + 0.5 * np.sin(np.arctan2(x, y + 20) * 85 * pitch) * np.sin(z * pitch)
    inner = p["gap_mm"] + p["teeth_mm"] * teeth + 0.5 * abs(lumps) - skin
    floor, side = p["low_y"] + p["thick_mm"], p["half_width"] + 0.4 * p["thick_mm"]
    outer = channel(x, y - floor, side, p["depth_mm"], p["power"])
    body = intersection(outer, inner, p["front_y"] + 0.15 * abs(x) - y, ends(z, p))
    return _covered(body, [x, y, z], p)


def vacuum_cushion(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A vacuum bag of beads around head and neck, its walls of foil."""
    lumps = 7 * waves([x, y, z], np.random.default_rng(p["seed"]), 70, 4)
    outer = channel(x, y - p["from_y"] - 70, 130, 90, 2.5) + lumps
    front = p["from_y"] + 0.2 * lumps - y
    body = intersection(outer, p["gap_mm"] - skin, front, ends(z, p))
    return _covered(body, [x, y, z], p | {"cover_mm": 0.9})


def egg_crate(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A foam mat with teeth on its upper face."""
    thick, half, pitch = p["thick_mm"] / 2, p["half_width"], 2 * np.pi / p["pitch_mm"]
    depression = p["thick_mm"] * 0.3 * np.clip(abs(x) / half, 0, 1) ** 2
    mat = box([x, y + depression, z], (0, thick, 0), (half * 1.2, thick, None), 2)
    teeth = p["tooth_mm"] * (0.5 - 0.5 * np.sin(x * pitch) * np.sin(z * pitch))
    return _covered(intersection(mat, 0.7 * (teeth - y - depression), ends(z, p)), [x, y, z], p)


def mattress(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """A thin wide foam mat on a couch."""
    thick, bent = p["thick_mm"] * 0.4, y + x * x * p["bow"]
    mat = box([x, bent, z], (0, thick, 0), (p["mat_mm"], thick, None), min(thick, 6))
    return _covered(mat, [x, y, z], p)


def arm_cushions(x: Array, y: Array, z: Array, p: Parameters) -> list[Piece]:
    """Foam cushions beside the trunk, or a wedge under an arm."""
    pieces = []
    for name, side in (("left", 1), ("right", -1)):
        across = side * x - float(p[name]) + p["slant"] * (y - p["from_y"])
        half = p["thick_mm"], p["tall_mm"] * 0.5, None
        body = box([across, y, z], (half[0], p["from_y"], 0), half, p["thick_mm"] * p["round"])
        pieces += _covered(body, [x, y, z], p)
    return pieces


def strap(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A band over brow or chin that runs down beside the head."""
    wavy = p["gap_mm"] + p["slack_mm"] * (0.5 + 0.5 * np.sin(x * 0.05 + p["seed"] % 6))
    along = abs(z - p["strap_z"] + 0.2 * (y + 60)) - p["strap_mm"] / 2
    band = intersection(sheet(skin - wavy, p["cloth_mm"]), along, y - 25)
    return [Piece(band, p["strap_hu"], thin_mm=p["cloth_mm"])]


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
        pieces.append(Piece(body, p["cloth_hu"], thin_mm=p["cloth_mm"]))
    return pieces


def blanket(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A blanket or clothes over neck and shoulders, in creased layers."""
    rng = np.random.default_rng(p["seed"])
    pieces = []
    for number in range(p["sheets"] + 1):
        creases = p["fold_mm"] * abs(1 + waves([x, y, z], rng, 60, 4))
        loft = p["loft_mm"] * np.maximum(waves([x, y, 0.5 * z], rng, 75, 3), 0) ** 2
        creases = creases + loft + p["wrinkle_mm"] * waves([x, y, 0.4 * z], rng, 16, 4, 0.5)
        layer = sheet(skin - p["gap_mm"] - 2 - 4 * number - creases, p["cloth_mm"])
        body = intersection(layer, z - p["blanket_z"], y - p["behind_y"])
        pieces.append(Piece(body, p["cloth_hu"], thin_mm=p["cloth_mm"]))
    return pieces


def folded_cloth(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """Many layers of a towel or a sheet behind or beside head and neck."""
    rng = np.random.default_rng(p["seed"])
    fan, beside = 1 + 0.6 * np.clip(abs(x) / 90, 0, 1.2), p["beside"] * x
    creases = p["fold_mm"] * 0.5 * waves([x, y, 0.4 * z], rng, 45, 4)
    creases = creases + p["wrinkle_mm"] * waves([x, y, 0.4 * z], rng, 15, 4, 0.5)
    deep = (skin - p["gap_mm"]) / fan + creases * np.clip((skin - p["gap_mm"]) / 8, 0, 1)
    pitch = p["cloth_mm"] + p["layer_gap_mm"]
    thin = p["cloth_mm"] * np.clip(0.9 + 0.6 * waves([x, y, 0.4 * z], rng, 28, 4), 0.15, 1.6)
    layers = abs(np.mod(deep, pitch) - pitch / 2) - thin / 2
    thick = np.minimum(p["layers"] * pitch * np.clip(1 + 0.4 * creases / p["fold_mm"], 0.3, 2), 24)
    stack = intersection(-deep, deep - thick, p["from_y"] - 15 + 4 * creases - y)
    body = intersection(fan * layers, stack, -30 - beside, z - p["cloth_z"])
    return [Piece(body, p["cotton_hu"], thin_mm=thin)]


def thermoplastic_mask(x: Array, y: Array, z: Array, skin: Array, p: Parameters) -> list[Piece]:
    """A mesh moulded over the face, with wings and posts that hold it to the board."""
    pitch, side = p["mesh_mm"], p["half_width"] + 4
    dome = z > 60
    around = np.where(dome, x + y, np.arctan2(x, -y) * 75 + 0.5 * z)
    along = np.where(dome, x - y, z)
    around, along = (np.mod(v, pitch) - pitch / 2 for v in (around, along))
    holes = p["hole"] * pitch - np.sqrt(around**2 + along**2)
    bound = intersection(y - p["behind_y"], z - p["mask_top"], -130 - z)
    mesh = intersection(sheet(skin - p["gap_mm"], p["mask_mm"]), holes, bound)
    pieces = [Piece(mesh, p["mask_hu"], thin_mm=p["mask_mm"])]
    if p["wings"] != "none":
        half = abs(x) if p["wings"] == "both" else x if p["wings"] == "left" else -x
        wing = box([half, y, z], (side + 18, p["behind_y"], 0), (22, p["mask_mm"] * 0.6, None))
        post = box([half, y, z], (side + 32, p["behind_y"] + 45, 0), (3.5, 45, None), 1)
        gaps = 8 - abs(np.mod(z, 50) - 25)
        mount = intersection(np.minimum(wing, np.maximum(post, gaps)), abs(z) - 90, 4 - skin)
        pieces.append(Piece(mount, p["mask_hu"]))
    return pieces
