"""A synthetic study: sample all parameters, render the patient on supports, and scan it."""

import dataclasses
from typing import Any

import numpy as np
from scipy import ndimage

from headrest.hounsfield import AIR_LIKE_HU, DENSE_HU, IGNORE_LABEL, NOT_SUPPORT, PATIENT, SUPPORT
from headrest.phantom import chest_limbs, head, plastic, scanner, supports
from headrest.phantom.positioning import ANATOMY, Layout
from headrest.phantom.ranges import LIVING, Parameters, choose, happens
from headrest.util import HeadrestError

KIND_WEIGHTS = {"adult": 0.53, "old": 0.19, "child": 0.14, "plastic": 0.11, "water": 0.03}

LIMBS = 0.04  # share of living heads with an arm or a hand beside them, where none is asked for

# Each part has a random stream of its own, so that a new part does not change the others.
STREAMS = ("anatomy", "supports", "protocol", "scanner", "foreign_objects", "limbs")

# Foreign objects and supports of metal.
METAL = {"wires", "electrodes", "staples", "earrings", "bolts", "skull_clamp", "cables"}


def effects(p: Parameters) -> dict[str, Any]:
    """Names of what may occur besides the supports, and whether it does in sampled parameters."""
    kind, anatomy, protocol, scanner = (p[n] for n in ("kind", "anatomy", "protocol", "scanner"))
    is_living, present = kind in LIVING, p["foreign_objects"]["present"]
    fillings = kind in ("adult", "old") and anatomy["face"]["fillings"] > 0
    shapes = [anatomy["ears"][side]["shape"] for side in ("left", "right")] if is_living else []
    field_mm, padding = protocol["pixel_mm"] * protocol["matrix"], protocol["padding"]
    listed = p["support_parameters"]["list"]
    foams, single_cover = [f for f in listed if f["name"] in supports.FOAMS], supports.SINGLE_COVER
    masks = [one for one in listed if one["name"] == "thermoplastic_mask"]
    return {
        "soft_kernel": scanner["kernel"] == "soft",
        "bone_kernel": scanner["kernel"] == "bone",
        "very_soft_kernel": scanner["very_soft"],
        "noisy_sharp_kernel": scanner["noisy_sharp"],
        "low_dose": scanner["low_dose"],
        "rings": scanner["rings"],
        "cupping": scanner["hardening"] > 0.4 and is_living,
        "metal_streaks": fillings or METAL & {*present, *p["supports"]},
        "gantry_tilt": protocol["tilt"] != 0,
        "uneven_gaps": protocol["uneven"],
        "thin_slices": protocol["thickness_mm"] < 1.5,
        "thick_slices": protocol["thickness_mm"] >= 5,
        "padding_tagged": protocol["tagged"],
        "padding_untagged": padding != "none" and not protocol["tagged"],
        "padding_ringing": protocol["lossy_ratio"] > 0,
        "no_padding": padding == "none",
        "truncation": field_mm < 200,
        "off_center": protocol["is_off_center"],
        "wide_field": field_mm > 300,
        "head_and_neck": protocol["with_neck"],
        "matrix_256": protocol["matrix"] == 256,
        "matrix_768": protocol["matrix"] == 768,
        "prone": protocol["prone"],
        "upside_down": protocol["upside_down"],
        "mirrored": protocol["mirrored"],
        "hu_offset": protocol["offset"] != 0,
        "slices_without_head": protocol["above_mm"] > protocol["step_mm"],
        "child": kind == "child",
        "newborn": kind == "child" and anatomy["width"] < 0.7,
        "old": kind == "old",
        "plastic_skull": kind == "plastic",
        "plastic_stand": anatomy.get("phantom", {}).get("stand", "none") != "none",
        "water_cylinder": kind == "water",
        "turned_head": abs(anatomy["turn_deg"]) > 15,
        "craniotomy": is_living and anatomy["skull"]["craniotomy"],
        "brain_lesion": is_living and anatomy["brain"]["lesion"],
        "fillings": fillings,
        "ear_flattened": "flattened" in shapes,
        "ear_folded": "folded" in shapes,
        "ear_folded_forward": "forward" in shapes,
        "ear_protruding": is_living and anatomy["ears"]["left"]["protrusion_deg"] > 30,
        "one_ear_higher": abs(anatomy["lean_deg"]) > 6,
        "shoulder_tips": is_living and anatomy["neck"]["has_tips"],
        "limbs": p["limbs"],
        **{name: name in present for name in plastic.FOREIGN_OBJECTS},
        **{f"contact_{k}": p["contact_kind"] == k for k, w in supports.CONTACT.items() if w},
        "bead_foam": any(one["grain_hu"] > 15 for one in foams),
        "bright_foam": any(one["foam_hu"] > -850 and not one["cover_mm"] for one in foams),
        "bare_foam": any(not one["cover_mm"] for one in foams),
        "thin_cover": any(0 < one["cover_mm"] < 1.5 for one in foams),
        "double_cover": any(f["loose_mm"] > 0 and f["name"] not in single_cover for f in foams),
        "foam_teeth": any(f["name"] == "egg_crate" or f.get("teeth_mm", 0) > 0 for f in foams),
        "mask_closed": any(one["mask_top"] > 100 for one in masks),
        "mask_solid": any(one["hole"] < 0.3 for one in masks),
        "mask_wings": any(one["wings"] != "none" for one in masks),
        "no_support": not p["supports"],
    }


@dataclasses.dataclass(frozen=True)
class Study:
    """A scan and its truth; slices ascend along the slice normal.

    Labels are `BACKGROUND`, `SUPPORT`, `PATIENT` (inside the skin, internal air included),
    `NOT_SUPPORT` (dense hair, dressings) or `IGNORE_LABEL`, see `headrest.hounsfield`.
    """

    hu: np.ndarray  # int16 (slices, rows, columns), as stored, padding included
    labels: np.ndarray  # uint8, of that shape
    contact: np.ndarray  # bool (slices,), support above `DENSE_HU` touches the patient
    spacing_mm: tuple[float, float, float]  # (z, y, x)
    positions: np.ndarray  # float (slices, 3), ImagePositionPatient
    orientation: tuple[float, ...]  # ImageOrientationPatient
    parameters: Parameters  # all that were sampled, as JSON can hold them

    @property
    def support(self) -> np.ndarray:
        """Voxels of the support, bool array."""
        return self.labels == SUPPORT

    @property
    def patient(self) -> np.ndarray:
        """Voxels of the patient, bool array."""
        return self.labels == PATIENT


def sample_parameters(
    seed: int,
    *,
    matrix: int | None = None,
    slices: int | None = None,
    region: str = "head",
    contact: bool | str | None = None,
    with_limbs: bool = False,
) -> Parameters:
    """Sample all parameters of a study without rendering it, as `synthesize`.

    Returns a dict that JSON can hold; "supports" and "effects" name what occurs.
    """
    if region not in ("head", "chest"):
        raise HeadrestError(f"region is 'head' or 'chest', not {region!r}")
    known = supports.CONTACT if region == "head" else supports.CHEST_CONTACT
    if isinstance(contact, str) and contact not in known:
        raise HeadrestError(f"contact is one of {sorted(known)}, not {contact!r}")
    for name, value, low in (("seed", seed, 0), ("matrix", matrix, 1), ("slices", slices, 1)):
        if value is not None and value < low:
            raise HeadrestError(f"{name} is {value}: expected {low} or more")
    seeds = np.random.SeedSequence(seed).spawn(len(STREAMS))
    rngs = {name: np.random.default_rng(one) for name, one in zip(STREAMS, seeds)}
    kind = "chest" if region == "chest" else choose(rngs["anatomy"], KIND_WEIGHTS)
    p: Parameters = {"seed": int(seed), "region": region, "kind": kind}
    p["anatomy"] = ANATOMY.get(kind, head).sample_patient(rngs["anatomy"], kind)
    vertex_mm = 97 * p["anatomy"]["height"]
    p["protocol"] = scanner.sample_protocol(rngs["protocol"], matrix, slices, vertex_mm, region)
    if kind == "chest":
        p["support_parameters"] = supports.sample_chest_supports(rngs["supports"], contact)
    else:
        with_couch = p["protocol"]["with_neck"]
        p["support_parameters"] = supports.sample_supports(rngs["supports"], contact, with_couch)
    p["scanner"] = scanner.sample_scanner(rngs["scanner"])
    p["foreign_objects"] = plastic.sample_foreign_objects(rngs["foreign_objects"], kind)
    limbs = chest_limbs.sample_limbs(rngs["limbs"])
    has_limbs = (happens(rngs["limbs"], LIMBS) or with_limbs) and kind in LIVING
    p["limbs"] = limbs if has_limbs else []
    p["supports"] = [one["name"] for one in p["support_parameters"]["list"]]
    p["contact_kind"] = p["support_parameters"]["contact"]
    p["effects"] = [name for name, occurs in effects(p).items() if occurs]
    return p


def synthesize(seed: int, **options: Any) -> Study:
    """Sample and scan one synthetic patient on a support.

    Parameters
    ----------
    seed : one patient; the same seed gives the same study on one machine.
    matrix : rows and columns; sampled if None.
    slices : number of slices; sampled if None.
    region : "head" or "chest".
    contact : True, False, a key of `supports.CONTACT` ("gap", "touch", "sunk", "ear", "dense",
        "strap", "pressed"; of a chest "gap" or "touch"), or None to sample it. "pressed", a support
        pressed against the ears along their height, occurs only on request.
    with_limbs : arms or hands beside every living head; otherwise beside one of 25.

    Raises
    ------
    HeadrestError
        If region or contact is unknown, or a number is out of range.

    Examples
    --------
    >>> study = synthesize(7, matrix=64, slices=3)
    >>> study.hu.shape, study.hu.dtype
    ((3, 64, 64), dtype('int16'))
    >>> np.unique(study.labels)
    array([  0,   1,   2, 255], dtype=uint8)
    """
    return render(sample_parameters(seed, **options))


def render(parameters: Parameters) -> Study:
    """Render and scan a study from the parameters of `sample_parameters`."""
    layout = Layout(parameters)
    slices = [_scan_slice(layout, i) for i in range(len(parameters["protocol"]["z_mm"]))]
    volumes = {name: np.stack([one[name] for one in slices]) for name in slices[0]}
    p, protocol = parameters | {"supports_placed": layout.supports}, layout.protocol
    across, down, _normal = scanner.image_axes(protocol)
    count, last = len(protocol["z_mm"]), (protocol["matrix"] - 1) * protocol["pixel_mm"]
    positions = np.stack([scanner.first_voxel(protocol, index) for index in range(count)])
    if protocol["prone"]:  # the axes of DICOM are those of the patient, who lies turned over
        turned = np.array([-1.0, -1.0, 1.0])
        positions, across, down = positions * turned, across * turned, down * turned
    flips = []  # the scanner stores slices upright, upside down or mirrored
    if protocol["upside_down"]:
        flips.append(1)
        positions, down = positions + last * down, -down
    if protocol["upside_down"] != protocol["mirrored"]:
        flips.append(2)
        positions, across = positions + last * across, -across
    if len(flips) == 1:
        flips.append(0)
        positions = positions[::-1]
    volumes = {
        name: np.ascontiguousarray(np.flip(v, tuple(f for f in flips if f < v.ndim)))
        for name, v in volumes.items()
    }
    step = protocol["step_mm"] * float(np.cos(np.deg2rad(protocol["tilt"])))
    return Study(
        **volumes,
        spacing_mm=(step, protocol["pixel_mm"], protocol["pixel_mm"]),
        positions=np.round(positions, 4),
        orientation=tuple(round(float(v), 6) + 0.0 for v in (*across, *down)),
        parameters=p,
    )


def _scan_slice(layout, index):
    """Arrays of one slice as in `Study`."""
    protocol = layout.protocol
    truth = layout.paint_slice(index)
    sizes_mm = protocol["pixel_mm"], protocol["thickness_mm"]
    image = scanner.scan(truth["hu"], layout.parameters["scanner"], *sizes_mm, index)
    hu = np.clip(np.rint(image + protocol["offset"]), -1024, 3071).astype(np.int16)
    if protocol["padding"] != "none":  # outside the circular field of view
        middle = (protocol["matrix"] - 1) / 2
        along = np.arange(protocol["matrix"]) - middle
        hidden = np.hypot(along[:, None], along[None]) > middle + 0.7
        hu[hidden] = int(protocol["padding"])
        truth = {name: np.where(hidden, 0, share) for name, share in truth.items()}
    if ratio := protocol["lossy_ratio"]:  # JPEG 2000 rings at the edge of the padding
        from openjpeg.utils import decode, encode_array

        hu = decode(encode_array(hu, compression_ratios=[ratio], use_mct=False))
    support, patient = truth["support"] >= 0.5, truth["patient"] >= 0.5
    labels = patient * np.uint8(PATIENT)
    labels[(truth["support"] > 1 / 255) & ~patient] = IGNORE_LABEL
    labels[support] = SUPPORT
    labels[support & (truth["hu"] < AIR_LIKE_HU)] = IGNORE_LABEL
    labels[(truth["ignore"] >= 0.3) & ~support] = IGNORE_LABEL
    labels[(truth["kept"] >= 0.3) & ~support] = NOT_SUPPORT
    dense, patient = (labels == SUPPORT) & (hu > DENSE_HU), labels == PATIENT
    beside = ndimage.binary_dilation(dense, np.ones((3, 3), bool)) & patient
    return {"hu": hu, "labels": labels, "contact": bool(beside.sum() >= 3)}
