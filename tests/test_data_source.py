"""The source of a recording, on vowels whose pulses are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from diffwave.data.source import analyse, crop_of, frame_count, polarity, pulses_of
from diffwave.dsp.source import pulse_times
from diffwave.spaces.source import pulse_train

RATE = 22050
BANDS = (0.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 11025.0)


def vowel(low: float, high: float, seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """A second of a gliding vowel between noise, and the samples at which its pulses start."""
    rng = np.random.default_rng(seed)
    f0 = np.linspace(low, high, 87)
    voiced = (np.arange(87) > 15) & (np.arange(87) < 70)
    pulses = pulse_times(f0, voiced, RATE, 256, 0)
    wave = pulse_train(pulses, 0, RATE).numpy().astype(np.float64)
    wave += 0.02 * rng.standard_normal(RATE)
    for hz in (0, 600, 1400, 2500, 3500, 4500, 5500, 6500, 7500, 8500, 9500, 10500):
        radius = np.exp(-np.pi * (60 + hz / 20) / RATE) if hz else 0.9
        b, c = 2 * radius * np.cos(2 * np.pi * hz / RATE), -(radius**2)
        b, c = (b, c) if hz else (radius, 0)  # the slope of the glottis
        out = np.zeros(RATE)
        for n in range(RATE):
            out[n] = wave[n] + b * out[n - 1] + c * out[n - 2]
        wave = out
    return (wave / np.abs(wave).max() * 20000).astype(np.int16), pulses.times


@pytest.mark.parametrize(("low", "high"), [(90, 120), (180, 230), (300, 420)])
def test_pulses_and_f0_of_a_vowel(low: float, high: float) -> None:
    samples, times = vowel(low, high)
    track = analyse(samples, 1, RATE, BANDS)
    assert track.shape == (frame_count(RATE, RATE), 2 + len(BANDS) - 1)
    found = pulses_of(track, RATE)
    inner = times[4:-4]
    error = np.abs(found.times[:, None] - inner).min(0) / RATE
    assert np.median(error) < 1e-4 and np.quantile(error, 0.95) < 2e-4
    inside = (found.times > times[0] - 10) & (found.times < times[-1] + 10)
    assert abs(inside.sum() - len(times)) <= 1
    frames = np.arange(60, 120)
    truth = np.interp(frames * 0.005 * RATE / 256, np.arange(87), np.linspace(low, high, 87))
    assert np.abs(1200 * np.log2(track[frames, 0] / truth)).max() < 20
    assert track[frames, 2].min() > 0.8
    periods = RATE / np.interp(found.times[inside] / 256, np.arange(87), np.linspace(low, high, 87))
    np.testing.assert_allclose(found.heights[inside][5:-5] ** 2, periods[5:-5], rtol=0.1)


def test_noise_has_no_voice() -> None:
    samples = (2000 * np.random.default_rng(1).standard_normal(RATE)).astype(np.int16)
    track = analyse(samples, 1, RATE, BANDS)
    assert not track.any() and not len(pulses_of(track, RATE).times)


def test_polarity() -> None:
    some = [vowel(110, 150)[0], vowel(200, 220)[0]]
    assert polarity(some, RATE) == 1 and polarity([-s for s in some], RATE) == -1
    down = pulses_of(analyse(-some[0], -1, RATE, BANDS), RATE)
    np.testing.assert_allclose(down.times, pulses_of(analyse(some[0], 1, RATE, BANDS), RATE).times)


def test_a_crop_has_the_pulses_of_the_whole() -> None:
    track = analyse(vowel(150, 200)[0], 1, RATE, BANDS)
    whole = pulses_of(track, RATE)
    centres = np.arange(8) * 256 + 512.0
    for rate in (0.9, 1.0, 1.3):
        pulses, f0, share = crop_of(track, RATE, BANDS, 6000, rate, 3000, centres)
        wanted = (whole.times - 6000) / rate
        inside = (wanted > -10) & (wanted < 3010)
        kept = (pulses.times > -10) & (pulses.times < 3010)
        np.testing.assert_allclose(pulses.times[kept], wanted[inside], atol=1e-3)
        np.testing.assert_allclose(pulses.heights[kept] ** 2 * rate, whole.heights[inside] ** 2)
        near = np.round((6000 + rate * centres) / RATE / 0.005).astype(int)
        np.testing.assert_allclose(f0, rate * track[near, 0], rtol=1e-6)
        assert share.shape == (8, 6) and share[:, 0].min() > 0.8
