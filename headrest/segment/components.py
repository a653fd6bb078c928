"""Connected components of a slice: find, measure and classify them.

Components are classified by their shape and by the mean and standard deviation of their HU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from headrest.hounsfield import DENSE_HU, PATIENT, SUPPORT
from headrest.segment.morphology import EIGHT, bounding_box, count_neighbours, fill_slice

CLASSES = ("background", "support", "patient", "ambiguous")
AMBIGUOUS = CLASSES.index("ambiguous")
"""Class of a component, beside `SUPPORT` and `PATIENT`. Ambiguous ones are kept, unless the
neighbouring slices show a support."""

# The limits below were set by hand. Notebook 02 plots components against them and measures the
# result on synthetic patients.

SHEET_MM, CUSHION_MM = 8.0, 20.0
"""Largest width of a shell, rail or strap; of a dark cushion, or between the walls of a couch."""

SHORT_MM, MEDIUM_MM, LONG_MM, COUCH_MM = 12.0, 25.0, 80.0, 300.0
"""Lengths. Shorter than the first is noise; from the second on, a component may be support or touch
it. Thin parts of a head that are components of their own are shorter than the third, skulls than
the last."""

SHEET_ELONGATION, RAIL_ELONGATION = 4.0, 12.0
"""Length over width of a sheet in cross-section (a disc has 2.8); from the second on, a component
as bright as bone may be a rail."""

PLASTIC_MEAN_HU, PLASTIC_STD_HU = (-200.0, 250.0), (190.0, 330.0)
"""A short piece of shell has a bright core and partial-volume edges. The tip of an ear or a nose
varies less, as it has no bright core; a splinter of bone varies more."""

DARK_HU = -180.0
"""No part of a body has a mean below this; fat is at -100 HU."""

BONE_MEAN_HU, BONE_STD_HU = 300.0, 330.0
"""A component brighter or more varied than this is bone, unless it is longer than any skull."""


@dataclass(frozen=True)
class Components:
    """The connected components of a slice; every attribute but `labels` is an array (n,).

    Attributes
    ----------
    labels : int array (rows, columns), 0 for air, 1 to n for the components, holes filled.
    area_mm2 : area above the threshold and -500 HU.
    mean_hu, std_hu : mean and standard deviation of HU over that area.
    width_mm : twice the area with holes filled over the boundary: the thickness of a sheet, the
        radius of a disc.
    length_mm : diagonal of the bounding box.
    solidity : `area_mm2` over the area with holes filled.
    row, column : center of the bounding box, in pixels.
    """

    labels: np.ndarray
    area_mm2: np.ndarray
    mean_hu: np.ndarray
    std_hu: np.ndarray
    width_mm: np.ndarray
    length_mm: np.ndarray
    solidity: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def __len__(self) -> int:
        return len(self.area_mm2)

    def largest(self, n: int = 8) -> dict[str, np.ndarray]:
        """Table of the n largest components, largest first: column name -> array."""
        order = np.argsort(-self.area_mm2, kind="stable")[:n]
        return {f.name: getattr(self, f.name)[order] for f in fields(self)[1:]}


def find_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Find the 8-connected components of a mask after its holes are filled.

    So sinuses, and everything inside a skull phantom, belong to the component around them.

    Parameters
    ----------
    mask : bool array (rows, columns)

    Returns
    -------
    labels : int array (rows, columns), 0 for the background.
    count : int

    Examples
    --------
    >>> ring = np.ones((3, 3), bool); ring[1, 1] = False
    >>> bool(find_components(np.pad(ring, 1))[0][2, 2])
    True
    """
    labels, box = np.zeros(mask.shape, np.int32), bounding_box(mask)
    labels[box], count = ndimage.label(fill_slice(mask[box]), EIGHT)
    return labels, count


def measure(
    labels: np.ndarray, count: int, hu: np.ndarray, threshold: float, spacing_mm: Sequence[float]
) -> Components:
    """Measure every component.

    Parameters
    ----------
    labels, count : as `find_components` returns them.
    hu : float array (rows, columns), in HU.
    threshold : float, in HU.
    spacing_mm : (y, x) in mm.

    Returns
    -------
    Components
    """
    filled = labels > 0
    members, values = labels[filled], hu[filled].astype(np.float64)
    solid = values > max(threshold, DENSE_HU)  # partial volume would blur mean and deviation

    def total(weights=None):
        return np.bincount(members, weights, count + 1)[1:]

    pixels, pixels_filled = total(solid), total()
    mean = total(values * solid) / np.maximum(pixels, 1)
    variance = total(values**2 * solid) / np.maximum(pixels, 1) - mean**2
    boundary = total(count_neighbours(~filled)[filled] > 0)
    boxes = [[(s.start, s.stop) for s in box] for box in ndimage.find_objects(labels, count)]
    (top, bottom), (left, right) = np.array(boxes).reshape(-1, 2, 2).transpose(1, 2, 0)
    y, x = spacing_mm
    return Components(
        labels=labels,
        area_mm2=pixels * y * x,
        mean_hu=mean,
        std_hu=np.sqrt(np.maximum(variance, 0)),
        width_mm=2 * pixels_filled / np.maximum(boundary, 1) * np.sqrt(y * x),
        length_mm=np.hypot((bottom - top) * y, (right - left) * x),
        solidity=pixels / np.maximum(pixels_filled, 1),
        row=(top + bottom - 1) / 2,
        column=(left + right - 1) / 2,
    )


def classify(components: Components) -> np.ndarray:
    """Classify each component as patient, support or ambiguous.

    Thick components are patient, unless darker than any tissue. Thin and long ones are support,
    unless they are bone. Thin and short ones are support if mean and standard deviation of their
    HU are those of plastic, otherwise ambiguous.

    Parameters
    ----------
    components : Components

    Returns
    -------
    int array (n,) of `PATIENT`, `SUPPORT` and `AMBIGUOUS`.
    """
    c = components
    thin, cushion, bone = _shapes(c)
    long = (c.length_mm >= LONG_MM) & ~(bone & (c.length_mm < COUCH_MM))
    plastic = _between(c.mean_hu, PLASTIC_MEAN_HU) & _between(c.std_hu, PLASTIC_STD_HU)
    short = (c.length_mm >= SHORT_MM) & plastic
    classes = np.where(thin | cushion, AMBIGUOUS, PATIENT)
    classes[_elongated(c) & thin & (long | short)] = SUPPORT
    return classes


def may_be_support(components: Components) -> np.ndarray:
    """Find ambiguous components that are support if no neighbouring slice shows patient there.

    Elongated, thin or a cushion, `MEDIUM_MM` long, and no bone shorter than a rail: bool (n,).
    """
    c = components
    thin, cushion, bone = _shapes(c)
    rail = c.length_mm >= RAIL_ELONGATION * c.width_mm
    return _elongated(c) & (thin | cushion) & (c.length_mm >= MEDIUM_MM) & (rail | ~bone)


def may_touch(parts: Components) -> np.ndarray:
    """Find thin parts of the patient that may be a support in contact with it: bool array (n,)."""
    long = (parts.length_mm >= LONG_MM) & (parts.mean_hu <= BONE_MEAN_HU)
    dark = (parts.length_mm >= LONG_MM / 2) & (parts.mean_hu < DARK_HU)
    shell = long | dark | _between(parts.std_hu, PLASTIC_STD_HU)
    return shell & _elongated(parts) & (parts.length_mm >= MEDIUM_MM)


def _shapes(c):
    couch = (c.length_mm >= COUCH_MM) & (c.solidity < 0.5) & (c.width_mm <= CUSHION_MM)
    thin = (c.width_mm <= SHEET_MM) | couch
    cushion = (c.mean_hu < DARK_HU) & (c.width_mm <= CUSHION_MM)
    return thin, cushion, (c.mean_hu > BONE_MEAN_HU) | (c.std_hu > BONE_STD_HU)


def _elongated(c):
    return c.length_mm >= SHEET_ELONGATION * c.width_mm


def _between(values, limits):
    return (limits[0] <= values) & (values <= limits[1])
