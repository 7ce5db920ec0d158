from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffwave.chain.noise import BLOCK, white_noise

WHOLE_START, WHOLE = -3 * BLOCK - 17, white_noise(5, 2, -3 * BLOCK - 17, 7 * BLOCK)
integers = st.integers(-(2**70), 2**70)


@settings(max_examples=200, deadline=None)
@given(start=st.integers(0, 7 * BLOCK - 1), length=st.integers(1, 3 * BLOCK))
def test_any_stretch_is_the_slice_of_the_whole(start: int, length: int) -> None:
    length = min(length, len(WHOLE) - start)
    stretch = white_noise(5, 2, WHOLE_START + start, length)
    assert torch.equal(stretch, WHOLE[start : start + length])


@pytest.mark.parametrize("edge", [-BLOCK, 0, BLOCK])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_stretches_that_meet_at_a_block(edge: int, before: int) -> None:
    together = white_noise(1, 0, edge - 5, 10)
    apart = [
        white_noise(1, 0, edge - 5, before + 4),
        white_noise(1, 0, edge + before - 1, 6 - before),
    ]
    assert torch.equal(torch.cat(apart), together)


@settings(max_examples=50, deadline=None)
@given(seed=integers, stream=st.integers(0, 10_000), start=st.integers(-(2**40), 2**40))
def test_any_seed_and_position(seed: int, stream: int, start: int) -> None:
    noise = white_noise(seed, stream, start, 100)
    assert noise.shape == (100,)
    assert noise.dtype == torch.float32
    assert torch.equal(noise, white_noise(seed, stream, start, 100))
    assert noise.isfinite().all()


def test_seeds_streams_and_blocks_are_independent() -> None:
    """No two of 45 stretches are correlated, whatever they differ in, a swap included."""
    keys = [
        (seed, stream, block)
        for seed in (0, 1, -1)
        for stream in (0, 1, 2)
        for block in (-1, 0, 1, 2**20, -(2**20))
    ]
    noise = torch.stack([white_noise(a, b, c * BLOCK, BLOCK) for a, b, c in keys]).double()
    correlation = torch.corrcoef(noise)
    correlation.fill_diagonal_(0)
    assert float(correlation.abs().max()) < 5.5 / BLOCK**0.5  # standard deviations; 990 pairs


def test_is_white_and_gaussian() -> None:
    noise = white_noise(3, 1, -BLOCK // 2, 2**17).double().numpy()
    tolerance = 5 / len(noise) ** 0.5
    assert abs(noise.mean()) < tolerance
    assert abs(noise.var() - 1) < tolerance * 2**0.5
    assert abs((noise**3).mean()) < tolerance * 15**0.5
    assert abs((noise**4).mean() - 3) < tolerance * 96**0.5
    for lag in (1, 2, 3, 256, 1024, BLOCK):
        assert abs(np.mean(noise[lag:] * noise[:-lag])) < tolerance * 1.1


def test_torch_seed_is_neither_used_nor_moved() -> None:
    torch.manual_seed(0)
    one = white_noise(0, 0, 0, 10)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(one, white_noise(0, 0, 0, 10))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())
