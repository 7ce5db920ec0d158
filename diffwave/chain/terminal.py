"""Where a chain ends, and what its length and its betas cost: figures of a schedule and some data.

The data are known by their mean and by the variance of every one of K independent coordinates: one
for white data, the power spectrum for a stationary signal (whose Fourier coefficients are
independent), the variances of the bins for a whitened spectrogram. All figures are per coordinate,
means over the K. "Where sampling starts" is N(mean, deviation^2), in the chain's own coordinates;
for a chain that ends in a prior with a mean of its own those are (x - mean) / deviation of that
prior (:mod:`diffwave.spaces.base`), and sampling starts from N(0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffwave.chain import schedule
from diffwave.chain.gaussian import normal_kl, normal_nll, q_mean_variance, step_kl

MOST_STEPS = 10_000  # longest chain that is looked for: ten times the longest published one
HO_THRESHOLD = 1e-5  # bits per coordinate that Ho et al. 2020 (section 4) keep the prior term to


class Data(NamedTuple):
    """What the figures need to know of the data."""

    mean: float
    variances: Tensor  # of K coordinates that do not depend on each other, [K], float64

    @property
    def variance(self) -> float:
        """Mean over the coordinates."""
        return float(self.variances.mean())


class Start(NamedTuple):
    """Where sampling starts; N(0, 1) unless told otherwise."""

    mean: float = 0.0
    deviation: float = 1.0

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, float64."""
        values = torch.tensor([self.mean, self.deviation**2], dtype=torch.float64)
        return values[0], values[1]


UNIT_NOISE = Start()


def terminal(data: Data, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [...] and variance [..., K] of x_t after levels alpha_bar [...] of the chain."""
    bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
    mean, noise = q_mean_variance(torch.full_like(bar, data.mean), bar)
    return mean, bar[..., None] * data.variances + noise[..., None]


def matched_start(data: Data, alpha_bar: Tensor) -> Start:
    """The start with the mean and the variance that x_T has: no pure noise, if T is short."""
    mean, variance = terminal(data, alpha_bar)
    return Start(float(mean), math.sqrt(float(variance.mean())))


def prior_term(data: Data, alpha_bar: Tensor, start: Start = UNIT_NOISE) -> Tensor:
    """E over x_0 of KL(q(x_t | x_0) || start), the bound's prior term, nats, of any level [...].

    Exact whatever the distribution of the data: only first and second moments enter.
    """
    bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
    mean, noise = q_mean_variance(torch.full_like(bar, data.mean), bar)
    own = normal_kl(mean, noise, *start.moments)
    return own + bar * data.variance / (2 * start.deviation**2)


def marginal_kl(data: Data, alpha_bar: Tensor, start: Start = UNIT_NOISE) -> Tensor:
    """KL(q(x_t) || start) of x_t itself, nats, of any level [...]: what sampling starts wrong by.

    Exact for Gaussian data. The prior term is larger by the information that x_t has on x_0, which
    is `0.5 log(1 + SNR variance)` for Gaussian data.
    """
    mean, variance = terminal(data, alpha_bar)
    return normal_kl(mean[..., None], variance, *start.moments).mean(-1)


def step_terms(data: Data, alpha_bar: Tensor) -> Tensor:
    """The bound's terms L_0 .. L_{T-1} of Gaussian data with the exact denoiser, nats, [T].

    The squared error of E[x_0 | x_t] is variance / (1 + SNR variance), and a step's KL is
    proportional to it (`step_kl`).
    """
    bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
    error = data.variances / (1 + schedule.snr(bar)[:, None] * data.variances)
    root, zero = error.sqrt(), torch.zeros_like(error)
    steps = [step_kl(root[t], zero[t], bar[t], bar[t - 1]) for t in range(1, len(bar))]
    return torch.stack([normal_nll(root[0], zero[0], 1 - bar[0]), *steps]).mean(-1)


def entropy(data: Data) -> float:
    """Differential entropy of Gaussian data, nats per coordinate: what no bound goes below."""
    return float((0.5 * torch.log(2 * math.pi * math.e * data.variances)).mean())


def excess(data: Data, alpha_bar: Tensor) -> float:
    """Bound with the exact denoiser less the entropy, nats: what the schedule itself costs.

    Nothing a network learns can recover it; it is that of the chain from N(0, 1).
    """
    bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
    total = step_terms(data, bar).sum() + prior_term(data, bar[-1])
    return float(total) - entropy(data)


def smallest_length(
    of_length: Callable[[int], Tensor], data: Data, threshold: float, start: Start = UNIT_NOISE
) -> int | None:
    """The smallest T whose chain has a prior term below the threshold, in nats per coordinate.

    None if :data:`MOST_STEPS` are not enough. of_length: betas [T] of a chain of T steps.
    """
    for steps in range(1, MOST_STEPS + 1):  # not by halves: with another start it is no fall
        last = schedule.alpha_bars(of_length(steps))[-1]
        if prior_term(data, last, start) < threshold:
            return steps
    return None
