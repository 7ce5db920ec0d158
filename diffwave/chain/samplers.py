"""Samplers: ways to walk a trained chain backwards. One loop over the levels, and a step for each.

A step goes from the state x at levels[i], whose x_0 the network has estimated, to levels[i + 1].
States are PyTorch's or NumPy's. To add a sampler, write its step and name it in `SAMPLERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffwave.base.arrays import Array, float64, is_tensor, namespace
from diffwave.base.errors import InputError
from diffwave.chain.gaussian import (
    Estimate,
    eps_from_x0,
    learned_variance,
    q_posterior_mean_variance,
    q_sample,
)

Denoise = Callable[[Array, Array], Array | Estimate]
Noise = Callable[[int], Array]
Callback = Callable[[int, Array, Array, Array], None]


class State(NamedTuple):
    """A level of the chain, and all that a step from there may use."""

    x: Array  # the state at levels[i]
    x_0: Array  # the network's estimate of the clean state
    levels: Array  # alpha_bar of the whole chain, noisiest first, [S]
    i: int
    noise: Noise  # `noise(i)` draws the unit noise of step i, for steps that add any
    before: Array | None = None  # the estimate of x_0 at levels[i - 1]; None at first
    share: Array | None = None  # where a learned variance lies, as of `Estimate`

    @property
    def ends(self) -> tuple[Array, Array]:
        """alpha_bar where the step begins and where it ends."""
        return self.levels[self.i], self.levels[self.i + 1]


Step = Callable[[State], Array]  # from the state at a level to x at the next


def ancestral(at: State) -> Array:
    """Draw x_{t-1} from q(x_{t-1} | x_t, x_0 estimate): algorithm 2 of DDPM and DiffWave.

    With a learned variance that is what the noise has.
    """
    mean, variance = q_posterior_mean_variance(at.x_0, at.x, *at.ends)
    variance = float(variance) if at.share is None else learned_variance(at.share, *at.ends)
    return mean + variance**0.5 * at.noise(at.i)


def ddim(at: State) -> Array:
    """DDIM, eta = 0 (Song et al. 2021, arXiv 2010.02502, eq. 12)."""
    bar, bar_next = at.ends
    return q_sample(at.x_0, bar_next, eps_from_x0(at.x, at.x_0, bar))


def stochastic_ddim(eta: float) -> Step:
    """DDIM with a share of fresh noise (Song et al. 2021, eqs. 12 and 16).

    The deviation is eta times the posterior's: eta = 0 is :func:`ddim`, eta = 1 :func:`ancestral`.
    """

    def step(at: State) -> Array:
        bar, bar_next = at.ends
        _, variance = q_posterior_mean_variance(at.x_0, at.x, bar, bar_next)
        fresh = eta**2 * float(variance) / (1 - float(bar_next))
        eps = q_sample(eps_from_x0(at.x, at.x_0, bar), 1 - fresh, at.noise(at.i))
        return q_sample(at.x_0, bar_next, eps)

    return step


def dpm_solver_2m(at: State) -> Array:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    With lambda = log(alpha / sigma) and h the step in lambda, the estimate is extrapolated by
    h / (2 h_before) of its last change. Where a step starts from pure noise (lambda = -infinity)
    there is no finite h, and the step, as well as the one after it, is of first order.
    """
    bar, i, x_0 = np.asarray(at.levels), at.i, at.x_0
    with np.errstate(divide="ignore"):
        steps = np.diff(0.5 * np.log(bar / (1 - bar))).tolist()
    h = steps[i]
    if at.before is not None and math.isfinite(steps[i - 1]):
        x_0 = x_0 + h / (2 * steps[i - 1]) * (x_0 - at.before)
    alpha, sigma = np.sqrt(bar).tolist(), np.sqrt(1 - bar).tolist()
    return sigma[i + 1] / sigma[i] * at.x - alpha[i + 1] * math.expm1(-h) * x_0


SAMPLERS: dict[str, Step] = {
    "ancestral": ancestral,
    "ddim": ddim,
    **{f"ddim-{eta:g}": stochastic_ddim(eta) for eta in (0.25, 0.5, 0.75)},
    "dpm-solver++": dpm_solver_2m,
}


def sample(
    step: Step,
    denoise: Denoise,
    x: Array,
    levels: Array,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Array:
    """Walk a chain backwards; S levels cost S network calls.

    Args:
        step: one of `SAMPLERS`.
        denoise: `denoise(x, alpha_bar) -> x_0`, the network's estimate of the clean state, or an
            `Estimate` with a learned variance.
        x: state at levels[0], any shape.
        levels: alpha_bar to visit, noisiest first: rising values in [0, 1), [S].
        noise: as of :class:`State`; of the shape of x, from torch's generator when None.
        callback: `callback(i, alpha_bar, x, x_0)` is called at every level.

    Returns:
        the estimate at the last level: the mean of the last posterior, whose alpha_bar is 1.

    Raises:
        InputError: for levels that no chain can visit in that order.
    """
    levels = checked_levels(levels)
    if is_tensor(x) and not is_tensor(levels):
        levels = namespace(x).from_numpy(levels)
    draw = noise or (lambda i: namespace(x).randn_like(x))
    before: Array | None = None
    for i, alpha_bar in enumerate(levels):
        x_0, share = as_estimate(denoise(x, alpha_bar))
        if callback is not None:
            callback(i, alpha_bar, x, x_0)
        if i + 1 < len(levels):
            x, before = step(State(x, x_0, levels, i, draw, before, share)), x_0
    return x_0


def as_estimate(found: Array | Estimate) -> Estimate:
    """What a denoiser returned, with the share of a learned variance if it has one."""
    return found if isinstance(found, Estimate) else Estimate(found)


def checked_levels(levels: Array) -> Array:
    """The alpha_bar that a chain visits, in float64; InputError unless they rise within [0, 1)."""
    levels = float64(levels)
    if levels.ndim != 1 or not len(levels):
        raise InputError("A chain needs at least one noise level.")
    if not bool(((levels >= 0) & (levels < 1)).all() and (levels[1:] > levels[:-1]).all()):
        raise InputError("Noise levels must be alpha_bar values in [0, 1) that increase.")
    return levels
