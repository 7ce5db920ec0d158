"""An argparse parser of a dataclass: names, types, limits, defaults and help from its fields."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from diffwave.base.errors import InputError
from diffwave.base.schema import convert, documented
from diffwave.base.text import notice, printable


class Parser(argparse.ArgumentParser):
    """argparse with one sentence and status 2, as for every other bad input."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28),
            allow_abbrev=False,
            **settings,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """Add an argument for every field of the dataclass `options`."""
    exclusive: Any = None
    for field, kind, text in documented(options):
        settings = {**_settings(kind, field.default), **field.metadata}
        settings["help"] = _help(text, field.default)
        flags, place = settings.pop("flags", ()), typing.cast(Any, parser)
        if settings.pop("exclusive", False):
            place = exclusive = exclusive or parser.add_mutually_exclusive_group()
        if settings.pop("positional", False):
            if settings.pop("action", None) == "append":
                settings["nargs"] = "*"
            elif field.default is None:
                settings["nargs"] = "?"
            place.add_argument(field.name, **settings)
        else:
            names = () if "--from" in flags else (f"--{field.name.replace('_', '-')}",)
            place.add_argument(*names, *flags, dest=field.name, **settings)


def _settings(kind: Any, default: Any) -> dict[str, Any]:
    """Settings of `add_argument` for a type."""
    if type(None) in (kinds := typing.get_args(kind)):  # X | None
        kind = next(k for k in kinds if k is not type(None))
    if kind is bool:
        switch = argparse.BooleanOptionalAction if default else "store_true"
        return {"action": switch, "default": default}
    if typing.get_origin(kind) is list:
        return {"action": "append", "type": _reader(str), "default": []}
    if typing.get_origin(kind) is Literal:
        return {"choices": typing.get_args(kind), "default": default}
    found: dict[str, Any] = {"type": _reader(kind)}
    if isinstance(default, (str, int, float, type(None))):
        found["default"] = default
    return found


def _reader(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if not text:
            raise argparse.ArgumentTypeError("must not be empty")
        try:
            return convert(text, kind, "")
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).strip().removesuffix(".")) from None

    return read


def _help(text: str, default: Any) -> str:
    word = text.partition(" ")[0]
    if word == "A" or word[1:].islower():  # neither CPU nor MiB
        text = text[0].lower() + text[1:]
    text = text.removesuffix(".")
    shown = isinstance(default, (str, int)) and not isinstance(default, bool)
    text += f" (default: {default})" if shown and "0:" not in text else ""
    return text.replace("%", "%%")


def renamed(arguments: Sequence[str], names: dict[str, str]) -> list[str]:
    """The arguments with today's names for options of earlier versions; a notice of each."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in names:
            notice(f"{name} is called {names[name]} now.")
        found.append(names.get(name, name) + equals + value)
    return found


def settings_to_overrides(rest: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """ "--optim.lr 1e-4" and "--optim.lr=1e-4" as "optim.lr=1e-4"; an error for anything else."""
    overrides, words = [], iter(rest)
    for word in words:
        key, equals, value = word.partition("=")
        if not key.startswith("--") or "." not in key:
            parser.error(f"unrecognized arguments: {word}")
        if not equals and (given := next(words, None)) is None:
            parser.error(f"argument {key}: expected a value")
        overrides.append(f"{key[2:]}={value if equals else given}")
    return overrides
