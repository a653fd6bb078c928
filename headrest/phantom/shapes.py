"""Signed distances of simple solids in mm, and smooth random fields.

Points are a triple ``(x, y, z)`` of float32 arrays in mm that broadcast together; a distance is
negative inside a solid. Formulas: Quilez, I., "Distance functions",
https://iquilezles.org/articles/distfunctions (2008-2023).
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from scipy import ndimage

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
    return (
        side
        if half_length is None
        else np.maximum(side, abs(points[axis] - center[axis]) - half_length)
    )


def channel(x: Array, y: Array, half_width: float, depth: float, power: float) -> Array:
    """Distance to the inside of a U-shaped channel open to the top, its floor at y = 0."""
    low = np.maximum(y + depth, 0) / depth
    radius = ((abs(x) / half_width) ** power + low**power) ** (1 / power)
    return (radius - 1) * min(half_width, depth)


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


def sheet(inside: Array, thickness_mm: float) -> Array:
    """Distance to a layer of `thickness_mm` on the outside of a solid."""
    return abs(inside - thickness_mm / 2) - thickness_mm / 2


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


def cells(points: Points, rng: Generator, size_mm: float) -> Array:
    """Random granular field of mean 0 and variance of about 1, as of beads of `size_mm`."""
    grid = rng.standard_normal((48, 48, 48), np.float32) * 1.8
    at = np.stack(np.broadcast_arrays(*(p * np.float32(1 / size_mm) for p in points)))
    return ndimage.map_coordinates(grid, at, order=1, mode="grid-wrap")


def surface_points(
    distance: Callable[[Points], Array], low: Vector, high: Vector, step_mm: float
) -> Array:
    """Points (n, 3) on the surface of a solid in a box, about `step_mm` apart."""
    axes = [np.arange(a, b, step_mm, dtype=np.float32) for a, b in zip(low, high)]
    z, y, x = (grid.ravel() for grid in np.meshgrid(*axes[::-1], indexing="ij"))
    away = distance([x, y, z])
    found = abs(away) < 0.7 * step_mm
    points, away = [v[found] for v in (x, y, z)], away[found]
    slope = [
        distance([v + (0.5 if n == axis else 0) for n, v in enumerate(points)]) - away
        for axis in range(3)
    ]
    steep = 0.5 * away / np.maximum(sum(s * s for s in slope), 0.02)
    return np.stack([v - steep * s for v, s in zip(points, slope)], 1)
