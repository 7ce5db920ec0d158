"""Losses on mels: of the mel enhancer and of the source predictor, from damaged and clean mels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.networks.source import classes_of_f0, f0_of_classes
from diffwave.train.config import LossConfig
from diffwave.train.losses import Loss

REACH = 4.0
"""Standard deviations after which a Gaussian is cut off."""
TIME = 0.5
"""Weight of the change from frame to frame beside the frames themselves."""
DAMAGED = 0.6
"""Share of the mels that are blurred and noisy for the source predictor."""
VOICING = 2.0
"""Weight of voicing beside F0 and shares."""
GROSS = 0.2
"""Relative error from which on a predicted F0 is grossly wrong, as pitch trackers are judged."""


class EnhancementLoss(Loss):
    """Distance of enhanced mels from the recordings', and the gate's cross-entropy.

    The distance is the mean length of a frame's error in nepers, and of its change from frame to
    frame: its minimum is a median, which does not pay for an outlier. Some of the mels are not
    damaged, so that the mel of a recording passes; the gate learns to tell. What is smoothed is
    also given a little noise: without any, a blur could be inverted exactly, which no prediction
    can.
    """

    trains = "enhancer"

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B]; InputError for a model that has no mel enhancer."""
        mel, given, damaged = _damaged(model, batch, self.config, self.config.enhancement_share)
        enhanced, gate = model.enhance_gated(given)
        inner = slice(self.config.edge_frames, mel.shape[-1] - self.config.edge_frames)
        error = ((enhanced - mel) / model.mel.slope)[..., inner]
        distance = _length(error) + TIME * _length(error.diff(dim=-1))
        label = damaged[:, None].to(gate).expand_as(gate)
        surprise = F.binary_cross_entropy_with_logits(gate, label, reduction="none")
        return distance + surprise[:, inner].mean(1)


class SourceLoss(Loss):
    """Cross-entropies of F0 classes and shares in voiced frames, and of voicing in all.

    Most of the mels are blurred or noisy, as acoustic models' are: the pulses are wanted there as
    well.
    """

    trains = "source"

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B]; InputError for a model or a batch that has no source."""
        if batch.excitation is None or batch.f0 is None:
            raise InputError("The loss 'source' needs recordings whose source was analysed.")
        _, given, _ = _damaged(model, batch, self.config, DAMAGED)
        classes, voicing, share = model.source_predictor()(model.config.normalise(given))
        voiced = (batch.f0 > 0).to(classes)
        pitch = -(classes_of_f0(batch.f0) * classes.log_softmax(-1)).sum(-1)
        shares = F.binary_cross_entropy_with_logits(share, batch.excitation.share, reduction="none")
        doubt = F.binary_cross_entropy_with_logits(voicing, voiced, reduction="none")
        error = VOICING * doubt + voiced * (pitch + shares.mean(-1))
        return error[:, self.config.edge_frames : error.shape[1] - self.config.edge_frames].mean(1)


def pitch_errors(model: DiffusionModel, mel: Tensor, f0: Tensor) -> dict[str, float]:
    """Shares of frames: F0 more than `GROSS` off where both have voice, and voicing that is wrong.

    Of a mel [B, n_mels, T] whose F0 should be `f0` in Hz, 0 without voice, [B, T].
    """
    classes, voicing, _ = model.source_predictor()(model.config.normalise(mel))
    both = (voicing > 0) & (f0 > 0)
    gross = (f0_of_classes(classes)[both] / f0[both] - 1).abs() > GROSS
    return {
        "gross_pitch_error": float(gross.float().mean()) if len(gross) else 0.0,
        "voicing_error": float(((voicing > 0) != (f0 > 0)).float().mean()),
    }


@torch.no_grad()
def _damaged(
    model: DiffusionModel, batch: Batch, config: LossConfig, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mels of recordings [B, n_mels, T]; the same with a share of them damaged; which, [B].

    Damaged is what a model predicted, if the batch brings that; else a blur over time, over bands
    or over both (a third each), and a little noise.
    """
    mel, draws, slope = model.space.mel_of_crop(batch.wave), batch.draws, model.mel.slope
    damaged, given = draws[:, 0] < share, batch.mel
    if given is None:
        where = draws[:, 1]
        frames = config.enhancement_blur * draws[:, 2] * (where < 2 / 3)
        bands = config.enhancement_blur * draws[:, 3] * (where > 1 / 3)
        white, count = batch.white[:, 0], mel[0].numel()
        white = white.repeat(1, -(-count // white.shape[1]))  # with a small hop, noise is scarce
        noise = white[:, :count].view_as(mel) * slope
        level = config.enhancement_noise * draws[:, 4]
        given = smoothed(mel, frames, bands) + level[:, None, None] * noise
    return mel, torch.where(damaged[:, None, None], given, mel), damaged


def smoothed(mel: Tensor, frames: Tensor, bands: Tensor) -> Tensor:
    """Gaussian blur of log-mels [B, n_mels, T]; at the ends the outermost values go on.

    Its standard deviation is `frames` over time and `bands` over bands, [B].
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
