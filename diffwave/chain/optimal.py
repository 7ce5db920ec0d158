"""Levels of the least bound: dynamic programming over a denoiser's errors (Watson et al. 2021).

Watson, Ho, Norouzi and Chan, "Learning to efficiently sample from diffusion probabilistic models",
arXiv 2106.03802: the bound is a sum over the steps of a chain, and a step's term depends on the two
levels that it joins and on nothing else. So of all chains through some levels of a fine grid the
one with the least bound is a shortest path, found for every number of steps at once. The mean
squared error of the denoiser at each level of the grid is all that has to be measured.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.gaussian import normal_nll, prior_kl, step_kl
from diffwave.chain.samplers import checked_levels


class Path(NamedTuple):
    """The chain of some number of steps that has the least bound."""

    picked: list[int]  # places in the grid, noisiest first
    bound: float  # nats per element


def least_bounds(
    levels: Tensor,
    errors: Tensor,
    power: float,
    steps: int,
    decoder: Tensor | None = None,
) -> list[Path]:
    """The chains of 1 .. `steps` steps through a grid of levels that have the least bound.

    Args:
        levels: alpha_bar of the grid, noisiest first: rising values in [0, 1), [N].
        errors: mean square of x_0 - D(x_t) at every level, [N].
        power: mean square of x_0, which decides the prior term.
        steps: of the longest chain, at most N.
        decoder: the last term if the chain ends at a level, nats per element, [N]; that of a
            continuous x_0 by default.

    Raises:
        InputError: for levels that are not increasing values in [0, 1), or more steps than levels.
    """
    bars = checked_levels(torch.as_tensor(levels))
    if not 1 <= steps <= len(bars):
        raise InputError(f"A grid of {len(bars)} levels has chains of as many steps at most.")
    root, zero = errors.double().sqrt(), torch.zeros((), dtype=torch.float64)
    table = torch.full((len(bars), len(bars)), math.inf, dtype=torch.float64)
    for i, j in itertools.combinations(range(len(bars)), 2):
        table[i, j] = step_kl(root[i], zero, bars[i], bars[j])  # the step from i down to j
    if decoder is None:
        decoder = normal_nll(root, zero, 1 - bars)
    power_root = torch.tensor(power, dtype=torch.float64).sqrt()
    best = torch.stack([prior_kl(power_root, bar) for bar in bars])
    came_from: list[Tensor] = []
    paths: list[Path] = []
    for i in range(steps):
        if i:
            best, before = (best[:, None] + table).min(0)
            came_from.append(before)
        total = best + decoder
        picked = [int(total.argmin())]
        for before in reversed(came_from):
            picked.append(int(before[picked[-1]]))
        paths.append(Path(picked[::-1], float(total.min())))
    return paths
