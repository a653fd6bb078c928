"""The command line, the public functions with their examples, the package."""

import doctest
import inspect
import io
import re
from pathlib import Path

import model_card
import pytest

import headrest
from headrest.__main__ import COMMANDS, build_parser, main
from headrest.util import progress

NAMES = [line.split()[0] for line in COMMANDS.splitlines() if line.startswith("  ")]

OUT_OF_RANGE = {
    "clean IN OUT": "jobs 0",
    "synthesize OUT": "patients 0, patients -1, slices 0, matrix -5, jobs 0, seed -1",
    "train DATA RUN": "batch-size 0, epochs 0, half-resolution -1, seed -1, learning-rate 0",
    "make-weights OUT": "patients 0, jobs 0, seed -1",
}


def test_refuses_numbers_out_of_range(capsys):
    """So are empty paths."""
    each = [(name, one) for name, options in OUT_OF_RANGE.items() for one in options.split(", ")]
    wrong = [f"{name} --{one}".split() for name, one in each]
    for arguments in (*wrong, ["clean", "", "OUT"], ["clean", "IN", "OUT", "--report", ""]):
        with pytest.raises(SystemExit):
            main(arguments)
        words = "empty" if "" in arguments else "out of range: at least"
        assert words in capsys.readouterr().err, arguments


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bars_are_for_terminals_and_a_log_gets_one_line(is_terminal, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("sys.stderr", log := io.StringIO())
    log.isatty = lambda: is_terminal
    assert list(progress(range(12), "cleaning", unit="series")) == list(range(12))
    assert ("\r" in log.getvalue()) == is_terminal
    assert is_terminal or log.getvalue() == "cleaning: 12 series\n"
    before = log.getvalue()
    assert list(progress(range(2), "reading", brief=True)) == [0, 1]
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(progress(range(2), "in a worker")) == [0, 1]
    assert log.getvalue() == before


def test_help_lists_every_command_and_each_says_what_it_does(capsys):
    (commands,) = build_parser()._subparsers._group_actions
    assert sorted(commands.choices) == sorted(NAMES)
    for name in ("", *NAMES):
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        text = capsys.readouterr().out
        assert text.startswith(f"usage: headrest {name}")
        assert len(text.split("\n\n")[1]) > 40, name


ROOT = Path(__file__).parents[1]


def test_public_functions_are_documented_with_an_example():
    for function in filter(inspect.isfunction, vars(headrest).values()):
        returned = inspect.signature(function).return_annotation
        assert "Parameters\n---" in inspect.getdoc(function)
        assert returned is None or "Returns\n---" in inspect.getdoc(function)
        assert doctest.DocTestFinder(recurse=False).find(function)[0].examples


def test_package_data_is_complete_and_the_extra_all_includes_every_other_but_idc():
    toml = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
    project = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    data = project["tool"]["setuptools"]["package-data"].items()
    globs = [f"{package.replace('.', '/')}/{glob}" for package, every in data for glob in every]
    names = {path.name for glob in globs for path in ROOT.glob(glob)}
    assert names >= {"py.typed", "ge-head.txt", "philips-phantom.txt", "idc.csv"}
    extras = project["project"]["optional-dependencies"]
    included = re.findall(r"headrest\[(.*?)\]", " ".join(extras["all"] + extras["notebooks"]))
    assert set(",".join(included).split(",")) == set(extras) - {"all", "idc"}


def test_the_page_of_the_model_card_and_the_changelog_are_of_this_version():
    assert model_card.PAGE.read_text("utf-8") == model_card.page(), "run tests/model_card.py"
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## ([\d.]+)", text, re.M)
    assert versions[0] == headrest.__version__
    assert model_card.read_card()["headrest"] in versions
