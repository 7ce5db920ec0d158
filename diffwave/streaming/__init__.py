"""Generation of a mel that comes in pieces, while it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from diffwave.streaming.blocks import blocks
from diffwave.streaming.exact import ExactStream
from diffwave.streaming.low_latency import LowLatencyStream

Stream = ExactStream | LowLatencyStream

__all__ = ["ExactStream", "LowLatencyStream", "Stream", "generate_stream"]


def generate_stream(stream: Stream, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """The wave of a mel that comes in pieces, block by block, each as soon as it can be made.

    What is generated depends on the frames, and not on the pieces that they come in.

    Args:
        stream: what makes a block of the frames around it; used once.
        pieces: [B, n_mels, T_i] each, checked.

    Yields:
        float32 samples on the CPU, [B, block * hop_length]; the last block may be shorter.
    """
    for block in blocks(pieces, stream.block_frames, stream.look_ahead):
        with torch.inference_mode():  # not across a yield, where the caller's own code runs
            wave = stream.wave_of(block)
        yield wave
