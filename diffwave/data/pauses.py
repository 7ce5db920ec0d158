"""Where a recording pauses, by its energy: how loud its speech is, and where it may be cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from diffwave.data.config import PrepareConfig

FRAMES_PER_SECOND = 100
BELOW_SPEECH = 1e-4
"""A frame with less power than this share of the speech's (-40 dB) is a pause; in noise, one with
less than `ABOVE_NOISE` of the power of the quietest, as long as that is below `IN_NOISE`."""
ABOVE_NOISE, IN_NOISE = 4.0, 1e-2
WIDTH = 5
"""Frames over which power is averaged to find the quietest place where nothing is a pause."""


def frame_powers(wave: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Mean square of every 10 ms of a wave [L], its mean removed; an incomplete end counts."""
    size = frame_size(sample_rate)
    mean = float(wave.mean(dtype=np.float64))
    starts = np.arange(0, len(wave), size)
    sums = np.add.reduceat(np.square(wave - np.float32(mean)), starts, dtype=np.float64)
    return sums / np.diff(np.append(starts, len(wave)))


def frame_size(sample_rate: int) -> int:
    """Samples in 10 ms."""
    return max(1, sample_rate // FRAMES_PER_SECOND)


def is_speech(powers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the frames are not pauses; all, if they are all alike.

    The speech is taken to be as loud as the frames of more than average power, so that the limit
    depends neither on the recording's level nor on how much of it is silence.
    """
    loud = float(powers[powers >= powers.mean()].mean())
    noise = float(np.quantile(powers, 0.05))
    limit = max(BELOW_SPEECH * loud, min(ABOVE_NOISE * noise, IN_NOISE * loud))
    speech: NDArray[np.bool_] = powers >= limit
    return speech


def speech_rms(powers: NDArray[np.float64]) -> float:
    """Root mean square of the speech without its pauses."""
    return float(np.sqrt(powers[is_speech(powers)].mean()))


def pieces(
    wave: NDArray[np.float32], sample_rate: int, config: PrepareConfig
) -> Iterator[tuple[int, int]]:
    """Start and end, in samples, of the clips to make of a recording [L].

    Each keeps at most `config.margin_seconds` of silence at its ends. A recording longer than the
    second of `config.piece_seconds` is cut in the middle of the longest pause that leaves a piece
    between the two (to 10 ms), or, where there is no pause, at the quietest place.
    """
    powers = frame_powers(wave, sample_rate)
    speech = is_speech(powers)
    spoken = np.flatnonzero(speech)
    size = frame_size(sample_rate)
    shortest, longest = (round(s * sample_rate / size) for s in config.piece_seconds)
    shortest = min(shortest, longest // 2)  # so that one cut always leaves two such pieces
    margin = round(config.margin_seconds * sample_rate / size)
    start, end = 0, min(len(powers), int(spoken[-1]) + 1 + margin)
    while start <= spoken[-1]:
        start = max(start, int(spoken[np.searchsorted(spoken, start)]) - margin)
        cut = end
        if end - start > longest:
            low, high = start + shortest, min(start + longest, end - shortest)
            cut = low + _best_cut(powers[low:high], speech[low:high])
        last = int(spoken[np.searchsorted(spoken, cut) - 1])
        if last >= start:
            yield start * size, min(len(wave), min(cut, last + 1 + margin) * size)
        start = cut


def _best_cut(powers: NDArray[np.float64], speech: NDArray[np.bool_]) -> int:
    """Frame before which to cut: the middle of the longest pause, or the quietest of all."""
    best, middle, place = 0, 0, 0
    for spoken, run in itertools.groupby(speech.tolist()):
        length = sum(1 for _ in run)
        if not spoken and length > best:
            best, middle = length, place + (length + 1) // 2
        place += length
    if best:
        return middle
    around = np.pad(powers, WIDTH // 2, mode="edge")
    return int(np.argmin(np.convolve(around, np.ones(WIDTH), mode="valid")))
