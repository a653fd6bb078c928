"""Neck and shoulders: spine, airway, muscles and vessels in fat, clavicles, lung tips."""

import numpy as np

from headrest.phantom.materials import AIR, TISSUE, draw
from headrest.phantom.shapes import capsule, cylinder, ellipsoid, join

RANGES = {
    "shoulder_mm": (140.0, 215.0),
    "shoulder_z": (-215.0, -165.0),
    "airway_mm": (5.0, 11.0),
    "lordosis": (-8.0, 10.0),
    "hu": {name: TISSUE[name] for name in ("cortical", "marrow", "muscle", "blood", "fluid")},
}


def draw_part(rng, age):
    """Draw neck and shoulders; a child's shoulders sit higher."""
    neck = draw(rng, RANGES)
    if age == "child":
        neck["shoulder_z"] += 20
    return neck


def skin_distance(points, head):
    """Distance to the skin of neck and shoulders."""
    x, y, z = points
    wide, neck = head["neck_mm"], head["neck"]
    stem = np.sqrt(x * x + ((y - 18 - 0.08 * (-60 - z)) / 1.05) ** 2) - wide
    stem = np.maximum(stem, z + 55)
    if float(z.min()) > neck["shoulder_z"] + 50:
        return stem
    shoulders = ellipsoid(
        points, (0, 42, neck["shoulder_z"] - 62), (neck["shoulder_mm"] + 25, 82, 70)
    )
    return join(stem, shoulders, 35)


def paint_neck(scene, frame, head):
    """Paint spine and airway where the slice reaches below the skull."""
    window = scene.window(frame, (-32, -90, -280), (32, 110, -50))
    if window is not None:
        _spine(window, head)
        _airway(window, head)
        _vessels(window, head)
    wide = scene.window(frame, (-260, -100, -330), (260, 170, head["neck"]["shoulder_z"] + 30))
    if wide is not None:
        _shoulder_bones(wide, head)


def _spine(window, head):
    """Atlas, dens and vertebrae every 17 mm with disc, canal, cord, arch and spinous process."""
    x, y, z = window.points
    hu, bow = head["neck"]["hu"], head["neck"]["lordosis"] * np.sin((z + 60) / 40)
    y = y - bow
    phase = (z + 66) / 17
    disc = abs(phase - np.round(phase)) * 17
    body = ellipsoid([x, y, z * 0], (0, 13, 0), (11, 8.5, 1e3)) + np.clip(2.5 - disc, 0, 3) * 1.5
    arch = (
        abs(np.sqrt((x / 1.15) ** 2 + (y - 30) ** 2) - 11)
        - 2.5
        + np.clip(4.5 - disc, 0, 4) * (y > 22)
    )
    mass = ellipsoid([abs(x), y, z * 0], (18, 20, 0), (7, 6, 1e3))
    spine = capsule([x, y, z * 0], (0, 42, 0), (0, 58, 0), 3) + np.clip(disc - 4, 0, 9)
    bone = np.maximum(np.minimum.reduce([body, arch, mass, spine]), z + 74)
    window.paint(window.share(bone), hu["cortical"] * 0.8)
    window.paint(window.share(bone + 2.2), hu["marrow"] + 150)
    canal = cylinder([x, y, z], (0, 29, 0), 7.5)
    window.paint(window.share(np.maximum(canal, z + 60)), hu["fluid"] + 5)
    window.paint(window.share(np.maximum(cylinder([x, y, z], (0, 29, 0), 5), z + 56)), 35)


def _airway(window, head):
    """Pharynx and trachea with the larynx around it."""
    x, y, z = window.points
    wide = head["neck"]["airway_mm"] * (1 + 0.2 * np.sin(z / 11))
    tube = np.sqrt((x / 1.4) ** 2 + (y + 14 + 0.05 * (z + 90)) ** 2) - wide
    tube = np.maximum(tube, z + 62)
    larynx = np.maximum(np.maximum(tube - 6, -tube - 1), abs(z + 155) - 18)
    window.paint(window.share(larynx), 110)
    window.paint(window.share(tube), AIR)


def _vessels(window, head):
    x, y, z = window.points
    vessels = np.minimum(
        cylinder([abs(x), y, z], (25, 0, 0), 3.5), cylinder([abs(x), y, z], (29, 6, 0), 5.5)
    )
    window.paint(window.share(np.maximum(vessels, z + 68)), head["neck"]["hu"]["blood"])


def _shoulder_bones(window, head):
    """Clavicles, shoulder blades, heads of the humeri and the lung tips."""
    x, y, z = window.points
    top, wide, hu = head["neck"]["shoulder_z"], head["neck"]["shoulder_mm"], head["neck"]["hu"]
    half = [abs(x), y, z]
    body = skin_distance(window.points, head)
    bones = np.minimum.reduce(
        [
            capsule(half, (18, -12, top - 42), (wide * 0.75, 35, top - 25), 6),
            ellipsoid(half, (wide * 0.86, 40, top - 52), (24, 24, 24)),
            capsule(half, (wide * 0.45, 92, top - 50), (wide * 0.75, 70, top - 20), 5),
        ]
    )
    bones = np.maximum(bones, body + 5)
    window.paint(window.share(bones), hu["cortical"] * 0.7)
    window.paint(window.share(bones + 3), hu["marrow"] + 120)
    lung = ellipsoid(half, (52, 40, top - 95), (38, 45, 55))
    window.paint(window.share(np.maximum(lung, body + 18)), -840)
