"""Downloads are complete and as published, or absent; a local server stands for the web."""

import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from conftest import make_series, refused, uid

from headrest import datasets, fetch, fetch_idc, read_series
from headrest.__main__ import main
from headrest.util.files import sha256


class Handler(BaseHTTPRequestHandler):
    """Serve the files of `server.folder`; the first answers to a path can be damaged."""

    def do_GET(self):
        self.server.asked.append(self.path)
        body = (self.server.folder / self.path.lstrip("/")).read_bytes()
        damaged = self.server.damaged.get(self.path, [])
        how = damaged.pop(0) if damaged else ""
        self.send_response(503 if how == "busy" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write({"half": body[: len(body) // 2], "wrong": body[::-1]}.get(how, body))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server of a published folder; headrest fetches its scans from there."""
    files = make_series(tmp_path / "web" / "GE", 4)
    lines = [f"{file.name} {sha256(file)}\n" for file in files]
    (tmp_path / "ge-head.txt").write_text("".join(lines))
    monkeypatch.setattr(datasets, "REGISTRY", tmp_path)
    monkeypatch.setattr(datasets, "RETRIES", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HEADREST_DATA", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.asked, server.damaged = tmp_path / "web", [], {}
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(datasets, "BASE", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def test_fetches_as_published_and_once(web, tmp_path, capsys):
    folder = fetch("ge-head")
    assert folder == tmp_path / "cache" / "ge-head"
    assert len(read_series(folder)) == len(web.asked) == 4
    assert fetch("ge-head") == folder
    assert main(["fetch", "ge-head"]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    assert len(web.asked) == 4


@pytest.mark.parametrize(
    ("how", "message"), [("half", "no connection"), ("wrong", "SHA-256"), ("busy", "503")]
)
def test_failed_download_leaves_no_scan_and_continues(web, tmp_path, monkeypatch, how, message):
    """With parts of a file that a killed process left, and a retry."""
    web.damaged["/GE/03.dcm"] = [how, "half", "wrong"]
    refused(f"ge-head/03.dcm: .*{message}", fetch, "ge-head")
    cache = tmp_path / "cache"
    assert not (cache / "ge-head").exists()
    assert sorted(p.name for p in cache.rglob("*.dcm")) == ["01.dcm", "02.dcm"]
    (cache / ".ge-head.incomplete" / "tmpabc").write_bytes(bytes(3000))
    monkeypatch.setattr(datasets, "RETRIES", 2)
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    assert len(read_series(fetch("ge-head"))) == len(list((cache / "ge-head").iterdir())) == 4
    assert [web.asked.count(f"/GE/0{n}.dcm") for n in (1, 2, 3, 4)] == [1, 1, 4, 1]


def test_errors_of_a_full_disk_a_changed_file_and_no_network(web, monkeypatch):
    with monkeypatch.context() as disk:
        disk.setattr("os.replace", Mock(side_effect=OSError(28, "No space left")))
        refused("ge-head: cannot be written .No space left.; make room", fetch, "ge-head")
    file = fetch("ge-head") / "02.dcm"
    for change in (lambda: file.write_bytes(b"else"), file.unlink):
        change()
        refused(r"02\.dcm: missing, or not what was fetched", fetch, "ge-head")
    web.shutdown()
    web.server_close()
    shutil.rmtree(file.parent)
    refused(r"ge-head/01\.dcm: no connection", fetch, "ge-head")


def test_registry_has_the_hashes_of_the_real_scans(scans):
    for name in datasets.PLACES:
        lines = (datasets.REGISTRY / f"{name}.txt").read_text().splitlines()
        listed = dict(line.split() for line in lines)
        files = [path for path in (scans / name).rglob("*") if path.is_file()]
        assert {p.relative_to(scans / name).as_posix(): sha256(p) for p in files} == listed


@pytest.fixture
def idc(tmp_path, monkeypatch):
    """Make the table one small series; return the changes of the slices that idc-index writes."""
    size, files = sum(path.stat().st_size for path in make_series(tmp_path / "once", 3)), {}
    row = {"name": "idc-head-99", "series_uid": uid("series"), "slices": "3", "bytes": str(size)}
    monkeypatch.setattr(datasets, "idc_series", lambda: [row])
    client = Mock()
    client.return_value.download_dicom_series = lambda seriesInstanceUID, downloadDir, **_: (
        make_series(downloadDir, **{"SeriesInstanceUID": seriesInstanceUID, **files})
    )
    monkeypatch.setitem(sys.modules, "idc_index", SimpleNamespace(IDCClient=client))
    monkeypatch.setenv("HEADREST_DATA", str(tmp_path / "cache"))
    return files


def test_fetches_an_idc_series_once_and_whole_and_needs_idc_index(idc, tmp_path, monkeypatch):
    for files, message in (
        ({"n": 2}, "2 of 3 files,"),
        ({"n": 3, "StudyID": "12345678"}, "3 of 3 files,"),
        ({"n": 3, "StudyID": "1", "Modality": "MR"}, "another series"),
        ({"n": None}, "idc-index could not fetch it"),
    ):
        idc.update(files)
        refused(message, fetch_idc, "idc-head-99")
        assert not (tmp_path / "cache" / "idc-head-99").exists()
    idc.update(n=3, Modality="CT")
    folder = fetch_idc("idc-head-99")
    assert len(read_series(folder)) == 3
    monkeypatch.setitem(sys.modules, "idc_index", None)  # a second fetch does not import it
    (folder / ".DS_Store").write_text("")  # of a file manager
    assert fetch_idc("idc-head-99") == folder
    (folder / "02.dcm").unlink()
    refused("2 of 3 files, .* remove .*idc-head-99 and fetch again", fetch_idc, "idc-head-99")
    shutil.rmtree(folder)
    refused("pip install idc-index", fetch_idc, "idc-head-99")


def test_idc_table_has_free_licences_and_the_command_lists_all_scans(capfd, monkeypatch):
    monkeypatch.delenv("HEADREST_DATA", raising=False)
    assert "headrest" in datasets.data_folder().parts[-1].lower()  # the cache of the platform
    rows = datasets.idc_series()
    assert len({row["name"] for row in rows}) == len({row["series_uid"] for row in rows}) == 29
    assert all(row["doi"] and row["collection"] for row in rows)
    assert main(["fetch", "--list"]) == 0
    listed = capfd.readouterr().out
    assert all(name in listed for name in ("ge-head", "philips-phantom", "idc-chest-03"))
    redirect = Mock()  # a closed pipe ends without a traceback
    monkeypatch.setattr("builtins.print", Mock(side_effect=BrokenPipeError))
    monkeypatch.setattr("headrest.__main__.os.dup2", redirect)
    assert main(["fetch", "--list"]) == 1
    redirect.assert_called_once()  # or Python's last flush raises again
