"""Keras without what it takes along, where this is asked for, and only there."""

import subprocess
import sys

import pytest

CODE = """
import gc, sys
from headrest.lean import import_keras, serve_cleaning_only
{}
import_keras()
print("keras" in sys.modules, "sklearn" in sys.modules, gc.isenabled())
import sklearn.cluster
"""


@pytest.mark.parametrize(("asked", "found"), [("", True), ("serve_cleaning_only()", False)])
def test_what_is_not_used_is_not_imported(asked, found):
    pytest.importorskip("keras")
    command = [sys.executable, "-c", CODE.format(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(found), "True"]
