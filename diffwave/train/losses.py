"""What is minimised: a registry of loss terms, and the two that train the network.

A term is a class of :class:`Loss`; its name in :data:`LOSSES` is its weight's in the settings. It
may hold networks of its own (a teacher, a discriminator).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from diffwave.chain import schedule
from diffwave.chain.samplers import ddim, sample
from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.spaces.source import Excitation
from diffwave.train.config import LossConfig
from diffwave.train.spectral_distance import SpectralDistance


class Loss(nn.Module, ABC):
    """A term of the objective: ``loss(model, denoiser, batch) -> [B]``.

    `model` has the space, the frontend and the enhancer; `denoiser` is the model's, perhaps
    compiled or in less precision.
    """

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        """Takes from the model what is fixed, but does not keep it: its weights are not a loss's.

        Raises:
            InputError: for a model that this loss cannot train.
        """
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss of every example, [B]."""


@torch.no_grad()
def mel_of(model: DiffusionModel, wave: Tensor, mel: Tensor | None) -> Tensor:
    """What the network is given: the crop's own mel, or the predicted `mel` of it, enhanced."""
    return model.space.mel_of_crop(wave) if mel is None else model.enhance(mel)


class DenoisingLoss(Loss):
    """Weighted squared error of the prediction, in the state's own coordinates.

    In the spectral space the state is whitened, which weighs the error by the inverse of the
    expected energy of its bin; a weight over frequency then follows the ear (`LossConfig`).
    """

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.weights = model.space.loss_weights(config.bin_weights)

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B], every example at its own noise level."""
        mel = mel_of(model, batch.wave, batch.mel)
        return self.at(
            model,
            denoiser,
            batch.wave,
            batch.white[:, 0],
            denoiser.levels_at(batch.place),
            mel,
            batch.excitation,
        )

    def at(
        self,
        model: DiffusionModel,
        denoiser: Denoiser,
        wave: Tensor,
        white: Tensor,
        alpha_bar: Tensor,
        mel: Tensor,
        excitation: Excitation | None = None,
    ) -> Tensor:
        """Loss of every example at a given noise level, [B].

        Args:
            model, denoiser: as of any loss.
            wave: samples with their context, [B, space.context(T)].
            white: unit white noise of that shape.
            alpha_bar: noise level of every example, [B].
            mel: [B, n_mels, T].
            excitation: of a model with a source.
        """
        with torch.no_grad():
            prior = model.space.prior(mel, excitation)
            x_0, noise = model.space.encode(wave, mel, prior), model.space.noise(white)
        cond = denoiser.condition(mel, prior, project=False)
        # In the unit of the envelope: where pulses leave little to noise, little can be wrong.
        error = denoiser.loss(x_0, noise, alpha_bar, cond)
        error = error * (prior.deviation / prior.envelope).square()
        return model.space.mean_error(error, self.weights, self.config.edge_frames)


def _twice(excitation: Excitation | None) -> Excitation | None:
    return excitation and Excitation(*(x.repeat(2, *[1] * (x.ndim - 1)) for x in excitation))


class UnrolledLoss(Loss):
    """Energy distance between recordings and what the whole sampler makes of their mels.

    The sampler runs from pure noise with its few steps, with gradients, twice from different
    noise: y and y'. With a distance d of spectrograms the loss is

        d(x, y) / 2 + d(x, y') / 2 - repulsion * d(y, y') / 2.

    With repulsion 1 this is the generalised energy distance, a proper scoring rule: minimal only
    when y is distributed as the recordings are (Gritsenko et al. 2020, arXiv 2008.01160), with no
    adversary to balance. With 0 it pulls every sample to the median spectrogram.

    The estimates of x_0 on the way are judged as well (`LossConfig.unrolled_each`): each is what
    the sampler would return if it had fewer steps.
    """

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.distance = SpectralDistance(model.config.mel.sample_rate, config.bin_weights)
        self.n_iter = min(config.unrolled_n_iter, model.config.sampling.most_iterations)

    def levels(self, place: float) -> Tensor:
        """alpha_bar of the sampler's steps; place in [0, 1) moves all angles but the first."""
        shift = self.config.unrolled_jitter * (2 * place - 1)
        first, *others = self.config.unrolled_angles
        return schedule.alpha_bar_of_angle([first, *(u + shift for u in others)])

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B], at the noise levels of the batch.

        Raises:
            InputError: when the crops are too short for the longest spectra.
        """
        self.distance.to(batch.wave.device)
        space, white = model.space, batch.white
        with torch.no_grad():
            twice = mel_of(model, batch.wave, batch.mel).repeat(2, 1, 1)
            prior = space.prior(twice, _twice(batch.excitation))
            noise = space.noise(torch.cat((white[:, 0], white[:, 1])))
        cond = denoiser.condition(twice, prior, project=False)
        estimates: list[Tensor] = []
        sample(
            ddim,
            lambda x, alpha_bar: denoiser(x, alpha_bar, cond),
            noise,
            self.levels(batch.common),
            callback=lambda i, level, x, x_0: estimates.append(x_0),
        )
        weights = [self.config.unrolled_each] * (len(estimates) - 1) + [1.0]
        losses = [
            weight * self._judge(model, space.decode(x_0, twice, self.n_iter, prior), batch.wave)
            for weight, x_0 in zip(weights, estimates, strict=True)
            if weight
        ]
        return torch.stack(losses).sum(0) / sum(weights)

    def _judge(self, model: DiffusionModel, generated: Tensor, wave: Tensor) -> Tensor:
        """Energy distance [B] of two samples for every example [2 B, L] from its recording."""
        # Only the inner frames, whose context is whole.
        edge = 2 * self.config.edge_frames * model.config.mel.hop_length
        inner = slice(edge, generated.shape[1] - edge)
        longest = self.distance.fft_sizes[0]
        if inner.stop - inner.start < longest:
            raise InputError(
                f"The unrolled loss needs {longest + 2 * edge} samples of a crop, but gets "
                f"{generated.shape[1]}; raise data.crop_frames."
            )
        real = wave[:, model.space.pad_left :][:, inner]
        first, second = generated[:, inner].chunk(2)
        to_first, to_second, apart = self.distance(
            [(real, first), (real, second), (first, second)], scale_by=real
        )
        return 0.5 * (to_first + to_second - self.config.repulsion * apart)
