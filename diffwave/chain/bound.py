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

from diffwave.chain.gaussian import decoder_variance, normal_nll, prior_kl, q_sample, step_kl
from diffwave.chain.samplers import Denoise, as_estimate, checked_levels

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
    bars = checked_levels(torch.as_tensor(levels)).flip(0)
    for t, bar in enumerate(bars, 1):
        predicted, share = as_estimate(denoise(q_sample(x_0, bar, noise(t)), bar))
        if t > 1:
            yield step_kl(x_0, predicted, bar, bars[t - 2], share)
        else:
            yield decoder(x_0, predicted, decoder_variance(share, bars).to(x_0))
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
