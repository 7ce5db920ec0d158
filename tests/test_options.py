"""Options of the command line: declared once, read by type and limit, explained by --help."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta
from patience import PATIENCE
from told import one_line

from diffwave import cli, commands
from diffwave.base.schema import documented
from diffwave.chain.samplers import SAMPLERS
from diffwave.checkpoint import load_config
from diffwave.commands.options import COMMANDS, RENAMED, Generation, argument
from diffwave.commands.parser import Parser, add_options, renamed, settings_to_overrides
from diffwave.vocoder import DEFAULT, bundled, bundled_folder

SHARED = {"common", "jobs", "options", "parser", "raw", "voices"}


@dataclass(kw_only=True)
class Sample:
    """For tests."""

    place: str = argument(positional=True)
    """Where."""
    more: list[str] = argument([], positional=True)
    """What else."""
    count: Annotated[int, Meta(ge=1, le=9)] | None = None
    """How many (default: all)."""
    kind: Literal["a", "b"] = "a"
    """Which."""
    loud: bool = True
    """Whether."""
    names: list[str] = argument([], "--name", metavar="N")
    """Of whom."""


def parse(*arguments: str) -> Sample:
    parser = Parser(prog="sample")
    add_options(parser, Sample)
    return Sample(**vars(parser.parse_args(arguments)))


def test_every_command_has_a_module_that_runs_it_and_explained_options() -> None:
    modules = {module.name for module in pkgutil.iter_modules(commands.__path__)} - SHARED
    assert {name.replace("-", "_") for name in COMMANDS} == modules
    for name, options in COMMANDS.items():
        module = f"diffwave.commands.{name.replace('-', '_')}"
        assert callable(importlib.import_module(module).run)
        assert options.__doc__ and options.__doc__.endswith(".")
        assert all(text for _, _, text in documented(options))
    (kind,) = (kind for field, kind, _ in documented(Generation) if field.name == "sampler")
    assert set(typing.get_args(typing.get_args(kind)[0])) == set(SAMPLERS)


def test_values_are_of_the_declared_types() -> None:
    assert parse("x") == Sample(place="x")
    words = ["--count", "3", "--kind", "b", "--no-loud", "--name", "p", "--names", "q"]
    given = parse("x", "y", "z", *words)
    assert given == Sample(
        place="x", more=["y", "z"], count=3, kind="b", loud=False, names=["p", "q"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--count", "0"], "--count: must be an integer of at least 1, not '0'"),
        (["x", "--count", "9" * 400], "of at most 9"),
        (["x", "--count", "1e30"], "must be an integer, not '1e30'"),
        (["x", "--count", "1.5"], "must be an integer, not '1.5'"),
        (["x", "--count", ""], "must not be empty"),
        (["x", "--kind", "c"], "'c'"),
        (["a\0b"], "zero byte"),
        (["x", "--colour", "\x1b[31m"], r"\x1b[31m"),
        ([], "place"),
    ],
)
def test_a_wrong_value_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(*arguments)
    one_line(capsys, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_a_default_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"usage: diffwave {name}" in text
    assert "(default: None)" not in text and ") (default" not in text


def test_help_names_the_default_voice_and_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Written out, as help does not wait for what reads checkpoints."""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["synthesize", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"--checkpoint NAME bundled name, folder or hub id (default: {DEFAULT})" in text
    steps = [
        [preset.steps for preset in load_config(bundled_folder() / name).sampling.presets]
        for name in bundled()
    ]
    assert steps == [[1, 2, 4]] * len(steps) and "tuned for 1, 2 and 4)" in text


def test_help_begins_in_lower_case_unless_it_is_a_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve", "--help"])
    text = capsys.readouterr().out
    assert " MiB of a request" in text and " CPU threads of each" in text and " address " in text


def test_earlier_names_are_taken_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    found = renamed(["--rounds=3", "--no-restore", "x"], RENAMED)
    assert found == ["--n-iter=3", "--no-enhance", "x"]
    assert capsys.readouterr().err.splitlines() == [
        "--rounds is called --n-iter now.",
        "--no-restore is called --no-enhance now.",
    ]


def test_settings_may_be_options() -> None:
    rest = ["--optim.lr", "1e-4", "--run.folder=a=b", "--data.gain_db", "[-3, 3]"]
    found = settings_to_overrides(rest, Parser(prog="x"))
    assert found == ["optim.lr=1e-4", "run.folder=a=b", "data.gain_db=[-3, 3]"]
    for wrong in (["--nonsense", "1"], ["word"], ["--optim.lr"]):
        with pytest.raises(SystemExit):
            settings_to_overrides(wrong, Parser(prog="x"))


def test_options_are_quick_to_load() -> None:
    """Neither --help nor a wrong argument or name waits for PyTorch, or even NumPy."""
    code = (
        "import sys, diffwave.cli as cli\n"
        "for line in ('synthesize missing.npy a.wav', 'mel missing.wav a.npy', 'prepare audio',\n"
        "             'evaluate tests --save a.pdf', 'evaluate missing', 'train missing.yaml',\n"
        "             'train --set run.steps', 'synthesize egs/mel.npy a.aac',\n"
        "             'mel egs/mel.npy a.wav'):\n"
        "    assert cli.main(line.split()) == 2\n"
        "sys.exit(bool({'torch', 'numpy', 'soundfile'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=PATIENCE).returncode == 0
