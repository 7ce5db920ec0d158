"""Mels of recordings in every convention, as they are met: loud or soft, cut short, smoothed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffwave.base.audio import AUDIO_SUFFIXES, read_audio, resample
from diffwave.base.files import find_files
from diffwave.mel.conventions import CONVENTIONS, Convention

NORMALISED = ("espnet", "espnet-24k")
"""Conventions whose mels are also met normalised, band by band, by statistics of their corpus."""

UNTOLD = ("hifigan-hop200",)
"""Conventions that differ from another by a tempo alone, which voices differ by as well."""


@dataclass(frozen=True)
class Example:
    """A mel, what it is, and whether it is normalised band by band."""

    name: str
    mel: Tensor
    normalised: bool = False

    @property
    def label(self) -> str:
        return f"{self.name}*" if self.normalised else self.name


def split(folders: Sequence[Path], held_out: bool) -> list[Path]:
    """Recordings: LJ001-0001..0016 and prompts that end in 7 are held out."""
    files = sorted(file for folder in folders for file in find_files(folder, AUDIO_SUFFIXES))
    chosen = [file for file in files if _is_held_out(file.stem) == held_out]
    if not chosen:
        raise SystemExit(f"There is no recording for this in {', '.join(map(str, folders))}.")
    return chosen


def _is_held_out(stem: str) -> bool:
    if stem.startswith("LJ"):
        return stem <= "LJ001-0016"
    prompt = next((word for word in stem.split("_") if word[1:].isdigit()), stem)
    return prompt.endswith("7")


def some(folder: Path, held_out: bool, count: int) -> list[Path]:
    """So many recordings of a folder, evenly spaced."""
    files = split([folder], held_out)
    return files[:: max(1, len(files) // count)][:count]


def wave_of(file: Path, gain_db: float, seconds: float = 6.0) -> Tensor:
    """A recording at an rms of -23 dB and a gain, [L] at 22.05 kHz."""
    wave, _ = read_audio(file, 22050)
    wave = wave[: round(seconds * 22050)]
    level = 10 ** ((gain_db - 23) / 20) / float(wave.square().mean().sqrt().clamp(min=1e-6))
    return (wave * level).clamp(-1, 1)


def at_rate(wave: Tensor, rate: int, image: float) -> Tensor:
    """The wave at a rate; above 11 kHz it has what is below, mirrored, times `image`.

    Recordings at 22.05 kHz have nothing there, by which every higher rate would be known.
    """
    if rate <= 22050:
        return resample(wave, 22050, rate)
    doubled = torch.zeros(2 * len(wave))
    doubled[::2] = wave * 2  # its spectrum is mirrored at 11 kHz
    clean = resample(wave, 22050, 44100)
    size = min(len(doubled), len(clean))
    both = clean[:size] + image * (doubled[:size] - clean[:size])
    return resample(both, 44100, rate)


def statistics(files: Sequence[Path], convention: Convention) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each band over recordings."""
    frames = torch.cat(
        [convention.analyse(at_rate(wave_of(file, 0), convention.mel.sample_rate, 0.1))
         for file in files], 1,
    )  # fmt: skip
    return frames.mean(1), frames.std(1)


def examples(
    files: Sequence[Path],
    gains: Sequence[float],
    normalisers: dict[str, tuple[Tensor, Tensor]],
    seed: int,
    images: Sequence[float] = (0.0, 0.1, 0.3),
    speed: float = 0.0,
    names: Sequence[str] = tuple(name for name in CONVENTIONS if name not in UNTOLD),
) -> Iterator[Example]:
    """For every recording and convention a mel at one of the gains, in turn."""
    rng = np.random.default_rng(seed)
    for i, file in enumerate(files):
        wave = wave_of(file, gains[i % len(gains)])
        if speed:
            factor = math.exp(rng.uniform(-speed, speed))
            wave = resample(wave, 22050, round(22050 / factor))
        image = images[i % len(images)]
        waves: dict[int, Tensor] = {}
        for name in names:
            convention = CONVENTIONS[name]
            rate = convention.mel.sample_rate
            if rate not in waves:
                waves[rate] = at_rate(wave, rate, image)
            mel = convention.analyse(waves[rate])
            yield Example(name, mel)
            if name in normalisers:
                mean, scale = normalisers[name]
                yield Example(name, (mel - mean[:, None]) / scale[:, None], True)


def smoothed(mel: Tensor, amount: float) -> Tensor:
    """A mel as a model that minimises a mean error predicts it."""
    mean = torch.nn.functional.avg_pool2d(mel[None], 3, 1, 1, count_include_pad=False)[0]
    return mel + amount * (mean - mel)
