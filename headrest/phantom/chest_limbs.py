"""The chest, and arms and hands beside a head.

A chest has lungs, breasts, ribs and a back that touches the couch. A limb is a straight piece of an
upper arm, a forearm or a hand with a surface of its own, in the frame of the head; u runs along its
breadth, v through its thickness.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from headrest.hounsfield import AIR
from headrest.phantom.ranges import RANGES, Parameters, happens, sample
from headrest.phantom.scene import (
    Array,
    Points,
    Window,
    capsule,
    cylinder,
    ellipsoid,
    intersection,
    smooth_union,
    union,
    waves,
)

ACROSS = 0.3  # share of limbs that run across the head, not along it
HALF_HEAD_MM = (78.0, 97.0)  # half the breadth and half the length of a head

# Of limbs half the breadth and half the thickness; position along the breadth and radius of bones.
HALF_LIMB_MM = {"upper_arm": (44.0, 38.0), "forearm": (40.0, 29.0), "hand": (42.0, 14.0)}
LIMB_BONES = {
    "upper_arm": ((0.0, 11.5),),
    "forearm": ((-15.0, 6.5), (15.0, 7.5)),
    "hand": tuple((u, 4.2) for u in (-29.0, -10.0, 10.0, 29.0)),
}


def sample_patient(rng: Generator, kind: str) -> Parameters:
    """Sample a chest."""
    return sample(rng, RANGES["chest"])


def _column(points, x, y, half_x, half_y):
    """Distance to an elliptic cylinder along z."""
    return ellipsoid([points[0], points[1], 0 * points[2]], (x, y, 0), (half_x, half_y, 1e4))


def skin_distance(points: Points, chest: Parameters) -> Array:
    """Distance to the skin of trunk, breasts, shoulders, neck and arms."""
    x, y, z = points
    half, breast, top = [abs(x), y, z], chest["breast_mm"], chest["shoulder_z"]
    uneven = waves([x, y, 0.3 * z], np.random.default_rng(chest["seed"]), 120, 3)
    uneven = chest["uneven_mm"] * uneven
    front, back = _column(points, 0, -6, 158, 100), _column(points, 0, 34, 146, 64)
    trunk = smooth_union(front, back, 40) + uneven + _narrowing(z, top)
    if breast > 4:
        hang = 10 + 0.6 * breast
        axes = (52 + hang, 26 + breast, 74)
        trunk = smooth_union(trunk, ellipsoid(half, (76 + hang, -74, -10), axes), 16)
    if float(z.max()) > top - 70:
        trunk = smooth_union(trunk, capsule(half, (50, 36, top), (150, 36, top - 16), 46, 50), 30)
        neck = np.maximum(cylinder([x, y, z], (0, 14, 0), 58), top - z)
        trunk = smooth_union(trunk, neck, 24)
    for arm in _arms(chest):
        trunk = smooth_union(trunk, capsule(half, *arm), 4)
    return trunk


def _narrowing(z, top):
    """Distance in mm by which the trunk narrows above the shoulders."""
    return 0.016 * np.maximum(z - top, 0) ** 2


def _arms(chest):
    """Start, end and their radii of the parts of the left arm: up, down, or bent on the belly."""
    top, thick = chest["shoulder_z"], chest["arm_mm"]
    shoulder, elbow = (158, 36, top - 14), (chest["arm_x"], chest["arm_y"], top - 240)
    if chest["arms"] == "up":
        return [(shoulder, (chest["arm_x"] - 20, 0, top + 220), thick, thick - 4)]
    forearm = (elbow, (38, -138, top - 215), thick - 8, 22)
    return [(shoulder, elbow, thick, thick - 5), *([forearm] if chest["arms"] == "belly" else [])]


def paint(window: Window, skin: Array, chest: Parameters) -> None:
    """Paint a chest from skin to lungs."""
    tissue, fat, z = chest["tissue"], chest["fat_mm"], window.points[2]
    rng, half = np.random.default_rng(chest["seed"] + 1), window.half
    window.paint_patient(window.share(skin), tissue["skin"])
    window.inside_only = True
    window.fill(skin + 2, tissue["fat"])
    uneven = waves(window.halfway, rng, 90, 4)
    gland = ellipsoid(half, (84, -92, -10), (36, 26, 44)) + 9 * waves(window.halfway, rng, 26, 6)
    window.fill(np.maximum(gland, skin + 7), 25, 0.8)
    cage = _column(window.points, 0, 2, 142 - 0.6 * fat, 92 - 0.6 * fat)
    cage = cage + _narrowing(z, chest["shoulder_z"] - 35)
    back = union(_column(half, 30, 84, 28, 17), _column(half, 96, 58, 52, 30))
    top = chest["shoulder_z"]
    girdle = capsule(half, (12, 34, top + 6), (140, 38, top - 14), 36, 38)
    neck = np.maximum(cylinder(window.points, (0, 20, 0), 46), top - z)
    muscles = union(cage - 5 - 3 * uneven, back, girdle, neck)
    muscles = np.maximum(muscles, skin + 3 + 0.4 * fat)
    planes = np.clip(0.5 - (abs(waves(window.halfway, rng, 30, 5)) * 6 - 1.2), 0, 1)
    window.fill(muscles, tissue["muscle"])
    window.fill(np.maximum(cage - 6, 3 - cage), tissue["fat"], planes)
    _ribs(window, cage, tissue)
    _organs(window, cage, tissue, rng)
    _spine(window, tissue | {"trabecular": tissue["trabecular"] + chest["sclerosis"]})
    for start, end, *radii in _arms(chest):
        muscle = capsule(half, start, end, *(r - 4 - 0.4 * fat for r in radii))
        window.fill(muscle, tissue["muscle"])
        bone = np.maximum(capsule(half, start, end, 11, 9), skin + 4)
        window.fill(bone, tissue["cortical"])
        window.fill(bone + 4, tissue["trabecular"] - 100)


def _ribs(window, cage, tissue):
    """Ribs slant forwards and down, so a slice cuts each obliquely; shoulder blades, sternum."""
    half = x, y, z = window.half
    level = z + 0.75 * (y - 40) + 0.1 * x
    near = np.mod(level, 30) - 15
    rib = (np.sqrt(((cage + 9) / 3.6) ** 2 + (near / 5.5) ** 2) - 1) * 3.6
    plate = abs(cage - 14 + 0.1 * (x - 90)) - 2.5
    blade = np.maximum(plate, ellipsoid(half, (95, 62, 60), (45, 40, 80)))
    bones = union(np.maximum(rib, 18 - x), blade)
    window.fill(bones, tissue["cortical"] * 0.75)
    window.fill(bones + 1.6, tissue["trabecular"])
    sternum = np.maximum(_column(window.points, 0, -82, 17, 6), abs(z - 10) - 80)
    window.fill(sternum, tissue["trabecular"] + 200)
    window.fill(sternum + 2, tissue["trabecular"])


def _organs(window, cage, tissue, rng):
    """Lungs, heart in its fat, great vessels, liver, spleen, windpipe, and gas in the stomach."""
    points, (x, y, z) = window.points, window.points
    wall, sway = cage + 15, waves(window.halfway, rng, 60, 4)
    heart = ellipsoid(points, (20, -30, -40), (54, 42, 62)) + 3 * sway
    liver = ellipsoid(points, (-44, 0, -152), (112, 92, 95)) + 3 * sway
    spleen = ellipsoid(points, (78, 22, -150), (46, 55, 80)) + 3 * sway
    middle = 20 - abs(x + 4 * sway) - 12 * np.exp(-(((y - 40) / 30) ** 2)) + 6 * np.cos(z / 30)
    lungs = intersection(wall, middle, -union(heart, liver, spleen), -150 - z)
    window.fill(wall, tissue["fat"] + 20)
    window.fill(lungs, window.middle(tissue["lung"] + 0.35 * (y + 100)))
    branch = abs(waves(points, rng, 24, 7)) * 6 + abs(waves(points, rng, 28, 7)) * 6
    thick = 1.2 + 3.2 * np.exp(-((np.maximum(abs(x) - 25, 0) / 30) ** 2))
    window.fill(np.maximum(branch - thick, lungs + 1), tissue["blood"] - 10)
    vessels = union(
        cylinder(points, (22, 36, 0), 12),
        capsule(points, (20, 30, 62), (-8, -24, 56), 12),
        cylinder(points, (-20, -22, 0), 9),
        cylinder(points, (6, -28, 0), 14),
    )
    for organ, hu in (
        (liver, tissue["liver"]),
        (spleen, tissue["liver"] - 5),
        (heart + 3, tissue["blood"]),
        (np.maximum(vessels, -z - 60), tissue["blood"]),
    ):
        window.fill(np.maximum(organ, cage + 16), hu)
    trachea = np.maximum(cylinder(points, (0, 4, 0), 8.5), 14 - z)
    window.fill(union(trachea, capsule(window.half, (2, 6, 14), (42, 12, -20), 5.5)), AIR)
    gas = ellipsoid(points, (46, -48, -132), (30, 14, 22)) + 4 * sway
    window.fill(np.maximum(gas, cage + 22), -980)


def _spine(window, tissue):
    (x, y, z), flat = window.points, 0 * window.points[2]
    phase = np.mod(z, 26) - 13
    arch = union(
        capsule([abs(x), y, flat], (12, 64, 0), (36, 74, 0), 4),
        capsule([x, y, flat], (0, 78, 0), (0, 92, 0), 3.5),
    )
    body = _column(window.points, 0, 50, 17, 14)
    bone = union(body, arch + 0.5 * np.maximum(abs(phase) - 7, 0))
    window.fill(bone, tissue["cortical"] * 0.7)
    window.fill(bone + 1.8, tissue["trabecular"])
    window.fill(cylinder(window.points, (0, 71, 0), 8), 25)


def sample_limbs(rng: Generator) -> list[Parameters]:
    """Sample one or two limbs."""
    count = rng.integers(1, 3)
    return [sample(rng, RANGES["limb"]) | {"across": happens(rng, ACROSS)} for _ in range(count)]


def limb_center(limb: Parameters, z: float) -> Array | None:
    """Position (x, y) of the axis of a limb at height z, or of its middle where it runs across the
    head; in mm, in the frame of an average head. None where the limb does not reach this height."""
    middle, along = _limb_middle(limb), _limb_axes(limb)[2]
    if limb["across"]:
        thick = limb["size"] * HALF_LIMB_MM[limb["part"]][1]
        return middle[:2] if abs(z - middle[2]) < thick else None
    far = (z - middle[2]) / along[2]
    return (middle + far * along)[:2] if abs(far) < limb["half_mm"] * limb["size"] else None


def paint_limbs(whole: Window, limbs: Sequence[Parameters]) -> None:
    """Paint limbs in a slice; they yield to rigid supports, and to a head painted later."""
    for limb in limbs:
        reach = limb["half_mm"] * limb["size"] + 60
        middle = _limb_middle(limb)
        part = whole.crop(middle - reach, middle + reach)
        if part is None:
            continue
        offset = [p - np.float32(m) for p, m in zip(part.points, middle)]
        u, v, along = (
            sum(o * np.float32(a / limb["size"]) for o, a in zip(offset, axis))
            for axis in _limb_axes(limb)
        )
        size, beyond = np.float32(limb["size"]), abs(along) - limb["half_mm"]
        if limb["part"] == "hand":  # four fingers side by side
            skin = union(*(cylinder([u, v, 0 * u], (at, 0, 0), 9) for at, _ in LIMB_BONES["hand"]))
        else:
            skin = _column([u, v, u], 0, 0, *HALF_LIMB_MM[limb["part"]])
        skin = np.maximum(skin, beyond) * size
        window, tissue = part.crop_to((skin < 2).any(0)), limb["tissue"]
        if window is None:
            continue
        skin, u, v, beyond = (window.take(field) for field in (skin, u, v, beyond))
        window.paint_patient(window.share(skin), tissue["skin"], yields=True)
        window.inside_only = True
        window.fill(skin + 1.8, tissue["fat"])
        window.fill(skin + 2.5 + limb["fat_mm"], tissue["muscle"])
        for at, radius in LIMB_BONES[limb["part"]]:
            bone = np.maximum(cylinder([u, v, 0 * u], (at, 0, 0), radius), beyond + 4)
            bone = np.maximum(bone * size, skin + 2)
            window.fill(bone, tissue["cortical"])
            window.fill(bone + 2.6, tissue["marrow"])


def _limb_middle(limb):
    """Its middle in the head frame, outside the head by the gap."""
    around = np.deg2rad(limb["round_deg"])
    direction = np.array([np.cos(around), np.sin(around)])
    thick = limb["size"] * np.mean(HALF_LIMB_MM[limb["part"]])
    x, y = direction * (np.array(HALF_HEAD_MM) + thick + limb["gap_mm"])
    return np.array([x, y, limb["middle_z"]])


def _limb_axes(limb):
    """Unit vectors u, v, and along the limb: (3, 3)."""
    around, turn = np.deg2rad([limb["round_deg"], limb["turn_deg"]])
    out = np.array([np.cos(around), np.sin(around), 0.0])
    beside, up = np.array([-out[1], out[0], 0.0]), np.array([0.0, 0.0, 1.0])
    along, other = (beside, up) if limb["across"] else (up, beside)
    along = along + limb["lean"] * other + 0.5 * limb["slope"] * out
    along /= np.linalg.norm(along)
    u = np.cross(along, out)
    u /= np.linalg.norm(u)
    v = np.cross(along, u)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([cos * u + sin * v, cos * v - sin * u, along])
