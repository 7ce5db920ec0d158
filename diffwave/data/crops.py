"""Crops of clips, drawn as a pure function of seed, step and row.

Every random choice of row r of step n comes from a generator seeded by (seed, n, r). A resumed run
thus sees exactly what the uninterrupted one would have seen, with no state to save, and a process
or a part of a batch draws its own rows alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.data.clip import Clip
from diffwave.data.config import DataConfig
from diffwave.data.source import crop_of
from diffwave.mel import MelSpectrogram
from diffwave.model import ModelConfig
from diffwave.spaces.source import Excitation, pulse_train

DRAWS = 5
"""Uniform random numbers that every example brings beside its noise."""


@dataclass
class Batch:
    """Some rows of a step's batch."""

    wave: Tensor
    """[B, L] after random gain, polarity and dither."""
    white: Tensor
    """[B, 2, L], two independent unit white noises for every example."""
    place: Tensor
    """[B] in [0, 1): row r of a batch of N lies in the r-th of N equal stretches."""
    common: float
    """In [0, 1), one draw for the whole step."""
    draws: Tensor
    """[B, 5] in [0, 1), for whatever else is random about an example."""
    mel: Tensor | None = None
    """[B, n_mels, T] of clips that bring their own."""
    excitation: Excitation | None = None
    """Where a source is trained."""
    f0: Tensor | None = None
    """Then as well: Hz, 0 without voice, [B, T]."""

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        mel, f0 = (None if x is None else x.to(device) for x in (self.mel, self.f0))
        source = self.excitation
        return dataclasses.replace(
            self,
            wave=self.wave.to(device),
            white=self.white.to(device),
            draws=self.draws.to(device),
            mel=mel,
            excitation=None if source is None else Excitation(*(x.to(device) for x in source)),
            f0=f0,
        )


class Example(NamedTuple):
    """One crop."""

    wave: NDArray[np.float32]
    """[L]."""
    mel: Tensor | None = None
    """[n_mels, T], if the clip has its own."""
    source: tuple[Tensor, Tensor, Tensor] | None = None
    """Pulse train [L], share [T, bands] and F0 [T]."""


class Crops:
    """Random crops of a corpus, chosen by place so that every second is equally likely.

    A crop of a recording starts at any sample; one of a clip with its own mel at the samples that
    belong to a frame.
    """

    def __init__(
        self, clips: Sequence[Clip], model: ModelConfig, config: DataConfig, seed: int
    ) -> None:
        """`model` says how mel frames lie over samples, `config` how long a crop is and the rest.

        The clips are at least a crop long, and bring their own mels all or not at all.
        """
        self.clips, self.config, self.seed = clips, config, seed
        self.framing = Framing(model)
        self.length = self.framing.samples(config.crop_frames)
        self.ends = np.cumsum([self._places(clip) for clip in clips])

    def batch(self, step: int, size: int, rows: Sequence[int] | None = None) -> Batch:
        """The rows `rows` (default: all) of the batch of step `step`, which has `size` rows."""
        rows = range(size) if rows is None else rows
        wave, mel, source, generators = self._examples(step, rows)
        white = np.empty((len(rows), 2, self.length), np.float32)
        for rng, noise in zip(generators, white, strict=True):
            rng.standard_normal(dtype=np.float32, out=noise)
        place = [(row + rng.random()) / size for rng, row in zip(generators, rows, strict=True)]
        draws = torch.from_numpy(np.stack([rng.random(DRAWS, np.float32) for rng in generators]))
        common = np.random.default_rng((self.seed, step, 0)).random()
        places = torch.tensor(place, dtype=torch.float64)
        batch = Batch(wave, torch.from_numpy(white), places, common, draws, mel)
        if source is not None:
            batch.excitation, batch.f0 = Excitation(*source[:2]), source[2]
        return batch

    def examples(self, step: int, size: int) -> tuple[Tensor, Tensor | None]:
        """Wave and mel of a batch as :meth:`batch` makes it, without the rest."""
        return self._examples(step, range(size))[:2]

    def stream(self, step: int, size: int, shares: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Batches of every share of rows of step `step`, then of the next, without end.

        The next one is made in a background thread while the caller works on one, so that reading
        and drawing cost no time where there is a core, or a graphics card, to spare.
        """
        with ThreadPoolExecutor(1, "crops") as pool:
            ahead = pool.submit(self.batch, step, size, shares[0])
            while True:
                for i in range(len(shares)):
                    batch = ahead.result()
                    following = (step, i + 1) if i + 1 < len(shares) else (step + 1, 0)
                    ahead = pool.submit(self.batch, following[0], size, shares[following[1]])
                    yield batch
                step += 1

    def _examples(
        self, step: int, rows: Sequence[int]
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None, list[np.random.Generator]]:
        """Waves [B, L], mels and sources of clips that have them, and the rows' generators."""
        # (seed, step, 0) is the step's own generator.
        generators = [np.random.default_rng((self.seed, step, 1 + row)) for row in rows]
        wave = np.empty((len(rows), self.length), np.float32)
        mels, sources = [], []
        for row, rng in zip(wave, generators, strict=True):
            row[:], mel, source = self._crop(rng)
            row += self.config.dither * rng.standard_normal(self.length, np.float32)
            if mel is not None:
                mels.append(mel)
            if source is not None:
                sources.append(source)
        stacked = [torch.stack(part) for part in zip(*sources, strict=True)] or None
        return torch.from_numpy(wave), torch.stack(mels) if mels else None, stacked, generators

    def _places(self, clip: Clip) -> int:
        if clip.mel is None:
            return len(clip.samples) - self.length + 1
        return clip.mel.shape[1] - self.config.crop_frames + 1

    def _crop(self, rng: np.random.Generator) -> Example:
        """One crop of random place, gain, polarity (but not beside a source) and speed."""
        place = int(rng.integers(self.ends[-1]))
        i = int(np.searchsorted(self.ends, place, side="right"))
        clip, first = self.clips[i], place - int(self.ends[i - 1] if i else 0)
        low, high = self.config.gain_db
        gain = 10 ** (rng.uniform(low, high) / 20)
        sign = rng.choice((-1, 1)) if clip.source is None else clip.polarity
        scale = np.float32(gain * sign / 32768)
        frames = self.config.crop_frames
        if clip.mel is not None:
            samples = self.framing.samples_of(clip, first, frames) * scale
            mel = amplified(
                mel_frames(clip.mel, first, frames), math.log(gain), self.framing.frontend
            )
            start = first * self.framing.hop_length - self.framing.pad_left
            return Example(samples, mel, self.framing.source_of(clip, start, frames))
        if self.config.pitch_share and rng.random() < self.config.pitch_share:
            slowest, fastest = self.config.pitch_range
            speed = slowest * (fastest / slowest) ** rng.random()
            speed = min(speed, len(clip.samples) / self.length)
            first = min(first, len(clip.samples) - math.ceil(self.length * speed))
            samples = played(clip.samples[first:], speed, self.length) * scale
            return Example(samples, None, self.framing.source_of(clip, first, frames, speed))
        samples = clip.samples[first : first + self.length] * scale
        return Example(samples, None, self.framing.source_of(clip, first, frames))


class Framing:
    """How the frames of a model's mel lie over samples."""

    def __init__(self, model: ModelConfig) -> None:
        self.frontend = MelSpectrogram(model.mel)  # on the CPU
        self.hop_length, self.pad_left = model.mel.hop_length, model.space.pad_left
        self.overlap = model.space.context(1) - self.hop_length
        self.bands: tuple[float, ...] = getattr(model.space, "source_bands", ())

    def samples(self, count: int) -> int:
        """Samples that frames need, their context included."""
        return count * self.hop_length + self.overlap

    def samples_of(self, clip: Clip, first: int, count: int) -> NDArray[np.int16]:
        """Samples [L] of frames first .. first + count - 1 of a clip, with their context.

        Beyond its ends the clip is reflected, as a frontend does.
        """
        start = first * self.hop_length - self.pad_left
        end = start + self.samples(count)
        missing = (max(-start, 0), max(end - len(clip.samples), 0))
        inside = clip.samples[max(start, 0) : end]
        return np.pad(inside, missing, mode="reflect") if any(missing) else inside

    def source_of(
        self, clip: Clip, start: int, count: int, speed: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Pulse train [L], share [count, bands] and F0 [count] of frames; None without a source.

        Args:
            clip: the recording.
            start: its sample at which the context of the first frame starts.
            count: frames.
            speed: at which it is played.
        """
        if clip.source is None:
            return None
        centres = np.arange(count) * self.hop_length + (self.overlap + self.hop_length) / 2
        length, rate = self.samples(count), self.frontend.config.sample_rate
        pulses, f0, share = crop_of(clip.source, rate, self.bands, start, speed, length, centres)
        return pulse_train(pulses, 0, length), torch.from_numpy(share), torch.from_numpy(f0)


def played(samples: NDArray[np.int16], speed: float, length: int) -> NDArray[np.float32]:
    """The first `length` samples of a recording that is played `speed` times as fast."""
    few = samples[: math.ceil(speed * (length + 64))].astype(np.float32)
    faster = soxr.resample(few, speed, 1.0)[:length]
    return np.pad(faster, (0, length - len(faster)))


def mel_frames(mel: NDArray[np.float32], first: int, count: int) -> Tensor:
    """Frames first .. first + count - 1 of a clip's mel, [n_mels, count]."""
    # A copy: a mapped file is read-only, which PyTorch warns of.
    return torch.from_numpy(np.array(mel[:, first : first + count], np.float32))


def amplified(mel: Tensor, log_gain: float, frontend: MelSpectrogram) -> Tensor:
    """The mel [n_mels, T] of a wave that is exp(log_gain) times as loud.

    What lies at the floor of the convention, of which nobody knows how far it is below, stays.
    """
    ends = torch.tensor([[0.0, math.inf]]).expand(len(mel), 2)
    low, high = frontend.scaled_log(ends).split(1, dim=1)
    louder = torch.minimum((mel + log_gain * frontend.slope).clamp_min(low), high)
    return torch.where(mel > low + 1e-4 * frontend.slope, louder, low)
