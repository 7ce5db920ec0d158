"""Configurations and weights of earlier versions, brought to today's form.

Format 1 had the sizes of a space under `space` (none for a chain on samples), the energy prior of
such a chain apart, the mel's mean and scale in every network, a `restorer`, and the settings of a
number of steps spread over three mappings. Values are looked at by those who take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffwave.errors import InputError
from diffwave.schema import convert, shown
from diffwave.text import notice

_RENAMED = {"representation.": "space.", "restorer.": "enhancer.", "network.": "denoiser.network."}
FORMER_SAMPLING = {"steps", "sampler", "angles", "mel_rounds", "rounds"}
"""Settings of sampling, before there were presets."""


def current_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by today's names; InputError when one is there under two names."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for old, new in _RENAMED.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
                break
        if name in found:
            raise InputError(f"The weight {shown(name)} is there twice, under two names.")
        found[name] = tensor
    return found


def current_config(data: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings, which hold a mapping `network`, with today's keys."""
    data = dict(data)
    if "normalise" in data:
        return data
    data["network"] = network = dict(data["network"])
    space, prior = data.get("space"), data.pop("prior", None)
    waveform = network.get("kind") == "waveform"
    if isinstance(space, Mapping):
        data["space"] = {"kind": "spectral", **space}
    elif waveform and isinstance(mel := data.get("mel"), Mapping):
        data["space"] = {"kind": "waveform", "hop_length": mel.get("hop_length")}
    if prior is not None and isinstance(data.get("space"), dict):
        data["space"]["prior"] = prior
    data["normalise"] = {"mean": 0.0, "scale": 1.0} if waveform else _taken(network)
    if "restorer" in data:
        data["enhancer"] = enhancer = data.pop("restorer")
        if isinstance(enhancer, Mapping):
            data["enhancer"] = enhancer = dict(enhancer)
            if (own := _taken(enhancer)) != data["normalise"]:
                enhancer["normalise"] = own
    if "sampling" in data:
        data["sampling"] = current_sampling(data["sampling"])
    return data


def _taken(network: dict[str, Any]) -> dict[str, Any]:
    """Mean and scale out of a network's settings, with the defaults that they had there."""
    return {"mean": network.pop("mel_mean", -5.0), "scale": network.pop("mel_scale", 2.5)}


def current_sampling(values: Any) -> Any:
    """Settings of sampling with today's keys."""
    if not isinstance(values, Mapping) or not values.keys() & FORMER_SAMPLING:
        return values
    values = dict(values)
    default, solver = values.pop("steps", 4), values.pop("sampler", "ddim")
    n_iter = values.pop("mel_rounds", 0)
    by_steps: Any = dict[int, Any]  # the keys of JSON are text
    levels = convert(values.pop("angles", {}), by_steps, "The setting sampling.angles")
    rounds = convert(values.pop("rounds", {}), by_steps, "The setting sampling.rounds")
    presets = [
        {
            "steps": steps,
            "solver": solver,
            "levels": levels.get(steps, []),
            "n_iter": rounds.get(steps, n_iter),
        }
        for steps in sorted({*levels, *rounds})
    ]
    return {"default": default, "solver": solver, "n_iter": n_iter, "presets": presets, **values}


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
