"""The usual ways to take a headrest out of a slice, to hold the networks against.

Each is a function of a slice in HU that marks as support what it would remove. Of all constants
that were tried, theirs gave the highest Dice on 60 synthetic patients that no test uses.
"""

import numpy as np
from scipy import ndimage

from headrest.hounsfield import SUPPORT_HU
from headrest.segment.components import find_components, largest
from headrest.segment.morphology import EIGHT

DARKEST_TISSUE = -120.0
"""HU: fat reads -100; what is darker and yet no air is taken for plastic and foam."""

ELLIPSE_MM = (105.0, 95.0)
"""Half axes of the ellipse in which a head is expected: along columns, along rows."""

RUN_MM = 8.0
"""A run of solid pixels shorter than this, along its row or its column, is no head."""

ERODED_MM = 12.0
"""What a support is parted from the head by."""


def nothing(hu, spacing_mm):
    """Remove nothing: the baseline that has no equal in accuracy a line of code.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    spacing_mm : (y, x) in mm.

    Returns
    -------
    bool array (rows, columns). So it is for every function here; nothing at `SUPPORT_HU` HU and
    below is marked by any.
    """
    return np.zeros(hu.shape, bool)


def fixed_threshold(hu, spacing_mm):
    """Remove what is denser than air and darker than tissue."""
    return (hu > SUPPORT_HU) & (hu < DARKEST_TISSUE)


def fixed_ellipse(hu, spacing_mm):
    """Remove what lies outside an ellipse about the centre of the slice."""
    y, x = (
        ((np.arange(n) - (n - 1) / 2) * mm / half) ** 2
        for n, mm, half in zip(hu.shape, spacing_mm, ELLIPSE_MM)
    )
    return (hu > SUPPORT_HU) & (y[:, None] + x > 1)


def short_runs(hu, spacing_mm):
    """Remove what is short along its row or its column.

    Examples
    --------
    >>> slice_hu = np.full((40, 40), -1000.0)
    >>> slice_hu[5:30, 5:30] = slice_hu[35, 5:30] = 40
    >>> int(short_runs(slice_hu, (1, 1)).sum())
    25
    """
    solid = hu > SUPPORT_HU
    along = [_run_lengths(solid.T).T * spacing_mm[0], _run_lengths(solid) * spacing_mm[1]]
    return solid & (np.minimum(*along) < RUN_MM)


def _run_lengths(mask):
    """Length of the run along its row in which each pixel lies."""
    change = np.ones(mask.shape, bool)
    change[:, 1:] = mask[:, 1:] != mask[:, :-1]
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=mask.size)
    return np.repeat(lengths, lengths).reshape(mask.shape)


def all_but_largest(hu, spacing_mm):
    """Remove all but the largest connected component, its holes filled."""
    labels, _ = find_components(hu > SUPPORT_HU)
    return (hu > SUPPORT_HU) & ~largest(labels)


def all_but_core(hu, spacing_mm):
    """Erode, keep the largest component, dilate it back, and remove the rest."""
    return (hu > SUPPORT_HU) & ~_core(hu, spacing_mm)


def _core(hu, spacing_mm):
    labels, _ = find_components(hu > SUPPORT_HU)
    depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1), spacing_mm)[1:-1, 1:-1]
    eroded, _ = ndimage.label(depth > ERODED_MM, EIGHT)
    kept = largest(eroded)
    if not kept.any():
        return largest(labels)  # nothing is thick: erosion has taken all
    return ndimage.distance_transform_edt(~kept, spacing_mm) <= ERODED_MM + max(spacing_mm)


def all_but_hull(hu, spacing_mm):
    """Remove what lies outside the convex hull of what `all_but_core` keeps."""
    from skimage.morphology import convex_hull_image  # notebooks and tests have it

    core = _core(hu, spacing_mm) & (hu > SUPPORT_HU)
    return (hu > SUPPORT_HU) & ~convex_hull_image(core) if core.any() else nothing(hu, spacing_mm)


BASELINES = {
    "nothing removed": nothing,
    "fixed threshold": fixed_threshold,
    "fixed ellipse": fixed_ellipse,
    "row and column runs": short_runs,
    "largest component": all_but_largest,
    "erode, keep, dilate": all_but_core,
    "convex hull": all_but_hull,
}
