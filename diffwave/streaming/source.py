"""The source of an utterance that is known up to some frame only."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from diffwave.dsp.source import REACH, PulseClock, Pulses, joined, transposed
from diffwave.model import DiffusionModel
from diffwave.spaces import Excitation, Source
from diffwave.streaming.blocks import Track
from diffwave.synthesis import centre, excitation_of


class SourceTrack:
    """F0, voicing and shares of the frames so far, and the pulses that they fix for good."""

    def __init__(self, model: DiffusionModel, transpose: float) -> None:
        """InputError for a model without a source."""
        self.model, self.transpose = model, transpose
        self.field = model.source_predictor().receptive_field
        self.f0, self.voiced, self.share = Track(), Track(), Track()
        self.clocks: list[PulseClock] = []
        self.pulses: list[Pulses] = []
        space, self.hop, self.centre = model.space, model.space.hop_length, centre(model)
        self.tail = space.context(1) - space.pad_left + REACH + 1 - self.hop
        """Samples after a frame's own that have pulses which its excitation is made of."""

    @classmethod
    def of(cls, model: DiffusionModel, transpose: float) -> SourceTrack | None:
        """That of a model; None for one without a source, whose pitch nobody asks to change."""
        return None if model.source is None and not transpose else cls(model, transpose)

    @property
    def look_ahead(self) -> int:
        """Frames of the mel after a frame that its excitation depends on."""
        return self.field + max(0, math.ceil((self.hop + self.tail - self.centre) / self.hop))

    @property
    def end(self) -> int:
        """Number of the frame whose source comes next."""
        return self.f0.end

    @property
    def needs_from(self) -> int:
        """First frame of the mel that predicting the next source looks at."""
        return max(0, self.end - self.field)

    def predict(self, mel: Tensor) -> Source:
        """The source of the frames from `end` on; the mel [B, n_mels, T] begins at `needs_from`."""
        source = self.model.predict_source(mel.to(self.model.device))
        source = transposed(source, self.transpose) if self.transpose else source
        return Source(*(values[:, self.end - self.needs_from :].cpu() for values in source))

    def extend(self, mel: Track, whole: bool) -> None:
        """Predict the frames that the mel suffices for; all of them if it is whole."""
        source = self.predict(mel.frames(self.needs_from, mel.end))
        if whole:
            self.commit(source, mel.end - self.end, mel.end * self.hop)
            return
        frames = mel.end - self.field - self.end
        source = Source(*(values[:, :frames] for values in source))
        known = (self.end + frames - 1) * self.hop + self.centre  # where the F0 is interpolated
        self.commit(source, frames, math.floor(known) + 1)

    def commit(self, source: Source, frames: int, stop: int) -> None:
        """Take over the first `frames` frames of a source, and its pulses before sample `stop`.

        The source begins at `end`; frames beyond those taken over serve to interpolate the F0.
        """
        if not self.clocks:
            config = self.model.config.mel
            clock = PulseClock(config.sample_rate, self.hop, self.centre)
            self.clocks = [copy.copy(clock) for _ in source.f0]
            self.pulses = [joined([]) for _ in source.f0]
        new = self._advance(self.clocks, source, stop)
        self.pulses = [joined(pair) for pair in zip(self.pulses, new, strict=True)]
        self.f0.append(source.f0[:, :frames])
        self.voiced.append(source.voiced[:, :frames])
        self.share.append(source.share[:, :frames].mT)

    def excitation(self, first: int, stop: int, rest: Source | None = None) -> Excitation:
        """What excites the frames first .. stop - 1.

        `rest` is a guess at the source of those from `end` on, which decides nothing for later.
        """
        share, pulses = self.share.frames(first, min(stop, self.end)).mT, self.pulses
        if rest is not None:
            share = torch.cat((share, rest.share), dim=1)
            last = stop * self.hop + self.tail
            guess = self._advance([copy.copy(clock) for clock in self.clocks], rest, last)
            pulses = [joined(pair) for pair in zip(pulses, guess, strict=True)]
        return excitation_of(self.model, pulses, share, first)

    def forget(self, before: int) -> None:
        """Give up the frames before this one, but what the F0 is interpolated from."""
        kept = max(0, min(before, self.end - 2))
        for track in (self.f0, self.voiced, self.share):
            track.forget(kept)
        space = self.model.space
        first = kept * self.hop - space.pad_left - REACH - 1
        self.pulses = [
            Pulses(*(values[np.searchsorted(times.times, first) :] for values in times))
            for times in self.pulses
        ]

    def _advance(self, clocks: list[PulseClock], source: Source, stop: int) -> list[Pulses]:
        """Pulses before sample `stop` of a source of the frames from `end` on, by these clocks."""
        first = max(self.f0.first, self.end - 2)
        f0, voiced = source.f0, source.voiced
        if first < self.end:
            f0 = torch.cat((self.f0.frames(first, self.end), f0), dim=1)
            voiced = torch.cat((self.voiced.frames(first, self.end), voiced), dim=1)
        return [
            clock.advance(hz.numpy(), pulsed.numpy(), stop, first)
            for clock, hz, pulsed in zip(clocks, f0, voiced, strict=True)
        ]
