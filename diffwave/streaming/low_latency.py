"""A mel that comes in pieces, generated with little look-ahead: a frame waits 80 ms at most.

All of a vocoder here looks into the same few frames: what a block of frames is generated from ends
`look_ahead` frames after it, as if the utterance did. Mel enhancer, source predictor and network
see that end; the mel-consistency iterations go on in a window from the block to there
(:mod:`diffwave.spaces.sliding`), and the samples of the block are final. What was decided for
earlier blocks stays: their enhanced mel, their F0 and the phase that it has come to, their samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.samplers import Callback
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.spaces import Source, SpectralSpace
from diffwave.spaces.sliding import SlidingConsistency
from diffwave.streaming.blocks import Block, Track
from diffwave.streaming.source import SourceTrack
from diffwave.synthesis import estimate

MOST_SECONDS = 0.08
"""What a frame waits for others at most, after its arrival, until its samples are generated."""
BLOCK_FRAMES = 4
"""Frames generated at a time, unless they and the least look-ahead would take longer."""


class LowLatencyStream:
    """Makes a block of frames of :func:`diffwave.streaming.generate_stream`."""

    def __init__(
        self,
        model: DiffusionModel,
        sampling: Sampling,
        *,
        block_frames: int = BLOCK_FRAMES,
        seed: int = 0,
        enhance: bool = True,
        transpose: float = 0.0,
        callback: Callback | None = None,
    ) -> None:
        """Arguments as of :func:`diffwave.synthesis.generate`; block_frames as chunk_frames.

        Raises:
            InputError: for a model on samples, one whose frames are too long, or a transposition
                asked of a model without a source.
        """
        if not isinstance(model.space, SpectralSpace):
            raise InputError("Low latency needs a spectral space, not a chain on samples.")
        self.model, self.sampling, self.seed, self.callback = model, sampling, seed, callback
        self.sliding = SlidingConsistency(model.space, sampling.n_iter)
        self.enhancer = model.enhancer if enhance else None
        self.source = SourceTrack.of(model, transpose)
        self.enhanced = Track()
        self.past = sampling.steps * model.network.receptive_field + 1
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
        """Samples [B, (stop - start) * hop_length] of the block, on the CPU."""
        model, hop, frames = self.model, self.model.space.hop_length, block.stop - block.start
        ahead = self._enhanced(block)
        first = max(0, block.start - max(self.past, self.sliding.overlap))
        mel, excitation = self._with_past(ahead, first), None
        if self.source is not None:
            source = self.source.predict(self._with_past(ahead, self.source.needs_from))
            self.source.commit(source, frames, block.stop * hop)
            rest = Source(*(values[:, frames:] for values in source))
            excitation = self.source.excitation(first, block.known, rest)
        mel = mel.to(model.device)
        places = [(self.seed, first * hop)]
        coordinates = estimate(model, mel, excitation, self.sampling, places, self.callback)
        wave = self.sliding.push(coordinates[:, block.start - first :], mel, frames)
        self._commit(ahead[..., :frames])
        return wave.cpu()

    def _enhanced(self, block: Block) -> Tensor:
        """The mel from the block's start to what is known, enhanced."""
        if self.enhancer is None:
            mel = block.mel.frames(block.start, block.known)
            block.mel.forget(block.stop)
            return mel
        first = max(0, block.start - self.enhancer.receptive_field)
        mel = block.mel.frames(first, block.known).to(self.model.device)
        block.mel.forget(max(0, block.stop - self.enhancer.receptive_field))
        return self.model.enhance(mel)[..., block.start - first :].cpu()

    def _with_past(self, ahead: Tensor, first: int) -> Tensor:
        """The enhanced mel from a frame on, of which what is ahead has not been decided."""
        if first == self.enhanced.end:
            return ahead
        return torch.cat((self.enhanced.frames(first, self.enhanced.end), ahead), dim=-1)

    def _commit(self, mel: Tensor) -> None:
        self.enhanced.append(mel)
        before = self.enhanced.end - max(self.past, self.sliding.overlap)
        if self.source is not None:
            self.source.forget(before)
            before = min(before, self.source.needs_from)
        self.enhanced.forget(max(0, before))
