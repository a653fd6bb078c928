"""Air inside the face: nasal cavity with turbinates, ethmoid cells, sinuses."""

import numpy as np

from headrest.phantom.materials import AIR
from headrest.phantom.shapes import capsule, ellipsoid, meet, waves


def paint_nasal_cavity(window, head):
    """Air, septum, scroll-like turbinates with mucosa, and the ethmoid cells above."""
    face, (x, y, z) = head["face"], window.points
    half, hu = [abs(x), y, z], head["face"]["hu"]
    rng = np.random.default_rng(face["seed"])
    wobble = waves(window.points, rng, 26, 4)
    width = 2.5 + 13.5 * np.clip((y + 101) / 42, 0, 1) - 4 * np.clip((y + 48) / 22, 0, 1)
    sides = meet((half[0] - width) * 0.9, abs(z + 63) - 15 - 0.1 * (y + 60), 6)
    cavity = meet(sides, abs(y + 65) - 36, 6) + 0.7 * wobble
    wall = window.between(cavity, cavity - 1.8) * np.clip((-38 - window.middle(y)) / 6, 0, 1)
    window.paint(wall, hu["thin_bone"])
    behind = ellipsoid(half, (0, -26, -66), (13, 10, 12))
    window.paint(window.share(np.maximum(behind, -44 - y)), AIR)
    window.paint(window.share(cavity), AIR)
    mucosa = face["mucosa"]
    sway = 2.0 * np.sin(y / 9 + face["seed"] % 5) + wobble
    lower = capsule([half[0] + sway, y, 0.45 * z], (10, -80, -32), (10, -40, -32), 2.9 * mucosa)
    middle = capsule(
        [half[0] - 0.7 * sway, y, 0.45 * z], (7, -74, -26.5), (8, -40, -26.5), 2.4 * mucosa
    )
    scroll = np.minimum(lower, middle)
    window.paint(window.share(np.maximum(scroll, cavity)), hu["mucus"] + 15)
    window.paint(
        window.share(np.maximum(abs(scroll + 2.2 * mucosa) - 0.45, cavity)), hu["thin_bone"]
    )
    shift = face["septum_mm"] * np.sin((y + 95) / 20) + 0.5 * wobble
    window.paint(
        window.between(x - shift + 1.6, x - shift - 1.6) * window.share(cavity), hu["mucus"] + 20
    )
    window.paint(
        window.between(x - shift + 0.6, x - shift - 0.6)
        * window.share(np.maximum(cavity, -80 - y)),
        hu["thin_bone"],
    )
    _ethmoid(window, face, rng)


def _ethmoid(window, face, rng):
    """A honeycomb of air between bone plates thinner than a voxel."""
    x, y, z = window.points
    block = ellipsoid([abs(x), y, z], (0, -62, -38), (14, 29, 13))
    cells = waves(window.points, rng, face["cells_mm"], 8)
    plates = np.minimum(abs(cells) / face["plates"] - 1, abs(x) - 0.8)
    window.paint(window.share(block), AIR)
    window.paint(
        window.share(block) * np.clip(-1.5 * window.middle(plates), 0, 1),
        face["hu"]["thin_bone"] * 0.7,
    )
    window.paint(window.between(block, block - 1.2), face["hu"]["thin_bone"])
    sphenoid = np.maximum(
        ellipsoid([x, y, z], (1, -23, -40), (15, 13, 10)) + 1.2 * cells, 0.9 - abs(x - 2 - cells)
    )
    window.paint(window.between(sphenoid, sphenoid - 2), face["hu"]["cortical"] * 0.8)
    window.paint(window.share(sphenoid), AIR)


def paint_maxillary_sinus(window, points, side, head):
    """Air in the cheek bone, at times with a level of fluid or swollen mucosa."""
    face, hu = head["face"], head["face"]["hu"]
    size = face["sinus"]
    bumps = waves(window.points, np.random.default_rng(face["seed"] + 11 + side), 30, 4)
    sinus = ellipsoid(points, (30, -58, -64), (13.5 * size, 17 * size, 17 * size)) + 1.2 * bumps
    sinus = np.maximum(sinus, 16 - points[0])
    window.paint(window.between(sinus, sinus - 1.6), hu["thin_bone"] * 1.4)
    fluid = face["sinus_fluid"]
    window.paint(window.share(sinus), AIR)
    if fluid > 0.75:
        lining = np.maximum(
            sinus, np.minimum(-sinus - 8 * (fluid - 0.5), -60 + 30 * (1 - fluid) - points[1])
        )
        window.paint(
            window.share(np.maximum(sinus, -60 + 40 * (1 - fluid) - points[1])), hu["mucus"]
        )
        window.paint(
            window.share(np.maximum(sinus, -sinus - 5 * (fluid - 0.5)) if side > 0 else lining),
            hu["mucus"],
        )
