"""The page about a run: what it shows, what it must not, and that a browser can use it."""

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pytest
from conftest import CANARY, head_hu, make_series, refused, uid
from factories import clean_series, clean_tree, other_series, run_clean
from PIL import Image

from headrest import read_series
from headrest.clean import outputs
from headrest.clean.page import write_page
from headrest.clean.report import Report, read_results, save_report

VOID = {"meta", "input", "img"}
LINKS = {"src", "href", "srcset", "action", "data", "poster", "style"}
HOSTILE = "\"><script>alert(1)</script></style></table><img src=x onerror=alert(1)>{{ 7 * 7 }}'"
NAMED = "PatientName PatientID AccessionNumber StudyDescription SeriesDescription"
CANARIES = {keyword: f"{CANARY}-{n}" for n, keyword in enumerate(NAMED.split())}


class Page(HTMLParser):
    """A page taken apart; every element must be closed where it was opened."""

    def __init__(self, path):
        super().__init__()
        self.source, self.open, self.tags, self.text = path.read_text("utf-8"), [""], [], {}
        self.feed(self.source)
        self.close()
        assert self.open == [""]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open += [tag] * (tag not in VOID)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def every(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(text for tag, text in self.text.items() if tag not in ("style", "script"))


def page_of(out, reports=None, **options):
    """Write the page about a destination beside it, and take it apart."""
    path = out.with_name(f"{out.name}.html")
    write_page(out, path, reports, **options)
    return Page(path)


def finished(place, pictures=(), **fields):
    """Write a series as `clean_series` does."""
    (place / outputs.PREVIEW_FOLDER).mkdir(parents=True)
    usual = {"source": "scan", "folder": place.name, "slices": 3, "states": ["free"] * 3}
    save_report(place, Report(**usual | fields))
    for number, coded in dict(pictures).items():
        (place / outputs.PREVIEW_FOLDER / f"{number:04d}.webp").write_bytes(coded)
    return place


OURS = "ct-0123456789ab"


def picture(side=outputs.LARGE, noise=0):
    """A picture of so many pixels."""
    hu = np.random.default_rng(0).normal(0, noise, (side, side))
    return outputs.triptych(hu, hu > 9e9, hu > 9e9, (1, 1), side)


FAILING = {  # changes of series that cannot be cleaned, by the reason that the page shows
    "RescaleSlope or RescaleIntercept is missing": {"RescaleSlope": None},
    "two files lie at one position": {"ImagePositionPatient": lambda n: [0, 0, 5.0 * min(n, 2)]}
    | {"hu": lambda n: np.full((64, 64), n)},
    "two files share a SOP Instance UID": {"SOPInstanceUID": uid("twice")},
    "pixel spacing": {"PixelSpacing": lambda n: [1.0 + n, 1.0 + n]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A good series, one with text burned in, failing ones (in folders with colons); all named."""
    top = tmp_path_factory.mktemp("run")
    source = top / f"{CANARY} archive"
    make_series(source / f"{CANARY} good", **CANARIES)
    make_series(source / "burned", **other_series("burned", BurnedInAnnotation="YES"))
    for n, changes in enumerate(FAILING.values()):
        for path in make_series(source / f"Trial: {n}", **other_series(n) | CANARIES | changes):
            path.rename(path.with_name(f"{CANARY} smith {path.name}"))
    return top / "out", clean_tree(source, top / "out", pictures=True)


@pytest.fixture(scope="module", params=["given-reports", "reports-of-the-destination"])
def page(run, request):
    return page_of(run[0], run[1] if request.param.startswith("given") else None)


def test_page_has_one_row_per_series_and_labels_for_everything(run, page):
    out, reports = run
    assert {r for r in read_results(out) if not r.error} == {r for r in reports if not r.error}
    assert len(reports) == 2 + len(FAILING)
    flags = ["failed" in body["data-flags"] for body in page.every("tbody")]
    assert sorted(flags) == sorted(bool(report.error) for report in reports)
    assert all((one.folder or "nothing written") in page.text["th"] for one in reports)
    assert not [reason for reason in FAILING if reason not in page.words]
    assert page.source.count("<label") == len(page.every("input"))
    alts = [re.match(r"Slice \d before, with the removed", one["alt"]) for one in page.every("img")]
    assert (len(list(filter(None, alts))), len(alts)) == (3, 3 + 3 * 3)
    for image in page.every("img"):
        coded = base64.b64decode(image["src"].partition(";base64,")[2])
        assert Image.open(io.BytesIO(coded)).size == (int(image["width"]), int(image["height"]))


def test_page_loads_nothing_and_forbids_it(page):
    linked = [(k, v) for _, attributes in page.tags for k, v in attributes.items() if k in LINKS]
    assert linked
    assert all(re.match("data:image/(webp|jpeg|png);base64,", value) for _, value in linked)
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttp", page.source)
    (policy,) = (m["content"] for m in page.every("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.text[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_page_shows_the_numbers_of_the_reports(tmp_path):
    sure = {"confidence": [0.99, 0.5, 0.95], "states": ["free", "touching", "absent"]}
    finished(tmp_path / "a", support_ml=12.34, boundary_ml=10, seconds=3000.04, **sure)
    finished(tmp_path / "b", support_ml=1000, seconds=700)
    page = page_of(tmp_path)
    values = [td["data-value"] for td in page.every("td") if "data-value" in td]
    assert values[2:7] == ["3", "12.34", "1", "1", "1"]
    flags = [body["data-flags"] for body in page.every("tbody")]
    assert flags == ["flagged,touching,uncertain,nothing found", ""]
    assert re.sub(r"\s+", " ", page.text["dd"]) == "21061,022 ml1 h 1 min"
    assert "not known" not in page.words
    finished(tmp_path / "c", bound_ml=0.25)
    assert page_of(tmp_path).words.count("not known") == 2


def test_escapes_hostile_text(tmp_path):
    make_series(tmp_path / "scan", PatientName=HOSTILE[:60], PatientID=HOSTILE[:60])
    folder = finished(tmp_path / "out" / "ct-1", warnings=[HOSTILE], source=HOSTILE)
    shutil.copy(tmp_path / "scan" / "01.dcm", folder / "0001.dcm")
    finished(tmp_path / "out" / "ct-2", error=f"x: {HOSTILE}", source=HOSTILE)
    page = page_of(tmp_path / "out", identifiers=True)
    assert len(page.every("script")) == 1
    assert page.every("img") == []
    assert not any(key.startswith("on") for _, given in page.tags for key in given)
    assert page.words.count(HOSTILE) >= 4
    finished(tmp_path / "out" / "ct-3", source="Kopf_M\udcfcller")  # a name that is not UTF-8
    assert r"Kopf_M\udcfcller" in page_of(tmp_path / "out", identifiers=True).words


def test_page_names_patients_only_on_request_and_with_a_warning(run, page):
    out, reports = run
    assert any(CANARY in f"{one.source} {one.error}" for one in reports)  # there is what to hide
    assert CANARY not in page.source
    assert "smith" not in page.source
    assert not any(CANARY.encode() in path.read_bytes() for path in out.rglob("*.webp"))
    (burned,) = (one for one in reports if one.source.endswith("burned"))
    assert not (out / burned.folder / outputs.PREVIEW_FOLDER).exists()
    assert "no pictures, because of that text" in page.words
    page = page_of(*run, identifiers=True)
    assert "This page names patients" in page.words
    assert not [text for text in CANARIES.values() if text not in page.words]
    assert all(one.error in page.words for one in reports)


def test_page_names_no_skipped_file_or_renamed_folder(tmp_path):
    make_series(tmp_path / "scan")
    (tmp_path / "scan" / f"{CANARY}.txt").touch()
    report = clean_series(tmp_path / "scan", tmp_path / "out")
    assert f"skipped {CANARY}.txt" in " ".join(report.warnings)
    assert CANARY not in page_of(tmp_path / "out").source
    (tmp_path / "out" / report.folder).rename(tmp_path / "out" / f"{CANARY} SMITH")
    finished(tmp_path / "out" / OURS)
    for identifiers in (False, True):
        page = page_of(tmp_path / "out", identifiers=identifiers)
        assert OURS in page.text["th"]
        assert (f"{CANARY} SMITH" in page.source) == identifiers
        ticks = len(page.every("fieldset")) - 1  # kept by the name, which renamed ones share
        assert ticks == (2 if identifiers else 1)


FLAGGED = {
    "other body part,mask of the patient": {"BodyPartExamined": "CHEST"},
    "HU in doubt": {"stored": head_hu() + 1024, "RescaleIntercept": 0},
}


@pytest.mark.parametrize("flags", FLAGGED)
def test_flags_a_series_with_a_warning_about_its_result(tmp_path, flags):
    make_series(tmp_path / "scan", **FLAGGED[flags])
    reports = clean_tree(tmp_path / "scan", tmp_path / "out", mask=np.array([head_hu()] * 3) > 30)
    (body,) = page_of(tmp_path / "out", reports).every("tbody")
    assert flags in body["data-flags"]


def test_shows_a_damaged_report_as_failed(tmp_path):
    finished(tmp_path / "good")
    wrong = {"slices": "many", "seconds": np.nan, "confidence": ["high"], "warnings": [3]}
    for name, value in (wrong | {"states": 3}).items():
        finished(tmp_path / name, **{name: value})
    for n, damage in enumerate(("", "[]", "{}")):
        (finished(tmp_path / f"{n}") / "cleaning.json").write_text(damage)
    page = page_of(tmp_path)
    assert sorted(body["data-flags"] for body in page.every("tbody")) == ["", *["failed"] * 8]
    assert page.words.count("damaged") == 8


def test_skips_damaged_pictures_and_folders_elsewhere(tmp_path):
    coded = outputs.encode_preview(picture(outputs.SMALL))
    finished(tmp_path / "elsewhere" / "ct-1", {1: coded})
    folder = finished(tmp_path / "out" / "ct-2", {1: b"RIFF", 2: coded}, folder="../elsewhere/ct-1")
    (folder / outputs.PREVIEW_FOLDER / "face.webp").write_bytes(coded)
    path = folder / outputs.SLICE_PICTURES
    with ZipFile(path, "w") as file:
        file.writestr("0001.jpg", coded)
    path.write_bytes(path.read_bytes().replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"))
    with ZipFile(path) as file, pytest.raises(RuntimeError, match="encrypted"):
        file.read("0001.jpg")
    assert [image["alt"][:7] for image in page_of(tmp_path / "out").every("img")] == ["Slice 2"]
    away = [Report(source="scan", folder="../elsewhere/ct-1")]
    assert page_of(tmp_path / "out", away).every("img") == []


def test_command_refuses_an_unusable_page_name_and_writes_the_page_again(tmp_path, capsys):
    make_series(tmp_path / "scan", PatientName=f"{CANARY}^NAME")
    (tmp_path / "page.txt").touch()
    scan, out, path = (tmp_path / name for name in ("scan", "out", "out/pages/page.html"))
    wrong = [["--report", tmp_path / name] for name in ("page.txt", "page.txt/page.html", "scan")]
    for options in (*wrong, ["--identifiers"]):
        assert run_clean(scan, out, *options) == 1
        assert capsys.readouterr().err.startswith("headrest: ")
    assert not out.exists()
    refused("holds no cleaned series", write_page, tmp_path, tmp_path / "page.html")
    assert run_clean(scan, out, "--report", path) == 0
    first = Page(path)
    assert run_clean(scan, out, "--report", path, "--identifiers") == 0
    assert Page(path).every("img") == first.every("img") != []
    assert CANARY in Page(path).words
    assert CANARY not in first.source


def test_more_series_show_fewer_pictures_flagged_ones_first(tmp_path, monkeypatch):
    largest = outputs.encode_preview(picture()).ljust(outputs.PREVIEW_BYTES, b"\0")
    pictures, states = dict.fromkeys((1, 2, 3), largest), ["free", "free", "touching"]
    for n in range(4):
        finished(tmp_path / f"ct-{n}", pictures, states=states)
    page = page_of(tmp_path)
    assert len(page.every("img")) == 12
    assert "left out" not in page.words
    monkeypatch.setattr("headrest.clean.page.PICTURE_BYTES", 3 * outputs.PREVIEW_BYTES)
    page = page_of(tmp_path)
    assert [image["alt"][:7] for image in page.every("img")] == ["Slice 3"] * 4
    assert "8 pictures are left out" in page.words


def test_picture_shows_before_removed_and_after_and_stays_below_its_limit():
    hu = np.full((80, 80), -1000.0)
    hu[10:40, 10:70], hu[60:70, 10:70] = 40, 200
    drawn = np.asarray(outputs.triptych(hu, hu == 200, hu == 40, (1, 1), 80)).astype(int)
    before, marked, after = (drawn[:, i * (80 + outputs.GAP) :][:, :80] for i in range(3))
    assert before[65, 40].min() > 200 > after[65, 40].max() == 0
    assert marked[65, 40, 0] > marked[65, 40, 1] + 50 > marked[65, 40, 2] + 100
    assert np.array_equal(before[:50], after[:50])
    outline = marked[:50] @ [-1, 0, 1] > 50  # blue
    assert outline.sum() == 2 * (30 + 60) - 4
    assert np.array_equal(before[:50][~outline], marked[:50][~outline])
    flat = np.zeros((40, 80), bool)
    assert outputs.triptych(flat, flat, flat, (1, 1), 128).size == (3 * 128 + 2 * outputs.GAP, 64)
    assert outputs.choose_slices(30, absent=range(1, 31)) == [3, 8, 13, 18, 23, 28]
    noisy, coded = picture(noise=400), io.BytesIO()
    noisy.save(coded, "WEBP", quality=80)
    assert coded.tell() > outputs.PREVIEW_BYTES >= len(outputs.encode_preview(noisy))


STEPS = """<script>
const said = {}, shown = () => [...document.querySelectorAll("tbody:not([hidden])")].map(
  (one) => one.querySelector("td").textContent);
const choose = (flag) => { document.querySelector(`[value="${flag}"]`).click(); return shown(); };
const press = (name) => { const button = [...document.querySelectorAll("thead button")].find(
  (one) => one.textContent === name); button.click();
  return [button.parentElement.getAttribute("aria-sort"), ...shown()]; };
said.failed = choose("failed"); said.touching = choose("touching"); choose("");
said.down = press("Support, ml"); said.up = press("Support, ml");
words.value = "tilted CT-0123"; words.dispatchEvent(new Event("input", {bubbles: true}));
said.found = shown(); said.count = count.textContent; words.value = ""; filter();
document.querySelector("tbody .tick [value=accept]").click(); said.csv = table_of_ticks();
document.querySelector("tbody .more button").click();
const panes = [...dialog.querySelectorAll(".panes img")].map((image) => image.src.slice(5, 15));
said.dialog = [dialog.open, slider.max, panes, dialog.querySelector("output").textContent];
slider.value = 0; slider.dispatchEvent(new Event("input"));
said.first = dialog.querySelector("output").textContent; dialog.close();
document.title = JSON.stringify(said);
</script></body>"""


@pytest.mark.slow
def test_browser_filters_sorts_finds_ticks_and_shows_slices(tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None) or pytest.skip("no Chromium here")
    coded = outputs.encode_preview(picture())
    fields = {"states": ["touching", "free", "free"], "support_ml": 5.5}
    finished(tmp_path / "ct-a", {1: coded, 2: coded}, **fields)
    series = read_series(make_series(tmp_path / "scan")[0].parent)
    support = SimpleNamespace(patient=series.hu > 0)
    result = outputs.Result(series, support, series.hu > 100, "")
    outputs.write_slices(result, tmp_path / "ct-a" / outputs.SLICE_PICTURES)
    finished(tmp_path / OURS, support_ml=40, warnings=["slices tilted"])
    finished(tmp_path / "ct-c", support_ml=7, error="x: damaged")
    source = re.sub(r"<meta http-equiv.*?>", "", page_of(tmp_path, identifiers=True).source)
    path = tmp_path / "page.html"
    path.write_text(source.replace("</body>", STEPS))
    options = "headless no-sandbox disable-gpu disable-quic no-first-run dump-dom "
    options += "disable-background-networking virtual-time-budget=5000 "
    options += f"user-data-dir={tmp_path / 'profile'}"
    command = [program, *(f"--{option}" for option in options.split()), path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)[1]
    said = json.loads(html.unescape(title))
    rows = said.pop("csv").replace('"', "").split("\r\n")
    assert rows[0] == "folder,state,tick"
    assert sorted(row.split(",")[2] for row in rows[1:-1]) == ["", "accept"]
    assert said.pop("dialog") == [True, "2", ["image/jpeg", "image/png;"] * 2, "2"]
    assert (said.pop("first"), said.pop("count")) == ("1, touching", "1 of 3 series shown")
    orders = {"down": ["descending", "1", "2", "3"], "up": ["ascending", "3", "2", "1"]}
    assert said == orders | {"failed": ["3"], "touching": ["2"], "found": ["1"]}
