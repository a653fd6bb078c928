"""The skull and the brain.

The skull: vault with two tables and diploe, base with petrous bones, mastoid cells, frontal sinus.
The brain: cortex with sulci, white matter, ventricles, falx, calcifications and lesions.
"""

import numpy as np
from numpy.random import Generator

from headrest.hounsfield import AIR
from headrest.phantom.ranges import RANGES, Parameters, happens, sample
from headrest.phantom.scene import (
    Array,
    Points,
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

LESION_HU = {"infarct": 18, "hygroma": 9}


def sample_skull(rng: Generator, age: str) -> Parameters:
    """Sample a skull; those of children are thin and without air cells."""
    skull = sample(rng, RANGES["skull"])
    is_open, hole = happens(rng, 0.08), sample(rng, RANGES["craniotomy"])
    skull["craniotomy"] = hole if is_open else None
    if age == "child":
        skull["thickness_mm"] *= 0.45
        skull["frontal_sinus"] = 0.0
        skull["mastoid_size"] *= 0.6
    return skull


def sample_brain(rng: Generator, age: str) -> Parameters:
    """Sample a brain: wide sulci and ventricles in the old, hardly any in children."""
    brain, lesion = sample(rng, RANGES["brain"]), sample(rng, RANGES["lesion"])
    brain["lesion"] = lesion if happens(rng, 0.22) else None
    if age == "old":
        brain["atrophy"] += 0.45
        brain["ventricles"] *= 1.35
    if age == "child":
        brain["atrophy"] *= 0.25
        brain["plexus_mm"] = brain["pineal_mm"] = 0.0
    return brain


def vault(points: Points, head: Parameters, depth_mm: float) -> Array:
    """Distance to the vault at a depth under the skin: narrow forehead, flat crown."""
    x, y, z = points
    x = x * (1 - head["egg"] * np.clip(y, -100, 60) / 96)
    z = z * (1 - head["crown"] * np.clip(1 - z / 97, 0, 1))
    return ellipsoid([x, y, z], (0, 0, 0), [axis - depth_mm for axis in (79.0, 95.0, 97.0)])


def _bell(value, width):
    return np.exp(-((value / width) ** 2))


def _floor_height(x, y, skull):
    """Height z of the skull base: three fossae descending to the back, and the petrous ridges."""
    side = abs(x)
    front = 1 / (1 + np.exp((y + 36) / 4))
    back = 1 / (1 + np.exp(-(y - 0.45 * side + 8) / 4))
    roofs = -24 + skull["orbit_roof_mm"] * _bell(side - 30, 14) - 5 * _bell(side, 7)
    temporal = -48 + 20 * _bell(side, 11)
    ridge = skull["ridge_mm"] * _bell(y - skull["ridge_slope"] * side + 12, 6)
    ridge = ridge * np.clip((side - 6) / 10, 0, 1)
    clivus = skull["clivus_mm"] * np.exp(-(((y + 6) / 12) ** 2) - (side / 16) ** 2)
    return front * roofs + (1 - front - back) * temporal + back * -64 + ridge + clivus


def _thickness(points, head):
    """Thickness of the vault: thin temples, thick occiput, uneven everywhere."""
    (x, y, z), skull = points, head["skull"]
    uneven = waves(points, np.random.default_rng(skull["seed"]), 60, 4)
    temples = _bell(z + 20, 26) * np.clip(abs(x) / 70, 0, 1) ** 2
    occiput = np.exp(-(((y - 92) / 14) ** 2) - (x / 22) ** 2 - ((z + 22) / 20) ** 2)
    brow = np.exp(-(((y + 88) / 12) ** 2) - (x / 12) ** 2)
    crests = _bell(x - 1.5, 3.5) * np.clip((abs(y) - 62) / 15, 0, 1) * _bell(z + 18, 26)
    relative = 1 + skull["uneven"] * uneven - 0.4 * temples + 0.9 * occiput + 0.3 * brow
    return skull["thickness_mm"] * relative + skull["crests_mm"] * crests


def _cavity_distance(window, head, bone):
    """Distance to the inside of the skull, which the brain fills."""
    (x, y, _), z = window.halfway, window.points[2]
    inner = vault(window.points, head, head["scalp_mm"]) + bone
    rng = np.random.default_rng(head["skull"]["seed"] + 4)
    lumps = 2.8 * waves([x, y, 0 * x[:, :1, :1]], rng, 24, 6) * np.clip((25 - y) / 25, 0.25, 1)
    return smooth_intersection(inner, 0.75 * (_floor_height(x, y, head["skull"]) + lumps - z), 8)


def paint_skull(window: Window, skin: Array, head: Parameters) -> Array:
    """Paint the bones around the brain; returns the distance to the cavity."""
    (x, y, z), seed = window.points, head["skull"]["seed"]
    bone = _thickness(window.halfway, head)
    cavity = _cavity_distance(window, head, bone)
    base = np.clip((-24 - z) / 12, 0, 1)
    under_skin = np.maximum(cavity - bone * (1 - 0.4 * base), skin + 2.5)
    canal = np.sqrt(x * x + (y - 30) ** 2) - 15 + np.clip(z + 50, 0, 40)
    shell = _craniotomy(window, np.maximum(under_skin, -canal), head["skull"]["craniotomy"])
    foramina = waves(window.points, np.random.default_rng(seed + 6), 15, 6) if base.any() else 0
    shell = np.maximum(shell, 4 * (foramina - 1.9) - 8 * (1 - base))
    texture = waves(window.halfway, np.random.default_rng(seed + 1), 5, 9, 0.5)
    depth, hu = cavity / bone, head["skull"]["hu"]  # from 0 at the inner table to 1 at the outer
    spongy = np.clip(1 - (abs(depth - 0.5) / head["skull"]["diploe_share"]) ** 4, 0, 1)
    spongy = spongy * np.clip(bone - 3, 0, 1)
    hu = hu["cortical"] + spongy * (hu["diploe"] - hu["cortical"] + 60 * texture)
    hu = hu - base * (250 + 130 * texture)
    window.coat(cavity, shell, window.middle(hu))
    window.fill(cavity, head["tissue"]["fluid"])
    _temporal_bone(window, skin, head["skull"])
    if head["skull"]["frontal_sinus"] > 0.3:
        _frontal_sinus(window, skin, cavity, head["skull"])
    return cavity


def _craniotomy(window, shell, hole):
    """Cut a post-operative hole: open, closed by a thin plate, or a slit around a sunken flap."""
    if not hole:
        return shell
    cut = sphere(window.points, (hole["x"], hole["y"], hole["z"]), hole["radius_mm"])
    if hole["flap"] == "sunken":
        return np.maximum(shell, 1.5 - abs(cut))
    if hole["flap"] == "plate":
        return np.maximum(shell, np.minimum(-cut, abs(shell + 1.5) - 0.8))
    return np.maximum(shell, -cut)


@within((10, -22, -75), (80, 45, -15), sided=True)
def _temporal_bone(window, side, skin, skull):
    """Petrous pyramid and mastoid with its cells."""
    points, hu, size = window.mirrored(side), skull["hu"], skull["mastoid_size"]
    window.fill(capsule(points, (58, 14, -42), (16, -10, -40), 11, 5), hu["petrous"])
    mastoid = ellipsoid(points, (56, 20, -46), (11 * size + 2, 16 * size + 2, 20 * size + 2))
    mastoid = np.maximum(mastoid, skin + 4)
    window.fill(mastoid, hu["cortical"] * 0.8)
    rng = np.random.default_rng(skull["seed"] + 2 + side)
    cells = 0.8 * waves(points, rng, 4.2, 12, 0.5) + 0.6 * waves(points, rng, 9, 6, 0.4)
    inside = mastoid + 1.2 + 1.5 * waves(points, rng, 16, 4)
    window.fill(np.maximum(inside, 0.9 * (-skull["mastoid_air"] - cells)), AIR)
    middle_ear = capsule(points, (44, 4, -41), (50, 3, -43), 3)
    window.fill(union(sphere(points, (38, 2, -41), 2.4), middle_ear), AIR * 0.9)


@within((-30, -105, -40), (30, -55, 12))
def _frontal_sinus(window, skin, cavity, skull):
    """Air in the forehead, in two lobes with a septum."""
    size, (x, y, z) = skull["frontal_sinus"], window.points
    lobe = ellipsoid([abs(x - 2), y, z], (11 * size, -84, -16), (13 * size, 8, 14 * size))
    bumps = waves(window.points, np.random.default_rng(skull["seed"] + 9), 13, 8)
    lobe = np.maximum(lobe + 2.6 * bumps, skin + 6.5 + 0.8 * bumps)
    window.coat(lobe, lobe - 2.2, skull["hu"]["cortical"], window.share(skin + 4.5))
    window.fill(intersection(lobe, 0.9 - abs(x - 2 - bumps), 1.2 - cavity), AIR)


def paint_brain(window: Window, cavity: Array, head: Parameters) -> None:
    """Paint the inside of the skull; `cavity` is the distance to its inner table."""
    part, brain = window.crop_to((cavity < 1).any(0)), head["brain"]
    if part is None:
        return
    window, cavity, hu = part, part.take(cavity), brain["hu"]
    rng = np.random.default_rng(brain["seed"])
    gap = 0.6 + 2.2 * brain["atrophy"] + 0.4 * waves(window.halfway, rng, 30, 4)
    surface = cavity + gap
    x, y, z = window.points
    reach = 70 / (np.sqrt(x * x + 0.6 * y * y + z * z) + 20)
    # The zero level of this field is the sulci: sheets that run inwards from the surface.
    gyri = abs(waves([x * reach, y * reach, z * reach], rng, brain["gyri_mm"], 9))
    depth = np.clip(-surface / 20, 0, 1)
    sulci = (gyri - (0.15 + 0.24 * brain["atrophy"])) * (brain["gyri_mm"] / 6) + 1.6 * depth**2
    cortex = np.minimum(-surface - 3.2, sulci - 2.6 + 2 * depth)
    inside = window.share(surface)
    below = np.clip(0.5 - (window.middle(window.points[2] - 0.3 * window.points[1]) + 34) / 4, 0, 1)
    grey = window.share(cortex) * (1 - below) + 0.45 * below
    window.paint(inside, hu["white"] + grey * (hu["grey"] - hu["white"]))
    window.paint(inside * np.maximum(window.share(sulci), 0) * 0.9, hu["fluid"])
    _deep_grey(window, inside, brain)
    if window.points[2].min() < -15:
        _cisterns(window, cavity, hu)
    _midline(window, inside, cavity, brain)
    _ventricles(window, brain)
    if brain["lesion"]:
        _lesion(window, cavity, brain["lesion"], brain["seed"])


@within((-58, -45, -20), (58, 32, 26))
def _deep_grey(window, inside, brain):
    """Thalamus, lentiform and caudate nuclei; the insula beside them."""
    half = x, y, z = window.half
    nuclei = union(
        ellipsoid(half, (11, 8, 6), (8, 14, 9)),
        ellipsoid(half, (23, -8, 4), (6, 17, 10)),
        ellipsoid(half, (13, -24, 12), (5, 9, 9)),
    )
    window.fill(nuclei, brain["hu"]["grey"] + 1, inside)
    sylvian = abs(y + 0.5 * (x - 36) + 6) - 1 - 1.6 * brain["atrophy"]
    fissure = intersection(sylvian, 40 - x - 6, abs(z - 2) - 16)
    window.fill(fissure, brain["hu"]["fluid"], inside)


@within((-8, -110, -30), (8, 110, 100))
def _midline(window, inside, cavity, brain):
    """Fissure and falx between the hemispheres."""
    (x, y, z), hu, half_mm = window.points, brain["hu"], brain["falx_mm"]
    bend = 1.2 * np.sin(y * 0.03 + brain["seed"] % 7)
    callosum = ellipsoid([x, y, z], (0, 2, 4), (60, 46, 30))
    fissure = abs(x - bend) - 0.7 - 1.3 * brain["atrophy"]
    window.fill(intersection(fissure, -callosum, -25 - z), hu["fluid"], inside)
    falx = intersection(-callosum - 4, -20 - z, -cavity - 42)
    plane = window.between(x - bend + half_mm, x - bend - half_mm)
    window.paint(window.share(cavity) * plane * window.share(falx), hu["falx"])


@within((-32, -40, -76), (32, 34, -14))
def _cisterns(window, cavity, hu):
    """The star of fluid above the sella, cisterns beside the midbrain and behind the cord."""
    star = chain(window.half, ((0, -14, -24), (14, -20, -24), (24, -14, -26)), 3.5)
    corners = ((0, -4, -26), (12, 4, -25), (18, 16, -22), (8, 26, -20))
    beside = chain(window.half, corners, 2.6)
    great = ellipsoid(window.half, (0, 14, -62), (20, 8, 10))
    window.fill(np.maximum(union(star, beside, great), cavity), hu["fluid"] + 3)


@within((-48, -58, -58), (48, 66, 40))
def _ventricles(window, brain):
    """Lateral, third and fourth ventricles, with calcified plexus and pineal gland."""
    x, y, z = window.points
    size, hu, plexus_mm = brain["ventricles"], brain["hu"], brain["plexus_mm"]
    half = [abs(x) * np.where(x > 0, np.float32(brain["asymmetry"]), np.float32(1)), y, z]
    horns = capsule(half, (6, -36, 6), (9, -10, 18), 5.5 * size)
    body = smooth_union(horns, capsule(half, (9, -10, 20), (14, 14, 22), 5.5 * size), 4)
    atria = smooth_union(body, capsule(half, (15, 16, 20), (26, 32, 6), 5.5 * size), 4)
    rear = smooth_union(atria, capsule(half, (26, 34, 4), (24, 54, 2), 4.5 * size, 1), 4)
    lateral = smooth_union(rear, capsule(half, (28, 28, 0), (30, 2, -20), 2.5 * size, 1.5), 3)
    third = ellipsoid(half, (0, 2, 2), (2.2 * size, 15, 13))
    fourth = ellipsoid(half, (0, 30, -40), (8 * size, 6 * size, 9))
    window.fill(union(lateral, third, fourth), hu["fluid"])
    septum = np.maximum(abs(x) - 0.6, ellipsoid(half, (0, -18, 14), (9, 20, 8)))
    window.fill(septum, hu["white"])
    if plexus_mm > 1.5:
        plexus = ellipsoid(half, (24, 30, 8), (plexus_mm * 0.7, plexus_mm * 1.4, 3))
        window.fill(plexus, hu["calcification"])
    if brain["pineal_mm"] > 1:
        window.fill(sphere(half, (0, 20, 2), brain["pineal_mm"]), hu["calcification"])


def _lesion(window, cavity, lesion, seed):
    """An infarct, a bleeding, or fluid under the dura."""
    x, y, z = lesion["x"], lesion["y"], lesion["z"]
    hu, radius = LESION_HU.get(lesion["kind"], lesion["clot"]), lesion["radius_mm"]
    if lesion["kind"] in ("subdural", "hygroma"):
        focus = sphere(window.points, (float(np.sign(x)) * 62, y, z), 55)
        window.fill(intersection(cavity, -cavity - radius * 0.45, focus + 10), hu)
    else:
        ragged = 3 * waves(window.points, np.random.default_rng(seed + 5), 18, 5)
        blob = sphere(window.points, (x, y, z), radius) + ragged
        window.fill(np.maximum(blob, cavity + 2), hu, 0.85)
