"""The pulse source: when pulses come, what they look like, and what filters them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffwave.base.errors import InputError
from diffwave.dsp import source
from diffwave.dsp.source import (
    HIGHEST_F0,
    LOWEST_F0,
    Pulses,
    Source,
    band_weights,
    minimum_phase,
    pulse_times,
    transposed,
    with_f0,
)
from diffwave.spaces.source import pulse_train

RATE, HOP, CENTRE = 22050, 256, 128.0
RANDOM_F0 = np.random.default_rng(0).uniform(80, 400, 300)


def times_of(f0: np.ndarray, voiced: np.ndarray | None = None) -> Pulses:
    voiced = np.ones(len(f0), bool) if voiced is None else voiced
    return pulse_times(f0, voiced, RATE, HOP, CENTRE)


# --- times ---


@given(st.floats(LOWEST_F0, HIGHEST_F0), st.integers(2, 60))
@settings(max_examples=30)
def test_a_constant_f0_has_exact_periods(f0: float, frames: int) -> None:
    pulses = times_of(np.full(frames, f0))
    assert abs(len(pulses.times) - frames * HOP * f0 / RATE) <= 1
    np.testing.assert_allclose(np.diff(pulses.times), RATE / f0, atol=1e-8)
    np.testing.assert_allclose(pulses.heights**2, RATE / f0)


def test_a_glide_has_the_periods_of_its_f0() -> None:
    """An octave up at a constant rate: between two pulses lies one turn of the exact phase."""
    frames = 200
    pulses = times_of(100 * 2 ** (np.arange(frames) / (frames - 1)))
    inner = pulses.times[(pulses.times > CENTRE) & (pulses.times < CENTRE + (frames - 1) * HOP)]
    growth = np.log(2) / ((frames - 1) * HOP)  # F0(t) = 100 exp(growth (t - centre))
    turns = 100 / RATE * np.exp(growth * (inner - CENTRE)) / growth
    np.testing.assert_allclose(np.diff(turns), 1, atol=1e-5)
    hz = 100 * np.exp(growth * (pulses.times[3:-3] - CENTRE))
    np.testing.assert_allclose(pulses.heights[3:-3], np.sqrt(RATE / hz), rtol=1e-3)


def test_blocks_of_an_utterance_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    voiced = np.random.default_rng(1).random(300) < 0.8
    whole = times_of(RANDOM_F0, voiced)
    monkeypatch.setattr(source, "BLOCK_FRAMES", 7)
    np.testing.assert_allclose(times_of(RANDOM_F0, voiced), whole, atol=1e-6)


def test_unvoiced_frames_have_no_pulses_and_move_no_other() -> None:
    voiced = np.ones(40, bool)
    voiced[10:20] = False
    everywhere = times_of(RANDOM_F0[:40]).times
    frame = np.round((np.ceil(everywhere) - CENTRE) / HOP).clip(0, 39).astype(int)
    expected = everywhere[voiced[frame]]
    np.testing.assert_array_equal(times_of(RANDOM_F0[:40], voiced).times, expected)
    assert len(expected) < 0.8 * len(everywhere)


def test_pulses_depend_on_nothing_later() -> None:
    other = RANDOM_F0 * np.where(np.arange(300) < 30, 1, 1.5)
    before = CENTRE + 29 * HOP  # the F0 glides from there to the next frame
    one, two = (p.times[p.times <= before] for p in (times_of(RANDOM_F0), times_of(other)))
    np.testing.assert_array_equal(one, two)


# --- trains ---


@given(st.integers(-400, 9000), st.integers(1, 3000))
@settings(max_examples=40)
def test_a_stretch_is_a_slice_of_the_whole(start: int, length: int) -> None:
    pulses = times_of(RANDOM_F0[:30])
    whole, piece = pulse_train(pulses, -500, 13_500), pulse_train(pulses, start, length)
    torch.testing.assert_close(piece, whole[start + 500 :][:length], atol=1e-6, rtol=0)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.9])
def test_a_shift_within_a_sample_is_a_ramp_of_phase(shift: float) -> None:
    pulse = pulse_train(Pulses(np.array([32.0 + shift]), np.ones(1)), 0, 64).double()
    hz = torch.fft.rfftfreq(64, dtype=torch.float64)  # turns a sample
    ramp = torch.polar(torch.ones_like(hz), -2 * torch.pi * hz * (32 + shift))
    found = torch.fft.rfft(pulse)[hz < 0.35]  # the window of the sinc rounds its highest octave
    torch.testing.assert_close(found, ramp[hz < 0.35].to(found), atol=0.01, rtol=0)


@pytest.mark.parametrize("f0", [61.7, 143.0, 251.3, 590.0])
def test_a_train_has_the_power_of_unit_noise(f0: float) -> None:
    train = pulse_train(times_of(np.full(200, f0)), 1000, 40_000)
    assert float(train.square().mean()) == pytest.approx(1, abs=0.1)


# --- filters ---


@pytest.mark.parametrize("all_pole", [False, True])
def test_minimum_phase_is_that_of_zeros_and_poles_inside_the_circle(all_pole: bool) -> None:
    roots = np.array([0.9 * np.exp(0.3j), 0.7 * np.exp(1.9j), 0.8 * np.exp(2.6j)])
    taps = np.poly(np.concatenate([roots, roots.conj(), [0.5]])).real
    response = torch.fft.rfft(torch.tensor(taps), n=1024)
    response = 1 / response if all_pole else response
    phase = minimum_phase(response.abs().log().float())
    found = torch.polar(response.abs(), phase.double())
    torch.testing.assert_close(found, response, atol=1e-3, rtol=1e-3)


def test_band_weights_divide_every_frequency_among_neighbouring_bands() -> None:
    edges = (0, 500, 1000, 2000, 4000)
    weights = band_weights(edges, np.arange(512) * RATE / 1024)
    assert (weights >= 0).all() and (weights > 0).sum(0).max() == 2
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(band_weights(edges, np.array([0, 750, 1500, 3000])), np.eye(4))
    np.testing.assert_allclose(band_weights(edges, np.array([3500.0, 11000]))[-1], 1)


# --- another pitch ---

SOURCE = Source(
    torch.tensor([[100.0, 110, 120, 130]]),
    torch.tensor([[True, True, False, False]]),
    torch.tensor([[[0.8, 0.4], [0.6, 0.2], [0, 0], [0, 0]]]),
)


def test_a_given_f0_brings_its_voicing() -> None:
    found = with_f0(SOURCE, torch.tensor([[200.0, 0, 220, 0]]))
    assert found.f0.tolist() == [[200, 110, 220, 130]]  # where unvoiced, the predicted one
    assert found.voiced.tolist() == [[True, False, True, False]]
    # predicted where it was voiced, the mean of the voiced frames where it was not
    expected = torch.tensor([[[0.8, 0.4], [0, 0], [0.7, 0.3], [0, 0]]])
    torch.testing.assert_close(found.share, expected)
    whisper = Source(SOURCE.f0, SOURCE.voiced & False, 0 * SOURCE.share)
    given_a_voice = with_f0(whisper, torch.full((1, 4), 150.0))
    assert bool(given_a_voice.voiced.all()) and bool((given_a_voice.share > 0.5).all())


@pytest.mark.parametrize(
    ("f0", "words"),
    [([[100.0] * 3], "each of 4 frames")]
    + [([[hz, 0, 100, 100]], "from 50 to 600 Hz") for hz in (49, 601, -100, float("nan"))],
)
def test_an_f0_that_does_not_fit_is_refused(f0: list[list[float]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        with_f0(SOURCE, torch.tensor(f0))


def test_transposition_keeps_voicing_and_stays_within_voices() -> None:
    up = transposed(SOURCE, 12)
    torch.testing.assert_close(up.f0, 2 * SOURCE.f0)
    assert up[1:] == SOURCE[1:]
    assert transposed(SOURCE, -24).f0.tolist() == [[LOWEST_F0] * 4]
