"""Fit the envelope of the spectral representation: log-mel frames to the log-variance of a bin."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffwave.data.crops import Crops
from diffwave.errors import InputError
from diffwave.mel import MelConfig, MelSpectrogram
from diffwave.spaces.spectral import SpectralConfig, SpectralRepresentation, envelope_features

BATCHES, CROPS_PER_BATCH = 64, 16
"""How much audio an envelope is fitted to."""
RIDGE = 0.3
"""Ridge penalty on the features' weights (measured choice; the bias is not penalised)."""
POWER_FLOOR = 1e-9
"""Added to |X|^2 before the logarithm, so that digital silence has one."""


def fitted_representation(
    space: SpectralConfig, mel: MelConfig, crops: Crops
) -> SpectralRepresentation:
    """A representation, on the CPU (which has float64), its envelope fitted to random crops.

    Clips that bring a mel are represented by that one.
    """
    frontend = MelSpectrogram(mel)
    examples = []
    for i in range(BATCHES):
        # Steps that no run reaches, so that these are not the crops of the first steps.
        wave, given = crops.examples((1 << 40) + i, CROPS_PER_BATCH)
        examples.append((wave, frontend(wave, pad=False) if given is None else given))
    representation = SpectralRepresentation(space)
    fit_envelope(representation, examples)
    return representation


def envelope_path(folder: Path) -> Path:
    """Where a prepared corpus keeps the envelope fitted to it."""
    return folder / "data" / "envelope.safetensors"


def save_envelope(path: Path, representation: SpectralRepresentation, mel: MelConfig) -> None:
    """Write a fitted envelope (.safetensors), and what it was fitted for."""
    # Not save_file, which makes a file that only its owner may read.
    state = {name: value.contiguous() for name, value in representation.state_dict().items()}
    path.write_bytes(save(state, {"fitted_for": _fitted_for(representation.config, mel)}))


def load_envelope(path: Path, space: SpectralConfig, mel: MelConfig) -> dict[str, Tensor] | None:
    """State of a `SpectralRepresentation` that `save_envelope` wrote.

    None if there is no such file, or if it was fitted for another space or other mels.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fitted_for") != _fitted_for(space, mel):
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"Cannot read {path}: it is damaged ({error}).") from None


def _fitted_for(space: SpectralConfig, mel: MelConfig) -> str:
    return json.dumps({"space": dataclasses.asdict(space), "mel": mel.to_dict()}, sort_keys=True)


@torch.no_grad()
def fit_envelope(
    representation: SpectralRepresentation, examples: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Set the representation's envelope by ridge regression, then calibrate its bias.

    The regression maps three log-mel frames to log(|X|^2), whose conditional mean lies below the
    log of the conditional mean of |X|^2; the second pass lifts every bin's bias until the whitened
    state has E|Y|^2 = 1.

    Args:
        representation: changed in place.
        examples: pairs of samples [B, context(T)] and their mel [B, n_mels, T].

    Raises:
        InputError: when there is no example.
    """
    examples = list(examples)
    if not examples:
        raise InputError("There is no audio to fit the envelope to.")
    n_features = 3 * representation.config.n_mels + 1
    gram = torch.zeros(n_features, n_features, dtype=torch.float64)
    moment = torch.zeros(n_features, representation.config.bins, dtype=torch.float64)
    for wave, mel in examples:
        features = _with_one(envelope_features(mel)).flatten(0, -2).double()
        target = torch.log(_power(representation.stft(wave)) + POWER_FLOOR).flatten(0, -2).double()
        gram += features.T @ features
        moment += features.T @ target
    penalty = torch.full((n_features,), RIDGE, dtype=torch.float64)
    penalty[-1] = 0
    weights = torch.linalg.lstsq(gram + penalty.diag(), moment).solution
    representation.envelope_weight.copy_(weights[:-1].T)
    representation.envelope_bias.copy_(weights[-1])

    total, count = torch.zeros(representation.config.bins, dtype=torch.float64), 0
    for wave, mel in examples:
        ratio = _power(representation.stft(wave)) / representation.log_variance(mel).exp()
        total += ratio.flatten(0, -2).double().sum(0)
        count += math.prod(ratio.shape[:-1])
    representation.envelope_bias += (total / count).clamp_min(1e-3).log()


def _with_one(features: Tensor) -> Tensor:
    return torch.cat((features, torch.ones_like(features[..., :1])), dim=-1)


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.square().sum(dim=-2)
