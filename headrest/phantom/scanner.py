"""The acquisition: the protocol, the scanner and the artefacts that it adds to the true HU.

Beam hardening, metal and photon starvation are computed on projections: a slice is projected
coarsely, the errors of a real measurement are computed there, and only the errors are reconstructed
and added (De Man et al. 1999, IEEE Trans Nucl Sci 46:691; Hsieh, "Computed Tomography", 3rd ed.
2015, ch. 7).
"""

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from scipy import fft, ndimage, sparse

from headrest.phantom.ranges import RANGES, Parameters, choose, happens, sample

MATRIX_WEIGHTS = {"512": 0.86, "256": 0.08, "768": 0.06}
THICKNESS_MM = (0.625, 1.0, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0, 5.0, 5.0, 7.0, 8.0, 10.0)
PADDING_WEIGHTS = {"none": 0.34, "-1024": 0.12, "-2000": 0.2, "-1500": 0.12, "-3024": 0.22}

SMALLEST_LOSSY = 32  # rows, columns that OpenJPEG can encode with its five decompositions

METAL_EXCESS = 1.5  # metal absorbs more than the 12-bit CT numbers of `ranges.json` say
WATER_PER_MM = 0.0195  # linear attenuation of water at about 70 keV
PROJECTED_SIZE, ANGLES, BINS = 192, 150, 288  # pixels per side, views, detector bins per view


def sample_protocol(
    rng: Generator, matrix: int | None, slices: int | None, vertex_mm: float, region: str
) -> Parameters:
    """Sample the protocol for a patient whose vertex is `vertex_mm` above the origin."""
    p = sample(rng, RANGES["chest_protocol"] if region == "chest" else RANGES["protocol"])
    sampled = int(choose(rng, MATRIX_WEIGHTS))
    p["matrix"] = int(matrix or sampled)
    fov = p["wide_fov_mm"] if happens(rng, 0.14) else p["fov_mm"]
    p["with_neck"] = happens(rng, 0.14) and region == "head"
    if p["with_neck"]:
        p["coverage_mm"], fov = p["neck_coverage_mm"], p["neck_fov_mm"]
    fov = fov * 0.8 if happens(rng, 0.14 if region == "chest" else 0.08) else fov
    p["is_off_center"] = happens(rng, 0.1)
    if p["is_off_center"]:  # the border cuts chin, nose, ear or shoulder
        p["x_mm"], p["y_mm"] = p["off_center"]["side"] * p["off_center"]["x"], p["off_center"]["y"]
    limits = (0.35, 1.0) if p["matrix"] >= 256 else (0.0, 99.0)
    p["pixel_mm"] = round(float(np.clip(fov / p["matrix"], *limits)), 4)
    p["thickness_mm"] = float(rng.choice(THICKNESS_MM))
    p["tilt"] = round(p["tilt_deg"], 1) if happens(rng, 0.35) else 0.0
    p["uneven"], jitter = happens(rng, 0.16), rng.uniform(-1, 1, 400)
    p["prone"] = happens(rng, 0.04) and region == "head"
    p["upside_down"], p["mirrored"] = happens(rng, 0.06), happens(rng, 0.04)
    p["padding"] = choose(rng, PADDING_WEIGHTS)
    p["tagged"] = p["padding"] != "none" and happens(rng, 0.5)
    p["offset"] = round(p["hu_offset"]) if happens(rng, 0.4) else 0
    step = max(p["thickness_mm"], 0.6)
    count = int(slices or np.clip(round(p["coverage_mm"] / step), 12, 40))
    step = p["coverage_mm"] / count if slices else step
    start = vertex_mm + p["above_mm"] - step * (count - 1)
    # Few slices are anywhere in the coverage, not always at its top.
    start -= float(rng.uniform(0, step if slices else max(p["coverage_mm"] - step * count, 0)))
    gaps = step * (1 + (p["gap_jitter"] if p["uneven"] else 0) * np.resize(jitter, count))
    p["z_mm"] = [round(float(v), 3) for v in start + np.concatenate([[0], np.cumsum(gaps[:-1])])]
    p["step_mm"] = round(step, 4)
    is_deep = p["padding"] in ("-1500", "-2000", "-3024")
    is_lossy = happens(rng, 0.12) and is_deep and p["matrix"] >= SMALLEST_LOSSY
    p["lossy_ratio"] = round(float(rng.uniform(8, 16)), 1) if is_lossy else 0.0
    return p


def image_axes(protocol: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row direction, column direction and normal of the slices in the table frame."""
    tilt = np.deg2rad(protocol["tilt"])
    across, down = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    return across, down, np.cross(across, down)


def first_voxel(protocol: Parameters, index: int) -> np.ndarray:
    """Table position in mm of the center of the first voxel of a slice, before any flip."""
    _across, down, _normal = image_axes(protocol)
    half = protocol["pixel_mm"] * (protocol["matrix"] - 1) / 2
    return np.array([-half, 0, protocol["z_mm"][index]]) - down * half


def sample_scanner(rng: Generator) -> Parameters:
    """Sample a reconstruction kernel, a dose and the strength of artefacts."""
    scanner = sample(rng, RANGES["scanner"])
    scanner["kernel"] = "bone" if happens(rng, 0.2) else "soft"
    scanner["rings"] = happens(rng, 0.15)
    scanner["low_dose"] = happens(rng, 0.15)
    scanner["noisy_sharp"] = happens(rng, 0.06)
    if scanner["noisy_sharp"]:
        scanner["kernel"] = "bone"
    scanner["very_soft"] = scanner["kernel"] == "soft" and scanner["fwhm_mm"] > 1.5
    return scanner


def scan(
    truth: np.ndarray, scanner: Parameters, pixel_mm: float, thickness_mm: float, index: int
) -> np.ndarray:
    """Image (rows, columns) float32 of slice `index` from the true HU of its voxels."""
    rng = np.random.default_rng([scanner["seed"], index])
    error, strength = _projection_errors(truth, scanner, pixel_mm, rng)
    error = np.where(truth > 2000, np.maximum(error, 0), error)
    frequency, transfer = _transfer(truth.shape, scanner, pixel_mm)
    image = fft.irfft2(fft.rfft2(np.minimum(truth, 6000) + error) * transfer, s=truth.shape)
    image += scanner["lift_hu"] * np.clip(image * (-1 / 1000), 0, 1)
    spectrum = np.sqrt(frequency + 0.02) * transfer
    image += _noise(strength, scanner, spectrum, thickness_mm, rng)
    if scanner["rings"]:
        image += _rings(truth.shape, scanner)
    return image


def _transfer(shape, scanner, pixel_mm):
    """Spatial frequencies of an image, and the modulation transfer of the kernel at them: a
    Gaussian with a lift of the middle frequencies."""
    down, across = fft.fftfreq(shape[0], pixel_mm), fft.rfftfreq(shape[1], pixel_mm)
    frequency = np.hypot(down[:, None], across[None]).astype(np.float32)
    bone = "bone_" if scanner["kernel"] == "bone" else ""
    fwhm, edge = scanner[f"{bone}fwhm_mm"], scanner[f"{bone}edge"]
    spot = np.exp(-((np.pi * fwhm * frequency) ** 2) / (4 * np.log(2)))
    return frequency, spot * (1 + edge * (frequency * fwhm * 2) ** 2)


def _projection_errors(truth, scanner, pixel_mm, rng):
    """Streaks, dark bands and cupping in HU, and the relative strength of noise."""
    small = truth
    while small.shape[0] >= 2 * PROJECTED_SIZE:  # average blocks of four pixels
        small = small[: len(small) // 2 * 2, : len(small) // 2 * 2]
        small = 0.25 * (small[::2, ::2] + small[1::2, ::2] + small[::2, 1::2] + small[1::2, 1::2])
    small = ndimage.zoom(small, PROJECTED_SIZE / small.shape[0], order=1)
    mm = pixel_mm / (PROJECTED_SIZE / truth.shape[0])
    dense = np.maximum(1 + small / 1000, 0)
    parts = [dense, np.maximum(small - 150, 0) / 1000, np.maximum(small - 2600, 0) / 1000]
    forward, empty = _projection_matrix().T, np.zeros(ANGLES * BINS, np.float32)
    lines = np.stack([forward @ one.ravel() if one.any() else empty for one in parts])
    lines = lines.reshape(-1, ANGLES, BINS) * np.float32(mm)
    total, bone, metal = lines * WATER_PER_MM
    # Beyond the water correction, bone makes line integrals too small.
    bone_error = -0.045 * bone * (total + 0.6 * bone) / (1 + 0.05 * bone**2 + 0.02 * bone)
    # Metal lets few photons through, and every view has an error of its own.
    true = (1 + METAL_EXCESS) * metal
    seen = 1.5 * (1 - np.exp(-true / 1.5))
    metal_error = seen - true + 0.12 * true * rng.standard_normal((ANGLES, 1), np.float32)
    errors = scanner["hardening"] * (bone_error + metal_error)
    photons = np.exp(-np.minimum(total + METAL_EXCESS * metal, 14.0))
    noise = rng.standard_normal(total.shape, np.float32) * np.sqrt(1 / photons)
    starved = noise * 4e-4 * scanner["starvation"]
    error = _reconstruct(errors + starved, mm) / WATER_PER_MM * 1000
    glow = ndimage.gaussian_filter(np.minimum(dense, 1.5), 9) * np.clip(-small / 1000, 0, 1)
    error += scanner["glow_hu"] * glow
    air = dense < 0.05
    if air.any():  # scanners are calibrated on air: its median is -1000 HU
        error -= np.median(error[air])
    strength = np.sqrt(np.maximum(_back_project(1 / photons) / ANGLES, 0)).astype(np.float32)
    zoom = truth.shape[0] / PROJECTED_SIZE
    return ndimage.zoom(error, zoom, order=1), ndimage.zoom(strength, zoom, order=1)


def _noise(strength, scanner, spectrum, thickness_mm, rng):
    """Noise with the spectrum of filtered back-projection (ramp times kernel), weak in air."""
    white = fft.rfft2(rng.standard_normal(strength.shape, np.float32))
    noise = fft.irfft2(white * spectrum, s=strength.shape)
    noise *= 1 / max(float(noise.std()), 1e-6)
    level = scanner["noise_hu"] * np.sqrt(3.0 / max(thickness_mm, 0.6))
    level *= scanner["bone_noise"] if scanner["kernel"] == "bone" else 1
    level = min(level * (2.5 if scanner["low_dose"] else 1), 60.0)
    if scanner["noisy_sharp"]:
        level = scanner["sharp_noise_hu"] * min(np.sqrt(1.25 / thickness_mm), 1.0)
    relative = strength / max(float(np.percentile(strength, 98)), 1e-6)
    air = 0.5 * scanner["air_noise"]
    return noise * (np.float32(level) * (air + (1 - air) * relative))


def _rings(shape, scanner):
    """Faint rings of badly calibrated detector cells around the middle of the image."""
    rng = np.random.default_rng(scanner["seed"] + 1)
    rows, columns = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape)
    radius = np.hypot(rows[:, None], columns[None])
    count = int(radius.max()) + 2
    cells = rng.standard_normal(count) * (rng.random(count) < 0.12) * scanner["rings_hu"]
    return np.interp(radius, np.arange(count), cells).astype(np.float32)


@lru_cache(maxsize=1)
def _projection_matrix():
    """Sparse matrix (pixels, views * bins), two detector bins per pixel and view."""
    size = PROJECTED_SIZE
    y, x = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    columns, weights = [], []
    for number, angle in enumerate(np.arange(ANGLES) * np.pi / ANGLES):
        place = (x * np.cos(angle) + y * np.sin(angle) + (BINS - 1) / 2).ravel()
        left = np.floor(place).astype(np.int32)
        columns += [number * BINS + left, number * BINS + left + 1]
        weights += [1 - (place - left), place - left]
    pointers = np.arange(size * size + 1, dtype=np.int32) * 2 * ANGLES
    data = np.stack(weights, 1).astype(np.float32).ravel()
    shape = (size * size, ANGLES * BINS)
    return sparse.csr_matrix((data, np.stack(columns, 1).ravel(), pointers), shape=shape)


def _reconstruct(lines, pixel_mm):
    """Filtered back-projection (size, size) of line integrals (views, bins), in values per mm."""
    hann = np.hanning(4 * BINS)[2 * BINS : 3 * BINS + 1].astype(np.float32)
    ramp = abs(fft.rfftfreq(2 * BINS)).astype(np.float32) * hann
    filtered = fft.irfft(fft.rfft(lines, 2 * BINS, axis=-1) * ramp, axis=-1)[..., :BINS]
    return _back_project(filtered) * np.float32(np.pi / ANGLES / pixel_mm)


def _back_project(lines):
    """Back-projection (size, size), summed over the views."""
    return (_projection_matrix() @ lines.ravel()).reshape(PROJECTED_SIZE, PROJECTED_SIZE)
