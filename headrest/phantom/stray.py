"""What belongs to nobody: tubes, wires, electrodes, staples, earrings, dense hair; and hair as a
faint veil."""

import numpy as np
from scipy import ndimage

from headrest.phantom.materials import AIR, LIVING, MATERIAL, chance, draw
from headrest.phantom.shapes import capsule, chain, sphere, waves

RANGES = {
    "hair_mm": (1.0, 16.0),
    "hair_hu": MATERIAL["hair"],
    "dense_hu": MATERIAL["dense_hair"],
    "seed": (0, 10**6),
    "silicone": MATERIAL["silicone"],
    "metal": MATERIAL["metal"],
    "x": (-50.0, 50.0),
    "z": (10.0, 60.0),
    "side": [-1, 1],
    "count": (3, 12),
}
PROBABILITY = {
    "hair": 0.55,
    "hair_bun": 0.05,
    "tracheal_tube": 0.07,
    "drain": 0.05,
    "wires": 0.07,
    "electrodes": 0.04,
    "staples": 0.04,
    "earrings": 0.06,
    "hearing_aid": 0.03,
}


def draw_stray(rng, kind):
    """Draw which stray things are there; phantoms and chests have none."""
    stray = draw(rng, RANGES)
    present = [name for name, share in PROBABILITY.items() if chance(rng, share)]
    stray["present"] = present if kind in LIVING else []
    if kind == "child":
        stray["present"] = [name for name in present if name != "earrings"]
    return stray


def paint_stray(window, skin, stray):
    """Paint what is there; `skin` is the distance to the skin on the window's planes."""
    for name in stray["present"]:
        if name == "hair":
            _hair(window, skin, stray)
        elif name == "hair_bun":
            _bun(window, skin, stray)
        else:
            _things(window, skin, stray, name)


def _free(window):
    at = window.at
    return (1 - window.scene.support[at]) * (1 - window.scene.patient[at])


def _hair(window, skin, stray):
    """A thin veil of strands over the scalp, denser near the skin."""
    if window.points[2].max() < -70:
        return
    _x, y, z = window.halfway
    rng = np.random.default_rng([stray["seed"], abs(round(10 * float(z[0, 0, 0])))])
    strands = (
        5 * ndimage.gaussian_filter(rng.standard_normal(skin.shape[1:], np.float32), 1.4)[None]
    )
    scalp = np.clip((y * 0.6 + z + 62) / 25, 0, 1)
    length = stray["hair_mm"] * scalp * (1 + 0.15 * strands)
    share = window.between(skin, skin - length) * np.clip(0.5 + 0.35 * strands, 0, 1)
    window.paint(share * _free(window), stray["hair_hu"])


def _bun(window, skin, stray):
    """A bun or plait, dense enough to be taken for a pad."""
    x, y, z = window.points
    strands = waves([x, y, z], np.random.default_rng(stray["seed"] + 1), 8, 6)
    at = (stray["x"] * 0.6, 92, stray["z"] - 20)
    bun = np.maximum(sphere(window.points, at, 24) + 2 * strands, -skin)
    hu = window.middle(stray["dense_hu"] + 120 * strands)
    window.paint_ignored(window.share(bun) * _free(window), np.clip(hu, AIR, -100))


def _things(window, skin, stray, name):
    x, y, z = window.points
    rng = np.random.default_rng(stray["seed"] + 2)
    s = stray["side"]
    if name == "tracheal_tube":
        tube = chain(
            [x, y, z],
            ((6, -125, -84), (4, -80, -84), (0, -30, -88), (0, -14, -110), (0, -16, -300)),
            5,
        )
        window.paint_ignored(window.share(tube), AIR)
        window.paint_ignored(window.between(tube + 1.4, tube), stray["silicone"])
    if name == "drain":
        tube = capsule(
            [x, y, z], (stray["x"] * 0.3, 0, 20), (stray["x"] * 1.5 + 40 * s, -40, 90), 1.8
        )
        window.paint_ignored(window.share(tube), stray["silicone"] * 2)
    if name == "wires":
        away = np.sqrt((skin - 2) ** 2 + (y + 20 + 12 * np.sin(z / 23) - 0.5 * s * x) ** 2) - 0.9
        window.paint_ignored(window.share(away) * _free(window), stray["metal"])
    if name in ("electrodes", "staples"):
        for _ in range(stray["count"]):
            spot = np.array([rng.uniform(-1, 1), rng.uniform(-1, 0.6), rng.uniform(0, 1)])
            spot = spot / np.linalg.norm(spot) * (77, 97, 97)
            inner = window.crop(spot - 9, spot + 9)
            if inner is None:
                continue
            near = sphere(inner.points, spot.tolist(), 5 if name == "electrodes" else 3)
            flat = np.maximum(
                near, abs(inner.take(skin) - 1) - (1.2 if name == "electrodes" else 0.5)
            )
            inner.paint_ignored(inner.share(flat), stray["metal"])
    if name == "earrings":
        ring = np.sqrt((np.sqrt((y - 10) ** 2 + (z + 72) ** 2) - 6) ** 2 + (abs(x) - 78) ** 2) - 0.9
        window.paint_ignored(window.share(ring), stray["metal"])
    if name == "hearing_aid":
        aid = capsule([s * x, y, z], (76, 14, -22), (77, 18, -42), 4)
        window.paint_ignored(window.share(aid) * (1 - window.scene.patient[window.at]), 300)
        window.paint_ignored(window.share(aid + 2.6), stray["metal"])
