"""The variational bound of a denoiser, term by term (Ho et al. 2020, arXiv 2006.11239, eq. 5).

    -log p(x_0) <= L_T + sum over t = T .. 2 of L_{t-1} + L_0

    L_T      KL(q(x_T | x_0) || N(0, I))                          prior: is the chain long enough?
    L_{t-1}  KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))        steps: how well is it reversed?
    L_0      -log p(x_0 | x_1), Gaussian of variance beta_1       decoder

p has the posterior's variance, beta_1 at the last step: the parametrisation of DiffWave (Kong et
al. 2021, arXiv 2009.09761, eq. 5); or the variance that the denoiser gives. All terms but L_T are
estimated, with noise of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.gaussian import (
    Estimate,
    learned_variance,
    normal_nll,
    prior_kl,
    q_posterior_mean_variance,
    q_sample,
    step_kl,
)
from diffwave.chain.samplers import Denoise, as_estimate
from diffwave.chain.schedule import snr

Decoder = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_0, mean, variance) -> -log p(x_0 | x_1) per element, nats."""


def bound_terms(
    denoise: Denoise,
    x_0: Tensor,
    levels: Tensor,
    noise: Callable[[int], Tensor],
    decoder: Decoder = normal_nll,
) -> Iterator[Tensor]:
    """The terms L_0, L_1 .. L_{T-1}, L_T of one state, per element, in nats.

    Args:
        denoise: `denoise(x_t, alpha_bar) -> x_0`, the estimate of the clean state, or an
            `Estimate` with the variances of the step.
        x_0: clean state, any shape.
        levels: alpha_bar of the chain as a sampler visits it, noisiest first, [T].
        noise: unit noise of step t = 1 .. T, of the shape of x_0.
        decoder: of what the last step decodes; that of a continuous x_0 by default.

    Yields:
        T + 1 tensors of the shape of x_0. The sum of all of them over all elements bounds
        -log p(x_0); the expectation is over the noise.

    Raises:
        InputError: when the levels are not increasing values in [0, 1).
    """
    bars = torch.as_tensor(levels, dtype=torch.float64, device="cpu").flip(0)
    if not bool(((bars >= 0) & (bars < 1)).all() and (bars.diff() < 0).all()):
        raise InputError("The levels of a chain must be alpha_bar values in [0, 1) that increase.")
    for t, bar in enumerate(bars, 1):
        predicted, share = as_estimate(denoise(q_sample(x_0, bar, noise(t)), bar))
        if t > 1:
            yield step_kl(x_0, predicted, bar, bars[t - 2], share)
            continue
        variance = (1 - bar).to(x_0)
        if share is not None:
            after = bars[1] if len(bars) > 1 else None
            variance = learned_variance(share, bar, torch.ones_like(bar), after)
        yield decoder(x_0, predicted, variance)
    yield prior_kl(x_0, bars[-1])


def gaussian_denoiser(mean: Tensor, variance: Tensor) -> Denoise:
    """The exact E[x_0 | x_t] of x_0 ~ N(mean, variance), element by element; both broadcast.

    In coordinates that decorrelate them this is the best denoiser of any Gaussian source.
    """

    def denoise(x: Tensor, alpha_bar: Tensor) -> Tensor:
        alpha = alpha_bar.sqrt().to(x)
        gain = alpha * variance / (alpha_bar.to(x) * variance + (1 - alpha_bar).to(x))
        return mean + gain * (x - alpha * mean)

    return denoise


def with_best_variances(denoise: Denoise, variance: Tensor, levels: Tensor) -> Denoise:
    """A denoiser of Gaussian data with the variance that each step of its reverse chain has.

    Nothing is left for the bound to lose but the prior term's share of it: with these variances the
    reverse chain is the forward one run backwards, however few steps it has, two at least.

    Args:
        denoise: the exact one, :func:`gaussian_denoiser`.
        variance: of x_0, element by element.
        levels: alpha_bar of the chain as a sampler visits it, noisiest first, [T].
    """
    bars = [*torch.as_tensor(levels, dtype=torch.float64, device="cpu").tolist(), 1.0]

    def estimate(x: Tensor, alpha_bar: Tensor) -> Estimate:
        place = bars.index(float(alpha_bar))
        before = alpha_bar.new_tensor(bars[place + 1])
        unsure = variance / (1 + snr(alpha_bar.to(x)) * variance)  # the variance of x_0 | x_t
        zero = torch.zeros_like(unsure)
        mean, least = q_posterior_mean_variance(unsure.sqrt(), zero, alpha_bar, before)
        after = alpha_bar.new_tensor(bars[place - 1]) if float(before) == 1 and place else None
        ends = [learned_variance(end + zero, alpha_bar, before, after).log() for end in (0.0, 1.0)]
        share = ((least + mean.square()).log() - ends[0]) / (ends[1] - ends[0])
        share = share.nan_to_num(0, 0, 0)  # a chain of one step has one variance
        return Estimate(denoise(x, alpha_bar), share.expand_as(x))

    return estimate
