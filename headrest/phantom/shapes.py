"""Signed distances of simple bodies, and smooth random fields.

Points are a triple ``(x, y, z)`` of float32 arrays in mm that broadcast together; every distance
is negative inside. Formulas: Quilez, I., "Distance functions",
https://iquilezles.org/articles/distfunctions (2008-2023).
"""

import itertools

import numpy as np


def ellipsoid(points, centre, axes):
    """Distance to an ellipsoid, first-order exact near the surface."""
    scaled = [(p - c) / a for p, c, a in zip(points, centre, axes)]
    radius = np.sqrt(sum(s * s for s in scaled)) + 1e-6
    slope = np.sqrt(sum((s / a) ** 2 for s, a in zip(scaled, axes))) + 1e-6
    return radius * (radius - 1) / slope


def sphere(points, centre, radius):
    """Distance to a sphere."""
    return np.sqrt(sum((p - c) ** 2 for p, c in zip(points, centre))) - radius


def capsule(points, start, end, radius, end_radius=None):
    """Distance to a rod with round ends; the radius may run linearly from start to end."""
    axis = [e - s for s, e in zip(start, end)]
    length = sum(a * a for a in axis) + 1e-6
    offset = [p - s for p, s in zip(points, start)]
    along = np.clip(sum(o * (a / length) for o, a in zip(offset, axis)), 0, 1)
    away = np.sqrt(sum((o - along * a) ** 2 for o, a in zip(offset, axis)))
    return away - (radius if end_radius is None else radius + along * (end_radius - radius))


def chain(points, corners, radius):
    """Distance to capsules strung along `corners`."""
    return np.minimum.reduce(
        [capsule(points, a, b, radius) for a, b in itertools.pairwise(corners)]
    )


def box(points, centre, half, rounding=0.0):
    """Distance to a box with rounded edges; `half` are its half sides, None for endless."""
    sides = [abs(p - c) - (h - rounding) for p, c, h in zip(points, centre, half) if h is not None]
    outside = np.sqrt(sum(np.maximum(side, 0) ** 2 for side in sides))
    return outside + np.minimum(_largest(sides), 0) - rounding


def _largest(arrays):
    top = arrays[0]
    for other in arrays[1:]:
        top = np.maximum(top, other)
    return top


def cylinder(points, centre, radius, half_length=None, axis=2):
    """Distance to a cylinder along one axis; endless without `half_length`."""
    across = [i for i in range(3) if i != axis]
    round_ = np.sqrt(sum((points[i] - centre[i]) ** 2 for i in across)) - radius
    if half_length is None:
        return round_
    return np.maximum(round_, abs(points[axis] - centre[axis]) - half_length)


def join(a, b, blend=0.0):
    """Union of two distances, rounded over `blend` mm."""
    if not blend:
        return np.minimum(a, b)
    near = np.maximum(1 - abs(a - b) / blend, 0)
    return np.minimum(a, b) - near * near * (blend / 4)


def meet(a, b, blend=0.0):
    """Intersection of two distances, rounded over `blend` mm."""
    return -join(-a, -b, blend)


def waves(points, rng, wavelength, count=8, spread=0.25):
    """Random plane waves of nearly one wavelength: a smooth field of mean 0 and variance 1.

    Its zero level winds like a labyrinth (Berry 1977), which is what gyri, cells of porous bone
    and the fat between muscles look like in a section.
    """
    shape = np.broadcast_shapes(*(np.shape(p) for p in points))
    total, wave = np.zeros((2, *shape), np.float32)
    for _ in range(count):
        direction = rng.standard_normal(3)
        direction *= (
            2
            * np.pi
            / (wavelength * rng.uniform(1 - spread, 1 + spread) * np.linalg.norm(direction))
        )
        kx, ky, kz = (float(k) for k in direction)
        # In place, as new arrays for each sum took longer than their sines.
        np.multiply(points[0], kx, out=wave)
        wave += ky * points[1]
        wave += kz * points[2] + float(rng.uniform(0, 6.28))
        total += np.sin(wave, out=wave)
    return total * float(np.sqrt(2 / count))


def near_zero(distance, low, high, step):
    """Points (n, 3) on the surface of a body in a box, about `step` mm apart."""
    axes = [np.arange(a, b, step, dtype=np.float32) for a, b in zip(low, high)]
    z, y, x = (grid.ravel() for grid in np.meshgrid(*axes[::-1], indexing="ij"))
    away = distance([x, y, z])
    found = abs(away) < 0.7 * step
    points, away = [v[found] for v in (x, y, z)], away[found]
    slope = [
        distance([v + (0.5 if n == axis else 0) for n, v in enumerate(points)]) - away
        for axis in range(3)
    ]
    steep = 0.5 * away / np.maximum(sum(s * s for s in slope), 0.02)
    return np.stack([v - steep * s for v, s in zip(points, slope)], 1)
