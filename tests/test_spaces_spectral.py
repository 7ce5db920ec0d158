"""The whitened STFT: reconstruction, scaling, whitening, a source, independence of time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import randn
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel import PRESETS, MelSpectrogram
from diffwave.spaces.source import Excitation
from diffwave.spaces.spectral import SpectralConfig, SpectralSpace

MEL = dataclasses.replace(PRESETS["hifigan"], n_mels=20)  # fewer bands: less to fit
SPEECH = SpectralConfig(n_mels=20)
SMALL = SpectralConfig(n_fft=32, hop_length=8, pad_left=12, n_mels=3)
SOURCE = dataclasses.replace(SMALL, source_bands=(0.0, 2000.0, 6000.0, 11000.0))


def made(config: SpectralConfig, envelope: bool = False) -> SpectralSpace:
    """The space, with a frontend of as many bands and, if asked for, a random envelope."""
    space = SpectralSpace(config, MelSpectrogram(dataclasses.replace(MEL, n_mels=config.n_mels)))
    if envelope:
        space.envelope_weight.copy_(0.3 * randn(*space.envelope_weight.shape))
        space.envelope_bias.copy_(randn(config.bins, seed=1))
    return space


def inverse(space: SpectralSpace, state: Tensor) -> Tensor:
    """Without mel-consistency iterations no mel is looked at."""
    return space.synthesise(state, torch.zeros(0), 0)


def inner(space: SpectralSpace, wave: Tensor, frames: int) -> Tensor:
    """Of samples with their context those that belong to the frames."""
    return wave[:, space.pad_left :][:, : frames * space.hop_length]


def decibels(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    error = (found - expected).square().mean() / expected.square().mean()
    return 10 * math.log10(float(error))


# --- transform ---


@st.composite
def geometries(draw: st.DrawFn) -> SpectralConfig:
    """Frames whose windows reach every sample of the signal with some weight, as mels' do."""
    n_fft = 2 * draw(st.integers(8, 40))
    margin = math.ceil(0.06 * n_fft) + 1  # the window's square is below 1e-3 beyond
    hop_length = draw(st.integers(1, n_fft // 2 - margin))
    first = draw(st.integers(margin, n_fft - hop_length - margin))
    return SpectralConfig(n_fft, hop_length, draw(st.sampled_from([n_fft // 2, first])), n_mels=1)


def periodic_signal(config: SpectralConfig, length: int, seed: int) -> Tensor:
    """Noise of period n_fft: every windowed frame has exactly nothing at Nyquist."""
    spectrum = randn(config.bins + 1, 2, seed=seed).double()
    spectrum[-2:] = 0  # a Hann window spreads a partial by one bin
    period = torch.fft.irfft(torch.view_as_complex(spectrum), n=config.n_fft, norm="ortho")
    return period.repeat(length // config.n_fft + 1)[None, :length]


@settings(max_examples=100)
@given(config=geometries(), frames=st.integers(1, 12), seed=st.integers(0, 99))
def test_istft_inverts_stft(config: SpectralConfig, frames: int, seed: int) -> None:
    space = made(config).double()
    wave = periodic_signal(config, space.context(frames), seed)
    spectrum = space.analyse(wave)
    assert spectrum.shape == (1, frames, 2, config.bins)
    found, expected = inverse(space, spectrum), inner(space, wave, frames)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_stft_is_that_of_torch_scaled() -> None:
    wave = randn(2, made(SMALL).context(7))
    window = torch.hann_window(32)
    expected = torch.stft(wave, 32, 8, window=window, center=False, return_complex=True)
    expected = expected[:, :-1].mT / window.square().sum().sqrt()
    torch.testing.assert_close(torch.complex(*made(SMALL).analyse(wave).unbind(2)), expected)


@pytest.mark.parametrize("config", [SMALL, SpectralConfig(64, 20, 32), SpectralConfig(1024)])
def test_white_noise_has_unit_power_in_every_bin(config: SpectralConfig) -> None:
    """E|X|^2 over unit white noise is the sum of |X|^2 over unit impulses."""
    power = made(config).analyse(torch.eye(config.n_fft)).square().sum((0, 1, 2))
    torch.testing.assert_close(power, torch.ones(config.bins))


# --- whitening ---


def speech_and_mel(seed: int) -> tuple[Tensor, Tensor]:
    """Samples [1, context(T)] and their mel [1, n_mels, T]."""
    wave = torch.from_numpy(speech_like(2.0, MEL.sample_rate, seed))[None]
    frames = (wave.shape[1] - SPEECH.n_fft) // SPEECH.hop_length + 1
    wave = wave[:, : SPEECH.context(frames)]
    return wave, MelSpectrogram(MEL)(wave, pad=False)


@pytest.fixture(scope="module")
def fitted() -> SpectralSpace:
    space = made(SPEECH)
    space.fit(speech_and_mel(seed) for seed in range(6))
    return space


def test_decode_inverts_encode(fitted: SpectralSpace) -> None:
    wave, mel = speech_and_mel(seed=7)
    state = fitted.encode(wave, mel)
    assert float((state.abs() == SPEECH.clamp).float().mean()) < 1e-3
    assert decibels(fitted.decode(state, mel), inner(fitted, wave, mel.shape[2])) < -40


def test_whitened_speech_has_unit_power(fitted: SpectralSpace) -> None:
    def power(seeds: range) -> Tensor:
        """E|Y|^2 of every bin."""
        states = [fitted.encode(*speech_and_mel(seed)) for seed in seeds]
        return torch.cat(states, dim=1).square().sum(2).mean((0, 1))

    known, unknown = power(range(6)), power(range(6, 10))
    assert float(known.mean()) == pytest.approx(1, abs=0.05)
    assert 0.8 < float(known.min()) <= float(known.max()) < 1.3
    # on other speech; unwhitened, its bins differ by more than a factor of 1000
    assert float(unknown.median()) == pytest.approx(1, abs=0.25)
    raw = fitted.analyse(speech_and_mel(6)[0]).square().sum(2).mean((0, 1))
    assert float(raw.max() / raw.min()) > 1000


def test_envelope_never_falls_below_its_floor_nor_the_state_beyond_its_clamp() -> None:
    config = dataclasses.replace(SMALL, floor=1e-3, clamp=2.0)
    space, mel = made(config), torch.zeros(1, 3, 4)
    space.envelope_bias.fill_(-100.0)
    space.envelope_bias[3] = -2.0
    expected = torch.full((1, 4, config.bins), 2 * math.log(1e-3))
    expected[..., 3] = -2.0
    torch.testing.assert_close(space.log_variance(mel), expected)
    wave = randn(1, space.context(4))
    silent, loud = space.encode(1e-5 * wave, mel), space.encode(wave, mel)
    assert float(silent.abs().max()) < 0.1  # not blown up to full scale
    assert (float(loud.min()), float(loud.max())) == (-2.0, 2.0)


# --- a source ---


def excitation(frames: int, *share: float) -> Excitation:
    """White noise of unit power in place of pulses, whose mean power is as theirs should be."""
    noise = randn(1, SOURCE.context(frames), seed=3)
    return Excitation(noise, torch.tensor(share).expand(1, frames, len(share)))


def test_mean_and_noise_have_the_power_of_the_envelope_together() -> None:
    """The mean has the share of its bands; where nothing is left, the noise has its least."""
    space, frames = made(SOURCE, envelope=True), 4000
    mel = randn(1, 3, 1, seed=2).expand(1, 3, frames)
    prior = space.prior(mel, excitation(frames, 0.9, 0.3, 0.0))
    power = (prior.mean.square().sum(2) / prior.envelope.square().squeeze(2)).mean((0, 1))
    share = (torch.tensor([0.9, 0.3, 0.0]) @ space.share_weights).clamp(0, 1)
    torch.testing.assert_close(power[1:], share[1:], atol=0.03, rtol=0.05)
    noise = (prior.deviation / prior.envelope).square()[0, 0, 0]
    torch.testing.assert_close(noise, (1 - share).clamp_min(SOURCE.least_noise))
    torch.testing.assert_close(prior.envelope[:, :, 0], (space.log_variance(mel) / 2).exp())


def test_decode_inverts_encode_with_a_source() -> None:
    space, mel = made(dataclasses.replace(SOURCE, clamp=1e6), envelope=True), randn(1, 3, 9, seed=2)
    prior = space.prior(mel, excitation(9, 0.9, 0.5, 0.1))
    wave = periodic_signal(SOURCE, space.context(9), 5).float()
    state = space.encode(wave, mel, prior)
    found = space.decode(state, mel, prior=prior)
    torch.testing.assert_close(found, inner(space, wave, 9), rtol=0, atol=1e-4)
    silent = space.decode(0 * state, mel, prior=prior)
    torch.testing.assert_close(silent, inverse(space, prior.mean))


def test_a_source_is_given_to_a_space_that_has_one() -> None:
    mel = torch.zeros(1, 3, 4)
    with pytest.raises(InputError, match="needs a source"):
        made(SOURCE).prior(mel)
    with pytest.raises(InputError, match="has no source"):
        made(SMALL).prior(mel, excitation(4, 0.5, 0.5, 0.5))


# --- independence of time and batch ---


@settings(max_examples=25)
@given(start=st.integers(5, 15), frames=st.integers(3, 20))
def test_a_piece_of_one_of_a_batch_is_that_of_the_whole(start: int, frames: int) -> None:
    space, total = made(SMALL, envelope=True), 40
    wave, mel = randn(2, space.context(total)), randn(2, 3, total, seed=2)
    whole = space.encode(wave, mel)
    part = slice(start, start + frames)
    samples = slice(start * 8, start * 8 + space.context(frames))
    piece = space.encode(wave[1:, samples], mel[1:, :, part])
    # the envelope of the outer frames lacks a neighbour
    torch.testing.assert_close(piece[:, 1:-1], whole[1:, part][:, 1:-1])
    context = 1 + 32 // 8  # the envelope's neighbour and a window's length
    outer = slice(start - context, start + frames + context)
    decoded = space.decode(whole[1:, outer], mel[1:, :, outer])[:, context * 8 :][:, : frames * 8]
    expected = space.decode(whole, mel)[1:, start * 8 :][:, : frames * 8]
    torch.testing.assert_close(decoded, expected)


# --- configuration ---


def test_only_the_envelope_is_stored() -> None:
    assert set(made(SOURCE).state_dict()) == {"envelope_weight", "envelope_bias"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hop_length": 17}, "at least twice hop_length 17"),
        ({"n_fft": 33}, "n_fft 33 must be even"),
        ({"hop_length": 0}, "hop_length must be an integer of at least 1"),
        ({"source_bands": (0.0,)}, "rising frequencies"),
        ({"source_bands": (0.0, 500.0, 500.0)}, "rising frequencies"),
        ({"source_bands": (-1.0, 500.0)}, r"source_bands\[0\] must be a number of at least 0"),
        ({"least_noise": 0.0}, "least_noise must be a number of at least 1e-06"),
    ],
)
def test_impossible_geometry_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(SMALL, **change)
