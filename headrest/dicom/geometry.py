"""Position and grid of images; order, spacing and tilt of the slices of a series."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset

from headrest.dicom.header import PLACE, is_unit_pair, number, numbers, text
from headrest.util import HeadrestError

SAME_POSITION_MM = 0.01  # slices closer than this share a position
MAX_POSITION_MM = 1e7  # some files have positions 1 km away, none 10 km
PIXEL_SPACING_RANGE_MM = (0.01, 20)  # plausible of a head CT
AXIAL_COSINE = 0.7  # of the angle up to which a tilted slice counts as axial, about 45 degrees

TOLERANCES = {"matrix": (0, 0), "pixel_spacing": (1e-4, 0), "orientation": (0, 0.02)}
"""Relative and absolute difference up to which two grids are the same, as where one was written
with fewer digits: 0.05 mm over a whole field of view, and 0.02 in a cosine."""

GAP_RATIO, CLOSE_RATIO = 1.5, 0.9  # of the median slice distance; beyond, a series is uneven

SEPARATING_KEYWORDS = ["AcquisitionNumber", "TemporalPositionIdentifier", "AcquisitionTime"]
SEPARATING_KEYWORDS += ["ContentTime", "ImageType", "KVP"]
"""Attributes that distinguish the phases, energies and repetitions of one series."""

UNIQUE_IN_SERIES = {"PatientID": "two patients", "StudyInstanceUID": "two studies"}

GRID = (("Rows", 1), ("Columns", 1), ("PixelSpacing", 2), *PLACE)
IMAGE_KEYWORDS = ["SOPInstanceUID", "InstanceNumber", *dict(GRID), *SEPARATING_KEYWORDS]
IMAGE_KEYWORDS += [*UNIQUE_IN_SERIES]


class Image(NamedTuple):
    """Attributes of one image that decide to which stack it belongs; empty where unknown."""

    path: Path
    frame: int  # of a multi-frame file, from 1
    uid: str
    number: str
    values: tuple[str, ...]  # of SEPARATING_KEYWORDS
    matrix: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    depth: float | None  # along the normal, in mm
    malformed: bool
    lacks_rescale: bool
    owner: tuple[str, ...] = ()  # of UNIQUE_IN_SERIES

    @property
    def acquisition(self) -> str:
        """Acquisition Number (0020,0012), empty where it is missing."""
        return self.values[0]


def describe_image(path: Path, header: Dataset, frame: int = 0) -> Image:
    """Read the attributes of an `Image` from a header with `IMAGE_KEYWORDS` and `RescaleSlope`."""
    read = (numbers(header, *one) for one in GRID)
    rows, columns, spacing, position, axes = [() if v is None else tuple(v.tolist()) for v in read]
    malformed = not (rows and columns and spacing) or (axes and not is_unit_pair(np.array(axes)))
    for (keyword, _), values in zip(PLACE, (position, axes)):
        filled = keyword in header and header.get_item(keyword).value not in (None, "", b"")
        malformed = malformed or (filled and not values)
    placed = position and axes and not malformed
    acquisition = number(header, SEPARATING_KEYWORDS[0])
    first = "" if acquisition is None else f"{acquisition:.12g}"  # an IS has 12 characters
    return Image(
        path=path,
        frame=frame,
        uid=text(header, "SOPInstanceUID"),
        number=text(header, "InstanceNumber"),
        values=(first, *(text(header, keyword) for keyword in SEPARATING_KEYWORDS[1:])),
        matrix=rows + columns,
        pixel_spacing=spacing,
        orientation=axes,
        position=position,
        depth=float(slice_normal(axes) @ position) if placed else None,
        malformed=bool(malformed),
        lacks_rescale=text(header, "RescaleSlope") == "",
        owner=tuple(text(header, keyword) for keyword in UNIQUE_IN_SERIES),
    )


def slice_normal(orientation: Sequence[float] | np.ndarray) -> np.ndarray:
    """Normal of slices, of unit length even where the axes in a file are rounded."""
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def is_axial(header: Dataset) -> bool:
    """Whether the slices are axial, or their orientation is unknown."""
    axes = numbers(header, "ImageOrientationPatient", 6)
    if axes is None or not is_unit_pair(axes):
        return True  # the reader refuses it and names the attribute
    return abs(axes[0] * axes[4] - axes[1] * axes[3]) >= AXIAL_COSINE  # z of the slice normal


def is_same(one: Image, other: Image, *attributes: str) -> bool:
    """Whether attributes of two grids are the same within `TOLERANCES`."""
    for name in attributes:
        a, b = getattr(one, name), getattr(other, name)
        relative, absolute = TOLERANCES[name]
        if a != b and not (len(a) == len(b) and np.allclose(a, b, rtol=relative, atol=absolute)):
            return False
    return True


def order_slices(
    slices: Sequence[Any], by_instance_number: bool = False
) -> tuple[list[Any], tuple, list[str]]:
    """Sort slices along their normal (PS3.3 C.7.6.2.1.1); return them, their grid, and warnings.

    The grid is positions, orientation and spacing. `by_instance_number` accepts slices without
    position or orientation, in the order of that number.
    """
    images = [one.image for one in slices]
    if by_instance_number and not all(i.position and i.orientation for i in images):
        return _by_instance_number(slices)
    for image in images:
        _refuse_lost(image)
    axes, spacing = common_value(images, "orientation").orientation, _pixel_spacing(images)
    positions, orientation = np.array([i.position for i in images]), np.array(axes)
    depths = positions @ slice_normal(orientation)
    order = np.argsort(depths, kind="stable")
    slices, positions, depths = [slices[i] for i in order], positions[order], depths[order]
    refuse_shared_positions(slices, depths)
    distance, notes = slice_spacing(slices[0], depths)
    notes += tilt_notes(orientation)
    return slices, (positions, orientation, (distance, *spacing)), notes


def tilt_notes(orientation: np.ndarray) -> list[str]:
    """A warning for tilted slices, if they are."""
    tilt = tilt_deg(orientation)
    tilted = f"slices tilted by {tilt:.1f} degrees; the native grid is kept"
    return [tilted] if abs(tilt) > 0.5 else []


def tilt_deg(orientation: np.ndarray) -> float:
    """Angle between the slice normal and the long axis of the table, in degrees."""
    angle = float(np.degrees(np.arccos(min(abs(slice_normal(orientation)[2]), 1.0))))
    return -angle if orientation[5] > 0 else angle


def _refuse_lost(image):
    for keyword, values in zip(dict(PLACE), (image.position, image.orientation)):
        if not values:
            raise HeadrestError(
                f"{image.path}: {keyword} is missing or malformed, so its position is unknown; "
                "by_instance_number=True (--by-instance-number) sorts such images by number"
            )
        if (farthest := max(map(abs, values))) > MAX_POSITION_MM:
            raise HeadrestError(f"{image.path}: {keyword} of {farthest:g} mm; export it again")
    if not is_unit_pair(np.array(image.orientation)):
        raise HeadrestError(f"{image.path}: ImageOrientationPatient is no pair of unit axes")


def refuse_shared_positions(slices: Sequence[Any], depths: np.ndarray) -> None:
    """Refuse two images at one position."""
    for i in np.flatnonzero(np.diff(depths) < SAME_POSITION_MM).tolist():
        one, other = (s.image.path for s in slices[i : i + 2])
        raise HeadrestError(
            f"{one} and {other.name} lie at one position with different pixels, and no attribute "
            "separates them; keep the right one"
        )


def common_value(images: Sequence[Image], attribute: str) -> Image:
    """An image with the most frequent value of an attribute; refuse a series of several."""
    values = [getattr(image, attribute) for image in images]
    common = images[values.index(Counter(values).most_common(1)[0][0])]
    for image in images:
        if not is_same(image, common, attribute):
            odd, usual = (
                " x ".join(f"{v:g}" for v in getattr(one, attribute)) for one in (image, common)
            )
            name = attribute.replace("_", " ")
            raise HeadrestError(f"{image.path}: {name} {odd} among images of {usual}")
    return common


def _pixel_spacing(images):
    for lost in [image.path for image in images if not image.pixel_spacing]:
        raise HeadrestError(f"{lost}: PixelSpacing is missing or malformed; export it again")
    common_value(images, "matrix")
    spacing = common_value(images, "pixel_spacing").pixel_spacing
    if not PIXEL_SPACING_RANGE_MM[0] <= min(spacing) <= max(spacing) <= PIXEL_SPACING_RANGE_MM[1]:
        shown = " x ".join(f"{s:g}" for s in spacing)
        raise HeadrestError(f"{images[0].path}: PixelSpacing {shown} mm is not one of a head CT")
    return spacing


def slice_spacing(first: Any, depths: np.ndarray) -> tuple[float, list[str]]:
    """Median distance of neighbouring slices in mm, and a warning if it is uneven."""
    gaps = np.diff(depths)
    if not len(gaps):
        thickness = _thickness(first)
        unknown = ["one slice of unknown thickness: 1 mm assumed for volumes"]
        return thickness or 1.0, [] if thickness else unknown
    median = float(np.median(gaps))
    wide = (np.flatnonzero(gaps > GAP_RATIO * median) + 1).tolist()
    if not wide and gaps.min() >= CLOSE_RATIO * median:
        return median, []
    note = f"slices {gaps.min():.2f} to {gaps.max():.2f} mm apart where {median:.2f} mm is usual"
    if wide:
        note += f", the widest after slice {', '.join(map(str, wide[:5]))}"
        note += f" and {len(wide) - 5} more" if wide[5:] else ""
    return median, [f"{note}: uneven, or slices are missing"]


def _thickness(one):
    """Slice Thickness in mm, or None where it is missing or implausible."""
    thickness = number(one.header, "SliceThickness")
    return thickness if thickness and SAME_POSITION_MM < thickness < MAX_POSITION_MM else None


def _by_instance_number(slices):
    numbers = [number(one.header, "InstanceNumber") for one in slices]
    if None in numbers:
        lost = slices[numbers.index(None)].image.path
        raise HeadrestError(f"{lost}: neither position nor InstanceNumber")
    slices = [slices[i] for i in np.argsort(np.array(numbers, float), kind="stable")]
    thickness = _thickness(slices[0]) or 1.0
    positions = np.outer(np.arange(len(slices)) * thickness, [0, 0, 1.0])
    notes = ["no position: sorted by InstanceNumber, head and feet may be swapped"]
    if len(set(numbers)) < len(numbers):
        notes.append("images share an InstanceNumber: their order is unknown")
    spacing_mm = (thickness, *_pixel_spacing([one.image for one in slices]))
    return slices, (positions, np.array([1.0, 0, 0, 0, 1, 0]), spacing_mm), notes
