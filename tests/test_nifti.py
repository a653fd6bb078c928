"""NIfTI masks: where their voxels lie, by SimpleITK and by what the headers say."""

import numpy as np
import pytest
from conftest import CANARY
from makers import TILT_15, C, S, made

from headrest import HeadrestError, read_series
from headrest.dicom.nifti import affine_of, is_sheared, needs_resampling, write_nifti

nibabel = pytest.importorskip("nibabel")

UPRIGHT = {
    "even": {},
    "one-slice": {"n": 1},
    "oblong-pixels": {"PixelSpacing": [2.5, 3.5], "hu": np.zeros((64, 60), int)},
    "thin-and-off-centre": {"ImagePositionPatient": lambda n: [7.5, -31.25, -3 + 0.625 * n]},
    "feet-first": {"ImagePositionPatient": lambda n: [-112, -112, -5.0 * n]},
    "roughly-rounded-axes": {"n": 1, "ImageOrientationPatient": [1, 0, 0, 0, 0.9272, -0.3746]},
    "head-turned": TILT_15
    | {"ImagePositionPatient": lambda n: [-112, round(5 * n * S, 6), round(5 * n * C, 6)]},
}


def a_mask(series):
    return np.random.default_rng(0).random(series.stored.shape) > 0.5


def save(tmp_path, **changes):
    """Write the NIfTI of a series with these changes; return series, mask and file."""
    series = made(tmp_path / "scan", **changes)
    mask, path = a_mask(series), tmp_path / "headrest.nii.gz"
    write_nifti(series, mask, path, "method=test")
    return series, mask, path


def places(series):
    """Where the corner voxels of every slice lie in mm (LPS), slice by slice from its header.

    PS3.3 C.7.6.2.1.1, computed again: position, and a pixel spacing for each row and column.
    """
    indices, points = [], []
    for k, header in enumerate(series.headers):
        axes = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        row, column = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        down, across = map(float, header.PixelSpacing)
        for i, j in ((0, 0), (header.Columns - 1, 0), (0, header.Rows - 1), (3, 5)):
            start = np.array(header.ImagePositionPatient, float)
            points.append(start + row * across * i + column * down * j)
            indices.append((i, j, k))
    return np.array(indices), np.array(points)


def farthest_mm(affine, series):
    """How far an affine puts any corner voxel from where its header says."""
    indices, points = places(series)
    ras = indices @ affine[:3, :3].T + affine[:3, 3]
    return np.abs(ras * [-1, -1, 1] - points).max()


@pytest.mark.parametrize("changes", UPRIGHT.values(), ids=UPRIGHT)
def test_mask_and_scan_have_the_same_position_for_simpleitk(tmp_path, changes):
    sitk = pytest.importorskip("SimpleITK")
    series, mask, path = save(tmp_path, **changes)
    read = sitk.ReadImage(str(path))
    scan = sitk.ReadImage(
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "scan"))
        if len(series) > 1
        else str(next((tmp_path / "scan").iterdir()))
    )
    ends = [(0, 0, 0), tuple(n - 1 for n in scan.GetSize()), (5, 3, 0)]
    theirs, ours = (
        np.array([image.TransformIndexToPhysicalPoint(end) for end in ends])
        for image in (scan, read)
    )
    assert np.abs(theirs - ours).max() < 1e-3
    assert np.array_equal(sitk.GetArrayFromImage(read), mask)
    assert farthest_mm(nibabel.load(path).affine, series) < 1e-3


def test_a_tilted_gantry_gives_a_sheared_sform_only(tmp_path):
    series, mask, path = save(tmp_path, **TILT_15)
    image = nibabel.load(path)
    assert farthest_mm(image.affine, series) < 1e-3
    assert np.array_equal(image.get_fdata().T, mask)
    assert is_sheared(series)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    sitk = pytest.importorskip("SimpleITK")
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(path))


def test_the_description_names_no_patient_and_a_rerun_writes_the_same_bytes(tmp_path):
    series, mask, path = save(tmp_path)
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    assert image.shape == mask.shape[::-1]
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"]).startswith(b"headrest ")
    assert CANARY.encode() not in image.to_bytes()
    assert not needs_resampling(series)
    before = path.read_bytes()
    write_nifti(series, mask, path, "method=test")
    assert path.read_bytes() == before
    write_nifti(series, mask, tmp_path / "raw.nii")
    assert np.array_equal(nibabel.load(tmp_path / "raw.nii").get_fdata().T, mask)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        (lambda n: [0, 0, 5 * n + (n > 2)], "up to 0.33 mm from an even grid"),
        (lambda n: [0.1 * (n == 2), 0, 5 * n], "even grid"),
    ],
    ids=["uneven", "one-slice-shifted"],
)
def test_refuses_series_without_an_affine(tmp_path, position, words):
    series = made(tmp_path / "scan", 4, ImagePositionPatient=position)
    with pytest.raises(HeadrestError, match=words):
        write_nifti(series, a_mask(series), tmp_path / "headrest.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


def test_accepts_positions_rounded_by_the_scanner(tmp_path):
    third = {"ImagePositionPatient": lambda n: [-112, -112, round(10 / 3 * n, 2)]}
    series, _, path = save(tmp_path, n=7, **third)
    assert farthest_mm(nibabel.load(path).affine, series) < 0.01


@pytest.mark.parametrize(
    ("name", "sheared"),
    [("philips-phantom/S21570", False), ("philips-phantom/S21610", True), ("lidc-chest", False)],
)
def test_positions_of_real_scans_are_those_of_their_headers(scans, name, sheared):
    series = read_series(scans / name)
    assert farthest_mm(affine_of(series), series) < 1e-3
    assert is_sheared(series) == sheared


# Resampled series.

PLACES = [0, 2, 5, 9, 14, 15, 20, 26, 27, 33]
UNEVEN = {"ImagePositionPatient": lambda n: [-112, -112, float(PLACES[n - 1])]}
every_grid = pytest.mark.parametrize(
    "changes", [UNEVEN, TILT_15, TILT_15 | UNEVEN], ids=["uneven", "tilted", "tilted-and-uneven"]
)


def ramp(points):
    """HU that rise evenly along each axis, so that linear interpolation is exact."""
    return points @ [1.5, -2.0, 3.0] - 40


@every_grid
def test_resampled_values_lie_where_they_did(tmp_path, changes):
    series = made(tmp_path / "scan", 10, **changes)
    assert needs_resampling(series)
    axes = series.orientation.reshape(2, 3)
    r, c = np.mgrid[:64, :64]
    plane = 3.5 * (c[..., None] * axes[0] + r[..., None] * axes[1])
    hu = ramp(series.positions[:, None, None] + plane)
    path = tmp_path / "hu.nii.gz"
    write_nifti(series, hu, path, resample=True)
    image = nibabel.load(path)
    steps = image.affine[:3, :3]
    assert np.allclose(steps.T @ steps, np.diag(np.square(image.header.get_zooms())), atol=1e-4)
    assert image.header.get_zooms() == pytest.approx((3.5, 3.5, series.spacing_mm[0]), rel=1e-5)
    i, j, k = np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij")
    points = nibabel.affines.apply_affine(image.affine, np.stack([i, j, k], -1)) * [-1, -1, 1]
    inside = np.zeros(image.shape, bool)
    inside[2:-2, 12:-12, 1:-1] = True
    assert np.abs(image.get_fdata() - ramp(points))[inside].max() < 0.01
    pytest.importorskip("SimpleITK").ReadImage(str(path))


@every_grid
def test_resampled_labels_stay_labels(tmp_path, changes):
    series = made(tmp_path / "scan", 10, **changes)
    labels = np.zeros(series.stored.shape, np.uint8)
    labels[:, 20:30, 20:30], labels[:, 40:44] = 2, 1
    write_nifti(series, labels, tmp_path / "labels.nii.gz", resample=True)
    image = nibabel.load(tmp_path / "labels.nii.gz")
    found = np.asarray(image.dataobj)
    assert found.dtype == np.uint8
    for k in range(found.shape[2]):
        assert [(found[..., k] == n).sum() for n in (1, 2)] == [4 * 64, 100]
