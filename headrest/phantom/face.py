"""The face: orbits, cheek bones, jaws, teeth with fillings, nasal cavity and sinuses."""

import math

import numpy as np
from numpy.random import Generator

from headrest.hounsfield import AIR
from headrest.phantom.ranges import RANGES, Parameters, happens, sample
from headrest.phantom.scene import (
    Window,
    capsule,
    chain,
    ellipsoid,
    intersection,
    smooth_intersection,
    smooth_union,
    sphere,
    union,
    waves,
    within,
)


def sample_face(rng: Generator, age: str) -> Parameters:
    """Sample a face; children have small sinuses and no fillings, the old fewer teeth."""
    face = sample(rng, RANGES["face"])
    if not happens(rng, 0.4) or age == "child":
        face["fillings"] = 0
    if age == "child":
        face["sinus"] *= 0.55
    face["teeth"] = 0.0 if age == "old" and face["teeth"] < 0.5 else 0.55 + 0.45 * face["teeth"]
    return face


def paint_face(window: Window, head: Parameters) -> None:
    """Paint the face from bone to air anywhere in the slice, inside the patient only."""
    whole = Window(window.scene, window.frame)
    whole.inside_only = True
    for paint in (_maxilla, _mandible, _mouth, _teeth, _orbit, _zygoma, _maxillary_sinus, _nose):
        paint(whole, head["face"] | {"chin_mm": head["chin_mm"]})


@within((-48, -105, -125), (48, -20, -25))
def _maxilla(window, face):
    """Upper jaw, hard palate and the bone around the nasal cavity."""
    (x, y, z), half, hu = window.points, window.half, face["hu"]
    block = ellipsoid(half, (0, -58, -66), (42, 27, 28))
    front = np.clip((20 - abs(window.middle(y) + 72)) / 6, 0, 1)
    window.coat(block + 2.2, block, hu["thin_bone"] * 1.3, front)
    palate = np.maximum(abs(z + 78) - 2.5, ellipsoid([x, y, z * 0], (0, -62, 0), (22, 26, 99)))
    ridge = _dental_arch(half, -82, 5.5)
    bridge = capsule(half, (1, -93, -28), (5, -99, -44), 2.0)
    frontal = chain(half, ((11, -86, -36), (14, -82, -60), (12, -84, -76)), 2.6)
    window.fill(union(palate, ridge, bridge, frontal), hu["cortical"])
    window.fill(ridge + 2, hu["marrow"] + 200)
    vomer = capsule(half, (12, -32, -60), (13, -26, -88), 1.2)
    plate = capsule(half, (20, -30, -62), (24, -24, -88), 1.2)
    window.fill(union(vomer, plate), hu["thin_bone"] * 1.6)


def _dental_arch(half, z, radius):
    """Distance to a rod bent like the dental arch."""
    corners = ((0, -91), (11, -88), (19, -79), (24, -66), (26, -50))
    return chain(half, [(*corner, z) for corner in corners], radius)


@within((-60, -105, -140), (60, 5, -40))
def _mandible(window, face):
    """Lower jaw: body, rami, condyles, with marrow."""
    x, y, z = window.half
    hu, chin, half = face["hu"], face["chin_mm"] / 3, [x, y, z + face["gape_mm"]]
    body = chain(half, ((0, -88 - chin, -112), (14, -85, -112), (30, -62, -108), (43, -28, -98)), 6)
    ramus = chain(half, ((43, -26, -96), (47, -16, -70), (50, -8, -50)), 4.2)
    coronoid = capsule(half, (44, -28, -88), (46, -32, -60), 2.8)
    lower_ridge = _dental_arch([half[0], half[1] - 2, half[2]], -103, 5)
    jaw = union(body, ramus, coronoid, lower_ridge)
    window.fill(jaw, hu["cortical"])
    window.fill(jaw + 2.4, hu["marrow"] + 150)


@within((-24, -95, -112), (24, -25, -70))
def _mouth(window, face):
    """Tongue and the air above it."""
    _x, y, z = window.points
    tongue = ellipsoid(window.points, (0, -58, -94), (20, 30, 14))
    window.fill(tongue, face["hu"]["muscle"] + 2)
    slit = abs(z + 82 + 2 * np.sin(y / 9)) - 0.2 * face["gape_mm"]
    window.fill(np.maximum(slit, tongue - 2), AIR)


@within((-34, -100, -125), (34, -38, -74))
def _teeth(window, face):
    """Both rows of teeth, some missing, some filled with metal."""
    rng, gape = np.random.default_rng(face["seed"] + 3), face["gape_mm"]
    for side in (-1, 1):
        for row, (crown, root) in enumerate(((-91, -80), (-95 - gape, -106 - gape))):
            for number in range(7):
                present, filled = rng.random() < face["teeth"], rng.random() < face["fillings"] / 16
                if present:
                    _tooth(window, face, side, number, crown, root, row, filled and number > 2)


def _tooth(whole, face, side, number, crown, root, row, filled):
    along = (number + 0.5) / 7
    x = side * 27 * math.sin(along * 1.5)
    y = -92 + row * 2 + 45 * along**1.8
    width, top = 3.0 + 1.6 * along, (x, y, crown)
    window = whole.crop((x - 7, y - 7, min(crown, root) - 5), (x + 7, y + 7, max(crown, root) + 5))
    if window is None:
        return
    window.fill(capsule(window.points, top, (x, y, root), width, 1.6), face["hu"]["dentine"])
    cap = sphere(window.points, top, width)
    window.coat(cap + 1.2, cap, face["hu"]["enamel"])
    if filled:
        window.fill(sphere(window.points, top, width * 0.75), face["metal"])


@within((8, -95, -58), (55, -20, -10), sided=True)
def _orbit(window, side, face):
    """Fat cone in thin bone, with globe, lens, optic nerve and muscles."""
    points, hu, radius = window.mirrored(side), face["hu"], face["globe_mm"]
    x, y, _z = points
    front = ellipsoid(points, (31, -66, -33), (20, 22, 19))
    cone = smooth_union(front, capsule(points, (26, -50, -33), (12, -24, -33), 10, 3), 8)
    window.coat(cone, np.maximum(cone - 2.2, -75 - y + 0.25 * (x - 31)), hu["cortical"] * 0.75)
    inside = window.share(np.maximum(cone, -86 - y))
    window.paint(inside, hu["fat"])
    apex = (14, -30, -33)
    for dx, dz in ((-11, 0), (11, 0), (0, -10), (0, 10)):
        corners = apex, (26 + dx, -52, -33 + dz), (31 + dx, -70, -33 + dz * 0.9)
        window.fill(chain(points, corners, 1.9), hu["muscle"], inside)
    window.fill(capsule(points, apex, (29, -66, -33), 2.2), 35, inside)
    globe = sphere(points, (31, -78, -33), radius)
    window.fill(globe, hu["eye"])
    window.coat(globe + 1.3, globe, hu["eye_wall"])
    window.fill(ellipsoid(points, (31, -78 - radius * 0.72, -33), (4.6, 2, 4.6)), hu["lens"])


@within((20, -82, -105), (75, 15, -5), sided=True)
def _zygoma(window, side, face):
    """Cheek bone, zygomatic arch and the muscles of chewing."""
    points, hu, thick = window.mirrored(side), face["hu"], face["zygoma_mm"]
    for start, end, *radii in (
        ((54, -36, -62), (48, -30, -92), 9, 8),
        ((57, -38, -18), (50, -36, -50), 9, 8),
        ((30, -34, -60), (36, -24, -80), 10),
    ):
        window.fill(capsule(points, start, end, *radii), hu["muscle"] + 3, 0.9)
    arch = ((50, -66, -44), (60, -52, -50), (67, -32, -50), (68, -10, -45), (64, 4, -42))
    margin = ((48, -66, -26), (51, -64, -34), (46, -70, -48), (30, -78, -51))
    bone = union(chain(points, arch, thick), chain(points, margin, thick + 1))
    window.fill(bone, hu["cortical"])
    window.fill(bone + 2.4, hu["marrow"] + 250)
    window.fill(ellipsoid(points, (58, -2, -75), (10, 14, 20)), hu["gland"], 0.8)


@within((10, -88, -88), (50, -38, -44), sided=True)
def _maxillary_sinus(window, side, face):
    """Air in the cheek bone, at times with a level of fluid or swollen mucosa."""
    points, hu, size = window.mirrored(side), face["hu"], face["sinus"]
    bumps = waves(window.points, np.random.default_rng(face["seed"] + 11 + side), 30, 4)
    sinus = ellipsoid(points, (30, -58, -64), (13.5 * size, 17 * size, 17 * size)) + 1.2 * bumps
    sinus = np.maximum(sinus, 16 - points[0])
    window.coat(sinus, sinus - 1.6, hu["thin_bone"] * 1.4)
    window.fill(sinus, AIR)
    fluid = face["sinus_fluid"]
    if fluid > 0.75:
        window.fill(np.maximum(sinus, -60 + 40 * (1 - fluid) - points[1]), hu["mucus"])
        lining = -sinus - 5 * (fluid - 0.5)
        if side < 0:
            lining = union(-sinus - 8 * (fluid - 0.5), -60 + 30 * (1 - fluid) - points[1])
        window.fill(np.maximum(sinus, lining), hu["mucus"])


@within((-22, -112, -88), (22, -8, -24))
def _nose(window, face):
    """Air, septum, turbinates with mucosa, and the ethmoid cells above."""
    (x, y, z), half, hu = window.points, window.half, face["hu"]
    rng, mucosa = np.random.default_rng(face["seed"]), face["mucosa"]
    uneven = waves(window.points, rng, 26, 4)
    width = 2.5 + 13.5 * np.clip((y + 101) / 42, 0, 1) - 4 * np.clip((y + 48) / 22, 0, 1)
    sides = smooth_intersection((half[0] - width) * 0.9, abs(z + 63) - 15 - 0.1 * (y + 60), 6)
    cavity = smooth_intersection(sides, abs(y + 65) - 36, 6) + 0.7 * uneven
    behind = np.clip((-38 - window.middle(y)) / 6, 0, 1)
    window.coat(cavity, cavity - 1.8, hu["thin_bone"], behind)
    window.fill(np.maximum(ellipsoid(half, (0, -26, -66), (13, 10, 12)), -44 - y), AIR)
    window.fill(cavity, AIR)
    sway, low = 2.0 * np.sin(y / 9 + face["seed"] % 5) + uneven, 0.45 * z
    lower = capsule([half[0] + sway, y, low], (10, -80, -32), (10, -40, -32), 2.9 * mucosa)
    upper = [half[0] - 0.7 * sway, y, low]
    turbinates = union(lower, capsule(upper, (7, -74, -26.5), (8, -40, -26.5), 2.4 * mucosa))
    window.fill(np.maximum(turbinates, cavity), hu["mucus"] + 15)
    window.fill(np.maximum(abs(turbinates + 2.2 * mucosa) - 0.45, cavity), hu["thin_bone"])
    middle = x - (face["septum_mm"] * np.sin((y + 95) / 20) + 0.5 * uneven)
    window.coat(middle + 1.6, middle - 1.6, hu["mucus"] + 20, window.share(cavity))
    plate = window.share(np.maximum(cavity, -80 - y))
    window.coat(middle + 0.6, middle - 0.6, hu["thin_bone"], plate)
    _ethmoid(window, face, rng)


def _ethmoid(window, face, rng):
    """A honeycomb of air between bone plates thinner than a voxel, and the sphenoid sinus."""
    (x, _y, _z), half, hu = window.points, window.half, face["hu"]
    block = ellipsoid(half, (0, -62, -38), (14, 29, 13))
    cells = waves(window.points, rng, face["cells_mm"], 8)
    plates = np.minimum(abs(cells) / face["plates"] - 1, half[0] - 0.8)
    window.fill(block, AIR)
    window.fill(block, hu["thin_bone"] * 0.7, np.clip(-1.5 * window.middle(plates), 0, 1))
    window.coat(block, block - 1.2, hu["thin_bone"])
    sphenoid = ellipsoid(window.points, (1, -23, -40), (15, 13, 10)) + 1.2 * cells
    sphenoid = intersection(sphenoid, 0.9 - abs(x - 2 - cells))
    window.coat(sphenoid, sphenoid - 2, hu["cortical"] * 0.8)
    window.fill(sphenoid, AIR)
