"""Speech for the mels of a Kaldi table: python egs/from_kaldi.py feats.scp wavs [VOICE]

Every line of the table is `KEY FILE.ark:OFFSET`; its matrix [T, n_mels], of the voice's convention,
becomes wavs/KEY.wav. Needs the package kaldi-native-io.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import kaldi_native_io
import numpy as np

from diffwave import Vocoder
from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError, run_script


def entries(table: Path) -> Iterator[tuple[str, str]]:
    """Keys and places of a table; InputError for a line that is not one."""
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1):
        key, _, place = line.strip().partition(" ")
        place = place.strip()
        if not place or "/" in key or key.startswith("."):
            raise InputError(f"{table}, line {number} is not a key and a file.")
        if "|" in place:  # which Kaldi would run
            raise InputError(f"{table}, line {number} is a command, and none is run here.")
        yield key, place


def matrix(place: str) -> np.ndarray:
    """The matrix [T, n_mels] at FILE:OFFSET, compressed or not; InputError if it is none."""
    try:
        return np.array(kaldi_native_io.FloatMatrix.read(place).numpy())
    except Exception as error:
        raise InputError(f"There is no matrix at {place} ({type(error).__name__}).") from None


def main(table: str, folder: str, voice: str | None = None) -> int:
    vocoder = Vocoder.from_pretrained(voice) if voice else Vocoder.from_pretrained()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for key, place in entries(Path(table)):
        wave = vocoder(matrix(place).T, seed=1)
        write_audio(Path(folder) / f"{key}.wav", wave, vocoder.sample_rate)
    return 0


if __name__ == "__main__":
    run_script(lambda: main(*sys.argv[1:]))
