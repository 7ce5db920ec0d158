"""The chain of the least bound: against all others of the same grid, and the bound itself."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain import schedule
from diffwave.chain.optimal import least_bounds
from diffwave.chain.terminal import Data, entropy, prior_term, step_terms

VARIANCE = 0.3
GRID = schedule.uniform_angles(9) * 0.998
DATA = Data(0.0, torch.tensor([VARIANCE], dtype=torch.float64))


def errors(levels: Tensor) -> Tensor:
    """Of the exact denoiser of N(0, VARIANCE)."""
    return VARIANCE / (1 + schedule.snr(levels) * VARIANCE)


def bound_of(levels: Tensor) -> float:
    """Of Gaussian data with the exact denoiser, by the figures of `diffwave schedule`."""
    ascending = levels.flip(0)
    return float(step_terms(DATA, ascending).sum() + prior_term(DATA, ascending[-1]))


def test_no_chain_through_the_grid_has_a_lesser_bound() -> None:
    paths = least_bounds(GRID, errors(GRID), VARIANCE, 5)
    assert [len(path.picked) for path in paths] == [1, 2, 3, 4, 5]
    for path in paths:
        every = {c: bound_of(GRID[list(c)]) for c in combinations(range(9), len(path.picked))}
        least = min(every, key=every.__getitem__)
        assert tuple(path.picked) == least
        assert path.bound == pytest.approx(every[least], rel=1e-9)


def test_more_steps_are_never_worse_and_approach_the_entropy() -> None:
    grid = schedule.alpha_bar_of_angle(torch.linspace(0.999, 0.02, 120, dtype=torch.float64))
    bounds = [path.bound for path in least_bounds(grid, errors(grid), VARIANCE, 60)]
    assert all(b <= a + 1e-12 for a, b in pairwise(bounds))
    assert entropy(DATA) < bounds[-1] < entropy(DATA) + 0.05 < bounds[3]


def test_a_decoder_of_ones_own_decides_where_the_chain_ends() -> None:
    decoder = torch.full((9,), 100.0, dtype=torch.float64)
    decoder[6] = 0.0
    for path in least_bounds(GRID, errors(GRID), VARIANCE, 4, decoder):
        assert path.picked[-1] == 6


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="that increase"):
        least_bounds(GRID.flip(0), errors(GRID), VARIANCE, 2)
    with pytest.raises(InputError, match="at most"):
        least_bounds(GRID, errors(GRID), VARIANCE, 10)
