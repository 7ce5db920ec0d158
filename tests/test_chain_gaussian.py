"""The Gaussian chain against its definition: closed form, Bayes' rule, conversions, bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from diffwave.chain import gaussian as diffusion
from diffwave.chain import schedule

beta_lists = st.lists(st.floats(1e-3, 0.95), min_size=1, max_size=20)
inner_levels = st.floats(1e-3, 0.999)
values = st.floats(-3, 3)


def f64(value: float | list[float]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- forward process ---


@settings(max_examples=100, deadline=None)
@given(betas=beta_lists, x_0=values)
def test_steps_compose_to_the_closed_form(betas: list[float], x_0: float) -> None:
    """The mean passes through q_step without noise; variances of independent noises add."""
    mean, variance = f64(x_0), f64(0.0)
    zero, one = f64(0.0), f64(1.0)
    for beta in f64(betas):
        mean = diffusion.q_step(mean, beta, zero)
        gain, added = diffusion.q_step(one, beta, zero), diffusion.q_step(zero, beta, one)
        variance = gain.square() * variance + added.square()
    expected = diffusion.q_mean_variance(f64(x_0), schedule.alpha_bars(betas)[-1])
    torch.testing.assert_close((mean, variance), expected, rtol=1e-12, atol=1e-14)


def test_simulated_chain_has_the_moments_of_the_closed_form() -> None:
    count, start = 10_000, 0.8
    betas = schedule.named_betas("diffwave-base")
    generator = torch.Generator().manual_seed(3)
    x = torch.full((count,), start, dtype=torch.float64)
    for beta, bar in zip(betas, schedule.alpha_bars(betas), strict=True):
        x = diffusion.q_step(x, beta, torch.randn(count, generator=generator, dtype=torch.float64))
        mean, variance = diffusion.q_mean_variance(f64(start), bar)
        # five standard errors of a mean and of a variance
        assert abs(float(x.mean() - mean)) < 5 * math.sqrt(float(variance) / count)
        assert abs(float(x.var() / variance) - 1) < 5 * math.sqrt(2 / count)
    assert float(variance) == pytest.approx(1 - 0.529**2, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(bar=st.floats(0, 1), x_0=values, eps=values)
def test_q_sample_is_mean_plus_deviation(bar: float, x_0: float, eps: float) -> None:
    mean, variance = diffusion.q_mean_variance(f64(x_0), f64(bar))
    x_t = diffusion.q_sample(f64(x_0), f64(bar), f64(eps))
    torch.testing.assert_close(x_t, mean + variance.sqrt() * eps)


# --- posterior ---


@settings(max_examples=200, deadline=None)
@given(before=inner_levels, beta=inner_levels, x_0=values, x_t=values)
def test_posterior_is_bayes_rule(before: float, beta: float, x_0: float, x_t: float) -> None:
    """q(x_{t-1} | x_t, x_0) q(x_t | x_0) = q(x_t | x_{t-1}) q(x_{t-1} | x_0), at every x_{t-1}."""
    bar = f64(before * (1 - beta))
    start, end = f64(x_0), f64(x_t)
    mean, variance = diffusion.q_posterior_mean_variance(start, end, bar, f64(before))
    grid = mean + variance.sqrt() * torch.linspace(-4, 4, 17, dtype=torch.float64)

    def log_q(x: Tensor, given_x_0: Tensor, level: Tensor) -> Tensor:
        mean, variance = diffusion.q_mean_variance(given_x_0, level)
        return Normal(mean, variance.sqrt()).log_prob(x)

    step = Normal(math.sqrt(1 - beta) * grid, math.sqrt(beta)).log_prob(end)
    bayes = step + log_q(grid, start, f64(before)) - log_q(end, start, bar)
    torch.testing.assert_close(
        Normal(mean, variance.sqrt()).log_prob(grid), bayes, rtol=1e-9, atol=1e-7
    )


@settings(max_examples=50, deadline=None)
@given(before=inner_levels, beta=inner_levels, x_0=values, eps=values)
def test_posterior_is_the_papers_formula(
    before: float, beta: float, x_0: float, eps: float
) -> None:
    bar = before * (1 - beta)
    x_t = diffusion.q_sample(f64(x_0), f64(bar), f64(eps))
    mean, variance = diffusion.q_posterior_mean_variance(f64(x_0), x_t, f64(bar), f64(before))
    by_eps = (float(x_t) - beta / math.sqrt(1 - bar) * eps) / math.sqrt(1 - beta)  # eq. 11
    assert float(mean) == pytest.approx(by_eps, rel=1e-9, abs=1e-10)
    assert float(variance) == pytest.approx((1 - before) / (1 - bar) * beta, rel=1e-12)


def test_posterior_at_the_clean_end_is_the_clean_state() -> None:
    x_0, x_t = noise(5), noise(5, seed=1)
    mean, variance = diffusion.q_posterior_mean_variance(x_0, x_t, f64(0.7), f64(1.0))
    torch.testing.assert_close(mean, x_0, rtol=0, atol=1e-15)
    assert float(variance) == 0.0


def test_posterior_of_pure_noise_forgets_it() -> None:
    x_0, x_t = noise(5), noise(5, seed=1)
    found = diffusion.q_posterior_mean_variance(x_0, x_t, f64(0.0), f64(0.3))
    torch.testing.assert_close(found, diffusion.q_mean_variance(x_0, f64(0.3)))


@settings(max_examples=50, deadline=None)
@given(before=inner_levels, beta=inner_levels)
def test_reverse_step_of_the_true_noise_is_the_posterior(before: float, beta: float) -> None:
    bar = f64(before * (1 - beta))
    x_0, eps = noise(4), noise(4, seed=1)
    x_t = diffusion.q_sample(x_0, bar, eps)
    reverse = diffusion.p_mean_variance(eps, x_t, bar, f64(before))
    posterior = diffusion.q_posterior_mean_variance(x_0, x_t, bar, f64(before))
    torch.testing.assert_close(reverse, posterior, rtol=1e-9, atol=1e-10)


# --- the same prediction in three coordinates ---


@settings(max_examples=100, deadline=None)
@given(level=inner_levels, x_0=values, eps=values)
def test_conversions_invert_each_other(level: float, x_0: float, eps: float) -> None:
    bar, start, unit = f64(level), f64(x_0), f64(eps)
    x_t = diffusion.q_sample(start, bar, unit)
    v = diffusion.v_of(start, unit, bar)
    for found, expected in (
        (diffusion.x0_from_eps(x_t, unit, bar), start),
        (diffusion.eps_from_x0(x_t, start, bar), unit),
        (diffusion.x0_from_v(x_t, v, bar), start),
        (diffusion.eps_from_v(x_t, v, bar), unit),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    # (x_t, v) is a rotation of (x_0, eps)
    assert float(x_t**2 + v**2) == pytest.approx(x_0**2 + eps**2, abs=1e-12)


def test_v_at_both_ends_of_the_chain() -> None:
    x_0, eps = noise(5), noise(5, seed=1)
    assert torch.equal(diffusion.v_of(x_0, eps, f64(1.0)), eps)
    assert torch.equal(diffusion.v_of(x_0, eps, f64(0.0)), -x_0)
    assert torch.equal(diffusion.x0_from_v(eps, -x_0, f64(0.0)), x_0)
    assert torch.equal(diffusion.eps_from_v(eps, -x_0, f64(0.0)), eps)


# --- precision, shapes, devices ---


def test_levels_are_float64_even_when_the_state_is_not() -> None:
    """1 - alpha_bar = 1e-10 is nothing in single precision, but its root is 1e-5."""
    bar = f64(1 - 1e-10)
    one, zero = torch.ones(3), torch.zeros(3)
    x_t = diffusion.q_sample(zero, bar, one)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, 1e-5 * one, rtol=1e-5, atol=0)
    torch.testing.assert_close(diffusion.eps_from_x0(x_t, zero, bar), one, rtol=1e-5, atol=0)
    mean, variance = diffusion.q_posterior_mean_variance(zero, one, bar, f64(1 - 5e-11))
    assert mean.dtype == variance.dtype == torch.float32
    torch.testing.assert_close(mean, 0.5 * one, rtol=1e-5, atol=0)
    torch.testing.assert_close(float(variance), 2.5e-11, rtol=1e-5, atol=0)


def test_a_level_per_example_broadcasts() -> None:
    bars = f64([0.9, 0.5, 0.1])
    x_0, eps = noise(3, 4, 2), noise(3, 4, 2, seed=1)
    level = bars.view(3, 1, 1)
    for function in (diffusion.q_sample, lambda x, bar, e: diffusion.v_of(x, e, bar)):
        together = function(x_0, level, eps)
        one_by_one = [function(x_0[i], bars[i], eps[i]) for i in range(3)]
        torch.testing.assert_close(together, torch.stack(one_by_one))
    together = diffusion.q_posterior_mean_variance(x_0, eps, level, level.sqrt())[0]
    last = diffusion.q_posterior_mean_variance(x_0[2], eps[2], bars[2], bars[2].sqrt())[0]
    torch.testing.assert_close(together[2], last)


class NoFloat64OffTheCpu(TorchDispatchMode):
    """What Apple's devices do: the meta device stands in for one without float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == torch.float64:
            assert result.device.type == "cpu", f"float64 on another device, by {func}"
        return result


def test_a_device_without_float64_is_enough() -> None:
    x = torch.empty(2, 3, device="meta")
    bar, before = f64(0.5), f64(0.7)
    with NoFloat64OffTheCpu():
        results = [
            *diffusion.q_mean_variance(x, bar),
            diffusion.q_sample(x, bar, x),
            diffusion.q_sample(x, f64([0.5, 0.6]).view(2, 1), x),
            diffusion.q_step(x, bar, x),
            *diffusion.q_posterior_mean_variance(x, x, bar, before),
            *diffusion.p_mean_variance(x, x, bar, before),
            diffusion.x0_from_eps(x, x, bar),
            diffusion.eps_from_x0(x, x, bar),
            diffusion.v_of(x, x, bar),
            diffusion.x0_from_v(x, x, bar),
            diffusion.eps_from_v(x, x, bar),
        ]
    assert {(r.device.type, r.dtype) for r in results} == {("meta", torch.float32)}


# --- variational bound ---


@settings(max_examples=100, deadline=None)
@given(values, st.floats(1e-3, 10), values, st.floats(1e-3, 10))
def test_normal_kl_is_that_of_torch(m_1: float, v_1: float, m_2: float, v_2: float) -> None:
    found = diffusion.normal_kl(f64(m_1), f64(v_1), f64(m_2), f64(v_2))
    expected = kl_divergence(Normal(f64(m_1), math.sqrt(v_1)), Normal(f64(m_2), math.sqrt(v_2)))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_bound_of_the_true_noise_has_no_kl_terms_but_the_prior() -> None:
    bar = schedule.alpha_bars(schedule.named_betas("diffwave-base"))
    x_0, eps = noise(7), noise(len(bar), 7, seed=1)
    terms = diffusion.vlb_terms(x_0, eps, eps, bar)
    assert terms.dtype == torch.float64
    assert terms.shape == (len(bar) + 1,)
    torch.testing.assert_close(terms[1:-1], torch.zeros(len(bar) - 1).double(), rtol=0, atol=1e-9)
    # L_1: the mean is x_0 itself, so only the Gaussian's normalisation is left
    normalisation = 7 * 0.5 * torch.log(2 * math.pi * (1 - bar[0]))
    torch.testing.assert_close(terms[0], normalisation)
    final = Normal(bar[-1].sqrt() * x_0, (1 - bar[-1]).sqrt())
    prior = kl_divergence(final, Normal(torch.zeros_like(x_0), 1.0)).sum()
    torch.testing.assert_close(terms[-1], prior)


def test_bound_charges_a_wrong_noise_by_its_squared_error() -> None:
    """L_t = beta_t^2 / (2 sigma_t^2 (1 - beta_t)(1 - alpha_bar_t)) |eps - predicted|^2 (eq. 12)."""
    betas = schedule.linear_betas(6, 0.01, 0.4)
    bar = schedule.alpha_bars(betas)
    before = torch.cat((f64([1.0]), bar[:-1]))
    x_0, eps, error = noise(3, 2), noise(6, 3, 2, seed=1), noise(6, 3, 2, seed=2)
    terms = diffusion.vlb_terms(x_0, eps, eps + error, bar)
    variance = betas * (1 - before) / (1 - bar)
    weight = betas.square() / (2 * variance * (1 - betas) * (1 - bar))
    squared = error.square().sum((1, 2))
    torch.testing.assert_close(terms[1:-1], (weight * squared)[1:], rtol=1e-9, atol=0)
    exact = diffusion.vlb_terms(x_0, eps, eps, bar)
    assert float(terms[0]) > float(exact[0])
    torch.testing.assert_close(terms[-1], exact[-1])


def expected_bound_of_gaussian_data(mean: float, deviation: float, bar: Tensor) -> float:
    """E over x_0 ~ N(mean, deviation^2) and eps of the bound, with the exact E[eps | x_t].

    Every term is a polynomial of second degree in x_0 and eps_t, for which averaging over one
    standard deviation up and down is exact.
    """
    x_0 = mean + deviation * f64([1, 1, -1, -1])
    eps = f64([1, -1, 1, -1]).expand(len(bar), 4)
    level = bar[:, None]
    x_t = diffusion.q_sample(x_0, level, eps)
    total_variance = level * deviation**2 + 1 - level
    predicted = (1 - level).sqrt() * (x_t - level.sqrt() * mean) / total_variance
    return float(diffusion.vlb_terms(x_0, eps, predicted, bar).sum()) / 4


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.6, 0.5), (-1.0, 2.0)])
def test_bound_approaches_the_log_likelihood_of_gaussian_data(
    mean: float, deviation: float
) -> None:
    """The gap falls as 1/T where every step changes the signal-to-noise ratio by the same factor.

    (Linear betas keep a gap at any T: their second step doubles the noise however small it is.)
    """
    entropy = 0.5 * math.log(2 * math.pi * math.e * deviation**2)
    gaps = []
    for steps in (50, 100, 200):
        log_snr = torch.linspace(12, -12, steps + 1, dtype=torch.float64)
        bound = expected_bound_of_gaussian_data(mean, deviation, torch.sigmoid(log_snr))
        gaps.append(bound - entropy)
    assert min(gaps) > 0
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.1)
    limit = (gaps[0] - 6 * gaps[1] + 8 * gaps[2]) / 3  # Richardson, terms in 1/T and 1/T^2 removed
    assert limit == pytest.approx(0, abs=0.01)


def test_bound_of_published_chains_holds() -> None:
    for name in ("diffwave-base", "diffwave-base-fast", "cosine"):
        bar = schedule.alpha_bars(schedule.named_betas(name))
        bound = expected_bound_of_gaussian_data(0.2, 0.7, bar)
        assert bound > 0.5 * math.log(2 * math.pi * math.e * 0.7**2)
