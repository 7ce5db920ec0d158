"""Settings of a corpus: which audio, how it is prepared, how it is cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from diffwave.base.errors import InputError
from diffwave.base.schema import AtLeastOne, Count, NotNegative, Share

Level = Annotated[float, Meta(ge=-60, le=0)]
Decibels = Annotated[float, Meta(ge=-200, le=200)]


@dataclass
class PrepareConfig:
    """How `diffwave prepare` makes clips of recordings. Those with a mel are only resampled."""

    level: Literal["keep", "rms", "peak"] = "rms"
    """"keep" what the recording has; "rms": bring its speech to rms_db; "peak": bring its largest
    sample to peak_db. One gain for a whole recording, so that soft utterances stay soft."""
    rms_db: Level = -22.0
    """Level of the speech without its pauses, in dB of full scale; LJSpeech has about this."""
    peak_db: Level = -1.0
    """Largest sample in dB of full scale; "rms" does not go beyond it either."""
    piece_seconds: tuple[Annotated[float, Meta(ge=0.1)], NotNegative] = (2.0, 15.0)
    """A recording longer than the second is cut at pauses, into pieces between the two."""
    margin_seconds: NotNegative = 0.2
    """Silence left at either end of a piece, if there is more."""
    shortest_seconds: NotNegative = 0.5
    """Shorter recordings and pieces are left out."""
    max_clipped: Share = 0.005
    """A recording with a larger share of its samples in flat, clipped peaks is left out."""
    validation_share: Share = 0.02
    """Share of the clips, at least 4 of them but at most a quarter, that is never trained on when
    data.validation names none."""

    def __post_init__(self) -> None:
        shortest, longest = self.piece_seconds
        if longest < 2 * shortest:
            raise InputError(
                "The setting data.prepare.piece_seconds must be two lengths, the second at least "
                f"twice the first, not {self.piece_seconds}."
            )


@dataclass
class DataConfig:
    """Which audio, and how it is cut."""

    folder: str = ""
    """Folder searched for audio files, subfolders included; or one that `diffwave prepare` made."""
    mel_folder: str = ""
    """Folder of mels (.npy, .npz, .pt, .safetensors) with the names of the audio files, to train
    on instead of the recordings' own: what an acoustic model predicted under the recordings'
    own durations. May be the folder of the audio."""
    mel_tolerance: Count = 4
    """Frames by which such a mel may be longer or shorter than its recording."""
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    """Of `diffwave prepare` alone."""
    validation: list[str] = field(default_factory=list)
    """File-name patterns, such as LJ001-000?.*, never trained on."""
    crop_frames: AtLeastOne = 128
    """Mel frames per training example."""
    gain_db: tuple[Decibels, Decibels] = (-8.0, 4.0)
    """Range of the random gain, in dB."""
    pitch_share: Share = 0.0
    """Share of the crops that are played faster or slower, so that voices of other sizes are known;
    not of clips with mels of their own."""
    pitch_range: tuple[Annotated[float, Meta(gt=0.2)], Annotated[float, Meta(lt=5)]] = (0.82, 1.35)
    """Least and greatest speed of those."""
    dither: NotNegative = 1e-5
    """Standard deviation of white noise added to every crop, so that silence is never exact."""
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Processes that make the crops; 0: a thread beside the training, which is enough for a CPU.
    A graphics card is faster than one thread: give it 4 to 8."""

    def __post_init__(self) -> None:
        for name in ("gain_db", "pitch_range"):
            low, high = getattr(self, name)
            if low > high:
                raise InputError(
                    f"The setting data.{name} must be a lower and an upper limit, not {low, high}."
                )
