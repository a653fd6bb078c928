"""A hundred derived slices of real scanners: valid, the same but for what was filled, and read
alike by others."""

import numpy as np
import pytest
from conftest import PYDICOM
from pydicom import dcmread
from test_clean import conflicts, errors

from headrest import HeadrestError, write_derived_series
from headrest.dicom import find_series, load_series

SITK = pytest.importorskip("SimpleITK")
SCANS = ("ge-head", "lidc-chest", "philips-phantom/S21610")


def derive(folder, out):
    """Derive every series below a folder, a tenth of it filled; yield source and output files."""
    rng = np.random.default_rng(0)
    for number, found in enumerate(find_series(folder).series):
        try:
            series = load_series(found)
        except HeadrestError:
            continue
        removed = rng.random(series.stored.shape) < 0.1
        write_derived_series(series, removed, out / str(number), "test")
        sources = {str(dcmread(path).SOPInstanceUID): path for path in found.files}
        outputs = sorted((out / str(number)).glob("*.dcm"))
        origins = [sources[str(header.SOPInstanceUID)] for header in series.headers]
        yield list(zip(origins, outputs, removed))


def differences(source, output, removed):
    """What is wrong with a derived slice: list of str."""
    before, after = (SITK.GetArrayFromImage(SITK.ReadImage(str(p))) for p in (source, output))
    wrong = [] if np.array_equal(before[0][~removed], after[0][~removed]) else ["changed outside"]
    filled = abs(after[0][removed] + 1000).max() <= 1 or after.min() > -1000
    wrong += [] if filled else ["not filled"]
    more = len(errors("dciodvfy", output)) - len(errors("dciodvfy", source))
    return wrong + ([f"{more} errors more"] if more > 0 else [])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_100_outputs_are_what_they_should_be(scans, tmp_path):
    count = 0
    folders = [*(scans / name for name in SCANS), PYDICOM]
    for number, folder in enumerate(folders):
        for triples in derive(folder, tmp_path / str(number)):
            assert [wrong for triple in triples if (wrong := differences(*triple))] == []
            sources, outputs, _ = zip(*triples)
            assert len(conflicts(*outputs)) <= len(conflicts(*sources))
            count += len(triples)
    assert count >= 100


def test_an_output_that_is_wrong_is_noticed(tmp_path):
    for ((source, output, removed),) in derive(PYDICOM / "CT_small.dcm", tmp_path):
        ds = dcmread(output)
        pixels = ds.pixel_array.copy()
        pixels[~removed] += 1
        pixels[removed] = 0
        ds.PixelData = pixels.tobytes()
        del ds.DerivationDescription, ds.PixelSpacing
        ds.save_as(output)
        assert len(differences(source, output, removed)) == 3
