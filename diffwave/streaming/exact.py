"""A mel that comes in pieces, generated as it would be in one piece: with the whole look-ahead.

A frame is generated once all frames that its samples depend on are there: those within the reach of
the chain and the iterations, and before them within the receptive fields of the source predictor
and of the mel enhancer. These two work through the frames once; so does the phase of the source.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.streaming.base import Stream
from diffwave.streaming.blocks import Block
from diffwave.synthesis import generate_piece, reach


class ExactStream(Stream):
    """A stream of any number of frames at a time, whose wave is that of the whole mel."""

    def __init__(
        self, model: DiffusionModel, sampling: Sampling, *, block_frames: int, **options: Any
    ) -> None:
        """Options as of :class:`Stream`."""
        super().__init__(model, sampling, **options)
        self.block_frames, self.reach = block_frames, reach(model, sampling)
        source_ahead = 0 if self.source is None else self.source.look_ahead
        self.look_ahead = self.reach + self.field + source_ahead

    def wave_of(self, block: Block) -> Tensor:
        model, hop, start = self.model, self.model.space.hop_length, self.enhanced.end
        stop = block.known - (0 if block.whole else self.field)
        if stop > start:
            self.enhanced.append(self.enhance(block, start)[..., : stop - start])
        block.mel.forget(max(0, self.enhanced.end - self.field))
        first, stop = max(0, block.start - self.reach), min(block.stop + self.reach, block.known)
        excitation = None
        if self.source is not None:
            self.source.extend(self.enhanced, block.whole)
            excitation = self.source.excitation(first, stop)
        mel = self.enhanced.frames(first, stop).to(model.device)
        wave = generate_piece(
            model, mel, excitation, first * hop, self.sampling, self.seed, self.callback
        )
        self.forget(block.stop - self.reach)
        return wave[:, (block.start - first) * hop : (block.stop - first) * hop].cpu()
