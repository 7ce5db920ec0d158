"""Settings of a run from YAML files and key=value overrides."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path
from diffwave.base.libraries import needed_for
from diffwave.base.migrate import FORMER_SAMPLING, current_sampling, current_settings
from diffwave.base.schema import convert, documented, limits, stored
from diffwave.base.text import notice
from diffwave.train.config import TrainConfig

SETTINGS_FILE = "settings.yaml"
"""In a run folder: the settings of the run."""


def read_config(paths: str | Sequence[str] | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings from YAML files, changed by overrides such as "run.minutes=60".

    Args:
        paths: a file, or several, of which a later one changes what an earlier one has set. A file
            may name others that it changes itself: `base: ../other.yaml`, or a list of them,
            relative to its own folder.
        overrides: KEY=VALUE, the value in YAML.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named), a
            value of a wrong type or one that makes no sense.
    """
    settings: dict[str, Any] = {}
    for path in [paths] if isinstance(paths, str) else paths or []:
        for layer in _layers(path):
            _merge(settings, current_settings(layer), TrainConfig())
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"A setting is given as KEY=VALUE, not {override!r:.80}.")
        keys = key.strip().split(".")
        if keys[0] == "mel" and len(keys) > 1 and isinstance(settings.get("mel"), str):
            settings["mel"] = {"preset": settings["mel"]}
        parsed = _parse(value, f"{override!r:.80}")
        change = functools.reduce(lambda inner, name: {name: inner}, reversed(keys), parsed)
        _merge(settings, current_settings(change), TrainConfig(), depth=len(keys))
    if "sampling" in settings:
        settings["sampling"] = current_sampling(settings["sampling"])
    config: TrainConfig = convert(settings, TrainConfig, "The setting ")
    return config


def _layers(path: str, above: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """The settings of a file after those of the files that it names as its base."""
    try:
        settings = _parse(Path(path).read_text(encoding="utf-8"), path) or {}
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid YAML: it is not text.") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} must hold settings, key: value.")
    here = Path(path).resolve()
    if here in above:
        raise InputError(f"The setting base of {path} leads back to {path} itself.")
    base = settings.pop("base", None) or []
    bases = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) for name in bases):
        raise InputError(f"The setting base of {path} must be a file or a list of files.")
    layers = [_layers(str(Path(path).parent / name), [*above, here]) for name in bases]
    return [*(layer for each in layers for layer in each), settings]


def _parse(text: str, name: str) -> Any:
    with needed_for("Training", "train"):
        import yaml
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise InputError(f"{name} is not valid YAML{line}.") from None
    except (RecursionError, ValueError):  # ValueError: a date or number that cannot be one
        raise InputError(f"{name} is not valid YAML that can be used.") from None


def _merge(
    settings: dict[str, Any],
    changes: dict[Any, Any],
    defaults: Any,
    prefix: str = "",
    depth: int = 0,
) -> None:
    """Change settings section by section; raises unless each key is a field of `defaults`.

    A section that is empty changes nothing; text where a list belongs is a list of one. What is no
    section (a mel) is replaced, but an override of `depth` keys enters mappings as deep as those:
    `mel.fmin` is one number.
    """
    names = [field.name for field in dataclasses.fields(defaults)]
    earlier = FORMER_SAMPLING if prefix == "sampling." else set()
    if earlier & changes.keys():
        notice(
            "The settings sampling.steps, sampler, angles, mel_rounds and rounds are called "
            "default, solver, n_iter and presets now."
        )
    for name, value in ((str(key), value) for key, value in changes.items()):
        full, default, before = prefix + name, getattr(defaults, name, None), settings.get(name)
        if name in earlier:
            # Their keys are numbers of steps, which YAML reads as integers.
            settings[name] = convert(value, Any, f"The setting {full}")
        elif name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(names)}."
            raise InputError(f"There is no setting {full}; {hint}")
        elif dataclasses.is_dataclass(default):
            if value is not None and not isinstance(value, dict):
                raise InputError(f"The setting {full} needs settings of its own below it.")
            _merge(settings.setdefault(name, {}), value or {}, default, f"{full}.", depth - 1)
        elif depth > 1 and isinstance(before, dict) and isinstance(value, dict):
            settings[name] = before | value
        else:
            one = isinstance(default, list) and isinstance(value, str)
            settings[name] = [value] if one else value


def save_settings(config: TrainConfig, path: Path) -> None:
    """Write what differs from the defaults as YAML that `read_config` reads."""
    import yaml

    changes = _changes(stored(config), stored(TrainConfig()))
    with atomic_path(path) as temporary:
        text = yaml.safe_dump(changes, sort_keys=False, default_flow_style=None)
        temporary.write_text(text, encoding="utf-8")


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


def described_settings(defaults: Any = None, prefix: str = "") -> str:
    """Every setting with its type, its default and what it means, one below another."""
    defaults = TrainConfig() if defaults is None else defaults
    lines = []
    for field, kind, text in documented(type(defaults)):
        default = getattr(defaults, field.name)
        if dataclasses.is_dataclass(default):
            lines += ["", f"{prefix}{field.name}: {text}"]
            lines.append(described_settings(default, f"{prefix}{field.name}."))
        else:
            lines.append(f"  {prefix}{field.name} ({limits(kind)}; default: {default})")
            lines.append(f"      {text}")
    return "\n".join(lines)
