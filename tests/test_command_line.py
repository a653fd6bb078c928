"""The command line: help by group, and refusal of arguments out of range."""

import pytest

from headrest.__main__ import COMMANDS, build_parser, main

NAMES = [line.split()[0] for line in COMMANDS.splitlines() if line.startswith("  ")]
OUT_OF_RANGE = [
    *(f"synthesize OUT --{name}" for name in ("patients 0", "patients -1", "slices 0")),
    *(f"synthesize OUT --{name}" for name in ("matrix -5", "jobs 0", "seed -1")),
    *(
        f"train DATA RUN --{name}"
        for name in ("batch-size 0", "epochs 0", "half-resolution -1", "seed -1")
    ),
    *(f"train DATA RUN --{name}" for name in ("learning-rate -1", "learning-rate 0")),
    *(f"make-weights OUT --{name}" for name in ("patients 0", "jobs 0", "seed -1")),
    "clean IN OUT --jobs 0",
]


@pytest.mark.parametrize("command", OUT_OF_RANGE)
def test_refuses_numbers_out_of_range(command, capsys):
    with pytest.raises(SystemExit):
        main(command.split())
    assert "out of range: at least" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["", "OUT"], ["IN", ""], ["IN", "OUT", "--report", ""]])
def test_refuses_an_empty_path(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["clean", *arguments])
    assert "empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert COMMANDS.splitlines()[0] in capsys.readouterr().out
    (commands,) = build_parser()._subparsers._group_actions
    assert sorted(commands.choices) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_what_it_does(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: headrest {name}")
    assert len(text.split("\n\n")[1]) > 40
