"""What excites the voice of a recording: F0, the pulses' share of every band, and their phase.

F0 is harvest's, refined by StoneMask, and the share of a band is what D4C says is not aperiodic
(Morise 2016 and 2017, the WORLD vocoder). When within a period the pulse comes they do not say: it
is where the positive part of the linear-prediction residual is largest, period after period, found
by dynamic programming over the phase of F0. This is done at training time alone, with pyworld.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from diffwave.base.libraries import import_library, needed_for
from diffwave.dsp.source import HIGHEST_F0, LOWEST_F0, Pulses, band_centres, band_weights

FRAME = 0.005
"""Seconds from frame to frame of a track."""
ORDER = 24
"""Of the linear prediction."""
PHASES = 64
"""Parts of a period in which the pulse is looked for."""
REACH = 0.012
"""Seconds on each side over which a period's residual is averaged with its neighbours'."""
TURN = 0.1
"""What a change of phase of one part of a period in a frame costs, in squared parts."""
DELAY = 4.5e-5
"""Seconds by which the pulse lies behind its residual's peak: where its minimum-phase filter agrees
best with recordings from 500 to 4000 Hz (by correlation, two speakers)."""
JUDGED = 16
"""Recordings of a folder that tell its polarity."""

Track = NDArray[np.float32]
"""[N, 2 + bands], every `FRAME`, from sample 0 on: F0 in Hz (0: no voice), phase in turns (a pulse
where it passes a whole number; it grows within a voiced stretch), shares of the bands 0 .. 1."""


def frame_count(length: int, sample_rate: int) -> int:
    """Frames of the track of a recording."""
    return int(length / sample_rate / FRAME) + 1


def analyse(
    samples: NDArray[np.int16], polarity: int, sample_rate: int, bands: Sequence[float]
) -> Track:
    """The track of a recording [L], with bands of these limits in Hz; InputError without pyworld.

    The polarity is -1 for a recording whose pulses point down.
    """
    with needed_for("Training a source", "train"):
        world = import_library("pyworld")
    wave = samples.astype(np.float64) / 32768
    ends = {"f0_floor": max(60.0, LOWEST_F0), "f0_ceil": HIGHEST_F0}
    f0, time = world.harvest(wave, sample_rate, frame_period=1000 * FRAME, **ends)
    f0 = world.stonemask(wave, f0, time, sample_rate)
    f0[(f0 < LOWEST_F0) | (f0 > HIGHEST_F0)] = 0
    periodic = 1 - world.d4c(wave, f0, time, sample_rate) ** 2
    f0[periodic.max(1) < 1e-6] = 0  # harvest hears voices in noise, which D4C tells apart
    hz = np.linspace(0, sample_rate / 2, periodic.shape[1])
    limits = np.searchsorted(hz, bands)
    limits[-1] = max(limits[-1], limits[-2] + 1)
    sums = np.cumsum(np.pad(periodic, ((0, 0), (1, 0))), axis=1)
    share = (sums[:, limits[1:]] - sums[:, limits[:-1]]) / np.diff(limits)
    phase = _phase(polarity * residual(wave, sample_rate), f0, sample_rate)
    track = np.column_stack((f0, phase, share * (f0 > 0)[:, None]))
    return track[: frame_count(len(samples), sample_rate)].astype(np.float32)


def polarity(recordings: Sequence[NDArray[np.int16]], sample_rate: int) -> int:
    """1 or -1: where the pulses of recordings point that were made in the same way.

    The residual of the loud half is skewed to that side (Drugman 2013, residual excitation
    skewness). A single recording does not always tell; some of many are enough.
    """
    skews = []
    for samples in recordings[:: max(1, len(recordings) // JUDGED)]:
        error = residual(samples.astype(np.float64) / 32768, sample_rate)
        blocks = error[: len(error) // 256 * 256].reshape(-1, 256)
        power = (blocks**2).mean(1)
        loud = blocks[power >= np.median(power)] if len(power) else np.zeros((1, 1))
        skews.append((loud**3).mean() / max((loud**2).mean() ** 1.5, 1e-30))
    return 1 if np.mean(skews) >= 0 else -1


def polarities(recordings: Sequence[tuple[str, NDArray[np.int16]]], sample_rate: int) -> list[int]:
    """Polarity of recordings, each with its folder: those of one are taken to be alike."""
    folders: dict[str, list[NDArray[np.int16]]] = {}
    for folder, samples in recordings:
        folders.setdefault(folder, []).append(samples)
    found = {folder: polarity(some, sample_rate) for folder, some in folders.items()}
    return [found[folder] for folder, _ in recordings]


def pulses_of(track: Track, sample_rate: float) -> Pulses:
    """The pulses of a track, in samples from its first frame on."""
    step = FRAME * sample_rate
    f0, phase = track[:, 0].astype(np.float64), track[:, 1].astype(np.float64)
    voiced, half = f0 > 0, f0 * FRAME / 2
    # A frame reaches half way to its neighbours; where those have no voice its own F0 goes on.
    follows = voiced[1:] & voiced[:-1]
    between = (phase[1:] + phase[:-1]) / 2
    right, left = phase + half, phase - half
    right[:-1][follows], left[1:][follows] = between[follows], between[follows]
    place = np.arange(len(f0)) * step
    start = np.stack((left, phase), axis=1)[voiced].ravel()
    turns = np.maximum(np.stack((phase, right), axis=1)[voiced].ravel() - start, 1e-9)
    at = np.stack((place - step / 2, place), axis=1)[voiced].ravel()
    count = (np.floor(start + turns) - np.floor(start)).astype(int)
    which = np.repeat(np.arange(len(count)), count)
    number = 1 + np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    times = at[which] + (np.floor(start[which]) + number - start[which]) / turns[which] * step / 2
    return Pulses(times, np.sqrt(step / 2 / turns[which]))


def crop_of(
    track: Track,
    sample_rate: int,
    bands: Sequence[float],
    start: float,
    rate: float,
    length: int,
    centres: NDArray[np.floating],
) -> tuple[Pulses, NDArray[np.float32], NDArray[np.float32]]:
    """The source of a crop of `length` samples from sample `start` of a recording on.

    It is played `rate` times as fast: above 1 the voice is higher, and its bands (limits in Hz)
    with it. `centres` are samples of the crop in the middle of its frames, [T].

    Returns:
        pulses, in samples of the crop; F0 of the frames in Hz, 0 without voice, [T]; and their
        shares [T, bands].
    """
    step = FRAME * sample_rate
    near = np.round((start + rate * centres) / step).astype(int).clip(0, len(track) - 1)
    f0, share = rate * track[near, 0], track[near, 2:]
    voiced = (f0 >= LOWEST_F0) & (f0 <= HIGHEST_F0)
    share = share @ band_weights(bands, band_centres(bands) / rate) if rate != 1 else share
    # Pulses a little outside reach into the crop.
    first = max(0, int(start / step) - 4)
    last = int((start + rate * length) / step) + 5
    pulses = pulses_of(track[first:last], sample_rate)
    times = (pulses.times + first * step - start) / rate
    return (
        Pulses(times, pulses.heights / np.sqrt(rate)),
        np.where(voiced, f0, 0).astype(np.float32),
        (share * voiced[:, None]).astype(np.float32),
    )


def residual(wave: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Error of linear prediction [L], by the autocorrelation method in frames of 30 ms."""
    size, hop = round(0.03 * sample_rate), round(0.01 * sample_rate)
    padded = np.pad(wave, size)
    frames = sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size)) ** 2
    predictor = _predictors(np.fft.irfft(power)[:, : ORDER + 1])
    # Every predictor serves two hops in the middle of its frame, faded into its neighbours.
    first, width = size // 2 - hop, 2 * hop
    fade = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(width) + 0.5) / width)
    history = sliding_window_view(padded, width + ORDER)[first - ORDER :: hop][: len(frames)]
    error = np.zeros((len(history), width))
    for lag in range(ORDER + 1):
        error += predictor[: len(history), lag, None] * history[:, ORDER - lag :][:, :width]
    error *= fade
    total = np.zeros((len(error) + 1, hop))
    total[:-1] += error[:, :hop]
    total[1:] += error[:, hop:]
    return total.ravel()[size - first :][: len(wave)]


def _predictors(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prediction-error filters [N, p + 1] of autocorrelations [N, p + 1]."""
    correlation[:, 0] = (correlation[:, 0] + 1e-9) * (1 + 1e-4)
    lags = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
    solution = np.linalg.solve(correlation[:, lags], -correlation[:, 1:, None])[..., 0]
    return np.column_stack((np.ones(len(solution)), solution))


def _phase(
    error: NDArray[np.float64], f0: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float64]:
    """Phase in turns of every frame, 0 where there is no voice, [N]."""
    phase, step = np.zeros(len(f0)), FRAME * sample_rate
    edges = np.flatnonzero(np.diff((f0 > 0).astype(int), prepend=0, append=0))
    for first, last in edges.reshape(-1, 2):
        # Phase of F0, which starts anywhere, at frames and at samples.
        turns = np.cumsum((f0[first:last] + np.append(f0[first], f0[first : last - 1])) / 2) * FRAME
        place = np.arange(first, last) * step
        here = np.arange(max(0, round(place[0])), min(len(error), round(place[-1]) + 1))
        at_sample = np.interp(here, place, turns)
        block = np.round(here / step).astype(int) - first
        cell = block * PHASES + (at_sample % 1 * PHASES).astype(int)
        power = np.maximum(error[here], 0) ** 2
        energy = np.bincount(cell, power, (last - first) * PHASES).astype(np.float64)
        pulse = _follow(_smooth(energy.reshape(-1, PHASES)))
        phase[first:last] = turns - pulse + f0[first:last] * -DELAY
        phase[first:last] = np.maximum.accumulate(phase[first:last])
        phase[first:last] -= np.floor(phase[first])
    return phase


def _smooth(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energy [N, PHASES] averaged over neighbouring frames and phases; every frame's sum is 1."""
    reach = round(REACH / FRAME)
    window = np.hanning(2 * reach + 3)[1:-1]
    in_time = sliding_window_view(np.pad(energy, ((reach, reach), (0, 0))), 2 * reach + 1, axis=0)
    energy = in_time @ window
    energy = energy / (energy.sum(1, keepdims=True) + 1e-12)
    offsets = np.arange(-6, 7)
    gauss = np.exp(-0.5 * (offsets / 2) ** 2)
    around = np.pad(energy, ((0, 0), (6, 6)), mode="wrap")
    smooth: NDArray[np.float64] = sliding_window_view(around, 13, axis=1) @ (gauss / gauss.sum())
    return smooth


def _follow(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Phase of the pulse in turns, [N]: the best path through [N, PHASES] that turns little."""
    moves = np.arange(-6, 7)
    origin = (np.arange(PHASES) - moves[:, None]) % PHASES
    price = TURN / PHASES * moves[:, None] ** 2
    score, back = np.zeros(PHASES), np.zeros(energy.shape, int)
    for i, gain in enumerate(energy):
        candidates = score[origin] - price
        best = candidates.argmax(0)
        back[i] = origin[best, np.arange(PHASES)]
        score = candidates[best, np.arange(PHASES)] + gain
    path = np.zeros(len(energy), int)
    path[-1] = score.argmax()
    for i in range(len(energy) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    # Between the parts of a period: the centre of what is above its surroundings.
    offsets = np.arange(-4, 5)
    near = np.take_along_axis(energy, (path[:, None] + offsets) % PHASES, axis=1)
    near = near - near.min(1, keepdims=True) + 1e-12
    exact = np.unwrap(path + 0.5 + (near * offsets).sum(1) / near.sum(1), period=PHASES) / PHASES
    window = np.hanning(7)[1:-1]
    smooth: NDArray[np.float64] = np.convolve(
        np.pad(exact, 2, mode="edge"), window / window.sum(), "valid"
    )
    return smooth
