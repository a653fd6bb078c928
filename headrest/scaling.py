"""What a network sees of HU, and of labels."""

import numpy as np
from numpy.typing import ArrayLike

UNJUDGED = 255
"""Label of pixels that no loss looks at: by definition nothing at `DEVICE_HU` HU or below is
labelled, so nothing is to be learned there, nor of pixels that a support shares with air."""

LOW, HIGH = -1024.0, 600.0
"""HU that a network sees; everything below or above is set to these. Air, foam, plastic, skin
and the edge of bone lie between, and metal counts as bone."""


def scale(hu: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Clip HU to `LOW`..`HIGH` and scale them to -1..1.

    Parameters
    ----------
    hu : array of any shape, in HU.
    out : float32 array of that shape, optional; where the result goes.

    Returns
    -------
    float32 array of that shape.

    Examples
    --------
    >>> scale(np.array([-3024, -1024, -212, 600, 3071]))
    array([-1., -1.,  0.,  1.,  1.], dtype=float32)
    """
    scaled = np.clip(np.asarray(hu, np.float32), LOW, HIGH, out=out)
    scaled -= (LOW + HIGH) / 2
    scaled *= 2 / (HIGH - LOW)
    return scaled
