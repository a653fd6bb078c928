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

from headrest import HeadrestError, read_series
from headrest.dicom import find_series, load_series
from headrest.dicom.stacks import Stack

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
HERE = Path(__file__).parent
PAGE = HERE / "README.md"

ROWS = dict(
    re.findall(r"^\| (T?\d+(?: control)?) \|.*\| `(\S+: \S+)` \|$", PAGE.read_text("utf-8"), re.M)
)
"""The numbers of inputs, faults and figures, each with its test."""


@pytest.mark.parametrize("where", ROWS.values(), ids=ROWS)
def test_every_row_has_its_test(where):
    file, name = where.split(": ")
    names = {**CASES, **BOMBS}
    if name.isdigit():
        assert any(case.startswith(f"{name}-") for case in names)
    else:
        assert name in names or f"def {name}(" in (HERE / file).read_text("utf-8")


def test_no_row_is_missing():
    numbers = [number for number in ROWS if number.isdigit()]
    assert len(numbers) >= 81
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert {f"T{n}" for n in range(1, 17)} <= {name.split()[0] for name in ROWS}


def outcome(folder):
    """How reading ends (refused, warned, handled), in which words, with which HU."""
    try:
        series = read_series(folder)
    except HeadrestError as error:
        return "refused", str(error), None
    return "warned" if series.warnings else "handled", " | ".join(series.warnings), series.hu


def is_as_wanted(folder, wanted, words, hu):
    found, text, read = outcome(folder)
    same = read is None or all(np.array_equal(one, hu) for one in read)
    named = read is not None or str(folder) in text
    return (found, same, named) == (wanted, True, True) and bool(re.search(words, text))


@pytest.mark.parametrize(("make", "wanted", "words", "hu"), CASES.values(), ids=CASES)
def test_every_kind_of_input_has_its_outcome(tmp_path, make, wanted, words, hu):
    folder = tmp_path / "scan"
    folder.mkdir()
    make(folder)
    assert is_as_wanted(folder, wanted, words, hu), outcome(folder)
    assert CANARY not in outcome(folder)[1]


def usual_rescale(header, default=None):
    return float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))


GUARDS = {
    "pixels.rescale_pair": (
        usual_rescale,
        "01-no-rescale 02-no-intercept 02-no-slope 03-slope-zero 04-slope-nan slope-huge-negative "
        "slope-tiny rescale-of-electron-density table-beside-rescale",
    ),
    "series.rescale": (
        lambda stored, *_: stored - np.float32(1024),
        "07-slopes-differ 07-intercepts-differ",
    ),
    "series_notes": (lambda *_: [], "07-slopes-differ"),
    "pixels.check_range": (
        lambda *_: [],
        "09-signed-as-unsigned 09-over-16000 intercept-forgotten",
    ),
    "pixels.check_wrapped": (lambda *_: [], "64-wrapped-at-4096"),
    "pixels.mask_to_bits_stored": (
        lambda raw, _: raw,
        "10-overlay-raw 10-overlay-rle 11-overlay-jpeg-ls 11-overlay-jpeg-2000",
    ),
    "pixels.bit_notes": (lambda *_: [], "12-signed-12-bit-overflow 13-high-bit-15"),
    "pixels.check_declared": (lambda *_: [], "16-enhanced frames-none palette float-pixels-too"),
    "frames.frame_positions": (
        lambda _, count: np.outer(range(count), [0, 0, 5.0]),
        "16-two-frames-without-positions",
    ),
    "pixels.declared_notes": (lambda *_: [], "17-lossy 48-burned-in rescale-type-unspecified"),
    "frames.identify_ct": (
        lambda header: ("1.2.840.10008.5.1.4.1.1.2", ""),
        "47-mr-alone 63-class-of-another-object 63-class-only-in-meta",
    ),
    "header.check_element": (lambda *_: [], "slope-twice"),
    "header.BoundedFile.rest": (lambda _: b"", "two-files-in-one"),
    "codecs.check_frame": (
        lambda *_: [],
        "two-images two-images-jpeg-ls jpeg-2000-called-unsigned 21-rows-too-few-rle "
        "jpeg-ls-12-bits-called-16",
    ),
    "find.NOT_SLICES": (set(), "39-scout 47-dose 47-screen"),
    "geometry.is_axial": (lambda _: True, "39-sagittal-scout"),
    "stacks.sort_into_stacks": (
        lambda images, *_: ([Stack(images, "", [])], []),
        "38-two-at-one-position two-stacks one-oblique",
    ),
    "geometry.refuse_shared_positions": (lambda *_: [], "66-resent-with-other-pixels"),
    "geometry.slice_spacing": (lambda *_: (5.0, []), "36-slice-missing 44-spacing-changes"),
    "geometry.common_value": (lambda images, _: images[0], "46-odd-pixel-spacing"),
    "geometry.PIXEL_SPACING_RANGE_MM": ((-1e9, 1e9), "spacing-zero spacing-negative spacing-tiny"),
    "header.is_unit_pair": (lambda _: True, "50-axes-skewed axes-too-long"),
    "geometry.MAX_POSITION_MM": (1e99, "position-far-away"),
    "UNIQUE_IN_SERIES": ({}, "two-patients two-studies"),
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
    monkeypatch.setattr(owner, last, instead)
    for module in [m for n, m in sys.modules.items() if n.startswith("headrest.dicom")]:
        if getattr(module, last, None) is original:
            monkeypatch.setattr(module, last, instead)


@pytest.mark.parametrize("guard", GUARDS)
def test_without_its_guard_a_case_comes_out_wrong(tmp_path, monkeypatch, guard):
    instead, names = GUARDS[guard]
    replace_everywhere(monkeypatch, guard, instead)
    for name in names.split():
        make, *wanted = CASES[name]
        folder = tmp_path / name
        folder.mkdir()
        make(folder)
        assert not is_as_wanted(folder, *wanted), name


def recipe(folder):
    """What many a tutorial does: the first slice's rescale for all, as 16-bit integers."""
    slices = [dcmread(path) for path in sorted(folder.iterdir())]
    slope, intercept = usual_rescale(slices[0])
    hu = np.stack([one.pixel_array for one in slices]) * slope + intercept
    with np.errstate(invalid="ignore"):
        return hu.astype(np.int16)


SILENT = {
    "01-no-rescale": (recipe, sitk_hu),
    "02-no-intercept": (recipe,),
    "03-slope-zero": (recipe,),
    "04-slope-nan": (recipe,),
    "07-slopes-differ": (recipe,),
    "09-signed-as-unsigned": (recipe, sitk_hu),
    "11-overlay-jpeg-ls": (recipe,),
    "11-overlay-jpeg-2000": (recipe,),
    "12-signed-12-bit-overflow": (recipe, sitk_hu),
    "14-monochrome1": (sitk_hu,),
    "15-extended-hu": (recipe,),
}
"""Cases that the usual ways of reading get wrong without a word."""


@pytest.mark.parametrize("name", SILENT)
def test_common_readers_are_wrong_without_a_warning(tmp_path, name):
    make, wanted, _, hu = CASES[name]
    truth = head_hu() if wanted == "refused" else hu
    if name.startswith("12"):
        truth = np.where(hu == 3000 - 4096, 3000, hu)
    make(tmp_path)
    for read in SILENT[name]:
        assert any(not np.array_equal(one, truth) for one in read(tmp_path))


PYDICOM_FILES = sorted(path for path in PYDICOM.rglob("*") if path.is_file())


def patient(path):
    """Who a file names: words of its patient attributes."""
    try:
        ds = dcmread(path, stop_before_pixels=True, force=True)
        values = [ds.get(key) for key in ("PatientName", "PatientID", "OtherPatientIDs")]
    except Exception:
        return set()
    return {str(value) for value in values if value and len(str(value)) > 3}


def test_reads_or_refuses_every_file_of_pydicom(recwarn):
    read = 0
    for path in PYDICOM_FILES:
        names = patient(path)
        recwarn.clear()
        found, text, hu = outcome(path)
        assert (str(path) in text) if found == "refused" else np.isfinite(hu).all()
        assert not any(name in text.replace(str(path), "") for name in names), path
        assert not recwarn.list, path
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
    pytest.importorskip("resource", reason="needs POSIX's limits")
    return lines_of("bombs.py", tmp_path_factory.mktemp("bombs"))


def is_small(line):
    return line["ended"] == "refused" and line["seconds"] < 2 and line["mb"] < 300


@pytest.mark.slow
def test_refuses_bombs_within_two_seconds_and_300_mb(bombs):
    ours = [line for line in bombs if line["read"] == "ours"]
    assert len(ours) >= 15
    assert [line for line in ours if not is_small(line)] == []
    assert all(line["bomb"] in line["text"] for line in ours)


@pytest.mark.slow
def test_pydicom_alone_exceeds_the_limits(bombs):
    usual = {line["bomb"]: line for line in bombs if line["read"] == "usual"}
    large = {name for name, one in usual.items() if one["seconds"] > 2 or one["mb"] > 300}
    assert large == {"30-deflate", "32-rle-runs", "33-jpeg-2000"}
    assert usual["34-nested"]["ended"] == "RecursionError"
    assert usual["35-claims"]["ended"] == "MemoryError"
