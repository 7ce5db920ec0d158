"""Samplers: ways to walk a trained chain backwards, all with one calling convention.

    sampler(denoise, x, levels, *, noise=None, callback=None) -> x_0

`denoise(x, alpha_bar) -> x_0` is the network's estimate of the clean state; `x` is the state at the
first level; `levels` are the alpha_bar to visit, noisiest first (strictly increasing, below 1);
`noise(i)` draws the unit noise of step i, for the samplers that add any; `callback(i, alpha_bar, x,
x_0)` is called at every step. The estimate at the last level is returned: the mean of the last
posterior, whose alpha_bar is 1 (and adds no noise there). S levels cost S network calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffwave.chain.gaussian import eps_from_x0, q_posterior_mean_variance
from diffwave.errors import InputError

Denoise = Callable[[Tensor, Tensor], Tensor]
NoiseOfStep = Callable[[int], Tensor]
Callback = Callable[[int, Tensor, Tensor, Tensor], None]
Sampler = Callable[..., Tensor]


def ancestral(
    denoise: Denoise,
    x: Tensor,
    levels: Tensor,
    *,
    noise: NoiseOfStep | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Draw every x_{t-1} from q(x_{t-1} | x_t, x_0 estimate): algorithm 2 of DDPM and DiffWave.

    Args:
        denoise: see the module. x: state at levels[0], any shape. levels: alpha_bar, [S], float64.
        noise: unit noise of step i, of the shape of x; drawn from torch's generator when None.
        callback: called at every step.

    Raises:
        InputError: when the levels are not increasing values in [0, 1).
    """
    levels = check_levels(levels)
    for i, alpha_bar in enumerate(levels):
        x_0 = denoise(x, alpha_bar)
        if callback is not None:
            callback(i, alpha_bar, x, x_0)
        if i + 1 == len(levels):
            break
        mean, variance = q_posterior_mean_variance(x_0, x, alpha_bar, levels[i + 1])
        z = torch.randn_like(x) if noise is None else noise(i)
        x = mean + float(variance) ** 0.5 * z
    return x_0


def ddim(
    denoise: Denoise,
    x: Tensor,
    levels: Tensor,
    *,
    noise: NoiseOfStep | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM, eta = 0 (Song et al. 2021, arXiv 2010.02502, eq. 12); arguments as for ancestral."""
    levels = check_levels(levels)
    for i, alpha_bar in enumerate(levels):
        x_0 = denoise(x, alpha_bar)
        if callback is not None:
            callback(i, alpha_bar, x, x_0)
        if i + 1 == len(levels):
            break
        eps = eps_from_x0(x, x_0, alpha_bar)
        alpha, sigma = alpha_sigma(levels[i + 1])
        x = alpha * x_0 + sigma * eps
    return x_0


def dpm_solver_2m(
    denoise: Denoise,
    x: Tensor,
    levels: Tensor,
    *,
    noise: NoiseOfStep | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2); arguments as above.

    With lambda = log(alpha / sigma) and h the step in lambda, the estimate is extrapolated by
    h / (2 h_before) of its last change. Where a step starts from pure noise (lambda = -infinity)
    there is no finite h, and the step, as well as the one after it, is of first order.
    """
    levels = check_levels(levels)
    before: Tensor | None = None
    h_before = math.inf
    for i, alpha_bar in enumerate(levels):
        x_0 = denoise(x, alpha_bar)
        if callback is not None:
            callback(i, alpha_bar, x, x_0)
        if i + 1 == len(levels):
            break
        alpha, sigma = alpha_sigma(levels[i + 1])
        h = log_snr(levels[i + 1]) - log_snr(alpha_bar)
        direction = x_0
        if before is not None and math.isfinite(h_before):
            direction = x_0 + h / (2 * h_before) * (x_0 - before)
        x = sigma / alpha_sigma(alpha_bar)[1] * x - alpha * math.expm1(-h) * direction
        before, h_before = x_0, h
    return x_0


SAMPLERS: dict[str, Sampler] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpm-solver++": dpm_solver_2m,
}


def get_sampler(name: str) -> Sampler:
    """A sampler by its name; InputError names the choices when there is none of that name."""
    if name not in SAMPLERS:
        raise InputError(f"There is no sampler named {name!r}; there are {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


def check_levels(levels: Tensor) -> Tensor:
    """`levels` as a float64 CPU vector, or InputError if no chain can visit them in that order."""
    levels = torch.as_tensor(levels, dtype=torch.float64, device="cpu")
    if levels.ndim != 1 or not len(levels):
        raise InputError("A sampler needs at least one noise level.")
    if not bool(((levels >= 0) & (levels < 1)).all() and (levels.diff() > 0).all()):
        raise InputError("Noise levels must be alpha_bar values in [0, 1) that increase.")
    return levels


def alpha_sigma(alpha_bar: Tensor) -> tuple[float, float]:
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar) of one level."""
    value = float(alpha_bar)
    return math.sqrt(value), math.sqrt(1 - value)


def log_snr(alpha_bar: Tensor) -> float:
    """lambda = log(alpha / sigma), half the log of the SNR; -inf at pure noise."""
    alpha, sigma = alpha_sigma(alpha_bar)
    return math.log(alpha / sigma) if alpha > 0 else -math.inf
