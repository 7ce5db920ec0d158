"""Settings of a run from a YAML file and key=value overrides."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dacite

from diffwave.chain.sampling import SamplingConfig
from diffwave.errors import InputError
from diffwave.files import atomic_path
from diffwave.migrate import current_settings
from diffwave.train.config import TrainConfig

SETTINGS_FILE = "settings.yaml"
"""In a run folder: the settings of the run."""


def read_config(paths: str | Sequence[str] | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings from YAML files, changed by overrides such as "run.minutes=60".

    Args:
        paths: a file, or several, of which a later one changes what an earlier one has set.
        overrides: KEY=VALUE, the value in YAML.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named), a
            value of a wrong type or one that makes no sense.
    """
    settings: dict[str, Any] = {}
    for path in [paths] if isinstance(paths, str) else paths or []:
        _merge(settings, _read(path), TrainConfig())
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"A setting is given as KEY=VALUE, not {override!r}.")
        keys = key.strip().split(".")
        if keys[0] == "mel" and len(keys) > 1 and isinstance(settings.get("mel"), str):
            settings["mel"] = {"preset": settings["mel"]}
        _assign(settings, keys, _parse(value, repr(override)))
    settings = current_settings(settings)
    sampling = SamplingConfig.from_dict(settings.pop("sampling", None) or {})
    _check_keys(TrainConfig(), settings, "")
    settings["sampling"] = sampling
    try:
        return dacite.from_dict(TrainConfig, settings, dacite.Config(type_hooks=_HOOKS))
    except dacite.WrongTypeError as error:
        key = str(error.field_path)
        raise InputError(
            f"The setting {key} has a value of a wrong type, {_lookup(settings, key)!r}; "
            f"its default is {_default(key)!r}."
        ) from None


def _read(path: str) -> dict[str, Any]:
    try:
        settings = _parse(Path(path).read_text(encoding="utf-8"), path) or {}
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid YAML: it is not text.") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} must hold settings, key: value.")
    return settings


def _merge(settings: dict[str, Any], changes: dict[str, Any], defaults: Any) -> None:
    """Section by section, as in `defaults`; what is no section (a mel, angles) is replaced."""
    for key, value in changes.items():
        default, before = getattr(defaults, str(key), None), settings.get(key)
        section = dataclasses.is_dataclass(default)
        if section and isinstance(before, dict) and isinstance(value, dict):
            _merge(before, value, default)
        elif not section or value is not None:  # a section left empty changes nothing
            settings[key] = value


def _parse(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise missing_package(error) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise InputError(f"{name} is not valid YAML{line}.") from None


def save_settings(config: TrainConfig, path: Path) -> None:
    """Write what differs from the defaults as YAML that `read_config` reads."""
    import yaml

    changes = _changes(_plain(config), _plain(TrainConfig()))
    with atomic_path(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(changes, sort_keys=False, default_flow_style=None), encoding="utf-8"
        )


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Nested settings as JSON types, for which YAML has plain words."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _changes(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        default = defaults[key]
        # Sections are there by default; a mapping that is empty by default is a value.
        if isinstance(value, dict) and isinstance(default, dict) and default:
            if inner := _changes(value, default):
                changes[key] = inner
        elif value != default:
            changes[key] = value
    return changes


def missing_package(error: ImportError) -> InputError:
    """What to say when training cannot import something."""
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
