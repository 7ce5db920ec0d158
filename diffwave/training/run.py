"""`diffwave train config.yaml --set key=value`: settings from YAML and the command line, then train."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dacite
import yaml

from diffwave.errors import InputError
from diffwave.training.config import TrainConfig


def run(config_path: str | None, overrides: Sequence[str]) -> int:
    """Train with the settings of a YAML file and `key=value` overrides; returns the exit status."""
    config = read_config(config_path, overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from diffwave.training.trainer import train

    print(f"exported {train(config)}")
    return 0


def read_config(path: str | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings from a YAML file, changed by overrides such as "run.minutes=60".

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named), a
            value of a wrong type.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror}.") from None
        except yaml.YAMLError as error:
            place = getattr(error, "problem_mark", None)
            line = f" at line {place.line + 1}" if place else ""
            raise InputError(f"{path} is not valid YAML{line}.") from None
        if not isinstance(settings, dict):
            raise InputError(f"{path} must hold settings, key: value.")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"A setting is given as KEY=VALUE, not {override!r}.")
        _assign(settings, key.strip().split("."), yaml.safe_load(value))
    _check_keys(TrainConfig, settings, "")
    try:
        return dacite.from_dict(
            TrainConfig, settings, dacite.Config(type_hooks={tuple: tuple}, cast=[tuple, float])
        )
    except dacite.DaciteError as error:
        raise InputError(f"A setting has the wrong type: {error}.") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"A setting cannot be used: {error}") from None


def _assign(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        settings = settings.setdefault(key, {})
        if not isinstance(settings, dict):
            raise InputError(f"{'.'.join(keys)} is not a setting: {key} holds a single value.")
    settings[keys[-1]] = value


def _check_keys(cls: type, settings: dict[str, Any], prefix: str) -> None:
    known = {name: f.type for name, f in cls.__dataclass_fields__.items()}  # type: ignore[attr-defined]
    defaults = cls()
    for key, value in settings.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = (
                f"; did you mean {prefix}{near[0]}?" if near else f"; there are {', '.join(known)}."
            )
            raise InputError(f"There is no setting {prefix}{key}{hint}")
        nested = getattr(defaults, key)
        if hasattr(nested, "__dataclass_fields__"):
            if not isinstance(value, dict):
                raise InputError(f"The setting {prefix}{key} needs settings of its own below it.")
            _check_keys(type(nested), value, f"{prefix}{key}.")
