"""Find the support in a series, by one of the methods, and say how sure it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from headrest.dicom.arrays import as_series
from headrest.dicom.series import Series
from headrest.hounsfield import SUPPORT_HU
from headrest.segment.labels import label_series
from headrest.segment.morphology import (
    ABSENT,
    FACES,
    FREE,
    TOUCHING,
    dilate,
    fill_holes,
    largest_component,
    partial_volume_boundary,
    sum_by_label,
)
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained, weights_hash
from headrest.segment.refine import confidence, refine, states
from headrest.util.errors import HeadrestError, require

SKIN_MM = 3.0
"""Voxels this near to the patient are kept when everything outside is blanked."""

MIN_PATIENT_ML = 0.5
"""Least volume of a component of the patient: an arm, or the tip of a nose."""


@dataclass(frozen=True, eq=False)
class Support:
    """The support found in a series, and the patient beside it.

    Attributes
    ----------
    mask : bool array (slices, rows, columns), the support: voxels above `SUPPORT_HU` HU.
    boundary : bool array of that shape, the partial-volume boundary between support and air.
    patient : bool array of that shape, the largest component that is not support, with the air
        it encloses in each slice.
    states : tuple of str, for each slice "free", "touching" or "absent".
    confidence : tuple of float, for each slice the Dice that the method expects, 0 to 1; empty
        for a method without probabilities.
    probability : float16 array of that shape, 0 to 1, or None for such a method.
    """

    mask: np.ndarray
    boundary: np.ndarray
    patient: np.ndarray
    states: tuple[str, ...]
    confidence: tuple[float, ...] = ()
    probability: np.ndarray | None = None

    @property
    def removed(self) -> np.ndarray:
        """Voxels that cleaning fills with air: support and boundary, bool array."""
        return self.mask | self.boundary

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.states.count(s)} {s}" for s in (FREE, TOUCHING, ABSENT))
        return f"Support({len(self.states)} slices: {counts})"


def find_support(
    series: Any,
    method: str = "network",
    weights: str | Path | None = None,
    provider: str | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Support:
    """Find the support in a series.

    Parameters
    ----------
    series : Series, path, nibabel image, or array
        A path of DICOM or NIfTI is read by `read_series`. An array (slices, rows, columns) is in
        HU, see `series_from_array`. Masks have the axes of the series that is read.
    method : str
        "network": the pretrained network (`headrest.segment.predict`), refined with the
        neighbouring slices (`headrest.segment.refine`). It also finds supports that touch the
        patient.
        "kmeans": K-Means and connected components (`headrest.segment.labels`). A support that
        touches the patient is kept, and its slices are "touching".
    weights : path, optional
        Network that `headrest export` wrote; the pretrained one if None.
    provider : str, optional
        "cpu", "cuda", "coreml" or "directml", see `headrest.segment.pretrained.load_pretrained`.
    spacing_mm : (z, y, x), in mm; for an array.

    Returns
    -------
    Support

    Raises
    ------
    HeadrestError
        For an unknown method, if its weights are damaged or the provider cannot be used, or for
        data that are no CT series.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from headrest import read_series
    >>> series = read_series(get_testdata_file("693_UNCR.dcm", download=False))
    >>> support = find_support(series, method="kmeans")
    >>> support
    Support(1 slices: 1 free, 0 touching, 0 absent)
    >>> support.mask.shape
    (1, 512, 512)
    >>> hu, spacing_mm = series.hu, series.spacing_mm
    >>> find_support(hu, method="kmeans", spacing_mm=spacing_mm)
    Support(1 slices: 1 free, 0 touching, 0 absent)
    """
    check_method(method, weights, provider)
    series = as_series(series, spacing_mm)
    if method == "network":
        return _network(series, weights, provider)
    return METHODS[method](series)


def support_from_mask(series: Series, mask: np.ndarray) -> Support:
    """Describe a mask that a person corrected: exactly its voxels are removed.

    Parameters
    ----------
    series : Series
    mask : bool array (slices, rows, columns)

    Returns
    -------
    Support, with an empty boundary and without confidence.
    """
    patient = _patient(series, mask)
    found = states(mask, patient, series.spacing_mm)
    return Support(mask, np.zeros_like(mask), patient, found)


def check_method(name: str, weights: str | Path | None = None, provider: str | None = None) -> None:
    """Raise a HeadrestError if a method, its weights or the provider cannot be used."""
    if name not in METHODS:
        raise HeadrestError(f"no method {name!r}; choose one of: {', '.join(METHODS)}")
    if name == "network":
        require("onnxruntime", ", or choose the method kmeans")
    elif weights or provider:
        raise HeadrestError(f"the method {name!r} has no weights and no provider")
    if weights or provider:
        load_pretrained(weights, provider)


def describe(name: str, weights: str | Path | None = None) -> str:
    """Describe a method, with its weights, for the derived series; raises as `find_support`."""
    check_method(name, weights)
    return f"method={name}" + (f" weights={weights_hash(weights)}" if name == "network" else "")


def _kmeans(series):
    labels = label_series(series.hu, series.spacing_mm)
    mask = np.stack([label.mask for label in labels])
    boundary = _boundary(series, mask, [label.threshold for label in labels])
    return Support(mask, boundary, _patient(series, mask), tuple(label.state for label in labels))


def _patient(series, mask):
    rest = (series.hu > SUPPORT_HU) & ~mask
    return fill_holes(largest_component(rest), series.spacing_mm[1:]) & ~mask


def _network(series, weights=None, provider=None):
    hu, spacing_mm = series.hu, series.spacing_mm
    probability = series_probability(hu, spacing_mm, load_pretrained(weights, provider))
    mask, patient = refine(probability, hu, spacing_mm)
    return Support(
        mask,
        _boundary(series, mask, [SUPPORT_HU] * len(series)),
        patient,
        states(mask, patient, spacing_mm),
        confidence(probability, mask, spacing_mm),
        probability,
    )


def _boundary(series, mask, thresholds):
    slices = zip(mask, series.hu, thresholds)
    spacing_mm = series.spacing_mm[1:]
    return np.stack([partial_volume_boundary(m, hu, spacing_mm, t) for m, hu, t in slices])


METHODS: dict[str, Callable[[Series], Support]] = {"network": _network, "kmeans": _kmeans}


def outside_patient(
    support: np.ndarray, hu: np.ndarray, padding: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Find the voxels at `SUPPORT_HU` or below that are not near the patient: foam, linen, noise.

    Parameters
    ----------
    support : bool array (slices, rows, columns)
    hu : float array of that shape, in HU.
    padding : bool array of that shape, outside the field of view; excluded.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    bool array of that shape.
    """
    labels, count = ndimage.label((hu > SUPPORT_HU) & ~support, FACES)
    large = sum_by_label(labels, count) * np.prod(spacing_mm) >= 1000 * MIN_PATIENT_ML
    patient = fill_holes(large[labels], spacing_mm[1:])
    near = np.stack([dilate(one, SKIN_MM, spacing_mm[1:]) for one in patient])
    return ~near & (hu <= SUPPORT_HU) & ~padding
