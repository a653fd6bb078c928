"""Notebooks and README: they run; links, commands, images and committed outputs are complete."""

import base64
import io
import re
import shlex
import shutil
from pathlib import Path

import imageio_ffmpeg
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

import headrest
from headrest import datasets
from headrest.__main__ import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ["README.md", "data/README.md", "data/reference/README.md"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PICTURES = sorted(set(re.findall(r"images/([\w.]+)", README)))
COMMANDS = sorted(set(re.findall(r"python -m headrest ([^`\n]+)", README)))
SMALL = {
    "00": {"PATIENTS": 8},
    "01": {"SLICES": 3},
    "02": {"PATIENTS": 2, "SLICES": 4, "SCANS": ""},
    "03": {"PATIENTS": 5, "FEW": 3, "BRIEF": 1, "PRESET": "small", "EPOCHS": 2, "HALF": 1},
    "04": {"PATIENTS": 4, "MATRIX": 128, "EPOCHS": 2},
    "05": {"PROFILE": "tiny", "SCANS": ""}
    | {"SIZES": {"tiny": {"patients": 2, "training": 10, "passes": 1, "iterations": 2}}},
    "06": {"PROFILE": "tiny", "SIZES": {"tiny": {"chests": 1, "heads": 1}}},
    "07": {"SLICES": 5, "SCANS": ""},
    "08": {"PATIENTS": 3, "NEW": 1, "SLICES": 3, "SYNTHETIC": 2, "EPOCHS": 1},
    "09": {"SEEDS": [3030], "SLICES": 8, "MATRIX": 96},
}
REAL_SCANS = {"02": ["02_ge_head.jpg"], "07": ["ge_head.jpg", "philips_phantom.jpg"]}
"""Pictures of real scans, which notebooks show as stored where HEADREST_SCANS is not set."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def saved_by(cell):
    """Names of the images that a cell writes."""
    return re.findall(r'IMAGES / "(\S+?)"', cell.source)


@pytest.mark.slow
@every_notebook
def test_runs_with_small_parameters(path, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in REAL_SCANS.get(path.name[:2], ()):
        shutil.copy(ROOT / "images" / name, images)
    values = {"SLICES": 2, "MATRIX": 256, **SMALL[path.name[:2]], "IMAGES": images}
    values |= {"DATA": tmp_path / "data"} if path.name[:2] != "09" else {}  # which writes no data
    notebook = nbformat.read(path, 4)
    (place,) = (i for i, cell in enumerate(notebook.cells) if is_parameters(cell))
    assert not [name for name in values if name not in notebook.cells[place].source]
    lines = ["from pathlib import *", *(f"{name} = {value!r}" for name, value in values.items())]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, resources=folder).execute()
    saved = {name for cell in code_cells(path) for name in saved_by(cell)}
    assert {f.name for f in images.iterdir()} == saved != set()


@every_notebook
def test_committed_outputs_are_complete_and_in_order_and_cells_short(path):
    cells, text = code_cells(path), path.read_text("utf-8")
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not any(o.output_type == "error" for c in cells for o in c.outputs)
    assert all((ROOT / "images" / name).exists() for c in cells for name in saved_by(c))
    assert not re.search(r"/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\", text)
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= 4e6  # a run adds them to the history
    assert 15 <= len(nbformat.read(path, 4).cells) <= 30
    for cell in cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= (10 if is_parameters(cell) else 6), cell.source
        assert not re.search(r"^\s*(def|class) ", cell.source, re.M)
        for line in re.findall(r"^# (from headrest import fetch; .*)$", cell.source, re.M):
            assert re.search(r'fetch\("(\S+)"\)', line)[1] in datasets.PLACES
            compile(line, "", "exec")


@pytest.mark.parametrize("page", PAGES)
def test_links_exist_here_or_are_complete_https_addresses(page):
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"src=\"([^\"]+)\"", text)
    assert links
    for link in links:
        if link.startswith("http"):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/\S*)?", link)
        else:
            assert ((ROOT / page).parent / link).exists()


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec("".join(re.findall(r"```python\n(.*?)```", README, re.S)), names := {})
    assert names["support"].mask.any()


def test_commands_options_notebooks_and_citation_are_valid():
    for command in COMMANDS:
        assert build_parser().parse_args(shlex.split(command)).run
    (commands,) = [a for a in build_parser()._actions if hasattr(a, "choices") and a.choices]
    known = {option for one in commands.choices.values() for option in one._option_string_actions}
    named = set(re.findall(r"`(--[a-z-]+)|(?:headrest|clean|train|fetch).* (--[a-z-]+)", README))
    assert {option for pair in named for option in pair if option} <= known
    rows = re.findall(r"^\|.*?\]\(notebooks/(\S+?)\).*\| [\d.]+ \|$", README, re.M)
    assert rows == [path.name for path in NOTEBOOKS]
    for name in ("main", "tests"):
        assert re.search(rf"<!-- {name} -->\n```sh\n.+\n```\n<!-- end -->", README)
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {headrest.__version__}\n" in cited
    assert f"version = {{{headrest.__version__}}}" in README


def writers(picture):
    """Cells that write an image."""
    return [cell for path in NOTEBOOKS for cell in code_cells(path) if picture in saved_by(cell)]


def shown(cell):
    """Outputs of a cell in a committed notebook: images, and the bytes of a video."""
    for data in (output.get("data", {}) for output in cell.outputs):
        for form in data.keys() & {"image/png", "image/jpeg"}:
            yield Image.open(io.BytesIO(base64.b64decode(data[form])))
        if found := re.search(r"base64,([\w+/=\n]+)", data.get("text/html", "")):
            yield base64.b64decode(found[1])


@pytest.mark.parametrize("picture", [p for p in PICTURES if p.endswith(("png", "jpg"))])
def test_image_is_that_of_its_notebook(picture):
    # The file has a higher resolution than the output: small copies agree.
    file, (cell,) = Image.open(ROOT / "images" / picture), writers(picture)
    small = (one.convert("RGB").resize((48, 48), reducing_gap=2) for one in (file, *shown(cell)))
    assert np.corrcoef([np.ravel(one) for one in small])[0, 1:].max() > 0.94


def test_video_is_that_of_its_notebook_and_the_animation_has_its_frames():
    video = ROOT / "images" / "epoch_video.mp4"
    assert any(video.read_bytes() in shown(cell) for cell in writers("epoch_video.mp4"))
    animation = Image.open(ROOT / "images" / "epoch_video.webp")
    assert animation.n_frames == imageio_ffmpeg.count_frames_and_secs(str(video))[0]
