"""What the scripts of this recipe share: the labels of a corpus, and its recordings as clips."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "egs" / "tts"))  # phonemes.py and acoustic.py, which speak.py shares

from diffwave.base.audio import read_audio  # noqa: E402
from diffwave.base.errors import InputError  # noqa: E402
from diffwave.base.files import atomic_path, read_error  # noqa: E402
from diffwave.mel import MelConfig, preset  # noqa: E402

MEL: MelConfig = preset("hifigan")


@dataclass
class Utterance:
    """One recording and what is known of it. Times are in samples or frames of the clip."""

    id: str
    speaker: str
    text: str
    start: int
    """First sample of the clip in the file; the silence before it is cut off."""
    end: int
    gain: float
    """By which the samples are multiplied, so that all recordings have one level."""
    tokens: list[int] = field(default_factory=list)
    """[N] numbers of the symbols."""
    durations: list[int] = field(default_factory=list)
    """[N] frames of each."""
    pitch: list[float] = field(default_factory=list)
    """[N] mean of ln F0, less the speaker's mean, over the speaker's standard deviation."""
    energy: list[float] = field(default_factory=list)
    """[N] mean log amplitude, normalised in the same way."""
    held_out: bool = False

    @property
    def frames(self) -> int:
        """Mel frames of the clip."""
        return MEL.frames(self.end - self.start)


@dataclass
class Labels:
    """All utterances of a corpus, and what their numbers mean."""

    symbols: list[str]
    speakers: list[str]
    statistics: dict[str, dict[str, list[float]]]
    """Of each speaker, mean and standard deviation of "pitch" (ln Hz) and "energy" (ln)."""
    utterances: list[Utterance]

    def save(self, path: Path) -> None:
        """Write it as JSON, an utterance a line."""
        head: dict[str, Any] = asdict(self)
        lines = [json.dumps(line, ensure_ascii=False) for line in head.pop("utterances")]
        text = json.dumps(head, ensure_ascii=False)[:-1]
        with atomic_path(path) as place:
            place.write_text(
                text + ', "utterances": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8"
            )

    @classmethod
    def load(cls, path: Path) -> Labels:
        """Read what `save` wrote; raises `InputError` when it is something else."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            utterances = [Utterance(**line) for line in data.pop("utterances")]
            return cls(utterances=utterances, **data)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"Cannot read the labels {path}: {error}.") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a file of text; InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise read_error(path, error) from None


def audio_file(corpora: Path, speaker: str, name: str) -> Path:
    """CORPORA/SPEAKER/wavs/NAME or CORPORA/SPEAKER/NAME, with .flac or .wav; InputError if none."""
    for folder in (corpora / speaker / "wavs", corpora / speaker):
        for suffix in (".flac", ".wav"):
            if (path := folder / (name + suffix)).is_file():
                return path
    raise InputError(f"There is no recording {name} of {speaker} in {corpora}.")


def clip(corpora: Path, utterance: Utterance) -> Tensor:
    """The recording of an utterance as it is trained on, float32 [L] at the mel's sample rate."""
    path = audio_file(corpora, utterance.speaker, utterance.id)
    wave, _ = read_audio(path, MEL.sample_rate)
    wave = wave[utterance.start : utterance.end] * utterance.gain
    # Rounded as a file of 16 bits would be, so that a clip written and read again is the same.
    return torch.from_numpy(np.clip(np.round(wave.numpy() * 32767), -32767, 32767) / 32767).float()
