"""What the operator chose: slices, thickness, tilt, field of view, padding, orientation."""

import numpy as np

from headrest.phantom.materials import chance, draw

RANGES = {
    "coverage_mm": (125.0, 235.0),
    "neck_coverage_mm": (230.0, 340.0),
    "above_mm": (-12.0, 28.0),
    "fov_mm": (195.0, 290.0),
    "wide_fov_mm": (290.0, 500.0),
    "neck_fov_mm": (250.0, 460.0),
    "x_mm": (-14.0, 14.0),
    "y_mm": (-22.0, 22.0),
    "tilt_deg": (-24.0, 24.0),
    "gap_jitter": (0.02, 0.3),
    "hu_offset": (-6.0, 6.0),
}
CHEST = {
    "coverage_mm": (200.0, 290.0),
    "above_mm": (20.0, 60.0),
    "fov_mm": (330.0, 430.0),
    "wide_fov_mm": (400.0, 500.0),
    "y_mm": (-10.0, 30.0),
}
THICKNESS = (0.625, 1.0, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0, 5.0, 5.0, 7.0, 8.0, 10.0)
PADDING = {"none": 0.34, "-1024": 0.12, "-2000": 0.2, "-1500": 0.12, "-3024": 0.22}


def draw_protocol(rng, matrix, slices, tall_mm, region):
    """Draw a protocol for a head whose vertex stands `tall_mm` above its origin."""
    p = draw(rng, RANGES | (CHEST if region == "chest" else {}))
    p["matrix"] = int(rng.choice([512, 256, 768], p=[0.86, 0.08, 0.06]))
    p["matrix"] = int(matrix or p["matrix"])
    fov = p["wide_fov_mm"] if chance(rng, 0.14) else p["fov_mm"]
    p["with_neck"] = chance(rng, 0.14) and region == "head"
    if p["with_neck"]:
        p["coverage_mm"], fov = p["neck_coverage_mm"], p["neck_fov_mm"]
    fov = fov * 0.8 if chance(rng, 0.06) else fov
    limits = (0.35, 1.0) if p["matrix"] >= 256 else (0.0, 99.0)
    p["pixel_mm"] = round(float(np.clip(fov / p["matrix"], *limits)), 4)
    p["thickness_mm"] = float(rng.choice(THICKNESS))
    p["tilt"] = round(p["tilt_deg"], 1) if chance(rng, 0.35) else 0.0
    p["uneven"], uneven = chance(rng, 0.16), rng.uniform(-1, 1, 400)
    p["prone"], p["upside_down"], p["mirrored"] = (
        chance(rng, 0.04) and region == "head",
        chance(rng, 0.06),
        chance(rng, 0.04),
    )
    p["padding"] = str(rng.choice(list(PADDING), p=list(PADDING.values())))
    p["tagged"] = p["padding"] != "none" and chance(rng, 0.5)
    p["offset"] = round(p["hu_offset"]) if chance(rng, 0.4) else 0
    step = max(p["thickness_mm"], 0.6)
    count = int(slices or np.clip(round(p["coverage_mm"] / step), 12, 40))
    step = p["coverage_mm"] / count if slices else step
    start = tall_mm + p["above_mm"] - step * (count - 1)
    # A few slices stand anywhere in the coverage, not always at its top.
    start -= float(rng.uniform(0, step if slices else max(p["coverage_mm"] - step * count, 0)))
    gaps = step * (1 + (p["gap_jitter"] * uneven[:count] if p["uneven"] else 0 * uneven[:count]))
    p["z_mm"] = [round(float(v), 3) for v in start + np.concatenate([[0], np.cumsum(gaps[:-1])])]
    p["step_mm"] = round(step, 4)
    deep = p["padding"] in ("-1500", "-2000", "-3024")
    p["lossy_ratio"] = round(float(rng.uniform(8, 16)), 1) if chance(rng, 0.12) and deep else 0.0
    return p


def image_axes(protocol):
    """Row direction, column direction and normal of the slices in the table frame."""
    tilt = np.deg2rad(protocol["tilt"])
    across, down = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    return across, down, np.cross(across, down)


def corner(protocol, index):
    """Table position in mm of the centre of the first voxel of a slice (before any flip)."""
    _across, down, _ = image_axes(protocol)
    half = protocol["pixel_mm"] * (protocol["matrix"] - 1) / 2
    return np.array([-half, 0, protocol["z_mm"][index]]) - down * half
