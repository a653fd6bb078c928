"""Synthetic studies against analytic volumes, other DICOM readers, a validator and counts."""

import json
import shutil
from collections import Counter

import numpy as np
import pydicom
import pytest
from conftest import refused
from factories import contents, sitk_hu
from makers import validator_errors
from scipy import ndimage

from headrest.hounsfield import PATIENT, SUPPORT
from headrest.phantom import chest_limbs, ears_neck, head, plastic, synthesize_patients, write_dicom
from headrest.phantom.chest_limbs import paint_limbs
from headrest.phantom.positioning import Layout
from headrest.phantom.ranges import RANGES, sample
from headrest.phantom.scanner import scan
from headrest.phantom.scene import Frame, Scene, Window, box, capsule, cylinder, ellipsoid, sphere
from headrest.phantom.study import effects, render, sample_parameters, synthesize
from headrest.phantom.support_shapes import Piece
from headrest.phantom.supports import CATALOGUE, Kind, sample_support

SMALL = {"matrix": 96, "slices": 4}
TINY = {"matrix": 64, "slices": 1}


@pytest.fixture(scope="module")
def studies():
    """A dozen small studies of all kinds."""
    heads = [synthesize(seed, **SMALL) for seed in range(10)]
    return [*heads, synthesize(3, region="chest", **SMALL), synthesize(4, contact="ear", **SMALL)]


@pytest.fixture(scope="module")
def sampled():
    """The parameters of two hundred patients."""
    return [sample_parameters(seed) for seed in range(200)]


def volume(shape, thickness_mm, slabs=3, tilt_deg=0.0, pixel_mm=0.8, matrix=100):
    """Volume in mm3 of a solid (a function of points), painted slice by slice."""
    tilt = np.deg2rad(tilt_deg)
    down = np.array([0, np.cos(tilt), np.sin(tilt)])
    normal = np.array([0, -np.sin(tilt), np.cos(tilt)])
    steps = np.stack([normal * thickness_mm / slabs, down * pixel_mm, [pixel_mm, 0, 0]])
    total, half = 0.0, pixel_mm * (matrix - 1) / 2
    for number in range(-12, 13):
        origin = normal * thickness_mm * (number - 0.5) - down * half - np.array([half, 0, 0])
        scene = Scene((slabs, matrix, matrix))
        window = Window(scene, Frame(origin, steps, (slabs + 1, matrix, matrix)))
        window.paint_support(window.share(shape(window.points)), 100.0)
        total += float(scene.support.mean(0).sum()) * pixel_mm**2 * thickness_mm
    return total


@pytest.mark.parametrize("tilt_deg", [0.0, 21.0])
@pytest.mark.parametrize("thickness_mm", [1.0, 5.0])
def test_painted_volumes_are_the_analytic_ones(thickness_mm, tilt_deg):
    long = 6 * thickness_mm if thickness_mm > 1 else 9.0
    ends = (-10, 2, 1), (10, 2, 1)
    analytic = {
        np.pi * 15.3**2 * 2 * long: lambda p: cylinder(p, (1.3, -2.1, 0.4), 15.3, long),
        4 / 3 * np.pi * 9.7**3: lambda p: sphere(p, (0.7, 1.1, 0.3), 9.7),
        4 / 3 * np.pi * 18 * 13 * 9.5: lambda p: ellipsoid(p, (0.2, 0.1, 0.0), (18, 13, 9.5)),
        np.pi * 5**2 * 20 + 4 / 3 * np.pi * 5**3: lambda p: capsule(p, *ends, 5.0),
    }
    for expected, shape in analytic.items():
        assert volume(shape, thickness_mm, tilt_deg=tilt_deg) == pytest.approx(expected, rel=0.01)


def test_arrays_and_contact_agree_with_the_masks(studies):
    for study in studies:
        assert study.hu.dtype == np.int16
        assert study.hu.shape == study.labels.shape == (4, 96, 96)
        assert (study.positions.shape, study.contact.shape) == ((4, 3), (4,))
        assert set(np.unique(study.labels)) <= {0, 1, 2, 3, 255}
        json.dumps(study.parameters)
        row, column = np.reshape(study.orientation, (2, 3))
        assert (np.diff(study.positions @ np.cross(row, column)) > 0).all()
        assert abs(row @ column) < 1e-5
        dense = study.support & (study.hu > -500)
        for touching, support, patient in zip(study.contact, dense, study.patient):
            near = ndimage.distance_transform_edt(~support) if support.any() else patient + 9.0
            assert touching == ((near[patient] < 1.5).sum() >= 3)


@pytest.mark.slow
def test_labels_follow_the_shares_of_the_materials():
    seen = set()
    for seed in range(40, 52):
        parameters = sample_parameters(seed, **SMALL)
        parameters["protocol"] |= {"padding": "none", "upside_down": False, "mirrored": False}
        study, layout = render(parameters), Layout(parameters)
        for i, labels in enumerate(study.labels):
            truth = layout.paint_slice(i)
            support, patient, kept = (truth[name] for name in ("support", "patient", "kept"))
            assert (labels[(kept >= 0.3) & (support < 0.5)] == 3).all()
            plain = (truth["ignore"] < 0.3) & (kept < 0.3)
            assert (labels[plain & (support < 0.002) & (patient < 0.5)] == 0).all()
            assert (labels[plain & (support < 0.5) & (patient >= 0.5)] == 2).all()
            air_like = truth["hu"] < -950
            assert (labels[(support >= 0.5) & ~air_like] == 1).all()
            assert (labels[(support >= 0.5) & air_like] == 255).all()
            mixed = (support > 0.005) & (support < 0.5) & (patient < 0.5)
            assert (labels[mixed & (kept < 0.3)] == 255).all()
            seen |= set(np.unique(labels).tolist())
    assert seen == {0, 1, 2, 3, 255}


def test_head_without_shoulders_or_limbs_is_one_large_component_of_tissue(studies):
    apart = {"shoulder_tips", "limbs"}
    for study in studies[:10]:
        is_alone = not apart & set(study.parameters["effects"])
        if is_alone and study.parameters["kind"] in ("adult", "old") and study.patient.any():
            assert study.hu[study.patient].mean() > -150
            biggest = study.patient[study.patient.sum((1, 2)).argmax()]
            labels, _ = ndimage.label(biggest)
            assert np.bincount(labels.ravel())[1:].max() > 0.9 * biggest.sum()


@pytest.mark.slow
def test_contact_and_limbs_are_as_frequent_as_meant_and_as_requested(sampled):
    assert sum(d["contact_kind"] != "gap" for d in sampled[:100]) >= 34
    scanned = [synthesize(seed, matrix=96, slices=8).contact.any() for seed in range(16)]
    assert sum(scanned) >= 6
    assert sample_parameters(5, contact=False)["contact_kind"] == "gap"
    assert sample_parameters(5, contact=True)["contact_kind"] != "gap"
    assert synthesize(8, contact="strap", matrix=128, slices=12).contact.any()
    assert 1 <= sum(bool(d["limbs"]) for d in sampled) <= 20
    assert all(sample_parameters(seed, with_limbs=True)["limbs"] for seed in (3103, 3117, 3149))
    assert not sample_parameters(3, region="chest", with_limbs=True)["limbs"]
    more = 0
    for seed in (3103, 3117, 3149):
        plain = synthesize(seed, matrix=256, slices=1, with_limbs=False)
        limbs = synthesize(seed, matrix=256, slices=1, with_limbs=True)
        gained, lost = limbs.patient & ~plain.patient, plain.patient & ~limbs.patient
        assert not lost.any()
        assert -200 < np.median(limbs.hu[gained]) < 100  # fat and muscle
        assert (limbs.hu[gained] > 400).any()  # around bone
        more += ndimage.label(limbs.patient[0])[1] > ndimage.label(plain.patient[0])[1]
    assert more  # with a surface of its own


@pytest.mark.parametrize("is_rigid", [True, False])
def test_limbs_yield_to_rigid_supports_and_soft_supports_to_limbs(is_rigid):
    n, limb = 64, sample_parameters(3117, with_limbs=True)["limbs"][0]
    limb |= {"round_deg": 0.0, "middle_z": 0.0, "across": False}
    frame = Frame((50.0, -64.0, -1.0), np.diag([2.0, 2.0, 2.0])[::-1], (2, n, n))
    shapes = {}
    for name, share in (("alone", 0.0), ("met", 1.0)):
        scene = Scene((1, n, n))
        half = np.zeros((1, n, n), np.float32)
        half[:, : n // 2] = share
        Window(scene, frame).paint_support(half, 100.0, is_rigid)
        paint_limbs(Window(scene, frame), [limb])
        shapes[name] = scene
    alone, met = (shapes[name].patient for name in ("alone", "met"))
    assert alone[:, : n // 2].sum() > 50
    assert np.array_equal(met[:, n // 2 :], alone[:, n // 2 :])
    assert np.array_equal(met[:, : n // 2], alone[:, : n // 2] * (0 if is_rigid else 1))
    support = shapes["met"].support[:, : n // 2]
    assert np.allclose(support, 1 if is_rigid else 1 - alone[:, : n // 2])


def test_every_support_and_effect_occurs_and_pressed_ears_only_on_request(sampled):
    supports = Counter(name for d in sampled for name in d["supports"])
    occurring = Counter(name for d in sampled for name in d["effects"])
    assert not set(CATALOGUE) - set(supports)
    assert not set(effects(sampled[0])) - set(occurring)
    plain, chosen = sample_parameters(8), sample_parameters(8, contact="dense", slices=5)
    assert plain["anatomy"] == chosen["anatomy"]  # one option leaves the other parts
    assert plain["scanner"] == chosen["scanner"]
    assert not any(d["contact_kind"] == "pressed" for d in sampled)
    touching = {}
    for kind in ("ear", "pressed"):
        parameters = sample_parameters(12, contact=kind, matrix=128, slices=1)
        supports = parameters["support_parameters"]
        supports["list"] = [p for p in supports["list"] if p["name"] == "side_rails"]
        parameters["protocol"]["z_mm"] = [-50.0, -40.0, -30.0]
        touching[kind] = int(render(parameters).contact.sum())
    assert touching["pressed"] >= 2 > touching["ear"]


def test_new_support_takes_one_shape_and_one_row(monkeypatch):
    def slab(x, y, z, p):
        return [Piece(box([x, y, z], (0, 10, 0), (p["wide_mm"], 10, None)) + 0 * z, 100.0)]

    ranges = {"wide_mm": (60.0, 80.0), "top": (200.0, 200.0), "foot": (-300.0, -300.0)}
    monkeypatch.setitem(CATALOGUE, "slab", Kind(slab, ranges, "below", is_rigid=True, main=0.1))
    parameters = sample_parameters(0, matrix=128, slices=8, contact="touch")
    slabs = [sample_support(np.random.default_rng(0), "slab", "touch")]
    parameters["support_parameters"]["list"] = slabs
    study = render(parameters)
    assert study.support.any((1, 2)).all()
    inside = ndimage.binary_erosion(study.support, np.ones((1, 5, 5), bool))
    assert abs(np.median(study.hu[inside]) - 100) < 30


def scanned_disc(radius, hu, size=128, pixel_mm=1.8, thickness_mm=5.0, insert=None, **changed):
    """A disc in air as scanned with some settings, and the distance of pixels from its centre."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    truth = np.where(np.hypot(rows, columns) < radius, hu, -1000).astype(np.float32)
    for side in (-1, 1) if insert else ():
        truth[np.hypot(rows, columns - side * 30) < 3] = insert
    scanner = sample_parameters(1)["scanner"] | changed
    return scan(truth, scanner, pixel_mm, thickness_mm, 0), rows, columns


def test_scanner_keeps_the_hu_of_water_and_air_and_metal_casts_streaks():
    ideal = dict.fromkeys(("hardening", "starvation", "rings", "lift_hu", "glow_hu"), 0)
    image, rows, columns = scanned_disc(45, 0, **ideal)
    assert abs(image[np.hypot(rows, columns) < 38].mean()) < 2
    assert abs(image[np.hypot(rows, columns) > 54].mean() + 1000) < 3
    exact = {"hardening": 1.0, "rings": False, "noise_hu": 0.1, "low_dose": False}
    exact |= {"size": 192, "pixel_mm": 1.2}
    clean, rows, columns = scanned_disc(70, 40, **exact)
    streaked = scanned_disc(70, 40, insert=8000, **exact)[0] - clean
    between = (abs(rows) < 2) & (abs(columns) < 20)
    away = (abs(columns) < 2) & (abs(rows) > 30) & (abs(rows) < 60)
    assert streaked[between].mean() < -20
    assert streaked[between].mean() < streaked[away].mean()


def test_noise_of_a_very_sharp_kernel_is_strong_in_thin_slices():
    def noise(thickness_mm, sharp=True):
        settings = {"sharp_noise_hu": 100.0, "low_dose": False, "rings": False, "bone_noise": 2.0}
        settings |= {"noisy_sharp": sharp, "kernel": "bone", "thickness_mm": thickness_mm}
        image, rows, columns = scanned_disc(45, 0, **settings)
        return image[np.hypot(rows, columns) < 30].std()

    assert 70 < noise(1.25) < 130
    assert noise(0.625) > 0.9 * noise(1.25) > 1.5 * noise(5.0)
    assert noise(1.25, sharp=False) < 40


def test_padding_is_outside_the_field_of_view_and_rings_if_it_is_lossy(studies, tmp_path):
    for study in studies:
        value, _ = study.padding
        if value is not None and value < -1024:
            rows, columns = np.mgrid[:96, :96] - 47.5
            outside = np.broadcast_to(np.hypot(rows, columns) > 48.2, study.hu.shape)
            if study.parameters["protocol"]["lossy_ratio"]:  # rings around its value at its edge
                assert abs(np.median(study.hu[outside]) - value) < 50
            else:
                assert np.array_equal(study.hu == value, outside)
        else:
            assert study.hu.min() >= -1024
    seed = next(
        s for s in range(99) if "padding_ringing" in sample_parameters(s, **SMALL)["effects"]
    )
    study = synthesize(seed, **SMALL)
    beyond = study.hu[study.hu < -1100]
    assert beyond.min() < study.padding[0] < beyond.max()
    slices = sorted(write_dicom(study, tmp_path / "ringing").glob("*.dcm"))
    assert pydicom.dcmread(slices[0]).LossyImageCompression == "01"


@pytest.mark.slow
def test_dciodvfy_reports_no_errors_or_warnings(studies, tmp_path):
    for number, study in enumerate(studies):
        folder = write_dicom(study, tmp_path / str(number))
        for path in sorted(folder.glob("*.dcm"))[::3]:
            assert not validator_errors("dciodvfy", path, kinds=("Error", "Abort", "Warning"))


def test_simpleitk_reads_the_same_hu_and_the_same_seed_gives_the_same_files(studies, tmp_path):
    for number, study in enumerate(studies):
        folder = write_dicom(study, tmp_path / str(number))
        assert np.array_equal(sitk_hu(folder), study.hu)
        with np.load(folder / "truth.npz", allow_pickle=False) as truth:
            assert np.array_equal(truth["labels"], study.labels)
            assert np.array_equal(truth["contact"], study.contact)
    first, again = (write_dicom(studies[0], tmp_path / name) for name in "ab")
    assert contents(first) == contents(again)
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in first.glob("*.dcm")]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") for uid in uids)
    refused("is not empty", write_dicom, studies[0], first)


@pytest.mark.slow
def test_complete_patients_are_kept_and_missing_ones_written(tmp_path):
    options = {"matrix": 48, "slices": 2}
    folders = synthesize_patients(tmp_path, 3, 20, **options)
    stamps = [(folder / "truth.npz").stat().st_mtime_ns for folder in folders]
    shutil.rmtree(folders[1])
    again = synthesize_patients(tmp_path, 3, 20, jobs=2, **options)
    assert again == folders
    assert all(len(list(folder.glob("*.dcm"))) == 2 for folder in folders)
    after = [(folder / "truth.npz").stat().st_mtime_ns for folder in folders]
    assert [a == b for a, b in zip(after, stamps)] == [True, False, True]
    assert not list(tmp_path.glob(".*"))


def test_refuses_a_folder_with_another_patient_and_unknown_options(tmp_path):
    options = {"slices": 2, "matrix": 64}
    (folder,) = synthesize_patients(tmp_path, 1, 7, **options)
    assert synthesize_patients(tmp_path, 1, 7, **options) == [folder]
    for other in ({"slices": 3}, {"matrix": 128}, {"contact": "pressed"}, {"region": "chest"}):
        refused("another folder", synthesize_patients, tmp_path, 1, 7, **options | other)
    (folder / "parameters.json").write_text("[")
    refused("another folder", synthesize_patients, tmp_path, 1, 7, **options)
    for option in ("region", "contact"):
        refused(f"{option} is .*foot", synthesize, 0, **{option: "foot"})
    for option in ({"slices": 0}, {"matrix": 0}, {"seed": -1}):
        refused(f"{next(iter(option))} is .* or more", sample_parameters, **{"seed": 0} | option)
    refused("not 'ear'", sample_parameters, 0, region="chest", contact="ear")
    assert sample_parameters(0, region="chest", contact="gap")["contact_kind"] == "gap"
    assert len(sample_parameters(0, slices=500)["protocol"]["z_mm"]) == 500


def test_renders_odd_and_tiny_matrices():
    seed = next(s for s in range(200) if "padding_ringing" in sample_parameters(s)["effects"])
    for matrix in (16, 385):
        assert synthesize(seed, matrix=matrix, slices=1).hu.shape == (1, matrix, matrix)


def test_other_options_give_other_uids_and_a_file_is_no_place_for_a_patient(tmp_path):
    """The support of contact on request is denser: another image of the same kind of contact."""
    sampled, asked = sample_parameters(1, **TINY), sample_parameters(1, contact="sunk", **TINY)
    assert sampled["contact_kind"] == asked["contact_kind"]
    folders = (write_dicom(render(p), tmp_path / n) for n, p in (("a", sampled), ("b", asked)))
    first, second = (pydicom.dcmread(folder / "0001.dcm") for folder in folders)
    assert first.PixelData != second.PixelData
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert first[keyword].value != second[keyword].value
    refused("cannot be written", write_dicom, render(sampled), tmp_path / "a" / "0001.dcm")


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
    raised = adult | {"neck": adult["neck"] | {"has_tips": True}}
    for one, two in zip(head.skin_points(adult), head.skin_points(raised)):
        assert np.array_equal(one, two)  # supports are placed as if they were not raised


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
    sections = {z: section(z, 300.0, 2.0) for z in (-130, 0, 170)}
    levels = {z: chest_limbs.skin_distance(p, chest)[0] < 0 for z, p in sections.items()}
    lateral = {z: bool(mask[:, along > 200].any()) for z, mask in levels.items()}
    assert lateral == {-130: arms != "up", 0: arms != "up", 170: arms == "up"}
    in_front = levels[-130][along < -118]
    assert in_front.any() == (arms == "belly")
    neck = levels[170][:, abs(along) < 120].any(0).sum()
    assert 0 < neck < 0.5 * levels[0][:, abs(along) < 170].any(0).sum()


@pytest.mark.parametrize(
    ("seed", "slices"), [(920045, 4), (8200019, None), (8200026, 6)], ids=["arc", "clamp", "couch"]
)
def test_no_support_cuts_through_a_patient(seed, slices):
    """The arc at the border, a skull clamp, a couch below shoulders: 1 to 4 % were cut off."""
    labels = synthesize(seed, slices=slices, matrix=128).labels
    patient, support = labels == PATIENT, labels == SUPPORT
    below_patient = support & np.maximum.accumulate(patient, axis=1)
    cut_off = patient & np.maximum.accumulate(below_patient, axis=1)
    assert cut_off.sum() < 0.001 * patient.sum()
