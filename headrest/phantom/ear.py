"""The ears: thin free-standing pinnae, bent like an S in section, with rim and lobe; folded or
pressed flat at times."""

import itertools
import math

import numpy as np

from headrest.phantom.materials import AIR, TISSUE, draw
from headrest.phantom.shapes import capsule, chain, ellipsoid, join

RANGES = {
    "left": {
        "protrusion_deg": (-12.0, 28.0),
        "height_mm": (25.0, 34.0),
        "width": (0.8, 1.25),
        "thickness_mm": (3.0, 5.8),
        "rim_mm": (0.0, 1.5),
        "wave_mm": (-2.5, 3.5),
        "twist_mm": (-2.5, 2.5),
        "jitter_mm": (-1.8, 1.8),
        "lobe_mm": (4.0, 8.0),
        "shape": ["free", "free", "free", "free", "flattened", "folded"],
    },
    "canal_mm": (1.5, 3.0),
    "cartilage": TISSUE["cartilage"],
}
# corners (outwards, backwards) in mm from the root, in a horizontal section through the canal
SECTION = {
    "free": ((-5, -2), (6, 0), (11, 5), (12, 12), (17, 19), (23, 23), (24, 18)),
    "flattened": ((-5, 0), (5, 2), (8, 8), (7, 16), (9, 23), (11, 30), (13, 26)),
    "folded": ((-5, 0), (7, 3), (13, 8), (18, 7), (21, 1), (20, -5), (17, -6)),
}


def draw_part(rng, age):
    """Draw both ears alike but not the same."""
    ears = draw(rng, RANGES)
    other = draw(rng, RANGES["left"])
    ears["right"] = ears["left"] | {name: other[name] for name in ("shape", "wave_mm", "jitter_mm")}
    ears["right"]["protrusion_deg"] = round(
        0.6 * ears["left"]["protrusion_deg"] + 0.4 * other["protrusion_deg"], 3
    )
    return ears


def distance(points, shape):
    """Distance to a left pinna (x to the side): its bent section swept up and down, the helix
    around it, the lobe."""
    x, y, z = points
    x = _unpressed(x, shape)
    tall = (z + 38) / shape["height_mm"]
    fullness = np.sqrt(np.clip(1.02 - (tall - 0.12) ** 2, 0.02, 1)) * shape["width"]
    out = (x - 71) / fullness + shape["twist_mm"] * np.sin(3 * tall + shape["protrusion_deg"])
    back = (y - 3 - 7 * tall) / fullness
    thick = shape["thickness_mm"] / 2
    corners = _section(shape)
    body = None
    for number, (a, b) in enumerate(itertools.pairwise(corners)):
        bar = _bar(out, back, a, b) * np.minimum(fullness, 1) - thick * (1.25 - 0.1 * number)
        body = bar if body is None else join(body, bar, 3)
    pinna = np.maximum(body, (abs(tall - 0.05) - 1.05) * shape["height_mm"])
    pinna = join(pinna, _helix(out, back, tall, shape), 2)
    lobe = ellipsoid(
        points,
        (73, 6, -38 - shape["height_mm"] * 0.9),
        (3.4, shape["lobe_mm"], shape["lobe_mm"] + 2),
    )
    tragus = capsule(points, (68, -8, -40), (75, -4, -41), 3.2)
    return join(join(pinna, lobe, 4), tragus, 4)


def _unpressed(x, shape):
    """Where tissue at x lay before a support squeezed the ear's outer part between itself and the
    head."""
    if "limit_mm" not in shape:
        return x
    start = shape["limit_mm"] - 9
    slope = np.float32((shape["tip_mm"] - start) / 9)
    return start + (x - start) * np.where(x > start, slope, np.float32(1))


def press(ears, tips_mm, limits_mm):
    """Ears with their tips (left, right) squeezed to limits, both x in mm of the head frame."""
    pressed = dict(ears)
    for name, tip, limit in zip(("left", "right"), tips_mm, limits_mm):
        if tip > limit:
            pressed[name] = ears[name] | {"tip_mm": round(tip, 3), "limit_mm": round(limit, 3)}
    return pressed


def wrap(window, skin, head):
    """The distance to skin or pinna, whichever is nearer: what a sheet or cushion meets."""
    for name, side in (("left", 1), ("right", -1)):
        low, high = (50, -40, -100), (120, 75, 20)
        edges = sorted((side * low[0], side * high[0]))
        part = window.crop((edges[0], *low[1:]), (edges[1], *high[1:]))
        if part is not None:
            x, y, z = part.points
            near = part.take(skin)
            np.minimum(near, distance([side * x, y, z], head["ears"][name]), out=near)
    return skin


def _helix(out, back, tall, shape):
    """The rim: a ring from before the canal over the top to the back, leaning outwards
    backwards."""
    ring = (np.sqrt(((back - 9) / 15) ** 2 + ((tall - 0.05) / 0.95) ** 2) - 1) * 15
    lean = 0.15 if shape["shape"] == "flattened" else 0.55
    return (
        np.sqrt(ring**2 + (out - 5 - lean * (back + 4)) ** 2)
        - 1.6
        - shape["rim_mm"]
        + 6 * np.clip(-0.2 - tall, 0, 1)
    )


def _section(shape):
    angle = np.deg2rad(shape["protrusion_deg"])
    turned = []
    for number, (out, back) in enumerate(SECTION[shape["shape"]]):
        out = (
            out
            + shape["wave_mm"] * (number in (2, 4))
            + shape["jitter_mm"] * math.cos(2.1 * number)
        )
        back = back + shape["jitter_mm"] * math.sin(1.7 * number)
        turned.append(
            (
                out * math.cos(angle) - back * math.sin(-angle) * 0.6,
                back * math.cos(angle) + out * math.sin(-angle),
            )
        )
    return turned


def _bar(out, back, start, end):
    """Distance in the plane to a straight piece of the section."""
    along, across = end[0] - start[0], end[1] - start[1]
    dx, dy = out - start[0], back - start[1]
    t = np.clip((dx * along + dy * across) * (1 / (along * along + across * across)), 0, 1)
    return np.sqrt((dx - t * along) ** 2 + (dy - t * across) ** 2)


def paint_ears(scene, frame, head):
    """Paint pinnae, which give way to hard supports, and the canals."""
    for name, side in (("left", 1), ("right", -1)):
        low, high = (60, -18, -84), (110, 56, 4)
        edges = sorted((side * low[0], side * high[0]))
        window = scene.window(frame, (edges[0], *low[1:]), (edges[1], *high[1:]))
        if window is None:
            continue
        x, y, z = window.points
        points = [side * x, y, z]
        pinna = distance(points, head["ears"][name])
        canal = chain(points, ((76, 4, -41), (65, 0, -40), (51, 5, -43)), head["ears"]["canal_mm"])
        bowl = ellipsoid(points, (77, 5, -40), (5.5, 4, 7))
        hollow = np.minimum(canal, np.maximum(bowl, 68 - points[0]))
        outside = 1 - window.scene.patient[window.at]
        free = outside * (1 - window.scene.hard[window.at])
        window.paint(window.share(hollow) * (1 - outside * (1 - free)), AIR)
        window.paint_patient(
            window.share(np.maximum(pinna, -canal)) * outside, head["tissue"]["skin"], yields=True
        )
        window.paint(
            window.share(np.maximum(pinna + 1.1, -canal)) * 0.6 * free, head["ears"]["cartilage"]
        )
