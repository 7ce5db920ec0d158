"""What settings of a run mean: the model they describe."""

from __future__ import annotations

import dataclasses
import math

import pytest

from diffwave.mel import PRESETS
from diffwave.spaces import SpectralConfig, WaveformConfig
from diffwave.train.config import TrainConfig


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_model_follows_the_mel_preset(name: str) -> None:
    mel = PRESETS[name]
    spectral = TrainConfig(mel=name).model_config()
    assert spectral.mel == mel
    assert spectral.space == SpectralConfig.of(mel)
    assert spectral.network.n_mels == mel.n_mels
    waveform = TrainConfig(mel=name, network="waveform").model_config()
    assert waveform.space == WaveformConfig.of(mel)
    assert waveform.network.n_mels == mel.n_mels


def test_scaling_of_the_mel_is_in_units_of_the_preset() -> None:
    """One loudness enters the network as one number, whatever the convention calls it."""
    amplitude = 0.03
    for name in ("hifigan", "espnet", "coqui"):
        config = TrainConfig(mel=name).model_config()
        value = config.mel.log_factor * math.log(amplitude) + config.mel.offset
        entering = (value - config.normalise.mean) / config.normalise.scale
        assert entering == pytest.approx((math.log(amplitude) + 5) / 2.5)


def test_an_unconditional_waveform_network_stays_so() -> None:
    config = TrainConfig(network="waveform")
    config.waveform = dataclasses.replace(config.waveform, n_mels=0)
    assert config.model_config().network.n_mels == 0


@pytest.mark.parametrize("name", ["hifigan", "espnet", "coqui", "bigvgan-44k"])
def test_the_enhancer_follows_the_mel_preset(name: str) -> None:
    config = TrainConfig(mel=name).model_config()
    assert config.enhancer is not None
    assert config.enhancer.n_mels == PRESETS[name].n_mels


def test_no_layers_or_another_space_mean_no_enhancer() -> None:
    config = TrainConfig()
    config.enhancer = dataclasses.replace(config.enhancer, layers=0)
    assert config.model_config().enhancer is None
    assert TrainConfig(network="waveform").model_config().enhancer is None
