"""Synthetic studies against analytic volumes, other DICOM readers, a validator and counts."""

import json
import shutil
from collections import Counter

import numpy as np
import pydicom
import pytest
from makers import validator_errors
from scipy import ndimage

from headrest.phantom import (
    SUPPORTS,
    render,
    sample_parameters,
    synthesize,
    synthesize_patients,
    write_dicom,
)
from headrest.phantom.chest_limbs import paint_limbs
from headrest.phantom.positioning import Layout
from headrest.phantom.scanner import scan
from headrest.phantom.scene import Frame, Scene, Window, box, capsule, cylinder, ellipsoid, sphere
from headrest.phantom.study import effects
from headrest.phantom.support_shapes import Piece
from headrest.phantom.supports import CATALOGUE, Kind, sample_support
from headrest.util import HeadrestError

SMALL = {"matrix": 96, "slices": 6}


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


def test_arrays_have_equal_shapes_and_positions_ascend_along_the_normal(studies):
    for study in studies:
        count, rows, columns = study.hu.shape
        assert study.hu.dtype == np.int16
        assert (count, rows, columns) == (6, 96, 96)
        assert study.positions.shape == (count, 3)
        assert study.contact.shape == (count,)
        assert study.labels.shape == study.hu.shape
        assert set(np.unique(study.labels)) <= {0, 1, 2, 3, 255}
        json.dumps(study.parameters)
        row, column = np.reshape(study.orientation, (2, 3))
        assert (np.diff(study.positions @ np.cross(row, column)) > 0).all()
        assert abs(row @ column) < 1e-5


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


def test_contact_agrees_with_the_masks(studies):
    for study in studies:
        dense = study.support & (study.hu > -500)
        for touching, support, patient in zip(study.contact, dense, study.patient):
            near = ndimage.distance_transform_edt(~support) if support.any() else patient + 9.0
            assert touching == ((near[patient] < 1.5).sum() >= 3)


@pytest.mark.slow
def test_at_least_a_third_of_patients_touch_their_support_or_as_requested(sampled):
    assert sum(d["contact_kind"] != "gap" for d in sampled[:100]) >= 34
    scanned = [synthesize(seed, matrix=96, slices=8).contact.any() for seed in range(16)]
    assert sum(scanned) >= 6
    assert sample_parameters(5, contact=False)["contact_kind"] == "gap"
    assert sample_parameters(5, contact=True)["contact_kind"] != "gap"
    assert synthesize(8, contact="strap", matrix=128, slices=12).contact.any()


def test_pressed_ears_touch_along_their_height_and_occur_only_on_request(sampled):
    assert not any(d["contact_kind"] == "pressed" for d in sampled)
    touching = {}
    for kind in ("ear", "pressed"):
        parameters = sample_parameters(12, contact=kind, matrix=128, slices=1)
        supports = parameters["support_parameters"]
        supports["list"] = [p for p in supports["list"] if p["name"] == "side_rails"]
        parameters["protocol"]["z_mm"] = [-50.0, -40.0, -30.0]
        touching[kind] = int(render(parameters).contact.sum())
    assert touching["pressed"] >= 2 > touching["ear"]


@pytest.mark.slow
def test_limbs_belong_to_the_patient_and_are_rare_without_request(sampled):
    assert 1 <= sum(bool(d["limbs"]) for d in sampled) <= 20
    assert all(sample_parameters(seed, with_limbs=True)["limbs"] for seed in (3103, 3117, 3149))
    assert not sample_parameters(3, region="chest", with_limbs=True)["limbs"]
    more = 0
    for seed in (3103, 3117, 3149):
        plain, limbs = (
            synthesize(seed, matrix=256, slices=1, with_limbs=asked) for asked in (False, True)
        )
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


def test_every_support_and_effect_occurs_in_two_hundred_patients(sampled):
    supports = Counter(name for d in sampled for name in d["supports"])
    occurring = Counter(name for d in sampled for name in d["effects"])
    assert not set(SUPPORTS) - set(supports)
    assert not set(effects(sampled[0])) - set(occurring)


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


def test_options_of_one_part_do_not_change_the_others():
    plain, chosen = sample_parameters(8), sample_parameters(8, contact="dense", slices=5)
    assert plain["anatomy"] == chosen["anatomy"]
    assert plain["scanner"] == chosen["scanner"]


def scanned_disc(radius, hu, size=128, pixel_mm=1.8, thickness_mm=5.0, insert=None, **changed):
    """A disc in air as scanned with some settings, and the distance of pixels from its centre."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    truth = np.where(np.hypot(rows, columns) < radius, hu, -1000).astype(np.float32)
    for side in (-1, 1) if insert else ():
        truth[np.hypot(rows, columns - side * 30) < 3] = insert
    scanner = sample_parameters(1)["scanner"] | changed
    return scan(truth, scanner, pixel_mm, thickness_mm, 0), rows, columns


def test_scanner_keeps_the_hu_of_water_and_air():
    ideal = dict.fromkeys(("hardening", "starvation", "rings", "lift_hu", "glow_hu"), 0)
    image, rows, columns = scanned_disc(45, 0, **ideal)
    assert abs(image[np.hypot(rows, columns) < 38].mean()) < 2
    assert abs(image[np.hypot(rows, columns) > 54].mean() + 1000) < 3


def test_metal_casts_dark_and_bright_streaks():
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


def test_padding_is_outside_the_circular_field_of_view(studies):
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


@pytest.mark.slow
def test_dciodvfy_reports_no_errors_or_warnings(studies, tmp_path):
    for number, study in enumerate(studies):
        folder = write_dicom(study, tmp_path / str(number))
        for path in sorted(folder.glob("*.dcm"))[::3]:
            assert not validator_errors("dciodvfy", path, kinds=("Error", "Abort", "Warning"))


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
            assert np.array_equal(truth["labels"], study.labels)
            assert np.array_equal(truth["contact"], study.contact)


def test_same_seed_gives_same_uids(studies, tmp_path):
    first, again = (write_dicom(studies[0], tmp_path / name) for name in "ab")
    for path in sorted(first.glob("*.dcm")):
        assert path.read_bytes() == (again / path.name).read_bytes()
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in first.glob("*.dcm")]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") for uid in uids)
    with pytest.raises(HeadrestError):
        write_dicom(studies[0], first)


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
    assert not list(tmp_path.glob(".writing-*"))


def test_refuses_a_folder_with_another_patient(tmp_path):
    options = {"slices": 2, "matrix": 64}
    (folder,) = synthesize_patients(tmp_path, 1, 7, **options)
    assert synthesize_patients(tmp_path, 1, 7, **options) == [folder]
    for other in ({"slices": 3}, {"matrix": 128}, {"contact": "pressed"}, {"region": "chest"}):
        with pytest.raises(HeadrestError, match="another folder"):
            synthesize_patients(tmp_path, 1, 7, **options | other)
    (folder / "parameters.json").write_text("[")
    with pytest.raises(HeadrestError, match="another folder"):
        synthesize_patients(tmp_path, 1, 7, **options)


@pytest.mark.parametrize("option", ["region", "contact"])
def test_refuses_unknown_region_and_contact(option):
    with pytest.raises(HeadrestError, match=f"{option} is .*foot"):
        synthesize(0, **{option: "foot"})


def test_lossy_padding_rings_and_is_declared_lossy(tmp_path):
    seed = next(
        s for s in range(99) if "padding_ringing" in sample_parameters(s, **SMALL)["effects"]
    )
    study = synthesize(seed, **SMALL)
    beyond = study.hu[study.hu < -1100]
    assert beyond.min() < study.padding[0] < beyond.max()
    slices = sorted(write_dicom(study, tmp_path / "ringing").glob("*.dcm"))
    assert pydicom.dcmread(slices[0]).LossyImageCompression == "01"
