"""Materials and places of the synthetic supports, painted without a scanner."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.phantom import sample_parameters, supports
from headrest.phantom.positioning import Layout, _paint_piece
from headrest.phantom.scene import Frame, Scene, Window
from headrest.phantom.support_shapes import Piece, sheet

PLAIN = {"cover_mm": 0.0, "loose_mm": 0.0, "grain_hu": 0.0, "teeth_mm": 0.0, "wings": "none"}


def painted(name, z_mm=20.0, **changed):
    """True HU and shares of an adult in one slice on one support, without noise and blur."""
    parameters = sample_parameters(5, matrix=256, slices=1)
    one = supports.sample_support(np.random.default_rng(3), name, "gap")
    parameters["support_parameters"]["list"] = [one | PLAIN | {"gap_mm": 2.0} | changed]
    place = {"x_mm": 0.0, "y_mm": 0.0, "tilt": 0.0, "z_mm": [z_mm]}
    parameters["protocol"] |= place | {"pixel_mm": 1.2, "thickness_mm": 1.0}
    return Layout(parameters).paint_slice(0)


def inside(truth, shrink=2):
    """Voxels that a support fills, away from its surface."""
    return ndimage.binary_erosion(truth["support"] > 0.99, iterations=shrink)


@pytest.mark.slow
def test_patients_and_supports_are_painted_in_single_precision(monkeypatch):
    """One NumPy scalar in double precision converts every array after it: half as long again."""
    share, kinds = Window.share, set()
    monkeypatch.setattr(Window, "share", lambda *a: kinds.add(np.asarray(a[1]).dtype) or share(*a))
    for name in sorted(set(supports.CATALOGUE) - {"drip_line"}):  # its radius is a float64
        painted(name)
    for seed, region in ((0, "chest"), *((seed, "head") for seed in range(12))):
        Layout(sample_parameters(seed, region=region, matrix=64, slices=1)).paint_slice(0)
    assert kinds == {np.dtype(np.float32)}


FOAMS = (
    *("vacuum_cushion", "egg_crate", "mattress", "foam_cup", "cradle_cushion", "curved_cushion"),
    *("temple_wedges", "arm_cushions", "border_arc"),
)


@pytest.mark.parametrize(("name", "hu"), list(zip(FOAMS, [-900.0, -650.0] * 5)))
def test_foam_has_its_hu_outside_the_patient(name, hu):
    place = {"top": 200.0, "foot": -300.0, "thick_mm": 25.0, "inside_mm": 22.0, "roll_deg": 0.0}
    truth = painted(name, foam_hu=hu, **place)
    assert inside(truth).sum() > 30
    assert abs(np.median(truth["hu"][inside(truth)]) - hu) < 30
    assert (truth["support"] + truth["patient"] <= 1.001).all()


def test_foam_has_beads_of_a_contrast_a_brighter_cover_and_a_loose_one_a_second_sheet():
    bead, cover = {"grain_hu": 50.0}, {"cover_mm": 1.2, "cover_hu": -500.0}
    kinds = {}, bead | {"grain_mm": 1.5}, bead | {"grain_mm": 4.0}, cover, cover | {"loose_mm": 4.0}
    bare, fine, coarse, covered, double = (
        painted("foam_cup", foam_hu=-930.0, thick_mm=30.0, **kind) for kind in kinds
    )
    for beads in (fine, coarse):
        difference = (beads["hu"] - bare["hu"])[inside(beads)]
        assert 30 < difference.std() < 60
        assert abs(difference.mean()) < 10
    whole = bare["support"] > 0.99
    assert (bare["hu"][whole] < -860).all()
    assert -750 < np.percentile(covered["hu"][whole & ~inside(bare)], 90) < -450
    assert np.median(covered["hu"][inside(bare, 4)]) < -900
    added = (double["support"] - covered["support"] > 0.3) & (covered["support"] < 0.01)
    assert added.sum() > 100
    assert (double["hu"][added] > -900).all()


def test_sheet_thinner_than_a_pixel_keeps_its_volume():
    def amount(thin_mm):
        scene = Scene((1, 64, 64))
        window = Window(scene, Frame((-31.5, -31.5, 0), np.eye(3)[::-1], (2, 64, 64)))
        distance = sheet(window.points[0] + 0 * window.points[1] - 0.3, 0.2)
        _paint_piece(window, Piece(distance, -500.0, thin_mm=thin_mm), False)
        return float(scene.support.sum()) / 64

    assert amount(0.2) == pytest.approx(0.2, abs=0.01)
    assert amount(0.0) > 0.3  # control: the share of a solid is too large for a thin sheet


def test_border_arc_and_neck_plate_lie_in_their_places():
    arc = painted("border_arc", foam_hu=-700.0, inside_mm=15.0, thick_mm=12.0)["support"] > 0.5
    assert arc.sum() > 100
    assert (np.hypot(*(np.nonzero(arc) - np.float64(127.5))) > 0.4 * 256).all()
    below, above = (painted("neck_plate", z_mm=z, tall_mm=60.0)["support"] for z in (-110.0, 20.0))
    assert not above.any()
    columns = (below > 0.5).sum(0)
    assert columns.max() > 30 / 1.2  # a wall
    assert np.median(columns[columns > 0]) < 15  # the plate
