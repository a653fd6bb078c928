"""The names of what may occur in a study besides its supports, and which of them do."""

from headrest.phantom.materials import LIVING


def _has_stray(name):
    return lambda d: name in d["stray"]["present"]


def _has_contact(kind):
    return lambda d: d["contact_kind"] == kind


TESTS = {
    "soft_kernel": lambda d: d["scanner"]["kernel"] == "soft",
    "bone_kernel": lambda d: d["scanner"]["kernel"] == "bone",
    "low_dose": lambda d: d["scanner"]["low_dose"],
    "rings": lambda d: d["scanner"]["rings"],
    "cupping": lambda d: d["scanner"]["hardening"] > 0.4 and d["kind"] in LIVING,
    "metal_streaks": lambda d: _has_metal(d),
    "gantry_tilt": lambda d: d["protocol"]["tilt"] != 0,
    "uneven_gaps": lambda d: d["protocol"]["uneven"],
    "thin_slices": lambda d: d["protocol"]["thickness_mm"] < 1.5,
    "thick_slices": lambda d: d["protocol"]["thickness_mm"] >= 5,
    "padding_tagged": lambda d: d["protocol"]["tagged"],
    "padding_untagged": lambda d: (
        d["protocol"]["padding"] != "none" and not d["protocol"]["tagged"]
    ),
    "padding_ringing": lambda d: d["protocol"]["lossy_ratio"] > 0,
    "no_padding": lambda d: d["protocol"]["padding"] == "none",
    "truncation": lambda d: d["protocol"]["pixel_mm"] * d["protocol"]["matrix"] < 200,
    "wide_field": lambda d: d["protocol"]["pixel_mm"] * d["protocol"]["matrix"] > 300,
    "head_and_neck": lambda d: d["protocol"]["with_neck"],
    "matrix_256": lambda d: d["protocol"]["matrix"] == 256,
    "matrix_768": lambda d: d["protocol"]["matrix"] == 768,
    "prone": lambda d: d["protocol"]["prone"],
    "upside_down": lambda d: d["protocol"]["upside_down"],
    "mirrored": lambda d: d["protocol"]["mirrored"],
    "hu_offset": lambda d: d["protocol"]["offset"] != 0,
    "slices_without_head": lambda d: d["protocol"]["above_mm"] > d["protocol"]["step_mm"],
    "child": lambda d: d["kind"] == "child",
    "old": lambda d: d["kind"] == "old",
    "plastic_skull": lambda d: d["kind"] == "plastic",
    "water_cylinder": lambda d: d["kind"] == "water",
    "turned_head": lambda d: abs(d["anatomy"]["turn_deg"]) > 15,
    "craniotomy": lambda d: d["kind"] in LIVING and bool(d["anatomy"]["skull"]["craniotomy"]),
    "brain_lesion": lambda d: d["kind"] in LIVING and bool(d["anatomy"]["brain"]["lesion"]),
    "fillings": lambda d: d["kind"] in ("adult", "old") and d["anatomy"]["face"]["fillings"] > 0,
    "ear_flattened": lambda d: _ear(d, "flattened"),
    "ear_folded": lambda d: _ear(d, "folded"),
    **{
        name: _has_stray(name)
        for name in (
            "hair",
            "hair_bun",
            "tracheal_tube",
            "drain",
            "wires",
            "electrodes",
            "staples",
            "earrings",
            "hearing_aid",
        )
    },
    **{
        f"contact_{kind}": _has_contact(kind)
        for kind in ("gap", "touch", "sunk", "ear", "dense", "strap")
    },
    "no_support": lambda d: not d["supports"],
}


def _ear(drawn, shape):
    ears = drawn["anatomy"].get("ears", {}) if drawn["kind"] in LIVING else {}
    return any(ears.get(side, {}).get("shape") == shape for side in ("left", "right"))


def _has_metal(drawn):
    metal = {"wires", "electrodes", "staples", "earrings"} & set(drawn["stray"]["present"])
    filled = drawn["kind"] in ("adult", "old") and drawn["anatomy"]["face"]["fillings"] > 0
    return (
        bool(metal) or filled or bool({"bolts", "skull_clamp", "cables"} & set(drawn["supports"]))
    )


def effects_of(drawn):
    """Names of the effects in a set of drawn parameters, sorted as in the table."""
    return [name for name, test in TESTS.items() if test(drawn)]
