"""Crops of clips, a pure function of seed, step and row.

Every random choice of row r of step n comes from a generator seeded by (seed, n, r). A resumed run
thus sees exactly what the uninterrupted one would have seen, with no state to save, and a process
or a part of a batch draws its own rows alone.
"""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffwave.base.files import in_order
from diffwave.data.config import DataConfig
from diffwave.data.source import Track, crop_of
from diffwave.mel import MelSpectrogram
from diffwave.mel.normalise import scaled_log
from diffwave.model import ModelConfig
from diffwave.spaces.source import Excitation, pulse_train

BatchKey = tuple[int, int, tuple[int, ...]]
"""Step, size of its batch, rows."""
DRAWS = 5
"""Uniform random numbers that every example brings beside its noise."""


@dataclass
class Clip:
    """A recording, as it is trained on."""

    name: str
    samples: NDArray[np.int16]
    """[L], in memory or a read-only view of a mapped file."""
    mel: NDArray[np.float32] | None = None
    """[n_mels, T] of the L = T * hop_length samples, of whoever made it; None: the recording's
    own is meant."""
    source: Track | None = None
    """What excites it, where a source is trained."""
    polarity: int = 1
    """-1: its pulses point down."""

    def wave(self) -> Tensor:
        """Samples in -1 .. 1, float32, [L]."""
        return torch.from_numpy(self.samples.astype(np.float32) / 32768)


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
    shared: dict[str, Any] | None = None
    """What one loss has computed and another of the same step can use; None: nothing is shared."""

    def to(self, device: torch.device) -> Batch:
        """The same on a device; noise levels, which `place` stands for, stay on the CPU."""
        mel, f0 = (None if x is None else x.to(device) for x in (self.mel, self.f0))
        source = self.excitation and Excitation(*(x.to(device) for x in self.excitation))
        wave, white, draws = (x.to(device) for x in (self.wave, self.white, self.draws))
        return Batch(wave, white, self.place, self.common, draws, mel, source, f0)


class Crop(NamedTuple):
    """Some frames of a clip."""

    wave: NDArray[np.float32]
    """Their samples with context, [L]; full scale is 32768."""
    mel: Tensor | None
    """[n_mels, T], if the clip has its own."""
    source: tuple[Tensor, Tensor, Tensor] | None
    """Pulse train [L], share [T, bands] and F0 [T], if the clip has them."""


def batch_of(
    crops: Sequence[Crop],
    white: NDArray[np.float32],
    places: Sequence[float],
    common: float,
    draws: NDArray[np.float32],
) -> Batch:
    """Crops, all or none of which have a mel and a source, and what is random about them."""
    wave, place = np.stack([crop.wave for crop in crops]), torch.tensor(places, dtype=torch.float64)
    random = place, common, torch.from_numpy(draws)
    batch = Batch(torch.from_numpy(wave), torch.from_numpy(white), *random)
    if mels := [crop.mel for crop in crops if crop.mel is not None]:
        batch.mel = torch.stack(mels)
    if sources := [crop.source for crop in crops if crop.source is not None]:
        train, share, batch.f0 = (torch.stack(part) for part in zip(*sources, strict=True))
        batch.excitation = Excitation(train, share)
    return batch


class Framing:
    """How the frames of a model's mel lie over samples, and how frames are cut out of a clip."""

    def __init__(self, model: ModelConfig) -> None:
        self.frontend = MelSpectrogram(model.mel)  # on the CPU
        self.hop_length, self.pad_left = model.mel.hop_length, model.space.pad_left
        self.overlap = model.space.context(1) - self.hop_length
        self.bands = model.space.source_bands

    def samples(self, frames: int) -> int:
        """Samples that frames need, their context included."""
        return frames * self.hop_length + self.overlap

    def places(self, clip: Clip, frames: int) -> int:
        """Places from which so many frames can be cut: any sample, or those of the clip's mel."""
        if clip.mel is None:
            return len(clip.samples) - self.samples(frames) + 1
        return clip.mel.shape[1] - frames + 1

    def cut(self, clip: Clip, place: int, frames: int, speed: float = 1.0) -> Crop:
        """Frames of a clip from one of its :meth:`places` on, played at some speed.

        A clip that has its own mel is played as it is, and reflected at its ends, as a frontend
        does.
        """
        start = place if clip.mel is None else place * self.hop_length - self.pad_left
        length, mel, source = self.samples(frames), None, None
        if speed == 1:
            missing = max(-start, 0), max(start + length - len(clip.samples), 0)
            wave = clip.samples[max(start, 0) : start + length].astype(np.float32)
            wave = np.pad(wave, missing, mode="reflect") if any(missing) else wave
        else:
            slow = clip.samples[start:][: math.ceil(speed * (length + 64))].astype(np.float32)
            wave = soxr.resample(slow, speed, 1.0)[:length]
            wave = np.pad(wave, (0, length - len(wave)))
        if clip.mel is not None:
            # A copy: a mapped file is read-only, which PyTorch warns of.
            mel = torch.from_numpy(np.array(clip.mel[:, place : place + frames], np.float32))
        if clip.source is not None:
            centres = np.arange(frames) * self.hop_length + (self.overlap + self.hop_length) / 2
            rate = self.frontend.config.sample_rate
            pulses, f0, share = crop_of(
                clip.source, rate, self.bands, start, speed, length, centres
            )
            train = pulse_train(pulses, 0, length)
            source = train, torch.from_numpy(share), torch.from_numpy(f0)
        return Crop(wave, mel, source)


class Crops:
    """Random crops of a corpus, chosen by place so that every second is equally likely."""

    def __init__(
        self, clips: Sequence[Clip], model: ModelConfig, config: DataConfig, seed: int
    ) -> None:
        """`model` says how mel frames lie over samples, `config` how long a crop is and the rest.

        The clips are at least a crop long, and bring their own mels and sources all or not at all.
        """
        self.clips, self.config, self.seed = clips, config, seed
        self.framing = Framing(model)
        self.length = self.framing.samples(config.crop_frames)
        self.ends = np.cumsum([self.framing.places(clip, config.crop_frames) for clip in clips])

    def batch(self, step: int, size: int, rows: Sequence[int] | None = None) -> Batch:
        """The rows `rows` (default: all) of the batch of step `step`, which has `size` rows."""
        rows = range(size) if rows is None else rows
        # (seed, step, 0) is the step's own generator.
        rngs = [np.random.default_rng((self.seed, step, 1 + row)) for row in rows]
        crops = [self._crop(rng) for rng in rngs]
        white = np.stack([rng.standard_normal((2, self.length), np.float32) for rng in rngs])
        places = [(row + rng.random()) / size for row, rng in zip(rows, rngs, strict=True)]
        common = np.random.default_rng((self.seed, step, 0)).random()
        draws = np.stack([rng.random(DRAWS, np.float32) for rng in rngs])
        return batch_of(crops, white, places, common, draws)

    def stream(self, step: int, size: int, shares: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Batches of every share of rows of step `step`, then of the next, without end.

        They are made ahead while the caller works on one, in a background thread or in the
        processes that `data.workers` asks for, so that reading and drawing cost no time where
        there are cores to spare. Which of them makes a batch changes nothing about it.
        """
        keys = ((n, size, tuple(rows)) for n in itertools.count(step) for rows in shares)
        if not self.config.workers:
            return in_order(ThreadPoolExecutor(1, "crops"), lambda key: self.batch(*key), keys, 1)
        return iter(
            DataLoader(
                _Batches(self),
                batch_size=None,
                sampler=cast(Any, keys),
                num_workers=self.config.workers,
                prefetch_factor=2,
                worker_init_fn=_leave_signals_to_the_trainer,
            )
        )

    def _crop(self, rng: np.random.Generator) -> Crop:
        """A crop of random place, gain, speed and polarity (beside a source: the clip's)."""
        config, frames = self.config, self.config.crop_frames
        place = int(rng.integers(self.ends[-1]))
        i = int(np.searchsorted(self.ends, place, side="right"))
        clip, place = self.clips[i], place - int(self.ends[i - 1] if i else 0)
        gain = 10 ** (rng.uniform(*config.gain_db) / 20)
        sign = rng.choice((-1, 1)) if clip.source is None else clip.polarity
        speed = 1.0
        if clip.mel is None and config.pitch_share and rng.random() < config.pitch_share:
            slowest, fastest = config.pitch_range
            speed = slowest * (fastest / slowest) ** rng.random()
            speed = min(speed, len(clip.samples) / self.length)
            place = min(place, len(clip.samples) - math.ceil(self.length * speed))
        crop = self.framing.cut(clip, place, frames, speed)
        wave = crop.wave * np.float32(gain * sign / 32768)
        wave += config.dither * rng.standard_normal(self.length, np.float32)
        mel = crop.mel
        if mel is not None:
            mel = amplified(mel, math.log(gain), self.framing.frontend)
        return Crop(wave, mel, crop.source)


class _Batches(Dataset[Batch]):
    """Batches by step, size and rows."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, key: BatchKey) -> Batch:
        return self.crops.batch(*key)


def _leave_signals_to_the_trainer(worker: int) -> None:
    """A stopped run ends its step, with the batches of its workers, and then ends them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def amplified(mel: Tensor, log_gain: float, frontend: MelSpectrogram) -> Tensor:
    """The mel [n_mels, T] of a wave that is exp(log_gain) times as loud.

    What lies at the floor of the convention, of which nobody knows how far it is below, stays.
    """
    ends = torch.tensor([[0.0, math.inf]]).expand(len(mel), 2)
    low, high = scaled_log(ends, frontend.config).split(1, dim=1)
    louder = torch.minimum((mel + log_gain * frontend.slope).clamp_min(low), high)
    return torch.where(mel > low + 1e-4 * frontend.slope, louder, low)
