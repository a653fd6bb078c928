"""When a series is said to show something else than a head."""

import numpy as np
import pytest
from conftest import make_series
from pydicom import Dataset

from headrest import clean_series, read_series
from headrest.segment.anatomy import other_anatomy

SIZE, MM = 256, 2.0
Y, X = (np.mgrid[:SIZE, :SIZE] - SIZE / 2) * MM


class Drawn:
    """The part of a Series that is looked at."""

    def __init__(self, *slices, said=None):
        header = Dataset()
        if said is not None:
            header.BodyPartExamined = said
        self.headers, self.hu, self.spacing_mm = [header], np.stack(slices), (5, MM, MM)

    def __len__(self):
        return len(self.hu)


def disc(radius, value=40.0, inside=None, hole=0.0):
    hu = np.where(np.hypot(Y, X) < radius, value, -1000.0)
    if inside is not None:
        hu[np.hypot(Y, X) < hole] = inside
    return hu


HEAD, SHOULDERS = disc(90), disc(170)
LUNGS, SINUS, HOLLOW = disc(120, 40, -850, 60), disc(90, 40, -850, 20), disc(90, 800, -1000, 80)
AIR = disc(0)

CASES = {
    "head": ([HEAD] * 4, None, ""),
    "header is not believed": ([SHOULDERS] * 4, "HEAD", "338 mm across"),
    "header is passed on": ([HEAD] * 4, "CHEST", "the header says CHEST"),
    "header with more": ([HEAD] * 4, "ABDOMEN PELVIS", "the header says ABDOMEN"),
    "head and neck": ([HEAD, HEAD, SHOULDERS, SHOULDERS], "HEADNECK", ""),
    "mostly shoulders": ([HEAD, SHOULDERS, SHOULDERS], None, "338 mm across"),
    "lungs": ([HEAD, LUNGS, LUNGS], None, "air as of lungs in 67% of the slices"),
    "tips of lungs": ([HEAD, HEAD, LUNGS], None, ""),
    "sinuses": ([SINUS] * 3, None, ""),
    "hollow skull": ([HOLLOW] * 3, None, ""),
    "air": ([AIR] * 3, None, ""),
    "air beside a chest": ([AIR] * 3 + [LUNGS], None, "100%"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name):
    slices, said, expected = CASES[name]
    drawn = Drawn(*slices, said=said)
    warnings = other_anatomy(drawn, np.zeros(drawn.hu.shape, bool))
    assert len(warnings) == bool(expected)
    assert expected in "".join(warnings)


def test_a_couch_is_not_the_patient():
    couch = (abs(Y - 93) < 5) & (abs(X) < 200)
    drawn = Drawn(*[np.where(couch, 100.0, HEAD)] * 3)
    none = np.zeros(drawn.hu.shape, bool)
    assert other_anatomy(drawn, none)  # touches, so it looks like a part of what it carries
    assert not other_anatomy(drawn, none | couch)


def test_the_header_s_own_words_are_not_repeated():
    drawn = Drawn(HEAD, said="CHEST CANARY")
    assert "CANARY" not in other_anatomy(drawn, np.zeros(drawn.hu.shape, bool))[0]


def test_the_report_says_it(tmp_path):
    make_series(tmp_path / "scan", BodyPartExamined="CHEST")
    report = clean_series(read_series(tmp_path / "scan"), tmp_path / "cleaned", method="kmeans")
    assert any("another body part" in warning for warning in report.warnings)
