"""Settings of a run from YAML files and key=value overrides."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffwave.errors import InputError
from diffwave.files import atomic_path
from diffwave.migrate import current_sampling
from diffwave.schema import convert, documented, limits
from diffwave.text import notice
from diffwave.train.config import TrainConfig

SETTINGS_FILE = "settings.yaml"
"""In a run folder: the settings of the run."""
RENAMED = {
    "restorer": "enhancer",
    "loss.restoration": "loss.enhancement",
    "loss.restoration_share": "loss.enhancement_share",
    "loss.restoration_blur": "loss.enhancement_blur",
    "loss.restoration_noise": "loss.enhancement_noise",
    "loss.unrolled_rounds": "loss.unrolled_n_iter",
    "spectral.mel_mean": "normalise.mean",
    "spectral.mel_scale": "normalise.scale",
}
"""Settings of earlier versions, and what they are called now."""
FORMER_SAMPLING = {"steps", "sampler", "angles", "mel_rounds", "rounds"}
"""Those of sampling, before there were presets."""


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

    def change(changes: dict[str, Any], depth: int = 0) -> None:
        defaults = TrainConfig()
        _merge(settings, _known(_renamed(changes), defaults), defaults, depth)

    for path in [paths] if isinstance(paths, str) else paths or []:
        for layer in _layers(path):
            change(layer)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"A setting is given as KEY=VALUE, not {override!r:.80}.")
        keys = key.strip().split(".")
        if keys[0] == "mel" and len(keys) > 1 and isinstance(settings.get("mel"), str):
            settings["mel"] = {"preset": settings["mel"]}
        parsed = _parse(value, f"{override!r:.80}")
        change(
            functools.reduce(lambda inner, name: {name: inner}, reversed(keys), parsed), len(keys)
        )
    if "sampling" in settings:
        settings["sampling"] = current_sampling(settings["sampling"])
    config: TrainConfig = convert(settings, TrainConfig, "The setting ")
    return config


def _layers(path: str, above: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """The settings of a file after those of the files that it names as its base."""
    settings, here = _read(path), Path(path).resolve()
    if here in above:
        raise InputError(f"The setting base of {path} leads back to {path} itself.")
    base = settings.pop("base", None) or []
    bases = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) for name in bases):
        raise InputError(f"The setting base of {path} must be a file or a list of files.")
    layers = [_layers(str(Path(path).parent / name), [*above, here]) for name in bases]
    return [*(layer for each in layers for layer in each), settings]


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
    except (RecursionError, ValueError):  # ValueError: a date or number that cannot be one
        raise InputError(f"{name} is not valid YAML that can be used.") from None


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings under today's names, with a notice of each that has another."""
    for old, new in RENAMED.items():
        (*sections, last), (*others, name) = old.split("."), new.split(".")
        place: Any = settings
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            notice(f"The setting {old} is called {new} now.")
            value, place = place.pop(last), settings
            for section in others:
                place = place.setdefault(section, {})
            place[name] = value
    return settings


def _known(settings: dict[str, Any], defaults: Any, prefix: str = "") -> dict[str, Any]:
    """The settings with text for keys; raises unless each is a field, and sections are sections.

    A section that is empty changes nothing; text where a list belongs is a list of one.
    """
    names = [field.name for field in dataclasses.fields(defaults)]
    earlier = FORMER_SAMPLING if prefix == "sampling." else set()
    if earlier & settings.keys():
        notice(
            "The settings sampling.steps, sampler, angles, mel_rounds and rounds are called "
            "default, solver, n_iter and presets now."
        )
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = str(key)
        if name in earlier:
            # Their keys are numbers of steps, which YAML reads as integers.
            found[name] = convert(value, Any, f"The setting {prefix}{name}")
            continue
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(names)}."
            raise InputError(f"There is no setting {prefix}{name}; {hint}")
        default = getattr(defaults, name)
        if dataclasses.is_dataclass(default):
            if value is None:
                continue
            if not isinstance(value, dict):
                raise InputError(f"The setting {prefix}{name} needs settings of its own below it.")
            value = _known(value, default, f"{prefix}{name}.")
        elif isinstance(default, list) and isinstance(value, str):
            value = [value]
        found[name] = value
    return found


def _merge(
    settings: dict[str, Any], changes: dict[str, Any], defaults: Any, depth: int = 0
) -> None:
    """Section by section, as in `defaults`; what is no section (a mel, angles) is replaced.

    Of an override of `depth` keys, mappings are entered as deep as those: `mel.fmin` is one number.
    """
    for key, value in changes.items():
        default, before = getattr(defaults, key, None), settings.get(key)
        if dataclasses.is_dataclass(default):
            _merge(settings.setdefault(key, {}), value, default, depth - 1)
        elif depth > 1 and isinstance(before, dict) and isinstance(value, dict):
            _merge(before, value, None, depth - 1)
        else:
            settings[key] = value


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


def missing_package(error: ImportError) -> InputError:
    """What to say when training cannot import something."""
    return InputError(f"Training needs the package {error.name}; pip install 'diffwave[train]'.")
