"""From what lies in the voxels to what a scanner shows of it: kernels, noise, streaks, cupping,
rings."""

import numpy as np
from scipy import fft, ndimage

from headrest.phantom import projector
from headrest.phantom.materials import chance, draw

RANGES = {
    "fwhm_mm": (0.75, 1.5),
    "bone_fwhm_mm": (0.45, 0.75),
    "edge": (0.0, 0.35),
    "bone_edge": (0.2, 0.9),
    "noise_hu": (1.3, 6.0),
    "bone_noise": (2.0, 6.0),
    "air_noise": (0.25, 0.9),
    "hardening": (0.15, 1.0),
    "starvation": (0.2, 1.4),
    "rings_hu": (1.0, 7.0),
    "seed": (0, 10**9),
    "lift_hu": (-2.0, 5.0),
    "glow_hu": (0.0, 12.0),
}
METAL_EXCESS = 1.5  # the 12-bit table of materials understates what metal really absorbs


def draw_scanner(rng):
    """Draw a reconstruction kernel, a dose and the faults of a scanner."""
    scanner = draw(rng, RANGES)
    scanner["kernel"] = "bone" if chance(rng, 0.2) else "soft"
    scanner["rings"] = chance(rng, 0.15)
    scanner["low_dose"] = chance(rng, 0.15)
    return scanner


def scan(truth, scanner, pixel_mm, thickness_mm, index):
    """Image of one slice (rows, columns) float32 from the true HU in its voxels."""
    rng = np.random.default_rng([scanner["seed"], index])
    error, spread = _projection_errors(truth, scanner, pixel_mm, rng)
    error = np.where(truth > 2000, np.maximum(error, 0), error)
    image = _sharpen(np.minimum(truth, 6000) + error, scanner, pixel_mm)
    image += scanner["lift_hu"] * np.clip(image * (-1 / 1000), 0, 1)
    image += _noise(truth.shape, spread, scanner, pixel_mm, thickness_mm, rng)
    if scanner["rings"]:
        image += _rings(truth.shape, scanner)
    return image


def _frequencies(shape, pixel_mm):
    return np.hypot(
        fft.fftfreq(shape[0], pixel_mm)[:, None], fft.rfftfreq(shape[1], pixel_mm)[None]
    ).astype(np.float32)


def transfer(frequency, scanner):
    """Modulation transfer of the kernel: a Gaussian with a lift of the middle frequencies."""
    bone = scanner["kernel"] == "bone"
    fwhm = scanner["bone_fwhm_mm" if bone else "fwhm_mm"]
    edge = scanner["bone_edge" if bone else "edge"]
    spot = np.exp(-((np.pi * fwhm * frequency) ** 2) / (4 * np.log(2)))
    return spot * (1 + edge * (frequency * fwhm * 2) ** 2)


def _sharpen(image, scanner, pixel_mm):
    spectrum = fft.rfft2(image) * transfer(_frequencies(image.shape, pixel_mm), scanner)
    return fft.irfft2(spectrum, s=image.shape)


def _projection_errors(truth, scanner, pixel_mm, rng):
    """Streaks, dark bands and cupping in HU, and the relative strength of noise over the slice."""
    scale = projector.SIZE / truth.shape[0]
    small = _binned(truth)
    small = ndimage.zoom(small, projector.SIZE / small.shape[0], order=1)
    mm = pixel_mm / scale
    dense = np.maximum(1 + small / 1000, 0)
    kinds = np.stack([dense, np.maximum(small - 150, 0) / 1000, np.maximum(small - 2600, 0) / 1000])
    total, bone, metal = projector.project(kinds, mm) * projector.WATER_PER_MM
    errors = scanner["hardening"] * (_bone_error(total, bone) + _metal_error(metal, rng))
    photons = np.exp(-np.minimum(total + METAL_EXCESS * metal, 14.0))
    starved = (
        rng.standard_normal(total.shape, np.float32)
        * np.sqrt(1 / photons)
        * 4e-4
        * scanner["starvation"]
    )
    error = projector.reconstruct(errors + starved, mm)[0] / projector.WATER_PER_MM * 1000
    glow = ndimage.gaussian_filter(np.minimum(dense, 1.5), 9) * np.clip(-small / 1000, 0, 1)
    error += scanner["glow_hu"] * glow
    air = dense < 0.05
    if air.any():  # scanners are calibrated on air, so on the whole it reads -1000 HU
        error -= np.median(error[air])
    strength = np.sqrt(np.maximum(projector.spread(1 / photons), 0))
    zoom = truth.shape[0] / projector.SIZE
    return ndimage.zoom(error, zoom, order=1), ndimage.zoom(
        strength.astype(np.float32), zoom, order=1
    )


def _bone_error(total, bone):
    """Line integrals that bone makes too small, beyond what the water correction repairs."""
    return -0.045 * bone * (total + 0.6 * bone) / (1 + 0.05 * bone**2 + 0.02 * bone)


def _metal_error(metal, rng):
    """Metal lets no more than a few photons through, and every view of it errs in its own way."""
    true = (1 + METAL_EXCESS) * metal
    seen = 1.5 * (1 - np.exp(-true / 1.5))
    return seen - true + 0.12 * true * rng.standard_normal((len(metal), 1), np.float32)


def _binned(truth):
    """Halve a matrix until it is less than twice the projector's."""
    while truth.shape[0] >= 2 * projector.SIZE:
        truth = 0.25 * (truth[::2, ::2] + truth[1::2, ::2] + truth[::2, 1::2] + truth[1::2, 1::2])
    return truth


def _noise(shape, strength, scanner, pixel_mm, thickness_mm, rng):
    """Noise with the spectrum of filtered back-projection (ramp times kernel), weak in air, strong
    in the middle."""
    frequency = _frequencies(shape, pixel_mm)
    colour = np.sqrt(frequency + 0.02) * transfer(frequency, scanner)
    white = fft.rfft2(rng.standard_normal(shape, np.float32))
    noise = fft.irfft2(white * colour, s=shape)
    noise *= 1 / max(float(noise.std()), 1e-6)
    level = scanner["noise_hu"] * np.sqrt(3.0 / max(thickness_mm, 0.6))
    level *= scanner["bone_noise"] if scanner["kernel"] == "bone" else 1
    level *= 2.5 if scanner["low_dose"] else 1
    relative = strength / max(float(np.percentile(strength, 98)), 1e-6)
    return noise * (
        min(level, 60.0)
        * (0.5 * scanner["air_noise"] + (1 - 0.5 * scanner["air_noise"]) * relative)
    )


def _rings(shape, scanner):
    """Faint rings of badly calibrated detector cells around the middle of the image."""
    rng = np.random.default_rng(scanner["seed"] + 1)
    rows, columns = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape)
    radius = np.hypot(rows[:, None], columns[None])
    cells = (
        rng.standard_normal(int(radius.max()) + 2)
        * (rng.random(int(radius.max()) + 2) < 0.12)
        * scanner["rings_hu"]
    )
    return np.interp(radius, np.arange(len(cells)), cells).astype(np.float32)


def archived(hu, ratio):
    """A slice (rows, columns) int16 as a lossy archive gives it back: JPEG 2000 rings where the
    padding ends."""
    from openjpeg.utils import decode, encode_array

    return decode(encode_array(hu, compression_ratios=[ratio], use_mct=False))
