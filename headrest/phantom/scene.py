"""Signed distances of solids and random fields; one slice while solids are painted into it.

Points are a triple ``(x, y, z)`` of float32 arrays in mm that broadcast together; a distance is
negative inside a solid. Formulas: Quilez, I., "Distance functions",
https://iquilezles.org/articles/distfunctions (2008-2023).

A slice is cut into slabs along its thickness. The share of a voxel that a solid fills follows from
its distance on the planes between slabs, so a surface that slopes through a thick slice is blurred.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from headrest.hounsfield import AIR

Array: TypeAlias = np.ndarray
Points: TypeAlias = Sequence[Any]
Vector: TypeAlias = Sequence[float]


def ellipsoid(points: Points, center: Vector, axes: Vector) -> Array:
    """Distance to an ellipsoid of three half axes, first-order exact near the surface."""
    scaled = [(p - c) / a for p, c, a in zip(points, center, axes)]
    radius = np.sqrt(sum(s * s for s in scaled)) + 1e-6
    slope = np.sqrt(sum((s / a) ** 2 for s, a in zip(scaled, axes))) + 1e-6
    return radius * (radius - 1) / slope


def sphere(points: Points, center: Vector, radius: float) -> Array:
    """Distance to a sphere."""
    return np.sqrt(sum((p - c) ** 2 for p, c in zip(points, center))) - radius


def capsule(
    points: Points, start: Vector, end: Vector, radius: float, end_radius: float | None = None
) -> Array:
    """Distance to a rod with round ends; the radius may change linearly from start to end."""
    axis = [e - s for s, e in zip(start, end)]
    length = sum(a * a for a in axis) + 1e-6
    offset = [p - s for p, s in zip(points, start)]
    along = np.clip(sum(o * (a / length) for o, a in zip(offset, axis)), 0, 1)
    away = np.sqrt(sum((o - along * a) ** 2 for o, a in zip(offset, axis)))
    return away - (radius if end_radius is None else radius + along * (end_radius - radius))


def chain(points: Points, corners: Sequence[Vector], radius: float) -> Array:
    """Distance to a polyline of capsules through `corners`."""
    return union(*(capsule(points, a, b, radius) for a, b in itertools.pairwise(corners)))


def box(
    points: Points, center: Vector, half: Sequence[float | None], rounding: float = 0.0
) -> Array:
    """Distance to a box with rounded edges; `half` are its half sides, None for infinite."""
    sides = [abs(p - c) - (h - rounding) for p, c, h in zip(points, center, half) if h is not None]
    outside = np.sqrt(sum(np.maximum(side, 0) ** 2 for side in sides))
    return outside + np.minimum(intersection(*sides), 0) - rounding


def cylinder(
    points: Points, center: Vector, radius: float, half_length: float | None = None, axis: int = 2
) -> Array:
    """Distance to a cylinder along one axis; infinite without `half_length`."""
    across = [i for i in range(3) if i != axis]
    side = np.sqrt(sum((points[i] - center[i]) ** 2 for i in across)) - radius
    if half_length is None:
        return side
    return np.maximum(side, abs(points[axis] - center[axis]) - half_length)


def union(*distances: Any) -> Any:
    """Distance to the union of solids."""
    return functools.reduce(np.minimum, distances)


def intersection(*distances: Any) -> Any:
    """Distance to the intersection of solids."""
    return functools.reduce(np.maximum, distances)


def smooth_union(a: Array, b: Array, blend_mm: float) -> Array:
    """Distance to the union of two solids, rounded over `blend_mm`."""
    near = np.maximum(1 - abs(a - b) / blend_mm, 0)
    return np.minimum(a, b) - near * near * (blend_mm / 4)


def smooth_intersection(a: Array, b: Array, blend_mm: float) -> Array:
    """Distance to the intersection of two solids, rounded over `blend_mm`."""
    return -smooth_union(-a, -b, blend_mm)


def waves(
    points: Points, rng: Generator, wavelength_mm: float, count: int = 8, spread: float = 0.25
) -> Array:
    """Random plane waves of nearly one wavelength: a smooth field of mean 0 and variance 1.

    Its zero level is a labyrinth (Berry 1977, J Phys A 10:2083), like the sections of gyri, of
    cells in porous bone and of fat between muscles.
    """
    shape = np.broadcast_shapes(*(np.shape(p) for p in points))
    total, wave = np.zeros((2, *shape), np.float32)
    for _ in range(count):
        direction = rng.standard_normal(3)
        length = wavelength_mm * rng.uniform(1 - spread, 1 + spread) * np.linalg.norm(direction)
        kx, ky, kz = (float(k) for k in direction * (2 * np.pi / length))
        # In place: new arrays for each sum took longer than their sines.
        np.multiply(points[0], kx, out=wave)
        wave += ky * points[1]
        wave += kz * points[2] + float(rng.uniform(0, 6.28))
        total += np.sin(wave, out=wave)
    return total * float(np.sqrt(2 / count))


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
                x = sorted((side * low[0], side * high[0]))
                if part := window.crop((x[0], *low[1:]), (x[1], *high[1:])):
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
            terms = (i * np.float32(mm) for i, mm in zip(indices, steps) if abs(mm) > 1e-7)
            made.append(sum(terms, np.full((1, 1, 1), start, np.float32)))
        return made if self.warp is None else self.warp(made)


class Scene:
    """HU and shares of one slice, float32 arrays (slabs, rows, columns)."""

    def __init__(self, shape: Sequence[int]):
        self.hu = np.full(shape, AIR, np.float32)
        shares = np.zeros((5, *shape), np.float32)
        self.patient, self.support, self.rigid, self.ignore, self.kept = shares


class Window:
    """A rectangle of a scene in one frame, all of it by default; all is painted in windows."""

    def __init__(
        self,
        scene: Scene,
        frame: Frame,
        rows: slice = slice(None),
        columns: slice = slice(None),
        parent: "Window | None" = None,
    ):
        self.scene, self.frame, self.parent = scene, frame, parent
        spans = zip((rows, columns), frame.shape[1:])
        self.rows, self.columns = (slice(*span.indices(size)[:2]) for span, size in spans)
        self.at = (slice(None), self.rows, self.columns)
        self.pixel_mm = float(np.linalg.norm(frame.steps[1:], axis=1).mean())
        self.inside_only: bool = parent is not None and parent.inside_only

    @functools.cached_property
    def points(self) -> Points:
        """x, y, z, as of `Frame.points`; taken from the parent where it has computed its own."""
        if self.parent is None or "points" not in vars(self.parent):
            return self.frame.points(self.rows, self.columns)
        return [self.take(v) for v in self.parent.points]

    def take(self, array: Array) -> Array:
        """The part of an array of the parent window in this window; axes of length one stay."""
        assert self.parent is not None
        own, outer = (self.rows, self.columns), (self.parent.rows, self.parent.columns)
        spans = (
            slice(a.start - b.start, a.stop - b.start) if size > 1 else slice(None)
            for a, b, size in zip(own, outer, array.shape[1:])
        )
        return array[(slice(None), *spans)]

    def crop(self, low: Vector | Array, high: Vector | Array) -> "Window | None":
        """The part of this window that contains a box of its frame, or None."""
        corners = np.array(list(itertools.product(*zip(low, high))))
        index = (corners - self.frame.origin) @ np.linalg.inv(self.frame.steps)
        first, last = np.floor(index.min(0)).astype(int), np.ceil(index.max(0)).astype(int) + 1
        rows, columns = (
            slice(max(int(a), own.start), min(int(b), own.stop))
            for a, b, own in zip(first[1:], last[1:], (self.rows, self.columns))
        )
        is_empty = rows.start >= rows.stop or columns.start >= columns.stop
        if is_empty or first[0] >= self.frame.shape[0] or last[0] <= 0:
            return None
        return Window(self.scene, self.frame, rows, columns, self)

    def crop_to(self, mask: Any) -> "Window | None":
        """The part of this window around the True pixels of a mask (rows, columns), or None."""
        if not (found := ndimage.find_objects(mask.astype(np.uint8))):
            return None
        rows, columns = (
            slice(own.start + part.start, own.start + part.stop)
            for own, part in zip((self.rows, self.columns), found[0])
        )
        return Window(self.scene, self.frame, rows, columns, self)

    def share(self, distance: Array) -> Array:
        """Share of each voxel inside a solid, from its distance on the planes around each slab: it
        rises linearly over one pixel and the change of the distance from plane to plane."""
        distance = np.asarray(distance, np.float32)
        low, high = (distance[:-1], distance[1:]) if len(distance) > 1 else (distance, distance)
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

    def paint_as(self, share: Array, hu: Any, *names: str) -> None:
        """Paint, and add to the named shares of the scene; hair and dressings are "kept"."""
        for name in names:
            total = getattr(self.scene, name)[self.at]
            total += share * (1 - total)
        self.paint(share, hu)

    def paint_patient(self, share: Array, hu: Any, yields: bool = False) -> None:
        """Paint tissue, which displaces soft supports. If it `yields`, rigid supports displace it,
        and smaller parts that they cut off are left out."""
        if yields:
            whole, share = share, share * (1 - self.scene.rigid[self.at])
            share = share * _largest_parts(whole, share)
        self.scene.support[self.at] *= 1 - share
        self.paint_as(share, hu, "patient")


def _largest_parts(whole, share):
    """False in all but the largest part of each piece of `whole` that supports cut: bool (rows,
    columns). The cut is where half of the share or more is lost."""
    pieces, count = ndimage.label(whole.max(0) > 0)
    parts, _ = ndimage.label((pieces > 0) & (share >= 0.5 * whole).all(0))
    sizes = np.bincount(parts.ravel(), share.sum(0).ravel())[parts]
    largest = ndimage.maximum(sizes * (parts > 0), pieces, np.arange(count + 1))
    return (parts == 0) | (sizes == largest[pieces])
