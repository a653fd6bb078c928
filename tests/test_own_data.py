"""Own data: arrays, NIfTI in any orientation, and the refusal of each wrong input."""

import gzip

import numpy as np
import pytest
from conftest import make_series, refused
from factories import clean_tree, converted, reoriented, run_clean
from makers import TILT_15, C, S, made
from pydicom import dcmread
from pydicom.pixels import pack_bits

from headrest import clean_series, crop_to_patient, find_support, read_series, series_from_array
from headrest.__main__ import main
from headrest.dicom import as_series
from headrest.dicom.mask import as_mask, read_labels, read_mask
from headrest.dicom.nifti import affine_of, read_nifti, to_image_axes
from headrest.dicom.segmentation import write_segmentation
from headrest.segment.support import support_from_mask

nibabel = pytest.importorskip("nibabel")


def image_of(series, dtype=np.int16, slope=1.0, inter=0.0, codes="RAS"):
    """Nibabel image of a series, with its axes in another order."""
    values = ((series.hu.T.astype(float) - inter) / slope).astype(dtype)
    return reoriented(nibabel.Nifti1Image(values, affine_of(series)), codes)


UPRIGHT = [1, 0, 0, 0, 1, 0]
GRIDS = [(codes, UPRIGHT) for codes in ("RAS", "LPS", "PSR", "ILP")]
GRIDS += [("RAS", [1, 0, 0, 0, C, -S]), ("LAS", [C, S, 0, -S, C, 0])]
GRIDS += [("dcm2niix", UPRIGHT)]


@pytest.mark.parametrize(("codes", "orientation"), GRIDS)
def test_every_orientation_gives_one_series_and_its_axes_back(tmp_path, codes, orientation):
    dicom = made(tmp_path / "scan", ImageOrientationPatient=orientation)
    if codes == "dcm2niix":
        image = converted(tmp_path / "scan", tmp_path / "out")
    else:
        image = image_of(dicom, codes=codes)
        assert nibabel.aff2axcodes(image.affine) == tuple(codes)
    series = read_nifti(image)
    assert np.array_equal(series.hu, dicom.hu)
    rounding = 0 if orientation == UPRIGHT else 1e-5
    assert series.spacing_mm == pytest.approx(dicom.spacing_mm, rel=rounding)
    np.testing.assert_allclose(series.positions, dicom.positions, atol=1e-4)
    np.testing.assert_allclose(series.orientation, dicom.orientation, atol=1e-5)
    np.testing.assert_array_equal(to_image_axes(image, series.hu), image.get_fdata())


def test_takes_series_array_path_and_image(tmp_path):
    series, folder, path = made(tmp_path / "scan"), tmp_path / "scan", tmp_path / "head.nii.gz"
    image, array = image_of(series), (series.hu, (5, 3.5, 3.5))
    nibabel.save(image, path)
    for data in (folder, path, str(path), image, read_series(image), series_from_array(*array)):
        assert np.array_equal(as_series(data).hu, series.hu)
        assert as_series(data).spacing_mm == series.spacing_mm
    found = find_support(array[0], "kmeans", spacing_mm=np.array(array[1]))
    assert np.array_equal(found.mask, find_support(series, "kmeans").mask)
    assert find_support(str(folder / "01.dcm"), "kmeans").mask.shape == (1, 64, 64)
    one, two = (clean_series(scan, tmp_path / "out", method="kmeans") for scan in (series, folder))
    assert one.folder == two.folder
    assert repr(two) == f"Report({two})"


def head(*shape):
    hu = np.full(shape, -1000, np.int16)
    hu[tuple(slice(n // 4, 3 * n // 4 + 1) for n in shape)] = 40
    return hu


def padded_with(value):
    hu = head(3, 64, 64)
    hu[:, :, :12] = value
    return hu


def nifti(values, axes):
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.affine[:3, :3] = axes
    return image


MM = (5, 1, 1)
SHEAR = [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]
LOCALIZER = [[0, 0, 9], [0, 1, 0], [1, 0, 0]]
NOISE = np.random.default_rng(0).normal(0, 20, (3, 64, 64))
PADDED = padded_with(-2000)
INPUT = {  # data, spacing, and words of the refusal; empty where they are accepted
    "nifti-of-several": (nifti(head(64, 64, 4, 2), np.eye(3)), None, "one volume; .* is the first"),
    "nifti-of-two-axes": (nifti(head(64, 64), np.eye(3)), None, "one volume$"),
    "nifti-singular": (nifti(head(64, 64, 4), np.diag([1, 1, 0])), None, "singular"),
    "nifti-sheared": (nifti(head(64, 64, 4), SHEAR), None, "shear"),
    "nifti-localizer": (nifti(head(64, 64, 1), LOCALIZER), None, "64 x 1 pixels would be 9 mm"),
    "list": ([[0, 1]], MM, "list: expected a Series, a path"),
    "2-D": (head(64, 64), MM, r"hu\[np.newaxis\]"),
    "clipped": (np.maximum(head(3, 64, 64), -500), MM, "lowest value is -500"),
    "masked": (np.ma.masked_less(head(3, 64, 64), 0), MM, r"hu\.filled"),
    "4-D": (head(2, 3, 64, 64), MM, "one volume at a time"),
    "mask": (head(3, 64, 64) > 0, MM, "expected HU as int or float"),
    "nan": (np.where(head(3, 64, 64) < 0, np.nan, 40), MM, "np.nan_to_num"),
    "shifted": (head(3, 64, 64) + 1024, MM, "hu = values - 1000, or - 1024"),
    "shifted-padded": (PADDED + 1024, MM, "hu = values - 1000, or - 1024"),
    "shifted-down": (head(3, 64, 64) - 1024 + NOISE, MM, r"hu = values \+ 1024"),
    "overflow": (head(3, 64, 64).astype(np.uint16), MM, "integer overflow"),
    "slices-last": (head(64, 64, 20), MM, r"hu.transpose\(2, 1, 0\)"),
    "no-spacing": (head(3, 64, 64), None, "needs its spacing in mm"),
    "two-numbers": (head(3, 64, 64), (5, 0.5), "three numbers"),
    "zero": (head(3, 64, 64), (5, 0, 0.5), "must be positive"),
    "metres": (head(3, 64, 64), (5e-3, 5e-4, 5e-4), "metres"),
    "micrometres": (head(3, 64, 64), (5000, 500, 500), "micrometres"),
    "centimetres": (head(3, 512, 512), (0.5, 0.05, 0.05), "would be 26 mm wide"),
    "one-for-all": (head(3, 512, 512), (5, 5, 5), "would be 2560 mm wide"),
    "spacing-order": (head(3, 64, 64), (0.5, 0.5, 5), "order x, y, z"),
    "no-air": (np.full((3, 64, 64), [40] * 62 + [-1000] * 2), MM, ""),  # a narrow field
    "much-padding": (PADDED[:, :, :40], MM, ""),
    "padding-like-air": (padded_with(-1000), MM, ""),
    "bone-and-air": (np.where(PADDED == 40, 1000, PADDED + 7 * NOISE), MM, ""),
    "bone-alone": (np.where(head(3, 64, 64) == 40, 600 + 20 * NOISE, -1000), MM, ""),
}


@pytest.mark.parametrize("name", INPUT)
def test_wrong_input_is_refused_with_the_remedy_and_unusual_hu_are_accepted(name):
    data, spacing_mm, words = INPUT[name]
    if words:
        refused(words, find_support, data, "kmeans", spacing_mm=spacing_mm)
    else:
        assert np.array_equal(series_from_array(data, spacing_mm).stored, data)


def test_a_file_that_is_no_nifti_is_refused_by_its_name(tmp_path):
    path = tmp_path / "head.nii.gz"
    refused(r"head\.nii\.gz: there is no such file", read_series, path)
    for content in (b"", b"no NIfTI" * 99):
        path.write_bytes(content)
        refused(r"head\.nii\.gz: .*damaged, or no NIfTI", read_series, path)
    nibabel.save(nibabel.Nifti1Image(head(64, 64, 4), None), path)
    refused(r"head\.nii\.gz: no orientation", read_series, path)


def test_a_damaged_nifti_is_refused_as_path_as_image_and_as_mask(tmp_path):
    """By its checksum too, and where its values would begin within its header."""
    series = made(tmp_path / "scan", 5)
    path, packed = tmp_path / "head.nii", tmp_path / "head.nii.gz"
    nibabel.save(image_of(series), path)
    whole = path.read_bytes()
    packed.write_bytes(gzip.compress(whole)[:-8] + bytes(8))
    path.write_bytes(whole[:108] + bytes(4) + whole[112:])  # vox_offset
    for wrong, words in ((packed, "BadGzip"), (path, "within its header")):
        refused(f"{wrong.name}: .*{words}", read_series, wrong)
        refused(f"{wrong.name}: .*{words}", read_mask, wrong, series)
    path.write_bytes(whole[:5000])
    refused("the image: .*damaged", read_series, nibabel.load(path))
    refused("the mask: .*damaged", as_mask, nibabel.load(path), series)


def test_a_series_from_an_array_has_a_fingerprint_but_no_uid_and_no_file(tmp_path):
    one, again, other = (series_from_array(head(3, 64, 64), (z, 0.5, 0.5)) for z in (5, 5, 4))
    refused("made from array, not from DICOM", lambda: one.uid)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    refused("no file to write", clean_series, one.hu, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dtype", "slope", "inter"),
    [(np.int16, 1, -1024), (np.uint16, 1, -1024), (np.int16, 0.5, 7), (np.float32, 1, 0)],
)
@pytest.mark.parametrize(("codes", "volumes"), [("RAS", ()), ("PIL", (1, 1))])
def test_cleaned_nifti_keeps_other_voxels(tmp_path, codes, volumes, dtype, slope, inter):
    dicom, path = made(tmp_path / "scan", 4), tmp_path / "head.nii.gz"
    image = image_of(dicom, dtype, slope, inter, codes)
    values = np.asarray(image.dataobj).reshape(image.shape + volumes)
    image = nibabel.Nifti1Image(values, image.affine, image.header)
    image.header.set_slope_inter(slope, inter)
    image.header["descrip"], image.header["sform_code"] = b"of the scanner", 2
    nibabel.save(image, path)
    series = read_series(path)
    assert np.array_equal(series.hu, dicom.hu)
    report = clean_series(series, tmp_path / "out", method="kmeans")
    assert report.warnings == ()
    folder = tmp_path / "out" / report.folder
    paths = (path, folder / "cleaned.nii.gz", folder / "headrest.nii.gz")
    before, after, labels = images = [nibabel.load(path) for path in paths]
    stored, cleaned, values = (one.dataobj.get_unscaled() for one in images)
    assert {one.shape for one in images} == {image.shape}
    support, mask = find_support(series, "kmeans"), values == 1
    for n, expected in ((1, support.removed), (2, support.patient & ~support.removed)):
        assert np.array_equal(values == n, to_image_axes(before, expected).reshape(image.shape))
    assert mask.any()
    np.testing.assert_allclose(after.get_fdata()[mask], -1000, atol=abs(slope) / 2)
    assert np.array_equal(cleaned[~mask], stored[~mask])
    assert np.array_equal(before.affine, labels.affine)
    assert (cleaned.dtype, values.dtype) == (dtype, np.uint8)
    header, kept = (gzip.decompress(path.read_bytes())[:348] for path in paths[:2])
    assert kept == header


def test_command_cleans_a_file_or_a_folder_of_nifti_and_does_not_repeat(tmp_path, capsys):
    """Colours are skipped in a folder, and refused alone; a localizer is skipped."""
    image, source, out = image_of(made(tmp_path / "scan", 4)), tmp_path / "images", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    nibabel.save(image, source / "one.nii.gz")
    nibabel.save(image, source / "deep" / "TWO.NII")
    (source / "mask.nii.gz").write_bytes(b"damaged")
    values, alone = np.zeros(image.shape, [(colour, "u1") for colour in "RGB"]), source / "RGB.nii"
    nibabel.save(nibabel.Nifti1Image(values, image.affine), alone)
    refused(r"an image of colours \(RGB\): expected HU", read_series, alone)
    refused("skipped RGB.nii: NIfTI of colours", clean_tree, alone, out)
    scout = nibabel.Nifti1Image(np.zeros((9, 1, 9), np.int16), np.eye(4))
    nibabel.save(scout, source / "scout.nii.gz")
    page = ("--report", tmp_path / "page.html", "--identifiers")
    assert run_clean(source / "one.nii.gz", out, *page) == 0
    (first,) = out.glob("ct-*/cleaned.nii.gz")
    written = first.stat().st_mtime_ns
    assert run_clean(source, out, *page) == 1
    shown = "".join(capsys.readouterr())
    assert "2 series cleaned, 1 not" in shown
    assert "RGB.nii: NIfTI of colours, no HU" in shown
    assert "scout.nii.gz: NIfTI of one slice, not axial" in shown
    assert "mask.nii.gz" in (out / "failures.csv").read_text()
    assert len(list(out.glob("ct-*/headrest.nii.gz"))) == 2
    assert first.stat().st_mtime_ns == written
    refused("no axial CT series found", clean_tree, out, tmp_path / "again")
    nibabel.save(image, tmp_path / "scan" / "head.nii.gz")  # beside DICOM it is left alone
    assert run_clean(tmp_path / "scan", tmp_path / "beside") == 0
    assert "head.nii.gz: NIfTI, which is read by its own path" in "".join(capsys.readouterr())
    assert list(tmp_path.glob("beside/ct-*/0001.dcm"))
    mask = image.get_fdata() > 100
    nibabel.save(nibabel.Nifti1Image(np.uint8(mask), image.affine), source / "mask.nii.gz")
    given = map(str, (source / "one.nii.gz", tmp_path / "masked", "--mask", source / "mask.nii.gz"))
    assert main(["clean", *given]) == 0
    (path,) = tmp_path.glob("masked/*/cleaned.nii.gz")
    assert np.array_equal(nibabel.load(path).get_fdata() != image.get_fdata(), mask)


@pytest.fixture
def scan(tmp_path):
    """Series of five slices, and a mask that no method would find."""
    mask = np.zeros((5, 64, 64), bool)
    mask[1:4, 10:30, 20:33] = mask[2, 54, 40:50] = True
    return made(tmp_path / "scan", 5), mask


def write_turned(folder, mask, path):
    """Write a segmentation in other axes, without an empty frame and without shared groups."""
    place = {"ImagePositionPatient": lambda n: [-112, 108.5, 5.0 * n]}
    turned = made(folder, 5, ImageOrientationPatient=[1, 0, 0, 0, -1, 0], **place)
    write_segmentation(turned, mask[::-1, ::-1], path)
    ds = dcmread(path)
    (shared,), groups = ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence
    for group in groups:
        group.update(shared)
    ds.PixelData, ds.NumberOfFrames = pack_bits(ds.pixel_array[:-1]), len(groups) - 1
    ds.PerFrameFunctionalGroupsSequence, ds.SharedFunctionalGroupsSequence = groups[:-1], []
    ds.save_as(path)


@pytest.mark.parametrize("form", ["array", "ints", "RAS", "PIL", "image", "segmentation", "turned"])
def test_corrected_mask_removes_exactly_its_voxels(tmp_path, scan, form):
    (series, mask), out, source = scan, tmp_path / "out", tmp_path / "edited.nii.gz"
    image = nibabel.Nifti1Image(mask.T[..., None].astype(np.int16) * 7, affine_of(series))
    if form in ("RAS", "PIL"):
        nibabel.save(reoriented(image, form), source)
    elif form == "segmentation":
        write_segmentation(series, mask, source := tmp_path / "edited.dcm")
    elif form == "turned":
        write_turned(tmp_path / "turned", mask, source := tmp_path / "edited.dcm")
    else:
        source = {"array": mask, "ints": mask.astype(np.uint8), "image": image}[form]
    report = clean_series(series, out, mask=source, nifti=True)
    folder = out / report.folder
    assert np.array_equal(read_series(folder).hu, np.where(mask, -1000, series.hu))
    assert np.array_equal(nibabel.load(folder / "headrest.nii.gz").get_fdata().T == 1, mask)
    assert "(manually corrected mask=" in read_series(folder).headers[0].DerivationDescription
    assert report.support_ml == pytest.approx(mask.sum() * 5 * 3.5**2 / 1000, abs=1e-3)
    assert (report.boundary_ml, report.states[0]) == (0, "absent")
    assert report.mask == getattr(source, "name", "")
    assert "is it of the patient" not in " ".join(report.warnings)


@pytest.mark.parametrize("change", ["even", "tilted", "uneven"])
def test_only_tilted_and_uneven_series_are_resampled_on_request(tmp_path, change):
    uneven, out = {"ImagePositionPatient": lambda n: [-112, -112, n**1.5]}, tmp_path / "out"
    changes = {"even": {}, "tilted": TILT_15, "uneven": uneven}[change]
    series, end = made(tmp_path / "scan", 6, **changes), "" if change == "even" else "-resampled"
    report = clean_series(series, out, probability=True, nifti_resample=True)
    names = ("headrest", "cleaned", "probability")
    paths = [out / report.folder / f"{name}{end}.nii.gz" for name in names]
    assert set((out / report.folder).glob("*.nii.gz")) == set(paths)
    labels, image, probability = map(nibabel.load, paths)
    assert labels.shape == image.shape == probability.shape
    assert probability.get_data_dtype() == np.float32
    values, hu = np.asarray(labels.dataobj), image.get_fdata()
    assert np.median(hu[values == 1]) == -1000 < 0 < hu[values == 2].mean()
    if change == "even":
        assert np.array_equal(probability.get_fdata().T, find_support(series).probability)
        for other in ({"method": "kmeans"}, {"mask": series.hu > 0}):
            refused("only the method network", clean_series, series, out, probability=True, **other)
    else:
        assert "probability-resampled.nii.gz are resampled" in " ".join(report.warnings)
        with pytest.warns(UserWarning, match="an image of ITK cannot hold"):
            crop_to_patient(series, find_support(series, "kmeans"))


def test_mask_of_another_geometry_or_of_the_patient_is_refused_or_warned_of(tmp_path, scan):
    series, mask = scan
    out, affine = tmp_path / "out", affine_of(series)

    def image(values, forward_mm=0.0, wider=1.0):
        place = affine @ np.diag([wider, 1, 1, 1])
        place[1, 3] += forward_mm
        return nibabel.Nifti1Image(values.astype(np.uint8), place)

    nibabel.save(image(mask.T, forward_mm=1), tmp_path / "moved.nii.gz")
    for name in ("edited.dcm", "edited.npz"):
        (tmp_path / name).write_bytes(b"neither")
    first = clean_series(series, out, mask=image(mask.T))  # must not stand for the same values
    other = clean_series(series, out, mask=~mask)
    assert other.folder != first.folder
    assert "is it of the patient" in other.warnings[-1]
    for wrong, message in (
        (tmp_path / "moved.nii.gz", r"moved\.nii\.gz: another geometry: voxels lie"),
        (image(mask.T, wider=1.01), "another geometry: voxels lie"),
        (image(mask.T[:, :, :4]), "another geometry: a mask of"),
        (image(np.stack([mask.T] * 2, -1)), "a mask of"),
        (mask[:2], "a mask of"),
        (mask * 0.4, "threshold it"),
        (nibabel.Nifti1Image(mask.T.astype(np.uint8), None), "the mask: its affine is missing"),
        ("absent.nii.gz", "there is no such file"),
        (find_support(series, "kmeans"), "a path, or an array of 0 and 1"),
        (tmp_path / "scan" / "01.dcm", "expected NIfTI or a DICOM Segmentation"),
        (tmp_path / "edited.dcm", "damaged, or no NIfTI or DICOM Segmentation"),
        (tmp_path / "edited.npz", r"^\S*edited\.npz: damaged or missing"),
    ):
        refused(message, clean_series, series, out, mask=wrong)
    places, path = lambda n: [-112, -112, 5.0 * n + 2.5], tmp_path / "other.dcm"
    frame, spacing = {"FrameOfReferenceUID": "1.2.3"}, {"PixelSpacing": [3.4, 3.5]}
    for change in ({"ImagePositionPatient": places}, spacing, frame, TILT_15):
        write_segmentation(made(tmp_path / "changed", 5, **change), mask, path)
        refused("another (geometry|Frame)", clean_series, series, out, mask=path)
    place = {"ImagePositionPatient": lambda n: [-112, -112, 10.0 * n - 5]}
    write_segmentation(made(tmp_path / "thick", 3, **place), mask[:3], path)
    refused("another geometry: slices 10 mm apart, not 5", read_mask, path, series)
    refused("patient_only fills more", clean_series, series, out, mask=mask, patient_only=True)
    refused("leave weights and provider out", clean_series, series, out, mask=mask, provider="cpu")
    foam = made(tmp_path / "foam", 4, hu=np.minimum(series.hu[0], -600))
    refused("no patient found", clean_series, foam, out, method="kmeans", patient_only=True)
    assert clean_series(series, out, mask=image(mask.T, forward_mm=0.1)).support_ml
    assert np.array_equal(as_mask(mask * np.float32(1.0000001), series), mask)  # scaled by SPM
    refused("the mask: its rows differ in length", clean_series, series, out, mask=[[[1, 0], [1]]])
    make_series(tmp_path / "scan" / "other", n=2, SeriesInstanceUID="1.2.3")
    refused("2 series, a mask is of one", clean_tree, tmp_path / "scan", out, mask=mask)


def test_segments_are_told_apart_by_name_and_the_support_wins_where_they_overlap(tmp_path, scan):
    series, mask = scan
    path, labels = tmp_path / "edited.dcm", np.where(series.hu > 0, 2, 0).astype(np.uint8)
    labels[mask] = 1
    write_segmentation(series, labels, path)
    ds = dcmread(path)
    frames, before = ds.pixel_array, ds.PixelData
    frames[:5, 30:34] = 1
    assert (frames[:5] & frames[5:]).any()
    ds.PixelData = pack_bits(frames.ravel())
    ds.save_as(path)
    assert np.array_equal(read_mask(path, series), frames[:5])
    ds.PixelData = before
    for segment, label in zip(ds.SegmentSequence, ("brain", "Head holder")):
        (kind,), segment.SegmentLabel = segment.SegmentedPropertyTypeCodeSequence, label
        kind.CodeValue, kind.CodeMeaning = "10200004", "Liver"
    ds.save_as(path)
    assert np.array_equal(read_mask(path, series), frames[5:])


def test_crop_keeps_the_patient_and_its_place(scan):
    series, mask = scan
    support = find_support(series, "kmeans")
    hu, origin = crop_to_patient(series, support, margin_mm=7)
    rows, columns = (np.flatnonzero(support.patient.any((0, axis))) for axis in (2, 1))
    first = np.array([0, rows[0] - 2, columns[0] - 2])
    inside = tuple(slice(a, a + n) for a, n in zip(first, hu.shape))
    assert hu.shape == (5, np.ptp(rows) + 5, np.ptp(columns) + 5)
    assert np.array_equal(hu, np.where(support.removed, -1000, series.hu)[inside])
    np.testing.assert_allclose(origin, series.positions[0] + [3.5 * first[2], 3.5 * first[1], 0])
    same_hu, offset = crop_to_patient(series.hu, support, 7, series.spacing_mm)
    assert np.array_equal(same_hu, hu)
    np.testing.assert_allclose(offset, origin - series.positions[0])
    refused("in which it was found", crop_to_patient, series.hu[:3], support, 7, series.spacing_mm)
    for margin_mm in (-1, np.nan, np.inf):
        refused("choose 0 or more", crop_to_patient, series, support, margin_mm)
    refused("no patient found", crop_to_patient, series, support_from_mask(series, mask | True))


def even_image(spacing, *size):
    """An upright image in RAS whose voxels are numbered."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -150, -150, -80
    return nibabel.Nifti1Image(np.arange(np.prod(size), dtype=np.int32).reshape(size), affine)


def test_a_mask_on_a_fine_even_grid_alone_applies_to_uneven_tilted_slices(tmp_path):
    mm = np.cumsum([3, 4, 2.5, 4, 4, 3, 5, 4, 4, 3]).tolist()  # along the normal
    place = {"ImagePositionPatient": lambda n: [-112, mm[n - 1] * S - 112, mm[n - 1] * C]}
    series, path = made(tmp_path / "scan", len(mm), **TILT_15, **place), tmp_path / "edited.nii"
    nibabel.save(fine := even_image(3.0, 100, 100, 60), path)
    with pytest.warns(UserWarning, match="the mask is resampled to the series"):
        index = np.stack(np.unravel_index(read_labels(path, series), fine.shape), -1)
    x_axis, y_axis = series.orientation.reshape(2, 3)
    rows, columns = np.mgrid[:64, :64][..., np.newaxis]
    within = rows * y_axis * 3.5 + columns * x_axis * 3.5
    places = series.positions[:, np.newaxis, np.newaxis] + within
    found = (index * 3 + fine.affine[:3, 3]) * [-1, -1, 1]
    assert abs(found - places).max() < 3 / 2 + 0.01
    mask = nibabel.Nifti1Image(np.ones(fine.shape, np.uint8), fine.affine)
    warnings = clean_series(series, tmp_path / "out", mask=mask).warnings
    assert f"the mask is resampled to the series: {series.stored.size} voxels" in warnings
    for coarse_or_short in (even_image(6.0, 50, 50, 30), even_image(3.0, 100, 100, 35)):
        refused("as fine as the series, and reach all its", as_mask, coarse_or_short, series)
