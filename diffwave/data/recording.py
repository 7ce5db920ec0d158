"""One recording on its way into a corpus: read, judged, resampled, levelled and cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffwave.audio import read_whole, resample
from diffwave.data.config import PrepareConfig
from diffwave.data.data import sixteen_bit
from diffwave.data.pairs import MelFolder
from diffwave.data.pauses import frame_powers, pieces, speech_rms
from diffwave.errors import InputError
from diffwave.text import printable

SILENT_RMS = 1e-3  # -60 dB of full scale
FLAT = 0.999  # share of the largest sample from which on others count as cut off


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
    """Make clips of a file, or say why there are none.

    Args:
        path: the file.
        file: its path relative to the folder of the audio.
        sample_rate: Hz, of the clips.
        config: how they are made.
        mels: where the recording's mel is. A recording with a mel becomes one clip, neither cut
            nor levelled, because the mel belongs to it as it is.
    """
    taken = Recording(file)
    try:
        taken.rejected = _cut(taken, path, sample_rate, config, mels)
    except InputError as error:
        taken.rejected = Remark("unreadable", str(error))
    return taken


def _cut(
    taken: Recording, path: Path, sample_rate: int, config: PrepareConfig, mels: MelFolder | None
) -> Remark | None:
    """Give a recording its clips and remarks; returns why it has none, if so."""
    file = taken.file
    wave, rate, channels = read_whole(path)
    taken.seconds = len(wave) / rate
    if channels > 1:
        taken.remarks.append(
            Remark("more than one channel", f"{file} has {channels} channels; their mean is taken.")
        )
    if rate < sample_rate:
        limit = f"from {rate} to {sample_rate} Hz; above {rate / 2:g} Hz it is silent"
        taken.remarks.append(Remark("upsampled", f"{file} was resampled {limit}."))
    try:
        samples = resample(wave, rate, sample_rate).numpy()
    except InputError as error:
        return Remark("too long", f"{path}: {error}")
    if fault := _fault(path, wave.numpy(), samples, sample_rate, config):
        return fault
    if mels is not None:
        try:
            clip, taken.mel, taken.mel_difference = mels.pair(Path(file), sixteen_bit(samples))
        except InputError as error:
            return Remark("no mel that fits", str(error))
        taken.clips = [clip]
        return None
    samples = samples * np.float32(_gain(samples, sample_rate, config))
    shortest = config.shortest_seconds * sample_rate
    found = [samples[start:end] for start, end in pieces(samples, sample_rate, config)]
    taken.clips = [sixteen_bit(piece) for piece in found if len(piece) >= shortest]
    if not taken.clips:
        return Remark("too short", f"{path} is too short without its silence.")
    if lost := len(found) - len(taken.clips):
        sentence = f"{lost} of {len(found)} pieces of {file} are left out."
        taken.remarks.append(Remark("pieces too short", sentence))
    return None


def _fault(
    path: Path,
    original: NDArray[np.float32],
    samples: NDArray[np.float32],
    sample_rate: int,
    config: PrepareConfig,
) -> Remark | None:
    """What is wrong with a wave, as it was in the file and resampled."""
    seconds = len(samples) / sample_rate
    if not len(samples) or seconds < config.shortest_seconds:
        sentence = f"{path} is shorter than {config.shortest_seconds:g} s, with {seconds:.2f} s."
        return Remark("too short", sentence)
    if speech_rms(frame_powers(samples, sample_rate)) < SILENT_RMS:
        return Remark("silent", f"{path} is silent.")
    share = clipped_share(original)
    if share > config.max_clipped:
        return Remark("clipped", f"{path} is clipped: {100 * share:.1f} % of it are flat peaks.")
    return None


def clipped_share(wave: NDArray[np.float32]) -> float:
    """Share of the samples of [L] that lie in flat peaks.

    A flat peak is three or more samples in a row that are nearly as large as the largest of all on
    their side of 0; so also of a recording that was made quieter after it was clipped.
    """
    count = 0
    for side in (wave, -wave):
        top = float(side.max(initial=0))
        near = (side >= FLAT * top) & (side > 0)
        middle = near[:-2] & near[1:-1] & near[2:]
        flat = np.zeros(len(wave), bool)
        for shift in range(3):
            flat[shift : len(wave) - 2 + shift] |= middle
        count += int(np.count_nonzero(flat))
    return count / max(1, len(wave))


def _gain(wave: NDArray[np.float32], sample_rate: int, config: PrepareConfig) -> float:
    """Factor that brings a wave to the level of the settings."""
    highest = 10 ** (config.peak_db / 20) / float(np.abs(wave).max())
    if config.level == "rms":
        rms = speech_rms(frame_powers(wave, sample_rate))
        return min(highest, 10 ** (config.rms_db / 20) / rms)
    return highest if config.level == "peak" else 1.0
