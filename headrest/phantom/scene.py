"""One slice while it is painted: the positions of its voxels, and the share of each material.

A slice is cut into thin slabs along its thickness. Solids are evaluated on the planes between
slabs. The share of a voxel that a solid fills follows from its distance on both planes, so a
surface that slopes through a thick slice is blurred over the distance it travels.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from headrest.hounsfield import AIR
from headrest.phantom.shapes import Array, Points, Vector


def within(
    low: Vector, high: Vector, sided: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Decorate a function that paints in a window: it gets the part of the window in a box.

    Its array arguments are cropped likewise; it is not called where the window misses the box, of
    corners `low` and `high` in mm. If `sided`, it paints both sides: it gets the side, 1 (left) or
    -1, as second argument, and the box given for the left side is mirrored.
    """

    def decorate(paint):
        @functools.wraps(paint)
        def paint_in_box(window, *arguments):
            for side in (-1, 1) if sided else (1,):
                x = sorted((side * low[0], side * high[0])) if sided else (low[0], high[0])
                part = window.crop((x[0], *low[1:]), (x[1], *high[1:]))
                if part is not None:
                    cropped = (part.take(a) if isinstance(a, np.ndarray) else a for a in arguments)
                    paint(part, *((side,) if sided else ()), *cropped)

        return paint_in_box

    return decorate


class Frame(NamedTuple):
    """A right-handed coordinate system (patient or table), related to the voxels of one slice."""

    origin: np.ndarray  # (3,) position in mm of (plane 0, row 0, column 0)
    steps: np.ndarray  # (3, 3) mm per plane, per row and per column (rows of the matrix)
    shape: tuple[int, ...]  # planes, rows, columns
    warp: Callable[[Points], Points] | None = None  # bends the points of an asymmetric head

    def points(self, rows: slice = slice(None), columns: slice = slice(None)) -> Points:
        """x, y, z (float32) of the voxels of a window, broadcasting to (planes, rows, columns)."""
        k, r, c = (np.arange(n, dtype=np.float32) for n in self.shape)
        indices = k[:, None, None], r[rows][None, :, None], c[columns][None, None, :]
        made = []
        for start, steps in zip(self.origin, self.steps.T):
            value: Any = float(start)
            for index, step in zip(indices, steps):
                value = value + index * float(step) if abs(step) > 1e-7 else value
            made.append(np.asarray(value, np.float32))
        made = [m.reshape(1, 1, 1) if m.ndim == 0 else m for m in made]
        return made if self.warp is None else self.warp(made)

    def bounds(self, low: Vector, high: Vector) -> tuple[slice, slice] | None:
        """Row and column slices that contain a box, or None if the slice misses it."""
        corners = np.array([[(low, high)[b >> a & 1][a] for a in range(3)] for b in range(8)])
        index = (corners - self.origin) @ np.linalg.inv(self.steps)
        first, last = np.floor(index.min(0)).astype(int), np.ceil(index.max(0)).astype(int) + 1
        if (first >= np.array(self.shape)).any() or (last <= 0).any():
            return None
        starts, stops = np.maximum(first, 0)[1:], np.minimum(last, self.shape)[1:]
        rows, columns = (slice(int(a), int(b)) for a, b in zip(starts, stops))
        return rows, columns


class Scene:
    """HU and shares of one slice, float32 arrays (slabs, rows, columns)."""

    def __init__(self, shape: Sequence[int]):
        self.hu = np.full(shape, AIR, np.float32)
        self.patient, self.support, self.ignore, self.rigid = np.zeros((4, *shape), np.float32)

    def window(self, frame: Frame, low: Vector = (), high: Vector = ()) -> "Window | None":
        """The part of the slice that contains a box (all of it without a box), or None."""
        if not len(low):
            return Window(self, frame, slice(None), slice(None))
        bounds = frame.bounds(low, high)
        return None if bounds is None else Window(self, frame, *bounds)


class View(NamedTuple):
    """A scene seen from a frame, to paint anywhere in the slice."""

    scene: Scene
    frame: Frame
    inside_only: bool = False

    def crop(self, low: Vector, high: Vector) -> "Window | None":
        """The window that contains a box of the frame, or None."""
        window = self.scene.window(self.frame, low, high)
        if window is not None:
            window.inside_only = self.inside_only
        return window


class Window:
    """A rectangle of a scene with the points of one frame; everything is painted in windows."""

    def __init__(
        self,
        scene: Scene,
        frame: Frame,
        rows: slice,
        columns: slice,
        parent: "Window | None" = None,
    ):
        self.scene, self.frame, self.parent = scene, frame, parent
        spans = zip((rows, columns), frame.shape[1:])
        self.rows, self.columns = (slice(*span.indices(size)[:2]) for span, size in spans)
        self.at = (slice(None), self.rows, self.columns)
        self.pixel_mm = float(np.linalg.norm(frame.steps[1:], axis=1).mean())
        self.inside_only: bool = parent is not None and parent.inside_only
        self.points: Points = (
            frame.points(rows, columns) if parent is None else [self.take(v) for v in parent.points]
        )

    def take(self, array: Array) -> Array:
        """The part of an array of the parent window in this window; axes of length one stay."""
        assert self.parent is not None
        own, outer = (self.rows, self.columns), (self.parent.rows, self.parent.columns)
        spans = (
            slice(a.start - b.start, a.stop - b.start) if size > 1 else slice(None)
            for a, b, size in zip(own, outer, array.shape[1:])
        )
        return array[(slice(None), *spans)]

    def crop(self, low: Vector, high: Vector) -> "Window | None":
        """The part of this window that contains a box of its frame, or None."""
        bounds = self.frame.bounds(low, high)
        if bounds is None:
            return None
        rows, columns = (
            slice(max(b.start, own.start), min(b.stop, own.stop))
            for b, own in zip(bounds, (self.rows, self.columns))
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return Window(self.scene, self.frame, rows, columns, self)

    def crop_to(self, mask: Any) -> "Window | None":
        """The part of this window around the True pixels of a mask (rows, columns), or None."""
        if not mask.any():
            return None
        found = map(np.flatnonzero, (mask.any(1), mask.any(0)))
        rows, columns = (
            slice(own.start + int(f[0]), own.start + int(f[-1]) + 1)
            for own, f in zip((self.rows, self.columns), found)
        )
        return Window(self.scene, self.frame, rows, columns, self)

    def share(self, distance: Array) -> Array:
        """Share of each voxel inside a solid, from its distance on the planes around each slab.

        The share rises linearly over the distance that the surface covers within a voxel: one
        pixel in the plane, and the change of the distance from plane to plane.
        """
        distance = np.asarray(distance, np.float32)
        if distance.shape[0] == 1:
            return np.clip(0.5 - distance / self.pixel_mm, 0, 1)
        low, high = distance[:-1], distance[1:]
        return np.clip(0.5 - 0.5 * (low + high) / (self.pixel_mm + abs(high - low)), 0, 1)

    def between(self, inner: Array, outer: Array) -> Array:
        """Share of the layer outside `inner` and inside `outer`; exact for thin layers too."""
        return np.maximum(self.share(outer) - self.share(inner), 0)

    @property
    def halfway(self) -> Points:
        """Points in the middle plane, for fields that hardly change along the slice."""
        return [v[v.shape[0] // 2][None] for v in self.points]

    @property
    def half(self) -> Points:
        """Points with the right side mirrored to the left, for symmetric solids."""
        x, y, z = self.points
        return [abs(x), y, z]

    @property
    def view(self) -> View:
        """The whole slice in the frame of this window."""
        return View(self.scene, self.frame)

    def mirrored(self, side: int) -> Points:
        """Points with the right side (`side` -1) mirrored to the left."""
        x, y, z = self.points
        return [side * x, y, z]

    def middle(self, values: Array) -> Array:
        """Values in the middle of the slabs, from values on the planes."""
        return values if values.shape[0] == 1 else 0.5 * (values[:-1] + values[1:])

    def paint(self, share: Array, hu: Any) -> None:
        """Give `share` of every voxel to a material, within the patient if `inside_only`."""
        if self.inside_only:
            share = share * self.scene.patient[self.at]
        canvas = self.scene.hu[self.at]
        canvas += share * (hu - canvas)

    def fill(self, distance: Array, hu: Any, weight: Any = 1) -> None:
        """Paint the inside of a solid; `weight` scales its share."""
        self.paint(self.share(distance) * weight, hu)

    def coat(self, inner: Array, outer: Array, hu: Any, weight: Any = 1) -> None:
        """Paint the layer outside `inner` and inside `outer`."""
        self.paint(self.between(inner, outer) * weight, hu)

    def paint_patient(self, share: Array, hu: Any, yields: bool = False) -> None:
        """Paint tissue. It displaces soft supports; `yields`: rigid supports displace it."""
        if yields:
            share = share * (1 - self.scene.rigid[self.at])
        self._add("patient", share)
        self.scene.support[self.at] *= 1 - share
        self.paint(share, hu)

    def paint_support(self, share: Array, hu: Any, rigid: bool = True) -> None:
        """Paint a part of a support."""
        for name in ("rigid", "support") if rigid else ("support",):
            self._add(name, share)
        self.paint(share, hu)

    def paint_ignored(self, share: Array, hu: Any) -> None:
        """Paint a foreign object, neither patient nor support: a tube, a wire, dense hair."""
        self._add("ignore", share)
        self.paint(share, hu)

    def _add(self, name, share):
        total = getattr(self.scene, name)[self.at]
        total += share * (1 - total)
