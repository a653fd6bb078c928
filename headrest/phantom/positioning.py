"""Where patient, supports and slices are, and how supports come to rest against the head."""

from typing import Any

import numpy as np
from scipy import ndimage

from headrest.hounsfield import AIR
from headrest.phantom import chest_limbs, ears_neck, head, plastic, scanner
from headrest.phantom.ranges import Parameters
from headrest.phantom.scene import Frame, Scene, Window, waves
from headrest.phantom.supports import CATALOGUE, NO_GAP_MM, PAD_WEIGHTS

NECK_Z = -62.0  # a support that presses against the head ends above the neck
UNEVEN_HU = -550.0  # below: foam or cloth, painted uneven and with creases in its cover
SLAB_MM, MOST_SLABS = 1.7, 5  # a slice is painted in slabs of about 1.7 mm, at most five

# Modules of patients that are not a living head, and for each the corners in mm of the box that
# contains such a patient, and of that in which supports meet it.
ANATOMY = {"chest": chest_limbs, "plastic": plastic, "water": plastic}
BOXES = {
    chest_limbs: (((-300, -200, -400), (300, 160, 400)), ((-240, -190, -100), (240, 140, 100))),
    plastic: (((-112, -128, -180), (112, 118, 112)), ((-110, -125, -120), (110, 120, 115))),
}


class Layout:
    """The patient on the table, with the supports against it, from `study.sample_parameters`.

    `patient` is its "anatomy", ears pressed by supports; `anatomy` the module that paints it;
    `to_patient` (3, 3) leads from the table to its frame, of origin `middle` in mm. `has_wraps`: a
    support follows the skin.
    """

    def __init__(self, parameters: Parameters):
        self.parameters, self.protocol = parameters, parameters["protocol"]
        self.patient: Parameters = parameters["anatomy"]
        self.anatomy: Any = ANATOMY.get(parameters["kind"], head)
        turn = head.rotation(self.patient)
        if self.protocol["prone"]:
            turn = np.diag([-1.0, -1.0, 1.0]) @ turn
        size = [self.patient[name] for name in ("width", "length", "height")]
        self.to_patient = np.diag(1 / np.array(size)) @ turn
        self.scale = float(np.mean(size[:2]))
        self.middle = np.array([self.protocol["x_mm"], self.protocol["y_mm"], 0.0])
        to_table = np.linalg.inv(self.to_patient)
        if self.anatomy is head:
            skin, ears, back = head.skin_points(self.patient)
        else:
            ears = back = np.zeros((0, 3))
            skin = head.surface_points(self._skin_distance, *BOXES[self.anatomy][1], 6.0)
        skin, ears, back = (points @ to_table.T for points in (skin, ears, back))
        back = back[back[:, 2] > min(self.protocol["z_mm"])]  # what is in view lies on the couch
        self.supports = _place_supports(parameters["support_parameters"], skin, ears, back)
        positions = [CATALOGUE[p["name"]].position for p in self.supports]
        self.has_wraps = "around" in positions
        for p in (p for p, position in zip(self.supports, positions) if position == "border"):
            field = self.protocol["pixel_mm"] * self.protocol["matrix"]
            x, y = (-float(v) for v in self.middle[:2])
            p |= {"x": x, "y": y, "field_mm": field}
        if self.anatomy is head:  # supports squeeze the ears where they need their room
            pushed = _squeeze(self.supports, ears)[:: -1 if self.protocol["prone"] else 1]
            x = (ears @ self.to_patient.T)[:, 0]
            tips = [float((side * x).max()) for side in (1, -1)]
            pressed = dict(self.patient["ears"])
            for name, tip, push in zip(("left", "right"), tips, pushed):
                limit = tip - push / self.patient["width"]
                both = {"tip_mm": round(tip, 3), "limit_mm": round(limit, 3)}
                pressed[name] = pressed[name] | (both if tip > limit else {})
            self.patient = self.patient | {"ears": pressed}

    def _skin_distance(self, points):
        return self.anatomy.skin_distance(points, self.patient)

    def frames(self, index: int) -> tuple[Frame, Frame]:
        """Frame of the table with both faces of a slice, and of the patient with all its planes."""
        across, down, normal = scanner.image_axes(self.protocol)
        thick, pixel, n = (self.protocol[k] for k in ("thickness_mm", "pixel_mm", "matrix"))
        slabs = int(np.clip(np.ceil(thick / SLAB_MM), 1, MOST_SLABS))
        origin = scanner.first_voxel(self.protocol, index) - normal * thick / 2
        steps = np.stack([normal * thick, down * pixel, across * pixel])
        table = Frame(origin, steps, (2, n, n))
        start, steps = self.to_patient @ (origin - self.middle), steps / [[slabs], [1], [1]]
        warp = (lambda points: head.warp(points, self.patient)) if self.anatomy is head else None
        return table, Frame(start, steps @ self.to_patient.T, (slabs + 1, n, n), warp)

    def paint_slice(self, index: int) -> dict[str, np.ndarray]:
        """True HU and shares of a slice, float32 arrays (rows, columns)."""
        table, frame = self.frames(index)
        scene = Scene((frame.shape[0] - 1, *frame.shape[1:]))
        z = float((frame.origin + 0.5 * np.array(frame.shape) @ frame.steps)[2])
        is_head = self.anatomy is head
        low, high = head.bounding_box(self.patient, z) if is_head else BOXES[self.anatomy][0]
        room = np.array([50.0, 50.0, 15.0] if self.has_wraps else [18.0, 18.0, 5.0])
        window = Window(scene, frame).crop(low - room, high + room)
        around = faces = None
        if window is not None:
            skin = self._skin_distance(window.points)
        if window is not None and self.has_wraps:
            around, outside = Window(scene, table, *window.at[1:]), skin.copy()
            if is_head:
                ears_neck.include_ears(window, outside, self.patient["ears"])
            faces = outside[[0, -1]] * np.float32(self.scale)  # in mm, to skin or ear
        _paint_supports(Window(scene, table), around, faces, self.supports, self.middle)
        chest_limbs.paint_limbs(Window(scene, frame), self.parameters["limbs"])
        if window is not None:
            self.anatomy.paint(window, skin, self.patient)
            plastic.paint_foreign_objects(window, skin, self.parameters["foreign_objects"])
        shares = "hu", "support", "patient", "ignore", "kept"
        return {name: getattr(scene, name).mean(0) for name in shares}


def _place_supports(supports, head_points, ear_points, back_points):
    """Sampled supports with their positions; points (n, 3) of the skin are in the table frame."""
    under = 0.0  # height in mm of the pads between head and head holder
    for p in supports["list"]:
        if p["name"] in PAD_WEIGHTS:
            wraps = CATALOGUE[p["name"]].position == "around"
            thick = p["thick_mm"] + p["gap_mm"] if wraps else p["thick_mm"] * 0.75 - p["into_mm"]
            under = max(under, thick, 2.0)
    both = np.concatenate([head_points, ear_points])
    low = float(both[:, 1].max())
    placed = []
    for support in supports["list"]:
        presses = support["into_ear_mm"] > 0 or support["presses_head"]
        p = dict(support) | {"y": 0.0, "half_width": _half_width(support, head_points, ear_points)}
        p["low_y"] = low
        meets = head_points if presses else both
        if "couch" in p["name"]:
            meets = np.concatenate([meets, back_points])
        elif presses and "foot" in p:
            meets, p["foot"] = meets[meets[:, 2] > NECK_Z], max(p["foot"], NECK_Z - 15)
        p["x"] = 0.0 if support["into_ear_mm"] else support["shift_mm"]
        if CATALOGUE[p["name"]].position == "below":
            gap = p["gap_mm"] + (under if p["name"] not in PAD_WEIGHTS else 0)
            gap += p.get("drop_mm", 0) * (under > 0 or p["gap_mm"] > 0)
            p["y"] = _approach(p, "y", meets, 200.0, -60.0, gap)
        if CATALOGUE[p["name"]].position == "sides":
            p |= _push_in(p, head_points, both)
        placed.append(p)
    return _align_with_couch(placed)


def _half_width(p, head_points, ear_points):
    """Half the inner width: room for head and ears, or less than the ears need."""
    both = np.concatenate([head_points, ear_points])
    near = head_points if p["into_ear_mm"] else both
    near = near[(near[:, 2] > -70) & (near[:, 2] < 60)]
    half = float(np.abs(near[:, 0]).max()) if len(near) else 80.0
    if not p["into_ear_mm"]:
        return half + p.get("clearance_mm", 10.0)
    ears = float(np.abs(ear_points[:, 0]).max()) if len(ear_points) else 0.0
    return max(half + 1, ears - p["into_ear_mm"])


def _push_in(p, head_points, both):
    """Positions of the two side parts: beside the head, or pressing the ears against it."""
    found, far = {}, p | {"left": 400.0, "right": 400.0}
    for name, side in (("left", 1), ("right", -1)):
        near, gap = both[side * both[:, 0] > 15], max(p["gap_mm"], NO_GAP_MM)
        found[name] = free = _approach(far, name, near, 160.0, 20.0, gap)
        if p["into_ear_mm"] or p["presses_head"]:
            near = head_points[side * head_points[:, 0] > 15]
            skin = _approach(far, name, near, 160.0, 20.0, 0.0)
            pressed = skin - p["press_mm"]
            found[name] = pressed if p["presses_head"] else max(free - p["into_ear_mm"], skin)
        found[f"squeeze_{name}"] = round(max(free - found[name], 0.0), 3)
    return found


def _squeeze(placed, ear_points):
    """Distance in mm by which rigid supports push the tips of the ears (left, right) in."""
    pushed = [0.0, 0.0]
    for p in placed:
        here = [p.get("squeeze_left", 0.0), p.get("squeeze_right", 0.0)]
        if p["into_ear_mm"] and p["name"] in ("u_shell", "trough"):
            here = [float((side * ear_points[:, 0]).max()) - p["half_width"] for side in (1, -1)]
        flat = min(p["overlap_mm"], p.get("wall_mm", 0.0))  # flattened against the support
        pushed = [max(a, b - flat) for a, b in zip(pushed, here)]
    return pushed


def _approach(p, key, points, far, close, gap):
    """Value of p[key] at which a support comes within `gap` mm of points (n, 3) of the table frame,
    by bisection; negative gaps sink in."""
    near = points.T[:, None, None, :].astype(np.float32)

    def touches(at):
        moved = p | {key: at}
        pieces = CATALOGUE[p["name"]].shape(*_local_points(near, moved), moved)
        return any(float(piece.distance.min()) < max(gap, NO_GAP_MM) for piece in pieces)

    low = next((at for at in np.arange(far, close, -5.0) if touches(at)), close)
    high = low + 5
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if touches(middle) else (low, middle)
    return round(float(high) + min(gap - NO_GAP_MM, 0), 3)


def _align_with_couch(placed):
    """Put couches under the head holders, and rails under the couches."""
    kinds = [CATALOGUE[p["name"]] for p in placed]
    couches = [p for p in placed if p["name"] in ("curved_couch", "flat_couch")]
    floors = [
        p["y"] + p.get("wall_mm", 0)
        for p, kind in zip(placed, kinds)
        if kind.position == "below" and kind.is_rigid and "couch" not in p["name"]
    ]
    for couch in couches:
        couch["y"] = max([couch["y"]] + [floor + 2 for floor in floors])
    level = max([c["y"] for c in couches] + floors, default=100.0)
    for p, kind in zip(placed, kinds):
        if kind.position in ("fixed", "under"):
            p["y"] = round(level - (0 if p["name"] == "couch_rails" else 20), 3)
    return placed


def _local_points(points, p):
    """Points of the table frame in the frame of a rolled, shifted and sloped support."""
    x, y, z = points
    roll = np.float32(np.deg2rad(p["roll_deg"]))
    dx, dy = x - np.float32(p["x"]), y - np.float32(p["y"]) - np.float32(p["slope"]) * z
    return [np.cos(roll) * dx + np.sin(roll) * dy, np.cos(roll) * dy - np.sin(roll) * dx, z]


def _paint_supports(whole, around, skin, placed, middle):
    """Paint supports in windows of the table frame on the slice and around the patient, in which
    `skin` is the distance to the skin; `middle` is the table position of the patient's origin."""
    for p in placed:
        kind = CATALOGUE[p["name"]]
        window = around if kind.position == "around" else whole
        if window is None:
            continue
        points = [v - np.float32(m) for v, m in zip(window.points, middle)]
        where = (*points, skin) if window is around else _local_points(points, p)
        for piece in kind.shape(*where, p):
            _paint_piece(window, piece, kind.is_rigid)


def _paint_piece(whole, piece, is_rigid):
    """Paint a solid and its surface layer; foam is uneven and granular, its cover has creases."""
    distance, share = piece.distance, whole.share(piece.distance)
    if np.any(piece.thin_mm):
        share = whole.between(distance + piece.thin_mm, distance)
    window = whole.crop_to(share.any(0))
    if window is None:
        return
    hu, cover, wall = piece.hu, 1.0, piece.wall_mm
    rng = np.random.default_rng(int(10 * abs(hu)))
    if piece.hu < UNEVEN_HU:
        creases = window.middle(waves(window.points, rng, 40, 4, 0.5))
        hu, cover = hu + 14 * creases, np.clip(0.8 + 0.25 * creases, 0.3, 1)
        thicker = 0.0 if is_rigid else np.clip(waves(window.halfway, rng, 25, 3), 0, 2)
        wall = wall * (1 + 0.5 * thicker)
    if piece.grain_hu:
        hu = np.maximum(hu + piece.grain_hu * _cells(window.halfway, rng, piece.grain_mm), AIR)
    window.paint_as(window.take(share), hu, "support", *(["rigid"] if is_rigid else []))
    if piece.wall_mm:
        distance = window.take(distance)
        window.coat(distance + wall, distance, piece.wall_hu, cover)


def _cells(points, rng, size_mm):
    """Random granular field of mean 0 and variance of about 1, as of beads of `size_mm`."""
    grid = rng.standard_normal((48, 48, 48), np.float32) * 1.8
    at = np.stack(np.broadcast_arrays(*(p * np.float32(1 / size_mm) for p in points)))
    return ndimage.map_coordinates(grid, at, order=1, mode="grid-wrap")
