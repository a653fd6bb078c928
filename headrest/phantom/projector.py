"""A small parallel-beam scanner: what beam hardening, metal and starved detectors do to an image.

A slice is projected coarsely, the errors that a real measurement would make are computed on the
projections, and only the errors are reconstructed and added (De Man et al. 1999, IEEE Trans Nucl
Sci 46:691; Hsieh, "Computed Tomography", 3rd ed. 2015, ch. 7).
"""

from functools import lru_cache

import numpy as np
from scipy import fft, sparse

SIZE, ANGLES = 192, 150
BINS = 288
WATER_PER_MM = 0.0195


@lru_cache(maxsize=1)
def _system():
    """Sparse matrix (SIZE*SIZE, ANGLES*BINS) with two detector bins per pixel and angle, and its
    transpose."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) - (SIZE - 1) / 2
    columns, weights = [], []
    for number, angle in enumerate(np.arange(ANGLES) * np.pi / ANGLES):
        place = (x * np.cos(angle) + y * np.sin(angle) + (BINS - 1) / 2).ravel()
        left = np.floor(place).astype(np.int32)
        columns += [number * BINS + left, number * BINS + left + 1]
        weights += [1 - (place - left), place - left]
    pointers = np.arange(SIZE * SIZE + 1, dtype=np.int32) * 2 * ANGLES
    data = np.stack(weights, 1).astype(np.float32).ravel()
    back = sparse.csr_matrix(
        (data, np.stack(columns, 1).ravel(), pointers), shape=(SIZE * SIZE, ANGLES * BINS)
    )
    return back.T, back


def project(image, pixel_mm):
    """Line integrals (ANGLES, BINS) of one or more images (n, SIZE, SIZE) of values per mm."""
    forward, _ = _system()
    lines = [
        forward @ one.ravel() if one.any() else np.zeros(ANGLES * BINS, np.float32) for one in image
    ]
    return np.stack(lines).reshape(len(image), ANGLES, BINS) * np.float32(pixel_mm)


def reconstruct(errors, pixel_mm):
    """Filtered back-projection of line integrals, as values per mm."""
    _, back = _system()
    ramp = abs(fft.rfftfreq(2 * BINS)).astype(np.float32) * np.hanning(4 * BINS)[
        2 * BINS : 3 * BINS + 1
    ].astype(np.float32)
    filtered = fft.irfft(fft.rfft(errors, 2 * BINS, axis=-1) * ramp, axis=-1)[..., :BINS]
    flat = np.ascontiguousarray(filtered.reshape(-1, ANGLES * BINS).T)
    return (back @ flat).T.reshape(-1, SIZE, SIZE) * np.float32(np.pi / ANGLES / pixel_mm)


def spread(values):
    """Plain back-projection, averaged over the angles: (SIZE, SIZE)."""
    _, back = _system()
    return (back @ values.ravel()).reshape(SIZE, SIZE) / ANGLES
