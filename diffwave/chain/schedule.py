"""Noise schedules as pure functions that return float64 tensors, and the tables made of them.

Notation, used throughout the project (Ho et al. 2020, arXiv 2006.11239; Kong et al. 2021,
arXiv 2009.09761), with t = 1 .. T; tables are indexed by t - 1:

    beta_t          variance that step t adds                      q(x_t | x_{t-1})
    alpha_t         1 - beta_t
    alpha_bar_t     product of alpha_s over s <= t                 q(x_t | x_0)
    u               noise level as an angle in quarter turns: alpha_bar = cos(pi u / 2)^2

A chain is determined by its alpha_bar; samplers take the alpha_bar they visit, noisiest first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.angles import alpha_bar_of, angle_of


def linear_betas(steps: int, first: float, last: float) -> Tensor:
    """`steps` values of beta in equal steps from `first` to `last`, [T]."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def cosine_betas(steps: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """Betas whose alpha_bar follows a squared cosine (Nichol and Dhariwal 2021, eq. 17), [T]."""
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    bar = torch.cos((t + offset) / (1 + offset) * math.pi / 2).square()
    return (1 - bar[1:] / bar[:-1]).clamp_max(largest)


NAMED: dict[str, Tensor] = {
    "diffwave-base": linear_betas(50, 1e-4, 0.05),
    "diffwave-base-fast": torch.tensor([1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5], dtype=torch.float64),
    "diffwave-large": linear_betas(200, 1e-4, 0.02),
    "diffwave-large-fast": torch.tensor([1e-4, 1e-3, 0.01, 0.05, 0.2, 0.7], dtype=torch.float64),
    "wavegrad": linear_betas(1000, 1e-6, 0.01),
    "ddpm": linear_betas(1000, 1e-4, 0.02),
    "cosine": cosine_betas(1000),
}
"""Published schedules by name: DiffWave section 5 and appendix B, WaveGrad, DDPM, improved DDPM."""


def named_betas(name: str) -> Tensor:
    """Betas of a published schedule, [T]; InputError for a name not in :data:`NAMED`."""
    if name not in NAMED:
        raise InputError(f"There is no schedule named {name!r}; there are {', '.join(NAMED)}.")
    return NAMED[name].clone()


def alpha_bars(betas: Tensor | Sequence[float]) -> Tensor:
    """alpha_bar_t = prod_{s <= t} (1 - beta_s), [T]; InputError unless every beta is in (0, 1]."""
    betas = torch.as_tensor(betas, dtype=torch.float64)
    if betas.ndim != 1 or not len(betas):
        raise InputError(f"Betas must be a non-empty list, not of shape {list(betas.shape)}.")
    if not bool(((betas > 0) & (betas <= 1)).all()):
        raise InputError("Every beta must lie above 0 and not above 1.")
    return torch.cumprod(1 - betas, dim=0)


def snr(alpha_bar: Tensor) -> Tensor:
    """Signal-to-noise ratio alpha_bar / (1 - alpha_bar) of data of variance 1; any shape."""
    return alpha_bar / (1 - alpha_bar)


def stretched(betas: Tensor, steps: int) -> Tensor:
    """The curve of betas [T] over the chain, taken at `steps` points in place of T, [steps].

    A linear schedule stays linear between the same first and last beta; one step has the last.
    """
    if steps < 1:
        raise InputError(f"A schedule needs at least one step, not {steps}.")
    at = torch.linspace(len(betas) - 1, 0, steps, dtype=torch.float64).flip(0)
    return torch.from_numpy(np.interp(at, np.arange(len(betas)), betas))


def betas_of(alpha_bar: Tensor) -> Tensor:
    """The betas whose cumulative product is `alpha_bar`, [T] -> [T]: inverse of alpha_bars."""
    before = torch.cat((torch.ones(1, dtype=torch.float64), alpha_bar[:-1].double()))
    return 1 - alpha_bar.double() / before


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """Rescale a schedule so that alpha_bar_T = 0 (Lin et al. 2023, arXiv 2305.08891, alg. 1), [T].

    sqrt(alpha_bar) is shifted to end at zero and scaled to begin where it did. DiffWave's chains
    stop at sqrt(alpha_bar_T) = .529 (T = 50), while sampling starts from pure noise.
    """
    root = alpha_bars(betas).sqrt()
    if len(root) < 2:
        raise InputError("A schedule that is to end in pure noise needs two or more steps.")
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return betas_of(root.square())


def angle(alpha_bar: Tensor) -> Tensor:
    """u in [0, 1] with alpha_bar = cos(pi u / 2)^2; any shape."""
    return angle_of(alpha_bar)  # type: ignore[no-any-return]


def alpha_bar_of_angle(u: Tensor | Sequence[float]) -> Tensor:
    """alpha_bar = cos(pi u / 2)^2, float64, exactly 0 at u = 1; any shape."""
    return alpha_bar_of(torch.as_tensor(u, dtype=torch.float64))  # type: ignore[no-any-return]


def uniform_angles(steps: int) -> Tensor:
    """alpha_bar of u = 1, 1 - 1/steps, .. 1/steps, [steps]: the plainest schedule in angles."""
    return alpha_bar_of_angle(torch.arange(steps, 0, -1, dtype=torch.float64) / steps)


def align(alpha_bar: Tensor, trained: Tensor) -> Tensor:
    """Fractional step of a trained chain at which it is as noisy as `alpha_bar` says.

    DiffWave's appendix B: linear interpolation in sqrt(alpha_bar) between neighbouring steps.

    Args:
        alpha_bar: levels to visit, any shape.
        trained: alpha_bar of the chain that the network was trained on, [T].

    Returns:
        t in [0, T - 1] as the network counts (0 is the least noisy step), float64, same shape.

    Raises:
        InputError: for a level outside the trained chain; no step is ever dropped silently. (A
            margin of one part in a million is allowed for rounding.)
    """
    grid = trained.double().sqrt().flip(0)
    value = alpha_bar.double().sqrt()
    outside = (value < grid[0] - 1e-6) | (value > grid[-1] + 1e-6)
    if bool(outside.any()):
        worst = float(value[outside].flatten()[0])
        raise InputError(
            f"A step with sqrt(alpha_bar) = {worst:.4f} cannot be aligned: the network was trained "
            f"on {float(grid[0]):.4f} .. {float(grid[-1]):.4f}."
        )
    return torch.as_tensor(np.interp(value, grid, np.arange(len(grid) - 1, -1, -1.0)))
