"""One slice being drawn: its points in space, and what lies in every voxel.

A slice is cut into thin slabs along its thickness. Bodies are evaluated on the planes between
slabs, and the share that a body takes of a voxel of a slab follows from its distance on both
planes, so that a surface which slopes through a thick slice blurs as far as it travels.
"""

import numpy as np

from headrest.phantom.materials import AIR


class Frame:
    """A right-handed frame (head or table) tied to the voxels of one slice.

    Parameters
    ----------
    origin : (3,) position in mm of (plane 0, row 0, column 0) in this frame.
    steps : (3, 3) mm travelled per plane, per row, per column (rows of the matrix).
    shape : planes, rows, columns.
    warp : bends the points, where the frame is that of a crooked body.
    """

    def __init__(self, origin, steps, shape, warp=None):
        self.origin, self.steps, self.shape = (
            np.asarray(origin, float),
            np.asarray(steps, float),
            shape,
        )
        self.warp = warp

    def points(self, rows=slice(None), columns=slice(None)):
        """x, y, z (float32) at the voxels of a window; they broadcast to (planes, rows,
        columns)."""
        k, r, c = (np.arange(n, dtype=np.float32) for n in self.shape)
        k, r, c = k[:, None, None], r[rows][None, :, None], c[columns][None, None, :]
        made = []
        for axis in range(3):
            dk, dr, dc = (float(s) for s in self.steps[:, axis])
            parts = float(self.origin[axis])
            for index, step in ((k, dk), (r, dr), (c, dc)):
                parts = parts + index * step if abs(step) > 1e-7 else parts
            made.append(np.asarray(parts, np.float32))
        made = [m.reshape(1, 1, 1) if m.ndim == 0 else m for m in made]
        return made if self.warp is None else self.warp(made)

    def bounds(self, low, high):
        """Row and column slices that hold a box of this frame, or None where the slice misses
        it."""
        corners = np.array([[(low, high)[b >> a & 1][a] for a in range(3)] for b in range(8)])
        index = (corners - self.origin) @ np.linalg.inv(self.steps)
        first = np.floor(index.min(0)).astype(int)
        last = np.ceil(index.max(0)).astype(int) + 1
        if (first >= np.array(self.shape)).any() or (last <= 0).any():
            return None
        return tuple(
            slice(max(f, 0), min(n, e)) for f, e, n in zip(first[1:], last[1:], self.shape[1:])
        )


class Scene:
    """HU and shares of one slice, (slabs, rows, columns) float32 each, painted body by body."""

    def __init__(self, shape):
        self.hu = np.full(shape, AIR, np.float32)
        self.patient = np.zeros(shape, np.float32)
        self.support = np.zeros(shape, np.float32)
        self.ignore = np.zeros(shape, np.float32)
        self.hard = np.zeros(shape, np.float32)

    def window(self, frame, low=None, high=None):
        """The part of the slice that holds a box of a frame (all of it without a box), or None."""
        if low is None:
            return Window(self, frame, slice(None), slice(None))
        bounds = frame.bounds(np.asarray(low, float), np.asarray(high, float))
        return bounds and Window(self, frame, *bounds)


class Window:
    """A rectangle of a scene with the points of one frame; everything is painted through
    windows."""

    def __init__(self, scene, frame, rows, columns, parent=None):
        self.scene, self.frame, self.parent = scene, frame, parent
        self.rows, self.columns = (
            slice(*span.indices(size)[:2]) for span, size in zip((rows, columns), frame.shape[1:])
        )
        self.at = (slice(None), self.rows, self.columns)
        self.pixel_mm = float(np.linalg.norm(frame.steps[1:], axis=1).mean())
        self.inside_only = parent is not None and parent.inside_only
        self.points = (
            frame.points(rows, columns) if parent is None else [self.take(v) for v in parent.points]
        )

    def take(self, array):
        """The part of an array of the parent window that lies in this one; axes of one stay."""
        spans = [
            slice(mine.start - outer.start, mine.stop - outer.start) if size > 1 else slice(None)
            for mine, outer, size in zip(
                (self.rows, self.columns), (self.parent.rows, self.parent.columns), array.shape[1:]
            )
        ]
        where = (slice(None), *spans)
        return array[where]

    def crop(self, low, high):
        """The part of this window that holds a box of its frame, or None."""
        bounds = self.frame.bounds(np.asarray(low, float), np.asarray(high, float))
        if bounds is None:
            return None
        rows, columns = (
            slice(max(b.start, own.start), min(b.stop, own.stop))
            for b, own in zip(bounds, (self.rows, self.columns))
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return Window(self.scene, self.frame, rows, columns, self)

    def crop_to(self, wanted):
        """The part of this window around what is True in a (rows, columns) mask, or None."""
        if not wanted.any():
            return None
        rows, columns = (
            slice(own.start + int(found[0]), own.start + int(found[-1]) + 1)
            for own, found in zip(
                (self.rows, self.columns), map(np.flatnonzero, (wanted.any(1), wanted.any(0)))
            )
        )
        return Window(self.scene, self.frame, rows, columns, self)

    def share(self, distance):
        """Share of each voxel inside a body, from its distance on the planes around each slab.

        The half-width of the ramp is what the surface travels within a voxel: one pixel in the
        plane, and the change of distance from plane to plane across it.
        """
        distance = np.asarray(distance, np.float32)
        if distance.shape[0] == 1:
            return np.clip(0.5 - distance / self.pixel_mm, 0, 1)
        low, high = distance[:-1], distance[1:]
        return np.clip(0.5 - 0.5 * (low + high) / (self.pixel_mm + abs(high - low)), 0, 1)

    def between(self, inner, outer):
        """Share of a layer outside `inner` and inside `outer`; right for layers thinner than a
        voxel too."""
        return np.maximum(self.share(outer) - self.share(inner), 0)

    @property
    def halfway(self):
        """The points half-way through the slice, for fields that hardly change along it."""
        return [v[v.shape[0] // 2][None] for v in self.points]

    def middle(self, values):
        """A field known on planes, at the middle of the slabs."""
        return values if values.shape[0] == 1 else 0.5 * (values[:-1] + values[1:])

    def paint(self, share, hu):
        """Give `share` of every voxel to a material; no more than the patient has of it in an
        `inside_only` window."""
        if self.inside_only:
            share = share * self.scene.patient[self.at]
        canvas = self.scene.hu[self.at]
        canvas += share * (hu - canvas)

    def paint_patient(self, share, hu, yields=False):
        """Paint tissue; what is soft gives way to it, and tissue that `yields` gives way to
        hard supports."""
        support = self.scene.support[self.at]
        if yields:
            share = share * (1 - self.scene.hard[self.at])
        patient = self.scene.patient[self.at]
        patient += share * (1 - patient)
        support *= 1 - share
        self.paint(share, hu)

    def paint_support(self, share, hu, hard=True):
        """Paint a part of a support; ears give way to hard ones."""
        if hard:
            rigid = self.scene.hard[self.at]
            rigid += share * (1 - rigid)
        support = self.scene.support[self.at]
        support += share * (1 - support)
        self.paint(share, hu)

    def paint_ignored(self, share, hu):
        """Paint what belongs to nobody: a tube, a wire, dense hair."""
        ignore = self.scene.ignore[self.at]
        ignore += share * (1 - ignore)
        self.paint(share, hu)
