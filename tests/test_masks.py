"""Training sets from scans and masks: pairing, label values, patients, refusals."""

import shutil

import numpy as np
import pytest
from conftest import make_series, uid
from factories import reoriented

from headrest import HeadrestError, read_series
from headrest.__main__ import main
from headrest.dicom.nifti import affine_of
from headrest.dicom.segmentation import write_segmentation
from headrest.hounsfield import NOT_SUPPORT
from headrest.train.dataset import read_training_set
from headrest.train.masks import dataset_from_masks

nibabel = pytest.importorskip("nibabel")

PATIENTS = {"a": "CANARY-1", "b": "CANARY-2", "c": "CANARY-1"}


@pytest.fixture
def scans(tmp_path):
    """Three DICOM series of two patients, by folder."""
    for name, patient in PATIENTS.items():
        changes = {"SeriesInstanceUID": uid("series", name), "PatientID": patient}
        make_series(tmp_path / "scans" / name / "ct", **changes)
    return {name: read_series(tmp_path / "scans" / name) for name in PATIENTS}


def support_of(name):
    mask = np.zeros((3, 64, 64), bool)
    mask[1:, 54:56, 10 : 30 + ord(name) % 7] = True
    return mask


def write_mask(path, series, values, codes="RAS"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, values)
        return
    image = nibabel.Nifti1Image(values.T.astype(np.uint8), affine_of(series))
    nibabel.save(reoriented(image, codes), path)


@pytest.mark.parametrize(
    "names",
    [
        ("a/ct.nii.gz", "b/ct.nii.gz", "c/ct.nii.gz"),
        ("a/ct-mask.nii.gz", "b/ct_label.npz", "c/ct.corrected.seg.nii"),
        ("a/ct/edited.nii.gz", "b/ct/other.npz", "c/ct/Segmentation.nii"),
        ("UID.nii.gz", "UID_mask.npz", "deep/UID/mask.nii.gz"),
        ("one.dcm", "two.dcm", "three.dcm"),
    ],
)
def test_masks_are_paired_by_name_folder_uid_or_reference(tmp_path, scans, names):
    for (name, series), file in zip(scans.items(), names):
        path = tmp_path / "masks" / file.replace("UID", series.uid)
        if path.suffix == ".dcm":
            pytest.importorskip("highdicom")
            path.parent.mkdir(exist_ok=True)
            write_segmentation(series, support_of(name), path)
        else:
            write_mask(path, series, 7 * support_of(name).astype(np.uint8), codes="PIL")
    dataset_from_masks(
        tmp_path / "scans", tmp_path / "masks", tmp_path / "set", matrix=64, synthetic=0
    )
    assert not any(b"CANARY" in path.read_bytes() for path in (tmp_path / "set").iterdir())
    stored = read_training_set(tmp_path / "set")
    labels = stored.target("manual").reshape(3, 3, 64, 64)
    order = sorted(range(3), key=lambda i: names[i].replace("UID", list(scans.values())[i].uid))
    for found, hu, i in zip(labels, stored.hu.reshape(-1, 3, 64, 64), order):
        name = "abc"[i]
        assert np.array_equal(found == 1, support_of(name))
        assert (found[~support_of(name)] == NOT_SUPPORT).all()
        assert np.array_equal(hu, scans[name].hu)
    patients = stored.patient[::3][np.argsort(order)]
    assert patients[0] == patients[2] != patients[1]
    assert set(patients) == {"patient-1", "patient-2"}
    assert list(stored.states["manual"][:3]) == ["absent", "unknown", "unknown"]


def test_labels_of_support_and_patient_keep_their_values(tmp_path, scans):
    values = 2 * (scans["a"].hu > -500).astype(np.uint8)
    values[support_of("a")], values[0, :4] = 1, 255
    write_mask(tmp_path / "masks" / "a.nii.gz", scans["a"], values)
    shutil.move(tmp_path / "scans" / "a" / "ct", tmp_path / "renamed")
    shutil.rmtree(tmp_path / "scans")
    shutil.move(tmp_path / "renamed", tmp_path / "scans" / "a")
    messages = []
    dataset_from_masks(
        tmp_path / "scans", tmp_path / "masks", tmp_path / "set", "mine", 64, 0, messages.append
    )
    labels = read_training_set(tmp_path / "set").target("mine")
    assert np.array_equal(labels, values)
    assert messages[0] == "patient-1: a, 3 slices, 2 with support"
    assert "needs two or more" in messages[1]


def test_command_takes_nifti_and_leaves_scans_without_a_mask_out(tmp_path, scans, capsys):
    names = {"a": "sub-01_ses-1_ct", "b": "sub-02_ct", "c": "sub-01_ses-2_ct"}
    images = tmp_path / "images"
    images.mkdir()
    for name, series in scans.items():
        image = nibabel.Nifti1Image(series.hu.T.astype(np.int16), affine_of(series))
        nibabel.save(image, images / f"{names[name]}.nii.gz")
        write_mask(images / "masks" / f"{names[name]}-label.nii.gz", series, support_of(name))
    nibabel.save(image, images / "unlabelled.nii.gz")
    command = ["dataset", str(images), str(images / "masks"), str(tmp_path / "set")]
    assert main([*command, "--matrix", "64", "--name", "mine", "--synthetic", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 scan without a mask left out, unlabelled first" in said
    assert "--labels mine --start-from pretrained" in said
    stored = read_training_set(tmp_path / "set")
    labels = stored.target("mine")
    assert list(stored.patient[:9:3]) == ["patient-1", "patient-1", "patient-2"]
    assert list(stored.patient[9:]) == ["synthetic-900000", "synthetic-900001"]
    assert np.array_equal(labels[6:9] == 1, support_of("b"))
    assert (labels[9:] == 2).any()
    assert not (labels[:9] == 2).any()
    assert main(command) == 1
    assert "exists already" in capsys.readouterr().err


def test_what_cannot_be_paired_or_used_is_refused(tmp_path, scans):
    series, mask = scans["a"], support_of("a")
    other = nibabel.Nifti1Image(mask.T.astype(np.uint8), affine_of(series))
    other.affine[2, 3] += 2.5
    cases = {
        "no scan of it; name it": {"d.nii.gz": mask},
        "3 scans of its name": {"ct.nii.gz": mask},
        "is of the same scan": {"a/ct.nii.gz": mask, "a/ct/mask.npz": mask},
        "labels 1, 2, 3; expected": {"a/ct.nii.gz": mask + 2 * mask[::-1].astype(np.uint8)},
        r"ct\.npz: another geometry: a mask of": {"a/ct.npz": mask[:2]},
        r"ct\.nii\.gz: another geometry: voxels lie": {"a/ct.nii.gz": other},
        r"ct\.nii\.gz: damaged": {"a/ct.nii.gz": b"no NIfTI"},
        "no mask; expected": {"a/ct.txt": b"text"},
    }
    for message, files in cases.items():
        for file, values in files.items():
            path = tmp_path / "masks" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(values, bytes):
                path.write_bytes(values)
            elif values is other:
                nibabel.save(other, path)
            else:
                write_mask(path, series, values)
        with pytest.raises(HeadrestError, match=message):
            dataset_from_masks(tmp_path / "scans", tmp_path / "masks", tmp_path / "set")
        assert not (tmp_path / "set").exists()
        shutil.rmtree(tmp_path / "masks")
    (tmp_path / "empty").mkdir()
    write_mask(tmp_path / "masks" / "a.nii.gz", series, mask)
    with pytest.raises(HeadrestError, match="no CT series and no NIfTI"):
        dataset_from_masks(tmp_path / "empty", tmp_path / "masks", tmp_path / "set")
