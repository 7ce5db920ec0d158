"""The Gaussian chain: forward process, posterior, reverse step, variational bound.

Pure functions of tensors (notation in :mod:`diffwave.chain.schedule`), and of NumPy's arrays as far
as samplers need them. Every level is given by its alpha_bar, a float64 scalar or a tensor that
broadcasts against the state; arithmetic on levels is float64 and the result has the state's dtype.
References are to Ho et al. 2020 (arXiv 2006.11239).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from diffwave.base.arrays import Array, float64, like, namespace

if TYPE_CHECKING:
    from torch import Tensor


def q_mean_variance(x_0: Array, alpha_bar: Array) -> tuple[Array, Array]:
    """Mean and variance of q(x_t | x_0) = N(sqrt(alpha_bar) x_0, 1 - alpha_bar) (eq. 4)."""
    alpha_bar = float64(alpha_bar)
    return like(alpha_bar**0.5, x_0) * x_0, like(1 - alpha_bar, x_0)


def q_sample(x_0: Array, alpha_bar: Array, eps: Array) -> Array:
    """x_t = alpha x_0 + sigma eps: any level of the chain in one step."""
    alpha, sigma = alpha_sigma(alpha_bar, x_0)
    return alpha * x_0 + sigma * eps


def q_step(x: Array, beta: Array, eps: Array) -> Array:
    """One step of the chain, x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps (eq. 2)."""
    return q_sample(x, 1 - float64(beta), eps)


def q_posterior_mean_variance(
    x_0: Array, x_t: Array, alpha_bar: Array, alpha_bar_before: Array
) -> tuple[Array, Array]:
    """Mean and variance of q(x_{t-1} | x_t, x_0) (eqs. 6 and 7).

    mean = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) x_0
         + sqrt(1 - beta_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) x_t
    variance = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)

    The two levels need not be neighbours in the trained chain: beta_t = 1 - alpha_bar_t /
    alpha_bar_{t-1} is that of the step between them. alpha_bar_{t-1} = 1 gives (x_0, 0).
    """
    bar, before = float64(alpha_bar), float64(alpha_bar_before)
    beta = 1 - bar / before
    of_x_0 = before**0.5 * beta / (1 - bar)
    of_x_t = (1 - beta) ** 0.5 * (1 - before) / (1 - bar)
    variance = like(beta * (1 - before) / (1 - bar), x_t)
    return like(of_x_0, x_t) * x_0 + like(of_x_t, x_t) * x_t, variance


class Estimate(NamedTuple):
    """What a network says about a state."""

    x_0: Array  # its estimate of the clean state
    share: Array | None = None
    """Where the variance of a step lies between the posterior's, 0, and beta_t, 1, in the
    logarithm, and beyond; None: it is the posterior's."""


def learned_variance(
    share: Array, alpha_bar: Array, alpha_bar_before: Array, alpha_bar_next: Array | None = None
) -> Array:
    """Variance of a reverse step, beta_t^share times the posterior's variance^(1 - share).

    Source: Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 15. Of Gaussian data of variance up to 1
    the best variance lies between the two; beyond 0 .. 1 it is extrapolated.

    Args:
        share: any shape.
        alpha_bar, alpha_bar_before: of the step.
        alpha_bar_next: of the last step, whose posterior has no variance, alpha_bar_2 of the step
            before, whose posterior's stands in; without it the decoder's variance is beta_1.

    Returns:
        the variance, of the shape of the share; beta_t where the posterior has none.
    """
    bar, before = float64(alpha_bar), float64(alpha_bar_before)
    beta = 1 - bar / before
    least = beta * (1 - before) / (1 - bar)
    if float(before) == 1:
        least = beta
        if alpha_bar_next is not None:
            least = learned_variance(float64(0.0 * bar), alpha_bar_next, bar)
    log = namespace(beta).log
    return namespace(share).exp(
        share * like(log(beta), share) + (1 - share) * like(log(least), share)
    )


def decoder_variance(share: Array | None, alpha_bars: Array) -> Array:
    """Variance of the chain's last step, which decodes x_0 from x_1: beta_1 unless it is learned.

    alpha_bars: of the chain, the least noisy one first, [T].
    """
    first = alpha_bars[0]
    if share is None:
        return 1 - first
    after = alpha_bars[1] if len(alpha_bars) > 1 else None
    return learned_variance(share, first, namespace(first).ones_like(first), after)


def p_mean_variance(
    eps: Array, x_t: Array, alpha_bar: Array, alpha_bar_before: Array
) -> tuple[Array, Array]:
    """Mean and variance of the reverse step p(x_{t-1} | x_t) given the network's eps (eq. 11).

    The posterior at the x_0 that the predicted eps implies; its variance is the posterior's.
    """
    x_0 = x0_from_eps(x_t, eps, alpha_bar)
    return q_posterior_mean_variance(x_0, x_t, alpha_bar, alpha_bar_before)


# (x_t, v) is (x_0, eps) rotated; v as in Salimans and Ho 2022, arXiv 2202.00512, section 4.


def x0_from_eps(x_t: Array, eps: Array, alpha_bar: Array) -> Array:
    """x_0 = (x_t - sigma eps) / alpha."""
    alpha, sigma = alpha_sigma(alpha_bar, x_t)
    return (x_t - sigma * eps) / alpha


def eps_from_x0(x_t: Array, x_0: Array, alpha_bar: Array) -> Array:
    """eps = (x_t - alpha x_0) / sigma."""
    alpha, sigma = alpha_sigma(alpha_bar, x_t)
    return (x_t - alpha * x_0) / sigma


def v_of(x_0: Array, eps: Array, alpha_bar: Array) -> Array:
    """v = alpha eps - sigma x_0."""
    alpha, sigma = alpha_sigma(alpha_bar, x_0)
    return alpha * eps - sigma * x_0


def x0_from_v(x_t: Array, v: Array, alpha_bar: Array) -> Array:
    """x_0 = alpha x_t - sigma v; finite at every level, pure noise included."""
    alpha, sigma = alpha_sigma(alpha_bar, x_t)
    return alpha * x_t - sigma * v


def eps_from_v(x_t: Array, v: Array, alpha_bar: Array) -> Array:
    """eps = sigma x_t + alpha v."""
    alpha, sigma = alpha_sigma(alpha_bar, x_t)
    return sigma * x_t + alpha * v


def normal_kl(mean_1: Tensor, variance_1: Tensor, mean_2: Tensor, variance_2: Tensor) -> Tensor:
    """KL(N(mean_1, variance_1) || N(mean_2, variance_2)) per element, in nats."""
    xp, ratio = namespace(mean_1), variance_1 / variance_2
    return 0.5 * (ratio - 1 - xp.log(ratio) + (mean_1 - mean_2) ** 2 / variance_2)  # type: ignore[no-any-return]


def prior_kl(x_0: Tensor, alpha_bar: Tensor) -> Tensor:
    """KL(q(x_T | x_0) || N(0, I)) per element, nats: the bound's L_T (eq. 5).

    Sampling from N(mean, deviation^2) needs no formula of its own: x_0 is the state (x - mean) /
    deviation, and a KL divergence does not change when both of its distributions are mapped alike.
    """
    mean, variance = q_mean_variance(x_0, alpha_bar)
    xp = namespace(mean)
    return normal_kl(mean, variance, xp.zeros_like(mean), xp.ones_like(variance))


def step_kl(
    x_0: Tensor,
    predicted: Tensor,
    alpha_bar: Tensor,
    alpha_bar_before: Tensor,
    share: Tensor | None = None,
) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) per element, nats: the bound's L_{t-1} (eq. 5).

    Both have the posterior's variance, and p has its mean at the predicted x_0, so x_t drops out:
    the posterior's mean of the difference is what is left. Equal to half of SNR(t - 1) - SNR(t)
    times |x_0 - predicted|^2 (Kingma et al. 2021, arXiv 2107.00630, eq. 13). With a share p has
    the :func:`learned_variance`.
    """
    error = x_0 - predicted
    zero = namespace(error).zeros_like(error)
    mean, variance = q_posterior_mean_variance(error, zero, alpha_bar, alpha_bar_before)
    theirs = variance if share is None else learned_variance(share, alpha_bar, alpha_bar_before)
    return normal_kl(mean, variance, zero, theirs)


def normal_nll(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """-log N(x; mean, variance) per element, nats."""
    log = namespace(variance).log
    return 0.5 * ((x - mean) ** 2 / variance + log(2 * math.pi * variance))  # type: ignore[no-any-return]


def discretised_nll(x: Tensor, mean: Tensor, variance: Tensor, width: float) -> Tensor:
    """-log of the mass that N(mean, variance) has within width / 2 of x, per element, nats.

    The decoder of integer data (Ho et al. 2020, eq. 13), in float64: x is a whole multiple of
    `width` from -1 to 1 - width, and the outermost values have what lies beyond them as well.
    """
    import torch  # here: what samplers need does without

    x, mean, deviation = x.double(), mean.double(), variance.double().sqrt()
    above = torch.where(x > 1 - 1.5 * width, math.inf, (x - mean + width / 2) / deviation)
    below = torch.where(x < -1 + width / 2, -math.inf, (x - mean - width / 2) / deviation)
    # In the lower tail, where the logarithm of the distribution function is precise.
    upper = above + below > 0
    above, below = torch.where(upper, -below, above), torch.where(upper, -above, below)
    log_above, log_below = torch.special.log_ndtr(above), torch.special.log_ndtr(below)
    return -log_above - torch.log(-torch.expm1(log_below - log_above))


def alpha_sigma(alpha_bar: Array, x: Array) -> tuple[Array, Array]:
    """alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar), in the type of x."""
    bar = float64(alpha_bar)
    return like(bar**0.5, x), like((1 - bar) ** 0.5, x)
