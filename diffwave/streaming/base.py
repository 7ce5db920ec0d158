"""What both ways to generate a mel in pieces have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from diffwave.chain.samplers import Callback
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.streaming.blocks import Block, Track
from diffwave.streaming.source import SourceTrack


class Stream(ABC):
    """Makes a block of frames of :func:`diffwave.streaming.generate_stream`; used once."""

    block_frames: int  # frames generated at a time
    look_ahead: int  # frames that have to follow a block before it is generated

    def __init__(
        self,
        model: DiffusionModel,
        sampling: Sampling,
        *,
        seed: int = 0,
        enhance: bool = True,
        transpose: float = 0.0,
        callback: Callback | None = None,
    ) -> None:
        """Arguments as of :func:`diffwave.synthesis.generate`.

        Raises:
            InputError: for a transposition asked of a model without a source.
        """
        self.model, self.sampling, self.seed, self.callback = model, sampling, seed, callback
        self.enhancer = model.enhancer if enhance else None
        self.field = 0 if self.enhancer is None else self.enhancer.receptive_field
        """Frames on each side of a frame that its enhanced mel depends on."""
        self.source = SourceTrack.of(model, transpose)
        self.enhanced = Track()

    @abstractmethod
    def wave_of(self, block: Block) -> Tensor:
        """Samples [B, (stop - start) * hop_length] of the block, on the CPU."""

    def enhance(self, block: Block, start: int) -> Tensor:
        """The mel from frame `start` to the last known one, enhanced."""
        first = max(0, start - self.field)
        mel = block.mel.frames(first, block.known)
        if self.enhancer is not None:
            mel = self.model.enhance(mel.to(self.model.device)).cpu()
        return mel[..., start - first :]

    def forget(self, before: int) -> None:
        """Give up what no later block needs, if none looks at the frames before this one."""
        if self.source is not None:
            self.source.forget(before)
            before = min(before, self.source.needs_from)
        self.enhanced.forget(max(0, before))
