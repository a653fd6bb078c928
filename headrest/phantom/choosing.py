"""Which supports a patient lies on, and how the head meets them."""

import numpy as np

from headrest.phantom.catalogue import HARD, KINDS
from headrest.phantom.materials import chance, draw

MAIN = {
    "u_shell": 0.22,
    "side_rails": 0.14,
    "trough": 0.09,
    "open_arms": 0.08,
    "flat_board": 0.1,
    "head_cup": 0.07,
    "double_shell": 0.08,
    "pedestal": 0.03,
    "curved_couch": 0.09,
    "flat_couch": 0.06,
    "none": 0.04,
}

PAD = {
    "curved_cushion": 0.22,
    "foam_block": 0.09,
    "pillow": 0.12,
    "gel_pad": 0.07,
    "ring_donut": 0.05,
    "rolled_towel": 0.05,
    "cradle_cushion": 0.16,
    "vacuum_cushion": 0.06,
    "none": 0.18,
}

EXTRA = {
    "temple_wedges": 0.18,
    "brow_strap": 0.14,
    "chin_strap": 0.06,
    "linen": 0.24,
    "blanket": 0.1,
    "thermoplastic_mask": 0.1,
    "cables": 0.1,
    "bolts": 0.08,
    "clamps": 0.06,
    "drip_line": 0.07,
    "skull_clamp": 0.05,
    "couch_rails": 0.1,
    "curved_couch": 0.16,
    "flat_couch": 0.1,
}

CONTACT = {
    "gap": 0.3,
    "touch": 0.19,
    "sunk": 0.15,
    "ear": 0.26,
    "dense": 0.07,
    "strap": 0.08,
    "pressed": 0.0,  # an ear along its whole height: only where it is asked for
}

DEEPER_MM = 5.0  # than where only the tip of an ear meets the holder

PRESSING = {"tall_mm": 110.0, "arm_mm": 160.0, "hu": -150.0}
"""A holder that presses ears reaches up to them and is solid, at the least."""

TOUCHING_HU = -200.0  # what is to touch must show in the truth, that is above -500 HU


def choose(rng, weights):
    """Draw a name by its weight."""
    names = list(weights)
    share = np.array([weights[name] for name in names])
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def draw_supports(rng, contact=None, couch=False):
    """Draw a list of supports and how the head meets them.

    Parameters
    ----------
    contact : True, False, the name of a kind of contact, or None to draw it.
    couch : bool, see to it that there is one: shoulders are in view.
    """
    kind = choose(rng, CONTACT)
    other = choose(rng, {name: share for name, share in CONTACT.items() if name != "gap"})
    if isinstance(contact, str):
        kind = contact
    elif contact is not None:
        kind = "gap" if not contact else other if kind == "gap" else kind
    names = [choose(rng, MAIN), choose(rng, PAD)] + [
        name for name, share in EXTRA.items() if chance(rng, share)
    ]
    names = [name for name in dict.fromkeys(_needed(names, kind)) if name != "none"]
    if couch and not {"curved_couch", "flat_couch"} & set(names):
        names.append("curved_couch")
    supports = [draw_one(rng, name, kind) for name in names]
    if chance(rng, 0.1) and kind == "gap":
        supports = []
    return {"contact": kind, "list": sorted(supports, key=lambda s: s["name"] in HARD)}


def _needed(names, kind):
    """See to it that the support that is to touch is there."""
    main, pad, *extra = names
    if kind == "touch" and main in ("none", "pedestal"):
        main = "u_shell"
    if kind == "touch":
        pad = "none"
    if kind == "sunk" and pad in ("none", "cradle_cushion", "vacuum_cushion", "rolled_towel"):
        pad = "curved_cushion"
    if kind in ("ear", "pressed"):
        main = main if main in ("u_shell", "side_rails", "trough") else "side_rails"
    if kind == "dense":
        pad = "gel_pad"
    if kind == "strap":
        extra.append("brow_strap")
    return [main, pad, *extra]


def draw_one(rng, name, kind):
    """Draw one support; the one that is to touch is made thick and dense enough to be seen."""
    p = {"name": name} | draw(rng, KINDS[name][1])
    p |= draw(
        rng,
        {
            "roll_deg": (-4.0, 4.0),
            "aside_mm": (-8.0, 8.0),
            "slope": (-0.06, 0.06),
            "free_gap_mm": (2.5, 22.0),
            "into_mm": (2.0, 12.0),
            "sides": (1.0, 9.0),
            "press_mm": (0.5, 4.0),
            "overlap_mm": (0.8, 5.0),
        },
    )
    p["gap_mm"] = p["free_gap_mm"] if kind == "gap" or chance(rng, 0.5) else -0.4
    touching = {
        "sunk": PAD,
        "dense": ("gel_pad",),
        "strap": ("brow_strap",),
        "ear": (),
        "pressed": (),
        "touch": MAIN,
        "gap": (),
    }[kind]
    if name in touching:
        p["gap_mm"] = -p["press_mm" if name not in PAD else "into_mm"]
        for key in ("hu", "cover_hu", "strap_hu"):
            if key in p:
                p[key] = max(p[key], TOUCHING_HU + 10 * p["into_mm"])
        p["cover_mm"] = max(p.get("cover_mm", 0), 1.6)
        p["wall_mm"] = max(p.get("wall_mm", 0), 4.0)
        p["cloth_mm"] = max(p.get("cloth_mm", 0), 1.8)
    deep = {"ear": p["sides"], "pressed": p["sides"] + DEEPER_MM}.get(kind, 0.0)
    p["into_ear_mm"] = deep if name in HARD else 0.0
    if kind == "pressed" and name in HARD:
        p |= {key: max(p[key], least) for key, least in PRESSING.items() if key in p}
    if deep and name == "side_rails":
        p["gap_mm"] = -0.4
    p["presses_head"] = name in touching and name != "brow_strap"
    return p
