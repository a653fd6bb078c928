"""The command line: help by group, and refusal of arguments out of range."""

import pytest

from headrest.__main__ import COMMANDS, build_parser, main

NAMES = [line.split()[0] for line in COMMANDS.splitlines() if line.startswith("  ")]
OUT_OF_RANGE = {
    "clean IN OUT": "jobs 0",
    "synthesize OUT": "patients 0, patients -1, slices 0, matrix -5, jobs 0, seed -1",
    "train DATA RUN": "batch-size 0, epochs 0, half-resolution -1, seed -1, learning-rate -1, "
    "learning-rate 0",
    "make-weights OUT": "patients 0, jobs 0, seed -1",
}


@pytest.mark.parametrize("command", OUT_OF_RANGE)
def test_refuses_numbers_out_of_range(command, capsys):
    for option in OUT_OF_RANGE[command].split(", "):
        with pytest.raises(SystemExit):
            main(f"{command} --{option}".split())
        assert "out of range: at least" in capsys.readouterr().err, option


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
