"""Mel-consistency iterations: a spectrum is made to agree with the mel that it was generated from.

The mel says how much energy each band of each frame holds, and a generated wave that does not hold
it is wrong, whatever else it may be. Two constraints are met in turn, as Griffin and Lim (1984)
meet theirs: the spectrum is moved to the nearest one that belongs to a signal (the least-squares
inverse STFT and the STFT again), then its bands are scaled to the energies of the mel. Unlike
theirs the magnitudes within a band, and all phases to begin with, come from the diffusion model.
The first step is extrapolated from the iteration before, as in fast Griffin-Lim (Perraudin,
Balazs, Sondergaard 2013).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.mel import MelSpectrogram
from diffwave.spaces.stft import STFT

MAX_GAIN = 2.0
"""Largest change of a bin in one iteration, in nepers (17 dB): a mel that no signal has, such as
one that a network predicted, is approached without bursts."""


def match_mel(
    spectrum: Tensor,
    mel: Tensor,
    frontend: MelSpectrogram,
    stft: STFT,
    n_iter: int,
    momentum: float = 0.9,
    past: Tensor | None = None,
) -> Tensor:
    """`n_iter` iterations of both constraints on a spectrum [B, T, K + 1]; differentiable.

    The mel [B, n_mels, T] was made by a frontend with the frames and the window of the STFT. For
    every iteration a frame depends on ceil(n_fft / hop_length) more frames on both sides. It is
    extrapolated beyond the projection by `momentum` times the last change. Samples `past` [B, P] at
    the start, if there are any, are known and stay as they are.
    """
    if n_iter == 0:
        return spectrum
    norm = stft.norm(spectrum.shape[1])
    # What lies beyond the ends of the convention all has the same value: it asks for no change.
    ends = frontend.config.amplitude_range
    wanted = frontend.amplitude(mel).clamp(*ends).log().transpose(1, 2)
    filters = frontend.unit_filterbank
    # Bins above the last band cost nothing. Every other follows the gains of its bands, mixed as
    # their triangles overlap; one that no band covers stays.
    covered = int(filters.sum(0).nonzero().max()) + 1
    filters = filters[:, :covered].contiguous()
    mix = (filters / filters.sum(0).clamp_min(1e-8)).t().contiguous()
    last: Tensor | None = None
    for _ in range(n_iter):
        signal = stft.inverse(spectrum, norm)
        if past is not None:
            signal[:, : past.shape[-1]] = past
        # The STFT is linear: extrapolating signals, not spectra, is a quarter of the work.
        ahead = stft(signal if last is None else last.lerp(signal, 1 + momentum))
        last = signal
        below, above = ahead.tensor_split((covered,), dim=-1)
        power = below.real.square() + below.imag.square()
        got = F.linear(power.add_(1e-20).sqrt(), filters).clamp(*ends).log()
        gain = F.linear((wanted - got).clamp(-MAX_GAIN, MAX_GAIN), mix)
        if torch.is_grad_enabled():
            spectrum = torch.cat((below * gain.exp(), above), dim=-1)
        else:  # in place, a sixth faster; gradients need the spectrum as it was
            below.mul_(gain.exp_())
            spectrum = ahead
    return spectrum
