"""What a file's tensors and settings, and the caller, say of the model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from diffwave import card
from diffwave.base.errors import InputError
from diffwave.base.schema import convert, stored
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.chain.schedule import NAMED, align, alpha_bars, angle, betas_of
from diffwave.denoiser import DiffusionConfig
from diffwave.importers.layouts import Project, looks_like
from diffwave.mel import MelConfig, preset
from diffwave.mel.config import mel_config
from diffwave.mel.normalise import NormaliseConfig
from diffwave.model import ModelConfig
from diffwave.networks import VariantNetConfig
from diffwave.spaces import WaveformConfig

FAST = {"diffwave-base": "diffwave-base-fast", "diffwave-large": "diffwave-large-fast"}
"""The six-step schedule published for each (DiffWave, section 5)."""


@dataclass(frozen=True)
class About(card.About):
    """What the file does not say and the caller may know."""

    schedule: str = ""
    """Of training, a name in `diffwave.chain.schedule.NAMED`."""
    mel: str = ""
    """A mel preset, if it was not trained on the project's own mels."""
    dilation_cycle: int = 0
    """Layers after which the dilation is 1 again; 0: as the file says, or 10."""


def configuration(
    layout: Project,
    state: Mapping[str, Tensor],
    params: Mapping[str, Any],
    betas: Tensor | None,
    about: About,
) -> ModelConfig:
    """What the tensors, the file's settings and the caller say of the model.

    Args:
        layout: of the project that the file is said to be of.
        state: tensors by its names, without weight normalisation.
        params: settings that the file holds.
        betas: of the chain, if the file holds them as a tensor.
        about: what the caller knows.

    Raises:
        InputError: for tensors of another network, settings that make no sense, and a schedule
            that is not known.
    """
    first = layout.names["input_conv"][0] + ".weight"
    if first not in state:
        hint = looks_like(lambda other: other.names["input_conv"][0] + ".weight" in state)
        raise InputError(f"this is no DiffWave of {layout.title}: it has no {first}{hint}.")
    channels = len(state[first]) if state[first].dim() else 0
    pattern = re.escape(layout.names["layers.#.step_fc"][0]).replace(r"\#", r"\d+") + r"\.weight"
    layers = sum(re.fullmatch(pattern, name) is not None for name in state)
    mel_weight = state.get(layout.names["mel_convs.#"][0].replace("#", "0") + ".weight")
    n_mels = 0 if mel_weight is None or mel_weight.dim() != 3 else mel_weight.shape[1]
    mel = preset(about.mel) if about.mel else _mel(layout, params, n_mels)
    if n_mels not in (0, mel.n_mels):
        raise InputError(f"it takes {n_mels} mel bands, and the mel {mel.name} has {mel.n_mels}.")
    schedule = about.schedule or _schedule(layout, params, betas, channels)
    chain = alpha_bars(NAMED[DiffusionConfig("eps", schedule).schedule])
    network = VariantNetConfig(
        channels=channels,
        layers=max(layers, 1),
        dilation_cycle=about.dilation_cycle or params.get("dilation_cycle_length", 10),
        n_mels=n_mels,
        step_rows=len(chain) if layout.tabulated else 0,
        **layout.variant,
    )
    return ModelConfig(
        mel=mel,
        network=network,
        space=WaveformConfig(),
        diffusion=DiffusionConfig("eps", schedule),
        sampling=_sampling(schedule, chain, params),
        normalise=NormaliseConfig(0, 1),
    )


def _mel(layout: Project, params: Mapping[str, Any], n_mels: int) -> MelConfig:
    """The project's mel, with what the file's settings change of it."""
    named = {"sample_rate": "sample_rate", "hop_samples": "hop_length", "n_fft": "n_fft"}
    size: Any = Annotated[int, Meta(ge=1, le=1 << 20)]
    given = {ours: convert(params[theirs], size, theirs)
             for theirs, ours in named.items() if theirs in params}  # fmt: skip
    changes: dict[str, Any] = dict(given)
    if "hop_length" in given:
        changes["win_length"] = 4 * given["hop_length"]
    if "sample_rate" in given:
        changes["fmax"] = given["sample_rate"] / 2
    if n_mels:
        changes["n_mels"] = n_mels
    base = stored(layout.mel)
    changes = {name: value for name, value in changes.items() if base[name] != value}
    if not changes:
        return layout.mel
    if layout.mel.name == "lmnt":
        return mel_config({"preset": "lmnt", **changes})
    return dataclasses.replace(layout.mel, name=f"{layout.mel.name}, changed", **changes)


def _schedule(
    layout: Project, params: Mapping[str, Any], betas: Tensor | None, channels: int
) -> str:
    """Name of the chain that the network was trained on."""
    if betas is None and "noise_schedule" in params:
        betas = _betas("noise_schedule", params)
    if betas is None and layout.tabulated:
        return "diffwave-base"
    if betas is None:  # the sizes of the paper have a chain each
        if channels not in (64, 128):
            raise InputError(
                f"its {channels} channels are neither BASE nor LARGE: name the schedule that it "
                "was trained on."
            )
        return "diffwave-base" if channels == 64 else "diffwave-large"
    for name, known in NAMED.items():
        if known.shape == betas.shape and torch.allclose(known, betas.double(), 1e-4, 1e-9):
            return name
    raise InputError(
        f"it was trained on {len(betas)} steps of beta from {float(betas[0]):g} to "
        f"{float(betas[-1]):g}, a schedule that has no name here."
    )


def _betas(name: str, params: Mapping[str, Any]) -> Tensor:
    try:
        betas = torch.as_tensor(params[name], dtype=torch.float64)
        alpha_bars(betas)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"its setting {name} is no list of numbers.") from None
    return betas


def _sampling(schedule: str, chain: Tensor, params: Mapping[str, Any]) -> SamplingConfig:
    """The six steps published for a chain, or the file's own; the whole chain is there as well."""
    if "inference_noise_schedule" in params:
        fast = _betas("inference_noise_schedule", params)
    elif schedule in FAST:
        fast = NAMED[FAST[schedule]]
    else:
        fast = betas_of(chain)
    levels = alpha_bars(fast)
    align(levels, chain)  # refuses a step that the network was not trained on
    if len(levels) == len(chain):
        return SamplingConfig(len(chain), "ancestral")
    preset = Sampling(len(levels), "ancestral", tuple(angle(levels).flip(0).tolist()))
    return SamplingConfig(len(levels), "ancestral", presets=(preset,))
