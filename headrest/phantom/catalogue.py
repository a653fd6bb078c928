"""Every kind of support: its shape, the ranges it is drawn from, and how it comes to rest.

"below" is raised until it meets the head, "sides" is pushed in from either side, "around" follows
the skin, "fixed" stands at the height of the holder and "under" hangs beneath it.
"""

from headrest.phantom import cushions, hardware, supports, wraps
from headrest.phantom.materials import MATERIAL

SHELL = {
    "clearance_mm": (2.0, 32.0),
    "depth_mm": (70.0, 150.0),
    "power": (1.9, 3.6),
    "wall_mm": (1.8, 6.5),
    "arm_mm": (30.0, 190.0),
    "hu": MATERIAL["plastic"],
    "top": (70.0, 170.0),
    "foot": (-220.0, -60.0),
    "taper": (-0.12, 0.05),
}


WIDE = {
    "wide_mm": (150.0, 270.0),
    "thick_mm": (10.0, 55.0),
    "radius_mm": (280.0, 700.0),
    "belly": (0.35, 0.95),
    "drop_mm": (0.0, 90.0),
    "foam_hu": MATERIAL["foam"],
    "hu": MATERIAL["carbon"],
    "wall_mm": (1.5, 6.0),
    "top": (40.0, 400.0),
    "foot": (-500.0, -150.0),
}


RAIL = {
    "only": ["both", "both", "both", "both", "left", "right"],
    "bend_y": (-30.0, 35.0),
    "bend": (0.0, 0.006),
    "lean": (-0.15, 0.2),
    "tall_mm": (50.0, 170.0),
    "wall_mm": (1.8, 6.0),
    "hu": MATERIAL["plastic"],
    "top": (30.0, 150.0),
    "foot": (-160.0, -40.0),
}


BAR = SHELL | {
    "bar_mm": (5.0, 16.0),
    "hollow": ["yes", "no"],
    "foam_hu": MATERIAL["foam"],
    "core_mm": (5.0, 20.0),
    "slant": (-0.1, 0.9),
}


HARD = {
    "u_shell": (supports.u_shell, SHELL, "below"),
    "double_shell": (supports.double_shell, BAR, "below"),
    "trough": (supports.trough, BAR, "below"),
    "side_rails": (supports.side_rails, RAIL, "sides"),
    "open_arms": (supports.open_arms, BAR, "below"),
    "flat_board": (supports.flat_board, WIDE, "below"),
    "curved_couch": (supports.curved_couch, WIDE, "below"),
    "flat_couch": (supports.flat_couch, WIDE, "below"),
    "head_cup": (supports.head_cup, SHELL, "below"),
    "pedestal": (supports.pedestal, BAR, "below"),
    "skull_clamp": (
        supports.skull_clamp,
        BAR | {"pin_z": (0.0, 50.0), "pin_hu": MATERIAL["titanium"]},
        "fixed",
    ),
    "couch_rails": (
        supports.couch_rails,
        BAR | {"profile": ["slant", "tube"], "metal_hu": (500.0, 3000.0)},
        "under",
    ),
}
PAD = {
    "clearance_mm": (0.0, 25.0),
    "thick_mm": (8.0, 40.0),
    "depth_mm": (70.0, 150.0),
    "arm_mm": (30.0, 150.0),
    "foam_hu": MATERIAL["foam"],
    "cover_mm": (0.4, 2.2),
    "cover_hu": MATERIAL["foam_skin"],
    "gel_hu": MATERIAL["gel"],
    "top": (40.0, 140.0),
    "foot": (-170.0, -40.0),
    "seed": (0, 10**6),
    "ring_z": (-40.0, 20.0),
    "filling": ["gel", "foam"],
    "round": (0.15, 0.95),
    "tall_mm": (50.0, 150.0),
    "from_y": (-20.0, 45.0),
    "slack_mm": (0.0, 3.0),
    "cloth_mm": (0.5, 2.6),
}


WRAP = PAD | {
    "strap_z": (5.0, 45.0),
    "strap_mm": (15.0, 60.0),
    "strap_hu": MATERIAL["strap"],
    "sheets": (1, 3),
    "fold_mm": (1.0, 9.0),
    "wrinkle_mm": (0.0, 1.4),
    "sheet_mm": (70.0, 210.0),
    "cloth_hu": MATERIAL["cloth"],
    "blanket_z": (-130.0, -70.0),
    "mesh_mm": (6.0, 14.0),
    "mask_hu": MATERIAL["thermoplastic"],
}


SMALL = PAD | {
    "count": (1, 4),
    "cable_hu": MATERIAL["cable"],
    "copper_hu": MATERIAL["copper"],
    "knob_hu": MATERIAL["plastic"],
    "bolt_hu": (500.0, 6000.0),
    "hose_hu": MATERIAL["silicone"],
}


SOFT = {
    "curved_cushion": (cushions.curved_cushion, PAD, "below"),
    "foam_block": (cushions.foam_block, PAD, "below"),
    "pillow": (cushions.pillow, PAD, "below"),
    "gel_pad": (cushions.gel_pad, PAD, "below"),
    "ring_donut": (cushions.ring_donut, PAD, "below"),
    "rolled_towel": (cushions.rolled_towel, PAD, "below"),
    "temple_wedges": (cushions.temple_wedges, PAD, "sides"),
    "cradle_cushion": (wraps.cradle_cushion, PAD, "around"),
    "vacuum_cushion": (wraps.vacuum_cushion, PAD, "around"),
    "brow_strap": (wraps.strap, WRAP, "around"),
    "chin_strap": (wraps.strap, WRAP | {"strap_z": (-125.0, -95.0)}, "around"),
    "linen": (wraps.linen, WRAP, "around"),
    "blanket": (wraps.blanket, WRAP, "around"),
    "thermoplastic_mask": (wraps.thermoplastic_mask, WRAP, "around"),
    "cables": (hardware.cables, SMALL, "fixed"),
    "bolts": (hardware.bolts, SMALL, "fixed"),
    "clamps": (hardware.clamps, SMALL, "fixed"),
    "drip_line": (hardware.drip_line, SMALL, "fixed"),
}

KINDS = HARD | SOFT
