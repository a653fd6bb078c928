"""The face: orbits, cheek bones, jaws, teeth and their fillings; its air is in `nose`."""

import math

import numpy as np

from headrest.phantom.materials import AIR, MATERIAL, TISSUE, chance, draw
from headrest.phantom.nose import paint_maxillary_sinus, paint_nasal_cavity
from headrest.phantom.shapes import capsule, chain, ellipsoid, join, sphere

RANGES = {
    "seed": (0, 10**6),
    "sinus": (0.6, 1.15),
    "sinus_fluid": (0.0, 1.0),
    "cells_mm": (7.0, 13.0),
    "plates": (0.12, 0.34),
    "mucosa": (0.8, 1.6),
    "septum_mm": (-3.0, 3.0),
    "globe_mm": (10.8, 12.6),
    "teeth": (0.0, 1.0),
    "gape_mm": (1.0, 12.0),
    "fillings": (0, 7),
    "zygoma_mm": (2.4, 4.5),
    "hu": {
        name: TISSUE[name]
        for name in (
            "cortical",
            "marrow",
            "thin_bone",
            "fat",
            "muscle",
            "eye",
            "lens",
            "eye_wall",
            "dentine",
            "enamel",
            "mucus",
            "gland",
        )
    },
    "metal": MATERIAL["amalgam"],
}


def draw_part(rng, age):
    """Draw a face; children have small sinuses and no fillings, the old fewer teeth."""
    face = draw(rng, RANGES)
    if not chance(rng, 0.4):
        face["fillings"] = 0
    if age == "child":
        face["fillings"] = 0
        face["sinus"] *= 0.55
    face["teeth"] = 0.0 if age == "old" and face["teeth"] < 0.5 else 0.55 + 0.45 * face["teeth"]
    return face


def paint_face(scene, frame, head):
    """Paint the face from bone to air, each part inside its box."""
    for low, high, part in _PARTS:
        window = _inside(scene, frame, low, high)
        if window is not None:
            part(window, head)
    for side in (-1, 1):
        for low, high, part in _SIDED:
            edges = sorted((side * low[0], side * high[0]))
            window = _inside(scene, frame, (edges[0], *low[1:]), (edges[1], *high[1:]))
            if window is not None:
                x, y, z = window.points
                part(window, [side * x, y, z], side, head)
    window = _inside(scene, frame, *_NOSE)
    if window is not None:
        paint_nasal_cavity(window, head)


def _inside(scene, frame, low, high):
    """A window whose paint stays under the skin."""
    window = scene.window(frame, low, high)
    if window is not None:
        window.inside_only = True
    return window


def _maxilla(window, head):
    """Upper jaw, hard palate and the bone around the nasal cavity."""
    x, y, z = window.points
    half, hu = [abs(x), y, z], head["face"]["hu"]
    block = ellipsoid(half, (0, -58, -66), (42, 27, 28))
    walls = window.between(block + 2.2, block) * np.clip(
        (20 - abs(window.middle(y) + 72)) / 6, 0, 1
    )
    window.paint(walls, hu["thin_bone"] * 1.3)
    palate = np.maximum(abs(z + 78) - 2.5, ellipsoid([x, y, z * 0], (0, -62, 0), (22, 26, 99)))
    ridge = _arch_distance(half, -82, 5.5)
    bridge = capsule(half, (1, -93, -28), (5, -99, -44), 2.0)
    frontal = chain(half, ((11, -86, -36), (14, -82, -60), (12, -84, -76)), 2.6)
    window.paint(window.share(np.minimum.reduce([palate, ridge, bridge, frontal])), hu["cortical"])
    window.paint(window.share(ridge + 2), hu["marrow"] + 200)
    vomer = capsule(half, (12, -32, -60), (13, -26, -88), 1.2)
    plate = capsule(half, (20, -30, -62), (24, -24, -88), 1.2)
    window.paint(window.share(np.minimum(vomer, plate)), hu["thin_bone"] * 1.6)


def _arch_distance(half, height, radius):
    """Distance to a rod bent like the dental arch at a height z."""
    corners = (
        (0, -91, height),
        (11, -88, height),
        (19, -79, height),
        (24, -66, height),
        (26, -50, height),
    )
    return chain(half, corners, radius)


def _mandible(window, head):
    """Lower jaw: body, rami, condyles, with marrow."""
    x, y, z = window.points
    hu, drop = head["face"]["hu"], head["face"]["gape_mm"]
    half = [abs(x), y, z + drop]
    chin = head["chin_mm"] / 3
    body = chain(half, ((0, -88 - chin, -112), (14, -85, -112), (30, -62, -108), (43, -28, -98)), 6)
    ramus = chain(half, ((43, -26, -96), (47, -16, -70), (50, -8, -50)), 4.2)
    coronoid = capsule(half, (44, -28, -88), (46, -32, -60), 2.8)
    lower_ridge = _arch_distance([half[0], half[1] - 2, half[2]], -103, 5)
    jaw = np.minimum.reduce([body, ramus, coronoid, lower_ridge])
    window.paint(window.share(jaw), hu["cortical"])
    window.paint(window.share(jaw + 2.4), hu["marrow"] + 150)


def _mouth(window, head):
    """Tongue and the air over it."""
    x, y, z = window.points
    hu = head["face"]["hu"]
    tongue = ellipsoid([x, y, z], (0, -58, -94), (20, 30, 14))
    window.paint(window.share(tongue), hu["muscle"] + 2)
    slit = np.maximum(abs(z + 82 + 2 * np.sin(y / 9)) - 0.2 * head["face"]["gape_mm"], tongue - 2)
    window.paint(window.share(slit), AIR)


def _teeth(window, head):
    """Both rows of teeth, some missing, some filled with metal."""
    face = head["face"]
    rng = np.random.default_rng(face["seed"] + 3)
    for side in (-1, 1):
        for row, (crown, root) in enumerate(
            ((-91, -80), (-95 - face["gape_mm"], -106 - face["gape_mm"]))
        ):
            for number in range(7):
                present, filled = rng.random() < face["teeth"], rng.random() < face["fillings"] / 16
                if present:
                    _tooth(window, face, side, number, crown, root, row, filled and number > 2)


def _tooth(window, face, side, number, crown, root, row, filled):
    along = (number + 0.5) / 7
    x = side * 27 * math.sin(along * 1.5)
    y = -92 + row * 2 + 45 * along**1.8
    width = 3.0 + 1.6 * along
    inner = window.crop((x - 7, y - 7, min(crown, root) - 5), (x + 7, y + 7, max(crown, root) + 5))
    if inner is None:
        return
    tooth = capsule(inner.points, (x, y, crown), (x, y, root), width, 1.6)
    inner.paint(inner.share(tooth), face["hu"]["dentine"])
    cap = sphere(inner.points, (x, y, crown), width)
    inner.paint(inner.between(cap + 1.2, cap), face["hu"]["enamel"])
    if filled:
        inner.paint(inner.share(sphere(inner.points, (x, y, crown), width * 0.75)), face["metal"])


def _orbit(window, points, side, head):
    """Fat cone in thin bone, with globe, lens, optic nerve and muscles."""
    face, hu = head["face"], head["face"]["hu"]
    cone = join(
        ellipsoid(points, (31, -66, -33), (20, 22, 19)),
        capsule(points, (26, -50, -33), (12, -24, -33), 10, 3),
        8,
    )
    wall = np.maximum(cone - 2.2, -75 - points[1] + 0.25 * (points[0] - 31))
    window.paint(window.between(cone, wall), hu["cortical"] * 0.75)
    inside = window.share(np.maximum(cone, -86 - points[1]))
    window.paint(inside, hu["fat"])
    apex = (14, -30, -33)
    for dx, dz in ((-11, 0), (11, 0), (0, -10), (0, 10)):
        muscle = chain(
            points, (apex, (26 + dx, -52, -33 + dz), (31 + dx, -70, -33 + dz * 0.9)), 1.9
        )
        window.paint(inside * window.share(muscle), hu["muscle"])
    window.paint(inside * window.share(capsule(points, apex, (29, -66, -33), 2.2)), 35)
    radius = face["globe_mm"]
    globe = sphere(points, (31, -78, -33), radius)
    window.paint(window.share(globe), hu["eye"])
    window.paint(window.between(globe + 1.3, globe), hu["eye_wall"])
    lens = ellipsoid(points, (31, -78 - radius * 0.72, -33), (4.6, 2, 4.6))
    window.paint(window.share(lens), hu["lens"])


def _zygoma(window, points, side, head):
    """Cheek bone, zygomatic arch and the muscles of chewing."""
    hu, thick = head["face"]["hu"], head["face"]["zygoma_mm"]
    for muscle in (
        capsule(points, (54, -36, -62), (48, -30, -92), 9, 8),
        capsule(points, (57, -38, -18), (50, -36, -50), 9, 8),
        capsule(points, (30, -34, -60), (36, -24, -80), 10),
    ):
        window.paint(window.share(muscle) * 0.9, hu["muscle"] + 3)
    arch = chain(
        points,
        ((50, -66, -44), (60, -52, -50), (67, -32, -50), (68, -10, -45), (64, 4, -42)),
        thick,
    )
    rim = chain(points, ((48, -66, -26), (51, -64, -34), (46, -70, -48), (30, -78, -51)), thick + 1)
    bone = np.minimum(arch, rim)
    window.paint(window.share(bone), hu["cortical"])
    window.paint(window.share(bone + 2.4), hu["marrow"] + 250)
    gland = ellipsoid(points, (58, -2, -75), (10, 14, 20))
    window.paint(window.share(gland) * 0.8, hu["gland"])


_PARTS = (
    ((-48, -105, -125), (48, -20, -25), _maxilla),
    ((-60, -105, -140), (60, 5, -40), _mandible),
    ((-24, -95, -112), (24, -25, -70), _mouth),
    ((-34, -100, -125), (34, -38, -74), _teeth),
)

_SIDED = (
    ((8, -95, -58), (55, -20, -10), _orbit),
    ((20, -82, -105), (75, 15, -5), _zygoma),
    ((10, -88, -88), (50, -38, -44), paint_maxillary_sinus),
)

_NOSE = ((-22, -112, -88), (22, -8, -24))
