"""Values of other people's making (command lines, YAML, JSON) checked against our fields' types.

A field's type is its only declaration: `lr: Annotated[float, Meta(gt=0)] = 1e-3` is what the
command line, a YAML file, a checkpoint and a reader of the source go by. msgspec does the
checking; this file turns what it says into sentences.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from diffwave.bounds import shown
from diffwave.errors import InputError

Count = Annotated[int, Meta(ge=0, le=2**53)]
AtLeastOne = Annotated[int, Meta(ge=1, le=2**53)]
Threads = Annotated[int, Meta(ge=0, le=1024)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
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
        value: text, or what YAML and JSON hold.
        kind: a type or dataclass, with its `Annotated` limits.
        name: how a message begins, "The setting "; the path inside the value follows it.
        strict: whether text is nothing but text, as in JSON.

    Raises:
        InputError: for a value of another type or beyond its limits, by the field's full name; and
            what the dataclass itself raises.
    """
    try:
        return msgspec.convert(_clean(value, name, ""), kind, strict=strict)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):  # of a dataclass that checks its own fields
            raise error.__cause__ from None
        message, _, path = str(error).partition(" - at `")
        path = path.rpartition("in `")[2].strip("`").removeprefix("$")
        found = _lookup(value, path)
        wanted = _wanted(message, kind, path)
        subject = f"{name}{path.lstrip('.')}".rstrip(" ,:")
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


@functools.cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name, with their limits."""
    types = typing.get_type_hints(kind, include_extras=True)
    return {field.name: types[field.name] for field in dataclasses.fields(kind)}


def check_fields(config: Any, name: str) -> None:
    """Give a frozen dataclass its fields in their declared types; InputError names a wrong one."""
    for key, kind in hints(type(config)).items():  # type: ignore[arg-type]
        object.__setattr__(config, key, convert(getattr(config, key), kind, name + key, True))


def strictly(kind: type[_T], values: Any, name: str) -> _T:
    """A dataclass from a mapping; InputError names what is missing, unknown or of a wrong type.

    Values that are dataclasses already are taken as they are.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"The settings of {name} must be a mapping, not {values!r:.60}.")
    known = hints(kind)  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise InputError(
                f"Unknown setting {key!r:.60} of {name}; known are {', '.join(known)}."
            )
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory:  # neither is there
            raise InputError(f"The setting {field.name!r} of {name} is missing.")
    return kind(**{key: _strict(value, known[key], name, key) for key, value in values.items()})


def _strict(value: Any, kind: Any, name: str, key: str) -> Any:
    """The value of a field, which may be a dataclass, or a list of those."""
    inner: Any = next(
        (k for k in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(k)), None
    )
    if dataclasses.is_dataclass(value):
        return value
    if inner is not None and isinstance(value, list) and typing.get_origin(kind) is tuple:
        return tuple(strictly(inner, each, key) for each in value)
    if inner is not None and value is not None:
        return strictly(inner, value, key)
    return convert(value, kind, f"In the settings of {name}, {key}", True)


def _clean(value: Any, name: str, path: str) -> Any:
    """Keys of mappings are text here, whatever YAML takes them for; no text holds a zero byte."""
    if isinstance(value, dict):
        return {str(key): _clean(item, name, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, name, path) for item in value]
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{name}{path.lstrip('.')} must not hold a zero byte.")
    return value


def _wanted(message: str, kind: Any, path: str) -> str:
    """msgspec's "Expected `int` >= 1, got `str`" or "Invalid enum value 'x'" in plain words."""
    if message.startswith("Invalid enum value"):
        for part in re.findall(r"\w+", path):
            kind = typing.get_type_hints(kind)[part]
        choices = typing.get_args(kind)
        if typing.get_origin(kind) is not Literal:  # Literal[...] | None
            choices = (*typing.get_args(choices[0]), None)
        return "one of " + ", ".join(map(str, choices))
    if "missing required field" in message:
        return "a mapping that holds {1}".format(*message.split("`"))
    if not message.startswith("Expected"):
        return "a smaller number" if "range" in message else f"valid ({message})"
    wanted = message.removeprefix("Expected ").partition(", got ")[0]
    for limit, words in ((">= ", "of at least "), ("<= ", "of at most "),
                         ("> ", "above "), ("< ", "below ")):  # fmt: skip
        wanted = wanted.replace(limit, words)
    wanted = re.sub(r"(\d)\.0$", r"\1", wanted)
    return re.sub(
        r"`([^`]*)`", lambda m: " or ".join(_WORDS.get(w, w) for w in m[1].split(" | ")), wanted
    )


def _lookup(value: Any, path: str) -> Any:
    """What stands at `.optim.betas[1]` in nested mappings and lists; the nearest that exists."""
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[int(index)] if index else value[name]
        except (KeyError, IndexError, TypeError):
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
    """Every field of a dataclass with its type and the docstring below it, inherited ones first."""
    import docstring_parser

    texts: dict[str, str] = {}
    for base in reversed(inspect.getmro(cls)):
        if dataclasses.is_dataclass(base):
            for param in docstring_parser.parse_from_object(base).params:
                texts[param.arg_name] = " ".join((param.description or "").split())
    hints = typing.get_type_hints(cls, include_extras=True)
    return [(f, hints[f.name], texts.get(f.name, "")) for f in dataclasses.fields(cls)]
