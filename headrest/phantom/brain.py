"""The brain: cortex with sulci, white matter, ventricles, falx, cerebellum, calcifications and
lesions."""

import numpy as np

from headrest.phantom.materials import TISSUE, chance, draw
from headrest.phantom.shapes import capsule, chain, ellipsoid, join, sphere, waves

RANGES = {
    "seed": (0, 10**6),
    "atrophy": (0.0, 0.5),
    "ventricles": (0.5, 1.15),
    "asymmetry": (0.85, 1.15),
    "gyri_mm": (17.0, 24.0),
    "falx_mm": (0.5, 1.3),
    "plexus_mm": (0.0, 4.5),
    "pineal_mm": (0.0, 2.2),
    "hu": {name: TISSUE[name] for name in ("grey", "white", "fluid", "falx", "calcification")},
}
LESION = {
    "kind": ["infarct", "bleeding", "subdural", "hygroma"],
    "x": (-45.0, 45.0),
    "y": (-55.0, 55.0),
    "z": (-10.0, 50.0),
    "radius_mm": (6.0, 30.0),
    "clot": TISSUE["clot"],
}
LESION_HU = {"infarct": 18, "hygroma": 9}


def draw_part(rng, age):
    """Draw a brain: wide sulci and ventricles in the old, hardly any in children."""
    brain = draw(rng, RANGES)
    lesion = draw(rng, LESION)
    brain["lesion"] = lesion if chance(rng, 0.22) else None
    if age == "old":
        brain["atrophy"] += 0.45
        brain["ventricles"] *= 1.35
    if age == "child":
        brain["atrophy"] *= 0.25
        brain["plexus_mm"] = brain["pineal_mm"] = 0.0
    return brain


def paint_brain(window, cavity, head):
    """Paint what lies inside the skull, `cavity` being the distance to its inner table."""
    whole, brain = window, head["brain"]
    window = whole.crop_to((cavity < 1).any(0))
    if window is None:
        return
    cavity = window.take(cavity)
    rng = np.random.default_rng(brain["seed"])
    rim = 0.6 + 2.2 * brain["atrophy"] + 0.4 * waves(window.halfway, rng, 30, 4)
    surface = cavity + rim
    folds = abs(_folds(window.points, brain, rng))
    depth = np.clip(-surface / 20, 0, 1)
    sulci = (folds - (0.15 + 0.24 * brain["atrophy"])) * (brain["gyri_mm"] / 6) + 1.6 * depth**2
    cortex = np.minimum(-surface - 3.2, sulci - 2.6 + 2 * depth)
    hu, inside = brain["hu"], window.share(surface)
    below = np.clip(0.5 - (window.middle(window.points[2] - 0.3 * window.points[1]) + 34) / 4, 0, 1)
    grey = window.share(cortex) * (1 - below) + 0.45 * below
    window.paint(inside, hu["white"] + grey * (hu["grey"] - hu["white"]))
    window.paint(inside * np.maximum(window.share(sulci), 0) * 0.9, hu["fluid"])
    _deep_grey(window, inside, brain)
    _midline(window, inside, cavity, brain)
    _ventricles(window, brain)
    _lesion(window, cavity, brain)


def _folds(points, brain, rng):
    """A field whose zero level is the sulci: sheets that run inwards from the surface."""
    x, y, z = points
    reach = 70 / (np.sqrt(x * x + 0.6 * y * y + z * z) + 20)
    return waves([x * reach, y * reach, z * reach], rng, brain["gyri_mm"], 9)


def _deep_grey(window, inside, brain):
    """Thalamus, lentiform and caudate nuclei; the insula outside them."""
    window = window.crop((-58, -45, -20), (58, 32, 26))
    if window is None:
        return
    inside, (x, y, z) = window.take(inside), window.points
    half = [abs(x), y, z]
    nuclei = np.minimum.reduce(
        [
            ellipsoid(half, (11, 8, 6), (8, 14, 9)),
            ellipsoid(half, (23, -8, 4), (6, 17, 10)),
            ellipsoid(half, (13, -24, 12), (5, 9, 9)),
        ]
    )
    window.paint(inside * window.share(nuclei), brain["hu"]["grey"] + 1)
    sylvian = np.maximum(
        abs(y + 0.5 * (abs(x) - 36) + 6) - 1 - 1.6 * brain["atrophy"], 40 - abs(x) - 6
    )
    fissure = np.maximum(sylvian, abs(z - 2) - 16)
    window.paint(inside * window.share(fissure), brain["hu"]["fluid"])


def _midline(window, inside, cavity, brain):
    """Fissure and falx between the hemispheres; tentorium and cisterns below."""
    if window.points[2].min() < -15:
        _cisterns(window, cavity, brain["hu"])
    window = window.crop((-8, -110, -30), (8, 110, 100))
    if window is None:
        return
    inside, cavity, (x, y, z) = window.take(inside), window.take(cavity), window.points
    hu = brain["hu"]
    bend = 1.2 * np.sin(y * 0.03 + brain["seed"] % 7)
    callosum = ellipsoid([x, y, z], (0, 2, 4), (60, 46, 30))
    apart = np.maximum(abs(x - bend) - 0.7 - 1.3 * brain["atrophy"], -callosum)
    apart = np.maximum(apart, -25 - z)
    window.paint(inside * window.share(apart), hu["fluid"])
    falx = np.maximum(np.maximum(-callosum - 4, -20 - z), -cavity - 42)
    sheet = window.between(x - bend + brain["falx_mm"], x - bend - brain["falx_mm"])
    window.paint(window.share(cavity) * sheet * window.share(falx), hu["falx"])


def _cisterns(window, cavity, hu):
    """The star of fluid over the sella, the cisterns beside the midbrain and the big one behind
    the cord."""
    window = window.crop((-32, -40, -76), (32, 34, -14))
    if window is None:
        return
    x, y, z = window.points
    half, cavity = [abs(x), y, z], window.take(cavity)
    star = np.minimum(
        chain(half, ((0, -14, -24), (14, -20, -24), (24, -14, -26)), 3.5),
        chain(half, ((0, -4, -26), (12, 4, -25), (18, 16, -22), (8, 26, -20)), 2.6),
    )
    great = ellipsoid(half, (0, 14, -62), (20, 8, 10))
    window.paint(window.share(np.maximum(np.minimum(star, great), cavity)), hu["fluid"] + 3)


def _ventricles(window, brain):
    """Lateral, third and fourth ventricles, with calcified plexus and pineal gland."""
    window = window.crop((-48, -58, -58), (48, 66, 40))
    if window is None:
        return
    x, y, z = window.points
    size, hu = brain["ventricles"], brain["hu"]
    half = [abs(x) * np.where(x > 0, np.float32(brain["asymmetry"]), np.float32(1)), y, z]
    horns = capsule(half, (6, -36, 6), (9, -10, 18), 5.5 * size)
    body = join(horns, capsule(half, (9, -10, 20), (14, 14, 22), 5.5 * size), 4)
    atria = join(body, capsule(half, (15, 16, 20), (26, 32, 6), 5.5 * size), 4)
    rear = join(atria, capsule(half, (26, 34, 4), (24, 54, 2), 4.5 * size, 1), 4)
    lateral = join(rear, capsule(half, (28, 28, 0), (30, 2, -20), 2.5 * size, 1.5), 3)
    third = ellipsoid(half, (0, 2, 2), (2.2 * size, 15, 13))
    fourth = ellipsoid(half, (0, 30, -40), (8 * size, 6 * size, 9))
    window.paint(window.share(np.minimum.reduce([lateral, third, fourth])), hu["fluid"])
    septum = np.maximum(abs(x) - 0.6, ellipsoid(half, (0, -18, 14), (9, 20, 8)))
    window.paint(window.share(septum), hu["white"])
    if brain["plexus_mm"] > 1.5:
        plexus = ellipsoid(
            half, (24, 30, 8), (brain["plexus_mm"] * 0.7, brain["plexus_mm"] * 1.4, 3)
        )
        window.paint(window.share(plexus), hu["calcification"])
    if brain["pineal_mm"] > 1:
        window.paint(
            window.share(sphere(half, (0, 20, 2), brain["pineal_mm"])), hu["calcification"]
        )


def _lesion(window, cavity, brain):
    """An infarct, a bleeding, or fluid under the dura."""
    lesion = brain["lesion"]
    if not lesion:
        return
    hu = LESION_HU.get(lesion["kind"], lesion["clot"])
    if lesion["kind"] in ("subdural", "hygroma"):
        layer = np.maximum(cavity, -cavity - lesion["radius_mm"] * 0.45)
        focus = sphere(
            window.points, (float(np.sign(lesion["x"])) * 62, lesion["y"], lesion["z"]), 55
        )
        return window.paint(window.share(np.maximum(layer, focus + 10)), hu)
    ragged = 3 * waves(window.points, np.random.default_rng(brain["seed"] + 5), 18, 5)
    blob = (
        sphere(window.points, (lesion["x"], lesion["y"], lesion["z"]), lesion["radius_mm"]) + ragged
    )
    window.paint(window.share(np.maximum(blob, cavity + 2)) * 0.85, hu)
