"""Keras in silence; and without what it takes along, where this is asked for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import gc, os, sys
from headrest.util.lean import import_keras, serve_cleaning_only
{}
import_keras()
rarely = gc.get_threshold()[0] > 10_000
print("keras" in sys.modules, "sklearn" in sys.modules, gc.isenabled(), rarely)
import sklearn.cluster
os.write(2, b"after")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "found"), [("", True), ("serve_cleaning_only()", False)])
def test_what_is_not_used_is_not_imported(asked, found):
    pytest.importorskip("keras")
    command = [sys.executable, "-c", CODE.format(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(found), "True", str(not found)]
    assert done.stderr == "after"  # nothing is said meanwhile, and everything later


def test_all_modules_take_keras_from_one():
    package = Path(__file__).parents[1] / "headrest"
    takes = re.compile(r"^\s*(import|from) keras\b", re.MULTILINE)
    found = {path.stem for path in package.rglob("*.py") if takes.search(path.read_text("utf-8"))}
    assert found == {"backend", "lean"}


@pytest.mark.slow
def test_keras_is_imported_where_there_is_no_standard_error():
    pytest.importorskip("keras")
    code = "import os; os.close(2); import headrest.segment.unet; print('there')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["there"]
