"""Parameter ranges of the supports, in mm and HU; `materials.sample` samples them."""

from headrest.phantom.materials import MATERIAL

POSITION = {
    "roll_deg": (-4.0, 4.0),
    "shift_mm": (-8.0, 8.0),
    "slope": (-0.06, 0.06),
    "free_gap_mm": (2.5, 22.0),
    "close_mm": (0.8, 4.5),
    "into_mm": (2.0, 12.0),
    "into_ear_mm": (1.0, 9.0),
    "press_mm": (0.5, 4.0),
    "overlap_mm": (0.8, 5.0),
}
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
COUCH = {
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
    "has_foam": ["yes", "no"],
    "foam_hu": MATERIAL["foam"],
    "core_mm": (5.0, 20.0),
    "slant": (-0.1, 0.9),
}
CLAMP = BAR | {"pin_z": (0.0, 50.0), "pin_hu": MATERIAL["titanium"]}
PROFILE = BAR | {"profile": ["slant", "tube"], "metal_hu": (500.0, 3000.0)}
FOAM = {
    "foam_hu": [(-985.0, -930.0), (-980.0, -900.0), (-960.0, -780.0), (-850.0, -600.0)],
    "grain_mm": (1.0, 4.0),
    "grain_hu": [(0.0, 0.0), (0.0, 15.0), (15.0, 60.0)],
    "cover_mm": [(0.0, 0.0), (0.4, 1.0), (0.6, 1.4), (0.8, 2.2)],
    "cover_hu": [(-880.0, -650.0), (-800.0, -500.0), (-700.0, -350.0), (-600.0, -100.0)],
    "loose_mm": [(0.0, 0.0), (0.0, 0.0), (1.0, 4.0)],
    "seed": (0, 10**6),
}
"""Open-cell, dense and bead foam, with texture; bare or in a cover, single or double."""

PAD = FOAM | {
    "clearance_mm": (0.0, 25.0),
    "thick_mm": (8.0, 40.0),
    "depth_mm": (70.0, 150.0),
    "arm_mm": (30.0, 150.0),
    "gel_hu": MATERIAL["gel"],
    "top": (40.0, 140.0),
    "foot": (-170.0, -40.0),
    "ring_z": (-40.0, 20.0),
    "filling": ["gel", "foam"],
    "round": (0.15, 0.95),
    "slant": (-0.2, 0.6),
    "tall_mm": (50.0, 150.0),
    "from_y": (-20.0, 45.0),
    "slack_mm": (0.0, 3.0),
    "cloth_mm": (0.5, 2.6),
}
BEAD = PAD | {"foam_hu": (-970.0, -800.0), "grain_hu": (15.0, 70.0)}
TEETH = PAD | {
    "pitch_mm": (14.0, 34.0),
    "tooth_mm": (8.0, 20.0),
    "thick_mm": (20.0, 45.0),
    "cover_mm": [(0.0, 0.0), (0.0, 0.0), (0.4, 1.0)],
}
CUP = TEETH | {
    "cover_mm": FOAM["cover_mm"],
    "thick_mm": (10.0, 40.0),
    "teeth_mm": [(0.0, 0.0), (0.0, 0.0), (4.0, 16.0)],
    "power": (2.0, 6.0),
    "front_y": (-75.0, 40.0),
}
MAT = PAD | {
    "mat_mm": (110.0, 230.0),
    "thick_mm": (12.0, 55.0),
    "bow": (0.0, 0.0016),
}
LINED = SHELL | FOAM | {"hu": (0.0, 800.0), "core_mm": (4.0, 16.0)}
PLATE = SHELL | {
    "plate_z": (-75.0, -35.0),
    "tall_mm": (15.0, 70.0),
    "wall_mm": (2.0, 7.0),
    "peg_mm": (3.0, 7.0),
    "top": (0.0, 0.0),
    "foot": (-400.0, -200.0),
}
ARC = FOAM | {
    "foam_hu": [(-950.0, -850.0), (-850.0, -550.0), (-750.0, 300.0)],
    "cover_hu": [(-850.0, -500.0), (-500.0, 600.0)],
    "inside_mm": (1.0, 22.0),
    "radius_mm": (120.0, 500.0),
    "thick_mm": (4.0, 30.0),
    "roll_deg": [(-30.0, 30.0), (-100.0, 100.0)],
    "slope": (0.0, 0.0),
}
CLOTH = PAD | {
    "strap_z": (5.0, 45.0),
    "strap_mm": (15.0, 60.0),
    "strap_hu": MATERIAL["strap"],
    "sheets": (1, 3),
    "fold_mm": (1.0, 9.0),
    "wrinkle_mm": (0.0, 1.4),
    "sheet_mm": (70.0, 210.0),
    "cloth_hu": MATERIAL["cloth"],
    "blanket_z": (-130.0, -70.0),
    "behind_y": (-10.0, 40.0),
    "loft_mm": [(0.0, 0.0), (2.0, 12.0)],
}
CHIN = CLOTH | {"strap_z": (-125.0, -95.0)}
COTTON = CLOTH | {
    "cotton_hu": (-850.0, -400.0),
    "cloth_mm": (0.6, 2.6),
    "layer_gap_mm": (0.3, 2.5),
    "layers": (2, 7),
    "beside": [(0.0, 0.0), (-1.0, -1.0), (1.0, 1.0)],
    "cloth_z": [(40.0, 150.0), (-90.0, -30.0)],
}
CLOTHES = CLOTH | {
    "cloth_hu": (-800.0, -300.0),
    "cloth_mm": (0.4, 1.4),
    "wrinkle_mm": (0.5, 3.0),
    "loft_mm": (4.0, 14.0),
    "behind_y": [(20.0, 60.0), (200.0, 200.0)],
}
MASK = CLOTH | {
    "mesh_mm": (6.0, 14.0),
    "mask_hu": MATERIAL["thermoplastic"],
    "mask_mm": (0.9, 2.6),
    "hole": [(0.34, 0.44), (0.34, 0.44), (0.0, 0.25)],
    "close_mm": (0.4, 2.5),
    "mask_top": [(50.0, 80.0), (200.0, 200.0)],
    "wings": ["none", "both", "left", "right"],
}
SMALL_PARTS = PAD | {
    "count": (1, 4),
    "cable_hu": MATERIAL["cable"],
    "copper_hu": MATERIAL["copper"],
    "knob_hu": MATERIAL["plastic"],
    "bolt_hu": (500.0, 6000.0),
    "hose_hu": MATERIAL["silicone"],
    "cover_mm": (0.4, 2.2),
}
