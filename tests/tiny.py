"""Vocoders small enough for tests: every part of a real one, and random weights."""

from __future__ import annotations

import dataclasses

import torch
from signals import speech_like

from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.chain.schedule import NAMED, alpha_bars, angle
from diffwave.data.crops import Batch
from diffwave.denoiser import DiffusionConfig
from diffwave.mel import MelSpectrogram, preset
from diffwave.mel.normalise import NormaliseConfig
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.networks import (
    MelEnhancerConfig,
    SourcePredictorConfig,
    SpectralNetConfig,
    WaveformNetConfig,
)
from diffwave.spaces import SpectralConfig, WaveformConfig

HOP = 256
FAST = tuple(angle(alpha_bars(NAMED["diffwave-base-fast"])).flip(0).tolist())
"""DiffWave's six-step schedule as angles, noisiest first."""


def spectral_config() -> ModelConfig:
    """Our network on a whitened STFT, 16 channels and 2 layers."""
    return ModelConfig(
        mel=preset("hifigan"),
        network=SpectralNetConfig(channels=16, layers=2, level_width=16),
        space=SpectralConfig(),
    )


def enhancing_config() -> ModelConfig:
    """The same, and a mel enhancer of 8 channels and a layer."""
    return dataclasses.replace(spectral_config(), enhancer=MelEnhancerConfig(channels=8, layers=1))


def source_config() -> ModelConfig:
    """The spectral one with a pulse source of four bands, its predictor of 8 channels a layer."""
    return ModelConfig(
        mel=preset("hifigan"),
        network=SpectralNetConfig(channels=16, layers=2, level_width=16, source=True),
        space=SpectralConfig(source_bands=(0, 1000, 2000, 4000, 8000)),
        source=SourcePredictorConfig(bands=4, channels=8, layers=1),
    )


def waveform_config() -> ModelConfig:
    """DiffWave's network on samples, 8 channels and 9 layers, with its fast schedule."""
    return ModelConfig(
        mel=preset("hifigan"),
        network=WaveformNetConfig(channels=8, layers=9, dilation_cycle=9),
        space=WaveformConfig(),
        diffusion=DiffusionConfig(prediction="eps", schedule="diffwave-base"),
        sampling=SamplingConfig(6, "ancestral", presets=(Sampling(6, "ancestral", FAST),)),
        normalise=NormaliseConfig(0, 1),
    )


def random_model(config: ModelConfig, seed: int = 0) -> DiffusionModel:
    """A model whose last layer is not zero, as training starts it, so that everything matters.

    The gate of its mel enhancer, if it has one, is open; its source, if it has one, is voiced in
    some frames and jumps about.
    """
    torch.manual_seed(seed)
    model = DiffusionModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("denoiser.network.filter.weight", "denoiser.network.output_conv.weight"):
                parameter.normal_(std=0.05)
        if model.enhancer is not None:
            model.enhancer.output.weight.normal_(std=0.1)
            model.enhancer.output.bias[-1] = 4.0
        if model.source is not None:
            model.source.output.weight.normal_(std=0.5)
        if config.space.kind == "spectral":
            # Roughly the level of the middle one of the three frames, in every bin.
            n_mels = config.mel.n_mels
            model.space.envelope_weight[:, n_mels : 2 * n_mels] = 2 / n_mels
            model.space.envelope_bias.fill_(-2.0)
    return model.eval().requires_grad_(False)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers; the same seed gives the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def batch_of(
    model: DiffusionModel,
    size: int = 2,
    place: float = 0.5,
    frames: int = 24,
    mel: torch.Tensor | None = None,
) -> Batch:
    """Crops of something like speech, and noise; every example at the same place."""
    length = model.space.context(frames)
    wave = torch.from_numpy(speech_like(3.0))[: size * length].view(size, length)
    places = torch.full((size,), place, dtype=torch.float64)
    white = randn(size, 2, length, seed=5)
    return Batch(wave, white, places, place, torch.full((size, 5), 0.4), mel)


def speech_mel(seconds: float = 2.0, convention: str = "hifigan", seed: int = 0) -> torch.Tensor:
    """Mel-spectrogram of something like speech, [n_mels, T]."""
    config = preset(convention)
    wave = torch.from_numpy(speech_like(seconds, config.sample_rate, seed))
    return MelSpectrogram(config)(wave)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest deviation, relative to the largest sample."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / other.abs().max())
