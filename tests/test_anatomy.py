"""The warning that a series shows another part of the body than a head."""

import numpy as np
import pytest
from conftest import make_series
from pydicom import Dataset

from headrest import clean_series, read_series
from headrest.segment.anatomy import other_anatomy

SIZE, MM = 256, 2.0
Y, X = (np.mgrid[:SIZE, :SIZE] - SIZE / 2) * MM


class FakeSeries:
    """The attributes of a Series that `other_anatomy` reads."""

    def __init__(self, *slices, examined=None):
        header = Dataset()
        if examined is not None:
            header.BodyPartExamined = examined
        self.headers, self.hu, self.spacing_mm = [header], np.stack(slices), (5, MM, MM)

    def __len__(self):
        return len(self.hu)


def disc(radius, value=40.0, inside=None, hole=0.0):
    hu = np.where(np.hypot(Y, X) < radius, value, -1000.0)
    if inside is not None:
        hu[np.hypot(Y, X) < hole] = inside
    return hu


HEAD, SHOULDERS = disc(90), disc(170)
LUNGS, SINUS, SKULL = disc(120, 40, -850, 60), disc(90, 40, -850, 20), disc(90, 800, -1000, 80)
AIR = disc(0)

CASES = {
    "head": ([HEAD] * 4, None, ""),
    "header that says HEAD is ignored": ([SHOULDERS] * 4, "HEAD", "338 mm across"),
    "header that says CHEST is reported": ([HEAD] * 4, "CHEST", "the header says CHEST"),
    "header with more": ([HEAD] * 4, "ABDOMEN PELVIS", "the header says ABDOMEN"),
    "head and neck": ([HEAD, HEAD, SHOULDERS, SHOULDERS], "HEADNECK", ""),
    "mostly shoulders": ([HEAD, SHOULDERS, SHOULDERS], None, "338 mm across"),
    "lungs": ([HEAD, LUNGS, LUNGS], None, "air as of lungs in 67% of the slices"),
    "tips of lungs": ([HEAD, HEAD, LUNGS], None, ""),
    "sinuses": ([SINUS] * 3, None, ""),
    "empty skull": ([SKULL] * 3, None, ""),
    "air": ([AIR] * 3, None, ""),
    "air beside a chest": ([AIR] * 3 + [LUNGS], None, "100%"),
}


@pytest.mark.parametrize("name", CASES)
def test_warning(name):
    slices, examined, expected = CASES[name]
    series = FakeSeries(*slices, examined=examined)
    warnings = other_anatomy(series, np.zeros(series.hu.shape, bool))
    assert len(warnings) == bool(expected)
    assert expected in "".join(warnings)


def test_a_couch_is_not_the_patient():
    couch = (abs(Y - 93) < 5) & (abs(X) < 200)
    series = FakeSeries(*[np.where(couch, 100.0, HEAD)] * 3)
    none = np.zeros(series.hu.shape, bool)
    assert other_anatomy(series, none)  # not removed, so part of the largest component
    assert not other_anatomy(series, none | couch)


def test_warning_does_not_quote_the_header():
    series = FakeSeries(HEAD, examined="CHEST CANARY")
    assert "CANARY" not in other_anatomy(series, np.zeros(series.hu.shape, bool))[0]


def test_the_report_contains_the_warning(tmp_path):
    make_series(tmp_path / "scan", BodyPartExamined="CHEST")
    report = clean_series(read_series(tmp_path / "scan"), tmp_path / "cleaned", method="kmeans")
    assert any("another body part" in warning for warning in report.warnings)
