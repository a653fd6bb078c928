"""A synthetic study: draw a patient, a holder, a protocol and a scanner, and scan the one on the
other."""

import dataclasses

import numpy as np
from scipy import ndimage

from headrest.hounsfield import SUPPORT_HU
from headrest.phantom import chest, choosing, limbs, plastic, stray
from headrest.phantom import head as heads
from headrest.phantom import protocol as protocols
from headrest.phantom import scanner as scanners
from headrest.phantom.effects import effects_of
from headrest.phantom.layout import Layout, outside, render_slice
from headrest.phantom.materials import LIVING
from headrest.util.errors import HeadrestError

KINDS = {"adult": 0.53, "old": 0.19, "child": 0.14, "plastic": 0.11, "water": 0.03}
PARTS = ("anatomy", "supports", "protocol", "scanner", "stray", "limbs")


@dataclasses.dataclass(frozen=True)
class Study:
    """A scan and its truth; arrays run (slices, rows, columns), slices ascend along the slice
    normal.

    Attributes
    ----------
    hu : int16, Hounsfield units as stored (padding included).
    support : bool, voxels of which supports take half or more and that are above -500 HU.
    support_share : uint8, share of supports in the voxel, 255 for all of it.
    patient : bool, inside the skin with internal air.
    ignore : bool, belongs to nobody (tubes, wires, dense hair) and should not be scored.
    contact : (slices,) bool, a support voxel lies beside a patient voxel.
    spacing_mm : (z, y, x); positions : (slices, 3) ImagePositionPatient; orientation : (6,)
        ImageOrientationPatient.
    tilt : gantry tilt in degrees; padding : (value or None, tagged).
    parameters : everything drawn, as JSON would hold it.
    """

    hu: np.ndarray
    support: np.ndarray
    support_share: np.ndarray
    patient: np.ndarray
    ignore: np.ndarray
    contact: np.ndarray
    spacing_mm: tuple
    positions: np.ndarray
    orientation: tuple
    tilt: float
    padding: tuple
    parameters: dict


def ambiguous_voxels(support_share, support, patient):
    """Where a support takes a part of a voxel, but less than half, and the patient not the rest; or
    all of one that reads `SUPPORT_HU` or less: bool array, from the arrays of a `Study`.

    Nobody can say whose these are. `headrest.train.growing` does not teach them, nor does
    `headrest.evaluate.cases` judge by them.
    """
    return (support_share > 0) & ~support & ~patient


def sample_parameters(
    seed, *, matrix=None, slices=None, region="head", contact=None, with_limbs=False
):
    """Draw everything that makes a study, without rendering it.

    Every part has its own stream of random numbers, so that a new part leaves the others as they
    were.

    Returns
    -------
    dict that JSON can hold; "supports" and "effects" name what occurs.
    """
    streams = dict(
        zip(
            PARTS,
            (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(len(PARTS))),
        )
    )
    rng = streams["anatomy"]
    kind = "chest" if region == "chest" else choosing.choose(rng, KINDS)
    drawn = {"seed": int(seed), "region": region, "kind": kind}
    makers = {
        "chest": chest.draw_chest,
        "plastic": plastic.draw_plastic,
        "water": plastic.draw_plastic,
    }
    drawn["anatomy"] = makers.get(kind, heads.draw_head)(rng, kind)
    drawn["protocol"] = protocols.draw_protocol(
        streams["protocol"], matrix, slices, 97 * drawn["anatomy"]["height"], region
    )
    if kind == "chest":
        drawn["support_parameters"] = chest.draw_couch(streams["supports"], contact)
    else:
        couch = drawn["protocol"]["with_neck"]
        drawn["support_parameters"] = choosing.draw_supports(streams["supports"], contact, couch)
    drawn["scanner"] = scanners.draw_scanner(streams["scanner"])
    drawn["stray"] = stray.draw_stray(streams["stray"], kind)
    drawn["limbs"] = limbs.draw_limbs(streams["limbs"]) if with_limbs and kind in LIVING else []
    drawn["supports"] = [s["name"] for s in drawn["support_parameters"]["list"]]
    drawn["contact_kind"] = drawn["support_parameters"]["contact"]
    drawn["effects"] = effects_of(drawn)
    return drawn


def synthesize(seed, *, matrix=None, slices=None, region="head", contact=None, with_limbs=False):
    """Draw and scan one synthetic patient on a support.

    Parameters
    ----------
    seed : int
        One patient; the same seed gives the same study on one machine.
    matrix, slices : int, optional
        Rows = columns, and number of slices; drawn if None.
    region : "head" or "chest"
    contact : True, False, or a name, or None to draw it
        "gap", "touch", "sunk", "ear", "dense", "strap", or "pressed", which is never drawn
        unasked: a holder pressed against the ears along their height.
    with_limbs : bool
        A living head has arms or hands beside it. Not drawn unasked either.

    Returns
    -------
    Study

    Examples
    --------
    >>> study = synthesize(7, matrix=64, slices=3)
    >>> study.hu.shape, study.hu.dtype
    ((3, 64, 64), dtype('int16'))
    >>> bool((study.support & study.patient).any())
    False
    """
    if region not in ("head", "chest"):
        raise HeadrestError(f"region is 'head' or 'chest', not {region!r}")
    if isinstance(contact, str) and contact not in choosing.CONTACT:
        raise HeadrestError(f"contact is one of {sorted(choosing.CONTACT)}, not {contact!r}")
    return render(
        sample_parameters(
            seed,
            matrix=matrix,
            slices=slices,
            region=region,
            contact=contact,
            with_limbs=with_limbs,
        )
    )


def render(drawn):
    """Scan what `sample_parameters` drew."""
    layout = Layout(drawn)
    made = [_slice(layout, index) for index in range(len(drawn["protocol"]["z_mm"]))]
    names = ("hu", "support", "support_share", "patient", "ignore", "contact")
    volumes = {name: np.stack(volume) for name, volume in zip(names, zip(*made))}
    return _oriented(drawn | {"supports_placed": layout.placed}, volumes)


def _slice(layout, index):
    """HU, support, share, patient, ignore and contact of one slice."""
    protocol, drawn = layout.protocol, layout.drawn
    truth = render_slice(layout, index)
    image = scanners.scan(
        truth["hu"], drawn["scanner"], protocol["pixel_mm"], protocol["thickness_mm"], index
    )
    hu = np.clip(np.rint(image + protocol["offset"]), -1024, 3071).astype(np.int16)
    hidden = outside(protocol)
    if hidden is not None:
        hu[hidden] = int(protocol["padding"])
        for name in ("support", "patient", "ignore"):
            truth[name][hidden] = 0
    if protocol["lossy_ratio"]:
        hu = scanners.archived(hu, protocol["lossy_ratio"])
    support = (truth["support"] >= 0.5) & (hu > SUPPORT_HU)
    ignore = (truth["ignore"] >= 0.3) & ~support
    patient = (truth["patient"] >= 0.5) & ~support & ~ignore
    share = np.rint(255 * np.clip(truth["support"], 0, 1)).astype(np.uint8)
    beside = ndimage.binary_dilation(support, np.ones((3, 3), bool)) & patient
    return hu, support, share, patient, ignore, bool(beside.sum() >= 3)


def _oriented(drawn, volumes):
    """Store the slices as the scanner did: upright, upside down or mirrored."""
    protocol = drawn["protocol"]
    across, down, _ = protocols.image_axes(protocol)
    count, last = len(protocol["z_mm"]), (protocol["matrix"] - 1) * protocol["pixel_mm"]
    positions = np.stack([protocols.corner(protocol, index) for index in range(count)])
    flips = []
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
        name: np.ascontiguousarray(np.flip(v, [f for f in flips if f < v.ndim]))
        for name, v in volumes.items()
    }
    step = protocol["step_mm"] * float(np.cos(np.deg2rad(protocol["tilt"])))
    padding = None if protocol["padding"] == "none" else int(protocol["padding"])
    return Study(
        **volumes,
        spacing_mm=(step, protocol["pixel_mm"], protocol["pixel_mm"]),
        positions=np.round(positions, 4),
        orientation=tuple(round(float(v), 6) + 0.0 for v in (*across, *down)),
        tilt=protocol["tilt"],
        padding=(padding, bool(protocol["tagged"])),
        parameters=drawn,
    )
