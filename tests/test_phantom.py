"""Synthetic studies against analytic volumes, other DICOM readers, a validator and counts."""

import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import refused
from factories import contents, sitk_hu
from makers import validator_errors
from pydicom import dcmread
from scipy import ndimage

from headrest.phantom import chest_limbs, head, plastic, synthesize_patients, write_dicom
from headrest.phantom.chest_limbs import paint_limbs
from headrest.phantom.positioning import Layout
from headrest.phantom.ranges import RANGES, sample
from headrest.phantom.scanner import scan
from headrest.phantom.scene import Frame, Scene, Window, capsule, cylinder, ellipsoid, sphere
from headrest.phantom.study import effects, render, sample_parameters, synthesize
from headrest.phantom.supports import CATALOGUE

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


def volume(shape, thickness_mm, tilt_deg, slabs=3, pixel_mm=0.8, matrix=100):
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
        window.paint_as(window.share(shape(window.points)), 100.0, "support")
        total += float(scene.support.mean(0).sum()) * pixel_mm**2 * thickness_mm
    return total


@pytest.mark.parametrize(("thickness_mm", "tilt_deg"), [(1.0, 21.0), (5.0, 0.0), (5.0, 21.0)])
def test_painted_volumes_are_the_analytic_ones(thickness_mm, tilt_deg):
    long, ends = max(6 * thickness_mm, 9.0), ((-10, 2, 1), (10, 2, 1))
    for expected, shape in (
        (np.pi * 15.3**2 * 2 * long, lambda p: cylinder(p, (1.3, -2.1, 0.4), 15.3, long)),
        (4 / 3 * np.pi * 9.7**3, lambda p: sphere(p, (0.7, 1.1, 0.3), 9.7)),
        (4 / 3 * np.pi * 18 * 13 * 9.5, lambda p: ellipsoid(p, (0.2, 0.1, 0.0), (18, 13, 9.5))),
        (np.pi * 5**2 * 20 + 4 / 3 * np.pi * 5**3, lambda p: capsule(p, *ends, 5.0)),
    ):
        assert volume(shape, thickness_mm, tilt_deg) == pytest.approx(expected, rel=0.01)


def test_arrays_and_contact_agree_with_the_masks(studies):
    for study in studies:
        assert (study.hu.dtype, study.positions.shape) == (np.int16, (4, 3))
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
            half, inside, few = support >= 0.5, patient >= 0.5, kept < 0.3
            plain, air_like = few & (truth["ignore"] < 0.3), truth["hu"] < -950
            for where, label in (
                (~few & ~half, 3),
                (plain & (support < 0.002) & ~inside, 0),
                (plain & ~half & inside, 2),
                (half & ~air_like, 1),
                (half & air_like | few & (support > 0.005) & ~half & ~inside, 255),
            ):
                assert (labels[where] == label).all()
            seen |= set(np.unique(labels).tolist())
    assert seen == {0, 1, 2, 3, 255}


@pytest.mark.slow
def test_contact_and_limbs_are_as_frequent_as_meant_and_as_requested(sampled):
    assert sum(d["contact_kind"] != "gap" for d in sampled[:100]) >= 34
    assert sum(synthesize(s, matrix=96, slices=8).contact.any() for s in range(16)) >= 6
    for contact in (False, True):
        assert (sample_parameters(5, contact=contact)["contact_kind"] != "gap") == contact
    assert synthesize(8, contact="strap", matrix=128, slices=12).contact.any()
    assert 1 <= sum(bool(d["limbs"]) for d in sampled) <= 20
    assert not sample_parameters(3, region="chest", with_limbs=True)["limbs"]
    plain, limbs = (synthesize(3103, matrix=256, slices=1, with_limbs=w) for w in (False, True))
    gained = limbs.hu[limbs.patient & ~plain.patient]
    assert not (plain.patient & ~limbs.patient).any()
    assert -200 < np.median(gained) < 100  # fat and muscle
    assert (gained > 400).any()  # around bone
    surfaces = [ndimage.label(one.patient[0])[1] for one in (plain, limbs)]
    assert surfaces[0] < surfaces[1]


def test_every_support_and_effect_occurs_and_pressed_ears_only_on_request(sampled):
    supports = Counter(name for d in sampled for name in d["supports"])
    occurring = Counter(name for d in sampled for name in d["effects"])
    assert not set(CATALOGUE) - set(supports)
    assert not set(effects(sampled[0])) - set(occurring)
    pads = [p for d in sampled for p in d["support_parameters"]["list"] if CATALOGUE[p["name"]].pad]
    assert 0.8 < np.mean([p["gap_mm"] < 5 for p in pads]) < 0.95
    plain, chosen = sample_parameters(8), sample_parameters(8, contact="dense", slices=5)
    assert all(plain[part] == chosen[part] for part in ("anatomy", "scanner"))  # others unchanged
    assert not any(d["contact_kind"] == "pressed" for d in sampled)
    touching = {}
    for kind in ("ear", "pressed"):
        parameters = sample_parameters(12, contact=kind, matrix=128, slices=1)
        supports = parameters["support_parameters"]
        supports["list"] = [p for p in supports["list"] if p["name"] == "side_rails"]
        parameters["protocol"]["z_mm"] = [-50.0, -40.0, -30.0]
        touching[kind] = int(render(parameters).contact.sum())
    assert touching["pressed"] >= 2 > touching["ear"]


@pytest.mark.parametrize(("seed", "slices"), [(920045, 4), (8200019, None), (8200026, 6)])
def test_no_support_cuts_through_a_patient(seed, slices):
    """The arc at the border, a skull clamp, a couch below shoulders: 1 to 4 % were cut off."""
    study = synthesize(seed, slices=slices, matrix=128)
    below_patient = study.support & np.maximum.accumulate(study.patient, axis=1)
    cut_off = study.patient & np.maximum.accumulate(below_patient, axis=1)
    assert cut_off.sum() < 0.001 * study.patient.sum()


def test_a_support_lies_behind_a_supine_head_and_before_a_prone_one():
    """By the orientation of the slices: y of DICOM increases to the back."""
    for seed in (61, 73, 8, 10):
        study = synthesize(seed, matrix=128, slices=3)
        support, patient = map(ndimage.center_of_mass, (study.support, study.patient))
        y_of_steps = study.orientation[4], study.orientation[1]  # to the next row, and column
        behind = np.dot(np.subtract(support, patient)[1:], y_of_steps)  # pixels
        assert (behind > 3) != study.parameters["protocol"]["prone"], (seed, behind)


@pytest.mark.parametrize("seed", [9100048, 9400290])
def test_a_rigid_wall_leaves_a_limb_or_shoulder_on_one_side(seed):
    """As many pieces as without supports; both parts of an arm beside a wall were kept before."""
    parameters = sample_parameters(seed, matrix=128, slices=1)
    bare = parameters | {"support_parameters": {"list": []}}
    assert len({ndimage.label(render(p).patient[0])[1] for p in (parameters, bare)}) == 1


def scanned_disc(radius, hu, insert_hu, size=128, pixel_mm=1.8, **changed):
    """A disc with two inserts as scanned with some settings, and the place of each pixel in it."""
    rows, columns = abs(np.mgrid[:size, :size] - (size - 1) / 2)
    truth = np.where(np.hypot(rows, columns) < radius, hu, -1000).astype(np.float32)
    truth[np.hypot(rows, columns - 30) < 3] = insert_hu
    scanner = sample_parameters(1)["scanner"] | changed
    return scan(truth, scanner, pixel_mm, 5.0, 0), rows, columns


def test_scanner_keeps_the_hu_of_water_and_air_and_metal_casts_streaks():
    ideal = dict.fromkeys(("hardening", "starvation", "rings", "lift_hu", "glow_hu"), 0)
    image, rows, columns = scanned_disc(45, 0, 0, **ideal)
    assert abs(image[np.hypot(rows, columns) < 38].mean()) < 2
    assert abs(image[np.hypot(rows, columns) > 54].mean() + 1000) < 3
    exact = {"hardening": 1.0, "rings": False, "noise_hu": 0.1, "low_dose": False}
    exact |= {"size": 192, "pixel_mm": 1.2}
    clean, rows, columns = scanned_disc(70, 40, 40, **exact)
    streaks = scanned_disc(70, 40, 8000, **exact)[0] - clean
    between = streaks[(rows < 2) & (columns < 20)].mean()
    assert between < min(-20, streaks[(columns < 2) & (rows > 30) & (rows < 60)].mean())


def test_padding_is_outside_the_field_of_view_and_rings_if_it_is_lossy(studies, tmp_path):
    rows, columns = np.mgrid[:96, :96] - 47.5
    outside = np.tile(np.hypot(rows, columns) > 48.2, (4, 1, 1))
    for study in studies:
        padding = study.parameters["protocol"]["padding"]
        value = -1024 if padding == "none" else int(padding)
        if value >= -1024:
            assert study.hu.min() >= -1024
        elif study.parameters["protocol"]["lossy_ratio"]:  # rings around its value at its edge
            assert abs(np.median(study.hu[outside]) - value) < 50
        else:
            assert np.array_equal(study.hu == value, outside)
    seed = next(s for s in range(99) if "padding_ringing" in sample_parameters(s)["effects"])
    study = synthesize(seed, **SMALL)
    beyond = study.hu[study.hu < -1100]
    assert beyond.min() < int(study.parameters["protocol"]["padding"]) < beyond.max()
    assert dcmread(write_dicom(study, tmp_path / "one") / "0001.dcm").LossyImageCompression == "01"
    for matrix in (16, 385):
        assert synthesize(seed, matrix=matrix, slices=1).hu.shape == (1, matrix, matrix)


def test_written_studies_are_valid_have_own_uids_and_simpleitk_reads_them(studies, tmp_path):
    for number, study in enumerate(studies):  # two of them differ from others in one option only
        folder = write_dicom(study, tmp_path / str(number))
        assert np.array_equal(sitk_hu(folder), study.hu)
        with np.load(folder / "truth.npz", allow_pickle=False) as truth:
            assert np.array_equal(truth["labels"], study.labels)
            assert np.array_equal(truth["contact"], study.contact)
    slices = sorted(tmp_path.rglob("*.dcm"))
    headers = [dcmread(path, stop_before_pixels=True) for path in slices]
    for keyword, count in (("SOPInstanceUID", 48), ("SeriesInstanceUID", 12)):
        uids = {ds[keyword].value for ds in headers}
        assert len(uids) == count
        assert all(uid.startswith("2.25.") for uid in uids)
    assert not validator_errors("dciodvfy", *slices[::3], kinds=("Error", "Abort", "Warning"))
    refused("is not empty", write_dicom, studies[0], tmp_path / "0")
    refused("cannot be written", write_dicom, studies[0], slices[0])
    assert contents(write_dicom(studies[0], tmp_path / "again")) == contents(tmp_path / "0")


@pytest.mark.slow
def test_complete_patients_are_kept_missing_ones_written_and_others_refused(tmp_path):
    folders = synthesize_patients(tmp_path, 3, 20, **TINY)
    before, stamps = contents(tmp_path), [(one / "truth.npz").stat().st_mtime for one in folders]
    shutil.rmtree(folders[1])
    assert synthesize_patients(tmp_path, 3, 20, jobs=2, **TINY) == folders
    assert contents(tmp_path) == before
    after = [(one / "truth.npz").stat().st_mtime for one in folders]
    assert [a == b for a, b in zip(after, stamps)] == [True, False, True]


def test_refuses_a_folder_with_another_patient_and_unknown_options(tmp_path):
    (folder,) = synthesize_patients(tmp_path, 1, 7, **TINY)
    assert synthesize_patients(tmp_path, 1, 7, **TINY) == [folder]
    for other in ({"slices": 3}, {"matrix": 128}, {"contact": "pressed"}, {"region": "chest"}):
        refused("another folder", synthesize_patients, tmp_path, 1, 7, **TINY | other)
    (folder / "parameters.json").write_text("[")
    refused("another folder", synthesize_patients, tmp_path, 1, 7, **TINY)
    for option in ("region", "contact"):
        refused(f"{option} is .*foot", synthesize, 0, **{option: "foot"})
    for option in ({"slices": 0}, {"matrix": 0}, {"seed": -1}):
        refused(f"{next(iter(option))} is .* or more", sample_parameters, **{"seed": 0} | option)
    refused("not 'ear'", sample_parameters, 0, region="chest", contact="ear")
    assert sample_parameters(0, region="chest", contact="gap")["contact_kind"] == "gap"
    assert len(sample_parameters(0, slices=500)["protocol"]["z_mm"]) == 500


def window(z):
    """An empty window of 256 mm, in pixels of 2 mm and a slab 4 mm thick."""
    steps = np.diag([4.0, 2.0, 2.0])[:, ::-1]
    return Window(Scene((1, 128, 128)), Frame((-128.0, -128.0, z - 2.0), steps, (2, 128, 128)))


@pytest.mark.parametrize("is_rigid", [True, False])
def test_limbs_yield_to_rigid_supports_and_soft_supports_to_limbs(is_rigid):
    limb = sample_parameters(3117, with_limbs=True)["limbs"][0]
    limb |= {"round_deg": 0.0, "middle_z": 0.0, "across": False}
    alone, met = window(0.0), window(0.0)
    upper = np.repeat(np.float32([1, 0]), 64)[None, :, None] + np.zeros((1, 128, 128), np.float32)
    met.paint_as(upper, 100.0, *(["support", "rigid"] if is_rigid else ["support"]))
    for one in (alone, met):
        paint_limbs(one, [limb])
    limb = alone.scene.patient
    assert min(limb[:, :64].sum(), limb[:, 64:].sum()) > 50
    assert np.array_equal(met.scene.patient, limb * (1 - upper) if is_rigid else limb)
    assert np.allclose(met.scene.support, upper if is_rigid else upper * (1 - limb))


@pytest.mark.parametrize(("name", "z"), [("pressed_hair", 60), ("braid", 60), ("bandage", 30)])
def test_hair_and_bandages_are_neither_support_nor_patient(name, z):
    whole = window(30.0)
    scene, (x, y, level) = whole.scene, whole.points
    skin = np.sqrt(x * x + y * y) - 80 + 0 * level
    whole.paint_patient(whole.share(skin), 40.0)
    whole.paint_as(whole.share(-skin), -930.0, "support")
    before = scene.support.copy()
    foreign = sample(np.random.default_rng(0), RANGES["foreign_objects"])
    foreign |= {"z": z, "side": 1, "layer_mm": 12.0, "bandage_mm": 6.0, "present": [name]}
    plastic.paint_foreign_objects(whole, skin, foreign)
    assert scene.kept.sum() > 20 > scene.ignore.sum() == 0
    assert np.allclose(scene.support, before * (1 - scene.kept), atol=1e-5)
    assert scene.support[scene.kept > 0.9].max() < 0.11
    assert not (scene.kept * (scene.patient > 0.999)).any()


LEAF = {"shape": "forward", "leaf_bend": 0.0, "leaf_lean": 0.0, "twist_mm": 0.0, "gap_mm": 6.0}
LEAF |= {"thickness_mm": 5.0, "leaf_mm": 25.0, "leaf_at": 0.8}
TIPS = {"tip_z": -90.0, "tip_x": 105.0, "tip_y": 0.0, "tip_shift_mm": 0.0, "has_tips": False}
TIPS |= {"tip_axes_mm": {"x": 20.0, "y": 20.0, "z": 40.0}}
BARE = {"count": 0, "neck_mm": 0.0, "tubes": 0, "block": "no", "stand": "none", "stand_mm": 60.0}
ARMS = {"shoulder_z": 90.0, "arm_x": 100.0, "arm_y": -90.0, "arm_mm": 20.0, "arms": "down"}


@pytest.mark.parametrize(
    ("module", "parts", "z", "before", "after", "mm2"),
    [
        (head, ["ears", "left"], -38, LEAF, {"leaf_mm": 50.0}, 25 * 3),
        (head, ["neck"], -105, TIPS, {"has_tips": True}, 1530),
        (plastic, ["phantom"], -100, BARE | {"stand_z": -100.0}, {"stand": "plate"}, 120 * 120),
        (chest_limbs, [], -130, ARMS, {"arms": "belly"}, 2980),
        (chest_limbs, [], 170, ARMS, {"arms": "up"}, 1220),
    ],
)
def test_a_part_of_a_patient_adds_its_area(module, parts, z, before, after, mm2):
    areas = []
    for changes in (before, before | after):
        patient = part = module.sample_patient(np.random.default_rng(2), "adult")
        for name in parts:
            part = part[name]
        part |= changes
        whole = window(z)
        module.paint(whole, module.skin_distance(whole.points, patient), patient)
        areas.append(whole.scene.patient.sum() * 4)
    assert areas[1] - areas[0] == pytest.approx(mm2, rel=0.1, abs=1)
