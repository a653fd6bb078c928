"""Find the support in a series, by one of the methods, and say how sure it is."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from headrest.dicom import as_series
from headrest.dicom.nifti import needs_resampling
from headrest.dicom.series import Series
from headrest.hounsfield import AIR, DENSE_HU, PATIENT, SUPPORT
from headrest.segment.bound import bound_ml, expected_ml, measure_appearance, read_calibration
from headrest.segment.labels import label_series, patient_mask
from headrest.segment.morphology import ABSENT, FREE, TOUCHING, dilate, partial_volume_boundary
from headrest.segment.predict import series_probability
from headrest.segment.pretrained import load_pretrained, weights_hash
from headrest.segment.refine import confidence, refine, states
from headrest.util import HeadrestError, counted, require

SKIN_MM = 1.0
"""Voxels this near to the patient are kept when everything outside is blanked: the width of a soft
edge."""


@dataclass(frozen=True, eq=False)
class Support:
    """The support found in a series, and the patient beside it.

    Attributes
    ----------
    mask : bool array (slices, rows, columns), the support; by K-Means, dense support only.
    boundary : bool array of that shape, the partial-volume boundary between support and air.
    patient : bool array of that shape, with the air that it encloses in each slice.
    states : tuple of str, for each slice "free", "touching" (dense support) or "absent".
    confidence : tuple of float, for each slice the expected Dice of the dense support, 0 to 1;
        empty for a method without probabilities.
    probability : float16 array of that shape, 0 to 1, of support, or None for such a method. It
        is the network's, before refinement and boundary: no threshold gives the mask.
    expected_lost_ml, expected_residual_ml : tuple of float, for each slice the removed patient,
        of dense voxels, and the residual support that the probabilities expect, in ml.
    bound_ml : float, removed patient of the series that is not exceeded in 95 % of series like
        those of the calibration (`headrest.segment.bound`), synthetic ones; None for others.
    """

    mask: np.ndarray
    boundary: np.ndarray
    patient: np.ndarray
    states: tuple[str, ...]
    confidence: tuple[float, ...] = ()
    probability: np.ndarray | None = None
    expected_lost_ml: tuple[float, ...] = ()
    expected_residual_ml: tuple[float, ...] = ()
    bound_ml: float | None = None

    @property
    def labels(self) -> np.ndarray:
        """Label image, uint8 array: 0 background, 1 support with its boundary, 2 patient."""
        return np.where(self.removed, np.uint8(SUPPORT), self.patient * np.uint8(PATIENT))

    @property
    def removed(self) -> np.ndarray:
        """Voxels that cleaning fills with air: support and boundary, bool array."""
        return self.mask | self.boundary

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.states.count(s)} {s}" for s in (FREE, TOUCHING, ABSENT))
        return f"Support({counted(len(self.states), 'slice')}: {counts})"


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
    Support(1 slice: 1 free, 0 touching, 0 absent)
    >>> support.mask.shape
    (1, 512, 512)
    >>> hu, spacing_mm = series.hu, series.spacing_mm
    >>> find_support(hu, method="kmeans", spacing_mm=spacing_mm)
    Support(1 slice: 1 free, 0 touching, 0 absent)
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
    patient = patient_mask(series.hu, mask, series.spacing_mm)
    found = states(mask, patient, series.hu, series.spacing_mm)
    return Support(mask, np.zeros_like(mask), patient, found)


def check_method(name: str, weights: str | Path | None = None, provider: str | None = None) -> None:
    """Raise a HeadrestError if a method, its weights or the provider cannot be used."""
    if name not in METHODS:
        raise HeadrestError(f"no method {name!r}; choose one of: {', '.join(METHODS)}")
    if name == "network":
        require("onnxruntime", ", or choose the method kmeans")
    if weights is not None or provider is not None:
        if name != "network":
            raise HeadrestError(f"the method {name!r} has no weights and no provider")
        load_pretrained(weights, provider)


def describe(name: str, weights: str | Path | None = None) -> str:
    """Describe a method, with its weights, for the derived series."""
    return f"method={name}" + (f" weights={weights_hash(weights)}" if name == "network" else "")


def _kmeans(series):
    labels = label_series(series.hu, series.spacing_mm)
    mask = np.stack([label.mask for label in labels])
    boundary = _boundary(series, mask, [label.threshold for label in labels])
    patient = patient_mask(series.hu, mask, series.spacing_mm)
    return Support(mask, boundary, patient, tuple(label.state for label in labels))


def _network(series, weights=None, provider=None):
    hu, spacing_mm = series.hu, series.spacing_mm
    probability = series_probability(hu, spacing_mm, load_pretrained(weights, provider))
    mask, patient = refine(probability, hu, spacing_mm)
    boundary = _boundary(series, mask, [DENSE_HU] * len(series))
    # One slice at a time, to save memory.
    slices = list(zip(probability, mask, boundary, hu))
    lost_ml = expected_ml((1 - p[(m | b) & (h > DENSE_HU)] for p, m, b, h in slices), spacing_mm)
    # Most are 0, and float16 is compared as integers: 20 times as fast.
    left = (p[(p.view(np.uint16) > 0) & ~(m | b)] for p, m, b, _ in slices)
    appearance = measure_appearance(hu, patient, spacing_mm)
    sure = (np.where(h > DENSE_HU, p, np.float16(0)) for p, _, _, h in slices)
    return Support(
        mask,
        boundary,
        patient,
        states(mask, patient, hu, spacing_mm),
        confidence(sure, (m & (h > DENSE_HU) for _, m, _, h in slices), spacing_mm),
        probability,
        lost_ml,
        expected_ml(left, spacing_mm),
        bound_ml(lost_ml, appearance, read_calibration(weights_hash(weights))),
    )


def _boundary(series, mask, thresholds):
    slices = zip(mask, series.hu, thresholds)
    mm = series.spacing_mm[1:]
    return np.stack([partial_volume_boundary(one, hu, mm, t) for one, hu, t in slices])


METHODS: dict[str, Callable[[Series], Support]] = {"network": _network, "kmeans": _kmeans}


def outside_patient(patient: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Find the voxels that are neither patient nor within `SKIN_MM` of them, the soft edge.

    Parameters
    ----------
    patient : bool array (slices, rows, columns)
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    bool array of that shape.
    """
    return ~np.stack([dilate(one, SKIN_MM, spacing_mm[1:]) for one in patient])


def crop_to_patient(
    series: Any,
    support: Support,
    margin_mm: float = 5.0,
    spacing_mm: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Crop a series to the patient that `find_support` found; the support is filled with air.

    Parameters
    ----------
    series : Series, path, nibabel image, or array of HU (slices, rows, columns)
    support : Support
        Found in this series.
    margin_mm : float
        Kept around the patient in every direction, 0 or more mm, as far as the image reaches.
    spacing_mm : (z, y, x), in mm; for an array.

    Returns
    -------
    hu : float32 array (slices, rows, columns), in HU.
    origin : float array (x, y, z), in mm
        Position of its first voxel: in the coordinates of the patient as in DICOM (left,
        posterior, superior), which is the origin of an image of ITK; from the first voxel of the
        array for an array. The axes are those of `Series.orientation`.

    Raises
    ------
    HeadrestError
        Where there is no patient, the support is of another series, or the margin is below 0.

    Warns
    -----
    UserWarning
        For uneven or sheared slices: an image has evenly spaced slices without shear.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from headrest import read_series
    >>> series = read_series(get_testdata_file("693_UNCR.dcm", download=False))
    >>> hu, origin = crop_to_patient(series, find_support(series, method="kmeans"))
    >>> series.hu.shape, hu.shape
    ((1, 512, 512), (1, 382, 307))
    """
    series = as_series(series, spacing_mm)
    if support.patient.shape != series.stored.shape:
        shapes = f"of {support.patient.shape} for slices of {series.stored.shape}"
        raise HeadrestError(f"a support {shapes}: pass the series in which it was found")
    if not 0 <= margin_mm < np.inf:
        raise HeadrestError(f"a margin of {margin_mm:g} mm: choose 0 or more")
    if not support.patient.any():
        raise HeadrestError("no patient found: nothing to crop to")
    if needs_resampling(series):
        warnings.warn(
            "slices are uneven or sheared, which an image of ITK cannot hold: to register, use "
            "cleaned-resampled.nii.gz of `clean --nifti-resample`",
            stacklevel=2,
        )
    (around,) = ndimage.find_objects(support.patient.view(np.uint8))
    reach = [int(np.ceil(margin_mm / mm)) for mm in series.spacing_mm]
    box = tuple(slice(max(s.start - n, 0), s.stop + n) for s, n in zip(around, reach))
    hu = np.where(support.removed, np.float32(AIR), series.hu)[box]
    across, down = series.orientation.reshape(2, 3)
    _, y_mm, x_mm = series.spacing_mm
    first = series.positions[box[0].start]
    return hu, first + across * x_mm * box[2].start + down * y_mm * box[1].start
