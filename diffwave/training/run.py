"""`diffwave train config.yaml --set key=value`: settings, then a run."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dacite

from diffwave.errors import InputError
from diffwave.training.config import TrainConfig


def run(config_path: str | None, overrides: Sequence[str]) -> int:
    """Train with the settings of a YAML file and `key=value` overrides; returns the exit status."""
    config = read_config(config_path, overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        from diffwave.training.trainer import train
    except ImportError as error:
        raise _missing(error) from None
    print(f"exported {train(config)}")
    return 0


def read_config(path: str | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings from a YAML file, changed by overrides such as "run.minutes=60".

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named), a
            value of a wrong type or one that makes no sense.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = _parse(Path(path).read_text(encoding="utf-8"), path) or {}
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is not valid YAML: it is not text.") from None
        if not isinstance(settings, dict):
            raise InputError(f"{path} must hold settings, key: value.")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"A setting is given as KEY=VALUE, not {override!r}.")
        _assign(settings, key.strip().split("."), _parse(value, repr(override)))
    _check_keys(TrainConfig(), settings, "")
    try:
        return dacite.from_dict(TrainConfig, settings, dacite.Config(type_hooks=_HOOKS))
    except dacite.WrongTypeError as error:
        key = str(error.field_path)
        raise InputError(
            f"The setting {key} has a value of a wrong type, {_lookup(settings, key)!r}; "
            f"its default is {_default(key)!r}."
        ) from None


def _parse(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise _missing(error) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise InputError(f"{name} is not valid YAML{line}.") from None


def _missing(error: ImportError) -> InputError:
    return InputError(f"Training needs the package {error.name}; pip install 'diffwave[train]'.")


def _assign(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if settings.get(key) is None:  # absent, or a section that is empty
            settings[key] = {}
        settings = settings[key]
        if not isinstance(settings, dict):
            raise InputError(f"{'.'.join(keys)} is not a setting: {key} holds a single value.")
    settings[keys[-1]] = value


def _check_keys(defaults: Any, settings: dict[str, Any], prefix: str) -> None:
    """Raise unless every key is a field of the dataclass `defaults`, and sections are sections."""
    known = [field.name for field in dataclasses.fields(defaults)]
    for key, value in settings.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(known)}."
            raise InputError(f"There is no setting {prefix}{key}; {hint}")
        default = getattr(defaults, key)
        if dataclasses.is_dataclass(default):
            if value is None:
                settings[key] = value = {}
            if not isinstance(value, dict):
                raise InputError(f"The setting {prefix}{key} needs settings of its own below it.")
            _check_keys(default, value, f"{prefix}{key}.")
        elif isinstance(default, dict) and not isinstance(value, dict):
            raise InputError(f"The setting {prefix}{key} must be a mapping, not {value!r}.")
        elif isinstance(default, list | tuple) and isinstance(value, str):
            settings[key] = [value]  # a list of one
        elif isinstance(default, list | tuple) and not isinstance(value, list):
            raise InputError(f"The setting {prefix}{key} must be a list, not {value!r}.")


def _lookup(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = settings[part]
    return settings


def _default(key: str) -> Any:
    value: Any = TrainConfig()
    for part in key.split("."):
        value = getattr(value, part)
    return value


# What these cannot convert they leave as it is, for dacite to name the setting.
def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value)
    try:
        return float(value) if isinstance(value, int | str) else value  # YAML takes 1e-4 for text
    except ValueError:
        return value


def _integer(value: Any) -> Any:
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else str(value)


_HOOKS: dict[Any, Any] = {
    float: _number,
    int: _integer,
    tuple[float, float]: lambda value: tuple(value) if isinstance(value, list) else value,
    tuple[int, ...]: lambda value: tuple(value) if isinstance(value, list) else value,
    dict[str, list[float]]: lambda value: {str(key): item for key, item in value.items()},
}
