"""Training data: clips in memory as 16-bit samples, crops drawn as a pure function of the step.

Every random choice of step n comes from a generator seeded by (seed, n), so a resumed run sees
exactly what the uninterrupted one would have seen, with no state to save.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from diffwave.audio import AUDIO_SUFFIXES, read_audio
from diffwave.errors import InputError
from diffwave.training.config import DataConfig


@dataclass
class Clip:
    """One recording in memory."""

    name: str
    samples: NDArray[np.int16]

    def wave(self) -> Tensor:
        """Samples in -1 .. 1, float32, [L]."""
        return torch.from_numpy(self.samples.astype(np.float32) / 32768)


@dataclass
class Corpus:
    """Training and validation clips, and the files that could not be used, with the reason."""

    train: list[Clip]
    validation: list[Clip]
    rejected: list[str]

    sample_rate: int

    @property
    def hours(self) -> float:
        """Hours of audio to train on."""
        return sum(len(clip.samples) for clip in self.train) / self.sample_rate / 3600


def load_corpus(
    config: DataConfig, sample_rate: int, shortest: int, progress: bool = True
) -> Corpus:
    """Read every audio file below `config.folder` into memory at `sample_rate`.

    Args:
        config: folder and validation patterns.
        sample_rate: Hz.
        shortest: samples a training clip must have.
        progress: whether to show a bar.

    Raises:
        InputError: when there is no folder, no audio in it, or nothing in it to train on.
    """
    folder = Path(config.folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r} to train on; set data.folder.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise InputError(f"There is no audio ({', '.join(AUDIO_SUFFIXES)}) below {folder}.")
    corpus = Corpus([], [], [], sample_rate)
    for path in tqdm(paths, desc="reading audio", unit="clip", disable=not progress):
        try:
            wave, _ = read_audio(path, sample_rate)
        except InputError as error:
            corpus.rejected.append(str(error))
            continue
        samples = (wave * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()
        clip = Clip(path.stem, samples)
        if any(fnmatch(path.name, pattern) for pattern in config.validation):
            corpus.validation.append(clip)
        elif len(samples) < shortest:
            corpus.rejected.append(f"{path} is shorter than a crop of {shortest} samples.")
        else:
            corpus.train.append(clip)
    if not corpus.train:
        why = f"; for example: {corpus.rejected[0]}" if corpus.rejected else "; all are validation."
        raise InputError(
            f"None of the {len(paths)} audio files below {folder} can be trained on{why}"
        )
    return corpus


class Crops:
    """Random crops of a corpus, chosen by sample so that every second is equally likely."""

    def __init__(self, clips: list[Clip], length: int, config: DataConfig, seed: int) -> None:
        self.clips, self.length, self.config, self.seed = clips, length, config, seed
        self.ends = np.cumsum([len(clip.samples) - length + 1 for clip in clips])

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Crops of step `step`, white noise for the chain, and where to stratify noise levels.

        Returns:
            wave [size, length] after random gain, polarity and dither; white [size, length];
            uniform [size] in [0, 1), one draw for the place of every example's noise level.
        """
        rng = np.random.default_rng((self.seed, step))
        low, high = self.config.gain_db
        waves = np.empty((size, self.length), np.float32)
        for row, place in zip(waves, rng.integers(self.ends[-1], size=size), strict=True):
            i = int(np.searchsorted(self.ends, place, side="right"))
            start = place - (self.ends[i - 1] if i else 0)
            gain = 10 ** (rng.uniform(low, high) / 20) * rng.choice((-1, 1)) / 32768
            row[:] = self.clips[i].samples[start : start + self.length] * gain
        waves += self.config.dither * rng.standard_normal(waves.shape, np.float32)
        white = rng.standard_normal(waves.shape, np.float32)
        return (
            torch.from_numpy(waves),
            torch.from_numpy(white),
            torch.from_numpy(rng.random(size, np.float32)),
        )
