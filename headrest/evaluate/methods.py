"""All methods that are compared: the networks, K-Means, and simple ones.

Each function of `BASELINES` marks the support to remove: it takes a slice in HU, float array (rows,
columns), and its spacing (y, x) in mm, and returns a bool array of pixels above `DENSE_HU`. Their
constants gave the highest Dice of all that were tried on 60 synthetic patients that no test uses.

Not compared: the removal of flat tables by a Hough transform in sagittal planes (Y.-M. Zhu et al.,
J Digit Imaging 25 (2012) 480), as head holders are not flat; and the trained body networks of other
tools, whose weights are not part of an offline installation.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from scipy import ndimage

from headrest.dicom.series import Series
from headrest.evaluate.metrics import slice_probability
from headrest.hounsfield import DENSE_HU, FLOOR, crop, fit_to_matrix
from headrest.segment.morphology import EIGHT, fill_holes, fill_slice, largest_component
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained
from headrest.segment.refine import STEPS, SUPPORT_PROBABILITY, refine
from headrest.segment.support import Support, find_support

TISSUE_MIN_HU = -120.0
"""Fat reads -100 HU; the fixed threshold takes darker pixels for plastic and foam."""

ELLIPSE_MM = (105.0, 95.0)
"""Half axes of the ellipse that holds a head: along columns, along rows."""

MIN_RUN_MM = 8.0
"""A shorter run of solid pixels along its row or column is not patient."""

EROSION_MM = 12.0

BODY_HU, BODY_OPENING_PX = -250.0, 3
"""Threshold and steps of the opening of CIP's body mask (Chest Imaging Platform, `getBodyMask`)."""


def remove_nothing(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove nothing: its accuracy shows how little accuracy says."""
    return np.zeros(hu.shape, bool)


def fixed_threshold(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove pixels denser than air and darker than tissue."""
    return (hu > DENSE_HU) & (hu < TISSUE_MIN_HU)


def fixed_ellipse(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove all outside an ellipse about the centre of the slice."""
    y, x = (
        ((np.arange(n) - (n - 1) / 2) * mm / half) ** 2
        for n, mm, half in zip(hu.shape, spacing_mm, ELLIPSE_MM)
    )
    return (hu > DENSE_HU) & (y[:, None] + x > 1)


def short_runs(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove pixels in short runs along their row or column.

    Examples
    --------
    >>> slice_hu = np.full((40, 40), -1000.0)
    >>> slice_hu[5:30, 5:30] = slice_hu[35, 5:30] = 40
    >>> int(short_runs(slice_hu, (1, 1)).sum())
    25
    """
    solid = hu > DENSE_HU
    along = [_run_lengths(solid.T).T * spacing_mm[0], _run_lengths(solid) * spacing_mm[1]]
    return solid & (np.minimum(*along) < MIN_RUN_MM)


def _run_lengths(mask):
    """Length of the run along the row that each pixel is part of."""
    change = np.ones(mask.shape, bool)
    change[:, 1:] = mask[:, 1:] != mask[:, :-1]
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=mask.size)
    return np.repeat(lengths, lengths).reshape(mask.shape)


def all_but_largest(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove all but the largest connected component, its holes filled."""
    return (hu > DENSE_HU) & ~largest_component(fill_slice(hu > DENSE_HU), EIGHT)


def all_but_core(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Erode, keep the largest component, dilate it back, and remove the rest."""
    return (hu > DENSE_HU) & ~_core(hu, spacing_mm)


def _core(hu, spacing_mm):
    solid = fill_slice(hu > DENSE_HU)
    depth = ndimage.distance_transform_edt(np.pad(solid, 1), spacing_mm)[1:-1, 1:-1]
    kept = largest_component(depth > EROSION_MM, EIGHT)
    if not kept.any():
        return largest_component(solid, EIGHT)  # all components are thin
    return ndimage.distance_transform_edt(~kept, spacing_mm) <= EROSION_MM + max(spacing_mm)


def all_but_hull(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove all outside the convex hull of the component that `all_but_core` keeps."""
    from skimage.morphology import convex_hull_image  # only notebooks and tests install it

    core = _core(hu, spacing_mm) & (hu > DENSE_HU)
    return (hu > DENSE_HU) & ~convex_hull_image(core) if core.any() else core


def outside_body_mask(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Remove all outside a body mask of the whole series: threshold, open, largest component, fill.

    Takes HU (slices, rows, columns) and a spacing (z, y, x). The body masks of common tools:
    `getBodyMask` of the Chest Imaging Platform; `segment_human` of J. Muschelli's lungct, without
    its smoothing. Opened in each slice.
    """
    cross = ndimage.generate_binary_structure(2, 1)[None]
    opened = ndimage.binary_opening(hu > BODY_HU, cross, BODY_OPENING_PX)
    body = fill_holes(largest_component(opened), spacing_mm[1:])
    skin = ndimage.binary_dilation(body, cross)  # its soft edge
    return (hu > DENSE_HU) & ~skin


PRETRAINED, ALONE = "pretrained", "pretrained, no refinement"
KMEANS, BODY_MASK, NOTHING = "K-Means + components", "body mask, 3-D", "nothing removed"

BASELINES = {
    NOTHING: remove_nothing,
    "fixed threshold": fixed_threshold,
    "fixed ellipse": fixed_ellipse,
    "row and column runs": short_runs,
    "largest component": all_but_largest,
    "erode, keep, dilate": all_but_core,
    "convex hull": all_but_hull,
}

DENSE_ONLY = (KMEANS, BODY_MASK, *(name for name in BASELINES if name != NOTHING))
"""Methods that find support above `DENSE_HU` only: read their figures of dense support."""

Method = Callable[[Series], "Support | np.ndarray"]
"""From a Series to a Support, or to the voxels to remove, a bool array (slices, rows, columns)."""


def methods(networks: Mapping[str, Any] | None = None) -> dict[str, Method]:
    """List all methods. The functions of `BASELINES` and further networks see single slices.

    Parameters
    ----------
    networks : dict of str to keras.Model, optional, further networks.

    Returns
    -------
    dict of str to callable, the pretrained network first.
    """
    return {
        PRETRAINED: find_support,
        ALONE: lambda series: _probability(series) >= SUPPORT_PROBABILITY,
        **{name: by_network(model) for name, model in (networks or {}).items()},
        KMEANS: lambda series: find_support(series, "kmeans"),
        BODY_MASK: lambda series: outside_body_mask(series.hu, series.spacing_mm),
        **{name: by_slice(function) for name, function in BASELINES.items()},
    }


def by_slice(function: Callable) -> Method:
    """Make a method of a function of `BASELINES`."""
    return lambda series: np.stack([function(hu, series.spacing_mm[1:]) for hu in series.hu])


def by_network(model: Any) -> Method:
    """Make a method of a keras.Model that sees single slices, without resampling.

    In the border band of a VALID network it finds nothing.
    """

    def find(series: Series) -> np.ndarray:
        from headrest.segment.unet import layer_sizes  # needs Keras

        shape = series.hu.shape[1:]
        size = next(n for n in count(max(shape)) if layer_sizes(model, n))
        seen = slice_probability(model, fit_to_matrix(series.hu, size, FLOOR))
        return crop(fit_to_matrix(seen, size, 0), shape) >= 0.5

    return find


def _probability(series):
    return series_probability(series.hu, series.spacing_mm, load_pretrained())


def step_methods() -> dict[str, Method]:
    """The pretrained network alone, and with one more step of the refinement each."""
    kept: dict[str, Any] = {}  # of the last series

    def find(series, steps):
        if kept.get("series") is not series:
            kept.update(series=series, probability=_probability(series))
        return refine(kept["probability"], series.hu, series.spacing_mm, steps)[0]

    names = ("dense support of the network", *(f"+ {step}" for step in STEPS))
    return {name: partial(find, steps=STEPS[:n]) for n, name in enumerate(names)}
