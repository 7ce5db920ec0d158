"""Every command has arguments, a sentence of help, and a module that runs it."""

from __future__ import annotations

import argparse
import importlib
import pkgutil

import pytest

from diffwave import commands
from diffwave.arguments import ARGUMENTS, HELP

SHARED = "common"


def test_every_command_is_declared_and_has_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(commands.__path__)} - {SHARED}
    assert set(ARGUMENTS) == set(HELP) == modules


@pytest.mark.parametrize("command", ARGUMENTS)
def test_its_module_runs_it_and_its_arguments_are_explained(command: str) -> None:
    assert callable(importlib.import_module(f"diffwave.commands.{command}").run)
    parser = argparse.ArgumentParser()
    ARGUMENTS[command](parser)
    assert HELP[command].endswith(".")
    assert all(action.help for action in parser._actions)
