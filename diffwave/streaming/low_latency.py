"""A mel that comes in pieces, generated with little look-ahead: a frame waits 80 ms at most.

All of a vocoder here looks into the same few frames: what a block of frames is generated from ends
`look_ahead` frames after it, as if the utterance did. Mel enhancer, source predictor and network
see that end; the mel-consistency iterations go on in a window from the block to there
(:mod:`diffwave.spaces.sliding`), and the samples of the block are final. What was decided for
earlier blocks stays: their enhanced mel, their F0 and the phase that it has come to, their samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.spaces import Source, SpectralSpace
from diffwave.spaces.sliding import SlidingConsistency
from diffwave.streaming.base import Stream
from diffwave.streaming.blocks import Block
from diffwave.synthesis import estimate

MOST_SECONDS = 0.08
"""What a frame waits for others at most, after its arrival, until its samples are generated."""
BLOCK_FRAMES = 4
"""Frames generated at a time, unless they and the least look-ahead would take longer."""


class LowLatencyStream(Stream):
    """A stream that waits :data:`MOST_SECONDS` for later frames at most."""

    def __init__(
        self,
        model: DiffusionModel,
        sampling: Sampling,
        *,
        block_frames: int = BLOCK_FRAMES,
        **options: Any,
    ) -> None:
        """Options as of :class:`Stream`.

        Raises:
            InputError: also for a model on samples, or one whose frames are too long.
        """
        if not isinstance(model.space, SpectralSpace):
            raise InputError("Low latency needs a spectral space, not a chain on samples.")
        super().__init__(model, sampling, **options)
        self.sliding = SlidingConsistency(model.space, sampling.n_iter)
        context = sampling.steps * model.network.receptive_field + 1
        self.past = max(context, self.sliding.overlap)
        """Frames before a block that it is generated from."""
        rate, hop = model.config.mel.sample_rate, model.space.hop_length
        frames, least = int(MOST_SECONDS * rate / hop), self.sliding.least_look_ahead
        # The first frame of a block waits for the others, too.
        self.block_frames = max(1, min(block_frames, frames + 1 - least))
        self.look_ahead = frames + 1 - self.block_frames
        if self.look_ahead < least:
            raise InputError(
                f"With frames every {hop} samples at {rate} Hz there is no latency of "
                f"{1000 * MOST_SECONDS:g} ms."
            )

    def wave_of(self, block: Block) -> Tensor:
        model, hop, frames = self.model, self.model.space.hop_length, block.stop - block.start
        ahead, first = self.enhance(block, block.start), max(0, block.start - self.past)
        block.mel.forget(max(0, block.stop - self.field))
        mel, excitation = self._with_past(ahead, first).to(model.device), None
        if self.source is not None:
            source = self.source.predict(self._with_past(ahead, self.source.needs_from))
            self.source.commit(source, frames, block.stop * hop)
            rest = Source(*(values[:, frames:] for values in source))
            excitation = self.source.excitation(first, block.known, rest)
        places = [(self.seed, first * hop)]
        coordinates = estimate(model, mel, excitation, self.sampling, places, self.callback)
        wave = self.sliding.push(coordinates[:, block.start - first :], mel, frames)
        self.enhanced.append(ahead[..., :frames])
        self.forget(self.enhanced.end - self.past)
        return wave.cpu()

    def _with_past(self, ahead: Tensor, first: int) -> Tensor:
        """The enhanced mel from a frame on, of which what is ahead has not been decided."""
        if first == self.enhanced.end:
            return ahead
        return torch.cat((self.enhanced.frames(first, self.enhanced.end), ahead), dim=-1)
