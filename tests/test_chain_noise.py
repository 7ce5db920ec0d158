"""Noise is addressed: any stretch of it is the same numbers, and all of it is white."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffwave.chain.noise import BLOCK, white_noise

START = -3 * BLOCK - 17
WHOLE = white_noise(5, 2, START, 7 * BLOCK)


@settings(max_examples=100)
@given(start=st.integers(0, 7 * BLOCK - 1), length=st.integers(1, 3 * BLOCK))
@example(start=3 * BLOCK + 16, length=2)  # across a block's edge
@example(start=3 * BLOCK + 17, length=BLOCK)
def test_any_stretch_is_the_slice_of_the_whole(start: int, length: int) -> None:
    length = min(length, len(WHOLE) - start)
    assert torch.equal(white_noise(5, 2, START + start, length), WHOLE[start:][:length])


@settings(max_examples=50)
@given(
    seed=st.integers(-(2**70), 2**70),
    stream=st.integers(0, 10_000),
    start=st.integers(-(2**40), 2**40),
)
def test_any_seed_and_position(seed: int, stream: int, start: int) -> None:
    noise = white_noise(seed, stream, start, 100)
    assert noise.shape == (100,) and noise.dtype == torch.float32 and noise.isfinite().all()
    torch.manual_seed(seed % 2**63)  # torch's generator is neither used nor moved
    state = torch.get_rng_state()
    assert torch.equal(noise, white_noise(seed, stream, start, 100))
    assert torch.equal(state, torch.get_rng_state())


def test_seeds_streams_and_blocks_are_independent() -> None:
    """No two of 45 stretches are correlated, whatever they differ in, a swap included."""
    noise = torch.stack(
        [
            white_noise(seed, stream, block * BLOCK, BLOCK)
            for seed in (0, 1, -1)
            for stream in (0, 1, 2)
            for block in (-1, 0, 1, 2**20, -(2**20))
        ]
    ).double()
    correlation = torch.corrcoef(noise).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 5.5 / BLOCK**0.5  # standard deviations; 990 pairs


def test_is_white_and_gaussian() -> None:
    noise = white_noise(3, 1, -BLOCK // 2, 2**17).double().numpy()
    tolerance = 5 / len(noise) ** 0.5
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((noise**power).mean() - moment) < tolerance * spread**0.5
    for lag in (1, 2, 3, 256, 1024, BLOCK):
        assert abs(np.mean(noise[lag:] * noise[:-lag])) < tolerance * 1.1
