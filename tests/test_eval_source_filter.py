from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from signals import RMS, speech_like

from diffwave.eval import source_filter
from diffwave.eval.source_filter import (
    f0_cents,
    mel_cepstral_distortion,
    periodicity_rmse,
    voicing_f1,
)
from diffwave.eval.waves import Wave

pytest.importorskip("pyworld")
RATE = 22050


@pytest.fixture(autouse=True)
def small_crepe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_filter, "CREPE", "tiny")
    source_filter._periodicity.cache_clear()


@pytest.fixture(scope="module")
def speech() -> Wave:
    return speech_like(3.0, RATE)


def noisy(wave: Wave, db: float, seed: int = 0) -> Wave:
    """White noise `db` below the speech."""
    noise = np.random.default_rng(seed).standard_normal(len(wave))
    return (wave + RMS * 10 ** (-db / 20) * noise).astype(np.float32)


@pytest.mark.parametrize("cents", [-100.0, -30.0, 30.0, 100.0])
def test_a_pitch_shift_shows_as_its_cents(speech: Wave, cents: float) -> None:
    shifted = speech_like(3.0, RATE, cents=cents)
    assert f0_cents(speech, shifted, RATE) == pytest.approx(abs(cents), abs=3)
    assert voicing_f1(speech, shifted, RATE) > 0.95


def test_voicing_that_is_lost_or_made_up_lowers_f1(speech: Wave) -> None:
    half = speech.copy()
    half[len(half) // 2 :] = noisy(np.zeros_like(half), 0)[len(half) // 2 :]  # a whisper
    assert 0.5 < voicing_f1(speech, half, RATE) < 0.8
    assert voicing_f1(speech, half, RATE) == pytest.approx(voicing_f1(half, speech, RATE))
    whisper = noisy(np.zeros_like(speech), 0)
    assert voicing_f1(speech, whisper, RATE) < 0.2


def filtered(wave: Wave, ripples: int, nepers: float) -> Wave:
    """ln amplitude raised by `nepers` times a cosine of `ripples` half periods on the mel axis."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return np.log1p(np.asarray(hertz) / 700)

    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    place = (mel(frequency) - mel(40)) / (mel(RATE / 2) - mel(40))
    gain = np.exp(nepers * np.cos(np.pi * ripples * np.clip(place, 0, 1)))
    return np.fft.irfft(np.fft.rfft(wave) * gain, len(wave)).astype(np.float32)


@pytest.mark.parametrize("ripples", [1, 2, 4])
@pytest.mark.parametrize("nepers", [0.1, 0.3])
def test_mcd_of_a_filter_that_is_one_cepstral_coefficient(
    speech: Wave, ripples: int, nepers: float
) -> None:
    # by definition 10 / ln 10 sqrt(2 c^2); the room tone and CheapTrick's smoothing blur it
    expected = 10 / math.log(10) * math.sqrt(2) * nepers
    copy = filtered(speech, ripples, nepers)
    assert mel_cepstral_distortion(speech, copy, RATE) == pytest.approx(expected, rel=0.08)
    assert mel_cepstral_distortion(copy, speech, RATE) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_mcd_leaves_the_level_out(speech: Wave, gain: float) -> None:
    assert mel_cepstral_distortion(speech, (gain * speech).astype(np.float32), RATE) < 1e-3


def test_mcd_does_not_hear_pauses_nor_mistake_pitch_for_timbre(speech: Wave) -> None:
    gated = np.where(np.abs(speech) < 3e-4, 0, speech).astype(np.float32)
    assert mel_cepstral_distortion(speech, gated, RATE) < 0.3  # only the edges of words
    shifted = speech_like(3.0, RATE, cents=100)
    assert mel_cepstral_distortion(speech, shifted, RATE) < 1
    assert mel_cepstral_distortion(speech, noisy(speech, 0), RATE) > 5


def test_mcd_needs_a_reference(speech: Wave) -> None:
    silence = np.zeros_like(speech)
    assert math.isnan(mel_cepstral_distortion(silence, speech, RATE))
    assert math.isnan(mel_cepstral_distortion(speech[:1000], speech[:1000], RATE))
    assert mel_cepstral_distortion(speech, silence, RATE) > 5


def test_periodicity_that_is_lost_grows_the_error(speech: Wave) -> None:
    pytest.importorskip("torchcrepe")
    errors = [periodicity_rmse(speech, noisy(speech, db), RATE) for db in (60, 20, 5, -5)]
    assert errors[0] < 0.01
    assert all(less < more for less, more in pairwise(errors))
    whisper = noisy(np.zeros_like(speech), 0)
    assert 0.3 < periodicity_rmse(speech, whisper, RATE) <= 1
    assert periodicity_rmse(speech, whisper, RATE) == periodicity_rmse(whisper, speech, RATE)


def test_periodicity_of_silence_is_none(speech: Wave) -> None:
    pytest.importorskip("torchcrepe")
    silence = np.zeros_like(speech)
    assert periodicity_rmse(silence, silence, RATE) == 0
    faint = (1e-6 * speech).astype(np.float32)  # the network alone would hear a voice
    assert periodicity_rmse(silence, faint, RATE) == 0
    assert periodicity_rmse(speech, silence, RATE) > 0.3
    assert math.isnan(periodicity_rmse(speech[:1000], speech[:1000], RATE))


def test_periodicity_by_the_network_of_the_literature(monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("torchcrepe")
    monkeypatch.undo()
    assert source_filter.CREPE == "full"
    time = np.arange(2400) / 16000
    hiss = np.random.default_rng(0).standard_normal(2400)
    tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20))
    voice = 0.1 * tone + 1e-3 * hiss
    error = periodicity_rmse(voice.astype(np.float32), (0.1 * hiss).astype(np.float32), 16000)
    assert error > 0.5
    assert library.infer.capacity == "full"
