"""README's links lead somewhere, and its Python lines work as they stand."""

import re
import shutil
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_links_and_pictures_exist():
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = [a or b for a, b in links if not (a or b).startswith("http")]
    assert local
    assert not [link for link in local if not (ROOT / link).exists()]


def test_python_lines_run(tmp_path, monkeypatch):
    (tmp_path / "scan").mkdir()
    shutil.copy(get_testdata_file("693_UNCR.dcm", download=False), tmp_path / "scan")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert list(tmp_path.glob("cleaned/*/0001.dcm"))


@pytest.mark.parametrize("name", ["main", "tests"])
def test_set_up_commands_are_one_line(name):
    block = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```\n<!-- end -->", README, re.S)
    assert block
    assert "\n" not in block[1]
