"""Mel-consistency iterations (:mod:`diffwave.dsp.consistency`) with a mel frontend's convention."""

from __future__ import annotations

import torch
from torch import Tensor

from diffwave.dsp.consistency import match_bands
from diffwave.mel import MelSpectrogram
from diffwave.spaces.stft import STFT


def band_levels(mel: Tensor, frontend: MelSpectrogram) -> Tensor:
    """Logarithms [B, T, n_mels] of the amplitudes of a mel [B, n_mels, T], within its range.

    What lies beyond the ends of the convention all has the same value: it asks for no change.
    """
    ends = frontend.config.amplitude_range
    return frontend.amplitude(mel).clamp(*ends).log().transpose(1, 2)


def match_mel(
    spectrum: Tensor,
    mel: Tensor,
    frontend: MelSpectrogram,
    stft: STFT,
    n_iter: int,
    momentum: float = 0.9,
    past: Tensor | None = None,
) -> Tensor:
    """`n_iter` iterations on a spectrum [B, T, K + 1]; differentiable.

    The mel [B, n_mels, T] was made by a frontend with the frames and the window of the STFT. An
    iteration is extrapolated beyond the projection by `momentum` times the last change. Samples
    `past` [B, P] at the start, if there are any, are known and stay as they are.
    """
    if n_iter == 0:
        return spectrum
    return match_bands(  # type: ignore[no-any-return]
        spectrum,
        band_levels(mel, frontend),
        frontend.config.amplitude_range,
        frontend.unit_filterbank,
        stft,
        n_iter,
        momentum,
        past,
        in_place=not torch.is_grad_enabled(),
    )
