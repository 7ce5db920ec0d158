"""Configurations and weights of earlier versions, brought to today's form.

Format 1 had the sizes of a space under `space` (none for a chain on samples), the energy prior of
such a chain apart, the mel's mean and scale in every network, a `restorer`, and the settings of a
number of steps spread over three mappings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffwave.bounds import shown
from diffwave.errors import InputError
from diffwave.text import notice

_RENAMED = {"representation.": "space.", "restorer.": "enhancer.", "network.": "denoiser.network."}
_FIRST = {"mean": -5.0, "scale": 2.5}
"""What a network of format 1 normalised its mel by, unless it said otherwise."""


def current_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by today's names; InputError when one is there under two names."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if (current := _current_name(name)) in found:
            raise InputError(f"The weight {shown(current)} is there twice, under two names.")
        found[current] = tensor
    return found


def _current_name(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def current_config(data: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings with today's keys; values are looked at by those who take them."""
    data = dict(data)
    if "normalise" in data:
        return data
    network = dict(data["network"]) if isinstance(data.get("network"), Mapping) else {}
    prior, space = data.pop("prior", None), data.get("space")
    if network.get("kind") == "waveform":
        if space is not None:
            raise InputError("A spectral network needs a spectral space, and only it does.")
        mel = data.get("mel")
        hop = {"hop_length": mel.get("hop_length")} if isinstance(mel, Mapping) else {}
        data["space"] = {"kind": "waveform", **hop, **({} if prior is None else {"prior": prior})}
    else:
        if space is None or prior is not None:
            raise InputError("A spectral network needs a spectral space without a prior.")
        if isinstance(space, Mapping):
            data["space"] = {"kind": "spectral", **space}
    plain = {"mean": 0.0, "scale": 1.0}
    data["normalise"] = plain if network.get("kind") == "waveform" else _taken(network)
    if "restorer" in data:
        enhancer = data.pop("restorer")
        if isinstance(enhancer, Mapping):
            own = _taken(enhancer := dict(enhancer))
            if own != data["normalise"]:
                enhancer["normalise"] = own
        data["enhancer"] = enhancer
    if "network" in data and network:
        data["network"] = network
    if "sampling" in data:
        data["sampling"] = current_sampling(data["sampling"])
    return data


def _taken(settings: dict[str, Any]) -> dict[str, Any]:
    """Mean and scale out of the settings of a network."""
    return {name: settings.pop(f"mel_{name}", value) for name, value in _FIRST.items()}


def current_sampling(values: Any) -> Any:
    """Settings of sampling with today's keys."""
    if not isinstance(values, Mapping) or not values.keys() & {
        "steps", "sampler", "angles", "mel_rounds", "rounds"
    }:  # fmt: skip
        return values
    values = dict(values)
    default, solver = values.pop("steps", 4), values.pop("sampler", "ddim")
    n_iter = values.pop("mel_rounds", 0)
    angles, rounds = values.pop("angles", {}), values.pop("rounds", {})
    if not isinstance(angles, Mapping) or not isinstance(rounds, Mapping):
        raise InputError("The settings sampling.angles and sampling.rounds must be mappings.")
    presets = [
        {
            "steps": _count(steps),
            "solver": solver,
            "levels": angles.get(steps, []),
            "n_iter": rounds.get(steps, n_iter),
        }
        for steps in sorted({*angles, *rounds}, key=_count)
    ]
    return {"default": default, "solver": solver, "n_iter": n_iter, "presets": presets, **values}


def _count(steps: Any) -> int:
    text = str(steps)
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise InputError(f"Levels and iterations are given for a number of steps, not {steps!r}.")
    return int(text)


RENAMED_SETTINGS = {
    "restorer": "enhancer",
    "loss.restoration": "loss.enhancement",
    "loss.restoration_share": "loss.enhancement_share",
    "loss.restoration_blur": "loss.enhancement_blur",
    "loss.restoration_noise": "loss.enhancement_noise",
    "loss.unrolled_angles": "loss.unrolled_levels",
    "loss.unrolled_rounds": "loss.unrolled_n_iter",
    "spectral.mel_mean": "normalise.mean",
    "spectral.mel_scale": "normalise.scale",
}
"""Settings of training, and what they are called now."""
RENAMED_METRICS = {"loss_restoration": "loss_enhancement"}
"""Values in metrics.csv, and what they are called now."""


def current_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of training under today's names, with a notice of each that has another."""
    for old, new in RENAMED_SETTINGS.items():
        (*sections, last), (*others, name) = old.split("."), new.split(".")
        place: Any = settings
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            notice(f"The setting {old} is called {new} now.")
            value, place = place.pop(last), settings
            for section in others:
                if not isinstance(place.get(section), dict):
                    place[section] = {}
                place = place[section]
            place[name] = value
    return settings
