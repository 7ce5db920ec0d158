from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from signals import FORMANTS

from diffwave.eval.phase import envelope_correlation, pulse_sharpness
from diffwave.eval.waves import Wave

RATE = 22050
Measure = Callable[[Wave, Wave, int], float]


def voice(phase: float, delay: float = 0.0, seconds: float = 1.5, f0: float = 120.0) -> Wave:
    """Pulses through formants; every harmonic's phase is off by up to `phase` radians."""
    time = np.arange(round(seconds * RATE)) / RATE - delay
    pitch = f0 * (time + 0.1 * time**2)  # in periods; it glides
    offsets = np.random.default_rng(1).uniform(-phase, phase, size=100)
    wave = 1e-3 * np.random.default_rng(2).standard_normal(len(time))
    for harmonic in range(1, int(8000 / f0 / 1.3)):
        frequency = harmonic * f0
        gain = 0.05 + sum(1 / (1 + ((frequency - f) / width) ** 2) for f, width in FORMANTS)
        wave += 0.02 * gain * np.cos(2 * np.pi * harmonic * pitch + offsets[harmonic])
    return wave.astype(np.float32)


def test_smeared_pulses_lose_sharpness_and_coherence_step_by_step_and_can_win_them_back() -> None:
    sharp, soft, smeared = voice(0), voice(1.5), voice(math.pi)
    for measure in (pulse_sharpness, envelope_correlation):
        assert measure(sharp, smeared, RATE) < measure(sharp, soft, RATE) < -0.05
        assert measure(smeared, sharp, RATE) == pytest.approx(-measure(sharp, smeared, RATE))
    assert pulse_sharpness(sharp, smeared, RATE) < -1
    assert envelope_correlation(sharp, smeared, RATE) < -0.3


def test_pesq_prefers_smeared_pulses_to_a_little_hiss_and_these_measures_do_not() -> None:
    pytest.importorskip("pesq")
    from diffwave.eval.metrics import pesq

    sharp, smeared = voice(0, f0=200), voice(math.pi, f0=200)
    hiss = 0.06 * sharp.std() * np.random.default_rng(3).standard_normal(len(sharp))
    hissing = (sharp + hiss).astype(np.float32)
    assert pesq(sharp, smeared, RATE) > 4.4 > 4.1 > pesq(sharp, hissing, RATE)
    for measure in (pulse_sharpness, envelope_correlation):
        assert measure(sharp, smeared, RATE) < 10 * measure(sharp, hissing, RATE)


@pytest.mark.parametrize("measure", [pulse_sharpness, envelope_correlation])
def test_level_polarity_and_a_small_delay_do_not_count(measure: Measure) -> None:
    sharp, smeared = voice(0), voice(math.pi)
    expected = measure(sharp, smeared, RATE)
    assert measure(sharp, -0.1 * smeared, RATE) == pytest.approx(expected, abs=1e-3)
    assert abs(measure(sharp, voice(0, delay=0.002), RATE)) < 0.01


def test_the_kurtosis_of_noise_and_of_a_period_of_zeros_is_the_textbook_one() -> None:
    # White noise: 3. A pulse every 80 samples: E e^4 / (E e^2)^2 = 80.
    noise = np.random.default_rng(0).standard_normal(4 * 16000).astype(np.float32)
    pulses = np.zeros_like(noise)
    pulses[::80] = 1
    value = pulse_sharpness(noise, pulses + 1e-4 * noise, 16000)
    assert value == pytest.approx(math.log2(80 / 3), abs=0.15)


def test_only_loud_frames_count() -> None:
    sharp, smeared = voice(0), voice(math.pi)
    quiet = np.concatenate([sharp, 0.001 * sharp])
    for measure in (pulse_sharpness, envelope_correlation):
        spoiled = np.concatenate([sharp, 0.001 * smeared])
        assert abs(measure(quiet, spoiled, RATE)) < 0.05
        assert math.isnan(measure(sharp, 0 * sharp, RATE))
