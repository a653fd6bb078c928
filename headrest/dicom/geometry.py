"""Position and grid of images; order, spacing and tilt of the slices of a series."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset

from headrest.dicom.values import PLACE, has_place, is_unit_pair, number, numbers, text
from headrest.util.errors import HeadrestError

SAME_POSITION_MM = 0.01
"""Slices closer than this share a position."""

MAX_POSITION_MM = 1e7
"""Largest plausible coordinate: some files have positions 1 km away, none 10 km."""

SPACING_TOLERANCE = 1e-4
"""Relative difference of two pixel spacings that are one, written with fewer digits: 0.05 mm over
a whole field of view."""

ORIENTATION_TOLERANCE = 0.02
"""Difference of direction cosines of two orientations that are one."""

PIXEL_SPACING_RANGE_MM = (0.01, 20)
"""Plausible pixel spacing of a head CT."""

GAP_RATIO, CLOSE_RATIO = 1.5, 0.9
"""Slice distance, relative to the median, above and below which the series is called uneven."""


SEPARATING_KEYWORDS: tuple[str, ...] = ("AcquisitionNumber", "TemporalPositionIdentifier")
SEPARATING_KEYWORDS += ("AcquisitionTime", "ContentTime", "ImageType", "KVP")
"""Attributes that distinguish the phases, energies and repetitions of one series."""

GRID_KEYWORDS = ("Rows", "Columns", "PixelSpacing")
IMAGE_KEYWORDS: tuple[str, ...] = ("SOPInstanceUID", "InstanceNumber")
IMAGE_KEYWORDS += (*GRID_KEYWORDS, *(name for name, _ in PLACE), *SEPARATING_KEYWORDS)


class Image(NamedTuple):
    """Attributes of one image that decide to which stack it belongs."""

    path: Path
    uid: str
    number: str
    values: tuple[str, ...]  # of SEPARATING_KEYWORDS
    matrix: tuple[float, ...]
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    depth: float | None  # along the normal, in mm; None without position or orientation
    malformed: bool
    lacks_rescale: bool = False
    frame: int = 0  # of a multi-frame file, from 1

    @property
    def acquisition(self) -> str:
        """Acquisition Number (0020,0012), empty where it is missing."""
        return self.values[0]


def describe_image(path: Path, header: Dataset, frame: int = 0) -> Image:
    """Read the attributes of an `Image` from a header with at least `IMAGE_KEYWORDS`."""
    rows, columns, spacing = (numbers(header, k, n) for k, n in zip(GRID_KEYWORDS, (1, 1, 2)))
    position, axes = (numbers(header, *place) for place in PLACE)
    malformed = rows is None or columns is None or spacing is None
    for (keyword, _), values in zip(PLACE, (position, axes)):
        filled = keyword in header and header.get_item(keyword).value not in (None, "", b"")
        malformed |= values is None and filled
    malformed |= axes is not None and not is_unit_pair(axes)
    placed = axes is not None and position is not None and not malformed
    acquisition = number(header, "AcquisitionNumber")
    return Image(
        path,
        text(header, "SOPInstanceUID"),
        text(header, "InstanceNumber"),
        (
            "" if acquisition is None else f"{acquisition:g}",
            *(text(header, keyword) for keyword in SEPARATING_KEYWORDS[1:]),
        ),
        (*_floats(rows), *_floats(columns)),
        _floats(spacing),
        _floats(axes) if placed else (),
        float(np.cross(axes[:3], axes[3:]) @ position) if placed else None,  # type: ignore
        malformed,
        text(header, "RescaleSlope") == "",
        frame,
    )


def _floats(values):
    return () if values is None else tuple(values.tolist())


@dataclass(frozen=True)
class Geometry:
    """Positions (slices, 3), orientation (6,), spacing (z, y, x) in mm, tilt in degrees."""

    positions: np.ndarray
    orientation: np.ndarray
    spacing_mm: tuple[float, float, float]
    tilt_deg: float
    warnings: list[str]


def order_slices(
    slices: Sequence[Any], by_instance_number: bool = False
) -> tuple[list[Any], Geometry]:
    """Sort slices along their normal (PS3.3 C.7.6.2.1.1) and describe their grid.

    Slices are objects with `path`, `header` and `stored`. `by_instance_number` accepts some without
    position or orientation, in the order of Instance Number.
    """
    notes: list[str] = []
    if by_instance_number and not all(has_place(s.header) for s in slices):
        return _by_instance_number(slices)
    axes = common_value(slices, "orientation", _axes, absolute=ORIENTATION_TOLERANCE)
    orientation = np.array(axes)
    positions = np.array([_required(s, "ImagePositionPatient", 3) for s in slices])
    normal = np.cross(orientation[:3], orientation[3:])
    depths = positions @ normal
    order = np.argsort(depths, kind="stable")
    slices, positions, depths = [slices[i] for i in order], positions[order], depths[order]
    refuse_shared_positions(slices, depths)
    spacing = (slice_spacing(slices, depths, notes), *_in_plane_spacing(slices))
    tilt = float(np.degrees(np.arccos(min(abs(normal[2]), 1.0))))
    tilt *= -1 if orientation[5] > 0 else 1
    if abs(tilt) > 0.5:
        notes.append(f"slices tilted by {tilt:.1f} degrees; the native grid is kept")
    return slices, Geometry(positions, orientation, spacing, tilt, notes)


def _required(one, keyword, count):
    values = numbers(one.header, keyword, count)
    if values is None or np.abs(values).max() > MAX_POSITION_MM:
        raise HeadrestError(
            f"{one.path}: {keyword} is missing or malformed, so its position is unknown; "
            "by_instance_number=True (--by-instance-number) sorts such images by number"
        )
    return values


def _axes(one):
    axes = _required(one, "ImageOrientationPatient", 6)
    if not is_unit_pair(axes):
        raise HeadrestError(f"{one.path}: ImageOrientationPatient is no pair of unit axes")
    return tuple(axes)


def refuse_shared_positions(slices: Sequence[Any], depths: np.ndarray) -> None:
    """Refuse two images at one position."""
    for i in np.flatnonzero(np.diff(depths) < SAME_POSITION_MM).tolist():
        raise HeadrestError(
            f"{slices[i].path} and {slices[i + 1].path.name} lie at one position with different "
            "pixels, and no attribute separates them; keep the right one"
        )


def common_value(
    slices: Sequence[Any],
    name: str,
    value_of: Callable[[Any], tuple[float, ...]],
    relative: float = 0.0,
    absolute: float = 0.0,
) -> tuple[float, ...]:
    """Most frequent value (a tuple of numbers) of the slices; refuse a series of several."""
    values = [value_of(s) for s in slices]
    common = Counter(values).most_common(1)[0][0]
    same = np.isclose(values, common, rtol=relative, atol=absolute).all(axis=1)
    if not same.all():
        i = int(np.argmin(same))
        odd, usual = (" x ".join(f"{v:g}" for v in pair) for pair in (values[i], common))
        raise HeadrestError(f"{slices[i].path}: {name} {odd} among images of {usual}")
    return common


def _in_plane_spacing(slices):
    common_value(slices, "matrix", lambda s: s.stored.shape)
    spacing = common_value(slices, "pixel spacing", _pixel_spacing, SPACING_TOLERANCE)
    if not PIXEL_SPACING_RANGE_MM[0] <= min(spacing) <= max(spacing) <= PIXEL_SPACING_RANGE_MM[1]:
        shown = " x ".join(f"{s:g}" for s in spacing)
        raise HeadrestError(f"{slices[0].path}: PixelSpacing {shown} mm is not one of a head CT")
    return float(spacing[0]), float(spacing[1])


def _pixel_spacing(one):
    spacing = numbers(one.header, "PixelSpacing", 2)
    if spacing is None:
        raise HeadrestError(f"{one.path}: PixelSpacing is missing or malformed; export it again")
    return tuple(spacing)


def slice_spacing(slices: Sequence[Any], depths: np.ndarray, notes: list[str]) -> float:
    """Median distance of neighbouring slices in mm; add a warning to `notes` if it is uneven."""
    gaps = np.diff(depths)
    if not len(gaps):
        thickness = _thickness(slices[0])
        if not thickness:
            notes.append("one slice of unknown thickness: 1 mm assumed for volumes")
        return thickness or 1.0
    median = float(np.median(gaps))
    wide = np.flatnonzero(gaps > GAP_RATIO * median)
    if len(wide) or gaps.min() < CLOSE_RATIO * median:
        where = f", the widest after slice {', '.join(str(i + 1) for i in wide[:5])}"
        more = f" and {len(wide) - 5} more" if len(wide) > 5 else ""
        notes.append(
            f"slices {gaps.min():.2f} to {gaps.max():.2f} mm apart where {median:.2f} mm is usual"
            f"{where + more if len(wide) else ''}: uneven, or slices are missing"
        )
    return median


def _thickness(one):
    """Slice Thickness in mm, or None where it is missing or implausible."""
    thickness = number(one.header, "SliceThickness")
    return thickness if thickness and SAME_POSITION_MM < thickness < MAX_POSITION_MM else None


def _by_instance_number(slices):
    for s in slices:
        if number(s.header, "InstanceNumber") is None:
            raise HeadrestError(f"{s.path}: neither position nor InstanceNumber")
    slices = sorted(slices, key=lambda s: number(s.header, "InstanceNumber") or 0.0)
    thickness = _thickness(slices[0]) or 1.0
    positions = np.outer(np.arange(len(slices)) * thickness, [0, 0, 1.0])
    notes = ["no position: sorted by InstanceNumber, head and feet may be swapped"]
    spacing = (thickness, *_in_plane_spacing(slices))
    return slices, Geometry(positions, np.array([1.0, 0, 0, 0, 1, 0]), spacing, 0.0, notes)
