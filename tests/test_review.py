"""What a run did: the manifest, the series to be reviewed, and the pictures of all slices."""

import csv
import json
import shutil
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest
from conftest import CANARY, make_series
from factories import clean_series, clean_tree, other_series, run_clean
from PIL import Image

from headrest import HeadrestError, __version__, read_series
from headrest.clean import series as cleaning
from headrest.clean.report import Report, manifest_row, read_results
from headrest.segment.support import find_support


@pytest.fixture
def archive(tmp_path):
    """Three series; b cannot be cleaned."""
    for name in "abc":
        changes = {"RescaleSlope": None} if name == "b" else {}
        series = other_series(name, SeriesDescription=f"=Head {name}", **changes)
        make_series(tmp_path / "scan" / name, **series)
    return tmp_path / "scan"


def rows(out):
    """Rows of both manifests."""
    document = json.loads((out / "manifest.json").read_text())
    with open(out / "manifest.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert document["headrest"] == __version__
    for key in ("folder", "status"):
        assert [row[key] for row in table] == [row[key] for row in document["series"]]
    return document["series"], table


def test_manifest_lists_each_series_once(archive, tmp_path):
    reports = clean_tree(archive, tmp_path / "out", drop_private=True)
    listed, table = rows(tmp_path / "out")
    assert [row["status"] for row in listed] == ["failed", "cleaned", "cleaned"]
    assert "RescaleSlope" in listed[0]["error"]
    by_folder = {report.folder: report for report in reports}
    for row in listed[1:]:
        report = by_folder[row["folder"]]
        assert (row["source"], row["support_ml"]) == (report.source, report.removed_ml)
        assert row["options"] == "method=kmeans drop_private"
        assert (row["slices"], row["version"], row["touching"]) == (3, __version__, [])
    assert {row["series_description"] for row in listed[1:]} == {"=Head a", "=Head c"}
    assert {row["series_description"] for row in table[1:]} == {"'=Head a", "'=Head c"}
    assert CANARY not in (tmp_path / "out" / "manifest.csv").read_text()


def test_manifest_keeps_earlier_runs_and_forgets_deleted_series(archive, tmp_path):
    clean_tree(archive / "a", tmp_path / "out")
    first = rows(tmp_path / "out")[0]
    clean_tree(archive / "c", tmp_path / "out")
    both = rows(tmp_path / "out")[0]
    assert first[0] in both
    assert len(both) == 2
    shutil.rmtree(tmp_path / "out" / first[0]["folder"])
    clean_tree(archive / "c", tmp_path / "out")
    assert rows(tmp_path / "out")[0] == [row for row in both if row != first[0]]


def test_manifest_is_written_when_a_run_is_stopped(archive, tmp_path):
    def stop(message):
        if isinstance(message, Report) and not message.error:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean_tree(archive, tmp_path / "out", on_message=stop)
    assert [row["status"] for row in rows(tmp_path / "out")[0]] == ["cleaned"]


def test_manifest_names_weights_and_lists_slices():
    flags = {"states": ("touching", "free", "touching", "absent"), "confidence": (0.5, 1, 1, 1)}
    row = manifest_row(Report("scan", options="method=network weights=0a1b patient-only", **flags))
    assert row["weights"] == "0a1b"
    assert (row["touching"], row["uncertain"], row["nothing_found"]) == ([1, 3], [1], [4])


def bounded(monkeypatch, bound_ml):
    def find(series, *_):
        return replace(find_support(series, "kmeans"), bound_ml=bound_ml)

    monkeypatch.setattr(cleaning, "find_support", find)


@pytest.mark.parametrize(("bound_ml", "place"), [(0.3, ""), (0.31, "review"), (None, "review")])
def test_series_above_the_accepted_bound_lie_in_review(
    archive, tmp_path, monkeypatch, bound_ml, place
):
    bounded(monkeypatch, bound_ml)
    options = {"accept_ml": 0.3, "segmentation": True}
    (report,) = clean_tree(archive / "a", tmp_path / "out", **options)
    top = tmp_path / "out" / place
    name = report.folder.rpartition("/")[2]
    assert report.folder == f"{place}/{name}".removeprefix("/")
    assert report.status == (place or "cleaned")
    assert len(list((top / name).glob("*.dcm"))) == 3
    assert (top / "masks" / f"{name}-segmentation.dcm").exists()
    assert rows(tmp_path / "out")[0][0]["bound_ml"] == bound_ml
    assert [one.folder for one in read_results(tmp_path / "out")] == [report.folder]
    assert clean_tree(archive / "a", tmp_path / "out", **options) == [report]


def test_another_bound_moves_the_result_without_computing(archive, tmp_path, monkeypatch):
    bounded(monkeypatch, 0.5)
    out = tmp_path / "out"
    (first,) = clean_tree(archive / "a", out, accept_ml=0.3, segmentation=True)
    monkeypatch.setattr(cleaning, "find_support", lambda *_, **__: pytest.fail("computed again"))
    for accept_ml, place in ((0.5, ""), (0.49, "review/"), (None, "")):
        (report,) = clean_tree(archive / "a", out, accept_ml=accept_ml, segmentation=True)
        assert report.folder == first.folder.replace("review/", place)
        files = {path.relative_to(out).as_posix() for path in out.rglob("*.dcm")}
        name = first.folder.removeprefix("review/")
        assert files == {
            *(f"{place}{name}/000{n}.dcm" for n in (1, 2, 3)),
            f"{place}masks/{name}-segmentation.dcm",
        }


def test_a_corrected_mask_needs_no_review(archive, tmp_path):
    series = read_series(archive / "a")
    mask = find_support(series, "kmeans").mask
    assert clean_series(series, tmp_path / "out", mask=mask, accept_ml=0).status == "cleaned"
    assert clean_series(series, tmp_path / "out", accept_ml=0).status == "review"
    with pytest.raises(HeadrestError, match="expected ml"):
        clean_series(series, tmp_path / "out", accept_ml=-1)


def test_command_counts_the_series_to_review(archive, tmp_path, capsys):
    shutil.rmtree(archive / "b")
    assert run_clean(archive, tmp_path / "out", "--accept-ml", 0.5) == 0
    assert "2 series cleaned, 2 of them to be reviewed in review, 0 not" in capsys.readouterr().out
    assert run_clean(archive, tmp_path / "out") == 0
    assert "2 series cleaned, 0 not" in capsys.readouterr().out


# Pictures of all slices.


def test_pictures_show_every_slice_and_both_outlines(archive, tmp_path):
    series = read_series(archive / "a")
    report = clean_series(series, tmp_path / "out", pictures=True)
    support = find_support(series, "kmeans")
    with ZipFile(tmp_path / "out" / report.folder / "preview" / "slices.zip") as file:
        assert len(file.namelist()) == 9
        for n in (1, 2, 3):
            before, masks, after = (
                np.asarray(Image.open(file.open(f"000{n}{name}")).convert("RGBA")).astype(int)
                for name in (".jpg", "-masks.png", "-after.png")
            )
            assert before.shape == masks.shape == after.shape
            black = after[..., 3] > 0
            assert black.sum() == support.removed[n - 1].sum()
            assert after[black][:, :3].max() == 0
            drawn = masks[..., 3] > 0
            red = drawn & (masks[..., 0] > 200)
            assert np.array_equal(red & black, red)
            assert (drawn & ~red & (masks[..., 1] > 150)).sum() > 50
            assert before[black, 0].max() > 200


def test_burned_in_text_prevents_pictures_of_slices(tmp_path):
    make_series(tmp_path / "scan", BurnedInAnnotation="YES")
    series = read_series(tmp_path / "scan")
    report = clean_series(series, tmp_path / "out", pictures=True)
    assert not list((tmp_path / "out" / report.folder).rglob("*.zip"))
    assert "no preview/slices.zip: text is burned into the pixels" in report.warnings
