"""Phantoms that technicians scan (plastic skulls, water cylinders), and foreign objects.

Plastic skulls are hollow. Foreign objects (tubes, wires, dense hair, dressings) are neither patient
nor support; thin hair is a faint veil of air.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from headrest.hounsfield import AIR
from headrest.phantom import head, skull_brain
from headrest.phantom.face import paint_face
from headrest.phantom.ranges import LIVING, RANGES, Parameters, happens, sample
from headrest.phantom.scene import (
    Array,
    Points,
    Scene,
    Window,
    box,
    capsule,
    chain,
    cylinder,
    sphere,
    waves,
)

# Parts of a face that are air in a plastic skull.
SOFT_PARTS = ("fat", "muscle", "eye", "lens", "eye_wall", "mucus", "gland")
ACRYLIC_HU, ROD_HU = 120.0, (-1000, -100, 120, 340, 900)  # wall of a water cylinder; rods, tubes


def sample_patient(rng: Generator, kind: str) -> Parameters:
    """Sample a phantom with the shape of a head; `kind` is "plastic" or "water"."""
    p = head.sample_patient(rng, "adult")
    p |= {"kind": kind, "phantom": sample(rng, RANGES["phantom"])}
    hu, skull, face = p["phantom"]["hu"], p["skull"], p["face"]
    p["tissue"] = dict.fromkeys(p["tissue"], AIR)
    plastic_hu = dict.fromkeys(skull["hu"], hu)
    skull["thickness_mm"] *= p["phantom"]["walls"]
    p["skull"] = skull | {"hu": plastic_hu, "craniotomy": None, "mastoid_air": -0.6}
    face_hu = {n: AIR if n in SOFT_PARTS else hu for n in face["hu"]}
    p["face"] = face | {"hu": face_hu, "fillings": 0}
    if kind == "water":
        p["phantom"]["stand"] = "none"
    p["nod_deg"] *= 0.5
    return p


def skin_distance(points: Points, p: Parameters) -> Array:
    """Distance to the outside of the skull bone, or of the cylinder."""
    if p["kind"] == "water":
        return cylinder(points, (0, 0, -20), p["phantom"]["radius_mm"], p["phantom"]["length_mm"])
    return skull_brain.vault(points, p, p["scalp_mm"])


def paint(window: Window, skin: Array, p: Parameters) -> None:
    """Paint a phantom: a skull is painted in a scene of its own, and copied with one material."""
    phantom = p["phantom"]
    if p["kind"] == "water":
        _paint_cylinder(window, skin, phantom)
        return
    scratch = Scene(window.scene.hu.shape)
    scratch.patient += 1
    inner = Window(scratch, window.frame, *window.at[1:])
    cavity = skull_brain.paint_skull(inner, head.skin_distance(window.points, p), p)
    if phantom["has_face"] == "yes":
        paint_face(inner, p)
    solid = np.clip((scratch.hu[window.at] - AIR) / (phantom["hu"] - AIR), 0, 1)
    solid *= window.share(box(window.points, (0, -5, 0), (92, 110, 150)))
    if phantom["cut_mm"] > 0:  # the slit where the calvaria comes off
        slit = abs(window.points[2] - phantom["cut_z"]) - phantom["cut_mm"] / 2
        solid *= 1 - window.share(slit)
    window.paint_patient(np.maximum(window.share(cavity), solid), AIR)
    window.paint(solid, phantom["hu"])
    _paint_inserts(window, phantom)


def _paint_inserts(window, phantom):
    rng, points = np.random.default_rng(phantom["seed"]), window.points
    for _ in range(phantom["count"]):
        at = (rng.uniform(-30, 30), rng.uniform(-50, 40), rng.uniform(-20, 40))
        size, hu = rng.uniform(4, 18), phantom["resin"] + rng.uniform(-150, 100)
        half = (size, size * 1.4, 28)
        shapes = cylinder(points, at, size, 30), box(points, at, half), sphere(points, at, size)
        window.paint_patient(window.share(shapes[int(rng.integers(3))]), hu)
    if phantom["neck_mm"] > 8:
        rod = np.maximum(cylinder(points, (0, 25, 0), phantom["neck_mm"]), points[2] + 30)
        window.paint_patient(window.share(np.maximum(rod, -150 - points[2])), phantom["resin"])
    below, thick = points[2] + 42, phantom["tube_mm"]
    for number in range(phantom["tubes"]):  # some stand apart from the skull in a slice
        foot, wall = ((0, -38), (34, 40), (-34, 40))[number], rng.uniform(1.5, 6)
        tube = np.maximum(cylinder(points, (*foot, 0), thick), below)
        window.paint_patient(window.share(tube), phantom["hu"] * 0.7)
        window.fill(tube + wall, float(rng.choice(ROD_HU)))
    if phantom["block"] == "yes":
        sloped = [*points[:2], points[2] + phantom["slant"] * points[1]]
        block = box(sloped, (10, 0, 14), (22, 38, 16))
        window.paint_patient(window.share(block), phantom["resin"])
        window.fill(cylinder(points, (18, -14, 0), 4), AIR, window.share(block))
    if phantom["stand"] != "none":
        _paint_stand(window, phantom)


def _paint_stand(window, phantom):
    x, y, z = window.points
    wide, level = phantom["stand_mm"], phantom["stand_z"]
    plate = box([x, y, z], (0, 4, level), (wide, wide, 5))
    if phantom["stand"] == "pillars":
        pillar = cylinder([abs(x), abs(y - 4), z], (wide - 12, wide - 12, 0), 7)
        pillar = np.maximum(pillar, np.maximum(z + 20, level - z))
        plate = np.minimum(plate, pillar)
    window.paint_patient(window.share(plate), phantom["resin"], yields=True)


def _paint_cylinder(window, skin, phantom):
    window.paint_patient(window.share(skin), ACRYLIC_HU)
    inside = window.share(skin + phantom["wall_mm"])
    window.paint(inside, phantom["fill"])
    rng, count = np.random.default_rng(phantom["seed"]), phantom["count"] + 1
    for number in range(count):
        angle, radius = 6.28 * number / count, phantom["radius_mm"]
        at = (math.cos(angle) * radius * 0.6, math.sin(angle) * radius * 0.6, 0)
        rod = cylinder(window.points, at, rng.uniform(3, 14), phantom["length_mm"] * 0.5)
        window.fill(rod, float(rng.choice(ROD_HU)), inside)


def sample_foreign_objects(rng: Generator, kind: str) -> Parameters:
    """Sample foreign objects; "present" is empty for phantoms and chests."""
    foreign = sample(rng, RANGES["foreign_objects"])
    present = [name for name, (_, share) in FOREIGN_OBJECTS.items() if happens(rng, share)]
    if kind == "child" and "earrings" in present:
        present.remove("earrings")
    return foreign | {"present": present if kind in LIVING else []}


def paint_foreign_objects(window: Window, skin: Array, foreign: Parameters) -> None:
    """Paint the objects present; `skin` is the distance to the skin on the planes of the window."""
    for name in foreign["present"]:
        FOREIGN_OBJECTS[name][0](window, skin, foreign)


def _free(window):
    return (1 - window.scene.support[window.at]) * (1 - window.scene.patient[window.at])


def _hair(window, skin, p):
    if window.points[2].max() < -70:
        return
    _x, y, z = window.halfway
    rng = np.random.default_rng([p["seed"], abs(round(10 * float(z[0, 0, 0])))])
    noise = rng.standard_normal(skin.shape[1:], np.float32)
    strands = 5 * ndimage.gaussian_filter(noise, 1.4)[None]
    length = p["hair_mm"] * np.clip((y * 0.6 + z + 62) / 25, 0, 1) * (1 + 0.15 * strands)
    share = window.between(skin, skin - length) * np.clip(0.5 + 0.35 * strands, 0, 1)
    window.paint(share * _free(window), p["hair_hu"])


def _hair_bun(window, skin, p):
    strands = waves(window.points, np.random.default_rng(p["seed"] + 1), 8, 6)
    bun = sphere(window.points, (p["x"] * 0.6, 92, p["z"] - 20), 24) + 2 * strands
    hu = np.clip(window.middle(p["dense_hu"] + 120 * strands), AIR, -100)
    window.paint_as(window.share(np.maximum(bun, -skin)) * _free(window), hu, "kept")


def _lay_on_skin(window, share, hu):
    """Paint hair or a dressing, which keeps soft supports away from the skin."""
    share = share * (1 - window.scene.patient[window.at]) * (1 - window.scene.rigid[window.at])
    window.scene.support[window.at] *= 1 - share
    window.paint_as(share, hu, "kept")


def _pressed_hair(window, skin, p):
    _x, y, z = window.halfway
    uneven = waves(window.halfway, np.random.default_rng(p["seed"] + 3), 20, 6, 0.5)
    thick = p["layer_mm"] * np.clip((y * 0.6 + z + 50) / 40, 0, 1) * np.clip(1 + 0.5 * uneven, 0, 2)
    hu = np.clip(p["layer_hu"] + 50 * uneven, AIR, -300)
    _lay_on_skin(window, window.between(skin, skin - thick), hu)


def _braid(window, skin, p):
    strands = waves(window.points, np.random.default_rng(p["seed"] + 4), 9, 6)
    side = p["side"] * (30 + abs(p["x"]))
    corners = ((0, 90, p["z"] - 20), (side * 0.5, 104, -50), (side, 84, -110), (side, 40, -220))
    braid = np.maximum(chain(window.points, corners, 8 + p["layer_mm"] / 2) + 1.5 * strands, -skin)
    hu = np.clip(window.middle(p["dense_hu"] + 100 * strands), AIR, -100)
    _lay_on_skin(window, window.share(braid), hu)


def _bandage(window, skin, p):
    _x, y, z = window.points
    band = abs(z - p["z"] - 0.2 * y) - 10 - abs(p["x"]) / 2
    layer = window.between(skin, skin - p["bandage_mm"]) * window.share(band)
    _lay_on_skin(window, layer, p["bandage_hu"])


def _nasal_cannula(window, skin, p):
    _x, y, z = window.points
    tube = np.sqrt((skin - 2.4) ** 2 + (z + 64 - 0.28 * (y + 100)) ** 2) - 2.2
    tube = np.maximum(np.maximum(tube, y - 6), z + 20)
    window.paint_as(window.share(tube) * _free(window), p["silicone"], "ignore")
    window.paint_as(window.share(tube + 1) * _free(window), AIR, "ignore")


def _tracheal_tube(window, skin, p):
    corners = ((6, -125, -84), (4, -80, -84), (0, -30, -88), (0, -14, -110), (0, -16, -300))
    tube = chain(window.points, corners, 5)
    window.paint_as(window.share(tube), AIR, "ignore")
    window.paint_as(window.between(tube + 1.4, tube), p["silicone"], "ignore")


def _drain(window, skin, p):
    start, end = (p["x"] * 0.3, 0, 20), (p["x"] * 1.5 + 40 * p["side"], -40, 90)
    drain = window.share(capsule(window.points, start, end, 1.8))
    window.paint_as(drain, p["silicone"] * 2, "ignore")


def _wires(window, skin, p):
    x, y, z = window.points
    across = y + 20 + 12 * np.sin(z / 23) - 0.5 * p["side"] * x
    wire = np.sqrt((skin - 2) ** 2 + across**2) - 0.9
    window.paint_as(window.share(wire) * _free(window), p["metal"], "ignore")


def _metal_disks(window, skin, p, radius, half_mm):
    rng = np.random.default_rng(p["seed"] + 2)
    for _ in range(p["count"]):
        spot = np.array([rng.uniform(-1, 1), rng.uniform(-1, 0.6), rng.uniform(0, 1)])
        spot = spot / np.linalg.norm(spot) * (77, 97, 97)
        inner = window.crop(spot - 9, spot + 9)
        if inner is not None:
            disk = sphere(inner.points, spot.tolist(), radius)
            disk = np.maximum(disk, abs(inner.take(skin) - 1) - half_mm)
            inner.paint_as(inner.share(disk), p["metal"], "ignore")


def _earrings(window, skin, p):
    x, y, z = window.points
    radial = np.sqrt((y - 10) ** 2 + (z + 72) ** 2) - 6
    ring = np.sqrt(radial**2 + (abs(x) - 78) ** 2) - 0.9
    window.paint_as(window.share(ring), p["metal"], "ignore")


def _hearing_aid(window, skin, p):
    aid = capsule(window.mirrored(p["side"]), (76, 14, -22), (77, 18, -42), 4)
    window.paint_as(window.share(aid) * (1 - window.scene.patient[window.at]), 300, "ignore")
    window.paint_as(window.share(aid + 2.6), p["metal"], "ignore")


FOREIGN_OBJECTS: dict[str, tuple[Callable[..., None], float]] = {
    "hair": (_hair, 0.55),
    "hair_bun": (_hair_bun, 0.05),
    "pressed_hair": (_pressed_hair, 0.1),
    "braid": (_braid, 0.05),
    "bandage": (_bandage, 0.03),
    "nasal_cannula": (_nasal_cannula, 0.04),
    "tracheal_tube": (_tracheal_tube, 0.07),
    "drain": (_drain, 0.05),
    "wires": (_wires, 0.07),
    "electrodes": (partial(_metal_disks, radius=5, half_mm=1.2), 0.04),
    "staples": (partial(_metal_disks, radius=3, half_mm=0.5), 0.04),
    "earrings": (_earrings, 0.06),
    "hearing_aid": (_hearing_aid, 0.03),
}
"""Each with the function that paints it, and its probability."""
