"""One recording on its way into a corpus: read, judged, resampled, levelled, cut at its pauses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffwave.audio import read_whole, resample
from diffwave.data.config import PrepareConfig
from diffwave.data.corpus import MelFolder, sixteen_bit
from diffwave.errors import InputError
from diffwave.text import printable

SILENT_RMS = 1e-3  # -60 dB of full scale
FLAT = 0.999  # share of the largest sample from which on others count as cut off
FRAMES_PER_SECOND = 100
BELOW_SPEECH = 1e-4
"""A frame with less power than this share of the speech's (-40 dB) is a pause; in noise, one with
less than `ABOVE_NOISE` of the power of the quietest, as long as that is below `IN_NOISE`."""
ABOVE_NOISE, IN_NOISE = 4.0, 1e-2
WIDTH = 5
"""Frames over which power is averaged to find the quietest place where nothing is a pause."""

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Remark:
    """Something to report of a file: its kind, to be counted by, and a sentence."""

    kind: str
    sentence: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", printable(self.sentence))  # it quotes file names


@dataclass
class Recording:
    """What became of one file."""

    file: str
    """Path relative to the folder of the audio."""
    seconds: float = 0.0
    """Duration of the file."""
    clips: list[NDArray[np.int16]] = field(default_factory=list)
    """[L] each, at the corpus's sample rate."""
    mel: NDArray[np.float32] | None = None
    """[n_mels, T] of the only clip, if the corpus has mels."""
    mel_difference: int = 0
    """Frames that the mel had more than the recording."""
    rejected: Remark | None = None
    """Why there are no clips, if there are none."""
    remarks: list[Remark] = field(default_factory=list)


def take(
    path: Path, file: str, sample_rate: int, config: PrepareConfig, mels: MelFolder | None
) -> Recording:
    """Make clips, at `sample_rate` Hz, of the file `file` at `path`, or say why there are none.

    A recording that has a mel in `mels` becomes one clip, neither cut nor levelled, because the mel
    belongs to it as it is.
    """
    taken, kind = Recording(file), "unreadable"
    try:
        wave, rate, channels = read_whole(path)
        taken.seconds = len(wave) / rate
        if channels > 1:
            sentence = f"{file} has {channels} channels; their mean is taken."
            taken.remarks.append(Remark("more than one channel", sentence))
        if rate < sample_rate:
            limit = f"from {rate} to {sample_rate} Hz; above {rate / 2:g} Hz it is silent"
            taken.remarks.append(Remark("upsampled", f"{file} was resampled {limit}."))
        kind = "too long"
        samples = resample(wave, rate, sample_rate).numpy()
        taken.rejected = _fault(path, wave.numpy(), samples, sample_rate, config)
        if taken.rejected is None and mels is None:
            _cut(taken, path, samples, sample_rate, config)
        elif taken.rejected is None and mels is not None:
            kind = "no mel that fits"
            clip, taken.mel, taken.mel_difference = mels.pair(Path(file), sixteen_bit(samples))
            taken.clips = [clip]
    except InputError as error:
        taken.rejected = Remark(kind, f"{path}: {error}" if kind == "too long" else str(error))
    return taken


def _fault(
    path: Path, original: Wave, samples: Wave, sample_rate: int, config: PrepareConfig
) -> Remark | None:
    """Why a wave, as it was in the file and resampled, is of no use; None if it is of use."""
    seconds = len(samples) / sample_rate
    if not len(samples) or seconds < config.shortest_seconds:
        sentence = f"{path} is shorter than {config.shortest_seconds:g} s, with {seconds:.2f} s."
        return Remark("too short", sentence)
    if speech_rms(frame_powers(samples, sample_rate)) < SILENT_RMS:
        return Remark("silent", f"{path} is silent.")
    if (share := clipped_share(original)) > config.max_clipped:
        return Remark("clipped", f"{path} is clipped: {100 * share:.1f} % of it are flat peaks.")
    return None


def _cut(
    taken: Recording, path: Path, samples: Wave, sample_rate: int, config: PrepareConfig
) -> None:
    """Give a recording its clips, levelled by one gain."""
    gain, highest = 1.0, 10 ** (config.peak_db / 20) / float(np.abs(samples).max())
    if config.level == "rms":
        rms = speech_rms(frame_powers(samples, sample_rate))
        gain = min(highest, 10 ** (config.rms_db / 20) / rms)
    elif config.level == "peak":
        gain = highest
    samples = samples * np.float32(gain)
    shortest = config.shortest_seconds * sample_rate
    found = [samples[start:end] for start, end in pieces(samples, sample_rate, config)]
    taken.clips = [sixteen_bit(piece) for piece in found if len(piece) >= shortest]
    if not taken.clips:
        taken.rejected = Remark("too short", f"{path} is too short without its silence.")
    elif lost := len(found) - len(taken.clips):
        sentence = f"{lost} of {len(found)} pieces of {taken.file} are left out."
        taken.remarks.append(Remark("pieces too short", sentence))


def clipped_share(wave: Wave) -> float:
    """Share of the samples of [L] that lie in flat peaks.

    A flat peak is three or more samples in a row that are nearly as large as the largest of all on
    their side of 0; so also of a recording that was made quieter after it was clipped.
    """
    count = 0
    for side in (wave, -wave):
        near = (side >= FLAT * side.max(initial=0)) & (side > 0)
        middle = near[:-2] & near[1:-1] & near[2:]
        if middle.any():
            count += int(np.count_nonzero(np.convolve(middle, np.ones(3, int))))
    return count / max(1, len(wave))


def frame_powers(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Mean square of every 10 ms of a wave [L], its mean removed; an incomplete end counts."""
    mean = float(wave.mean(dtype=np.float64))
    starts = np.arange(0, len(wave), _frame_size(sample_rate))
    sums = np.add.reduceat(np.square(wave - np.float32(mean)), starts, dtype=np.float64)
    return sums / np.diff(np.append(starts, len(wave)))


def _frame_size(sample_rate: int) -> int:
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


def pieces(wave: Wave, sample_rate: int, config: PrepareConfig) -> Iterator[tuple[int, int]]:
    """Start and end, in samples, of the clips to make of a recording [L].

    Each keeps at most `config.margin_seconds` of silence at its ends. A recording longer than the
    second of `config.piece_seconds` is cut in the middle of the longest pause that leaves a piece
    between the two (to 10 ms), or, where there is no pause, at the quietest place.
    """
    powers = frame_powers(wave, sample_rate)
    speech = is_speech(powers)
    spoken = np.flatnonzero(speech)
    size = _frame_size(sample_rate)
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
