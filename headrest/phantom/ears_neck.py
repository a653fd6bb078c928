"""Ears, neck and shoulders.

Ears are thin pinnae, bent like an S in section, with helix and lobe; some are folded or pressed
flat, some folded forward by a cushion: a leaf on a stalk, with fat between two skins. The neck has
a spine, an airway and vessels; the shoulders have bones and the tips of lungs.
"""

import functools
import itertools
import math

import numpy as np
from numpy.random import Generator

from headrest.hounsfield import AIR
from headrest.phantom.ranges import RANGES, Parameters, happens, sample
from headrest.phantom.scene import (
    Array,
    Points,
    Window,
    capsule,
    chain,
    cylinder,
    ellipsoid,
    intersection,
    smooth_intersection,
    smooth_union,
    union,
    within,
)

SECTION = {
    "free": ((-5, -2), (6, 0), (11, 5), (12, 12), (17, 19), (23, 23), (24, 18)),
    "flattened": ((-5, 0), (5, 2), (8, 8), (7, 16), (9, 23), (11, 30), (13, 26)),
    "folded": ((-5, 0), (7, 3), (13, 8), (18, 7), (21, 1), (20, -5), (17, -6)),
}
"""Corners (outwards, backwards) in mm from the root, in a horizontal section of the pinna."""

LUNG_TIP_HU = -840


def sample_ears(rng: Generator, age: str) -> Parameters:
    """Sample both ears, similar but not equal."""
    ears, other = sample(rng, RANGES["ears"]), sample(rng, RANGES["ears"]["left"])
    left = ears["left"]
    ears["right"] = left | {name: other[name] for name in ("shape", "wave_mm", "jitter_mm")}
    mixed = 0.6 * left["protrusion_deg"] + 0.4 * other["protrusion_deg"]
    ears["right"]["protrusion_deg"] = round(mixed, 3)
    return ears


def sample_neck(rng: Generator, age: str) -> Parameters:
    """Sample neck and shoulders; a child's are higher, some reach up beside the chin."""
    neck = sample(rng, RANGES["neck"])
    neck["has_tips"] = happens(rng, 0.28)
    if age == "child":
        neck["shoulder_z"] += 20
    return neck


def ear_distance(points: Points, ear: Parameters) -> Array:
    """Distance to a left pinna: its bent section along the height, the helix and the lobe."""
    x, y, z = points
    if "limit_mm" in ear:  # a support pressed the outer part to the head: where tissue was before
        start = ear["limit_mm"] - 9
        slope = np.float32((ear["tip_mm"] - start) / 9)
        x = start + (x - start) * np.where(x > start, slope, np.float32(1))
    height = ear["height_mm"]
    if ear["shape"] == "forward":
        return _leaf([x, y, z], ear)
    tall = (z + 38) / height
    fullness = np.sqrt(np.clip(1.02 - (tall - 0.12) ** 2, 0.02, 1)) * ear["width"]
    out = (x - 71) / fullness + ear["twist_mm"] * np.sin(3 * tall + ear["protrusion_deg"])
    back = (y - 3 - 7 * tall) / fullness
    thick = ear["thickness_mm"] / 2
    bars = [
        _bar(out, back, a, b) * np.minimum(fullness, 1) - thick * (1.25 - 0.1 * number)
        for number, (a, b) in enumerate(itertools.pairwise(_section(ear)))
    ]
    body = functools.reduce(lambda a, b: smooth_union(a, b, 3), bars)
    pinna = np.maximum(body, (abs(tall - 0.05) - 1.05) * height)
    pinna = smooth_union(pinna, _helix(out, back, tall, ear), 2)
    lobe = ellipsoid(points, (73, 6, -38 - height * 0.9), (3.4, ear["lobe_mm"], ear["lobe_mm"] + 2))
    tragus = capsule(points, (68, -8, -40), (75, -4, -41), 3.2)
    return smooth_union(smooth_union(pinna, lobe, 4), tragus, 4)


def _leaf(points, ear):
    """Distance to a pinna folded forward: a bent plate with a thick rim, on a stalk of scalp."""
    (x, y, z), long, height = points, ear["leaf_mm"] / 2, ear["height_mm"]
    middle, level = 6 - ear["leaf_at"] * long, 74 + ear["gap_mm"]
    out = x - level - ear["leaf_lean"] * (y - 6) + ear["leaf_bend"] * (y - 6) ** 2
    out = out + ear["twist_mm"] * np.sin((z + 38) / 9 + (y - 6) / 14)
    outline = np.sqrt(((y - middle) / long) ** 2 + ((z + 38) / height) ** 2) - 1
    outline = outline * min(long, height)
    half = ear["thickness_mm"] * (0.3 + 0.12 * np.exp(-(((outline + 3) / 2.5) ** 2)))
    plate = smooth_intersection(abs(out) - half, outline, 2)
    stalk = capsule(points, (62, 6, -42), (level, 6, -42), ear["stalk_mm"] + 1, ear["stalk_mm"])
    return smooth_union(plate, stalk, 4)


@within((50, -62, -100), (120, 80, 20), sided=True)
def include_ears(window: Window, side: int, skin: Array, ears: Parameters) -> None:
    """Lower the distance to the skin, in place, to the distance to the nearer of skin and ear."""
    near = ear_distance(window.mirrored(side), ears["left" if side > 0 else "right"])
    np.minimum(skin, near, out=skin)


def _helix(out, back, tall, ear):
    """A ring from before the canal over the top to the back that leans outwards to the back."""
    ring = (np.sqrt(((back - 9) / 15) ** 2 + ((tall - 0.05) / 0.95) ** 2) - 1) * 15
    lean = 0.15 if ear["shape"] == "flattened" else 0.55
    away = np.sqrt(ring**2 + (out - 5 - lean * (back + 4)) ** 2)
    return away - 1.6 - ear["helix_mm"] + 6 * np.clip(-0.2 - tall, 0, 1)


def _section(ear):
    """Corners of the section of one ear, turned by its protrusion."""
    angle, turned = np.deg2rad(ear["protrusion_deg"]), []
    cos, sin = math.cos(angle), math.sin(-angle)
    for number, (out, back) in enumerate(SECTION[ear["shape"]]):
        out = out + ear["wave_mm"] * (number in (2, 4)) + ear["jitter_mm"] * math.cos(2.1 * number)
        back = back + ear["jitter_mm"] * math.sin(1.7 * number)
        turned.append((out * cos - back * sin * 0.6, back * cos + out * sin))
    return turned


def _bar(out, back, start, end):
    """Distance in the plane to a straight piece of the section."""
    along, across = end[0] - start[0], end[1] - start[1]
    dx, dy = out - start[0], back - start[1]
    t = np.clip((dx * along + dy * across) * (1 / (along * along + across * across)), 0, 1)
    return np.sqrt((dx - t * along) ** 2 + (dy - t * across) ** 2)


@within((60, -56, -84), (112, 64, 4), sided=True)
def paint_ears(window: Window, side: int, ears: Parameters, skin_hu: float) -> None:
    """Paint pinnae, which yield to rigid supports, and the ear canals."""
    points, ear = window.mirrored(side), ears["left" if side > 0 else "right"]
    pinna = ear_distance(points, ear)
    canal = chain(points, ((76, 4, -41), (65, 0, -40), (51, 5, -43)), ears["canal_mm"])
    concha = np.maximum(ellipsoid(points, (77, 5, -40), (5.5, 4, 7)), 68 - points[0])
    outside = 1 - window.scene.patient[window.at]
    free = outside * (1 - window.scene.rigid[window.at])
    window.fill(union(canal, concha), AIR, 1 - outside * (1 - free))
    window.paint_patient(window.share(np.maximum(pinna, -canal)) * outside, skin_hu, yields=True)
    if ear["shape"] == "forward":
        window.fill(np.maximum(pinna + 0.7, 72 - points[0]), ear["inner_hu"], free)
        return
    cartilage = window.share(np.maximum(pinna + 1.1, -canal)) * 0.6 * free
    window.paint(cartilage, ears["cartilage"])


def neck_distance(points: Points, head: Parameters) -> Array:
    """Distance to the skin of neck and shoulders."""
    (x, y, z), neck = points, head["neck"]
    stem = np.sqrt(x * x + ((y - 18 - 0.08 * (-60 - z)) / 1.05) ** 2) - head["neck_mm"]
    stem = np.maximum(stem, z + 55)
    if float(z.min()) > neck["shoulder_z"] + 50:
        return stem
    middle, wide = neck["shoulder_z"] - 62, neck["shoulder_mm"] + 25
    trunk = ellipsoid((x, y, np.maximum(z, middle)), (0, 42, middle), (wide, 82, 70))
    return smooth_union(stem, trunk, 35)


def shoulder_tips(points: Points, head: Parameters) -> Array:
    """Distance to the tips of raised shoulders beside neck and chin, one higher than the other."""
    (x, y, z), neck = points, head["neck"]
    axes, side = neck["tip_axes_mm"], np.where(x > 0, np.float32(0.5), np.float32(-0.5))
    shift = side * neck["tip_shift_mm"]
    level = np.maximum(z + axes["z"] - neck["tip_z"] - shift, 0)
    tip = [abs(x) - shift - 0.2 * np.maximum(level - axes["z"], 0), y, level]
    return ellipsoid(tip, (neck["tip_x"], neck["tip_y"], 0), [axes[name] for name in "xyz"])


def paint_neck(whole: Window, head: Parameters) -> None:
    """Paint spine, airway and vessels below the skull, and the bones of the shoulders."""
    _inside_neck(whole, head["neck"])
    window = whole.crop((-260, -100, -330), (260, 170, head["neck"]["shoulder_z"] + 30))
    if window is None:
        return
    half, neck, hu = window.half, head["neck"], head["neck"]["hu"]
    top, wide = neck["shoulder_z"], neck["shoulder_mm"]
    skin = neck_distance(window.points, head)
    bones = union(
        capsule(half, (18, -12, top - 42), (wide * 0.75, 35, top - 25), 6),
        ellipsoid(half, (wide * 0.86, 40, top - 52), (24, 24, 24)),
        capsule(half, (wide * 0.45, 92, top - 50), (wide * 0.75, 70, top - 20), 5),
    )
    bones = np.maximum(bones, skin + 5)
    window.fill(bones, hu["cortical"] * 0.7)
    window.fill(bones + 3, hu["marrow"] + 120)
    below = (*half[:2], np.maximum(half[2], top - 95))
    lung = ellipsoid(below, (52, 40, top - 95), (38, 45, 55))
    window.fill(np.maximum(lung, skin + 18), LUNG_TIP_HU)


@within((-32, -90, -280), (32, 110, -50))
def _inside_neck(window, neck):
    _spine(window, neck)
    x, y, z = window.points
    wide = neck["airway_mm"] * (1 + 0.2 * np.sin(z / 11))
    airway = np.sqrt((x / 1.4) ** 2 + (y + 14 + 0.05 * (z + 90)) ** 2) - wide
    airway = np.maximum(airway, z + 62)
    larynx = intersection(airway - 6, -airway - 1, abs(z + 155) - 18)
    window.fill(larynx, 110)
    window.fill(airway, AIR)
    vessels = union(cylinder(window.half, (25, 0, 0), 3.5), cylinder(window.half, (29, 6, 0), 5.5))
    window.fill(np.maximum(vessels, z + 68), neck["hu"]["blood"])


def _spine(window, neck):
    """Atlas, dens and vertebrae every 17 mm with disc, canal, cord, arch and spinous process."""
    (x, y, z), hu = window.points, neck["hu"]
    y = y - neck["lordosis"] * np.sin((z + 60) / 40)
    phase = (z + 66) / 17
    disc = abs(phase - np.round(phase)) * 17
    body = ellipsoid([x, y, z * 0], (0, 13, 0), (11, 8.5, 1e3)) + np.clip(2.5 - disc, 0, 3) * 1.5
    ring = abs(np.sqrt((x / 1.15) ** 2 + (y - 30) ** 2) - 11)
    arch = ring - 2.5 + np.clip(4.5 - disc, 0, 4) * (y > 22)
    mass = ellipsoid([abs(x), y, z * 0], (18, 20, 0), (7, 6, 1e3))
    process = capsule([x, y, z * 0], (0, 42, 0), (0, 58, 0), 3) + np.clip(disc - 4, 0, 9)
    bone = np.maximum(union(body, arch, mass, process), z + 74)
    window.fill(bone, hu["cortical"] * 0.8)
    window.fill(bone + 2.2, hu["marrow"] + 150)
    window.fill(np.maximum(cylinder([x, y, z], (0, 29, 0), 7.5), z + 60), hu["fluid"] + 5)
    window.fill(np.maximum(cylinder([x, y, z], (0, 29, 0), 5), z + 56), 35)
