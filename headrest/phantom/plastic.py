"""Phantoms as technicians scan them: hollow plastic skulls, in pieces and with inserts, and water
cylinders."""

import math

import numpy as np

from headrest.phantom import head as heads
from headrest.phantom import skull
from headrest.phantom.materials import AIR, MATERIAL, draw
from headrest.phantom.scene import Scene, Window
from headrest.phantom.shapes import box as block
from headrest.phantom.shapes import cylinder, near_zero, sphere

RANGES = {
    "hu": MATERIAL["plastic_skull"],
    "count": (0, 5),
    "seed": (0, 10**6),
    "cut_z": (-20.0, 45.0),
    "cut_mm": (-2.0, 5.0),
    "neck_mm": (0.0, 24.0),
    "resin": MATERIAL["resin"],
    "radius_mm": (72.0, 105.0),
    "wall_mm": (3.0, 8.0),
    "fill": (-15.0, 25.0),
    "length_mm": (60.0, 140.0),
    "has_face": ["yes", "yes", "no"],
}


def draw_plastic(rng, kind):
    """Draw a phantom on the scaffold of a head."""
    body = heads.draw_head(rng, "adult") | {"kind": kind, "phantom": draw(rng, RANGES)}
    hollow = dict.fromkeys(body["tissue"], AIR)
    hu = body["phantom"]["hu"]
    body["tissue"] = hollow
    body["skull"] |= {
        "hu": dict.fromkeys(body["skull"]["hu"], hu),
        "craniotomy": None,
        "mastoid_air": -0.6,
    }
    soft = ("fat", "muscle", "eye", "lens", "eye_wall", "mucus", "gland")
    body["face"] |= {"hu": {n: AIR if n in soft else hu for n in body["face"]["hu"]}, "fillings": 0}
    body["nod_deg"] *= 0.5
    return body


def box(body, middle_z):
    """Low and high corner of what holds the phantom."""
    return (-112, -128, -180), (112, 118, 112)


def skin_distance(points, body):
    """Distance to the outside: of the skull bone, or of the cylinder."""
    phantom = body["phantom"]
    if body["kind"] == "water":
        return cylinder(points, (0, 0, -20), phantom["radius_mm"], phantom["length_mm"])
    return skull.vault(points, body, body["scalp_mm"])


def surface(body):
    """Points (n, 3) on the outside, in the frame of the head; there are no ears."""
    skin = near_zero(lambda p: skin_distance(p, body), (-110, -125, -120), (110, 120, 115), 6.0)
    return skin, np.zeros((0, 3))


def paint_body(window, skin, body):
    """Paint a phantom."""
    if body["kind"] == "water":
        return _cylinder(window, skin, body["phantom"])
    scratch = Scene(window.scene.hu.shape)
    scratch.patient += 1
    inner = Window(scratch, window.frame, *window.at[1:])
    shell_skin = heads.skin_distance(window.points, body)
    cavity = skull.paint_skull(inner, shell_skin, body)
    if body["phantom"]["has_face"] == "yes":
        heads.face.paint_face(scratch, window.frame, body)
    solid = np.clip((scratch.hu[window.at] - AIR) / (body["phantom"]["hu"] - AIR), 0, 1)
    solid *= window.share(block(window.points, (0, -5, 0), (92, 110, 150))) * _cut(
        window, body["phantom"]
    )
    hollow = window.share(cavity)
    window.paint_patient(np.maximum(hollow, solid), AIR)
    window.paint(solid, body["phantom"]["hu"])
    _inserts(window, body["phantom"])


def _cut(window, phantom):
    """The slit where the calvaria comes off; none when its width is negative."""
    z = window.points[2]
    return (
        1 - window.share(abs(z - phantom["cut_z"]) - phantom["cut_mm"] / 2)
        if phantom["cut_mm"] > 0
        else 1
    )


def _inserts(window, phantom):
    """Rods and blocks of resin inside, and one that stands for the neck."""
    rng = np.random.default_rng(phantom["seed"])
    for _ in range(phantom["count"]):
        at = (rng.uniform(-30, 30), rng.uniform(-50, 40), rng.uniform(-20, 40))
        size, hu = rng.uniform(4, 18), phantom["resin"] + rng.uniform(-150, 100)
        shapes = (
            cylinder(window.points, at, size, 30),
            block(window.points, at, (size, size * 1.4, 28)),
            sphere(window.points, at, size),
        )
        window.paint_patient(window.share(shapes[int(rng.integers(3))]), hu)
    if phantom["neck_mm"] > 8:
        rod = np.maximum(
            cylinder(window.points, (0, 25, 0), phantom["neck_mm"]), window.points[2] + 30
        )
        window.paint_patient(
            window.share(np.maximum(rod, -150 - window.points[2])), phantom["resin"]
        )


def _cylinder(window, skin, phantom):
    """A water cylinder in an acrylic wall with a few rods."""
    window.paint_patient(window.share(skin), 120.0)
    inside = window.share(skin + phantom["wall_mm"])
    window.paint(inside, phantom["fill"])
    rng = np.random.default_rng(phantom["seed"])
    for number in range(phantom["count"] + 1):
        angle = 6.28 * number / (phantom["count"] + 1)
        at = (
            math.cos(angle) * phantom["radius_mm"] * 0.6,
            math.sin(angle) * phantom["radius_mm"] * 0.6,
            0,
        )
        rod = cylinder(window.points, at, rng.uniform(3, 14), phantom["length_mm"] * 0.5)
        window.paint(window.share(rod) * inside, float(rng.choice([-1000, -100, 120, 340, 900])))
