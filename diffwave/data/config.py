"""Settings of a corpus: which audio, how it is prepared, how it is cut."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from diffwave.errors import InputError


def require(holds: bool, sentence: str, value: object) -> None:
    if not holds:
        raise InputError(f"The setting {sentence}, not {value!r}.")


@dataclass
class PrepareConfig:
    """How `diffwave prepare` makes clips of recordings. Those with a mel are only resampled."""

    level: str = "rms"
    """"keep" what the recording has; "rms": bring its speech to rms_db; "peak": bring its largest
    sample to peak_db. One gain for a whole recording, so that soft utterances stay soft."""
    rms_db: float = -22.0
    """Level of the speech without its pauses, in dB of full scale; LJSpeech has about this."""
    peak_db: float = -1.0
    """Largest sample in dB of full scale; "rms" does not go beyond it either."""
    piece_seconds: tuple[float, float] = (2.0, 15.0)
    """A recording longer than the second is cut at pauses, into pieces between the two."""
    margin_seconds: float = 0.2
    """Silence left at either end of a piece, if there is more."""
    shortest_seconds: float = 0.5
    """Shorter recordings and pieces are left out."""
    max_clipped: float = 0.005
    """A recording with a larger share of its samples in flat, clipped peaks is left out."""
    validation_share: float = 0.02
    """Share of the clips, at least 4 of them but at most a quarter, that is never trained on when
    data.validation names none."""

    def __post_init__(self) -> None:
        require(
            self.level in ("keep", "rms", "peak"),
            "data.prepare.level must be one of keep, rms, peak",
            self.level,
        )
        for name in ("rms_db", "peak_db"):
            value = getattr(self, name)
            require(-60 <= value <= 0, f"data.prepare.{name} must lie in -60 .. 0", value)
        shortest, longest = self.piece_seconds
        require(
            0.1 <= shortest <= longest / 2 < math.inf,
            "data.prepare.piece_seconds must be 0.1 or more, and at least twice that",
            self.piece_seconds,
        )
        for name in ("margin_seconds", "shortest_seconds"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"data.prepare.{name} must be 0 or more", value)
        for name in ("max_clipped", "validation_share"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"data.prepare.{name} must lie in 0 .. 1", value)


@dataclass
class DataConfig:
    """Which audio, and how it is cut."""

    folder: str = ""
    """Folder searched for audio files, subfolders included; or one that `diffwave prepare` made."""
    mel_folder: str = ""
    """Folder of mels (.npy, .npz, .pt, .safetensors) with the names of the audio files, to train
    on instead of the recordings' own: what an acoustic model predicted under the recordings'
    own durations. May be the folder of the audio."""
    mel_tolerance: int = 4
    """Frames by which such a mel may be longer or shorter than its recording."""
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    """Of `diffwave prepare` alone."""
    validation: list[str] = field(default_factory=list)
    """File-name patterns, such as LJ001-000?.*, never trained on."""
    crop_frames: int = 128
    """Mel frames per training example."""
    gain_db: tuple[float, float] = (-8.0, 4.0)
    """Range of the random gain, in dB."""
    dither: float = 1e-5
    """Standard deviation of white noise added to every crop, so that silence is never exact."""

    def __post_init__(self) -> None:
        require(self.mel_tolerance >= 0, "data.mel_tolerance must be 0 or more", self.mel_tolerance)
        require(self.crop_frames >= 1, "data.crop_frames must be at least 1", self.crop_frames)
        require(
            -math.inf < self.gain_db[0] <= self.gain_db[1] < math.inf,
            "data.gain_db must be a lower and an upper limit",
            self.gain_db,
        )
        require(0 <= self.dither < math.inf, "data.dither must not be negative", self.dither)
