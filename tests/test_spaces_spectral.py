"""The spaces in which the chain runs: reconstruction, scaling, whitening, independence of time."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from torch import Tensor

from diffwave.errors import InputError
from diffwave.mel import PRESETS, MelSpectrogram
from diffwave.mel.normalise import frame_triples
from diffwave.spaces.source import Excitation
from diffwave.spaces.spectral import SpectralConfig, SpectralSpace

MEL = dataclasses.replace(PRESETS["hifigan"], n_mels=20)  # fewer bands: less to fit
SPEECH = SpectralConfig(n_mels=20)
SMALL = SpectralConfig(n_fft=32, hop_length=8, pad_left=12, n_mels=3)


def made(config: SpectralConfig) -> SpectralSpace:
    """The space, with a frontend of as many bands."""
    return SpectralSpace(config, MelSpectrogram(dataclasses.replace(MEL, n_mels=config.n_mels)))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def speech_and_mel(
    config: SpectralConfig, seed: int, seconds: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Samples [1, context(T)] and their mel [1, n_mels, T]."""
    wave = torch.from_numpy(speech_like(seconds, MEL.sample_rate, seed))[None]
    frames = (wave.shape[1] - config.n_fft) // config.hop_length + 1
    wave = wave[:, : made(config).context(frames)]
    return wave, MelSpectrogram(MEL)(wave, pad=False)


@pytest.fixture(scope="module")
def fitted() -> SpectralSpace:
    space = made(SPEECH)
    space.fit([speech_and_mel(SPEECH, seed) for seed in range(6)])
    return space


def inverse(space: SpectralSpace, state: Tensor) -> Tensor:
    return space.trimmed(space.signal(space.as_spectrum(state)))


def with_random_envelope(config: SpectralConfig = SMALL) -> SpectralSpace:
    space = made(config)
    space.envelope_weight.copy_(0.3 * randn(*space.envelope_weight.shape))
    space.envelope_bias.copy_(randn(config.bins, seed=1))
    return space


# --- transform ---


@st.composite
def geometries(draw: st.DrawFn) -> SpectralConfig:
    """Frames whose windows reach every sample of the signal with some weight, as mels' do."""
    n_fft = 2 * draw(st.integers(8, 40))
    margin = math.ceil(0.06 * n_fft) + 1  # the window's square is below 1e-3 beyond
    hop_length = draw(st.integers(1, n_fft // 2 - margin))
    centered = draw(st.booleans())
    first = draw(st.integers(margin, n_fft - hop_length - margin))
    return SpectralConfig(n_fft, hop_length, n_fft // 2 if centered else first, n_mels=1)


def periodic_signal(config: SpectralConfig, length: int, seed: int) -> Tensor:
    """Noise of period n_fft: every windowed frame has exactly nothing at Nyquist."""
    spectrum = randn(config.bins + 1, 2, seed=seed).double()
    spectrum[-2:] = 0  # a Hann window spreads a partial by one bin
    period = torch.fft.irfft(torch.view_as_complex(spectrum), n=config.n_fft, norm="ortho")
    return period.repeat(length // config.n_fft + 1)[None, :length]


@settings(max_examples=100, deadline=None)
@given(config=geometries(), frames=st.integers(1, 12), seed=st.integers(0, 99))
def test_istft_inverts_stft(config: SpectralConfig, frames: int, seed: int) -> None:
    space = made(config).double()
    wave = periodic_signal(config, space.context(frames), seed)
    spectrum = space.analyse(wave)
    assert spectrum.shape == (1, frames, 2, config.bins)
    found = inverse(space, spectrum)
    assert found.shape == (1, frames * config.hop_length)
    start = config.pad_left
    expected = wave[:, start : start + frames * config.hop_length]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        SPEECH,
        SpectralConfig(1024, 256, 512),  # centred
        SpectralConfig(2048, 512, 768),
        SpectralConfig(1024, 275, 374),  # the hop does not divide the frame
    ],
)
def test_speech_is_reconstructed(config: SpectralConfig) -> None:
    space = made(config)
    frames = 20
    wave = torch.from_numpy(speech_like(1.0))[None, 4000 : 4000 + space.context(frames)]
    found = inverse(space, space.analyse(wave))
    expected = wave[:, config.pad_left : config.pad_left + frames * config.hop_length]
    assert found.shape == expected.shape
    error = (found - expected).square().mean() / expected.square().mean()
    assert 10 * math.log10(float(error)) < -40


def test_dropping_nyquist_costs_white_noise_next_to_nothing() -> None:
    space = made(SPEECH)
    white = randn(1, space.context(100))
    found = inverse(space, space.analyse(white))
    error = (found - white[:, 384 : 384 + found.shape[1]]).square().mean()
    assert 0 < float(error) < 1.5 / 1024  # it has 1/1024 of its energy there


def test_stft_is_that_of_torch_scaled() -> None:
    space = made(SMALL)
    wave = randn(2, space.context(7))
    window = torch.hann_window(32)
    expected = torch.stft(wave, 32, 8, window=window, center=False, return_complex=True)
    expected = expected[:, :-1].mT / window.square().sum().sqrt()
    found = space.analyse(wave)
    torch.testing.assert_close(torch.complex(found[:, :, 0], found[:, :, 1]), expected)


@pytest.mark.parametrize("config", [SMALL, SpectralConfig(64, 20, 32), SpectralConfig(1024)])
def test_white_noise_has_unit_power_in_every_bin(config: SpectralConfig) -> None:
    """E|X|^2 over unit white noise is the sum of |X|^2 over unit impulses."""
    found = made(config).analyse(torch.eye(config.n_fft))
    power = found.square().sum((0, 1, 2))
    torch.testing.assert_close(power, torch.ones(config.bins))


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_lengths(frames: int) -> None:
    space = with_random_envelope()
    mel = randn(2, 3, frames)
    state = space.encode(randn(2, space.context(frames)), mel)
    assert state.shape == (2, frames, 2, 16)
    assert space.decode(state, mel).shape == (2, frames * 8)
    assert space.noise(randn(2, space.context(frames))).shape == state.shape


# --- noise ---


def test_noise_has_the_statistics_of_the_transform_of_white_noise() -> None:
    space = with_random_envelope()
    state = space.noise(randn(400, space.context(20)))
    assert float(state.mean().abs()) < 0.01
    variance = state.square().mean((0, 1))
    # circular: half the power in each part, except for the real DC bin
    torch.testing.assert_close(
        variance[:, 2:-1], torch.full_like(variance[:, 2:-1], 0.5), rtol=0, atol=0.03
    )
    torch.testing.assert_close(variance[:, 0], torch.tensor([1.0, 0.0]), rtol=0, atol=0.05)


def test_noise_is_as_correlated_from_frame_to_frame_as_a_signal() -> None:
    space = made(SMALL)
    state = space.noise(randn(400, space.context(20)))
    x = torch.complex(state[:, :, 0], state[:, :, 1])
    found = (x[:, 1:] * x[:, :-1].conj()).mean((0, 1))
    window = torch.hann_window(32)
    overlap = (window[8:] * window[:-8]).sum() / window.square().sum()
    phase = 2 * math.pi * torch.arange(16) * 8 / 32
    torch.testing.assert_close(found, torch.polar(overlap.expand(16), phase), rtol=0, atol=0.05)


def test_noise_is_not_coloured_by_the_envelope() -> None:
    white = randn(1, made(SMALL).context(5))
    coloured, plain = with_random_envelope(), made(SMALL)
    assert torch.equal(coloured.noise(white), plain.noise(white))


# --- whitening ---


def test_decode_inverts_encode(fitted: SpectralSpace) -> None:
    wave, mel = speech_and_mel(SPEECH, seed=7)
    state = fitted.encode(wave, mel)
    assert float((state.abs() == SPEECH.clamp).float().mean()) < 1e-3
    found = fitted.decode(state, mel)
    expected = wave[:, 384 : 384 + mel.shape[2] * 256]
    error = (found - expected).square().mean() / expected.square().mean()
    assert 10 * math.log10(float(error)) < -40


def test_encode_divides_by_the_envelope_that_decode_multiplies_with() -> None:
    space = with_random_envelope()
    mel, state = randn(1, 3, 6), randn(1, 6, 2, 16, seed=3)
    envelope = (0.5 * space.log_variance(mel)).exp()[:, :, None]
    assert envelope.shape == (1, 6, 1, 16)
    torch.testing.assert_close(space.decode(state, mel), inverse(space, state * envelope))
    wave = 0.1 * randn(1, space.context(6))
    torch.testing.assert_close(space.encode(wave, mel), space.analyse(wave) / envelope)


def test_whitened_speech_has_unit_power(fitted: SpectralSpace) -> None:
    def power(seeds: range) -> Tensor:
        """E|Y|^2 of every bin."""
        states = [fitted.encode(*speech_and_mel(SPEECH, seed)) for seed in seeds]
        return torch.cat(states, dim=1).square().sum(2).mean((0, 1))

    known, unknown = power(range(6)), power(range(6, 10))
    assert float(known.mean()) == pytest.approx(1, abs=0.05)
    assert 0.8 < float(known.min()) <= float(known.max()) < 1.3
    # on other speech; unwhitened, its bins differ by more than a factor of 1000
    assert float(unknown.median()) == pytest.approx(1, abs=0.25)
    assert float(unknown.mean()) == pytest.approx(1, abs=0.35)
    raw = fitted.analyse(speech_and_mel(SPEECH, 6)[0]).square().sum(2).mean((0, 1))
    assert float(raw.max() / raw.min()) > 1000


def test_envelope_never_falls_below_its_floor() -> None:
    config = dataclasses.replace(SMALL, floor=1e-3)
    space = made(config)
    space.envelope_bias.fill_(-100.0)
    space.envelope_bias[3] = -2.0
    log_variance = space.log_variance(torch.zeros(1, 3, 4))
    others = torch.arange(config.bins) != 3
    expected = torch.full((1, 4, config.bins - 1), 2 * math.log(1e-3))
    torch.testing.assert_close(log_variance[..., others], expected)
    torch.testing.assert_close(log_variance[..., 3], torch.full((1, 4), -2.0))
    # so silence is not blown up to full scale
    silence = 1e-5 * randn(1, space.context(4))
    assert float(space.encode(silence, torch.zeros(1, 3, 4)).abs().max()) < 0.1


def test_encoded_state_is_clipped() -> None:
    space = made(dataclasses.replace(SMALL, clamp=2.0))
    state = space.encode(10 * randn(1, space.context(9)), torch.zeros(1, 3, 9))
    assert (float(state.min()), float(state.max())) == (-2.0, 2.0)


def test_envelope_hears_the_frames_before_and_after() -> None:
    mel = randn(1, 3, 5)
    features = frame_triples(mel)
    assert features.shape == (1, 5, 9)
    for t, neighbours in enumerate([(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 4)]):
        expected = torch.cat([mel[0, :, i] for i in neighbours])
        assert torch.equal(features[0, t], expected)


# --- a source ---

SOURCE = dataclasses.replace(SMALL, source_bands=(0.0, 2000.0, 6000.0, 11000.0))


def excitation(space: SpectralSpace, frames: int, share: tuple[float, ...]) -> Excitation:
    """White noise of unit power in place of pulses, whose mean power is as theirs should be."""
    return Excitation(
        randn(1, space.context(frames), seed=3), torch.tensor(share).expand(1, frames, len(share))
    )


def test_mean_and_noise_have_the_power_of_the_envelope_together() -> None:
    """The mean has the share of its bands; where nothing is left, the noise has its least."""
    space, frames = with_random_envelope(SOURCE), 4000
    mel = randn(1, 3, 1, seed=2).expand(1, 3, frames)
    prior = space.prior(mel, excitation(space, frames, (0.9, 0.3, 0.0)))
    power = (prior.mean.square().sum(2) / prior.envelope.square().squeeze(2)).mean((0, 1))
    share = (torch.tensor([0.9, 0.3, 0.0]) @ space.share_weights).clamp(0, 1)
    torch.testing.assert_close(power[1:], share[1:], atol=0.03, rtol=0.05)
    noise = (prior.deviation / prior.envelope).square()[0, 0, 0]
    torch.testing.assert_close(noise, (1 - share).clamp_min(SOURCE.least_noise))
    torch.testing.assert_close(prior.envelope[:, :, 0], (space.log_variance(mel) / 2).exp())
    voiced = space.prior(mel, excitation(space, frames, (1.0, 1.0, 1.0)))
    floor = (voiced.deviation / voiced.envelope).square()
    torch.testing.assert_close(floor, torch.full_like(floor, SOURCE.least_noise))


def test_without_a_share_the_prior_is_that_of_no_source() -> None:
    mel = randn(1, 3, 9, seed=2)
    space, plain = with_random_envelope(SOURCE), with_random_envelope()
    prior = space.prior(mel, excitation(space, 9, (0.0, 0.0, 0.0)))
    assert not prior.mean.any()
    torch.testing.assert_close(prior.deviation, plain.prior(mel).deviation)


def test_decode_inverts_encode_with_a_source() -> None:
    space, frames = with_random_envelope(dataclasses.replace(SOURCE, clamp=1e6)), 9
    mel = randn(1, 3, frames, seed=2)
    prior = space.prior(mel, excitation(space, frames, (0.9, 0.5, 0.1)))
    wave = periodic_signal(SOURCE, space.context(frames), 5).float()
    state = space.encode(wave, mel, prior)
    found = space.decode(state, mel, prior=prior)
    expected = wave[:, SOURCE.pad_left :][:, : frames * SOURCE.hop_length]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        space.decode(0 * state, mel, prior=prior), inverse(space, prior.mean)
    )


def test_a_source_is_given_to_a_space_that_has_one() -> None:
    mel, space = torch.zeros(1, 3, 4), made(SOURCE)
    with pytest.raises(InputError, match="needs a source"):
        space.prior(mel)
    with pytest.raises(InputError, match="has no source"):
        made(SMALL).prior(mel, excitation(space, 4, (0.5, 0.5, 0.5)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source_bands": (0.0,)}, "rising frequencies"),
        ({"source_bands": (0.0, 500.0, 500.0)}, "rising frequencies"),
        ({"source_bands": (-1.0, 500.0)}, "source_bands\\[0\\] must be a number of at least 0"),
        ({"least_noise": 0.0}, "least_noise must be a number of at least 1e-06"),
    ],
)
def test_an_impossible_source_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]


# --- independence of time ---


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 20), frames=st.integers(3, 20))
def test_frames_of_a_piece_are_those_of_the_whole(start: int, frames: int) -> None:
    space = with_random_envelope()
    total = 40
    wave, mel = randn(1, space.context(total)), randn(1, 3, total, seed=2)
    whole = space.encode(wave, mel)
    samples = slice(start * 8, start * 8 + space.context(frames))
    piece_mel = mel[:, :, start : start + frames]
    piece = space.encode(wave[:, samples], piece_mel)
    inner = slice(1, -1)  # the envelope of the outer frames lacks a neighbour
    torch.testing.assert_close(piece[:, inner], whole[:, start : start + frames][:, inner])
    noise = space.noise(wave)[:, start : start + frames]
    torch.testing.assert_close(space.noise(wave[:, samples]), noise)


def test_samples_of_a_piece_are_those_of_the_whole() -> None:
    space = with_random_envelope()
    state, mel = randn(1, 40, 2, 16), randn(1, 3, 40, seed=2)
    whole = space.decode(state, mel)
    start, stop, context = 10, 30, 1 + 32 // 8  # a window's length and the envelope's neighbour
    outer = slice(start - context, stop + context)
    piece = space.decode(state[:, outer], mel[:, :, outer])
    inner = piece[:, context * 8 : (context + stop - start) * 8]
    torch.testing.assert_close(inner, whole[:, start * 8 : stop * 8])


def test_examples_of_a_batch_do_not_mix() -> None:
    space = with_random_envelope()
    wave, mel = randn(3, space.context(6)), randn(3, 3, 6, seed=2)
    state = space.encode(wave, mel)
    for i in range(3):
        alone = space.encode(wave[i : i + 1], mel[i : i + 1])
        torch.testing.assert_close(alone[0], state[i])
        decoded = space.decode(state[i : i + 1], mel[i : i + 1])
        torch.testing.assert_close(decoded[0], space.decode(state, mel)[i])


# --- configuration ---


def test_only_the_envelope_is_stored() -> None:
    assert set(made(SMALL).state_dict()) == {"envelope_weight", "envelope_bias"}
    assert (SMALL.bins, SpectralConfig().bins) == (16, 512)


@pytest.mark.parametrize(
    ("n_fft", "hop_length", "pad_left", "words"),
    [
        (32, 17, 0, "at least twice hop_length 17"),
        (33, 8, 0, "n_fft 33 must be even"),
        (32, 0, 0, "hop_length must be an integer of at least 1"),
        (32, 8, 32, "pad_left 32"),
        (32, 8, -1, "pad_left -1"),
    ],
)
def test_impossible_geometry_is_refused(
    n_fft: int, hop_length: int, pad_left: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        SpectralConfig(n_fft, hop_length, pad_left)
