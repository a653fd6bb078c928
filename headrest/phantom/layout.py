"""Where body, holder and slice stand to one another, and the drawing of one slice."""

import numpy as np

from headrest.phantom import chest, limbs, placing, plastic, stray
from headrest.phantom import head as heads
from headrest.phantom import protocol as protocols
from headrest.phantom.catalogue import KINDS
from headrest.phantom.scene import Frame, Scene, Window

BODIES = {"chest": chest, "plastic": plastic, "water": plastic}
SLAB_MM, MOST_SLABS = 1.7, 5


class Layout:
    """The body at its place on the table, and the supports resting against it."""

    def __init__(self, drawn):
        self.drawn, self.protocol, self.body = drawn, drawn["protocol"], drawn["anatomy"]
        self.anatomy = BODIES.get(drawn["kind"], heads)
        turn = heads.rotation(self.body)
        if self.protocol["prone"] and drawn["kind"] != "chest":
            turn = np.diag([-1.0, -1.0, 1.0]) @ turn
        size = [self.body[name] for name in ("width", "length", "height")]
        self.to_body = np.diag(1 / np.array(size)) @ turn
        self.body_mm = float(np.mean(size[:2]))
        self.middle = np.array([self.protocol["x_mm"], self.protocol["y_mm"], 0.0])
        self.warp = (
            (lambda points: heads.warp(points, self.body)) if self.anatomy is heads else None
        )
        to_table = np.linalg.inv(self.to_body)
        skin, ears = (points @ to_table.T for points in self.anatomy.surface(self.body))
        self.wraps = any(
            KINDS[p["name"]][2] == "around" for p in drawn["support_parameters"]["list"]
        )
        self.placed = placing.place(drawn["support_parameters"], skin, ears)
        if self.anatomy is heads:
            self._press_ears(ears)

    def _press_ears(self, ears):
        """Squeeze the ears, given as points of the table frame, where supports need their room."""
        pushed = placing.squeeze(self.placed, ears)
        pushed = pushed[::-1] if self.protocol["prone"] else pushed
        x = (ears @ self.to_body.T)[:, 0]
        tips = [float((side * x).max()) for side in (1, -1)]
        limits = [t - p / self.body["width"] for t, p in zip(tips, pushed)]
        self.body = self.body | {"ears": heads.ear.press(self.body["ears"], tips, limits)}

    def frames(self, index):
        """Frames of slice `index`: the table's with the two faces of the slice, the body's with
        all planes between slabs."""
        protocol = self.protocol
        across, down, normal = protocols.image_axes(protocol)
        thick, pixel, n = protocol["thickness_mm"], protocol["pixel_mm"], protocol["matrix"]
        slabs = int(np.clip(np.ceil(thick / SLAB_MM), 1, MOST_SLABS))
        origin = protocols.corner(protocol, index) - normal * thick / 2
        steps = np.stack([normal * thick, down * pixel, across * pixel])
        table = Frame(origin, steps, (2, n, n))
        steps = steps / np.array([[slabs], [1], [1]])
        body = Frame(
            self.to_body @ (origin - self.middle),
            steps @ self.to_body.T,
            (slabs + 1, n, n),
            self.warp,
        )
        return table, body


def render_slice(layout, index):
    """What lies in the voxels of a slice: dict of (rows, columns) float32 "hu", "support",
    "patient", "ignore"."""
    table, frame = layout.frames(index)
    scene = Scene((frame.shape[0] - 1, *frame.shape[1:]))
    window, skin = _around_body(layout, scene, frame)
    around = window and Window(scene, table, *window.at[1:])
    faces = _met_by_wraps(layout, window, skin) if layout.wraps and window is not None else skin
    placing.paint_supports(scene.window(table), around, faces, layout.placed, layout.middle)
    limbs.paint_limbs(scene, frame, layout.drawn.get("limbs", []))
    if window is not None:
        layout.anatomy.paint_body(window, skin, layout.body)
        stray.paint_stray(window, skin, layout.drawn["stray"])
    return {name: getattr(scene, name).mean(0) for name in ("hu", "support", "patient", "ignore")}


def _met_by_wraps(layout, window, skin):
    """Distance in mm to skin and ears on both faces of the slice."""
    if "ears" in layout.body and layout.anatomy is heads:
        skin = heads.ear.wrap(window, skin.copy(), layout.body)
    return skin[[0, -1]] * np.float32(layout.body_mm)


def _around_body(layout, scene, frame):
    """Window around the body with room for what is wrapped about it, and the distance to the skin
    there."""
    middle_z = float((frame.origin + 0.5 * np.array(frame.shape) @ frame.steps)[2])
    low, high = layout.anatomy.box(layout.body, middle_z)
    room = np.array([50.0, 50.0, 15.0]) if layout.wraps else np.array([18.0, 18.0, 5.0])
    window = scene.window(frame, np.array(low) - room, np.array(high) + room)
    return (
        (None, None)
        if window is None
        else (window, layout.anatomy.skin_distance(window.points, layout.body))
    )


def outside(protocol):
    """Mask (rows, columns) of what lies outside the circular field of view, or None without
    padding."""
    if protocol["padding"] == "none":
        return None
    middle = (protocol["matrix"] - 1) / 2
    along = np.arange(protocol["matrix"]) - middle
    return np.hypot(along[:, None], along[None]) > middle + 0.7
