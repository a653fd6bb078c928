"""Training sets: from studies or from scans and masks, held-out patients, batches, augmentation."""

import shutil
import threading

import numpy as np
import pytest
from conftest import head_hu, refused, uid
from factories import reoriented
from makers import made
from scipy import ndimage

from headrest import find_support
from headrest.__main__ import main
from headrest.dicom.nifti import affine_of
from headrest.dicom.segmentation import write_segmentation
from headrest.hounsfield import FLOOR, IGNORE_LABEL, NOT_SUPPORT, SUPPORT, scale
from headrest.phantom import read_truth, synthesize_patients
from headrest.train import batches, dataset
from headrest.train.dataset import read_training_set, write_training_set
from headrest.train.masks import FIRST_SEED, dataset_from_masks
from headrest.train.synthetic import choose_patients

nibabel = pytest.importorskip("nibabel")
STATES = ["free", "touching", "absent"]
ONE_HU = scale(np.array(1.0)) - scale(np.array(0.0))


def study(patient, slices, seed=0, **changes):
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3000, (slices, 40, 40)).astype(np.float32)
    parts = {"hu": hu, "labels": {"kmeans": hu > 2000}, "states": {"kmeans": STATES[:slices]}}
    return dataset.LabelledStudy(patient, **(parts | changes))


def test_reads_what_was_written_padded_around_the_centre(tmp_path):
    studies = [study("a", 3), study("b", 2, seed=1)]
    write_training_set(tmp_path / "set", iter(studies), matrix=43)
    stored = read_training_set(tmp_path / "set")
    assert (stored.hu.dtype, stored.labels["kmeans"].dtype) == (np.int16, np.uint8)
    assert isinstance(stored.hu, np.memmap)
    around = ((0, 0), (1, 2), (1, 2))
    hu, masks = (np.concatenate(p) for p in zip(*((s.hu, s.labels["kmeans"]) for s in studies)))
    assert np.array_equal(stored.hu, np.pad(hu, around, constant_values=FLOOR))
    labels = np.pad(np.where(masks, 1, NOT_SUPPORT), around, constant_values=0)
    assert np.array_equal(stored.target("kmeans"), labels)
    assert list(stored.slice) == [0, 1, 2, 0, 1]
    assert list(stored.states["kmeans"]) == STATES + STATES[:2]
    some = stored.take(np.array([4, 0]))
    assert np.array_equal(some.hu, stored.hu[[4, 0]])
    assert (list(some.patient), list(some.states["kmeans"])) == (["b", "a"], ["touching", "free"])


def test_refuses_contradictions_and_an_existing_a_damaged_or_an_older_set(tmp_path):
    one, folder = study("a", 2), tmp_path / "set"
    labels = one.labels["kmeans"]
    for bad, words in (
        ([study("a", 2, labels={"x": labels[:1]}, states={})], "a: .*differ in shape"),
        ([study("a", 2, states={"kmeans": ["free"]})], "a: .*differ in shape"),
        ([study("a", 2, hu=np.full_like(one.hu, np.nan))], "a: .*finite"),
        ([study("a", 2, labels={"x": labels.tolist()}, states={})], "a: .*or are not arrays"),
        ([study("a", 2, labels={}, states={})], "a: no labels"),
        ([study("a", 2, labels={"../x": labels}, states={})], "letters, digits"),
        ([study("a", 2, labels={"x": 4 * labels}, states={})], "labels other than"),
        ([one, study("b", 2, labels={"x": labels}, states={})], "b: other labels"),
        ([], "no slices"),
    ):
        refused(words, write_training_set, folder, bad, matrix=40)
        assert not list(tmp_path.iterdir())
    write_training_set(folder, [one], matrix=40)
    refused("exists", write_training_set, folder, [one], matrix=40)
    begin = b"patient,slice,state_kmeans\na,0,"
    for name, content, words in (
        ("index.csv", begin + b"free\n", "differ"),
        ("index.csv", b"patient,slice,state\na,0,free\n", "no training set"),
        ("index.csv", begin + b"free\na", "no training set"),
        ("index.csv", begin + b"x" * 200_000, "no training set"),
        ("hu.npy", b"", "no training set"),
    ):
        (folder / name).write_bytes(content)
        refused(words, read_training_set, folder)


PATIENTS = {"a": "CANARY-1", "b": "CANARY-2", "c": "CANARY-1"}


@pytest.fixture
def scans(tmp_path):
    """Three DICOM series of two patients, by folder."""
    return {
        name: made(tmp_path / "scans" / name / "ct", SeriesInstanceUID=uid(name), PatientID=patient)
        for name, patient in PATIENTS.items()
    }


def support_of(name):
    mask = np.zeros((3, 64, 64), bool)
    mask[1:, 54:56, 10 : 30 + ord(name) % 7] = True
    return mask


def write_mask(path, series, values, codes="RAS"):
    """Write a mask as DICOM Segmentation, NPZ or NIfTI, by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dcm":
        write_segmentation(series, values > 0, path)
    elif path.suffix.lower() == ".npz":
        with path.open("wb") as file:
            np.savez(file, values)
    else:
        image = nibabel.Nifti1Image(values.T.astype(np.uint8), affine_of(series))
        nibabel.save(reoriented(image, codes), path)


def made_of_masks(folder, scans="scans", **options):
    """The training set of the scans and masks in a folder."""
    options = {"matrix": 64, "synthetic": 0} | options
    dataset_from_masks(folder / scans, folder / "masks", folder / "set", **options)
    return read_training_set(folder / "set")


@pytest.mark.parametrize(
    "names",
    [
        ("a/ct.nii.gz", "b/ct.nii.gz", "c/ct.nii.gz"),
        ("a/ct-mask.nii.gz", "b/ct_edit.npz", "c/ct.corrected.seg.nii"),
        ("a/ct/edited.nii.gz", "b/ct/other.npz", "c/ct/Segmentation.nii"),
        ("UID.nii.gz", "UID_mask.NPZ", "deep/UID/mask.nii.gz"),
        ("one.dcm", "two.dcm", "three.dcm"),
    ],
)
def test_masks_are_paired_by_name_folder_uid_or_reference(tmp_path, scans, names):
    for (name, series), file in zip(scans.items(), names):
        path = tmp_path / "masks" / file.replace("UID", series.uid)
        write_mask(path, series, 7 * support_of(name).astype(np.uint8), codes="PIL")
    stored = made_of_masks(tmp_path)
    assert not any(b"CANARY" in path.read_bytes() for path in (tmp_path / "set").iterdir())
    labels, found = stored.target("manual").reshape(3, 3, 64, 64), {}
    for label, patient in zip(labels, stored.patient[::3]):
        name = next(name for name in PATIENTS if np.array_equal(label == 1, support_of(name)))
        assert (label[~support_of(name)] == NOT_SUPPORT).all()
        found[name] = patient
    assert (stored.hu.reshape(3, 3, 64, 64) == scans["a"].hu).all()
    assert found["a"] == found["c"] != found["b"]
    assert set(found.values()) == {"patient-1", "patient-2"}
    assert list(stored.states["manual"][:3]) == ["absent", "unknown", "unknown"]


def test_labels_of_support_and_patient_keep_their_values(tmp_path, scans):
    values = 2 * (scans["a"].hu > -500).astype(np.uint8)
    values[support_of("a")], values[0, :4] = 1, 255
    write_mask(tmp_path / "masks" / "a.nii.gz", scans["a"], values)
    (tmp_path / "one-scan").mkdir()
    (tmp_path / "scans" / "a" / "ct").rename(tmp_path / "one-scan" / "a")
    messages = []
    stored = made_of_masks(tmp_path, "one-scan", name="mine", on_message=messages.append)
    assert np.array_equal(stored.target("mine"), values)
    assert messages[0] == "patient-1: a, 3 slices, 2 with support"
    assert "needs two or more" in messages[1]
    write_mask(tmp_path / "one.npz", scans["a"], values[:1])  # of one file
    folders = tmp_path / "one-scan" / "a" / "01.dcm", tmp_path / "one.npz", tmp_path / "one"
    dataset_from_masks(*folders, matrix=62, synthetic=1, on_message=messages.append)
    labels = read_training_set(tmp_path / "one").target("manual")
    assert np.array_equal(labels[:1], values[:1, 1:-1, 1:-1])
    assert messages[2:] == ["patient-1: a, 1 slice, 0 with support, cropped to 62 x 62"]


def test_the_truth_of_synthetic_patients_is_taken_with_all_its_labels(tmp_path):
    folder, out = tmp_path / "patients", tmp_path / "set"
    (patient,) = synthesize_patients(folder, 1, seed=1, slices=2, matrix=256)
    dataset_from_masks(folder, folder, out, matrix=256, synthetic=0)
    labels, expected = read_training_set(out).target("manual"), read_truth(patient)["labels"]
    assert set(np.unique(expected)) == {0, 1, 2, NOT_SUPPORT, IGNORE_LABEL}
    assert np.array_equal(labels[labels != IGNORE_LABEL], expected[labels != IGNORE_LABEL])


def test_the_boundary_that_clean_adds_to_its_masks_is_ignored(tmp_path):
    """Networks learn the support without its partial-volume boundary, as of synthetic patients."""
    hu = head_hu()
    hu[53, 10:54] = -700  # beside the sheet
    series = made(tmp_path / "scans", hu=hu)
    found = find_support(series, "kmeans")
    assert found.boundary[:, 53].any()
    write_mask(tmp_path / "masks" / "a.nii.gz", series, found.removed)
    labels = made_of_masks(tmp_path).target("manual")
    assert np.array_equal(labels == SUPPORT, found.mask)
    assert np.array_equal(labels == IGNORE_LABEL, found.boundary)


def test_command_takes_nifti_and_leaves_scans_without_a_mask_out(tmp_path, scans, capsys):
    names = {"a": "sub-01_ses-1_ct", "b": "sub-02_ct", "c": "sub-01_ses-2_ct"}
    images = tmp_path / "images"
    for name, series in scans.items():
        write_mask(images / "masks" / f"{names[name]}-label.nii.gz", series, support_of(name))
        (images / "masks" / f"._{names[name]}-label.nii.gz").write_bytes(b"macOS")
        image = nibabel.Nifti1Image(series.hu.T.astype(np.int16), affine_of(series))
        nibabel.save(image, images / f"{names[name]}.nii.gz")
    nibabel.save(image, images / "unlabelled.nii.gz")
    command = ["dataset", str(images), str(images / "masks"), str(tmp_path / "set")]
    assert main([*command, "--matrix", "64", "--name", "mine", "--synthetic", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 scan without a mask left out, unlabelled first" in said
    assert "--labels mine --start-from pretrained" in said
    stored = read_training_set(tmp_path / "set")
    labels, patients = stored.target("mine"), [f"patient-{n}" for n in "112"]
    assert [*stored.patient[:9:3]] == patients
    assert [*stored.patient[9:]] == [one.name for one in choose_patients(2, FIRST_SEED)]
    assert np.array_equal(labels[6:9] == 1, support_of("b"))
    assert ((labels == 2).any((1, 2)) == ([False] * 9 + [True] * 2)).all()


def test_what_cannot_be_paired_or_used_is_refused(tmp_path, scans):
    series, mask = scans["a"], support_of("a")
    cases = {
        "no scan of it; name it": {"d.nii.gz": mask},
        "3 scans of its name": {"ct.nii.gz": mask},
        "is of the same scan": {"a/ct.nii.gz": mask, "a/ct/mask.npz": mask},
        "labels nan; expected": {"a/ct.npz": np.where(mask, np.nan, 0)},
        "labels of <U1; expected": {"a/ct.npz": np.where(mask, "a", "")},
        "labels 1, 2, 3; expected": {"a/ct.nii.gz": mask + 2 * mask[::-1].astype(np.uint8)},
        r"ct\.npz: another geometry: a mask of": {"a/ct.npz": mask[:2]},
    }
    for message, files in cases.items():
        for file, values in files.items():
            write_mask(tmp_path / "masks" / file, series, values)
        refused(message, made_of_masks, tmp_path)
        assert not (tmp_path / "set").exists()
        shutil.rmtree(tmp_path / "masks")
    (tmp_path / "empty").mkdir()
    refused("no mask; expected", dataset_from_masks, scans, tmp_path / "empty", tmp_path / "set")
    write_mask(tmp_path / "masks" / "a.nii.gz", series, mask)
    refused("no CT series and no NIfTI", made_of_masks, tmp_path, "empty")
    refused("a folder of their own", made_of_masks, tmp_path, "empty/../masks")
    refused("letters, digits", made_of_masks, tmp_path, "no scans", name="my labels")


N, SIDE = 12, 32
HU = np.random.default_rng(0).integers(-1024, 600, (N, SIDE, SIDE)).astype(np.int16)
LABELS = (HU > 0).astype(np.uint8)


def epochs(batch, size=SIDE, **options):
    return batches.Batches(HU, LABELS, np.arange(N), batch, size, **options)


def held_out(patients, *options):
    return list(batches.split_patients(np.array(patients), *options)[1])


def test_keeps_the_slices_of_a_patient_on_one_side_and_holds_out_real_patients_first():
    patients = np.repeat([f"p{i}" for i in range(10)], 7)
    synthetic, shown = [f"synthetic-{i}" for i in range(8)], np.array([0, 1, 1, 0, 1], bool)
    with_support = set()
    for seed in range(20):
        training, out = batches.split_patients(patients, 0.2, seed)
        assert len(set(patients[out])) == 2
        assert not set(patients[out]) & set(patients[training])
        assert sorted([*training, *out]) == list(range(70))
        assert held_out(patients, sorted(set(patients[out]))) == list(out)
        (one,) = held_out([*synthetic, "a", "b", "c"], 0.34, seed)
        assert one >= 8
        assert len(held_out([*synthetic, "a"], 0.34, seed)) == 3
        with_support |= set(held_out(list("abcde"), 0.2, seed, shown))
    assert with_support == {1, 2, 4}
    assert held_out(list("abcde"), 0.2, 0, np.arange(5) == 0) == held_out(list("abcde"), 0.2, 0)
    for share in (0.0, 1.0):
        assert all(len(side) for side in batches.split_patients(np.array(["a", "a", "b"]), share))
        refused("two patients", held_out, ["a", "a"], share)
    for names, words in (([], "not none"), (["a", "b"], "not all"), (["a", "c"], "no patient c ")):
        refused(words, held_out, list("aab"), names)


@pytest.mark.parametrize("slices", [None, 5, 31])
def test_an_epoch_has_every_slice_equally_often(slices):
    chosen, times = epochs(4, augment=False, slices_per_epoch=slices), np.zeros(N, int)
    for x, y in chosen.epoch(0):
        assert [x.shape, x.dtype, y.dtype] == [(4, SIDE, SIDE, 1), np.float32, np.uint8]
        for image, label in zip(x[..., 0], y, strict=True):
            i = next(i for i in range(N) if np.array_equal(image, scale(HU[i])))
            assert np.array_equal(label, LABELS[i])
            times[i] += 1
    assert times.sum() == 4 * len(chosen) == (slices or N) // 4 * 4
    assert np.ptp(times) <= (slices is not None)


def test_the_seed_decides_on_an_epoch_closing_ends_its_threads_and_half_has_other_sizes():
    one, two, other = (list(epochs(5).epoch(seed)) for seed in (1, 1, 2))
    assert len(one) == len(epochs(5)) == 2
    np.testing.assert_equal(one, two)
    assert not np.array_equal(one[0][0], other[0][0])
    before, epoch = threading.active_count(), epochs(4).epoch(0)
    next(epoch)
    epoch.close()
    assert threading.active_count() == before
    full, half = epochs(2, 20), epochs(2, 10, half_resolution=True)  # four times the slices
    assert len(half) == len(full)
    shapes = [array.shape for one in (full, half) for array in next(one.epoch(0))]
    assert shapes == [(2, SIDE, SIDE, 1), (2, 20, 20), (8, SIDE // 2, SIDE // 2, 1), (8, 10, 10)]


def test_refuses_epochs_that_cannot_be():
    for batch, options, message in (
        (13, {}, "12 slices are fewer .* smaller batch size"),
        (0, {}, "a batch of 0 slices"),
        (4, {"slices_per_epoch": 3}, "3 slices are fewer"),
        (2, {"augment": False, "half_resolution": True}, "need augmentation"),
    ):
        refused(message, epochs, batch, **options)


def test_changes_slices_and_labels_as_scipy_does():
    rng, zooms = np.random.default_rng(2), []
    image = ndimage.gaussian_filter(rng.normal(0, 300, (64, 64)), 2).astype(np.float32)
    label, noise = (image > 0).astype(np.uint8), np.zeros(4 * 64**2, np.float32)
    for half in [False] * 50 + [True] * 200:
        change = batches.sample_augmentation(rng, 64, half)
        found, moved = batches.augment(image, label, change, noise)
        (degrees, zoom), size = change.rotation or (0.0, 1.0), change.size
        source = image.T if change.transpose else image
        source = source[:: -1 if change.flip_rows else 1, :: -1 if change.flip_columns else 1]
        cos, sin = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
        inverse = np.array([[cos, -sin], [sin, cos]])  # rows and columns
        offset = 31.5 - inverse @ (size / 2 - 0.5 + np.array(change.shift))
        expected, nearest, inside = (
            ndimage.affine_transform(one, inverse, offset, (size, size), order=order)
            for one, order in ((source, 1), (source > 0, 0), (np.ones((64, 64)), 1))
        )
        known, expected = inside > 0.999, expected + change.offset_hu
        assert np.allclose(found[known], scale(expected)[known], atol=0.5 * ONE_HU)
        assert (moved != nearest)[known].mean() < 0.003  # where two pixels are equally near
        beyond = ~ndimage.binary_dilation(inside > 0, iterations=2)
        assert not moved[beyond].any()
        assert (found[beyond] < -0.9).all()
        if half:
            assert size == 32
            assert known[8:-8, 8:-8].all()  # within the slice but for a small shift
            zooms.append(zoom)
    assert 0.5 <= min(zooms) < 0.52 < 0.97 < max(zooms) <= 1


def test_sampled_changes_have_their_ranges_and_shares():
    rng = np.random.default_rng(1)
    sampled = [batches.sample_augmentation(rng, 512) for _ in range(4000)]
    assert abs(np.array([c.shift for c in sampled])).max() == 24
    angles, zooms = np.array([c.rotation for c in sampled if c.rotation]).T
    assert 14.8 < abs(angles).max() <= 15
    assert 0.8 <= zooms.min() < 0.81 < 1.24 < zooms.max() <= 1.25
    assert np.std([c.offset_hu for c in sampled]) == pytest.approx(15, rel=0.1)
    assert 19.5 < max(c.noise_hu for c in sampled) <= 20
    shares = {"transpose": 1 / 12, "flip_rows": 0.2, "flip_columns": 0.5, "rotation": 0.5}
    for name, share in shares.items():
        assert np.mean([bool(getattr(c, name)) for c in sampled]) == pytest.approx(share, abs=0.03)
