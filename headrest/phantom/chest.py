"""A chest on its couch: simple, but with lungs, breasts, ribs and a back that touches."""

import numpy as np

from headrest.phantom import choosing
from headrest.phantom.materials import TISSUE, draw
from headrest.phantom.shapes import capsule, cylinder, ellipsoid, join, near_zero, waves

RANGES = {
    "width": (0.82, 1.08),
    "length": (0.82, 1.12),
    "height": (1.0, 1.0),
    "nod_deg": (0.0, 0.0),
    "turn_deg": (-4.0, 4.0),
    "lean_deg": (-2.0, 2.0),
    "fat_mm": (6.0, 26.0),
    "breast_mm": (0.0, 26.0),
    "seed": (0, 10**6),
    "arms": ["up", "up", "down"],
    "tissue": {
        n: TISSUE[n]
        for n in ("skin", "fat", "muscle", "lung", "blood", "liver", "trabecular", "cortical")
    },
}


def draw_chest(rng, kind):
    """Draw a chest."""
    return draw(rng, RANGES)


def draw_couch(rng, contact=None):
    """Draw a couch, often with its rails and a blanket."""
    names = ["curved_couch" if rng.random() < 0.7 else "flat_couch"]
    extra = [
        name
        for name, share in (("couch_rails", 0.6), ("blanket", 0.5), ("linen", 0.4))
        if rng.random() < share
    ]
    kind = "gap" if contact is False else "touch"
    supports = [choosing.draw_one(rng, name, kind) for name in names + extra]
    for support in supports:
        support["drop_mm"] = 0.0
        support["slope"] = 0.0
        support |= {"blanket_z": 1e3, "top": 1e3, "foot": -1e3}
        if kind == "touch" and support["name"] in names:
            support["gap_mm"] = -0.4
    return {"contact": kind, "list": supports}


def box(body, middle_z):
    """Low and high corner of what holds the chest."""
    return (-280, -200, -400), (280, 160, 400)


def skin_distance(points, body):
    """Distance to the skin of trunk, breasts and arms that lie down."""
    x, y, z = points
    flat = [x, y, 0 * z]
    rng = np.random.default_rng(body["seed"])
    folds = 2.5 * waves([x, y, 0.3 * z], rng, 120, 3)
    trunk = (
        join(
            ellipsoid(flat, (0, -6, 0), (158, 100, 1e4)),
            ellipsoid(flat, (0, 34, 0), (146, 64, 1e4)),
            40,
        )
        + folds
    )
    trunk = trunk + 0.0012 * np.maximum(z - 60, 0) ** 2
    big = body["breast_mm"]
    if big > 4:
        hang = 10 + 0.6 * big
        trunk = join(
            trunk, ellipsoid([abs(x), y, z], (76 + hang, -74, -10), (52 + hang, 26 + big, 74)), 16
        )
    if body["arms"] == "down":
        trunk = join(trunk, ellipsoid([abs(x), y, 0 * z], (196, 40, 0), (36, 42, 1e4)), 3)
    return trunk


def surface(body):
    """Points (n, 3) on the skin; no ears."""
    skin = near_zero(lambda p: skin_distance(p, body), (-240, -190, -100), (240, 140, 100), 6)
    return skin, np.zeros((0, 3))


def paint_body(window, skin, body):
    """Paint a trunk from skin to lungs."""
    tissue, (x, y, z) = body["tissue"], window.points
    rng = np.random.default_rng(body["seed"] + 1)
    window.paint_patient(window.share(skin), tissue["skin"])
    window.paint(window.share(skin + 2), tissue["fat"])
    uneven = waves(window.halfway, rng, 90, 4)
    _breast(window, skin, rng)
    fat = body["fat_mm"]
    chest = (
        ellipsoid([x, y, 0 * z], (0, 2, 0), (142 - 0.6 * fat, 92 - 0.6 * fat, 1e4))
        + 0.0012 * np.maximum(z - 60, 0) ** 2
    )
    muscles = np.maximum(
        np.minimum(chest - 5 - 3 * uneven, _back_muscles(window.points)), skin + 3 + 0.4 * fat
    )
    between = abs(waves(window.halfway, rng, 30, 5)) * 6 - 1.2
    window.paint(window.share(muscles), tissue["muscle"])
    window.paint(
        window.share(np.maximum(chest - 6, 3 - chest)) * np.clip(0.5 - between, 0, 1), tissue["fat"]
    )
    _ribs(window, chest, tissue)
    _inside(window, chest, body, rng)
    _spine(window, tissue)
    if body["arms"] == "down":
        _arms(window, tissue)


def _breast(window, skin, rng):
    x, y, z = window.points
    gland = ellipsoid([abs(x), y, z], (84, -92, -10), (36, 26, 44)) + 9 * waves(
        window.halfway, rng, 26, 6
    )
    window.paint(window.share(np.maximum(gland, skin + 7)) * 0.8, 25)


def _back_muscles(points):
    x, y, z = points
    return np.minimum(
        ellipsoid([abs(x), y, 0 * z], (30, 84, 0), (28, 17, 1e4)),
        ellipsoid([abs(x), y, 0 * z], (96, 58, 0), (52, 30, 1e4)),
    )


def _ribs(window, chest, tissue):
    """Ribs slant forwards and down, so that a slice cuts each obliquely; shoulder blades and
    breast bone."""
    x, y, z = window.points
    level = z + 0.75 * (y - 40) + 0.1 * abs(x)
    near = np.mod(level, 30) - 15
    rib = (np.sqrt(((chest + 9) / 3.6) ** 2 + (near / 5.5) ** 2) - 1) * 3.6
    rib = np.maximum(rib, 18 - abs(x))
    blade = np.maximum(
        abs(chest - 14 + 0.1 * (abs(x) - 90)) - 2.5,
        ellipsoid([abs(x), y, z], (95, 62, 60), (45, 40, 80)),
    )
    window.paint(window.share(np.minimum(rib, blade)), tissue["cortical"] * 0.75)
    window.paint(window.share(np.minimum(rib, blade) + 1.6), tissue["trabecular"])
    sternum = np.maximum(ellipsoid([x, y, 0 * z], (0, -82, 0), (17, 6, 1e4)), abs(z - 10) - 80)
    window.paint(window.share(sternum), tissue["trabecular"] + 200)
    window.paint(window.share(sternum + 2), tissue["trabecular"])


def _inside(window, chest, body, rng):
    """Lungs with vessels, heart in its fat, great vessels, windpipe, liver and spleen under their
    domes, gas."""
    x, y, z = window.points
    tissue, wall = body["tissue"], chest + 15
    sway = waves(window.halfway, rng, 60, 4)
    heart = ellipsoid([x, y, z], (20, -30, -40), (54, 42, 62)) + 3 * sway
    liver = ellipsoid([x, y, z], (-44, 0, -152), (112, 92, 95)) + 3 * sway
    spleen = ellipsoid([x, y, z], (78, 22, -150), (46, 55, 80)) + 3 * sway
    middle = 20 - abs(x + 4 * sway) - 12 * np.exp(-(((y - 40) / 30) ** 2)) + 6 * np.cos(z / 30)
    lungs = np.maximum(np.maximum(wall, middle), -np.minimum.reduce([heart, liver, spleen]))
    lungs = np.maximum(lungs, -150 - z)
    window.paint(window.share(wall), tissue["fat"] + 20)
    window.paint(window.share(lungs), window.middle(tissue["lung"] + 0.35 * (y + 100)))
    branch = abs(waves(window.points, rng, 24, 7)) * 6 + abs(waves(window.points, rng, 28, 7)) * 6
    trunk_size = 1.2 + 3.2 * np.exp(-((np.maximum(abs(x) - 25, 0) / 30) ** 2))
    window.paint(window.share(np.maximum(branch - trunk_size, lungs + 1)), tissue["blood"] - 10)
    aorta = np.minimum(
        cylinder(window.points, (22, 36, 0), 12),
        capsule(window.points, (20, 30, 62), (-8, -24, 56), 12),
    )
    vessels = np.minimum(
        aorta,
        np.minimum(
            cylinder(window.points, (-20, -22, 0), 9), cylinder(window.points, (6, -28, 0), 14)
        ),
    )
    vessels = np.maximum(vessels, -z - 60)
    for organ, hu in (
        (liver, tissue["liver"]),
        (spleen, tissue["liver"] - 5),
        (heart + 3, tissue["blood"]),
        (vessels, tissue["blood"]),
    ):
        window.paint(window.share(np.maximum(organ, chest + 16)), hu)
    tree = np.minimum(
        np.maximum(cylinder(window.points, (0, 4, 0), 8.5), 14 - z),
        capsule([abs(x), y, z], (2, 6, 14), (42, 12, -20), 5.5),
    )
    window.paint(window.share(tree), -1000)
    _bowel_gas(window, chest, sway)


def _bowel_gas(window, chest, sway):
    """Gas in the stomach under the left dome."""
    x, y, z = window.points
    gas = ellipsoid([x, y, z], (46, -48, -132), (30, 14, 22)) + 4 * sway
    window.paint(window.share(np.maximum(gas, chest + 22)), -980)


def _spine(window, tissue):
    x, y, z = window.points
    phase = np.mod(z, 26) - 13
    body = ellipsoid([x, y, 0 * z], (0, 50, 0), (17, 14, 1e4))
    arch = np.minimum(
        capsule([abs(x), y, 0 * z], (12, 64, 0), (36, 74, 0), 4),
        capsule([x, y, 0 * z], (0, 78, 0), (0, 92, 0), 3.5),
    )
    bone = np.minimum(body, arch + 0.5 * np.maximum(abs(phase) - 7, 0))
    window.paint(window.share(bone), tissue["cortical"] * 0.7)
    window.paint(window.share(bone + 1.8), tissue["trabecular"])
    window.paint(window.share(cylinder(window.points, (0, 71, 0), 8)), 25)


def _arms(window, tissue):
    x, y, z = window.points
    bone = cylinder([abs(x), y, z], (196, 40, 0), 12)
    window.paint(
        window.share(ellipsoid([abs(x), y, 0 * z], (196, 40, 0), (28, 33, 1e4))), tissue["muscle"]
    )
    window.paint(window.share(bone), tissue["cortical"])
    window.paint(window.share(bone + 5), 40)
