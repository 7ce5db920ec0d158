"""Recordings as 16-bit samples, which a bound in bits per sample counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffwave.base.audio import read_whole, resample


class Recordings:
    """Reads recordings as 16-bit samples of one rate, and notes what that changed."""

    def __init__(self, sample_rate: int | None = None, seconds: float | None = None) -> None:
        """At a rate in Hz, the file's own by default; so many seconds of each, by default all."""
        self.sample_rate, self.seconds = sample_rate, seconds
        self.resampled = self.rounded = 0
        self.cut = False  # whether the last one was

    def read(self, path: Path) -> NDArray[np.int16]:
        """The samples of a file, or the first of them, [L]; InputError as of `read_whole`."""
        audio = read_whole(path)
        wave = audio.wave
        rate = audio.sample_rate if self.sample_rate is None else self.sample_rate
        if audio.sample_rate != rate:
            wave = resample(wave, audio.sample_rate, rate)
            self.resampled += 1
        self.cut = self.seconds is not None and len(wave) > self.seconds * rate
        if self.seconds is not None and self.cut:
            wave = wave[: round(self.seconds * rate)]
        values = (wave.double() * 32768).round().clamp(-32768, 32767)
        self.rounded += bool((values != wave.double() * 32768).any())
        return values.numpy().astype(np.int16)

    @property
    def notes(self) -> list[str]:
        """One for each thing that was done to some of the files."""
        counts = {
            f"were resampled to {self.sample_rate} Hz": self.resampled,
            "were rounded to 16 bits": self.rounded,
        }
        return [f"{count} of the recordings {what}." for what, count in counts.items() if count]
