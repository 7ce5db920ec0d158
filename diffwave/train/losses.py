"""Losses that train the network: denoising, and the energy distance of what few steps generate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import combinations
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.chain import schedule
from diffwave.chain.samplers import ddim, sample
from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.model import DiffusionModel
from diffwave.spaces.base import curve_at
from diffwave.spaces.source import Excitation
from diffwave.train.config import LossConfig

FFT_SIZES = (2048, 1024, 512, 256, 128, 64)
"""At rates around 22,050 Hz; twice as long at twice the rate. The shortest, 3 ms, tells whether the
energy of a period comes at once."""
LOG_FLOOR = 1e-3
"""Added to magnitudes before the logarithm, in units where white noise of variance 1 has
magnitudes about 1; far below speech, it keeps the logarithm calm in pauses."""


class Loss(nn.Module, ABC):
    """A term of the objective: ``loss(model, denoiser, batch) -> [B]``.

    `model` has the space, the frontend and the enhancer; `denoiser` is the model's, perhaps
    compiled or in less precision. A loss may hold networks of its own (a teacher, a discriminator).
    """

    trains: ClassVar[str] = "network"
    """What of the model: "network", "enhancer" or "source"."""
    precision: torch.dtype = torch.float32
    """That the networks of the loss's own may compute in; the objective sets it."""

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        """Take from the model what is fixed, but do not keep it: its weights are not a loss's."""
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss of every example, [B]."""


@torch.no_grad()
def mel_of(model: DiffusionModel, batch: Batch) -> Tensor:
    """What the network is given: the crops' own mel, or the predicted one of them, enhanced."""
    return model.space.mel_of_crop(batch.wave) if batch.mel is None else model.enhance(batch.mel)


class DenoisingLoss(Loss):
    """Weighted squared error of the prediction, in the state's own coordinates.

    In the spectral space the state is whitened, which weighs the error by the inverse of the
    expected energy of its bin; a weight over frequency then follows the ear (`LossConfig`).
    """

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.weights = model.space.loss_weights(config.bin_weights)

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B], every example at the noise level of its place."""
        with torch.no_grad():
            mel = mel_of(model, batch)
            prior = model.space.prior(mel, batch.excitation)
            x_0 = model.space.encode(batch.wave, mel, prior)
            noise = model.space.noise(batch.white[:, 0])
        cond = denoiser.condition(mel, prior, project=False)
        level = denoiser.levels_at(batch.place)
        error = denoiser.loss(x_0, noise, level, cond, self.config.bound)
        # In the unit of the envelope: where pulses leave little to noise, little can be wrong.
        error = error * (prior.deviation / prior.envelope).square()
        return model.space.mean_error(error, self.weights, self.config.edge_frames)


class Unrolled(NamedTuple):
    """What the sampler makes of the mels of a batch, and the recordings; inner samples alone."""

    real: Tensor
    """Recordings, [B, L]."""
    generated: list[Tensor]
    """The estimate of every step that is judged: each [N B, L], N samples of every mel, one after
    another."""


class UnrollingLoss(Loss):
    """A loss of what the whole sampler generates from pure noise, with gradients through it.

    Several of them in one objective look at the same samples, which are computed once.
    """

    needs: int = 1
    """Samples of a crop between its edges."""

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.n_iter = min(config.unrolled_n_iter, model.config.sampling.most_iterations)
        # The energy distance compares two samples of a mel.
        self.noises = 2 if config.unrolled or config.weights.get("unrolled") else 1

    def levels(self, place: float) -> Tensor:
        """alpha_bar of the sampler's steps; place in [0, 1) moves all levels but the first."""
        shift = self.config.unrolled_jitter * (2 * place - 1)
        first, *others = self.config.unrolled_levels
        return schedule.alpha_bar_of_angle([first, *(u + shift for u in others)])

    def unroll(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Unrolled:
        """Samples of the mels of a batch; InputError for crops that are too short."""
        space, hop = model.space, model.config.mel.hop_length
        frames = 1 + (batch.wave.shape[1] - space.context(1)) // hop
        # Only the inner frames, whose context is whole.
        edge = 2 * self.config.edge_frames * hop
        if frames * hop - 2 * edge < self.needs:
            raise InputError(
                f"A loss of unrolled samples needs {self.needs + 2 * edge} samples of a crop, but "
                f"gets {frames * hop}; raise data.crop_frames."
            )
        if batch.shared is not None and "unrolled" in batch.shared:
            return cast(Unrolled, batch.shared["unrolled"])
        inner = slice(edge, frames * hop - edge)
        excitation = batch.excitation
        with torch.no_grad():
            mel = mel_of(model, batch).repeat(self.noises, 1, 1)
            if excitation is not None:
                excitation = Excitation(*(torch.cat([x] * self.noises) for x in excitation))
            prior = space.prior(mel, excitation)
            noise = space.noise(torch.cat([batch.white[:, i] for i in range(self.noises)]))
        cond = denoiser.condition(mel, prior, project=False)
        estimates: list[Tensor] = []
        levels = self.levels(batch.common)
        whole = drawn(batch.common, "whole").random() < self.config.unrolled_whole
        sample(
            ddim,
            lambda x, alpha_bar: denoiser(x, alpha_bar, cond),
            noise,
            levels if whole else levels[:1],
            callback=lambda i, level, x, x_0: estimates.append(x_0),
        )
        judged = estimates if self.config.unrolled_each else estimates[-1:]
        unrolled = Unrolled(
            batch.wave[:, space.pad_left :][:, inner],
            [space.decode(x_0, mel, self.n_iter, prior)[:, inner] for x_0 in judged],
        )
        if batch.shared is not None:
            batch.shared["unrolled"] = unrolled
        return unrolled


def drawn(common: float, purpose: str) -> np.random.Generator:
    """Random numbers of a step for a purpose, from the one number that all of its parts share."""
    return np.random.default_rng([int(common * 2**53), *purpose.encode()])


class UnrolledLoss(UnrollingLoss):
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
        self.needs, self.noises = self.distance.fft_sizes[0], 2

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B], at the noise levels of the batch; InputError for crops that are too short."""
        self.distance.to(batch.wave.device)
        real, estimates = self.unroll(model, denoiser, batch)
        weights = [self.config.unrolled_each] * (len(estimates) - 1) + [1.0]
        losses = [
            weight * self._judge(generated, real)
            for weight, generated in zip(weights, estimates, strict=True)
        ]
        return torch.stack(losses).sum(0) / sum(weights)

    def _judge(self, generated: Tensor, real: Tensor) -> Tensor:
        """Energy distance [B] of two samples for every example [2 B, L] from its recording."""
        to_first, to_second, apart = self.distance(real, *generated.chunk(2))
        return 0.5 * (to_first + to_second - self.config.repulsion * apart)


class SpectralDistance(nn.Module):
    """Mean distance of log magnitudes and of magnitudes over several STFT resolutions.

    The logarithms of a frame are compared by their Euclidean distance, the magnitudes by their
    absolute one. Both are of negative type: the energy distance between two distributions is never
    negative (Gritsenko et al. 2020, arXiv 2008.01160). The Euclidean one is that of whole frames:
    it is 0 only if bins agree jointly, where a sum of absolute ones sees every bin by itself.
    """

    def __init__(self, sample_rate: int, weights: list[tuple[float, float]]) -> None:
        """Weights over frequency as in `LossConfig.bin_weights`: (Hz, weight), interpolated."""
        super().__init__()
        # A power of 2 stays one.
        octaves = round(math.log2(sample_rate / 22050))
        self.fft_sizes = [math.ceil(size * 2**octaves) for size in FFT_SIZES]
        for size in self.fft_sizes:
            bins = np.arange(size // 2 + 1) * sample_rate / size
            self.register_buffer(f"weight_{size}", curve_at(bins, weights), persistent=False)
            window = torch.hann_window(size)
            window = window / window.square().sum().sqrt()
            self.register_buffer(f"window_{size}", window, persistent=False)

    def magnitudes(self, wave: Tensor, size: int) -> Tensor:
        """|STFT| of [B, L] at one resolution, hop a quarter of the size, [B, frames, bins]."""
        frames = wave.unfold(-1, size, size // 4) * self.get_buffer(f"window_{size}")
        spectrum = torch.fft.rfft(frames)
        # Not abs(): its gradient at zero is not a number.
        return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-12)

    def forward(self, *waves: Tensor) -> list[Tensor]:
        """Distances [B] of every two of some waves [B, L], in the order of `combinations`.

        The magnitude term is relative to the mean magnitude of the first one.
        """
        first = waves[0]
        pairs = list(combinations(range(len(waves)), 2))
        totals = [torch.zeros(len(first), device=first.device) for _ in pairs]
        for size in self.fft_sizes:
            weight = self.get_buffer(f"weight_{size}")
            magnitudes = [self.magnitudes(wave, size) for wave in waves]
            logs = [torch.log(magnitude + LOG_FLOOR) for magnitude in magnitudes]
            scale = magnitudes[0].detach().mean((1, 2)) + LOG_FLOOR
            for i, (a, b) in enumerate(pairs):
                # The constant keeps the gradient of the root finite where frames are equal.
                squares = ((logs[a] - logs[b]).square() * weight).mean(2)
                log_term = (torch.sqrt(squares + 1e-6) - 1e-3).mean(1)
                linear_term = ((magnitudes[a] - magnitudes[b]).abs() * weight).mean((1, 2)) / scale
                totals[i] = totals[i] + (log_term + linear_term) / len(self.fft_sizes)
        return totals
