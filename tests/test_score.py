"""Scores of a cleaned series against a reference."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import head_hu, make_series
from factories import clean_series
from pydicom import dcmread

from headrest import HeadrestError, read_series
from headrest.__main__ import main
from headrest.evaluate.score import score

ROOT = Path(__file__).parents[1]
MM2 = 3.5 * 3.5
ML = MM2 * 5 / 1000


@pytest.fixture
def case(tmp_path):
    """A scan, its cleaned copy without one row of the sheet and 10 pixels of head, a reference."""
    make_series(tmp_path / "scan")
    cleaned = np.stack([head_hu()] * 3)
    cleaned[:, 54, 10:54] = -1000
    cleaned[1, 26, 20:30] = -1000
    for number, hu in enumerate(cleaned, 1):
        path = make_series(tmp_path / f"{number}", 3, hu=hu)[number - 1]
        (tmp_path / "cleaned").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "cleaned")
    label = np.zeros((3, 64, 64), np.uint8)
    label[:, :50] = 1
    np.savez(tmp_path / "reference.npz", label=label, label_tight=label)
    return tmp_path


def arguments(folder):
    return [str(folder / name) for name in ("scan", "cleaned", "reference.npz")]


def change(path, where, hu):
    """Write HU into pixels of a slice."""
    ds = dcmread(path)
    pixels = ds.pixel_array.copy()
    pixels[where] = 1024 + hu
    ds.PixelData = pixels.tobytes()
    ds.save_as(path)


def test_figures_equal_a_count_by_hand(case, capsys):
    found, area = score(*arguments(case)), 44
    assert main(["score", *arguments(case)]) == 0
    assert json.loads(capsys.readouterr().out)["dice"] == found["dice"]
    assert found["slices"] == 3
    assert found["dice"] == pytest.approx(2 * 3 * area / (3 * 2 * area + 3 * area + 10), abs=1e-4)
    assert found["worst_slice"] == pytest.approx(2 * area / (3 * area + 10), abs=1e-4)
    assert found["worst_slice_index"] == found["lost_worst_index"] == 1
    assert found["residual_ml"] == pytest.approx(3 * area * ML, abs=1e-3)
    assert found["lost_ml"] == pytest.approx(10 * ML, abs=1e-3)
    assert found["lost_worst_mm2"] == pytest.approx(10 * MM2, abs=0.1)
    assert found["changed_outside_mask"] == 0


def test_foam_counts_in_the_faint_figures_only(case):
    before = score(*arguments(case))
    for path in [*(case / "scan").iterdir(), *(case / "cleaned").iterdir()]:
        change(path, np.s_[60, 10:20], -700)
    found, area, foam = score(*arguments(case)), 3 * 2 * 44, 3 * 10
    assert found["residual_ml"] == before["residual_ml"]
    assert found["residual_ml"] == pytest.approx(found["faint_left_ml"] - foam * ML, abs=0.01)
    assert found["faint_ml"] == pytest.approx(before["faint_ml"] + foam * ML, abs=0.01)
    assert found["faint_left_pct"] > before["faint_left_pct"] == 50
    assert found["dice"] == before["dice"] == before["dice_all"]
    whole = 2 * (area / 2) / (area + foam + area / 2 + 10)
    assert found["dice_all"] == pytest.approx(whole, abs=1e-4)
    assert found["faint_lost_ml"] == found["lost_ml"]


def test_counts_pixels_changed_to_anything_but_air(case):
    change(case / "cleaned" / "02.dcm", np.s_[10, 10:13], 240)
    assert score(*arguments(case))["changed_outside_mask"] == 3


def lose_a_slice(case):
    (case / "cleaned" / "02.dcm").unlink()


def other_scan(case):
    np.savez(case / "reference.npz", label=np.zeros((2, 8, 8)), label_tight=np.zeros((2, 8, 8)))


def other_matrix(case):
    shutil.rmtree(case / "cleaned")
    make_series(case / "cleaned", hu=np.full((32, 32), -1000))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lose_a_slice, "1 of 3 slices are missing"),
        (other_scan, "reference"),
        (other_matrix, "slices of"),
        (lambda case: (case / "reference.npz").write_bytes(b"PK"), "damaged or missing"),
    ],
)
def test_refuses_what_cannot_be_compared(case, fault, words):
    fault(case)
    with pytest.raises(HeadrestError, match=words):
        score(*arguments(case))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["ge-head", "philips-phantom/S21570/S2010", "lidc-chest"])
def test_equals_the_scoring_script_of_the_references(scans, tmp_path, place):
    """The script shares no code with the package."""
    script = scans.parent / "score.py"
    if not script.exists():
        pytest.skip("no scoring script beside the scans")
    reference = ROOT / "data" / "reference" / f"{place.partition('/')[0]}.npz"
    clean_series(read_series(scans / place), tmp_path)
    command = [sys.executable, script, scans / place, tmp_path, reference]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    found = score(scans / place, tmp_path, reference)
    assert {name: found[name] for name in theirs} == pytest.approx(theirs, abs=1e-3)
    assert found["changed_outside_mask"] == 0
    assert found["faint_left_pct"] == 0 or found["dice_all"] < found["dice"]
