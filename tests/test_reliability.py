"""Every kind of input is read right, read with a warning, or refused with a clear text.

README.md in this folder lists inputs and faults by number, each with its test. Each guard has a
control: without it, a case comes out wrong.
"""

import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from bombs import BOMBS, usual
from cases import CASES
from conftest import CANARY, PYDICOM, head_hu
from factories import lines_of, sitk_hu
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from headrest import HeadrestError, read_series
from headrest.dicom import find_series, load_series
from headrest.dicom.stacks import Stack

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
HERE = Path(__file__).parent


def test_every_row_has_its_test_and_no_row_is_missing():
    page, names = (HERE / "README.md").read_text("utf-8"), {**CASES, **BOMBS}
    rows = dict(re.findall(r"^\| (T?\d+(?: control)?) \|.*\| `(\S+: \S+)` \|$", page, re.M))
    for file, name in (where.split(": ") for where in rows.values()):
        of_row = [case for case in names if case == name or case.startswith(f"{name}-")]
        assert of_row or f"def {name}(" in (HERE / file).read_text("utf-8"), name
    numbers = [number for number in rows if number.isdigit()]
    assert len(numbers) >= 81
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert {f"T{n}" for n in range(1, 17)} <= {name.split()[0] for name in rows}


def outcome(folder):
    """How reading ends (refused, warned, handled), in which words, with which HU."""
    try:
        series = read_series(folder)
    except HeadrestError as error:
        return "refused", str(error), None
    return "warned" if series.warnings else "handled", " | ".join(series.warnings), series.hu


def is_as_wanted(folder, wanted, words, hu):
    found, text, read = outcome(folder)
    same = read is None or np.array_equal(read, [hu] * len(read) if hu.ndim == 2 else hu)
    named = (read is not None or str(folder) in text) and CANARY not in text
    return (found, same, named) == (wanted, True, True) and bool(re.search(words, text))


def made(folder, name):
    """A folder with the input of a case."""
    folder.mkdir()
    CASES[name][0](folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_input_has_its_outcome(tmp_path, name):
    folder = made(tmp_path / "scan", name)
    assert is_as_wanted(folder, *CASES[name][1:]), outcome(folder)


def usual_rescale(header, default=None):
    return float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))


def nothing(*_):
    return []


def one_stack(images, *_):
    return [Stack(images, "", [])], []


GUARDS = {
    "pixels.rescale_pair": (
        usual_rescale,
        "01-no-rescale 02-no-intercept 02-no-slope 03-slope-zero 04-slope-nan slope-huge-negative "
        "slope-tiny rescale-of-electron-density table-beside-rescale",
    ),
    "series.rescale": (lambda stored, *_: stored - np.float32(1024), "07-slopes-differ"),
    "series_notes": (nothing, "07-slopes-differ"),
    "pixels.check_range": (nothing, "09-signed-as-unsigned 09-over-16000 intercept-forgotten"),
    "pixels.check_wrapped": (nothing, "64-wrapped-at-4096"),
    "pixels.mask_to_bits_stored": (lambda raw, _: raw, "10-overlay-raw 11-overlay-jpeg-ls"),
    "pixels.bit_notes": (nothing, "12-signed-12-bit-overflow 13-high-bit-15"),
    "pixels.check_declared": (nothing, "16-enhanced frames-none palette float-pixels-too"),
    "frames.frame_positions": (lambda _, n: np.outer(range(n), [0, 0, 5]), "16-frames-unplaced"),
    "pixels.declared_notes": (nothing, "17-lossy 48-burned-in rescale-type-unspecified"),
    "frames.identify_ct": (lambda _: (CTImageStorage, ""), "47-mr-alone 63-class-only-in-meta"),
    "header.check_element": (nothing, "slope-twice"),
    "header.BoundedFile.rest": (lambda _: b"", "two-files-in-one"),
    "codecs.check_frame": (nothing, "two-images jpeg-2000-called-unsigned 21-rows-too-few-rle"),
    "find.NOT_SLICES": (set(), "39-scout 47-dose"),
    "geometry.is_axial": (lambda _: True, "39-sagittal-scout"),
    "stacks.sort_into_stacks": (one_stack, "38-two-at-one-position one-oblique"),
    "geometry.refuse_shared_positions": (nothing, "66-resent-with-other-pixels"),
    "geometry.slice_normal": (lambda it: np.cross(it[:3], it[3:]), "axes-of-two-decimals"),
    "geometry.slice_spacing": (lambda *_: (5.0, []), "36-slice-missing 44-spacing-changes"),
    "geometry.common_value": (lambda images, _: images[0], "46-odd-pixel-spacing"),
    "geometry.PIXEL_SPACING_RANGE_MM": ((-1e9, 1e9), "spacing-huge spacing-tiny"),
    "header.is_unit_pair": (lambda _: True, "50-axes-skewed axes-too-long"),
    "geometry.MAX_POSITION_MM": (1e99, "position-far-away"),
    "geometry.UNIQUE_IN_SERIES": ({}, "two-patients two-patients-at-one-position two-studies"),
    "is_copy": (lambda *_: True, "copy-of-other-slope copy-of-other-orientation"),
}
"""For each guard, a public name in `headrest.dicom`: what replaces it, and the cases that come out
wrong then."""


def replace_everywhere(monkeypatch, name, instead):
    """Replace a public name in its module, and in each module of the package that imports it."""
    *home, last = name.split(".")
    owner = import_module(".".join(["headrest.dicom", *home[:1]]))
    for part in home[1:]:
        owner = getattr(owner, part)
    original = getattr(owner, last)
    modules = [module for n, module in sys.modules.items() if n.startswith("headrest.dicom")]
    for place in [owner, *modules]:
        if getattr(place, last, None) is original:
            monkeypatch.setattr(place, last, instead)


@pytest.mark.parametrize("guard", GUARDS)
def test_without_its_guard_a_case_comes_out_wrong(tmp_path, monkeypatch, guard):
    instead, names = GUARDS[guard]
    replace_everywhere(monkeypatch, guard, instead)
    for name in names.split():
        assert not is_as_wanted(made(tmp_path / name, name), *CASES[name][1:]), name


def recipe(folder):
    """What many a tutorial does: the first slice's rescale for all, as 16-bit integers."""
    slices = [dcmread(path) for path in sorted(folder.iterdir())]
    slope, intercept = usual_rescale(slices[0])
    hu = np.stack([one.pixel_array for one in slices]) * slope + intercept
    with np.errstate(invalid="ignore"):
        return hu.astype(np.int16)


SILENT = {
    recipe: "01-no-rescale 02-no-intercept 03-slope-zero 04-slope-nan 07-slopes-differ "
    "09-signed-as-unsigned 11-overlay-jpeg-ls 11-overlay-jpeg-2000 12-signed-12-bit-overflow "
    "15-extended-hu",
    sitk_hu: "01-no-rescale 09-signed-as-unsigned 12-signed-12-bit-overflow 14-monochrome1",
}
"""Usual ways of reading, and cases that they get wrong without a word."""


@pytest.mark.parametrize("read", SILENT)
def test_common_readers_are_wrong_without_a_warning(tmp_path, read):
    for name in SILENT[read].split():
        _, wanted, _, hu = CASES[name]
        truth = head_hu() if wanted == "refused" else hu
        if name.startswith("12"):
            truth = np.where(hu == 3000 - 4096, 3000, hu)
        read_hu = read(made(tmp_path / name, name))
        assert any(not np.array_equal(one, truth) for one in read_hu), name


PYDICOM_FILES = sorted(path for path in PYDICOM.rglob("*") if path.is_file())


def test_reads_or_refuses_every_file_of_pydicom(recwarn):
    read = 0
    for path in PYDICOM_FILES:
        found, text, hu = outcome(path)
        assert (str(path) in text) if found == "refused" else np.isfinite(hu).all()
        assert not recwarn.list, path  # a warning of pydicom may quote the patient's name
        read += found != "refused"
    assert len(PYDICOM_FILES) >= 170
    assert read >= 12


def test_pydicom_alone_raises_many_exceptions():
    ways = set()
    for path in PYDICOM_FILES[::3]:
        try:
            usual(path)
        except Exception as error:
            ways.add(type(error).__name__)
    assert len(ways) > 3


def same_hu_as_simpleitk(folder):
    """Compare every single-frame CT below a folder; return how many both could read."""
    compared = 0
    for path in filter(Path.is_file, folder.rglob("*")):
        try:
            (found,) = find_series(path).series or [None]
            series = found and load_series(found)
            theirs = series and sitk_hu(path)
        except (HeadrestError, RuntimeError):
            continue
        if series:
            assert np.array_equal(series.hu[~series.padding], theirs[~series.padding]), path
            compared += 1
    return compared


def test_hu_of_the_slices_of_pydicom_are_those_of_simpleitk():
    assert same_hu_as_simpleitk(PYDICOM) >= 12
    data = pytest.importorskip("data_store", reason="no pydicom-data")
    assert same_hu_as_simpleitk(Path(data.__file__).parent / "data") >= 4


@pytest.mark.parametrize(
    ("name", "count"), [("ge-head", 28), ("philips-phantom", 82), ("lidc-chest", 23)]
)
def test_hu_of_real_scans_are_those_of_simpleitk(scans, name, count):
    assert same_hu_as_simpleitk(scans / name) == count


def test_detects_an_error_of_one_hu(monkeypatch):
    monkeypatch.setattr("headrest.dicom.series.rescale", lambda s, m, b: s * 1.0 - 1023)
    with pytest.raises(AssertionError):
        same_hu_as_simpleitk(PYDICOM)


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """What came of reading each bomb: by headrest, and of some in the usual way."""
    pytest.importorskip("resource", reason="needs POSIX's limits")
    lines = lines_of("bombs.py", tmp_path_factory.mktemp("bombs"))
    return [
        {line["bomb"]: line for line in lines if line["read"] == who} for who in ("ours", "usual")
    ]


def exceeds(line):
    return line["seconds"] > 2 or line["mb"] > 300


@pytest.mark.slow
def test_refuses_bombs_within_two_seconds_and_300_mb(bombs):
    ours, _ = bombs
    assert set(ours) == set(BOMBS)
    for name, line in ours.items():
        assert line["ended"] == "refused", line
        assert name in line["text"]
        assert not exceeds(line), line


@pytest.mark.slow
def test_pydicom_alone_exceeds_the_limits(bombs):
    _, usual = bombs
    large = {name for name, line in usual.items() if exceeds(line)}
    assert large == {"30-deflate", "32-rle-runs", "33-jpeg-2000"}
    assert usual["34-nested"]["ended"] == "RecursionError"
    assert usual["35-claims"]["ended"] == "MemoryError"
