"""The envelope's fit: what it recovers, what it is calibrated to, and what it survives."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from tiny import randn
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.data.envelope import load_envelope, save_envelope
from diffwave.mel import PRESETS, MelSpectrogram
from diffwave.mel.normalise import frame_triples
from diffwave.spaces.spectral import POWER_FLOOR, RIDGE, SpectralConfig, SpectralSpace

SMALL = SpectralConfig(n_fft=32, hop_length=8, pad_left=12, n_mels=1, floor=1e-8)
Example = tuple[Tensor, Tensor]


def made(config: SpectralConfig, mel: str = "hifigan") -> SpectralSpace:
    convention = dataclasses.replace(PRESETS[mel], n_mels=config.n_mels)
    return SpectralSpace(config, MelSpectrogram(convention))


def noise_of_gains(gains: list[float], frames: int = 400) -> list[Example]:
    """White noise of constant gain, whose one mel band is the gain's logarithm."""
    length = made(SMALL).context(frames)
    return [
        (gain * randn(1, length, seed=seed), torch.full((1, 1, frames), math.log(gain)))
        for seed, gain in enumerate(gains)
    ]


def fit(examples: list[Example], config: SpectralConfig = SMALL) -> SpectralSpace:
    space = made(config)
    space.fit(examples)
    return space


def test_weights_are_those_of_ridge_regression() -> None:
    """Augmented rows sqrt(ridge) e_i -> 0 for every feature but the constant one."""
    examples = [(randn(1, 32 + 8 * 19, seed=s), randn(1, 1, 20, seed=s + 9)) for s in range(3)]
    space = fit(examples)
    features = torch.cat([frame_triples(mel)[0] for _, mel in examples]).double()
    spectra = torch.cat([space.analyse(wave)[0] for wave, _ in examples]).double()
    rows = torch.cat((features, torch.ones(60, 1).double()), dim=1)
    penalty = math.sqrt(RIDGE) * torch.eye(4).double()[:3]
    targets = (spectra.square().sum(1) + POWER_FLOOR).log()
    targets = torch.cat((targets, torch.zeros(3, 16).double()))
    expected = torch.linalg.lstsq(torch.cat((rows, penalty)), targets).solution
    torch.testing.assert_close(space.envelope_weight.double(), expected[:3].T, rtol=1e-4, atol=1e-5)
    # calibration only lifts the bias: the mean of a logarithm lies below the logarithm of the mean
    assert bool((space.envelope_bias.double() > expected[3]).all())


def test_digital_silence_is_survived() -> None:
    """A bin or a corpus without energy ends at the floor, and nothing is infinite."""
    config = dataclasses.replace(SMALL, floor=1e-4)
    frames = 50
    silence = torch.zeros(1, made(config).context(frames))
    mel = torch.full((1, 1, frames), math.log(1e-5))
    space = fit([(silence, mel)], config)
    assert bool(space.envelope_weight.isfinite().all())
    assert bool(space.envelope_bias.isfinite().all())
    floor = torch.full((1, frames, 16), 2 * math.log(1e-4))
    torch.testing.assert_close(space.log_variance(mel), floor)
    assert torch.equal(space.encode(silence, mel), torch.zeros(1, frames, 2, 16))
    mixed = fit([(silence, mel), *noise_of_gains([0.3, 1.0], frames)], config)
    assert bool(mixed.envelope_bias.isfinite().all())


def test_nothing_to_fit_to_is_an_error() -> None:
    with pytest.raises(InputError, match="no audio"):
        fit([])


def test_an_envelope_is_stored_with_what_it_is_for(tmp_path: Path) -> None:
    path, empty = tmp_path / "envelope.safetensors", made(SMALL)
    assert not load_envelope(path, empty)
    space = fit(noise_of_gains([0.1, 0.5]))
    save_envelope(path, space)
    assert not load_envelope(path, made(dataclasses.replace(SMALL, floor=1e-4)))
    assert not load_envelope(path, made(SMALL, "espnet"))
    assert load_envelope(path, empty)
    for name, value in space.state_dict().items():
        assert torch.equal(empty.state_dict()[name], value)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"Cannot read .*envelope\.safetensors: it is damaged"):
        load_envelope(path, empty)
