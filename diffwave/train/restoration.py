"""How a mel enhancer learns: smoothed mels on one side, the mels of the recordings on the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.model import DiffusionModel
from diffwave.train.config import LossConfig
from diffwave.train.losses import Loss

REACH = 4.0
"""Standard deviations after which a Gaussian is cut off."""
TIME = 0.5
"""Weight of the change from frame to frame beside the frames themselves."""


class EnhancementLoss(Loss):
    """Distance of enhanced mels from the recordings', and the gate's cross-entropy.

    The distance is the mean length of a frame's error in nepers, and of its change from frame to
    frame: its minimum is a median, which does not pay for an outlier. Some of the mels are not
    smoothed, so that the mel of a recording passes; the gate learns to tell. What is smoothed is
    also given a little noise: without any, a blur could be inverted exactly, which no prediction
    can.
    """

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B]; the denoiser has no part in it."""
        return self.of(model, batch.wave, batch.white[:, 0], batch.draws, batch.mel)

    def of(
        self,
        model: DiffusionModel,
        wave: Tensor,
        white: Tensor,
        draws: Tensor,
        predicted: Tensor | None = None,
    ) -> Tensor:
        """Loss of every example, [B].

        Args:
            model: with a mel enhancer.
            wave: samples with their context, [B, space.context(T)].
            white: unit white noise of that shape.
            draws: uniform in [0, 1), [B, 5]: all that is random about an example but the noise.
            predicted: mels [B, n_mels, T] of the same recordings to learn from, in place of those
                smoothed here.

        Raises:
            InputError: for a model that has no mel enhancer.
        """
        slope = model.mel.slope
        with torch.no_grad():
            mel = model.space.mel_of_crop(wave)
            smooth = draws[:, 0] < self.config.enhancement_share
            if predicted is None:
                predicted = degraded(self.config, mel, slope, draws, white)
            given = torch.where(smooth[:, None, None], predicted, mel)
        enhanced, gate = model.enhance_gated(given)
        inner = slice(self.config.edge_frames, mel.shape[-1] - self.config.edge_frames)
        error = ((enhanced - mel) / slope)[..., inner]
        distance = _length(error) + TIME * _length(error.diff(dim=-1))
        label = smooth[:, None].to(gate).expand_as(gate)
        surprise = F.binary_cross_entropy_with_logits(gate, label, reduction="none")
        return distance + surprise[:, inner].mean(1)


def degraded(
    config: LossConfig, mel: Tensor, slope: Tensor, draws: Tensor, white: Tensor
) -> Tensor:
    """Mels blurred over time, over bands or over both (a third each), and a little noisy.

    Args:
        config: how much at most.
        mel: [B, n_mels, T].
        slope: of the mel's unit in nepers.
        draws: as of :meth:`EnhancementLoss.of`.
        white: unit white noise [B, L].
    """
    largest, where = config.enhancement_blur, draws[:, 1]
    frames = largest * draws[:, 2] * (where < 2 / 3)
    bands = largest * draws[:, 3] * (where > 1 / 3)
    count = mel[0].numel()
    white = white.repeat(1, -(-count // white.shape[1]))  # with a small hop, noise is scarce
    noise = white[:, :count].view_as(mel) * slope
    level = config.enhancement_noise * draws[:, 4]
    return smoothed(mel, frames, bands) + level[:, None, None] * noise


def smoothed(mel: Tensor, frames: Tensor, bands: Tensor) -> Tensor:
    """Gaussian blur of mels [B, n_mels, T]; at the ends the outermost values go on.

    Args:
        mel: log-mels.
        frames: standard deviation over time, in frames, [B].
        bands: over bands, [B].
    """
    for dim, deviation in ((2, frames), (1, bands)):
        reach = math.ceil(REACH * float(deviation.max()))
        offsets = torch.arange(-reach, reach + 1, device=mel.device)
        # A deviation of 0 leaves the middle alone.
        weights = torch.exp(-0.5 * (offsets / deviation.clamp_min(1e-3)[:, None]).square())
        weights = (weights / weights.sum(1, keepdim=True)).to(mel)
        places = torch.arange(mel.shape[dim], device=mel.device)
        total = torch.zeros_like(mel)
        for offset, weight in zip(offsets.tolist(), weights.unbind(1), strict=True):
            place = (places + offset).clamp(0, mel.shape[dim] - 1)
            total += weight[:, None, None] * mel.index_select(dim, place)
        mel = total
    return mel


def _length(error: Tensor) -> Tensor:
    """Mean Euclidean length over bands of [B, n_mels, T], [B]."""
    # The root's gradient at 0 is not finite.
    return (error.square().sum(1) + 1e-6).sqrt().mean(1)
