"""Arms and hands that lie beside the head: tissue with a surface of its own, far from the rest.

Each is a straight piece of an upper arm, a forearm or a hand, in the frame of the head; u runs
along its breadth, v through its thickness.
"""

import numpy as np

from headrest.phantom.materials import TISSUE, chance, draw
from headrest.phantom.shapes import cylinder, ellipsoid

RANGES = {
    "part": ["upper_arm", "forearm", "forearm", "hand"],
    "round_deg": (-200.0, 20.0),  # where it lies: 0 is the left ear, -90 the tip of the nose
    "middle_z": (-110.0, 80.0),
    "gap_mm": (-4.0, 34.0),
    "half_mm": (70.0, 160.0),
    "lean": (-0.6, 0.6),
    "slope": (-0.6, 0.6),
    "turn_deg": (-90.0, 90.0),
    "size": (0.7, 1.2),
    "fat_mm": (0.5, 9.0),
    "tissue": {name: TISSUE[name] for name in ("skin", "fat", "muscle", "cortical", "marrow")},
}

ACROSS = 0.3
"""Share of limbs that lie across the head, not along it."""

HEAD_MM = (78.0, 97.0)
"""Half the breadth and half the length of a head."""

BREADTH_MM = {"upper_arm": (44.0, 38.0), "forearm": (40.0, 29.0), "hand": (42.0, 14.0)}
"""Half the breadth and half the thickness."""

BONES = {
    "upper_arm": ((0.0, 11.5),),
    "forearm": ((-15.0, 6.5), (15.0, 7.5)),
    "hand": tuple((u, 4.2) for u in (-29.0, -10.0, 10.0, 29.0)),
}
"""Where along the breadth bones lie, and their radius, in mm."""


def draw_limbs(rng):
    """Draw one or two limbs."""
    return [draw(rng, RANGES) | {"across": chance(rng, ACROSS)} for _ in range(rng.integers(1, 3))]


def limb_center(limb, z):
    """Position of the axis of a limb at height z, or of its middle where it lies across the head.

    Returns
    -------
    (x, y) in mm, in the frame of an average head; None where the limb does not come so far.
    """
    middle, along = _middle(limb), _axes(limb)[2]
    if limb["across"]:
        thick = limb["size"] * BREADTH_MM[limb["part"]][1]
        return middle[:2] if abs(z - middle[2]) < thick else None
    far = (z - middle[2]) / along[2]
    return (middle + far * along)[:2] if abs(far) < limb["half_mm"] * limb["size"] else None


def paint_limbs(scene, frame, limbs):
    """Paint limbs that the slice cuts; they give way to hard supports, and to the head later."""
    for limb in limbs:
        reach = limb["half_mm"] * limb["size"] + 60
        middle = _middle(limb)
        window = scene.window(frame, middle - reach, middle + reach)
        if window is not None:
            _paint(window, limb)


def _middle(limb):
    """Its middle in the head's frame: so far outside the head that the gap is left between."""
    around = np.deg2rad(limb["round_deg"])
    away = np.array([np.cos(around), np.sin(around)])
    thick = limb["size"] * np.mean(BREADTH_MM[limb["part"]])
    x, y = away * (np.array(HEAD_MM) + thick + limb["gap_mm"])
    return np.array([x, y, limb["middle_z"]])


def _axes(limb):
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


def _paint(window, limb):
    offset = [p - np.float32(m) for p, m in zip(window.points, _middle(limb))]
    u, v, along = (
        sum(o * np.float32(a / limb["size"]) for o, a in zip(offset, axis)) for axis in _axes(limb)
    )
    beyond = abs(along) - limb["half_mm"]
    skin = np.maximum(_skin(u, v, limb["part"]), beyond) * np.float32(limb["size"])
    window = window.crop_to((skin < 2).any(0))
    if window is None:
        return
    skin, u, v, beyond = (window.take(field) for field in (skin, u, v, beyond))
    tissue = limb["tissue"]
    window.paint_patient(window.share(skin), tissue["skin"], yields=True)
    window.inside_only = True
    window.paint(window.share(skin + 1.8), tissue["fat"])
    window.paint(window.share(skin + 2.5 + limb["fat_mm"]), tissue["muscle"])
    for at, radius in BONES[limb["part"]]:
        bone = np.maximum(cylinder([u, v, 0 * u], (at, 0, 0), radius), beyond + 4)
        bone = np.maximum(bone * np.float32(limb["size"]), skin + 2)
        window.paint(window.share(bone), tissue["cortical"])
        window.paint(window.share(bone + 2.6), tissue["marrow"])


def _skin(u, v, part):
    """Distance to the skin: an ellipse, or four fingers side by side."""
    if part == "hand":
        return np.minimum.reduce([cylinder([u, v, 0 * u], (at, 0, 0), 9) for at, _ in BONES[part]])
    return ellipsoid([u, v, 0 * u], (0, 0, 0), (*BREADTH_MM[part], 1e4))
