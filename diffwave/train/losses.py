"""What is minimised: the denoising loss of the chain, and the unrolled loss of what is heard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diffwave.chain import schedule
from diffwave.chain.gaussian import q_sample, x0_from_eps, x0_from_v
from diffwave.chain.samplers import ddim
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.train.config import LossConfig
from diffwave.train.spectral_distance import SpectralDistance

Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class DenoisingLoss:
    """Weighted squared error of the prediction, in the state's own coordinates.

    In the spectral space the state is whitened, which weighs the error by the inverse of the
    expected energy of its bin; a weight over frequency then follows the ear (`LossConfig`).
    """

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        self.model = model
        self.edge = config.edge_frames
        self.bin_weights: Tensor | None = None
        space = model.config.space
        if space is not None:
            hz, weight = zip(*config.bin_weights, strict=True)
            bins = np.arange(space.bins) * model.config.mel.sample_rate / space.n_fft
            weights = torch.from_numpy(np.interp(bins, hz, weight)).float()
            self.bin_weights = weights / weights.mean()

    def levels(self, place: Tensor) -> Tensor:
        """Noise levels alpha_bar [B] of places in [0, 1): angle, or step, is proportional."""
        place = place.double().cpu()
        trained = self.model.trained_levels
        if trained is None:
            return schedule.alpha_bar_of_angle(place.clamp_min(1e-3))
        return trained[(place * len(trained)).long().clamp_max(len(trained) - 1)]

    def __call__(
        self,
        network: Network,
        wave: Tensor,
        white: Tensor,
        alpha_bar: Tensor,
        mel: Tensor | None = None,
    ) -> Tensor:
        """Loss of every example, [B].

        Args:
            network: the model's network, perhaps compiled: (x_t, t, mel) -> prediction. It hears
                no mel if it is unconditional.
            wave: samples with their context, [B, representation.context(T)].
            white: unit white noise of that shape.
            alpha_bar: noise level of every example, [B].
            mel: [B, n_mels, T], if it is not to be that of the wave itself.
        """
        model = self.model
        with torch.no_grad():
            mel = mel_of_crop(model, wave) if mel is None else mel
            x_0 = model.representation.encode(wave, mel)
            eps = model.representation.noise(white)
            level = alpha_bar.view(-1, *[1] * (x_0.ndim - 1))
            x_t = q_sample(x_0, level, eps).contiguous()
            target = model.target(x_0, eps, level)
            t = model.network_time(alpha_bar).to(x_t.device)
        error = (network(x_t, t, _heard(model, mel)).float() - target).square()
        if self.bin_weights is None:
            return error.flatten(1).mean(1)
        inner = slice(self.edge, error.shape[1] - self.edge)
        return (error.sum(2)[:, inner] * self.bin_weights.to(error.device)).mean((1, 2))


class UnrolledLoss:
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
        self.model, self.config = model, config
        self.distance = SpectralDistance(model.config.mel.sample_rate, config.bin_weights)

    def levels(self, place: float) -> Tensor:
        """alpha_bar of the sampler's steps; place in [0, 1) moves all angles but the first."""
        shift = self.config.unrolled_jitter * (2 * place - 1)
        first, *others = self.config.unrolled_angles
        return schedule.alpha_bar_of_angle([first, *(u + shift for u in others)])

    def __call__(
        self,
        network: Network,
        wave: Tensor,
        white: Tensor,
        levels: Tensor,
        mel: Tensor | None = None,
    ) -> Tensor:
        """Loss of every example, [B].

        Args:
            network, wave, mel: as for :class:`DenoisingLoss`.
            white: two unit white noises for every example, [B, 2, representation.context(T)].
            levels: alpha_bar that the sampler visits, [S].

        Raises:
            InputError: when the crops are too short for the longest spectra.
        """
        model = self.model
        self.distance.to(wave.device)
        with torch.no_grad():
            twice = (mel_of_crop(model, wave) if mel is None else mel).repeat(2, 1, 1)
            noise = model.representation.noise(torch.cat((white[:, 0], white[:, 1])))

        def denoise(x: Tensor, alpha_bar: Tensor) -> Tensor:
            t = model.network_time(alpha_bar).to(x.device).expand(len(x)).contiguous()
            prediction = network(x.contiguous(), t, _heard(model, twice)).float()
            if model.config.diffusion.prediction == "v":
                return x0_from_v(x, prediction, alpha_bar)
            return x0_from_eps(x, prediction, alpha_bar)

        estimates: list[Tensor] = []
        ddim(denoise, noise, levels, callback=lambda i, level, x, x_0: estimates.append(x_0))
        rounds = min(self.config.unrolled_rounds, model.config.sampling.most_rounds)
        weights = [self.config.unrolled_each] * (len(estimates) - 1) + [1.0]
        losses = [
            weight * self._judge(model.decode(x_0, twice, rounds), wave)
            for weight, x_0 in zip(weights, estimates, strict=True)
            if weight
        ]
        return torch.stack(losses).sum(0) / sum(weights)

    def _judge(self, generated: Tensor, wave: Tensor) -> Tensor:
        """Energy distance [B] of two samples for every example [2 B, L] from its recording."""
        model = self.model
        # Only the inner frames, whose context is whole.
        edge = 2 * self.config.edge_frames * model.config.mel.hop_length
        inner = slice(edge, generated.shape[1] - edge)
        longest = self.distance.fft_sizes[0]
        if inner.stop - inner.start < longest:
            raise InputError(
                f"The unrolled loss needs {longest + 2 * edge} samples of a crop, but gets "
                f"{generated.shape[1]}; raise data.crop_frames."
            )
        real = wave[:, model.representation.pad_left :][:, inner]
        first, second = generated[:, inner].chunk(2)
        to_first, to_second, apart = self.distance(
            [(real, first), (real, second), (first, second)], scale_by=real
        )
        return 0.5 * (to_first + to_second - self.config.repulsion * apart)


def mel_of_crop(model: DiffusionModel, wave: Tensor) -> Tensor:
    """Mel [B, n_mels, T] of crops of `representation.context(T)` samples."""
    if model.config.space is not None:
        return model.mel(wave, pad=False).contiguous()
    # A crop of the waveform space brings no context; a centred mel has one frame more than it.
    return model.mel(wave)[..., : wave.shape[1] // model.config.mel.hop_length].contiguous()


def _heard(model: DiffusionModel, mel: Tensor) -> Tensor | None:
    return mel if model.config.network.n_mels else None
