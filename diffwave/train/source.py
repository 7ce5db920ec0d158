"""How a source predictor learns: from mels, clean and damaged, and what excited the recordings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.networks.source import classes_of_f0, f0_of_classes
from diffwave.spaces.source import Excitation
from diffwave.train.losses import Loss
from diffwave.train.restoration import degraded

DAMAGED = 0.6
"""Share of the mels that are blurred and noisy."""
VOICING = 2.0
"""Weight of voicing beside F0 and shares."""
GROSS = 0.2
"""Relative error from which on a predicted F0 is grossly wrong, as pitch trackers are judged."""


class SourceLoss(Loss):
    """Cross-entropies of F0 classes and shares in voiced frames, and of voicing in all.

    Most of the mels are blurred or noisy, as acoustic models' are: the pulses are wanted there as
    well.
    """

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Loss [B]; the denoiser has no part in it.

        Raises:
            InputError: for a model or a batch that has no source.
        """
        if batch.excitation is None or batch.f0 is None:
            raise InputError("The loss 'source' needs recordings whose source was analysed.")
        slope = model.mel.slope
        with torch.no_grad():
            mel = model.space.mel_of_crop(batch.wave)
            given = batch.mel
            if given is None:
                given = degraded(self.config, mel, slope, batch.draws, batch.white[:, 0])
            damage = batch.draws[:, 0] < DAMAGED
            given = torch.where(damage[:, None, None], given, mel)
        return self.of(model, given, batch.excitation, batch.f0)

    def of(self, model: DiffusionModel, mel: Tensor, excitation: Excitation, f0: Tensor) -> Tensor:
        """Loss of every example, [B].

        Args:
            model: with a source predictor.
            mel: [B, n_mels, T].
            excitation: its shares are what is to be predicted.
            f0: Hz, 0 without voice, [B, T].

        Raises:
            InputError: for a model that has no source predictor.
        """
        classes, voicing, share = predicted(model, mel)
        voiced = (f0 > 0).to(classes)
        pitch = -(classes_of_f0(f0) * classes.log_softmax(-1)).sum(-1)
        shares = F.binary_cross_entropy_with_logits(share, excitation.share, reduction="none")
        doubt = F.binary_cross_entropy_with_logits(voicing, voiced, reduction="none")
        error = VOICING * doubt + voiced * (pitch + shares.mean(-1))
        return error[:, self.config.edge_frames : error.shape[1] - self.config.edge_frames].mean(1)


def predicted(model: DiffusionModel, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of F0 classes, voicing and shares of a mel [B, n_mels, T]."""
    if model.source is None:
        raise InputError("The model has no source predictor.")
    logits: tuple[Tensor, Tensor, Tensor] = model.source(model.config.normalise(mel))
    return logits


def pitch_errors(model: DiffusionModel, mel: Tensor, f0: Tensor) -> dict[str, float]:
    """Shares of frames: F0 more than `GROSS` off where both have voice, and voicing that is wrong.

    Args:
        model: with a source predictor.
        mel: [B, n_mels, T].
        f0: what it should be, Hz, 0 without voice, [B, T].
    """
    classes, voicing, _ = predicted(model, mel)
    both = (voicing > 0) & (f0 > 0)
    gross = (f0_of_classes(classes)[both] / f0[both] - 1).abs() > GROSS
    return {
        "gross_pitch_error": float(gross.float().mean()) if len(gross) else 0.0,
        "voicing_error": float(((voicing > 0) != (f0 > 0)).float().mean()),
    }
