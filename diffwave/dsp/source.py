"""The source of speech: pulses where the voice is voiced, noise elsewhere, through a filter.

Voiced speech is a train of pulses, one in every period of the glottis, through the filter of the
vocal tract (Fant 1960). All harmonics of a pulse start together, which a mel does not hold: it says
how much energy a band has in a frame, not when within a period it comes. So the chain of a voice
with a source ends in a Gaussian whose mean is a pulse train in the mel's envelope, with the
minimum phase that belongs to that envelope, and whose deviation is that of the noise beside it.

Pulse times are those of the whole utterance, in absolute samples with fractions, so that a chunk of
an utterance has the pulses that it has in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffwave.base.arrays import Array, like, namespace, polar
from diffwave.base.errors import InputError

LOWEST_F0, HIGHEST_F0 = 50.0, 600.0  # Hz; what voices have, and what a source can be made of
REACH = 8  # samples on each side of a pulse that its band-limited shape covers
BLOCK_FRAMES = 8192  # frames whose phase is accumulated at a time


class Source(NamedTuple):
    """What excites every frame of a mel-spectrogram."""

    f0: Array  # fundamental frequency, Hz, [B, T]; unvoiced frames have one too, to glide over
    voiced: Array  # whether there are pulses, bool, [B, T]
    share: Array  # share of the power of every band that the pulses have, 0 .. 1, [B, T, bands].


def with_f0(source: Source, f0: Array) -> Source:
    """A predicted source with another F0 [B, T] in Hz, 0 where there is no voice.

    A newly voiced frame has the mean share of the voiced frames, so that a whisper can be given a
    voice.

    Raises:
        InputError: for another number of frames, or a frequency that no voice has.
    """
    if f0.shape != source.f0.shape:
        shape, frames = list(f0.shape), source.f0.shape[-1]
        same = shape[:-1] == list(source.f0.shape[:-1])
        what = f"{shape[-1]} values" if same else f"of the shape {shape}"
        raise InputError(f"F0 is one value for each of {frames} frames of the mel, not {what}.")
    voiced, xp = f0 > 0, namespace(f0)
    if not bool(((f0 >= LOWEST_F0) & (f0 <= HIGHEST_F0) | (f0 == 0)).all()):
        raise InputError(
            f"F0 must lie from {LOWEST_F0:g} to {HIGHEST_F0:g} Hz, or be 0 where there is no voice."
        )
    counts = source.voiced.sum(1).clip(1)[:, None, None]
    mean = source.share.sum(1)[:, None] / counts  # 0 in unvoiced frames
    mean = xp.where(mean > 0, mean, 0 * mean + 0.7)
    share = xp.where(source.voiced[..., None], source.share, mean) * voiced[..., None]
    return Source(xp.where(voiced, like(f0, source.f0), source.f0), voiced, like(share, source.f0))


def transposed(source: Source, semitones: float) -> Source:
    """A source with another pitch, within what voices have; its voicing and shares stay."""
    f0 = (source.f0 * 2 ** (semitones / 12)).clip(LOWEST_F0, HIGHEST_F0)
    return source._replace(f0=f0)


class Pulses(NamedTuple):
    """The pulses of one utterance."""

    times: NDArray[np.float64]  # samples since the first one of the utterance, with fractions, [P]
    heights: NDArray[np.float64]  # root of the period, [P]: with it a train has unit power


def pulse_times(
    f0: NDArray[np.floating], voiced: NDArray[np.bool_], sample_rate: int, hop: int, centre: float
) -> Pulses:
    """Times at which the accumulated phase of F0 passes a whole turn in voiced frames.

    F0 is interpolated between the frames' centres on a logarithmic scale, and held at the ends. The
    phase goes on through unvoiced frames, so that a frame's pulses depend only on those before it.

    Args:
        f0: Hz, above 0 everywhere, [T].
        voiced: [T].
        sample_rate: Hz.
        hop: samples from frame to frame.
        centre: sample in the middle of frame 0; may be negative.
    """
    clock, pulses = PulseClock(sample_rate, hop, centre), []
    for first in range(0, len(f0), BLOCK_FRAMES):
        stop = min(len(f0), first + BLOCK_FRAMES) * hop
        pulses.append(clock.advance(f0, voiced, stop))
    return joined(pulses)


class PulseClock:
    """The accumulated phase of an F0 that becomes known piece by piece; see :func:`pulse_times`."""

    def __init__(self, sample_rate: int, hop: int, centre: float) -> None:
        self.sample_rate, self.hop, self.centre = sample_rate, hop, centre
        self.sample, self.phase = 0, 0.0

    def advance(
        self, f0: NDArray[np.floating], voiced: NDArray[np.bool_], stop: int, first: int = 0
    ) -> Pulses:
        """Pulses from where the clock stands to the sample before `stop`, where it stands then.

        f0 and voiced, [T], are those of the frames from `first` on; beyond them they are held.
        """
        frames = np.arange(first, first + len(f0))
        samples = np.arange(self.sample, max(self.sample, stop))
        if not len(samples):
            return joined([])
        place = (samples - self.centre) / self.hop
        hz = np.exp(np.interp(place, frames, np.log(np.asarray(f0, np.float64))))
        turns = self.phase + np.cumsum(hz / self.sample_rate)
        before = np.concatenate(([self.phase], turns[:-1]))
        at = np.flatnonzero(np.floor(turns) > np.floor(before))
        near = np.clip(np.round(place[at]).astype(int) - first, 0, len(f0) - 1)
        at = at[voiced[near]]
        # The phase passed the turn between the sample before and this one.
        part = (np.floor(turns[at]) - before[at]) / (turns[at] - before[at])
        self.sample, self.phase = stop, float(turns[-1])
        return Pulses(samples[at] - 1 + part, np.sqrt(self.sample_rate / hz[at]))


def joined(pulses: Sequence[Pulses]) -> Pulses:
    """The pulses of one stretch after another."""
    return Pulses(
        np.concatenate([np.zeros(0), *(stretch.times for stretch in pulses)]),
        np.concatenate([np.zeros(0), *(stretch.heights for stretch in pulses)]),
    )


def pulse_train(pulses: Pulses, start: int, length: int) -> NDArray[np.float32]:
    """Samples start .. start + length - 1 of band-limited pulses, float32, [length].

    A pulse is a sinc at its exact time under a Hann window of :data:`REACH` samples to each side.
    """
    train = np.zeros(length)
    first, last = np.searchsorted(pulses.times, (start - REACH - 1, start + length + REACH + 1))
    times = pulses.times[first:last] - start
    whole = np.floor(times)
    offsets = np.arange(-REACH, REACH + 1)
    away = offsets - (times - whole)[:, None]
    shape = np.sinc(away) * (0.5 + 0.5 * np.cos(math.pi * away.clip(-9, 9) / (REACH + 1)))
    shape *= pulses.heights[first:last, None]
    place = whole[:, None].astype(np.int64) + offsets
    inside = (place >= 0) & (place < length)
    np.add.at(train, place[inside], shape[inside])
    return train.astype(np.float32)


def minimum_phase(log_magnitude: Array) -> Array:
    """Phase of the minimum-phase filter with this log-magnitude, [..., K + 1] -> [..., K + 1].

    By the folded cepstrum (Oppenheim and Schafer, Discrete-Time Signal Processing, section 13): the
    cepstrum of a minimum-phase filter has no negative times.
    """
    size, fft = 2 * (log_magnitude.shape[-1] - 1), namespace(log_magnitude).fft
    cepstrum = fft.irfft(log_magnitude + 0j, n=size)
    fold = np.zeros(size)
    fold[0] = fold[size // 2] = 1
    fold[1 : size // 2] = 2
    # The factor `size` and norm="forward": see ShortTimeFourier.analyse.
    return fft.rfft(cepstrum * like(size * fold, cepstrum), norm="forward").imag


def shaped_source(
    pulses: Array, share: Array, log_envelope: Array, least_noise: float
) -> tuple[Array, Array]:
    """The Gaussian that a chain with a source ends in: its mean [B, T, 2, K] and deviation.

    The mean is the pulses in the envelope, with the envelope's minimum phase, by their share of the
    power; the deviation [B, T, 1, K] is what is left for noise.

    Args:
        pulses: STFT of the pulse train, [B, T, K + 1], complex.
        share: of the power that pulses have, [B, T, K].
        log_envelope: logarithm of the deviation that pulses and noise have together, [B, T, K].
        least_noise: smallest share of the power that is noise.
    """
    xp = namespace(log_envelope)
    share, envelope = share.clip(0, 1), xp.exp(log_envelope)
    # Nyquist, which the space has not, has the envelope of the bin below.
    phase = minimum_phase(xp.concatenate((log_envelope, log_envelope[..., -1:]), axis=-1))[..., :-1]
    mean = pulses[..., :-1] * polar(envelope * xp.sqrt(share), phase)
    deviation = envelope * xp.sqrt((1 - share).clip(least_noise))
    return xp.stack((mean.real, mean.imag), axis=2), deviation[:, :, None]


def band_centres(edges: Sequence[float]) -> NDArray[np.float64]:
    """Hz at which the bands' values are meant, [bands]; the lowest band's is its lower limit."""
    limits = np.asarray(edges, np.float64)
    return np.append(limits[0], (limits[1:-1] + limits[2:]) / 2)


def band_weights(edges: Sequence[float], hz: NDArray[np.floating]) -> NDArray[np.float32]:
    """From the values of bands to those of frequencies [K], interpolated: [bands, K].

    Args:
        edges: Hz, the bands' limits, one more than there are bands. The lowest band's value holds
            down to 0 Hz; beyond the outermost centres values are held.
        hz: frequencies, [K].
    """
    centres = band_centres(edges)
    rows = [np.interp(hz, centres, row) for row in np.eye(len(centres))]
    return np.stack(rows).astype(np.float32)
