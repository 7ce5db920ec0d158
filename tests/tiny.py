"""Vocoders small enough for tests: every part of a real one, and random weights."""

from __future__ import annotations

import dataclasses

import torch
from signals import speech_like

from diffwave.chain.schedule import NAMED, alpha_bars, angle
from diffwave.mel import MelSpectrogram, preset
from diffwave.model import DiffusionConfig, DiffusionModel, ModelConfig, SamplingConfig
from diffwave.networks.diffwave import WaveformNetConfig
from diffwave.networks.enhancer import MelRestorerConfig
from diffwave.networks.spectral import SpectralNetConfig
from diffwave.spaces.spectral import SpectralConfig

HOP = 256
FAST = angle(alpha_bars(NAMED["diffwave-base-fast"])).flip(0).tolist()
"""DiffWave's six-step schedule as angles, noisiest first."""


def spectral_config() -> ModelConfig:
    """Our network on a whitened STFT, 16 channels and 2 layers."""
    return ModelConfig(
        mel=preset("hifigan"),
        network=SpectralNetConfig(channels=16, layers=2, level_width=16),
        space=SpectralConfig(),
    )


def restoring_config() -> ModelConfig:
    """The same, and a mel restorer of 8 channels and a layer."""
    return dataclasses.replace(spectral_config(), restorer=MelRestorerConfig(channels=8, layers=1))


def waveform_config() -> ModelConfig:
    """DiffWave's network on samples, 8 channels and 9 layers, with its fast schedule."""
    return ModelConfig(
        mel=preset("hifigan"),
        network=WaveformNetConfig(channels=8, layers=9, dilation_cycle=9),
        diffusion=DiffusionConfig(prediction="eps", schedule="diffwave-base"),
        sampling=SamplingConfig(steps=6, sampler="ancestral", angles={"6": FAST}),
    )


def random_model(config: ModelConfig, seed: int = 0) -> DiffusionModel:
    """A model whose last layer is not zero, as training starts it, so that everything matters.

    The gate of its restorer, if it has one, is open.
    """
    torch.manual_seed(seed)
    model = DiffusionModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("network.filter.weight", "network.output_conv.weight"):
                parameter.normal_(std=0.05)
        if model.restorer is not None:
            model.restorer.output.weight.normal_(std=0.1)
            model.restorer.output.bias[-1] = 4.0
        if config.space is not None:
            # Roughly the level of the middle one of the three frames, in every bin.
            n_mels = config.mel.n_mels
            model.representation.envelope_weight[:, n_mels : 2 * n_mels] = 2 / n_mels
            model.representation.envelope_bias.fill_(-2.0)
    return model.eval().requires_grad_(False)


def speech_mel(seconds: float = 2.0, convention: str = "hifigan", seed: int = 0) -> torch.Tensor:
    """Mel-spectrogram of something like speech, [n_mels, T]."""
    config = preset(convention)
    wave = torch.from_numpy(speech_like(seconds, config.sample_rate, seed))
    return MelSpectrogram(config)(wave)
