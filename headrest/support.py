"""Find the support in a series, by one of the methods, and say how sure it is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from headrest.errors import HeadrestError
from headrest.hounsfield import DEVICE, FLOOR
from headrest.labels import label_series, soft_rim
from headrest.refine import confidence, largest_body, refine, states

SKIN_MM = 3.0
"""What lies so close to the patient is kept even where all the rest outside is blanked."""


@dataclass(frozen=True)
class Removal:
    """What a method takes out of a series.

    Attributes
    ----------
    device : bool array (slices, rows, columns), the support.
    rim : bool array of that shape, the soft rim around it, filled as well.
    states : tuple of str, for each slice "free", "touching" or "absent".
    confidence : tuple of float, for each slice the Dice that the method expects of itself, 0 to
        1; empty where it has no opinion.
    """

    device: np.ndarray
    rim: np.ndarray
    states: tuple[str, ...]
    confidence: tuple[float, ...] = ()

    @property
    def mask(self):
        """Everything that is filled: device and rim."""
        return self.device | self.rim


def find_support(series, method="network"):
    """Find the support in a series.

    Parameters
    ----------
    series : Series
    method : str
        "network": the network that ships (`headrest.predict`), and what the series adds to it
        (`headrest.refine`); it also takes what touches the patient.
        "kmeans": K-Means and connected components (`headrest.labels`). Where the support
        touches the patient it is left, and the slice says so.

    Returns
    -------
    Removal

    Raises
    ------
    HeadrestError
        For a method that does not exist, or one whose packages are not installed.
    """
    return choose_method(method)(series)


def choose_method(name):
    """Take a method by name.

    Raises
    ------
    HeadrestError
        Where there is none of that name.
    """
    if name not in METHODS:
        raise HeadrestError(f"no method {name!r}; there is: {', '.join(METHODS)}")
    return METHODS[name]


def _kmeans(series):
    labels = label_series(series.hu, series.spacing_mm)
    rims = [
        soft_rim(label.mask, hu, series.spacing_mm[1:], label.threshold)
        for label, hu in zip(labels, series.hu)
    ]
    kinds = tuple(label.state for label in labels)
    return Removal(np.stack([label.mask for label in labels]), np.stack(rims), kinds)


def _network(series):
    try:
        from headrest.predict import probability
        from headrest.shipped import shipped_network
    except ImportError as error:
        raise HeadrestError(
            f"{error}: install keras and tensorflow (or jax, or torch), or choose method kmeans"
        ) from error
    found = probability(series.hu, series.spacing_mm, shipped_network)
    device, body = refine(found, series.hu, series.spacing_mm)
    spacing_mm = series.spacing_mm[1:]
    rims = [soft_rim(mask, hu, spacing_mm, DEVICE) for mask, hu in zip(device, series.hu)]
    sure = confidence(found, device)
    return Removal(device, np.stack(rims), states(device, body, series.spacing_mm), sure)


METHODS: dict[str, Callable] = {"network": _network, "kmeans": _kmeans}


def outside_patient(removal, hu, spacing_mm):
    """Mark everything that is neither patient nor near to them: foam, linen, noise in air.

    Parameters
    ----------
    removal : Removal
    hu : float array (slices, rows, columns), in HU.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    bool array of that shape; nothing above `DEVICE` HU is in it, and nothing that was never
    measured.
    """
    body = largest_body(hu > DEVICE, removal.device)
    reach = [round(SKIN_MM / mm) for mm in spacing_mm[1:]]
    y, x = (np.arange(-n, n + 1) / max(n, 1) for n in reach)
    disc = (y[:, None] ** 2 + x[None] ** 2) <= 1
    near = np.stack([ndimage.binary_dilation(one, disc) for one in body])
    return ~near & (hu <= DEVICE) & (hu > FLOOR)
