"""Values of other people's making (command lines, YAML, JSON, arguments) checked by our types.

A field's type is its only declaration: `lr: Annotated[float, Meta(gt=0)] = 1e-3` is what the
command line, a YAML file, a checkpoint, a caller and a reader of the source go by. msgspec does the
checking; this file turns what it says into sentences.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from diffwave.base.errors import InputError

Count = Annotated[int, Meta(ge=0, le=2**53)]
AtLeastOne = Annotated[int, Meta(ge=1, le=2**53)]
Threads = Annotated[int, Meta(ge=0, le=1024)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]

_T = TypeVar("_T")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def convert(value: Any, kind: Any, name: str, strict: bool = False) -> Any:
    """The value as the type `kind`: "1e-4" is a float, 1e3 an int, a list a tuple.

    Args:
        value: text, a number of Python's or NumPy's, or what YAML and JSON hold.
        kind: a type or dataclass, with its `Annotated` limits.
        name: how a message begins, "The setting "; the path inside the value follows it.
        strict: whether text is nothing but text, as in JSON.

    Raises:
        InputError: for a value of another type or beyond its limits, by the field's full name; and
            what the dataclass itself raises.
    """
    try:
        return msgspec.convert(_plain(value, name), kind, strict=strict)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):  # of a dataclass that checks its own fields
            raise error.__cause__ from None
        message, _, path = str(error).partition(" - at `")
        path = path.rpartition("in `")[2].strip("`").removeprefix("$").removeprefix(".")
        wanted, found = _wanted(message, kind, path), _lookup(value, path)
        subject = f"{name}{path}".rstrip(" ,:")
        raise InputError(f"{subject} must be {wanted}, not {shown(found)}.") from None
    except InputError:
        raise
    except UnicodeEncodeError:
        raise InputError(f"{name.rstrip()} holds what is not text.") from None
    # ValueError: an integer of more digits than Python writes, as a key
    # SystemError: msgspec 0.19, of an integer that is beyond every float
    except (OverflowError, RecursionError, SystemError, ValueError):
        raise InputError(
            f"{name.rstrip()} holds something too large or too deeply nested."
        ) from None


def check_fields(config: Any, name: str) -> None:
    """Give a frozen dataclass its fields in their declared types; InputError names a wrong one."""
    cls: Any = type(config)
    for key, kind in hints(cls).items():
        object.__setattr__(config, key, convert(getattr(config, key), kind, name + key, True))


def derived(default: Any) -> Any:
    """A field that follows from other settings: set by whoever owns those, and never stored."""
    return dataclasses.field(default=default, metadata={"derived": True})


def stored(value: Any) -> Any:
    """A dataclass as JSON types, with its `kind` if it has one, without what is derived."""
    if dataclasses.is_dataclass(value):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        fields = (f.name for f in dataclasses.fields(value) if "derived" not in f.metadata)
        return kind | {name: stored(getattr(value, name)) for name in fields}
    return [stored(item) for item in value] if isinstance(value, tuple | list) else value


def strictly(kind: type[_T], values: Any, name: str) -> _T:
    """A dataclass from a mapping; InputError names what is missing, unknown or of a wrong type.

    Values that are dataclasses already are taken as they are.
    """
    _check_keys(kind, values, name)
    found: _T = convert(values, kind, f"In the settings of {name}, ", strict=True)
    return found


def _check_keys(kind: Any, values: Any, name: str) -> None:
    if not isinstance(values, Mapping):
        raise InputError(f"The settings of {name} must be a mapping, not {shown(values)}.")
    known = hints(kind)
    for key, value in values.items():
        if key not in known:
            raise InputError(
                f"Unknown setting {shown(key)} of {name}; known are {', '.join(known)}."
            )
        for inner in filter(dataclasses.is_dataclass, (known[key], *typing.get_args(known[key]))):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Mapping):
                    _check_keys(inner, each, key)
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is field.default_factory:  # neither is there
            raise InputError(f"The setting {field.name!r} of {name} is missing.")


@functools.cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name, with their limits."""
    types = typing.get_type_hints(kind, include_extras=True)
    return {field.name: types[field.name] for field in dataclasses.fields(kind)}


def shown(value: Any) -> str:
    """A value as a message repeats it: on one line, and not endless."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        text = f"a {type(value).__name__} too large to print"
    return text if len(text) <= 40 else f"{text[:40]}..."


def _plain(value: Any, name: str) -> Any:
    """Keys of mappings are text, whatever YAML takes them for; NumPy's numbers are Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{name}{key}.") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{name.rstrip('.')} must not hold a zero byte.")
    if isinstance(value, Real) and type(value) not in (int, float, bool):
        return int(value) if isinstance(value, Integral) else float(value)
    return value


def _wanted(message: str, kind: Any, path: str) -> str:
    """msgspec's "Expected `int` >= 1, got `str`" or "Invalid enum value 'x'" in plain words."""
    if message.startswith("Invalid enum value"):
        for part in re.findall(r"\w+", path):
            kind = hints(kind)[part]
        choices = typing.get_args(kind)
        if typing.get_origin(kind) is not Literal:  # Literal[...] | None
            choices = (*typing.get_args(choices[0]), None)
        return "one of " + ", ".join(map(str, choices))
    if "missing required field" in message:
        return "a mapping that holds {1}".format(*message.split("`"))
    if not message.startswith("Expected"):
        return "a smaller number" if "range" in message else f"valid ({message})"
    wanted = message.removeprefix("Expected ").partition(", got ")[0]
    for limit, words in (("length >= ", "length at least "), ("length <= ", "length at most "),
                         (">= ", "of at least "), ("<= ", "of at most "),
                         ("> ", "above "), ("< ", "below ")):  # fmt: skip
        wanted = wanted.replace(limit, words)
    wanted = re.sub(r"(\d)\.0$", r"\1", wanted)
    return re.sub(
        r"`([^`]*)`", lambda m: " or ".join(_WORDS.get(w, w) for w in m[1].split(" | ")), wanted
    )


def _lookup(value: Any, path: str) -> Any:
    """What stands at `optim.betas[1]` in nested mappings and lists; the nearest that exists."""
    for part in re.findall(r"[^.\[\]]+", path):
        try:
            value = value[part if isinstance(value, Mapping) else int(part)]
        except (KeyError, IndexError, TypeError, ValueError):
            return value
    return value


def limits(kind: Any) -> str:
    """What a type allows, for a help text: "int", "float > 0", "a | b"; "" for text."""
    if typing.get_origin(kind) is Annotated:
        base, *metas = typing.get_args(kind)
        return limits(base) + "".join(
            f" {sign} {limit:g}"
            for meta in metas
            for sign, limit in ((">=", meta.ge), (">", meta.gt))
            if limit is not None
        )
    if typing.get_origin(kind) is Literal:
        return " | ".join(map(str, typing.get_args(kind)))
    return str(getattr(kind, "__name__", kind)) if not typing.get_args(kind) else str(kind)


def documented(cls: type) -> list[tuple[dataclasses.Field[Any], Any, str]]:
    """Every field of a dataclass with its type and the docstring below it, inherited ones first.

    What is derived is left out.
    """
    import docstring_parser

    texts: dict[str, str] = {}
    for base in reversed(inspect.getmro(cls)):
        if dataclasses.is_dataclass(base):
            for param in docstring_parser.parse_from_object(base).params:
                texts[param.arg_name] = " ".join((param.description or "").split())
    given = [field for field in dataclasses.fields(cls) if "derived" not in field.metadata]
    return [(field, hints(cls)[field.name], texts.get(field.name, "")) for field in given]
