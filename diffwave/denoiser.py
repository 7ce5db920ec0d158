"""The denoiser: D(x, level, cond) -> x_0, and the loss that trains it.

The only place that knows whether the network predicts v or eps, what it is given for a noise level,
and how its mel is normalised. Samplers and losses call it (the counterpart of EDM's `Precond` and
`Loss`, Karras et al. 2022, arXiv 2206.00364).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.base.schema import check_fields
from diffwave.chain import schedule
from diffwave.chain.gaussian import (
    Estimate,
    decoder_variance,
    normal_nll,
    q_sample,
    step_kl,
    v_of,
    x0_from_eps,
    x0_from_v,
)
from diffwave.chain.sampling import Sampling
from diffwave.mel.normalise import NormaliseConfig
from diffwave.networks import Network
from diffwave.spaces import Prior


@dataclass(frozen=True)
class DiffusionConfig:
    """The chain the network was trained on, and what it predicts."""

    prediction: Literal["v", "eps"] = "v"
    schedule: str = "angle"
    """"angle": continuous, the network is given u with alpha_bar = cos(pi u / 2)^2; or the name of
    a discrete schedule, of which the network is given the (fractional) step."""
    zero_terminal_snr: bool = False
    """Whether a discrete schedule was rescaled to end in pure noise."""
    variance: Literal["fixed", "learned"] = "fixed"
    """"fixed": that of the posterior; "learned": the network says where it lies between that and
    beta_t (Nichol and Dhariwal 2021, arXiv 2102.09672); of the waveform network."""

    def __post_init__(self) -> None:
        check_fields(self, "The diffusion's ")
        angles = self.schedule == "angle"
        if not angles:
            schedule.named_betas(self.schedule)
        for wrong, why in (
            (angles and self.prediction == "eps",
             "A chain in angles starts at pure noise, which needs prediction 'v'."),
            (angles and self.variance == "learned",
             "A chain in angles has no steps of its own, so no variances to learn; name a schedule "
             "in diffusion.schedule."),
            (angles and self.zero_terminal_snr,
             "A chain in angles ends in pure noise as it is."),
            (self.zero_terminal_snr and self.prediction == "eps",
             "A chain that ends in pure noise needs prediction 'v'."),
        ):  # fmt: skip
            if wrong:
                raise InputError(why)

    def alpha_bars(self) -> Tensor | None:
        """Levels of a discrete chain, [T], float64; None: every angle was trained."""
        if self.schedule == "angle":
            return None
        betas = schedule.named_betas(self.schedule)
        return schedule.alpha_bars(
            schedule.zero_terminal_snr(betas) if self.zero_terminal_snr else betas
        )


class Condition(NamedTuple):
    """What a mel means to the network."""

    mel: Tensor | None  # normalised, [B, n_mels, T]; None for an unconditional network
    prior: Prior | None
    projections: Any = None  # what `Network.condition` made of it, when it serves several steps


class Denoiser(nn.Module):
    """A network, and the chain that it was trained on."""

    def __init__(
        self,
        network: Network,
        diffusion: DiffusionConfig,
        normalise: NormaliseConfig,
        call: Callable[..., Tensor] | None = None,
    ) -> None:
        """`call` stands in for the network, with its arguments: compiled, or in less precision."""
        super().__init__()
        self.network, self.diffusion, self.normalise = network, diffusion, normalise
        self.trained_levels = diffusion.alpha_bars()
        self._call = call

    def condition(self, mel: Tensor, prior: Prior | None = None, project: bool = True) -> Condition:
        """What the network is given for a mel [B, n_mels, T] of the model's convention.

        Args:
            mel: not used by an unconditional network.
            prior: where the chain ends for this mel.
            project: compute at once what all steps share; costs memory while gradients flow.
        """
        given = self.normalise(mel) if self.network.config.n_mels else None
        return Condition(given, prior, self.network.condition(given) if project else None)

    def forward(self, x: Tensor, alpha_bar: Tensor, cond: Condition) -> Tensor:
        """Estimate of x_0, of the shape of x.

        Args:
            x: noisy state, [B, ...].
            alpha_bar: its noise level, [] or one for every example, [B].
            cond: :meth:`condition` of its mel.
        """
        return self.estimate(x, alpha_bar, cond).x_0  # type: ignore[no-any-return]

    def estimate(self, x: Tensor, alpha_bar: Tensor, cond: Condition) -> Estimate:
        """The same with the variance of the step, where that is learned."""
        prediction, share = self._predict(x, alpha_bar, cond)
        return Estimate(self._x_0(x, prediction, _beside(alpha_bar, x)), share)

    def loss(
        self,
        x_0: Tensor,
        noise: Tensor,
        alpha_bar: Tensor,
        cond: Condition,
        bound_weight: float = 0.0,
    ) -> Tensor:
        """Squared error of the prediction for a state with noise added, of the shape of x_0.

        With learned variances the hybrid loss (Nichol and Dhariwal 2021, eq. 16): the term of the
        bound is added, through which nothing but the variance learns.

        Args:
            x_0: clean state, [B, ...].
            noise: of unit variance, like x_0.
            alpha_bar: level of every example, [B]; with learned variances one that was trained.
            cond: :meth:`condition` of its mel.
            bound_weight: of the bound, which is estimated by the number of steps times a term.
        """
        level = _beside(alpha_bar, x_0)
        x_t = q_sample(x_0, level, noise)
        prediction, share = self._predict(x_t, alpha_bar, cond)
        v = self.diffusion.prediction == "v"
        error = (prediction - (v_of(x_0, noise, level) if v else noise)).square()
        if share is None or not bound_weight or self.trained_levels is None:
            return error
        estimate = self._x_0(x_t, prediction.detach(), level)
        terms = self._terms(x_0, estimate, share, alpha_bar)
        return error + bound_weight * len(self.trained_levels) * terms

    def _terms(self, x_0: Tensor, estimate: Tensor, share: Tensor, alpha_bar: Tensor) -> Tensor:
        """The bound's term of every example's step, per element, nats, of the shape of x_0."""
        trained, terms = self.trained_levels, []
        assert trained is not None
        for i, t in enumerate(self.time(alpha_bar).round().long().expand(len(x_0)).tolist()):
            if t:
                term = step_kl(x_0[i], estimate[i], trained[t], trained[t - 1], share[i])
            else:
                term = normal_nll(x_0[i], estimate[i], decoder_variance(share[i], trained))
            terms.append(term)
        return torch.stack(terms)

    def _x_0(self, x: Tensor, prediction: Tensor, level: Tensor) -> Tensor:
        convert = x0_from_v if self.diffusion.prediction == "v" else x0_from_eps
        return convert(x, prediction, level)  # type: ignore[no-any-return]

    def _predict(
        self, x: Tensor, alpha_bar: Tensor, cond: Condition
    ) -> tuple[Tensor, Tensor | None]:
        """What the network says, and the share of a learned variance, both of the shape of x."""
        t = self.time(alpha_bar).to(x.device).expand(len(x)).contiguous()
        call, x = self._call or self.network, x.contiguous()
        if cond.projections is None:
            found = call(x, t, cond.mel, cond.prior).float()
        else:
            found = call(x, t, prior=cond.prior, cond=cond.projections).float()
        if self.diffusion.variance == "fixed":
            return found, None
        return found[:, 0], (found[:, 1] + 1) / 2  # at first in the middle

    def time(self, alpha_bar: Tensor) -> Tensor:
        """A noise level as the network counts it, float32, same shape."""
        if self.trained_levels is None:
            return schedule.angle(alpha_bar).float()
        return schedule.align(alpha_bar, self.trained_levels).float()

    def levels(self, sampling: Sampling) -> Tensor:
        """alpha_bar that a chain of `sampling.steps` network calls visits, noisiest first, [S].

        Its own levels if it has them; the whole trained chain if the count is its length; else
        equal steps in angle over what was trained.
        """
        if sampling.levels:
            return schedule.alpha_bar_of_angle(sampling.levels)
        if self.trained_levels is None:
            return schedule.uniform_angles(sampling.steps)
        if sampling.steps == len(self.trained_levels):
            return self.trained_levels.flip(0)
        first, last = schedule.angle(self.trained_levels[[-1, 0]]).tolist()
        return schedule.alpha_bar_of_angle(torch.linspace(first, last, sampling.steps))

    def levels_at(self, place: Tensor) -> Tensor:
        """Noise levels alpha_bar [B] of places in [0, 1): angle, or step, is proportional."""
        place, trained = place.double().cpu(), self.trained_levels
        if trained is None:
            return schedule.alpha_bar_of_angle(place.clamp_min(1e-3))
        return trained[(place * len(trained)).long().clamp_max(len(trained) - 1)]


def _beside(alpha_bar: Tensor, x: Tensor) -> Tensor:
    """A level for every example [B], of a shape that broadcasts against x [B, ...]."""
    return alpha_bar.view(-1, *[1] * (x.ndim - 1)) if alpha_bar.ndim else alpha_bar
