"""Kinds of patients that look like a support, each against what the phantom is built from."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.phantom import chest_limbs, ears_neck, head, plastic
from headrest.phantom.materials import RANGES, sample
from headrest.phantom.scene import Frame, Scene, Window


def section(z, half_mm=260.0, step_mm=1.0):
    """Points (x, y, z) of an axial section, arrays (1, rows, columns)."""
    along = np.arange(-half_mm, half_mm, step_mm, dtype=np.float32)
    return [along[None, None, :], along[None, :, None], np.full((1, 1, 1), z, np.float32)]


def window(z, half_mm=128.0):
    """An empty window of a slab 4 mm thick, pixels of 2 mm."""
    n = int(half_mm)
    frame = Frame((-half_mm, -half_mm, z - 2.0), np.diag([2.0, 2.0, 4.0])[::-1], (2, n, n))
    return Window(Scene((1, n, n)), frame)


@pytest.fixture(scope="module")
def adult():
    """The parameters of an adult without raised shoulders."""
    parameters = head.sample_patient(np.random.default_rng(5), "adult")
    parameters["neck"] |= {"has_tips": False}
    return parameters


@pytest.mark.parametrize("at", [-0.8, 0.0, 0.8])
def test_ear_folded_forward_is_a_thin_long_leaf_on_a_stalk(adult, at):
    ear = adult["ears"]["left"] | {"shape": "forward", "leaf_mm": 50.0, "leaf_at": at}
    ear |= {"leaf_bend": 0.0, "leaf_lean": 0.0, "twist_mm": 0.0, "gap_mm": 6.0, "thickness_mm": 5.0}
    x, y, z = section(-38.0, 128.0, 0.5)
    inside = ears_neck.ear_distance([x, y, z], ear)[0] < 0
    leaf = inside & (x[0] > 76)
    assert np.ptp(np.flatnonzero(leaf.any(1))) * 0.5 == pytest.approx(50, abs=3)
    away_from_stalk = abs(y[0, :, 0] - 6) > 14
    thickness = leaf.sum(1)[away_from_stalk & leaf.any(1)] * 0.5
    assert 1.0 <= np.median(thickness) <= 4.5
    assert ndimage.label(inside)[1] == 1
    gap = (x[0] > 75) & (x[0] < 77) & (abs(y[0] - 6) > 16)
    assert not inside[gap].any()


def test_inside_of_an_ear_folded_forward_is_darker_than_its_skin(adult):
    darkest = {}
    for hu in (-280.0, 60.0):
        ear = {"shape": "forward", "inner_hu": hu, "thickness_mm": 5.8, "gap_mm": 7.0}
        ears = adult["ears"] | {s: adult["ears"][s] | ear for s in ("left", "right")}
        n = 256
        frame = Frame((-128.0, -128.0, -39.0), np.diag([1.0, 1.0, 1.0])[::-1], (2, n, n))
        scene = Scene((1, n, n))
        ears_neck.paint_ears(Window(scene, frame), ears, 50.0)
        darkest[hu] = scene.hu[scene.patient > 0.99].min()
    assert darkest[-280.0] < -120 < darkest[60.0]


def test_shoulder_tips_are_islands_that_grow_towards_the_feet(adult):
    tips = adult["neck"] | {"has_tips": True, "tip_z": -90.0, "tip_x": 120.0}
    tips |= {"tip_axes_mm": {"x": 30.0, "y": 30.0, "z": 40.0}, "tip_shift_mm": 0.0}
    areas, pieces = [], []
    for z in (-80.0, -95.0, -105.0, -120.0):
        points = section(z, step_mm=2.0)
        with_tips = head.skin_distance(points, adult | {"neck": tips})[0] < 0
        without = head.skin_distance(points, adult)[0] < 0
        areas.append(int((with_tips & ~without).sum()))
        pieces.append(ndimage.label(with_tips)[1])
    assert areas[0] == 0 < areas[1] < areas[2] < areas[3]
    assert pieces[:2] == [1, 3]


def test_supports_are_placed_as_if_the_shoulders_were_not_raised(adult):
    raised = adult | {"neck": adult["neck"] | {"has_tips": True}}
    for one, two in zip(head.skin_points(adult), head.skin_points(raised)):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("name", ["pressed_hair", "braid", "bandage"])
def test_hair_and_bandages_are_neither_support_nor_patient(name):
    whole = window(30.0)
    x, y, _z = whole.points
    skin = np.sqrt(x * x + y * y) - 80 + 0 * whole.points[2]
    whole.paint_patient(whole.share(skin), 40.0)
    whole.paint_support(whole.share(-skin), -930.0, rigid=False)
    before = whole.scene.support.copy()
    foreign = sample(np.random.default_rng(0), RANGES["foreign_objects"])
    foreign |= {"z": 60.0, "side": 1, "layer_mm": 12.0, "bandage_mm": 6.0}
    if name == "bandage":
        foreign |= {"z": 30.0}
    plastic.paint_foreign_objects(whole, skin, foreign | {"present": [name]})
    scene = whole.scene
    assert scene.kept.sum() > 20
    assert not scene.ignore.any()
    assert np.allclose(scene.support, before * (1 - scene.kept), atol=1e-5)
    assert scene.support[scene.kept > 0.9].max() < 0.11
    assert not (scene.kept * (scene.patient > 0.999)).any()


def test_stand_of_a_plastic_skull_belongs_to_the_phantom():
    p = plastic.sample_patient(np.random.default_rng(2), "plastic")
    inserts = {"count": 0, "neck_mm": 0.0, "tubes": 0, "block": "no", "stand_mm": 60.0}
    shares = {}
    for stand in ("none", "plate"):
        whole = window(-100.0)
        p["phantom"] |= inserts | {"stand": stand, "stand_z": -100.0}
        plastic.paint(whole, plastic.skin_distance(whole.points, p), p)
        shares[stand] = whole.scene.patient.sum() * 4
    assert shares["plate"] - shares["none"] == pytest.approx(120 * 120, rel=0.1)


@pytest.mark.parametrize("arms", ["up", "down", "belly"])
def test_arms_of_a_chest_are_beside_above_or_on_the_trunk(arms):
    chest = chest_limbs.sample_patient(np.random.default_rng(1), "chest")
    chest |= {"arms": arms, "shoulder_z": 90.0, "arm_x": 220.0, "arm_y": 0.0, "arm_mm": 40.0}
    along = np.arange(-300, 300, 2)
    levels = {
        z: chest_limbs.skin_distance(section(z, 300.0, 2.0), chest)[0] < 0 for z in (-130, 0, 170)
    }
    lateral = {z: bool(mask[:, along > 200].any()) for z, mask in levels.items()}
    assert lateral == {-130: arms != "up", 0: arms != "up", 170: arms == "up"}
    in_front = levels[-130][along < -118]
    assert in_front.any() == (arms == "belly")
    neck = levels[170][:, abs(along) < 120].any(0).sum()
    assert 0 < neck < 0.5 * levels[0][:, abs(along) < 170].any(0).sum()
