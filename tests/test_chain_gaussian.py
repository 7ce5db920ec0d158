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
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from diffwave.chain import gaussian, schedule

inner_levels = st.floats(1e-3, 0.999)
values = st.floats(-3, 3)


def f64(value: float | list[float]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@settings(max_examples=100)
@given(betas=st.lists(st.floats(1e-3, 0.95), min_size=1, max_size=20), x_0=values, eps=values)
def test_steps_compose_to_the_closed_form(betas: list[float], x_0: float, eps: float) -> None:
    """The mean passes through q_step without noise; variances of independent noises add."""
    mean, variance, zero, one = f64(x_0), f64(0.0), f64(0.0), f64(1.0)
    for beta in f64(betas):
        mean = gaussian.q_step(mean, beta, zero)
        gain, added = gaussian.q_step(one, beta, zero), gaussian.q_step(zero, beta, one)
        variance = gain.square() * variance + added.square()
    bar = schedule.alpha_bars(betas)[-1]
    assert_close((mean, variance), gaussian.q_mean_variance(f64(x_0), bar), rtol=1e-12, atol=1e-14)
    assert_close(gaussian.q_sample(f64(x_0), bar, f64(eps)), mean + variance.sqrt() * eps)


@settings(max_examples=200)
@given(before=inner_levels, beta=inner_levels, x_0=values, x_t=values)
def test_posterior_is_bayes_rule(before: float, beta: float, x_0: float, x_t: float) -> None:
    """q(x_{t-1} | x_t, x_0) q(x_t | x_0) = q(x_t | x_{t-1}) q(x_{t-1} | x_0), at every x_{t-1}."""
    bar, start, end = f64(before * (1 - beta)), f64(x_0), f64(x_t)

    def normal(moments: tuple[Tensor, Tensor]) -> Normal:
        return Normal(moments[0], moments[1].sqrt())

    posterior = normal(gaussian.q_posterior_mean_variance(start, end, bar, f64(before)))
    grid = posterior.mean + posterior.stddev * torch.linspace(-4, 4, 17, dtype=torch.float64)
    step = Normal(math.sqrt(1 - beta) * grid, math.sqrt(beta)).log_prob(end)
    prior = normal(gaussian.q_mean_variance(start, f64(before))).log_prob(grid)
    evidence = normal(gaussian.q_mean_variance(start, bar)).log_prob(end)
    assert_close(posterior.log_prob(grid), step + prior - evidence, rtol=1e-9, atol=1e-7)


def test_posterior_at_both_ends_of_the_chain() -> None:
    x_0, x_t = noise(5), noise(5, seed=1)
    mean, variance = gaussian.q_posterior_mean_variance(x_0, x_t, f64(0.7), f64(1.0))
    assert_close(mean, x_0, rtol=0, atol=1e-15)
    assert float(variance) == 0.0
    forgotten = gaussian.q_posterior_mean_variance(x_0, x_t, f64(0.0), f64(0.3))
    assert_close(forgotten, gaussian.q_mean_variance(x_0, f64(0.3)))


@settings(max_examples=50)
@given(before=inner_levels, beta=inner_levels, x_0=values, eps=values)
def test_reverse_step_is_the_papers_formula(
    before: float, beta: float, x_0: float, eps: float
) -> None:
    bar = f64(before * (1 - beta))
    x_t = gaussian.q_sample(f64(x_0), bar, f64(eps))
    mean, variance = gaussian.p_mean_variance(f64(eps), x_t, bar, f64(before))
    expected = (x_t - beta / (1 - bar).sqrt() * eps) / math.sqrt(1 - beta)  # eq. 11
    assert_close(mean, expected, rtol=1e-9, atol=1e-10)
    assert_close(variance, (1 - before) / (1 - bar) * beta, rtol=1e-12, atol=0)


# --- the same prediction in three coordinates ---


@settings(max_examples=100)
@given(level=inner_levels, x_0=values, eps=values)
def test_conversions_invert_each_other(level: float, x_0: float, eps: float) -> None:
    bar, start, unit = f64(level), f64(x_0), f64(eps)
    x_t, v = gaussian.q_sample(start, bar, unit), gaussian.v_of(start, unit, bar)
    assert_close(gaussian.x0_from_eps(x_t, unit, bar), start, rtol=0, atol=1e-12)
    assert_close(gaussian.eps_from_x0(x_t, start, bar), unit, rtol=0, atol=1e-12)
    assert_close(gaussian.x0_from_v(x_t, v, bar), start, rtol=0, atol=1e-12)
    assert_close(gaussian.eps_from_v(x_t, v, bar), unit, rtol=0, atol=1e-12)


def test_v_at_both_ends_of_the_chain() -> None:
    x_0, eps = noise(5), noise(5, seed=1)
    assert torch.equal(gaussian.v_of(x_0, eps, f64(1.0)), eps)
    assert torch.equal(gaussian.v_of(x_0, eps, f64(0.0)), -x_0)
    assert torch.equal(gaussian.x0_from_v(eps, -x_0, f64(0.0)), x_0)
    assert torch.equal(gaussian.eps_from_v(eps, -x_0, f64(0.0)), eps)


# --- precision, shapes, devices ---


def test_levels_are_float64_even_when_the_state_is_not() -> None:
    """1 - alpha_bar = 1e-10 is nothing in single precision, but its root is 1e-5."""
    bar, one, zero = f64(1 - 1e-10), torch.ones(3), torch.zeros(3)
    x_t = gaussian.q_sample(zero, bar, one)
    assert_close(x_t, 1e-5 * one, rtol=1e-5, atol=0)  # dtypes must agree, too
    assert_close(gaussian.eps_from_x0(x_t, zero, bar), one, rtol=1e-5, atol=0)
    mean, variance = gaussian.q_posterior_mean_variance(zero, one, bar, f64(1 - 5e-11))
    assert_close(mean, 0.5 * one, rtol=1e-5, atol=0)
    assert_close(variance, torch.tensor(2.5e-11), rtol=1e-5, atol=0)


def test_a_level_per_example_broadcasts() -> None:
    bars, x, y = f64([0.9, 0.5, 0.1]), noise(3, 4, 2), noise(3, 4, 2, seed=1)
    for function in (
        lambda x, bar, y: gaussian.q_sample(x, bar, y),
        lambda x, bar, y: gaussian.v_of(x, y, bar),
        lambda x, bar, y: gaussian.q_posterior_mean_variance(x, y, bar, bar.sqrt())[0],
    ):
        one_by_one = [function(x[i], bars[i], y[i]) for i in range(3)]
        assert_close(function(x, bars.view(3, 1, 1), y), torch.stack(one_by_one))


class NoFloat64OffTheCpu(TorchDispatchMode):
    """What Apple's devices do: the meta device stands in for one without float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == torch.float64:
            assert result.device.type == "cpu", f"float64 on another device, by {func}"
        return result


def test_a_device_without_float64_is_enough() -> None:
    x, bar, before = torch.empty(2, 3, device="meta"), f64(0.5), f64(0.7)
    with NoFloat64OffTheCpu():
        results = [
            *gaussian.q_mean_variance(x, bar),
            gaussian.q_sample(x, f64([0.5, 0.6]).view(2, 1), x),
            gaussian.q_step(x, bar, x),
            *gaussian.p_mean_variance(x, x, bar, before),
            gaussian.eps_from_x0(x, x, bar),
            gaussian.v_of(x, x, bar),
            gaussian.x0_from_v(x, x, bar),
            gaussian.eps_from_v(x, x, bar),
        ]
    assert {(r.device.type, r.dtype) for r in results} == {("meta", torch.float32)}


# --- variational bound ---


@settings(max_examples=100)
@given(values, st.floats(1e-3, 10), values, st.floats(1e-3, 10))
def test_normal_kl_is_that_of_torch(m_1: float, v_1: float, m_2: float, v_2: float) -> None:
    found = gaussian.normal_kl(f64(m_1), f64(v_1), f64(m_2), f64(v_2))
    expected = kl_divergence(Normal(f64(m_1), math.sqrt(v_1)), Normal(f64(m_2), math.sqrt(v_2)))
    assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=100)
@given(values, values, inner_levels, st.floats(0.01, 0.99), values)
def test_step_kl_is_that_of_two_posteriors(
    x_0: float, predicted: float, bar: float, share: float, x_t: float
) -> None:
    """Whatever x_t is; and it is the form in signal-to-noise ratios of Kingma et al. 2021."""
    level, before = f64(bar), f64(bar + share * (1 - bar))
    found = gaussian.step_kl(f64(x_0), f64(predicted), level, before)
    of_q, variance = gaussian.q_posterior_mean_variance(f64(x_0), f64(x_t), level, before)
    of_p, _ = gaussian.q_posterior_mean_variance(f64(predicted), f64(x_t), level, before)
    expected = kl_divergence(Normal(of_q, variance.sqrt()), Normal(of_p, variance.sqrt()))
    assert_close(found, expected, rtol=1e-6, atol=1e-9)
    change = schedule.snr(before) - schedule.snr(level)
    assert_close(found, 0.5 * change * (x_0 - predicted) ** 2, rtol=1e-9, atol=1e-12)


@settings(max_examples=100)
@given(values, values, st.floats(0.05, 5), st.floats(0, 0.999))
def test_prior_kl_to_a_prior_with_a_mean_is_that_of_the_state(
    x_0: float, mean: float, deviation: float, bar: float
) -> None:
    """KL(N(mean + a (x_0 - mean), (s deviation)^2) || N(mean, deviation^2)), by the state alone."""
    alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    ends = Normal(f64(mean + alpha * (x_0 - mean)), sigma * deviation)
    expected = kl_divergence(ends, Normal(f64(mean), deviation))
    found = gaussian.prior_kl(f64((x_0 - mean) / deviation), f64(bar))
    assert_close(found, expected, rtol=1e-7, atol=1e-9)


@settings(max_examples=50)
@given(st.floats(-1.2, 1.2), st.floats(1e-3, 10), st.sampled_from([2, 8, 64]))
def test_the_masses_of_all_values_add_up_to_one(mean: float, deviation: float, count: int) -> None:
    width = 2 / count
    grid = torch.arange(count, dtype=torch.float64) * width - 1
    nll = gaussian.discretised_nll(grid, f64(mean), f64(deviation**2), width)
    assert float(torch.exp(-nll).sum()) == pytest.approx(1, abs=1e-9)


def test_mass_of_narrow_steps_is_the_density_times_their_width() -> None:
    """16 bits; also 40 deviations away, where the distribution function itself underflows."""
    width, variance = 2.0**-15, f64(1e-4)
    x = torch.round(f64([0.0, 0.011, -0.4, 0.4]) / width) * width
    for mean in (f64(0.0), f64(0.002)):
        found = gaussian.discretised_nll(x, mean, variance, width)
        expected = gaussian.normal_nll(x, mean, variance) - math.log(width)
        assert_close(found, expected, rtol=1e-4, atol=0)


def test_the_outermost_values_have_the_tails() -> None:
    found = gaussian.discretised_nll(f64([-1.0, 1 - 2.0**-15]), f64([-3.0, 3.0]), f64(1.0), 2**-15)
    assert torch.all(found < 0.03)  # the mass beyond 2 deviations below the mean is missing
