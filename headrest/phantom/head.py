"""The head: its size, posture and skin, and the order in which its parts are painted.

The head frame is in mm of an average adult: x to the patient's left, y to the back, z to the
vertex, origin in the middle of the vault. The orbits lie near (+-32, -72, -32), the ear canals
near (+-66, 6, -40), the chin near (0, -88, -118). A drawn size per axis and a gentle warp make
each patient of it.
"""

import numpy as np

from headrest.phantom import brain, ear, face, neck, skull
from headrest.phantom.materials import TISSUE, chance, draw
from headrest.phantom.shapes import capsule, ellipsoid, join, near_zero, waves

RANGES = {
    "width": (0.93, 1.09),
    "length": (0.90, 1.06),
    "height": (0.93, 1.07),
    "egg": (0.0, 0.13),
    "crown": (0.05, 0.3),
    "bumps_mm": (0.3, 1.6),
    "warp_mm": (0.5, 2.6),
    "warp_seed": (0, 10**6),
    "nod_deg": (-22.0, 14.0),
    "turn_deg": (-9.0, 9.0),
    "lean_deg": (-6.0, 6.0),
    "scalp_mm": (4.5, 10.0),
    "cheek_mm": (-4.0, 7.0),
    "nose_mm": (-3.0, 5.0),
    "chin_mm": (-6.0, 6.0),
    "neck_mm": (44.0, 64.0),
    "nape_mm": (-8.0, 10.0),
    "folds_mm": (0.0, 2.5),
    "fat_mm": (1.2, 6.5),
    "muscle_seed": (0, 10**6),
    "fat_planes": (0.15, 0.6),
}
CHILD = {"width": (0.70, 0.93), "length": (0.70, 0.93), "height": (0.70, 0.92)}


def draw_head(rng, age):
    """Draw the parameters of a living head; `age` is "adult", "old" or "child"."""
    head = draw(rng, RANGES)
    child = draw(rng, CHILD)
    common = draw(rng, {"common": (0.70, 0.93)})["common"]
    if age == "child":
        head |= {name: round(common * (1 + 0.3 * (child[name] / 0.82 - 1)), 4) for name in CHILD}
    if chance(rng, 0.08):
        head["turn_deg"] = head["turn_deg"] * 4
    head["tissue"] = draw(
        rng, {name: TISSUE[name] for name in ("skin", "fat", "muscle", "fluid", "mucus")}
    )
    head["age"] = age
    for name, part in (
        ("skull", skull),
        ("brain", brain),
        ("face", face),
        ("ears", ear),
        ("neck", neck),
    ):
        head[name] = part.draw_part(rng, age)
    return head


def rotation(head):
    """Table to head rotation (3, 3) from nod (about x), turn (about z) and lean (about y)."""
    nod, turn, lean = (np.deg2rad(head[name]) for name in ("nod_deg", "turn_deg", "lean_deg"))
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    about_z = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    about_y = np.array(
        [[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]]
    )
    return about_x @ about_z @ about_y


def warp(points, head):
    """Bend the head gently, so that no head is symmetric, and the neck back towards the table."""
    rng = np.random.default_rng(head["warp_seed"])
    x, y, z = points
    bends = [waves(points, rng, 140, 2) * head["warp_mm"] for _ in range(2)]
    if float(z.min()) < -50:
        below = np.maximum(-50 - z, 0)
        share = np.clip((y + 60) / 50, 0, 1) * below / (below + 30)
        y = y - float(0.7 * np.tan(np.deg2rad(head["nod_deg"]))) * below * share
    return [x + bends[0], y + bends[1], z]


def skin_distance(points, head):
    """Distance to the skin of head and neck without the ears."""
    halfway = [v[v.shape[0] // 2][None] for v in points] if points[0].ndim == 3 else points
    bumps = waves(halfway, np.random.default_rng(head["warp_seed"] + 1), 50, 4)
    skin = skull.vault(points, head, 0.0) + head["bumps_mm"] * bumps
    low, high = float(points[2].min()), float(points[2].max())
    for bottom, top, back, part, blend in _FEATURES:
        if low < top + 15 and high > bottom - 15:
            rows = _rows_before(points, back + 15)
            skin[rows] = join(skin[rows], part([v[rows] for v in points], head), blend)
    if low < -50:
        fold = (
            np.sin(points[2] * 0.28)
            * np.clip((points[1] - 20) / 60, 0, 1)
            * np.clip((-50 - points[2]) / 20, 0, 1)
        )
        skin = skin + head["folds_mm"] * fold
    return skin


def _rows_before(points, back):
    """Index of the image rows that reach before y = `back`; everything for loose points."""
    if points[1].ndim < 3:
        return slice(None)
    reach = np.flatnonzero(points[1].min((0, 2)) < back)
    return (slice(None), slice(reach[0], reach[-1] + 1) if len(reach) else slice(0))


def _cheeks(points, head):
    x, y, z = points
    fat = head["cheek_mm"]
    return ellipsoid([abs(x), y, z], (36, -46, -66), (32 + fat, 35 + fat / 2, 38))


def _temples(points, head):
    """The breadth between the ears: joints of the jaw, parotids, mastoids."""
    x, y, z = points
    return ellipsoid([abs(x), y, z], (38, 0, -58), (34 + head["cheek_mm"] / 2, 42, 46))


def _eyelids(points, head):
    return ellipsoid([abs(points[0]), points[1], points[2]], (31, -78, -33), (17, 17, 15))


def _nose(points, head):
    x, y, z = points
    tip = -111 - head["nose_mm"]
    ridge = capsule([x, y, z], (0, -86, -27), (0, tip + 2, -56), 3.5, 6.5)
    body = ellipsoid([x, y, z], (0, -86, -56), (18, 20, 25))
    wings = ellipsoid([abs(x), y, z], (8, tip + 12, -61), (8.5, 10, 7.5))
    return join(join(ridge, body, 12), wings, 8)


# lowest and highest z, backmost y, distance, blend in mm
_FEATURES = (
    (-128, -5, 20, lambda p, h: ellipsoid(p, (0, -42, -62), (62, 48, 66)), 22),
    (-110, -10, 60, _temples, 20),
    (-112, -28, 10, _cheeks, 16),
    (-52, -16, -60, _eyelids, 9),
    (-72, -18, -70, _nose, 8),
    (-105, -72, -70, lambda p, h: ellipsoid(p, (0, -86, -88), (25, 14, 15)), 10),
    (
        -138,
        -95,
        -38,
        lambda p, h: ellipsoid(p, (0, -70 - h["chin_mm"] / 2, -114), (34, 28, 20)),
        14,
    ),
    (
        -130,
        -70,
        5,
        lambda p, h: capsule([abs(p[0]), p[1], p[2]], (48, -14, -88), (24, -70, -114), 15),
        14,
    ),
    (-105, -20, 999, lambda p, h: ellipsoid(p, (0, 44 + h["nape_mm"] / 2, -58), (58, 40, 44)), 20),
    (-400, -50, 999, lambda p, h: neck.skin_distance(p, h), 22),
)


def box(head, middle_z):
    """Low and high corner of what may hold skin in a slice at this height: wide where it cuts the
    shoulders."""
    wide = head["neck"]["shoulder_mm"] + 40 if middle_z < head["neck"]["shoulder_z"] + 60 else 98
    return (-wide, -128, -420), (wide, 140 if wide < 99 else 170, 112)


def surface(head):
    """Points (n, 3) on the skin of head and upper neck, and (m, 3) on the ears, in the head
    frame."""
    skin = near_zero(
        lambda points: skin_distance(warp(points, head), head),
        (-95, -125, -110),
        (95, 115, 105),
        4.5,
    )
    ears = []
    for name, side in (("left", 1), ("right", -1)):
        shape = head["ears"][name]
        pinna = near_zero(
            lambda points, side=side, shape=shape: _pinna(points, side, shape, head),
            (60, -14, -84),
            (112, 56, 4),
            2.5,
        )
        ears.append(pinna * (side, 1, 1))
    return skin, np.concatenate(ears)


def _pinna(points, side, shape, head):
    """Distance to a pinna at points that were mirrored to the left."""
    x, y, z = warp([side * points[0], *points[1:]], head)
    return ear.distance([side * x, y, z], shape)


def paint_body(window, skin, head):
    """Paint a living head, from the skin inwards; `skin` is the distance to it on the window's
    planes."""
    inner = window.crop_to((skin < 2).any(0))
    if inner is not None:
        skin = inner.take(skin)
        inner.paint_patient(inner.share(skin), head["tissue"]["skin"], yields=True)
        inner.inside_only = True  # where the skin is flattened against a rail, all below it ends
        _soft_tissue(inner, skin, head)
        cavity = skull.paint_skull(inner, skin, head)
        brain.paint_brain(inner, cavity, head)
    face.paint_face(window.scene, window.frame, head)
    neck.paint_neck(window.scene, window.frame, head)
    ear.paint_ears(window.scene, window.frame, head)


def _soft_tissue(window, skin, head):
    """The fat under the skin, then muscle marbled with fat."""
    tissue = head["tissue"]
    rng = np.random.default_rng(head["muscle_seed"])
    x, y, z = window.halfway
    uneven = waves([x, y, z], rng, 70, 4)
    thick = head["fat_mm"] * (1 + 0.3 * uneven + np.clip((-z - 30) / 40, 0, 1.5))
    window.paint(window.between(skin + 1.7 + thick, skin + 1.7) * 0.93, tissue["fat"])
    mottle = tissue["muscle"] - 6 + 6 * waves([x, y, z], rng, 16, 5)
    window.paint(window.share(skin + 2.5 + thick), mottle)
    if float(z.min()) < -20:
        fat = _fat_planes(window.halfway, rng, head["fat_planes"])
        window.paint(
            window.share(np.maximum(skin + 3 + thick, window.points[2] + 12)) * window.middle(fat),
            tissue["fat"],
        )


def _fat_planes(points, rng, width):
    """Share of fat between muscles: layers around the spine, a few radial gaps, wavy and
    incomplete."""
    x, y, z = points
    x = abs(x - 1.5) + 0.05 * x
    around = np.sqrt(x * x + 0.8 * (y - 20) ** 2)
    bend = waves([x, y, z * 0.4], rng, 45, 4)
    layers = abs(np.sin(around * 0.2 + 1.6 * bend)) * 5 - 1.2 * width * (1 + bend)
    gaps = abs(waves([x, y, z * 0.3], rng, 34, 5)) * 5 - 3 * width
    patches = np.clip(2 * (waves([x, y, z * 0.5], rng, 30, 6) - 1.7 + width), 0, 0.9)
    return np.maximum(
        np.clip(0.6 - np.minimum(layers, gaps), 0, 1) * np.clip(0.6 + 0.4 * bend, 0, 1), patches
    )
