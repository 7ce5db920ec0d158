"""Fit the envelope of the spectral space: log-mel frames to the log-variance of a bin."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffwave.errors import InputError
from diffwave.mel.normalise import frame_triples

if TYPE_CHECKING:
    from diffwave.spaces.spectral import SpectralSpace

RIDGE = 0.3
"""Ridge penalty on the features' weights (measured choice; the bias is not penalised)."""
POWER_FLOOR = 1e-9
"""Added to |X|^2 before the logarithm, so that digital silence has one."""


@torch.no_grad()
def fit_envelope(space: SpectralSpace, examples: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the space's envelope by ridge regression, then calibrate its bias.

    The regression maps three log-mel frames to log(|X|^2), whose conditional mean lies below the
    log of the conditional mean of |X|^2; the second pass lifts every bin's bias until the whitened
    state has E|Y|^2 = 1.

    Args:
        space: changed in place.
        examples: pairs of samples [B, context(T)] and their mel [B, n_mels, T].

    Raises:
        InputError: when there is no example.
    """
    examples = list(examples)
    if not examples:
        raise InputError("There is no audio to fit the envelope to.")
    n_features = 3 * space.config.n_mels + 1
    gram = torch.zeros(n_features, n_features, dtype=torch.float64)
    moment = torch.zeros(n_features, space.config.bins, dtype=torch.float64)
    for wave, mel in examples:
        features = _with_one(frame_triples(mel)).flatten(0, -2).double()
        target = torch.log(_power(space.analyse(wave)) + POWER_FLOOR).flatten(0, -2).double()
        gram += features.T @ features
        moment += features.T @ target
    penalty = torch.full((n_features,), RIDGE, dtype=torch.float64)
    penalty[-1] = 0
    weights = torch.linalg.lstsq(gram + penalty.diag(), moment).solution
    space.envelope_weight.copy_(weights[:-1].T)
    space.envelope_bias.copy_(weights[-1])

    total, count = torch.zeros(space.config.bins, dtype=torch.float64), 0
    for wave, mel in examples:
        ratio = _power(space.analyse(wave)) / space.log_variance(mel).exp()
        total += ratio.flatten(0, -2).double().sum(0)
        count += math.prod(ratio.shape[:-1])
    space.envelope_bias += (total / count).clamp_min(1e-3).log()


def _with_one(features: Tensor) -> Tensor:
    return torch.cat((features, torch.ones_like(features[..., :1])), dim=-1)


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.square().sum(dim=-2)
