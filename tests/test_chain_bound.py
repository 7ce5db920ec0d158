"""The bound of a denoiser, on sources whose entropy is known."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain import bound, schedule, terminal
from diffwave.chain.gaussian import (
    Estimate,
    discretised_nll,
    learned_variance,
    normal_kl,
    normal_nll,
    q_posterior_mean_variance,
)
from diffwave.chain.samplers import ancestral, sample

PCM = 2.0**-15
"""Step of 16-bit samples in -1 .. 1."""
LENGTH, COUNT = 256, 32
INNOVATION, MEMORY = 0.02, 0.9


def log_snr_levels(steps: int, highest: float, lowest: float) -> Tensor:
    """Noisiest first, every step changing the signal-to-noise ratio by the same factor."""
    return torch.sigmoid(torch.linspace(lowest, highest, steps, dtype=torch.float64))


@functools.cache
def ar1() -> tuple[Tensor, Tensor]:
    """Covariance [L, L] of x_n = .9 x_{n-1} + e_n, and 16-bit samples of it [N, L]."""
    lag = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs().double()
    covariance = INNOVATION**2 / (1 - MEMORY**2) * MEMORY**lag
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(COUNT, LENGTH, generator=generator, dtype=torch.float64)
    x = white @ torch.linalg.cholesky(covariance).T
    return covariance, torch.round(x / PCM) * PCM


def entropy_in_bits() -> float:
    """Of a 16-bit sample: the first has the stationary variance, the others the innovation's."""
    of_first = 0.5 * math.log2(2 * math.pi * math.e * INNOVATION**2 / (1 - MEMORY**2))
    of_others = 0.5 * math.log2(2 * math.pi * math.e * INNOVATION**2)
    return (of_first + (LENGTH - 1) * of_others) / LENGTH + 15


def exact(x: Tensor, bar: Tensor, covariance: Tensor) -> Tensor:
    """E[x_0 | x_t] of a Gaussian source of mean 0, x [N, L]."""
    noisy = bar * covariance + (1 - bar) * torch.eye(len(covariance), dtype=torch.float64)
    return bar.sqrt() * torch.linalg.solve(noisy, x.T).T @ covariance


def bits(denoise: bound.Denoise, x: Tensor, levels: Tensor, seed: int = 1) -> Tensor:
    """The terms in bits per 16-bit sample, [T + 1]."""
    generator = torch.Generator().manual_seed(seed)

    def noise(_: int) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64)

    decoder = functools.partial(discretised_nll, width=PCM)
    terms = bound.bound_terms(denoise, x, levels, noise, decoder)
    return torch.stack([term.mean() for term in terms]) / math.log(2)


def test_with_the_exact_score_the_bound_meets_the_entropy_of_an_ar1_source() -> None:
    """To 1 %, and from above; the differential entropy is 15 bits below that of the samples."""
    covariance, x = ar1()
    denoise = functools.partial(exact, covariance=covariance)
    found = float(bits(denoise, x, log_snr_levels(600, 14, -5)).sum())
    entropy = entropy_in_bits()
    assert entropy == pytest.approx(11.41, abs=0.01)
    assert found == pytest.approx(entropy, rel=0.01)
    # What the 32 drawn sequences themselves are worth differs from the entropy by chance.
    drawn = torch.distributions.MultivariateNormal(torch.zeros(LENGTH).double(), covariance)
    surprise = -float(drawn.log_prob(x).mean()) / LENGTH / math.log(2) + 15
    assert surprise < found < surprise + 0.1


def test_a_wrong_score_and_a_short_chain_cost_bits() -> None:
    covariance, x = ar1()
    levels = log_snr_levels(60, 16, -12)
    best = bits(functools.partial(exact, covariance=covariance), x, levels)
    white = bound.gaussian_denoiser(torch.zeros(()), covariance[0, 0])
    assert float(bits(white, x, levels).sum()) > float(best.sum()) + 0.8  # the memory it ignores
    few = bits(functools.partial(exact, covariance=covariance), x, log_snr_levels(6, 16, -12))
    assert float(few.sum()) > float(best.sum()) + 0.5
    published = schedule.alpha_bars(schedule.named_betas("diffwave-base")).flip(0)
    # beta_1 = 1e-4: not even a perfect denoiser decodes below log2(sqrt(2 pi) .01 / step) bits
    floor = math.log2(math.sqrt(2 * math.pi) * 0.01 / PCM)
    assert floor < float(bits(lambda *_: x, x, published)[0]) < floor + 0.001


def test_the_gaussian_denoiser_is_exact() -> None:
    """Against the general formula, of a source with a mean."""
    variance = torch.tensor([0.5, 2.0], dtype=torch.float64)
    x, bar = torch.tensor([[1.0, -2.0]], dtype=torch.float64), torch.tensor(0.3).double()
    centred = exact(x - bar.sqrt() * 0.7, bar, torch.diag(variance))
    denoise = bound.gaussian_denoiser(torch.tensor(0.7).double(), variance)
    torch.testing.assert_close(denoise(x, bar), 0.7 + centred)


def test_a_chain_that_ends_in_pure_noise_has_no_prior_term() -> None:
    _, x = ar1()
    levels = torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)
    assert float(bits(lambda *_: torch.zeros_like(x), x, levels)[-1]) == 0
    with pytest.raises(InputError, match="increase"):
        bits(lambda *_: x, x, levels.flip(0))


# --- learned variances


@functools.cache
def ar1_spectrum() -> tuple[Tensor, Tensor]:
    """Variances [L] of the coordinates in which an AR(1) source is white, and draws [N, L]."""
    lag = (torch.arange(64)[:, None] - torch.arange(64)).abs().double()
    variances = torch.linalg.eigvalsh(MEMORY**lag)
    generator = torch.Generator().manual_seed(2)
    white = torch.randn(400, 64, generator=generator, dtype=torch.float64)
    return variances, white * variances.sqrt()


def with_best_variances(denoise: bound.Denoise, variance: Tensor, levels: Tensor) -> bound.Denoise:
    """The exact denoiser, with the variance that each step of its reverse chain has."""
    bars = [*levels.tolist(), 1.0]

    def estimate(x: Tensor, bar: Tensor) -> Estimate:
        place = bars.index(float(bar))
        before = bar.new_tensor(bars[place + 1])
        unsure = variance / (1 + schedule.snr(bar) * variance)  # the variance of x_0 | x_t
        zero = torch.zeros_like(unsure)
        mean, least = q_posterior_mean_variance(unsure.sqrt(), zero, bar, before)
        after = bar.new_tensor(bars[place - 1]) if float(before) == 1 and place else None
        ends = [learned_variance(end + zero, bar, before, after).log() for end in (0.0, 1.0)]
        share = ((least + mean.square()).log() - ends[0]) / (ends[1] - ends[0])
        return Estimate(denoise(x, bar), share.nan_to_num(0, 0, 0).expand_as(x))

    return estimate


def total(denoise: bound.Denoise, x: Tensor, levels: Tensor) -> float:
    """The bound in nats per element; the decoder's density is that of a continuous x."""
    generator = torch.Generator().manual_seed(3)

    def noise(_: int) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64)

    return sum(float(term.mean()) for term in bound.bound_terms(denoise, x, levels, noise))


@pytest.mark.parametrize("steps", [2, 6, 50])
def test_with_the_best_variances_the_bound_of_any_chain_is_tight(steps: int) -> None:
    """What is left is how far x_T is from N(0, I): the reverse of a Gaussian chain is Gaussian."""
    variances, x = ar1_spectrum()
    surprise = 0.5 * (x.square() / variances + torch.log(2 * math.pi * variances))
    fixed = bound.gaussian_denoiser(torch.zeros(()).double(), variances)
    levels = log_snr_levels(steps, 8, -6)
    learned = total(with_best_variances(fixed, variances, levels), x, levels)
    data = terminal.Data(0.0, variances)
    left = float(terminal.marginal_kl(data, levels[0]))
    assert learned == pytest.approx(float(surprise.mean()) + left, abs=0.02)
    # Never worse than fixed ones, and far better where steps are few.
    lost = total(fixed, x, levels) - learned
    assert lost > {2: 1.0, 6: 0.2, 50: 0.01}[steps]


def test_with_the_best_variances_few_steps_have_the_right_covariance() -> None:
    """With the posterior's variance three steps lose a good part of it."""
    variances = torch.tensor([1.0, 0.3, 0.02], dtype=torch.float64)
    exact = bound.gaussian_denoiser(torch.zeros(()), variances)
    levels = torch.tensor([1e-9, 0.4, 0.9999], dtype=torch.float64)
    best = with_best_variances(exact, variances, levels)
    noises = torch.randn(3, 200_000, 3, generator=torch.Generator().manual_seed(0)).double()
    found, fixed = (
        sample(ancestral, one, noises[0], levels, noise=lambda i: noises[i + 1]).var(0)
        for one in (best, exact)
    )
    torch.testing.assert_close(found, variances, rtol=0.02, atol=2e-4)
    assert float(fixed[0]) < 0.8 and float(fixed[1]) < 0.27


def test_a_chain_of_one_step_has_one_variance() -> None:
    variances, x = ar1_spectrum()
    fixed = bound.gaussian_denoiser(torch.zeros(()).double(), variances)
    levels = torch.tensor([0.9]).double()
    best = with_best_variances(fixed, variances, levels)
    assert total(best, x, levels) == pytest.approx(total(fixed, x, levels))


@pytest.mark.parametrize("levels", [log_snr_levels(8, 6, -4), torch.tensor([0.3]).double()])
def test_a_share_is_of_the_logarithm_between_the_two_variances(levels: Tensor) -> None:
    zero = torch.zeros(3)
    for share, steps in ((0.0, zero), (1.0, zero)):
        estimate = Estimate(zero + 0.1, steps + share)
        terms = list(bound.bound_terms(lambda *_, e=estimate: e, zero, levels, lambda t: zero))
        bars = levels.flip(0)
        for t in range(2, len(bars) + 1):
            beta = 1 - bars[t - 1] / bars[t - 2]
            posterior = beta * (1 - bars[t - 2]) / (1 - bars[t - 1])
            shift = bars[t - 2].sqrt() * beta / (1 - bars[t - 1]) * 0.1
            other = beta if share else posterior
            expected = normal_kl(shift, posterior, torch.zeros(()).double(), other)
            torch.testing.assert_close(terms[t - 1], expected.float().expand(3))
        least = 1 - bars[0]
        if len(bars) > 1 and not share:  # that of the step before
            least = (1 - bars[1] / bars[0]) * (1 - bars[0]) / (1 - bars[1])
        expected = normal_nll(torch.zeros(()).double(), torch.tensor(0.1).double(), least)
        torch.testing.assert_close(terms[0], expected.float().expand(3))
