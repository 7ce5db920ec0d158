"""A mel that comes in pieces, generated as it would be in one piece: with the whole look-ahead.

A frame is generated once all frames that its samples depend on are there: those within the reach of
the chain and the iterations, and before them within the receptive fields of the source predictor
and of the mel enhancer. These two work through the frames once; so does the phase of the source.
"""

from __future__ import annotations

from torch import Tensor

from diffwave.chain.samplers import Callback
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.streaming.blocks import Block, Track
from diffwave.streaming.source import SourceTrack
from diffwave.synthesis import generate_piece, reach


class ExactStream:
    """Makes a block of frames of :func:`diffwave.streaming.generate_stream`."""

    def __init__(
        self,
        model: DiffusionModel,
        sampling: Sampling,
        *,
        block_frames: int,
        seed: int = 0,
        enhance: bool = True,
        transpose: float = 0.0,
        callback: Callback | None = None,
    ) -> None:
        """Arguments as of :func:`diffwave.synthesis.generate`; block_frames as chunk_frames.

        Raises:
            InputError: for a transposition asked of a model without a source.
        """
        self.model, self.sampling, self.block_frames = model, sampling, block_frames
        self.seed, self.callback = seed, callback
        self.enhancer = model.enhancer if enhance else None
        self.reach = reach(model, sampling)
        self.source = SourceTrack.of(model, transpose)
        self.enhanced = Track()

    @property
    def look_ahead(self) -> int:
        """Frames after a frame that its samples depend on."""
        frames = self.reach + (0 if self.enhancer is None else self.enhancer.receptive_field)
        return frames + (0 if self.source is None else self.source.look_ahead)

    def wave_of(self, block: Block) -> Tensor:
        """Samples [B, (stop - start) * hop_length] of the block, on the CPU."""
        model, hop = self.model, self.model.space.hop_length
        self._enhance(block)
        first, stop = max(0, block.start - self.reach), min(block.stop + self.reach, block.known)
        excitation = None
        if self.source is not None:
            self.source.extend(self.enhanced, block.whole)
            excitation = self.source.excitation(first, stop)
        mel = self.enhanced.frames(first, stop).to(model.device)
        wave = generate_piece(
            model, mel, excitation, first * hop, self.sampling, self.seed, self.callback
        )
        self._forget(block.stop - self.reach)
        return wave[:, (block.start - first) * hop : (block.stop - first) * hop].cpu()

    def _enhance(self, block: Block) -> None:
        """Enhance the frames that can be, given what the block may look at."""
        start, field = self.enhanced.end, 0
        if self.enhancer is not None:
            field = self.enhancer.receptive_field
        stop = block.known if block.whole else block.known - field
        first = max(0, start - field)
        mel = block.mel.frames(first, block.known)
        if self.enhancer is not None:
            mel = self.model.enhance(mel.to(self.model.device)).cpu()
        if stop > start:
            self.enhanced.append(mel[..., start - first : stop - first])
        block.mel.forget(max(0, self.enhanced.end - field))

    def _forget(self, before: int) -> None:
        if self.source is not None:
            self.source.forget(before)
            before = min(before, self.source.needs_from)
        self.enhanced.forget(max(0, before))
