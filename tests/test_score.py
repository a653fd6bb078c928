"""Scores of a cleaned series against a reference."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import head_hu, make_series
from pydicom import dcmread

from headrest import HeadrestError, clean_series, read_series
from headrest.__main__ import main
from headrest.evaluate.score import score

ROOT = Path(__file__).parents[1]


@pytest.fixture
def case(tmp_path):
    """A scan, its cleaned copy without one row of the sheet and 10 pixels of head, a reference."""
    make_series(tmp_path / "scan")
    cleaned = np.stack([head_hu()] * 3)
    cleaned[:, 54, 10:54] = -1000
    cleaned[1, 26, 20:30] = -1000
    for number, hu in enumerate(cleaned, 1):
        make_series(tmp_path / f"{number}", 3, hu=hu)
        (tmp_path / "cleaned").mkdir(exist_ok=True)
        shutil.copy(tmp_path / f"{number}" / f"{number:02d}.dcm", tmp_path / "cleaned")
    label = np.zeros((3, 64, 64), np.uint8)
    label[:, :50] = 1
    np.savez(tmp_path / "reference.npz", label=label, label_tight=label)
    return tmp_path


def arguments(folder):
    return [str(folder / name) for name in ("scan", "cleaned", "reference.npz")]


def test_figures_equal_a_count_by_hand(case):
    found = score(*arguments(case))
    area, mm2 = 44, 3.5 * 3.5
    assert found["slices"] == 3
    assert found["dice"] == pytest.approx(2 * 3 * area / (3 * 2 * area + 3 * area + 10), abs=1e-4)
    assert found["worst_slice"] == pytest.approx(2 * area / (3 * area + 10), abs=1e-4)
    assert found["worst_slice_index"] == found["lost_worst_index"] == 1
    assert found["residual_ml"] == pytest.approx(3 * area * mm2 * 5 / 1000, abs=1e-3)
    assert found["lost_ml"] == pytest.approx(10 * mm2 * 5 / 1000, abs=1e-3)
    assert found["lost_worst_mm2"] == pytest.approx(10 * mm2, abs=0.1)
    assert found["changed_outside_mask"] == 0


def test_foam_counts_in_the_faint_figures_only(case):
    before = score(*arguments(case))
    for path in [*(case / "scan").iterdir(), *(case / "cleaned").iterdir()]:
        ds = dcmread(path)
        pixels = ds.pixel_array.copy()
        pixels[60, 10:20] = 1024 - 700
        ds.PixelData = pixels.tobytes()
        ds.save_as(path)
    found, foam_ml = score(*arguments(case)), 3 * 10 * 3.5 * 3.5 * 5 / 1000
    assert (
        found["residual_ml"]
        == before["residual_ml"]
        == pytest.approx(found["faint_left_ml"] - foam_ml, abs=0.01)
    )
    assert found["faint_ml"] == pytest.approx(before["faint_ml"] + foam_ml, abs=0.01)
    assert found["faint_left_pct"] > before["faint_left_pct"] == 50
    area, foam = 3 * 2 * 44, 3 * 10
    assert found["dice"] == before["dice"] == before["dice_all"]
    whole = 2 * (area / 2) / (area + foam + area / 2 + 10)
    assert found["dice_all"] == pytest.approx(whole, abs=1e-4)
    assert found["faint_lost_ml"] == found["lost_ml"]


def test_counts_pixels_changed_to_anything_but_air(case):
    path = case / "cleaned" / "02.dcm"
    ds = dcmread(path)
    pixels = ds.pixel_array.copy()
    pixels[10, 10:13] += 1024 + 200
    ds.PixelData = pixels.tobytes()
    ds.save_as(path)
    assert score(*arguments(case))["changed_outside_mask"] == 3


def test_refuses_missing_slices(case):
    (case / "cleaned" / "02.dcm").unlink()
    with pytest.raises(HeadrestError, match="1 of 3 slices are missing"):
        score(*arguments(case))


def test_refuses_the_reference_of_another_scan(case):
    np.savez(case / "reference.npz", label=np.zeros((2, 8, 8)), label_tight=np.zeros((2, 8, 8)))
    with pytest.raises(HeadrestError, match="reference"):
        score(*arguments(case))


def test_refuses_a_damaged_reference(case):
    path = case / "reference.npz"
    whole = path.read_bytes()
    np.save(case / "one.npy", np.zeros(3))
    for damaged in (b"PK", whole[: len(whole) // 2], (case / "one.npy").read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(HeadrestError, match="damaged or missing"):
            score(*arguments(case))


def test_refuses_a_cleaned_copy_of_another_matrix(case):
    shutil.rmtree(case / "cleaned")
    make_series(case / "cleaned", hu=np.full((32, 32), -1000))
    with pytest.raises(HeadrestError, match="slices of"):
        score(*arguments(case))


def test_command_prints_the_scores(case, capsys):
    assert main(["score", *arguments(case)]) == 0
    assert '"dice"' in capsys.readouterr().out


REAL = {
    "ge-head": "ge-head",
    "philips-phantom": "philips-phantom/S21570/S2010",
    "lidc-chest": "lidc-chest",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_equals_the_scoring_script_of_the_references(scans, tmp_path, name):
    """The script shares no code with the package."""
    script = scans.parent / "score.py"
    if not script.exists():
        pytest.skip("no scoring script beside the scans")
    folder, reference = scans / REAL[name], ROOT / "data" / "reference" / f"{name}.npz"
    clean_series(read_series(folder), tmp_path, method="kmeans")
    command = [sys.executable, script, folder, tmp_path, reference]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    found = score(folder, tmp_path, reference)
    assert {name: found[name] for name in theirs} == pytest.approx(theirs, abs=1e-3)
    assert found["faint_left_pct"] == 0 or found["dice_all"] < found["dice"]
