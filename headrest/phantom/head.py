"""The head: its size, posture and skin, and the order in which its parts are painted.

The head frame is in mm of an average adult: x to the patient's left, y to the back, z to the
vertex, origin in the middle of the vault. The orbits are near (+-32, -72, -32), the ear canals
near (+-66, 6, -40), the chin near (0, -88, -118). A sampled size per axis and a gentle warp make a
patient of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from headrest.phantom import ears_neck, skull_brain
from headrest.phantom.face import paint_face, sample_face
from headrest.phantom.ranges import RANGES, Parameters, happens, sample
from headrest.phantom.scene import Array, Points, Window, capsule, ellipsoid, smooth_union, waves

HEAD_PARTS = {
    "skull": skull_brain.sample_skull,
    "brain": skull_brain.sample_brain,
    "face": sample_face,
    "ears": ears_neck.sample_ears,
    "neck": ears_neck.sample_neck,
}


def sample_patient(rng: Generator, age: str) -> Parameters:
    """Sample a living head; `age` is "adult", "old" or "child"."""
    head, child = sample(rng, RANGES["head"]), sample(rng, RANGES["child"])
    common = sample(rng, RANGES["child_size"])["common"]
    if age == "child":  # one of five is a newborn, with a head of 35 cm around, not 56 cm
        head |= {n: round(common * (1 + 0.3 * (v / 0.82 - 1)), 4) for n, v in child.items()}
    if happens(rng, 0.08):
        head["turn_deg"] = head["turn_deg"] * 4
    if happens(rng, 0.1):  # one ear is slices above the other
        head["lean_deg"] = head["lean_deg"] * 2.5
    head["tissue"] = sample(rng, RANGES["head_tissue"])
    head["age"] = age
    return head | {name: sample_part(rng, age) for name, sample_part in HEAD_PARTS.items()}


def rotation(head: Parameters) -> np.ndarray:
    """Rotation (3, 3) from table to head, from nod (about x), turn (about z), lean (about y)."""
    nod, turn, lean = (np.deg2rad(head[name]) for name in ("nod_deg", "turn_deg", "lean_deg"))
    sin, cos = np.sin, np.cos
    about_x = np.array([[1, 0, 0], [0, cos(nod), -sin(nod)], [0, sin(nod), cos(nod)]])
    about_z = np.array([[cos(turn), -sin(turn), 0], [sin(turn), cos(turn), 0], [0, 0, 1]])
    about_y = np.array([[cos(lean), 0, sin(lean)], [0, 1, 0], [-sin(lean), 0, cos(lean)]])
    return about_x @ about_z @ about_y


def warp(points: Points, head: Parameters) -> Points:
    """Bend the head gently, so that it is not symmetric, and the neck back towards the table."""
    rng = np.random.default_rng(head["warp_seed"])
    x, y, z = points
    bends = [waves(points, rng, 140, 2) * head["warp_mm"] for _ in range(2)]
    if float(z.min()) < -50:
        below = np.maximum(-50 - z, 0)
        share = np.clip((y + 60) / 50, 0, 1) * below / (below + 30)
        y = y - float(0.7 * np.tan(np.deg2rad(head["nod_deg"]))) * below * share
    return [x + bends[0], y + bends[1], z]


class _Feature(NamedTuple):
    """A solid that is blended with the vault, and the region that it can reach, in mm."""

    bottom: float
    top: float
    back: float
    blend: float
    distance: Callable[[Any, Parameters], Any]


def _half(points):
    return [abs(points[0]), points[1], points[2]]


def _cheeks(points, head):
    fat = head["cheek_mm"]
    return ellipsoid(_half(points), (36, -46, -66), (32 + fat, 35 + fat / 2, 38))


def _temples(points, head):
    """The breadth between the ears: joints of the jaw, parotids, mastoids."""
    return ellipsoid(_half(points), (38, 0, -58), (34 + head["cheek_mm"] / 2, 42, 46))


def _nose(points, head):
    tip = -111 - head["nose_mm"]
    ridge = capsule(points, (0, -86, -27), (0, tip + 2, -56), 3.5, 6.5)
    body = ellipsoid(points, (0, -86, -56), (18, 20, 25))
    wings = ellipsoid(_half(points), (8, tip + 12, -61), (8.5, 10, 7.5))
    return smooth_union(smooth_union(ridge, body, 12), wings, 8)


def _chin(points, head):
    return ellipsoid(points, (0, -70 - head["chin_mm"] / 2, -114), (34, 28, 20))


def _nape(points, head):
    return ellipsoid(points, (0, 44 + head["nape_mm"] / 2, -58), (58, 40, 44))


FEATURES = (
    _Feature(-128, -5, 20, 22, lambda p, _: ellipsoid(p, (0, -42, -62), (62, 48, 66))),
    _Feature(-110, -10, 60, 20, _temples),
    _Feature(-112, -28, 10, 16, _cheeks),
    _Feature(-52, -16, -60, 9, lambda p, _: ellipsoid(_half(p), (31, -78, -33), (17, 17, 15))),
    _Feature(-72, -18, -70, 8, _nose),
    _Feature(-105, -72, -70, 10, lambda p, _: ellipsoid(p, (0, -86, -88), (25, 14, 15))),
    _Feature(-138, -95, -38, 14, _chin),
    _Feature(-130, -70, 5, 14, lambda p, _: capsule(_half(p), (48, -14, -88), (24, -70, -114), 15)),
    _Feature(-105, -20, 999, 20, _nape),
    _Feature(-400, -50, 999, 22, ears_neck.neck_distance),
)
TIPS = _Feature(-400, -70, 999, 5, ears_neck.shoulder_tips)


def skin_distance(points: Points, head: Parameters) -> np.ndarray:
    """Distance to the skin of head and neck without the ears."""
    halfway = [v[v.shape[0] // 2][None] for v in points] if points[0].ndim == 3 else points
    bumps = waves(halfway, np.random.default_rng(head["warp_seed"] + 1), 50, 4)
    skin = skull_brain.vault(points, head, 0.0) + head["bumps_mm"] * bumps
    _x, y, z = points
    low, high = float(z.min()), float(z.max())
    for feature in (*FEATURES, TIPS) if head["neck"]["has_tips"] else FEATURES:
        if low < feature.top + 15 and high > feature.bottom - 15:
            rows = _rows_before(points, feature.back + 15)
            solid = feature.distance([v[rows] for v in points], head)
            skin[rows] = smooth_union(skin[rows], solid, feature.blend)
    if low < -50:
        wrinkles = np.sin(z * 0.28) * np.clip((y - 20) / 60, 0, 1)
        skin = skin + head["wrinkles_mm"] * (wrinkles * np.clip((-50 - z) / 20, 0, 1))
    return skin


def _rows_before(points, back):
    """Index of the image rows that reach before y = `back`; everything for loose points."""
    if points[1].ndim < 3:
        return slice(None)
    reach = np.flatnonzero(points[1].min((0, 2)) < back)
    return (slice(None), slice(reach[0], reach[-1] + 1) if len(reach) else slice(0))


def bounding_box(head: Parameters, z: float) -> tuple[Sequence[float], Sequence[float]]:
    """Corners of the box that contains the skin in a slice at height z: wide at the shoulders."""
    neck = head["neck"]
    top = max(neck["shoulder_z"] + 60, neck["tip_z"] + 30 if neck["has_tips"] else -999)
    wide = 255 if z < top else 98
    return (-wide, -128, -420), (wide, 140 if wide < 99 else 170, 112)


def skin_points(head: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 3) on the skin of head and neck, of the ears, and of the back, in head frame.

    A head lies on its support with shoulders raised or not: their tips are left out.
    """

    without_tips = head | {"neck": head["neck"] | {"has_tips": False}}

    def skin(points):
        return skin_distance(warp(points, head), without_tips)

    ears = []
    for name, side in (("left", 1), ("right", -1)):

        def ear(points, name=name, side=side):
            x, y, z = warp([side * points[0], *points[1:]], head)
            return ears_neck.ear_distance([side * x, y, z], head["ears"][name])

        ears.append(surface_points(ear, (60, -56, -84), (112, 64, 4), 2.5) * (side, 1, 1))
    back = surface_points(skin, (-240, 20, -330), (240, 170, -110), 10.0)
    return surface_points(skin, (-95, -125, -110), (95, 115, 105), 4.5), np.concatenate(ears), back


def surface_points(
    distance: Callable[[Points], Array], low: Sequence[float], high: Sequence[float], step_mm: float
) -> Array:
    """Points (n, 3) on the surface of a solid in a box, about `step_mm` apart."""
    axes = [np.arange(a, b, step_mm, dtype=np.float32) for a, b in zip(low, high)]
    z, y, x = (grid.ravel() for grid in np.meshgrid(*axes[::-1], indexing="ij"))
    away = distance([x, y, z])
    found = abs(away) < 0.7 * step_mm
    points, away = [v[found] for v in (x, y, z)], away[found]
    slope = [
        distance([v + (0.5 if n == axis else 0) for n, v in enumerate(points)]) - away
        for axis in range(3)
    ]
    steep = 0.5 * away / np.maximum(sum(s * s for s in slope), 0.02)
    return np.stack([v - steep * s for v, s in zip(points, slope)], 1)


def paint(window: Window, skin: np.ndarray, head: Parameters) -> None:
    """Paint a living head, from the skin inwards; `skin` is the distance to it on the planes."""
    inner = window.crop_to((skin < 2).any(0))
    if inner is not None:
        skin = inner.take(skin)
        inner.paint_patient(inner.share(skin), head["tissue"]["skin"], yields=True)
        inner.inside_only = True  # a rail that flattens the skin ends all tissue below it too
        _soft_tissue(inner, skin, head)
        cavity = skull_brain.paint_skull(inner, skin, head)
        skull_brain.paint_brain(inner, cavity, head)
    paint_face(window, head)
    whole = Window(window.scene, window.frame)
    ears_neck.paint_neck(whole, head)
    ears_neck.paint_ears(whole, head["ears"], head["tissue"]["skin"])


def _soft_tissue(window, skin, head):
    """The fat under the skin, then muscle marbled with fat."""
    tissue, rng = head["tissue"], np.random.default_rng(head["muscle_seed"])
    z = window.halfway[2]
    uneven = waves(window.halfway, rng, 70, 4)
    thick = head["fat_mm"] * (1 + 0.3 * uneven + np.clip((-z - 30) / 40, 0, 1.5))
    window.coat(skin + 1.7 + thick, skin + 1.7, tissue["fat"], 0.93)
    mottled = tissue["muscle"] - 6 + 6 * waves(window.halfway, rng, 16, 5)
    window.fill(skin + 2.5 + thick, mottled)
    if float(z.min()) < -20:
        fat = window.middle(_fat_planes(window.halfway, rng, head["fat_planes"]))
        deep = np.maximum(skin + 3 + thick, window.points[2] + 12)
        window.fill(deep, tissue["fat"], fat)


def _fat_planes(points, rng, width):
    """Share of fat between muscles: layers around the spine and a few radial gaps."""
    x, y, z = points
    x = abs(x - 1.5) + 0.05 * x
    around = np.sqrt(x * x + 0.8 * (y - 20) ** 2)
    bend = waves([x, y, z * 0.4], rng, 45, 4)
    layers = abs(np.sin(around * 0.2 + 1.6 * bend)) * 5 - 1.2 * width * (1 + bend)
    gaps = abs(waves([x, y, z * 0.3], rng, 34, 5)) * 5 - 3 * width
    patches = np.clip(2 * (waves([x, y, z * 0.5], rng, 30, 6) - 1.7 + width), 0, 0.9)
    planes = np.clip(0.6 - np.minimum(layers, gaps), 0, 1) * np.clip(0.6 + 0.4 * bend, 0, 1)
    return np.maximum(planes, patches)
