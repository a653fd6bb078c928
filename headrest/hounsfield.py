"""Hounsfield units (HU): rescale, pixels outside the field of view, windows, input of networks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

# In HU.
AIR = -1000.0  # by definition of the scale
FLOOR = -1024.0  # every pixel outside the field of view is set to it
DENSE_HU = -500.0  # above: dense support; half-way to soft tissue. Foam and most covers are below
VISIBLE_HU = -800.0  # air with noise is below, covers and most cloth are above
AIR_LIKE_HU = -950.0  # support below, such as light foam, cannot be told from air: it is ignored
PADDING_BELOW = -1100.0  # below: padding, of -1500 to -3024 in most scanners; air with noise above
WIDE = (-300.0, 1400.0)  # Window Center and Width that show plastic, skin and bone apart from air

BACKGROUND, SUPPORT, PATIENT, NOT_SUPPORT, IGNORE_LABEL = 0, 1, 2, 3, 255
"""Values of label images: patient or support fills at least half of the voxel, or neither is in it.
`NOT_SUPPORT` is background or patient, which a mask of the support alone leaves open, or dense hair
and dressings of synthetic patients.
Losses and metrics ignore the rest: mixtures, support that reads like air, tubes and wires."""

DENSE_LABEL = 64  # added to labels of voxels above `DENSE_HU` in training: `headrest.train.losses`

INPUT_LOW_HU, INPUT_HIGH_HU = -1024.0, 600.0
"""Range of the network's input, to which HU are clipped. Air, foam, plastic, skin and the edge of
bone lie between; metal counts as bone."""


def rescale(stored: ArrayLike, slope: ArrayLike, intercept: ArrayLike) -> np.ndarray:
    """Turn stored values into HU: stored * slope + intercept (PS3.3 C.7.6.16.2.9, C.11.1.1.2).

    Parameters
    ----------
    stored : array of int
        Stored values of one slice (rows, columns) or of a series (slices, rows, columns).
    slope, intercept : float, or array of shape (slices,)
        Rescale Slope (0028,1053) and Rescale Intercept (0028,1052), one pair per slice.

    Returns
    -------
    float32 array of the shape of `stored`, in HU.

    Examples
    --------
    >>> import numpy as np
    >>> rescale(np.array([[0, 1024]], np.uint16), 1, -1024)
    array([[-1024.,     0.]], dtype=float32)
    """
    per_slice = (-1,) + (1,) * (np.ndim(stored) - 1)
    m, b = (np.asarray(v, np.float32) for v in (slope, intercept))
    m, b = (v.reshape(per_slice) if v.ndim else v for v in (m, b))
    hu = np.multiply(stored, m, dtype=np.float32)
    hu += b
    return hu


def outside_field_of_view(hu: np.ndarray, padding: tuple[float, float] | None = None) -> np.ndarray:
    """Find the pixels of an array of HU that were not measured: bool array of its shape.

    `padding` is the lowest and highest HU of Pixel Padding Value (0028,0120) and Pixel Padding
    Range Limit (0028,0121), where the file has them. The tag alone is not enough: some scanners pad
    without it, and lossy compression changes the padding value. Therefore everything below
    `PADDING_BELOW` counts as well.

    >>> outside_field_of_view(np.array([-3024.0, -1000.0, -1200.0, 40.0]), (-3024.0, -3024.0))
    array([ True, False,  True, False])
    """
    outside = hu < PADDING_BELOW
    if padding is not None:
        low, high = padding
        outside |= (hu >= low) & (hu <= high)
    return outside


def window(hu: np.ndarray, center: float = 40.0, width: float = 400.0) -> np.ndarray:
    """Map HU to display values from 0 (black) to 1 (white), by LINEAR_EXACT (PS3.3 C.11.2.1.3.2).

    Parameters
    ----------
    hu : float array, in HU.
    center, width : float
        Window Center (0028,1050) and Window Width (0028,1051), in HU.

    Returns
    -------
    float array of the shape of `hu`.

    Examples
    --------
    >>> window(np.array([-1000.0, 40.0, 3000.0]))
    array([0. , 0.5, 1. ])
    """
    return np.clip((hu - center) / width + 0.5, 0.0, 1.0)


def scale(hu: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Scale HU to the input of the network: clip to -1024..600 HU, then map linearly to -1..1.

    Parameters
    ----------
    hu : array of any shape, in HU
    out : float32 array of that shape, optional, gets the result; a new array is made otherwise.

    Returns
    -------
    float32 array of that shape
        -1 at `INPUT_LOW_HU` and below, 0 at -212 HU, 1 at `INPUT_HIGH_HU` and above.

    Examples
    --------
    >>> scale(np.array([-3024, -1024, -212, 600, 3071]))
    array([-1., -1.,  0.,  1.,  1.], dtype=float32)
    """
    scaled = np.clip(np.asarray(hu, np.float32), INPUT_LOW_HU, INPUT_HIGH_HU, out=out)
    scaled -= (INPUT_LOW_HU + INPUT_HIGH_HU) / 2
    scaled *= 2 / (INPUT_HIGH_HU - INPUT_LOW_HU)
    return scaled


def fit_to_matrix(images: np.ndarray, matrix: int, fill: float) -> np.ndarray:
    """Pad or crop images (..., rows, columns) around their centre to (..., matrix, matrix).

    Examples
    --------
    >>> fit_to_matrix(np.ones((1, 2, 4)), 3, 0).sum(axis=2)
    array([[3., 3., 0.]])
    """
    out = np.full((*images.shape[:-2], matrix, matrix), fill, images.dtype)
    size = [min(n, matrix) for n in images.shape[-2:]]
    out[_centre(out, size)] = images[_centre(images, size)]
    return out


def crop(masks: np.ndarray, size: int | Sequence[int]) -> np.ndarray:
    """Crop the last two axes around their centre to (size, size), or to a shape: a view.

    Examples
    --------
    >>> crop(np.arange(16).reshape(4, 4), 2)
    array([[ 5,  6],
           [ 9, 10]])
    """
    return masks[_centre(masks, np.broadcast_to(size, 2))]


def _centre(images, size):
    first = [(whole - part) // 2 for whole, part in zip(images.shape[-2:], size)]
    return (..., *(slice(start, start + part) for start, part in zip(first, size)))
