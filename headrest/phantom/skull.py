"""The skull: cavity, vault with two tables and diploe, base with petrous bones, mastoid cells,
frontal sinus."""

import numpy as np

from headrest.phantom.materials import AIR, TISSUE, chance, draw
from headrest.phantom.shapes import capsule, ellipsoid, meet, sphere, waves

RANGES = {
    "thickness_mm": (4.5, 9.0),
    "uneven": (0.05, 0.17),
    "seed": (0, 10**6),
    "diploe_share": (0.12, 0.38),
    "crests_mm": (0.0, 7.0),
    "frontal_sinus": (0.0, 1.3),
    "mastoid_air": (-0.7, 0.7),
    "mastoid_size": (0.6, 1.2),
    "ridge_mm": (12.0, 24.0),
    "ridge_slope": (0.35, 0.65),
    "clivus_mm": (14.0, 30.0),
    "orbit_roof_mm": (2.0, 8.0),
    "hu": {name: TISSUE[name] for name in ("cortical", "diploe", "petrous", "thin_bone")},
}
HOLE = {
    "x": (-60.0, 60.0),
    "y": (-60.0, 60.0),
    "z": (30.0, 70.0),
    "radius_mm": (8.0, 45.0),
    "flap": ["none", "sunken", "plate"],
}


def draw_part(rng, age):
    """Draw a skull; children have thin ones without air cells."""
    skull = draw(rng, RANGES)
    is_open, hole = chance(rng, 0.08), draw(rng, HOLE)
    skull["craniotomy"] = hole if is_open else None
    if age == "child":
        skull["thickness_mm"] *= 0.45
        skull["frontal_sinus"] = 0.0
        skull["mastoid_size"] *= 0.6
    return skull


def egg(points, head):
    """Narrow the forehead, flatten the crown."""
    x, y, z = points
    return [
        x * (1 - head["egg"] * np.clip(y, -100, 60) / 96),
        y,
        z * (1 - head["crown"] * np.clip(1 - z / 97, 0, 1)),
    ]


def vault(points, head, depth_mm):
    """Distance to the vault at a depth under the skin."""
    axes = [a - depth_mm for a in (79.0, 95.0, 97.0)]
    return ellipsoid(egg(points, head), (0, 0, 0), axes)


def floor_height(x, y, skull):
    """Height z of the skull base: three fossae stepping down to the back, parted by the petrous
    ridges."""
    side = abs(x)
    front = 1 / (1 + np.exp((y + 36) / 4))
    back = 1 / (1 + np.exp(-(y - 0.45 * side + 8) / 4))
    middle = 1 - front - back
    roofs = (
        -24
        + skull["orbit_roof_mm"] * np.exp(-(((side - 30) / 14) ** 2))
        - 5 * np.exp(-((side / 7) ** 2))
    )
    temporal = -48 + 20 * np.exp(-((side / 11) ** 2))
    ridge = (
        skull["ridge_mm"]
        * np.exp(-(((y - skull["ridge_slope"] * side + 12) / 6) ** 2))
        * np.clip((side - 6) / 10, 0, 1)
    )
    clivus = skull["clivus_mm"] * np.exp(-(((y + 6) / 12) ** 2) - (side / 16) ** 2)
    return front * roofs + middle * temporal + back * -64 + ridge + clivus


def thickness(points, head):
    """Thickness of the vault: thin temples, thick occiput, uneven everywhere."""
    x, y, z = points
    uneven = waves(points, np.random.default_rng(head["skull"]["seed"]), 60, 4)
    temples = np.exp(-(((z + 20) / 26) ** 2)) * np.clip(abs(x) / 70, 0, 1) ** 2
    occiput = np.exp(-(((y - 92) / 14) ** 2) - (x / 22) ** 2 - ((z + 22) / 20) ** 2)
    brow = np.exp(-(((y + 88) / 12) ** 2) - (x / 12) ** 2)
    crests = (
        np.exp(-(((x - 1.5) / 3.5) ** 2))
        * np.clip((abs(y) - 62) / 15, 0, 1)
        * np.exp(-(((z + 18) / 26) ** 2))
    )
    relative = 1 + head["skull"]["uneven"] * uneven - 0.4 * temples + 0.9 * occiput + 0.3 * brow
    return head["skull"]["thickness_mm"] * relative + head["skull"]["crests_mm"] * crests


def cavity_distance(window, head, bone):
    """Distance to the inside of the skull, where the brain lies."""
    (x, y, _), z = window.halfway, window.points[2]
    inner = vault(window.points, head, head["scalp_mm"]) + bone
    lumps = 2.8 * waves(
        [x, y, 0 * x[:, :1, :1]], np.random.default_rng(head["skull"]["seed"] + 4), 24, 6
    )
    lumps = lumps * np.clip((25 - y) / 25, 0.25, 1)
    return meet(inner, 0.75 * (floor_height(x, y, head["skull"]) + lumps - z), 8)


def paint_skull(window, skin, head):
    """Paint the bones around the brain; returns the distance to the cavity."""
    bone = thickness(window.halfway, head)
    cavity = cavity_distance(window, head, bone)
    x, y, z = window.points
    base = np.clip((-24 - z) / 12, 0, 1)
    under_skin = np.maximum(cavity - bone * (1 - 0.4 * base), skin + 2.5)
    canal = np.sqrt(x * x + (y - 30) ** 2) - 15 + np.clip(z + 50, 0, 40)
    shell = np.maximum(under_skin, -canal)
    shell = _craniotomy(window, shell, head)
    holes = (
        waves(window.points, np.random.default_rng(head["skull"]["seed"] + 6), 15, 6)
        if base.any()
        else 0
    )
    shell = np.maximum(shell, 4 * (holes - 1.9) - 8 * (1 - base))
    texture = waves(window.halfway, np.random.default_rng(head["skull"]["seed"] + 1), 5, 9, 0.5)
    share = window.between(cavity, shell)
    window.paint(
        share,
        window.middle(
            _bone_hu(cavity / bone, bone, texture, head["skull"]) - base * (250 + 130 * texture)
        ),
    )
    window.paint(window.share(cavity), head["tissue"]["fluid"])
    for side in (-1, 1):
        _temporal_bone(window, skin, head, side)
    _frontal_sinus(window, skin, cavity, head)
    return cavity


def _bone_hu(depth, bone, texture, skull):
    """Tables outside, spongy diploe within; `depth` runs from 0 (inner table) to 1 (outer)."""
    spongy = np.clip(1 - (abs(depth - 0.5) / skull["diploe_share"]) ** 4, 0, 1) * np.clip(
        bone - 3, 0, 1
    )
    hu = skull["hu"]
    return hu["cortical"] + spongy * (hu["diploe"] - hu["cortical"] + 60 * texture)


def _craniotomy(window, shell, head):
    """Cut a post-operative hole: left open, with a thin plate, or with the flap sunken (a slit
    around it)."""
    hole = head["skull"]["craniotomy"]
    if not hole:
        return shell
    round_ = sphere(window.points, (hole["x"], hole["y"], hole["z"]), hole["radius_mm"])
    if hole["flap"] == "sunken":
        return np.maximum(shell, 1.5 - abs(round_))
    if hole["flap"] == "plate":
        return np.maximum(shell, np.minimum(-round_, abs(shell + 1.5) - 0.8))
    return np.maximum(shell, -round_)


def _temporal_bone(whole, skin, head, side):
    """Petrous pyramid and mastoid with its cells."""
    window = whole.crop((min(side * 10, side * 80), -22, -75), (max(side * 10, side * 80), 45, -15))
    if window is None:
        return
    skull, (x, y, z) = head["skull"], window.points
    points = [side * x, y, z]
    rock = capsule(points, (58, 14, -42), (16, -10, -40), 11, 5)
    size = skull["mastoid_size"]
    mastoid = ellipsoid(points, (56, 20, -46), (11 * size + 2, 16 * size + 2, 20 * size + 2))
    mastoid = np.maximum(mastoid, window.take(skin) + 4)
    hu = skull["hu"]
    window.paint(window.share(rock), hu["petrous"])
    window.paint(window.share(mastoid), hu["cortical"] * 0.8)
    rng = np.random.default_rng(skull["seed"] + 2 + side)
    cells = 0.8 * waves(points, rng, 4.2, 12, 0.5) + 0.6 * waves(points, rng, 9, 6, 0.4)
    holes = np.maximum(
        mastoid + 1.2 + 1.5 * waves(points, rng, 16, 4), 0.9 * (-skull["mastoid_air"] - cells)
    )
    window.paint(window.share(holes), AIR)
    inner_ear = sphere(points, (38, 2, -41), 2.4)
    window.paint(
        window.share(np.minimum(inner_ear, capsule(points, (44, 4, -41), (50, 3, -43), 3))),
        AIR * 0.9,
    )


def _frontal_sinus(window, skin, cavity, head):
    """Air in the forehead, in two lobes with a septum."""
    size = head["skull"]["frontal_sinus"]
    window = window.crop((-30, -105, -40), (30, -55, 12)) if size > 0.3 else None
    if window is None:
        return
    skin, cavity, (x, y, z) = window.take(skin), window.take(cavity), window.points
    lobe = ellipsoid([abs(x - 2), y, z], (11 * size, -84, -16), (13 * size, 8, 14 * size))
    bumps = waves(window.points, np.random.default_rng(head["skull"]["seed"] + 9), 13, 8)
    lobe = np.maximum(lobe + 2.6 * bumps, skin + 6.5 + 0.8 * bumps)
    window.paint(
        window.between(lobe, lobe - 2.2) * window.share(skin + 4.5), head["skull"]["hu"]["cortical"]
    )
    air = np.maximum(np.maximum(lobe, 0.9 - abs(x - 2 - bumps)), 1.2 - cavity)
    window.paint(window.share(air), AIR)
