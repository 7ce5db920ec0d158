"""Samplers on Gaussian data, for which the optimal denoiser and the exact solution are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain import schedule
from diffwave.chain.gaussian import alpha_sigma, q_sample
from diffwave.chain.samplers import (
    SAMPLERS,
    State,
    Step,
    ancestral,
    ddim,
    dpm_solver_2m,
    sample,
    stochastic_ddim,
)

MEAN = torch.tensor([0.7, -1.2, 0.1], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6, 0.1], [0.6, 0.8, 0.0], [0.1, 0.0, 0.05]], dtype=torch.float64)
EIGENVALUES, EIGENVECTORS = torch.linalg.eigh(COVARIANCE)
DETERMINISTIC = (ddim, dpm_solver_2m)
steps = pytest.mark.parametrize("step", SAMPLERS.values(), ids=list(SAMPLERS))


def f64(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def apply_spectrum(values: Tensor, x: Tensor) -> Tensor:
    """f(COVARIANCE) x for the function with these values on the eigenvalues, x [B, 3]."""
    return (x @ EIGENVECTORS * values) @ EIGENVECTORS.T


def denoise(x: Tensor, alpha_bar: Tensor) -> Tensor:
    """E[x_0 | x_t] of x_0 ~ N(MEAN, COVARIANCE)."""
    alpha, sigma = alpha_sigma(alpha_bar, x)
    gain = alpha * EIGENVALUES / (alpha**2 * EIGENVALUES + sigma**2)
    return MEAN + apply_spectrum(gain, x - alpha * MEAN)


def flow(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Exact solution of the probability-flow ODE: whiten by one marginal, colour by the other."""
    variance, variance_end = (bar * EIGENVALUES + 1 - bar for bar in (start, end))
    gain = (variance_end / variance).sqrt()
    return end.sqrt() * MEAN + apply_spectrum(gain, x - start.sqrt() * MEAN)


def starts(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, generator=generator, dtype=torch.float64)


def levels_by_lengths(lengths: Sequence[float]) -> Tensor:
    """alpha_bar from log(alpha / sigma) = -2 to 3, in steps of these relative lengths."""
    place = f64([0, *lengths]).cumsum(0)
    return torch.sigmoid(2 * (-2 + 5 * place / place[-1]))


def error_of(step: Step, levels: Tensor) -> float:
    x = starts()
    exact = denoise(flow(x, levels[0], levels[-1]), levels[-1])
    return float((sample(step, denoise, x, levels) - exact).abs().max())


@pytest.mark.parametrize(
    ("step", "order", "lengths"),
    [(ddim, 1, [1]), (dpm_solver_2m, 2, [1]), (dpm_solver_2m, 2, [1, 2])],
)
def test_order_of_convergence_to_the_probability_flow(
    step: Step, order: int, lengths: list[float]
) -> None:
    """Of unequal steps too: the extrapolation must weigh them."""
    counts = [32 // len(lengths), 64 // len(lengths), 128 // len(lengths)]
    errors = [error_of(step, levels_by_lengths(lengths * count)) for count in counts]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)
    assert errors[-1] < {1: 0.03, 2: 4e-3}[order]


@pytest.mark.parametrize("step", [ddim, dpm_solver_2m])
def test_from_pure_noise_the_whole_distribution_is_reached(step: Step) -> None:
    """At alpha_bar = 0 the flow is x -> MEAN + COVARIANCE^(1/2) x."""
    x = starts()
    exact = MEAN + apply_spectrum(EIGENVALUES.sqrt(), x)
    found = [sample(step, denoise, x, schedule.uniform_angles(n)) for n in (20, 80, 320)]
    errors = [float((each - exact).abs().max()) for each in found]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


def test_ancestral_sampling_has_the_right_mean_and_covariance() -> None:
    """The optimal denoiser is affine, so the sample is affine in the start and every step's noise:

    it is read off by giving one unit impulse after the other.
    """
    errors = []
    for count in (25, 100, 400):
        impulses = torch.eye(3 * count, dtype=torch.float64)
        impulses = torch.cat((torch.zeros_like(impulses[:1]), impulses))
        first, *others = impulses.split(3, dim=1)
        levels = schedule.uniform_angles(count)
        found = sample(ancestral, denoise, first, levels, noise=others.__getitem__)
        torch.testing.assert_close(found[0], MEAN)  # at any number of steps
        weights = found[1:] - found[0]
        errors.append(float((weights.T @ weights - COVARIANCE).abs().max()))
    assert errors[2] < 0.015
    assert errors[0] > 3 * errors[1] > 9 * errors[2]  # first order in the step


@steps
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("first", [0.0, 0.05])
def test_a_perfect_denoiser_is_believed(step: Step, count: int, first: float) -> None:
    """And without noise of their own, samplers stay on the line between the truth and its noise."""
    levels = f64([first, 0.1, 0.4, 0.7, 0.95][:count])
    truth, eps = starts(), starts(seed=1)
    path: list[Tensor] = []
    found = sample(
        step, lambda x, bar: truth, q_sample(truth, levels[0], eps), levels,
        callback=lambda i, bar, x, x_0: path.append(x),
    )  # fmt: skip
    assert torch.equal(found, truth)
    if step in DETERMINISTIC:
        for level, x in zip(levels, path, strict=True):
            torch.testing.assert_close(x, q_sample(truth, level, eps), rtol=0, atol=1e-9)


@steps
def test_what_a_sampler_asks_for_and_tells(step: Step) -> None:
    """Levels in their order, a call of the network and of the callback each, noise between."""
    levels, x = f64([0, 0.5, 0.8, 0.95]), starts().float().view(2, 3, 3)
    given, estimates, calls, drawn = x.clone(), [], [], []

    def estimate(x: Tensor, alpha_bar: Tensor) -> Tensor:
        assert alpha_bar.dtype == torch.float64
        estimates.append((0.5 + alpha_bar.float()) * x)
        return estimates[-1]

    def noise(i: int) -> Tensor:
        drawn.append(i)
        return torch.ones_like(x)

    def callback(i: int, alpha_bar: Tensor, x: Tensor, x_0: Tensor) -> None:
        assert x_0 is estimates[-1]
        calls.append((i, float(alpha_bar), x.shape, x.dtype))

    found = sample(step, estimate, x, levels, noise=noise, callback=callback)
    assert found is estimates[-1]
    assert calls == [(i, bar, x.shape, x.dtype) for i, bar in enumerate(levels.tolist())]
    assert drawn == ([] if step in DETERMINISTIC else [0, 1, 2])
    assert torch.equal(x, given)
    results = [sample(step, estimate, x, levels) for seed in (0, 0, 1) if torch.manual_seed(seed)]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2]) == (step in DETERMINISTIC)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_share_of_fresh_noise_lies_between_ddim_and_ancestral(level: float) -> None:
    x, x_0, levels, fresh = starts(), starts(seed=1), f64([level, 0.6]), starts(seed=2)

    def after(step: Step) -> Tensor:
        return step(State(x, x_0, levels, 0, lambda i: fresh))  # type: ignore[no-any-return]

    torch.testing.assert_close(after(stochastic_ddim(0)), after(ddim))
    torch.testing.assert_close(after(stochastic_ddim(1)), after(ancestral))
    # Whatever the share, x_t of the right marginal stays so: a rotation of the two noises.
    weights = after(stochastic_ddim(0.5)) - levels[1].sqrt() * x_0
    eps = (x - levels[0].sqrt() * x_0) / (1 - levels[0]).sqrt()
    beta = 1 - levels[0] / levels[1]
    of_fresh = 0.5 * (beta * (1 - levels[1]) / (1 - levels[0])).sqrt()
    kept = (1 - levels[1] - of_fresh**2).sqrt()
    torch.testing.assert_close(weights, kept * eps + of_fresh * fresh)


def test_after_pure_noise_the_second_order_sampler_starts_like_ddim() -> None:
    """No finite step leads from alpha_bar = 0, so the first two steps are of first order."""
    paths: list[list[Tensor]] = [[], []]
    for step, path in zip((ddim, dpm_solver_2m), paths, strict=True):
        sample(
            step, denoise, starts(), f64([0.0, 0.2, 0.5, 0.8]),
            callback=lambda i, bar, x, x_0, path=path: path.append(x),
        )  # fmt: skip
    for i in range(3):
        torch.testing.assert_close(paths[0][i], paths[1][i])
    assert float((paths[0][3] - paths[1][3]).abs().max()) > 1e-3
    levels = levels_by_lengths([1] * 8)
    assert error_of(dpm_solver_2m, levels) < 0.5 * error_of(ddim, levels)


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
def test_impossible_levels_are_refused(levels: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sample(ddim, denoise, starts(), f64(levels))
