"""Noise schedules: published facts, inverses of each other, and alignment with a trained chain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain import schedule

beta_lists = st.lists(st.floats(1e-4, 0.9), min_size=2, max_size=30)
named = pytest.mark.parametrize("name", schedule.NAMED)


def levels_of(name: str) -> Tensor:
    return schedule.alpha_bars(schedule.named_betas(name))


@pytest.mark.parametrize(
    ("name", "steps", "terminal"),
    [
        ("diffwave-base", 50, 0.529),
        ("diffwave-base-fast", 6, 0.613),
        ("diffwave-large", 200, 0.364),
        ("diffwave-large-fast", 6, 0.475),
        ("wavegrad", 1000, 0.081),
        ("ddpm", 1000, 0.006),
    ],
)
def test_terminal_state_of_published_chains(name: str, steps: int, terminal: float) -> None:
    root = levels_of(name).sqrt()
    assert len(root) == steps
    assert float(root[-1]) == pytest.approx(terminal, abs=5e-4)


@named
def test_named_schedules_are_float64_chains_that_can_end_in_pure_noise(name: str) -> None:
    betas, bar = schedule.named_betas(name), levels_of(name)
    assert betas.dtype == bar.dtype == torch.float64
    assert bool((bar.diff() < 0).all())
    assert 0 < float(bar[-1]) < float(bar[0]) < 1
    rescaled = schedule.zero_terminal_snr(betas)
    after = schedule.alpha_bars(rescaled).sqrt()
    assert (float(after[-1]), float(rescaled[-1])) == (0, 1)
    # an affine map of sqrt(alpha_bar): every level keeps its relative place, the first its value
    before = bar.sqrt()
    place = (before - before[-1]) / (before[0] - before[-1])
    torch.testing.assert_close(after, place * before[0])


def test_cosine_follows_the_squared_cosine_until_it_is_clipped() -> None:
    steps, offset = 100, 0.008
    betas = schedule.cosine_betas(steps, offset)
    curve = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    expected = torch.from_numpy(curve[1:] / curve[0])
    torch.testing.assert_close(schedule.alpha_bars(betas)[:-1], expected[:-1])
    assert float(betas.max()) == float(betas[-1]) == 0.999
    assert float(schedule.cosine_betas(steps, largest=0.3).max()) == 0.3


@settings(max_examples=100)
@given(betas=beta_lists)
def test_betas_of_inverts_alpha_bars(betas: list[float]) -> None:
    bar = schedule.alpha_bars(betas)
    torch.testing.assert_close(bar, torch.from_numpy(np.cumprod(1 - np.array(betas))))
    found = schedule.betas_of(bar)
    torch.testing.assert_close(found, torch.tensor(betas, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("betas", "words"),
    [
        ([], "non-empty"),
        ([[0.1, 0.2]], r"\[1, 2\]"),
        ([0.1, 0.0], "above 0"),
        ([0.1, 1.1], "not above 1"),
        ([0.1, math.nan], "above 0"),
    ],
)
def test_impossible_betas_are_refused(betas: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        schedule.alpha_bars(betas)
    with pytest.raises(InputError, match=r"'fancy'.*diffwave-base, .*cosine"):
        schedule.named_betas("fancy")


@settings(max_examples=100)
@given(u=st.floats(0, 1))
def test_angle_and_alpha_bar_are_inverse(u: float) -> None:
    bar = schedule.alpha_bar_of_angle([u])
    assert bar.dtype == schedule.angle(bar).dtype == torch.float64
    assert float(bar) == pytest.approx(math.cos(math.pi * u / 2) ** 2, abs=1e-15)
    # near u = 0, alpha_bar is 1 - (pi u / 2)^2, of which double precision keeps 1e-16
    assert float(schedule.angle(bar)) == pytest.approx(u, abs=2e-8)


def test_pure_noise_and_pure_signal_are_exact() -> None:
    assert schedule.alpha_bar_of_angle([0.0, 1.0]).tolist() == [1.0, 0.0]
    assert schedule.angle(torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist() == [0.0, 1.0]


@settings(max_examples=100)
@given(betas=beta_lists, places=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_alignment_interpolates(betas: list[float], places: list[float]) -> None:
    trained = schedule.alpha_bars(betas)
    low, high = float(trained[-1].sqrt()), float(trained[0].sqrt())
    root = torch.tensor(places, dtype=torch.float64) * (high - low) + low
    t = schedule.align(root.square(), trained)
    assert 0 <= float(t.min()) <= float(t.max()) <= len(trained) - 1
    back = np.interp(t.numpy(), np.arange(len(trained)), trained.sqrt().numpy())
    np.testing.assert_allclose(back, root.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["diffwave-base", "diffwave-large", "wavegrad", "ddpm", "cosine"])
def test_alignment_is_exact_at_the_trained_steps(name: str) -> None:
    betas = schedule.named_betas(name)
    for trained in (levels_of(name), schedule.alpha_bars(schedule.zero_terminal_snr(betas))):
        t = schedule.align(trained.view(5, -1), trained)
        assert torch.equal(t, torch.arange(len(trained), dtype=torch.float64).view(5, -1))


def test_a_level_outside_the_chain_is_an_error_never_dropped() -> None:
    trained = levels_of("diffwave-base")
    with pytest.raises(InputError, match=r"0\.4748 cannot be aligned.*0\.5288 \.\. 0\.9999"):
        schedule.align(levels_of("diffwave-large-fast"), trained)
    with pytest.raises(InputError, match=r"1\.0000 cannot be aligned"):
        schedule.align(torch.tensor([0.9, 1.0]), trained)
    ends = trained[[0, -1]].sqrt() + torch.tensor([5e-7, -5e-7], dtype=torch.float64)  # rounding
    assert schedule.align(ends.square(), trained).tolist() == [0.0, 49.0]
