"""The adversarial loss: what few steps generate is to pass for recordings before discriminators.

A finish of the unrolled stage. Distances of spectra see whether the energy of a frame is right, and
hardly whether all bins of a pulse start together; discriminators learn to see it. Crops and what is
generated of them are aligned to the sample where the prior has the recording's pulses, so that the
discriminators' features can be compared one by one (feature matching).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn

from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.train.config import LossConfig
from diffwave.train.discriminators import (
    Discriminator,
    Judgement,
    PeriodDiscriminator,
    SpectrogramDiscriminator,
    of_equal_level,
)
from diffwave.train.losses import UnrollingLoss, drawn


class Adversary(nn.Module, ABC):
    """What owns discriminators: a loss, or another module of the objective.

    For every step of a run the learner calls :meth:`begin_step`, computes the objective, and then,
    if `begun`, calls :meth:`discriminator_loss` with the same batch. In steps that are `alone` the
    model waits.
    """

    start: float = 0.0
    """Share of the run after which the discriminators come in."""
    warmup_steps: int = 0
    """Steps from there on in which they learn alone."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        """That they have learnt in."""
        self.begun = False

    def begin_step(self, share: float) -> None:
        """Get ready for a step, of a run of which `share` is done."""
        self.begun = self.steps > 0 or share >= self.start
        self.steps += self.begun

    @property
    def alone(self) -> bool:
        """Whether the model waits in this step."""
        return self.begun and self.steps <= self.warmup_steps

    @property
    def waited(self) -> int:
        """Steps before this one in which the model has waited."""
        return max(0, min(self.steps - 1, self.warmup_steps))

    @abstractmethod
    def discriminator_loss(self, batch: Batch) -> Tensor:
        """What the discriminators minimise, []; passes no gradients on to the model."""

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the parameters."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.steps = int(state["steps"])


class AdversarialLoss(UnrollingLoss, Adversary):
    """Least-squares GAN (Mao et al. 2017, arXiv 1611.04076) and feature matching.

    A step looks at one sample of every mel, after its first step and, if it is unrolled as far, the
    others, with a few of the discriminators (`AdversarialConfig.pick`). Feature matching (Larsen et
    al. 2016, arXiv 1512.09300) is relative: the mean distance of the features of a layer over their
    mean magnitude, so that layers count alike (EnCodec, arXiv 2210.13438).
    """

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.settings = config.adversarial
        self.start, self.warmup_steps = self.settings.start, self.settings.warmup_steps
        period = [
            PeriodDiscriminator(p, self.settings.period_channels) for p in self.settings.periods
        ]
        spectral = [
            SpectrogramDiscriminator(n_fft, self.settings.spectral_channels)
            for n_fft in self.settings.fft_sizes
        ]
        self.discriminators = nn.ModuleList([*period, *spectral])
        self.needs = max([*self.settings.periods, *self.settings.fft_sizes])
        self.judged: tuple[Tensor, ...] = ()
        """The recordings, and what was generated, of the last batch."""
        others = (config.denoising, config.unrolled, *config.weights.values())
        if self.start and sum(map(bool, others)) < 2:
            raise InputError(
                "The setting loss.adversarial.start must be 0 where no other loss trains the "
                "network before."
            )

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B], 0 in steps in which the discriminators have no say."""
        self.judged = ()
        if not self.begun:
            return batch.wave.new_zeros(len(batch.wave))
        real, estimates = self.unroll(model, denoiser, batch)
        real, *generated = of_equal_level(real, *(wave[: len(real)] for wave in estimates))
        self.judged = (real, *(wave.detach() for wave in generated))
        loss = batch.wave.new_zeros(len(batch.wave))
        if self.alone:
            return loss
        chosen = self.chosen(batch.common)
        for discriminator in chosen:
            with torch.no_grad():
                features = self._judge(discriminator, real).features
            for wave in generated:
                found = self._judge(discriminator, wave)
                apart = relative_distance(features, found.features)
                loss = loss + (1 - found.scores).square().mean(1)
                loss = loss + self.settings.feature_matching * apart
        return loss / (len(chosen) * len(generated))

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """Mean over the chosen discriminators, []; 0.5 of those that cannot tell."""
        chosen, loss = self.chosen(batch.common), batch.wave.new_zeros(())
        for discriminator in chosen:
            scores = self._judge(discriminator, torch.cat(self.judged)).scores
            real, generated = scores.tensor_split([len(batch.wave)])
            loss = loss + (1 - real).square().mean() + generated.square().mean()
        return loss / len(chosen)

    def chosen(self, common: float) -> list[Discriminator]:
        """The discriminators of a step."""
        count = self.settings.pick or len(self.discriminators)
        order = drawn(common, "discriminators").permutation(len(self.discriminators))
        return [cast(Discriminator, self.discriminators[i]) for i in sorted(order[:count])]

    def _judge(self, discriminator: Discriminator, wave: Tensor) -> Judgement:
        # bfloat16 alone: float16 would need a loss scale of the discriminators' own.
        less = self.precision == torch.bfloat16
        with torch.autocast(wave.device.type, torch.bfloat16, enabled=less):
            judgement: Judgement = discriminator(wave)
        return judgement._replace(scores=judgement.scores.float())


def relative_distance(features: list[Tensor], others: list[Tensor]) -> Tensor:
    """Mean over layers of the mean distance of features over the mean magnitude of the first, [B].

    Args:
        features, others: of each layer [B, ..], as of :class:`Judgement`.
    """
    distances = [
        (one.float() - other.float()).abs().flatten(1).mean(1)
        / (one.float().abs().flatten(1).mean(1) + 1e-4)
        for one, other in zip(features, others, strict=True)
    ]
    return torch.stack(distances).mean(0)
