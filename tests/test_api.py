"""The public functions: documented, annotated, with examples that run; and the package."""

import doctest
import inspect
import re
from pathlib import Path

import model_card
import pytest

import headrest

ROOT = Path(__file__).parents[1]
FUNCTIONS = [name for name in headrest.__all__ if inspect.isfunction(getattr(headrest, name))]


def test_public_names_are_few_and_sorted():
    assert headrest.__all__ == sorted(headrest.__all__)
    assert len(FUNCTIONS) <= 18


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_annotated_and_documented_with_an_example_that_runs(name):
    function = getattr(headrest, name)
    signature = inspect.signature(function)
    annotations = [parameter.annotation for parameter in signature.parameters.values()]
    assert inspect.Parameter.empty not in (*annotations, signature.return_annotation)
    returns = ["Returns"] if signature.return_annotation is not None else []
    for section in ("Parameters", *returns):
        assert f"{section}\n{'-' * len(section)}\n" in inspect.getdoc(function)
    (found,) = doctest.DocTestFinder(recurse=False).find(function, name)
    assert found.examples
    assert not any(example.options.get(doctest.SKIP) for example in found.examples)


@pytest.fixture
def project():
    toml = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
    return toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_package_data_lists_types_and_registries(project):
    options = project["tool"]["setuptools"]
    names = set()
    for package, globs in options["package-data"].items():
        place = ROOT.joinpath(*package.split("."))
        names |= {path.name for glob in globs for path in place.glob(glob)}
    assert names >= {"py.typed", "ge-head.txt", "philips-phantom.txt", "idc.csv"}


def test_the_extra_all_includes_every_other_but_idc(project):
    extras = project["project"]["optional-dependencies"]
    included, todo = set(), ["all"]
    while todo:
        for line in extras[todo.pop()]:
            if line.startswith("headrest["):
                todo += line.removeprefix("headrest[").rstrip("]").split(",")
                included.update(todo)
    assert included == set(extras) - {"all", "idc"}


def test_the_page_of_the_model_card_is_that_of_the_network():
    assert model_card.PAGE.read_text("utf-8") == model_card.page(), "run tests/model_card.py"


def test_the_changelog_describes_this_version_and_that_of_the_network():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## ([\d.]+)", text, re.M)
    assert versions[0] == headrest.__version__
    assert model_card.read_card()["headrest"] in versions
