"""Where supports come to rest against the head, and how they are painted."""

import numpy as np

from headrest.phantom.catalogue import HARD, KINDS
from headrest.phantom.choosing import PAD
from headrest.phantom.shapes import waves

NECK_Z = -62.0  # what presses against the head ends above the neck


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
    both = np.concatenate([head_points, ear_points])
    placed = []
    for support in supports["list"]:
        pressed = support["into_ear_mm"] > 0 or support["presses_head"]
        p = dict(support) | {"y": 0.0, "half_width": _half_width(support, head_points, ear_points)}
        meets = head_points if pressed else both
        if pressed and "couch" not in p["name"]:
            meets, p["foot"] = meets[meets[:, 2] > NECK_Z], max(p["foot"], NECK_Z - 15)
        p["x"] = 0.0 if support["into_ear_mm"] else support["aside_mm"]
        if KINDS[p["name"]][2] == "below":
            p["y"] = _raise(p, meets, under)
        if KINDS[p["name"]][2] == "sides":
            p |= _push_in(p, head_points, both)
        placed.append(p)
    return _hang_below(placed)


def _half_width(p, head_points, ear_points):
    """Half the inner width of a holder: room for head and ears, or less than the ears need."""
    both = np.concatenate([head_points, ear_points])
    near = head_points if p["into_ear_mm"] else both
    near = near[(near[:, 2] > -70) & (near[:, 2] < 60)]
    half = float(np.abs(near[:, 0]).max()) if len(near) else 80.0
    if not p["into_ear_mm"]:
        return half + p.get("clearance_mm", 10.0)
    ears = float(np.abs(ear_points[:, 0]).max()) if len(ear_points) else 0.0
    return max(half + 1, ears - p["into_ear_mm"])


def _raise(p, points, under):
    """Height of a support: raised from below until it meets the head, a pad or the gap drawn."""
    gap = p["gap_mm"] + (under if p["name"] not in PAD else 0)
    gap += p.get("drop_mm", 0) * (under > 0 or p["gap_mm"] > 0)
    return _approach(lambda y: _nearest(p | {"y": y}, points), 200.0, -60.0, gap)


def _push_in(p, head_points, both):
    """Where the parts at either side stand: off the head, or pressing the ears against it."""
    found = {}
    for name, side in (("left", 1), ("right", -1)):

        def near(at, points, name=name):
            return _nearest(p | {"left": 400.0, "right": 400.0} | {name: at}, points)

        head, ears = (v[side * v[:, 0] > 15] for v in (head_points, both))
        free = _approach(lambda at, e=ears, f=near: f(at, e), 160.0, 20.0, max(p["gap_mm"], -0.4))
        found[name] = free
        if p["into_ear_mm"] or p["presses_head"]:
            skin = _approach(lambda at, h=head, f=near: f(at, h), 160.0, 20.0, 0.0)
            pressed = skin - p["press_mm"]
            found[name] = pressed if p["presses_head"] else max(free - p["into_ear_mm"], skin)
        found[f"squeeze_{name}"] = round(max(free - found[name], 0.0), 3)
    return found


def squeeze(placed, ear_points):
    """How far, in mm of the table, hard supports push the tips of the ears (left, right) in.

    What they do not push in is flattened against them.
    """
    pushed = [0.0, 0.0]
    for p in placed:
        here = [p.get("squeeze_left", 0.0), p.get("squeeze_right", 0.0)]
        if p["into_ear_mm"] and p["name"] in ("u_shell", "trough"):
            here = [float((side * ear_points[:, 0]).max()) - p["half_width"] for side in (1, -1)]
        flat = min(p["overlap_mm"], p.get("wall_mm", 0.0))
        pushed = [max(a, b - flat) for a, b in zip(pushed, here)]
    return pushed


def _nearest(p, points):
    """Least distance of a support from points (n, 3) of the table frame."""
    shape = KINDS[p["name"]][0]
    pieces = shape(local_points(points.T[:, None, None, :].astype(np.float32), p), p)
    return min((float(piece.distance.min()) for piece in pieces), default=99.0)


def _approach(nearest, far, close, gap):
    """Position between `far` and `close` where `nearest` falls to `gap` mm; sunk in where it is
    negative."""
    low = next((at for at in np.arange(far, close, -5.0) if nearest(at) < max(gap, -0.4)), close)
    high = low + 5
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if nearest(middle) < max(gap, -0.4) else (low, middle)
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
            _paint_piece(window, piece, p["name"] in HARD)


def _paint_piece(window, piece, hard):
    share = window.share(piece.distance)
    window = window.crop_to(share.any(0))
    if window is None:
        return
    distance = window.take(piece.distance)
    rng = np.random.default_rng(int(-10 * piece.hu) if piece.hu < 0 else 0)
    foam = piece.hu < -800
    uneven = window.middle(waves(window.points, rng, 60, 4, 0.5)) if foam else 0.0
    window.paint_support(window.take(share), piece.hu + 16 * uneven, hard)
    if piece.wall_mm:
        wall = window.between(distance + piece.wall_mm, distance)
        cover = np.clip(0.8 + 0.25 * uneven, 0.3, 1) if foam else 1.0
        window.paint(wall * cover, piece.wall_hu)
