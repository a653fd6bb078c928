"""Every notebook runs from top to bottom; cells are short, committed outputs complete."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SMALL = {
    "00": {"PATIENTS": 8, "SLICES": 2, "MATRIX": 256},
    "01": {"SLICES": 3, "MATRIX": 256},
    "02": {"PATIENTS": 2, "SLICES": 4, "MATRIX": 256, "SCANS": ""},
    "03": {"PATIENTS": 5, "SLICES": 2, "MATRIX": 256, "FEW": 3, "BRIEF": 1}
    | {"PRESET": "small", "EPOCHS": 2, "HALF": 1},
    "04": {"PATIENTS": 4, "SLICES": 2, "MATRIX": 128, "EPOCHS": 2},
    "05": {"PROFILE": "tiny", "SLICES": 2, "MATRIX": 256, "SCANS": ""}
    | {"SIZES": {"tiny": {"patients": 2, "training": 10, "passes": 1, "iterations": 2}}},
    "06": {"PROFILE": "tiny", "SIZES": {"tiny": {"chests": 1, "heads": 1}}}
    | {"SLICES": 2, "MATRIX": 256},
    "07": {"SLICES": 5, "MATRIX": 256, "SCANS": ""},
    "08": {"PATIENTS": 3, "NEW": 1, "SLICES": 3, "MATRIX": 256, "SYNTHETIC": 2, "EPOCHS": 1},
    "09": {"SLICES": 8, "MATRIX": 96},
}
REAL_SCANS = {"02": ["02_ge_head.jpg"], "07": ["ge_head.jpg", "philips_phantom.jpg"]}
"""Pictures of real scans, which notebooks show as stored where HEADREST_SCANS is not set."""

PARAMETER_LINES, IMPORT_LINES, CELL_LINES = 10, 12, 6
"""Most lines of the cell of parameters, of cells that import only, and of every other."""

PICTURE = r'IMAGES / "(\S+?)"'
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


def with_parameters(notebook, values):
    """Insert a cell with other values after the one tagged `parameters`."""
    tagged = [i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert not [name for name in values if name not in notebook.cells[tagged[0]].source]
    lines = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    cell = nbformat.v4.new_code_cell(f"from pathlib import *\n{lines}")
    notebook.cells.insert(tagged[0] + 1, cell)
    return notebook


@pytest.mark.slow
@every_notebook
def test_runs_with_small_parameters(path, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in REAL_SCANS.get(path.name[:2], ()):
        shutil.copy(ROOT / "images" / name, images)
    values = {**SMALL[path.name[:2]], "IMAGES": images, "DATA": tmp_path / "data"}
    notebook = with_parameters(nbformat.read(path, 4), values)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, resources=folder).execute()
    saved = re.findall(PICTURE, "".join(c.source for c in code_cells(path)))
    assert saved
    assert {f.name for f in images.iterdir()} == set(saved)


@every_notebook
def test_committed_outputs_are_complete_and_in_order(path):
    cells = code_cells(path)
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not any(o.output_type == "error" for c in cells for o in c.outputs)
    source = "".join(c.source for c in cells)
    assert all((ROOT / "images" / name).exists() for name in re.findall(PICTURE, source))
    assert not re.search(r"/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\", path.read_text("utf-8"))


@every_notebook
def test_has_15_to_30_short_cells_that_define_nothing(path):
    assert 15 <= len(nbformat.read(path, 4).cells) <= 30
    for cell in code_cells(path):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        imports = all(re.match("import |from ", line) for line in lines)
        tagged = "parameters" in cell.metadata.get("tags", [])
        most = PARAMETER_LINES if tagged else IMPORT_LINES if imports else CELL_LINES
        assert len(lines) <= most, cell.source
        assert not re.search(r"^\s*(def|class) ", cell.source, re.M)


def test_notebooks_are_small():
    """Every run adds them to the history."""
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= 4e6
