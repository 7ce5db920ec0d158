"""The states that a model makes of recordings, and what a chain on them has to know of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.noise import white_noise
from diffwave.chain.terminal import Data
from diffwave.data.crops import Clip, Framing
from diffwave.data.source import analyse, polarity
from diffwave.model import DiffusionModel
from diffwave.spaces import Excitation, Prior

WINDOW = 1024  # samples of a frame of the power spectrum
ROUNDING = 2.0**-30 / 12  # variance that rounding to 16 bits adds; digital silence has no less


class Encoded(NamedTuple):
    """A stretch of a recording in the coordinates of the chain."""

    wave: Tensor  # samples with their context, [1, L]
    prior: Prior
    x_0: Tensor  # the state
    start: int  # position of the first sample in the recording


class States:
    """Encodes recordings as training does: with their own mel, and their own source if any."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model, self.framing = model, Framing(model.config)
        self.device = next(model.parameters()).device

    def excited(self, clip: Clip) -> Clip:
        """The recording with what excites it, of models with a source (a mel has no pulses).

        Raises:
            InputError: for such a model without pyworld.
        """
        bands, rate = self.framing.bands, self.model.config.mel.sample_rate
        if not bands:
            return clip
        sign = polarity([clip.samples], rate)
        track = analyse(clip.samples, sign, rate, bands)
        return dataclasses.replace(clip, polarity=sign, source=track)

    def mel(self, clip: Clip) -> Tensor:
        """The recording's own mel [1, n_mels, T], of as many frames as it has whole hops."""
        mel = self.model.mel(clip.wave().to(self.device))[None]
        frames = max(1, len(clip.samples) // self.model.space.hop_length)
        return mel[..., : min(mel.shape[-1], frames)]

    def noise(self, seed: int, stream: int, state: Encoded) -> Tensor:
        """Unit noise of the shape of a state, addressed by its position."""
        white = white_noise(seed, stream, state.start, state.wave.shape[-1])
        return self.model.space.noise(white.to(self.device)[None])

    def of(self, clip: Clip, mel: Tensor, first: int) -> Encoded:
        """The state of the frames of a mel [1, n_mels, T], which begin with frame `first`."""
        space, frames = self.model.space, mel.shape[-1]
        start = first * space.hop_length - space.pad_left
        # Its mel is none that counts here: a clip with one is cut by frames, and reflected.
        framed = dataclasses.replace(clip, mel=np.empty((0, first + frames), np.float32))
        crop = self.framing.cut(framed, first, frames)
        wave = clip.polarity * torch.from_numpy(crop.wave / 32768)[None].to(self.device)
        source = crop.source
        excitation = source and Excitation(*(x[None].to(self.device) for x in source[:2]))
        prior = space.prior(mel, excitation)
        return Encoded(wave, prior, space.encode(wave, mel, prior), start)


@torch.inference_mode()
def data_of(recordings: Iterable[NDArray[np.int16]], model: DiffusionModel | None = None) -> Data:
    """Mean and variances of recordings, or of the states that a model makes of them.

    Of samples the variances are those of Fourier coefficients, the power spectrum over
    :data:`WINDOW` samples under a Hann window; of a whitened spectrogram those of its bins.

    Raises:
        InputError: when there is not one window of samples.
    """
    states = None if model is None else States(model)
    of_samples = model is None or model.space.of_samples
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    window /= window.square().sum().sqrt()
    total, square, values, frames = 0.0, torch.zeros(1, dtype=torch.float64), 0, 0
    for samples in recordings:
        state = torch.from_numpy(samples.astype(np.float64) / 32768)
        if states is not None:
            clip = states.excited(Clip("", samples))
            state = states.of(clip, states.mel(clip), 0).x_0[0].cpu().double()
        total, values = total + float(state.sum()), values + state.numel()
        if of_samples and len(state) < WINDOW:
            continue
        if of_samples:
            pieces = (state - state.mean()).unfold(0, WINDOW, WINDOW // 2)
            power = torch.fft.fft(pieces * window).abs().square()
        else:
            power = state.square().mean(1)  # of real and imaginary part
        square, frames = square + power.sum(0), frames + len(power)
    if not frames:
        raise InputError(f"The corpus has no recording of {WINDOW} samples.")
    mean, power = total / values, square / frames
    if of_samples:
        power[0] = power[1]  # the constant component is the mean's
    else:
        power = power - mean**2
    return Data(mean, power.clamp_min(ROUNDING))
