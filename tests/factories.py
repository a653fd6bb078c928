"""Factories: series beside others, cleaned by the faster method, and results of an evaluation."""

import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import uid
from pydicom import dcmread

import headrest
from headrest.__main__ import main
from headrest.evaluate.compare import MethodCounts

# Most tests do not depend on the method, and K-Means is the faster one.
clean_tree = partial(headrest.clean_tree, method="kmeans")
clean_series = partial(headrest.clean_series, method="kmeans")


def run_clean(*arguments):
    """Exit status of `headrest clean` with these arguments."""
    return main(["clean", *map(str, arguments), "--method", "kmeans"])


def other_series(name, **changes):
    """Changes that make slices part of another series of another study."""
    uids = {"StudyInstanceUID": uid(name, "study"), "SeriesInstanceUID": uid(name)}
    return {**uids, "SOPInstanceUID": lambda number: uid(name, number), **changes}


def hide(monkeypatch, package):
    """Let a package look as if it were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == package else find(n))


def timeless(path):
    """A derived file as text and pixels, without the times of its making."""
    ds = dcmread(path)
    for what in ("InstanceCreation", "Content"):
        del ds[f"{what}Date"], ds[f"{what}Time"]
    for equipment in ds.get("ContributingEquipmentSequence", [])[-1:]:
        del equipment.ContributionDateTime
    return str(ds.file_meta), str(ds), ds.PixelData


def contents(folder):
    """Bytes of each file below a folder, by its relative name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines_of(script, *arguments):
    """What a script beside this file prints in a process of its own, one JSON value a line."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def converted(folder, out):
    """The one image that dcm2niix makes of a folder, read by nibabel."""
    tool = Path(sys.executable).with_name("dcm2niix")
    if not tool.exists():
        pytest.skip("dcm2niix is not installed")
    out.mkdir()
    command = [tool, "-f", "%s", "-b", "n", "-o", out, folder]
    subprocess.run(command, capture_output=True, check=True)
    (made,) = set(out.iterdir()) - set(out.glob("*_Tilt*"))  # of tilted slices it makes two
    return pytest.importorskip("nibabel").load(made)


def sitk_image(place):
    """A file, or the slices of a folder, as SimpleITK reads them."""
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    folder = place.is_dir()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place)) if folder else str(place)
    return sitk.ReadImage(names)


def sitk_hu(place):
    return pytest.importorskip("SimpleITK").GetArrayFromImage(sitk_image(place))


def reoriented(image, codes):
    """A nibabel image with its axes in another order, such as PIL."""
    ways = pytest.importorskip("nibabel").orientations
    now, wanted = ways.io_orientation(image.affine), ways.axcodes2ornt(codes)
    return image.as_reoriented(ways.ornt_transform(now, wanted))


APPEARANCE = {"pixel_mm": 0.5, "slice_mm": 5.0, "field_mm": 250.0, "width_mm": 150.0}
APPEARANCE |= {"cut_share": 0.0, "tissue_hu": 40.0, "air_hu": -1000.0, "lung_share": 0.0}


def measured_series(rng, slices=6):
    """A measured series whose loss is its expected volume times chance."""
    expected = rng.gamma(0.3, 0.2, slices)
    appearance = {name: value * rng.uniform(0.8, 1.2) for name, value in APPEARANCE.items()}
    lost = expected * rng.lognormal(0, 1, slices) * (rng.random(slices) < 0.5)
    return {"lost_ml": lost, "expected_ml": tuple(expected), "appearance": appearance}


def method_counts(names, **columns):
    """A MethodCounts of slices, 0 for all counts that are not given."""
    n = len(names)
    blank = {field: np.zeros(n, int) for field in MethodCounts.__dataclass_fields__}
    names = {"names": np.array(list(names)), "kinds": np.full(n, ""), "groups": np.full(n, "free")}
    pixels = {"pixels": np.full(n, 100), "voxel_ml": np.ones(n)}
    return MethodCounts(**blank | names | pixels | {k: np.array(v) for k, v in columns.items()})
