"""Where supports come to rest against the head, and how they are painted."""

import numpy as np

from .catalogue import HARD, KINDS
from .choosing import PAD
from .shapes import waves


def place(supports, head_points, ear_points):
    """Rest every support against the head; returns a new list with positions filled in.

    Parameters
    ----------
    supports : what `draw_supports` returned.
    head_points, ear_points : (n, 3) points of the skin in the table frame, relative to the head's
        origin.
    """
    pads = [s for s in supports["list"] if s["name"] in PAD and KINDS[s["name"]][2] == "below"]
    under = max([max(s["thick_mm"] * 0.75 - s["into_mm"], 2.0) for s in pads], default=0.0)
    placed = []
    for support in supports["list"]:
        p = dict(support)
        both = np.concatenate([head_points, ear_points])
        reach = head_points if p["into_ear_mm"] else both
        near = reach[(reach[:, 2] > -70) & (reach[:, 2] < 60)]
        half = float(np.abs(near[:, 0]).max()) if len(near) else 80.0
        if p["into_ear_mm"] and len(ear_points):
            half = max(half + 1, float(np.abs(ear_points[:, 0]).max()) - p["into_ear_mm"])
        p["half_width"] = half + (0 if p["into_ear_mm"] else p.get("clearance_mm", 10.0))
        p |= {"x": p["aside_mm"] if not p["into_ear_mm"] else 0.0, "y": 0.0}
        placed.append(_settle(p, head_points, both, under))
    return _hang_below(placed)


def _settle(p, head_points, both, under):
    shape, _, rest = KINDS[p["name"]]
    if rest == "below":
        gap = (
            p["gap_mm"]
            + (under if p["name"] not in PAD else 0)
            + p.get("drop_mm", 0) * (under > 0 or p["gap_mm"] > 0)
        )
        p["y"] = _lowest(shape, p, head_points if p["into_ear_mm"] else both, gap)
    if rest == "sides":
        for name, side in (("left", 1), ("right", -1)):
            level = both[abs(both[:, 1] - p.get("bend_y", 10)) < 60]
            level = level[(level[:, 2] < p["top"]) & (level[:, 2] > max(p["foot"], -75))]
            outermost = float((side * level[:, 0]).max()) if len(level) else p["half_width"]
            p[name] = outermost + (
                max(p["gap_mm"], 0.0) if not p["into_ear_mm"] else -p["into_ear_mm"]
            )
    return p


def _lowest(shape, p, points, gap):
    """Height at which a support, raised from below, comes within `gap` mm of the points, or sinks
    in by -gap."""

    def clear(y):
        pieces = shape(local_points(points.T[:, None, None, :].astype(np.float32), p | {"y": y}), p)
        return min(float(piece.distance.min()) for piece in pieces) - max(gap, -0.4)

    high = 200.0
    low = next((y for y in np.arange(high, -60, -5.0) if clear(y) < 0), -60.0)
    high = low + 5
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if clear(middle) < 0 else (low, middle)
    return round(float(high) + min(gap + 0.4, 0), 3)


def _hang_below(placed):
    """Couches carry holders, and their rails hang under them."""
    floors = [
        p["y"] + p.get("wall_mm", 0)
        for p in placed
        if KINDS[p["name"]][2] == "below" and "couch" not in p["name"] and p["name"] in HARD
    ]
    couches = [p for p in placed if p["name"] in ("curved_couch", "flat_couch")]
    for couch in couches:
        couch["y"] = max([couch["y"]] + [floor + 2 for floor in floors])
    level = max([c["y"] for c in couches] + floors, default=100.0)
    for p in placed:
        if KINDS[p["name"]][2] in ("fixed", "under"):
            p["y"] = round(level - (0 if p["name"] == "couch_rails" else 20), 3)
    return placed


def local_points(points, p):
    """Points of the table frame in the frame of a support that was rolled, shifted and sloped."""
    x, y, z = points
    roll = np.float32(np.deg2rad(p["roll_deg"]))
    dx, dy = x - np.float32(p["x"]), y - np.float32(p["y"]) - np.float32(p["slope"]) * z
    return [np.cos(roll) * dx + np.sin(roll) * dy, np.cos(roll) * dy - np.sin(roll) * dx, z]


def paint_supports(whole, around, skin, placed, middle):
    """Paint all supports, the soft ones first.

    Parameters
    ----------
    whole, around : windows of the table frame on the whole slice and around the body (None where
        it is not cut).
    skin : distance to the skin on the planes of `around`.
    middle : (3,) table position of the origin of the body.
    """
    for p in placed:
        shape, _, rest = KINDS[p["name"]]
        window = around if rest == "around" else whole
        if window is None:
            continue
        points = [v - np.float32(m) for v, m in zip(window.points, middle)]
        pieces = shape(points, skin, p) if rest == "around" else shape(local_points(points, p), p)
        for piece in pieces:
            _paint_piece(window, piece)


def _paint_piece(window, piece):
    share = window.share(piece.distance)
    window = window.crop_to(share.any(0))
    if window is None:
        return
    distance = window.take(piece.distance)
    rng = np.random.default_rng(int(-10 * piece.hu) if piece.hu < 0 else 0)
    foam = piece.hu < -800
    uneven = window.middle(waves(window.points, rng, 60, 4, 0.5)) if foam else 0.0
    window.paint_device(window.take(share), piece.hu + 16 * uneven)
    if piece.wall_mm:
        wall = window.between(distance + piece.wall_mm, distance)
        cover = np.clip(0.8 + 0.25 * uneven, 0.3, 1) if foam else 1.0
        window.paint(wall * cover, piece.wall_hu)
