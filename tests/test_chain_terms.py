"""The terms of the bound of one step, and decoders, against torch's distributions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffwave.chain import gaussian as diffusion
from diffwave.chain import schedule

inner_levels = st.floats(1e-3, 0.999)
values = st.floats(-3, 3)


def f64(value: float | list[float]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@settings(max_examples=100)
@given(values, values, inner_levels, st.floats(0.01, 0.99), values)
def test_step_kl_is_that_of_two_posteriors(
    x_0: float, predicted: float, bar: float, share: float, x_t: float
) -> None:
    """Whatever x_t is; and it is the form in signal-to-noise ratios of Kingma et al. 2021."""
    level, before = f64(bar), f64(bar + share * (1 - bar))
    found = diffusion.step_kl(f64(x_0), f64(predicted), level, before)
    of_q, variance = diffusion.q_posterior_mean_variance(f64(x_0), f64(x_t), level, before)
    of_p, _ = diffusion.q_posterior_mean_variance(f64(predicted), f64(x_t), level, before)
    expected = kl_divergence(Normal(of_q, variance.sqrt()), Normal(of_p, variance.sqrt()))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    change = schedule.snr(before) - schedule.snr(level)
    torch.testing.assert_close(found, 0.5 * change * (x_0 - predicted) ** 2, rtol=1e-9, atol=1e-12)


@settings(max_examples=100)
@given(values, values, st.floats(0.05, 5), st.floats(0, 0.999))
def test_prior_kl_to_a_prior_with_a_mean_is_that_of_the_state(
    x_0: float, mean: float, deviation: float, bar: float
) -> None:
    """KL(N(mean + a (x_0 - mean), (s deviation)^2) || N(mean, deviation^2)), by the state alone."""
    alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    ends = Normal(f64(mean + alpha * (x_0 - mean)), sigma * deviation)
    expected = kl_divergence(ends, Normal(f64(mean), deviation))
    found = diffusion.prior_kl(f64((x_0 - mean) / deviation), f64(bar))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@settings(max_examples=50)
@given(st.floats(-1.2, 1.2), st.floats(1e-3, 10), st.sampled_from([2, 8, 64]))
def test_the_masses_of_all_values_add_up_to_one(mean: float, deviation: float, count: int) -> None:
    width = 2 / count
    grid = torch.arange(count, dtype=torch.float64) * width - 1
    nll = diffusion.discretised_nll(grid, f64(mean), f64(deviation**2), width)
    assert float(torch.exp(-nll).sum()) == pytest.approx(1, abs=1e-9)


def test_mass_of_narrow_steps_is_the_density_times_their_width() -> None:
    """16 bits; also 40 deviations away, where the distribution function itself underflows."""
    width, variance = 2.0**-15, f64(1e-4)
    x = torch.round(f64([0.0, 0.011, -0.4, 0.4]) / width) * width
    for mean in (f64(0.0), f64(0.002)):
        found = diffusion.discretised_nll(x, mean, variance, width)
        expected = diffusion.normal_nll(x, mean, variance) - math.log(width)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_the_outermost_values_have_the_tails() -> None:
    found = diffusion.discretised_nll(f64([-1.0, 1 - 2.0**-15]), f64([-3.0, 3.0]), f64(1.0), 2**-15)
    assert torch.all(found < 0.03)  # the mass beyond 2 deviations below the mean is missing
