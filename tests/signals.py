"""Speech-like test signals, so that no test needs a recording."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

RMS = 0.07  # of read speech in LJSpeech
PAUSE_RMS = RMS * 1e-3  # room tone 60 dB below the speech: no recording is digitally silent
FORMANTS = ((500.0, 120.0), (1500.0, 180.0), (2500.0, 250.0), (3500.0, 350.0))  # centre, width (Hz)
# One "word": seconds of pause, unvoiced noise, voiced sound; jittered by the seed.
PAUSE, BURST, VOICED = 0.15, 0.08, 0.45


def _formant_gain(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Formant-like resonances on a falling slope of about 6 dB per octave."""
    resonances = sum(
        1.0 / (1.0 + ((frequency - centre) / width) ** 2) for centre, width in FORMANTS
    )
    gain: NDArray[np.float64] = (0.05 + resonances) / np.maximum(frequency / 500.0, 1.0)
    return gain


def _fade(length: int, sample_rate: int) -> NDArray[np.float64]:
    """1 in the middle, raised-cosine flanks of up to 15 ms."""
    flank = min(int(0.015 * sample_rate), length // 2)
    window = np.ones(length)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(flank) + 0.5) / max(flank, 1))
    window[:flank] = ramp
    window[length - flank :] = ramp[::-1]
    return window


def _voiced(
    length: int, sample_rate: int, rng: np.random.Generator, cents: float
) -> NDArray[np.float64]:
    """Harmonics of a gliding F0 (120 to 250 Hz, 5 Hz vibrato) under a formant envelope."""
    time = np.arange(length) / sample_rate
    start, end = rng.uniform(130.0, 240.0, size=2)
    f0 = start * (end / start) ** (time / max(time[-1], 1e-9))
    f0 = np.clip(f0 * 2 ** (25.0 / 1200 * np.sin(2 * np.pi * 5.0 * time)), 120.0, 250.0)
    f0 *= 2 ** (cents / 1200)
    phase = 2 * np.pi * np.cumsum(f0) / sample_rate
    nyquist = sample_rate / 2
    wave = np.zeros(length)
    for harmonic in range(1, int(nyquist / f0.min()) + 1):
        frequency = harmonic * f0
        # fade partials out below the Nyquist frequency, so that nothing aliases
        gain = _formant_gain(frequency) * np.clip((0.95 * nyquist - frequency) / 200.0, 0.0, 1.0)
        wave += gain * np.cos(harmonic * phase + 0.3 * harmonic**2)
    wave /= np.sqrt(np.mean(wave**2) + 1e-12)
    return wave


def _burst(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Fricative-like noise: white noise, differentiated so that the treble dominates."""
    return np.diff(rng.standard_normal(length + 1))


def speech_like(
    seconds: float = 2.0, sample_rate: int = 22050, seed: int = 0, *, cents: float = 0.0
) -> NDArray[np.float32]:
    """Something with the statistics of read speech; the same arguments give the same samples.

    Args:
        seconds: duration; the result has ``round(seconds * sample_rate)`` samples.
        sample_rate: in Hz.
        seed: chooses pitch contours, durations and noise.
        cents: shift of the fundamental frequency alone: formants, timing and noise stay.

    Returns:
        [L] float32, rms exactly 0.07: pauses of room tone 60 dB down, unvoiced bursts, and voiced
        stretches whose F0 glides between 120 and 250 Hz. It starts and ends in a pause.
    """
    return _speech_like(seconds, sample_rate, seed, cents).copy()


@functools.lru_cache(maxsize=64)  # the tests ask for the same few signals again and again
def _speech_like(seconds: float, sample_rate: int, seed: int, cents: float) -> NDArray[np.float32]:
    length = round(seconds * sample_rate)
    rng = np.random.default_rng(seed)
    wave = np.zeros(length)
    position = 0
    while position < length:
        pause, burst, voiced = (
            int(duration * rng.uniform(0.8, 1.2) * sample_rate)
            for duration in (PAUSE, BURST, VOICED)
        )
        position += min(pause, (length - position) // 4)
        # the last word is cut short in time for a pause at the end
        room = max(length - position - int(0.05 * sample_rate), 0)
        burst, voiced = min(burst, room // 4), min(voiced, room - min(burst, room // 4))
        if voiced < 0.03 * sample_rate:
            break
        wave[position : position + burst] += 0.25 * _burst(burst, rng) * _fade(burst, sample_rate)
        position += burst
        sound = _voiced(voiced, sample_rate, rng, cents)
        wave[position : position + voiced] += sound * _fade(voiced, sample_rate)
        position += voiced
    if not wave.any():  # too short for a word
        wave = _voiced(length, sample_rate, rng, cents)
    wave *= RMS / np.sqrt(np.mean(wave**2))
    wave += PAUSE_RMS * rng.standard_normal(length)
    wave *= RMS / np.sqrt(np.mean(wave**2))
    return wave.astype(np.float32)
