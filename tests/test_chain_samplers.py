"""Samplers on Gaussian data, for which the optimal denoiser and the exact solution are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffwave.chain import gaussian as diffusion
from diffwave.chain import schedule
from diffwave.chain.samplers import (
    SAMPLERS,
    Sampler,
    alpha_sigma,
    ancestral,
    check_levels,
    ddim,
    dpm_solver_2m,
    get_sampler,
    log_snr,
)
from diffwave.errors import InputError

MEAN = torch.tensor([0.7, -1.2, 0.1], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6, 0.1], [0.6, 0.8, 0.0], [0.1, 0.0, 0.05]], dtype=torch.float64)
EIGENVALUES, EIGENVECTORS = torch.linalg.eigh(COVARIANCE)
DETERMINISTIC = [ddim, dpm_solver_2m]
named = pytest.mark.parametrize("name", SAMPLERS)


def apply_spectrum(values: Tensor, x: Tensor) -> Tensor:
    """f(COVARIANCE) x for the function with these values on the eigenvalues, x [B, 3]."""
    return (x @ EIGENVECTORS * values) @ EIGENVECTORS.T


def denoise(x: Tensor, alpha_bar: Tensor) -> Tensor:
    """E[x_0 | x_t] of x_0 ~ N(MEAN, COVARIANCE)."""
    alpha, sigma = alpha_sigma(alpha_bar)
    gain = alpha * EIGENVALUES / (alpha**2 * EIGENVALUES + sigma**2)
    return MEAN + apply_spectrum(gain, x - alpha * MEAN)


def flow(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Exact solution of the probability-flow ODE: whiten by one marginal, colour by the other."""
    (alpha, sigma), (alpha_end, sigma_end) = alpha_sigma(start), alpha_sigma(end)
    variance = alpha**2 * EIGENVALUES + sigma**2
    variance_end = alpha_end**2 * EIGENVALUES + sigma_end**2
    gain = (variance_end / variance).sqrt()
    return alpha_end * MEAN + apply_spectrum(gain, x - alpha * MEAN)


def starts(count: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


def levels_in_log_snr(steps: int, low: float = -2.0, high: float = 3.0) -> Tensor:
    """alpha_bar in equal steps of log(alpha / sigma), from finite noise."""
    return torch.sigmoid(2 * torch.linspace(low, high, steps, dtype=torch.float64))


# --- convergence ---


def error_of(sampler: Sampler, levels: Tensor) -> float:
    x = starts()
    exact = denoise(flow(x, levels[0], levels[-1]), levels[-1])
    return float((sampler(denoise, x, levels) - exact).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (dpm_solver_2m, 2)])
def test_order_of_convergence_to_the_probability_flow(sampler: Sampler, order: int) -> None:
    intervals = [32, 64, 128]
    errors = [error_of(sampler, levels_in_log_snr(n + 1)) for n in intervals]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)
    assert errors[-1] < {1: 0.03, 2: 1e-3}[order]


def test_second_order_needs_the_ratio_of_unequal_steps() -> None:
    """Steps of lengths 1, 2, 1, 2, ..: the extrapolation must weigh them."""

    def levels(pairs: int) -> Tensor:
        lengths = torch.tensor([0.0] + [1.0, 2.0] * pairs, dtype=torch.float64)
        return torch.sigmoid(2 * (-2 + 5 * lengths.cumsum(0) / lengths.sum()))

    errors = [error_of(dpm_solver_2m, levels(pairs)) for pairs in (32, 64, 128)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_from_pure_noise_the_whole_distribution_is_reached(sampler: Sampler) -> None:
    """At alpha_bar = 0 the flow is x -> MEAN + COVARIANCE^(1/2) x."""
    x = starts()
    exact = MEAN + apply_spectrum(EIGENVALUES.sqrt(), x)
    errors = []
    for steps in (20, 80, 320):
        found = sampler(denoise, x, schedule.uniform_angles(steps))
        assert bool(found.isfinite().all())
        errors.append(float((found - exact).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


def ancestral_moments(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Exact mean [3] and covariance [3, 3] of the sampler's output from unit normal noise.

    The optimal denoiser is affine, so the output is an affine function of the start and of every
    step's noise; it is read off by giving one unit impulse after the other.
    """
    sources = torch.eye(3 * len(levels), dtype=torch.float64)
    sources = torch.cat((torch.zeros(1, 3 * len(levels), dtype=torch.float64), sources))
    first, *others = sources.split(3, dim=1)
    found = ancestral(denoise, first, levels, noise=lambda i: others[i])
    weights = found[1:] - found[0]
    return found[0], weights.T @ weights


def test_ancestral_sampling_has_the_right_mean_and_covariance() -> None:
    errors = []
    for steps in (25, 100, 400):
        mean, covariance = ancestral_moments(schedule.uniform_angles(steps))
        torch.testing.assert_close(mean, MEAN)  # at any number of steps
        errors.append(float((covariance - COVARIANCE).abs().max()))
    assert errors[2] < 0.015
    # first order in the step
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_one_ancestral_step_draws_from_the_posterior() -> None:
    levels = torch.tensor([0.2, 0.6], dtype=torch.float64)
    x, z = starts(), starts(seed=1)
    seen: list[Tensor] = []
    ancestral(denoise, x, levels, noise=lambda i: z, callback=lambda i, a, x, x_0: seen.append(x))
    mean, variance = diffusion.q_posterior_mean_variance(denoise(x, levels[0]), x, *levels)
    torch.testing.assert_close(seen[1], mean + variance.sqrt() * z)


# --- what every sampler promises ---


@named
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_all_knowing_denoiser_is_believed(name: str, data: st.DataObject) -> None:
    """If every estimate is the same x_0, it is the answer; deterministic paths keep their noise."""
    drawn = data.draw(st.lists(st.floats(0, 0.999), min_size=1, max_size=6, unique=True))
    levels = torch.tensor(sorted(drawn), dtype=torch.float64)
    if len(levels) > 1 and float(levels.diff().min()) < 1e-6:
        levels = levels[:1]
    truth, eps = starts(), starts(seed=1)
    path: list[Tensor] = []
    found = get_sampler(name)(
        lambda x, alpha_bar: truth,
        diffusion.q_sample(truth, levels[0], eps),
        levels,
        noise=lambda i: torch.zeros_like(truth),
        callback=lambda i, alpha_bar, x, x_0: path.append(x),
    )
    assert torch.equal(found, truth)
    if name != "ancestral":
        for level, x in zip(levels, path, strict=True):
            torch.testing.assert_close(x, diffusion.q_sample(truth, level, eps), rtol=0, atol=1e-9)


@named
@pytest.mark.parametrize("first", [0.0, 0.3])
def test_callback_hears_of_every_step_in_order(name: str, first: float) -> None:
    levels = torch.tensor([first, 0.5, 0.8, 0.95], dtype=torch.float64)
    x = starts().float().view(2, 3, 3)
    calls: list[tuple[int, float, Tensor, Tensor]] = []
    estimates: list[Tensor] = []

    def estimate(x: Tensor, alpha_bar: Tensor) -> Tensor:
        assert alpha_bar.dtype == torch.float64
        estimates.append((0.5 + alpha_bar.float()) * x)
        return estimates[-1]

    def callback(i: int, alpha_bar: Tensor, x: Tensor, x_0: Tensor) -> None:
        calls.append((i, float(alpha_bar), x, x_0))

    found = get_sampler(name)(estimate, x, levels, callback=callback)
    assert [i for i, *_ in calls] == [0, 1, 2, 3]
    assert [alpha_bar for _, alpha_bar, *_ in calls] == levels.tolist()
    assert calls[0][2] is x
    assert all(call[3] is estimate for call, estimate in zip(calls, estimates, strict=True))
    assert all(call[2].shape == x.shape and call[2].dtype == x.dtype for call in calls)
    assert found is estimates[-1]


@named
def test_one_level_is_one_network_call(name: str) -> None:
    x, level = starts(), torch.tensor([0.0], dtype=torch.float64)
    found = get_sampler(name)(denoise, x, level)
    torch.testing.assert_close(found, MEAN.expand(6, 3))  # pure noise tells nothing


@named
def test_only_ancestral_sampling_draws_noise(name: str) -> None:
    drawn: list[int] = []

    def noise(i: int) -> Tensor:
        drawn.append(i)
        return starts(seed=i)

    get_sampler(name)(denoise, starts(), schedule.uniform_angles(4), noise=noise)
    assert drawn == ([0, 1, 2] if name == "ancestral" else [])


@named
def test_without_noise_given_torchs_seed_decides(name: str) -> None:
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(get_sampler(name)(denoise, starts(), schedule.uniform_angles(4)))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2]) == (name != "ancestral")


@named
def test_the_state_given_is_not_changed(name: str) -> None:
    x = starts()
    get_sampler(name)(denoise, x, schedule.uniform_angles(4))
    assert torch.equal(x, starts())


def test_second_order_is_worth_it_at_few_steps() -> None:
    levels = levels_in_log_snr(9)
    assert error_of(dpm_solver_2m, levels) < 0.5 * error_of(ddim, levels)


def test_after_pure_noise_the_second_order_sampler_starts_like_ddim() -> None:
    """No finite step leads from alpha_bar = 0, so the first two steps are of first order."""
    levels = torch.tensor([0.0, 0.2, 0.5, 0.8], dtype=torch.float64)

    def path(sampler: Sampler) -> list[Tensor]:
        states: list[Tensor] = []
        sampler(denoise, starts(), levels, callback=lambda i, a, x, x_0: states.append(x))
        return states

    first, second = path(ddim), path(dpm_solver_2m)
    for i in range(3):
        torch.testing.assert_close(first[i], second[i])
    assert float((first[3] - second[3]).abs().max()) > 1e-3


# --- bad input ---


@named
@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([], "at least one"),
        ([[0.1, 0.2]], "at least one"),
        ([0.5, 0.2], "increase"),
        ([0.2, 0.2], "increase"),
        ([0.5, 1.0], r"\[0, 1\)"),
        ([-0.1, 0.5], r"\[0, 1\)"),
        ([0.1, math.nan], r"\[0, 1\)"),
    ],
)
def test_impossible_levels_are_refused(name: str, levels: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        get_sampler(name)(denoise, starts(), torch.tensor(levels, dtype=torch.float64))


def test_checked_levels_are_float64() -> None:
    check: Callable[[Any], Tensor] = check_levels
    for levels in ([0.0, 0.1], torch.tensor([0.0, 0.1])):
        assert check(levels).dtype == torch.float64
    assert check([0.0, 0.1]).tolist() == [0.0, 0.1]


def test_unknown_sampler_tells_the_choices() -> None:
    with pytest.raises(InputError, match=r"'euler'.*ancestral, ddim, dpm-solver\+\+"):
        get_sampler("euler")


@given(st.floats(1e-6, 1 - 1e-6))
def test_levels_in_other_words(alpha_bar: float) -> None:
    level = torch.tensor(alpha_bar, dtype=torch.float64)
    alpha, sigma = alpha_sigma(level)
    assert alpha**2 + sigma**2 == pytest.approx(1, abs=1e-15)
    assert alpha**2 == pytest.approx(alpha_bar)
    assert log_snr(level) == pytest.approx(math.log(alpha_bar / (1 - alpha_bar)) / 2, abs=1e-9)
    assert log_snr(torch.tensor(0.0)) == -math.inf
