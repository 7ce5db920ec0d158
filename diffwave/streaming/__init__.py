"""Generation of a mel that comes in pieces, while it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.streaming.base import Stream
from diffwave.streaming.blocks import blocks
from diffwave.streaming.exact import ExactStream
from diffwave.streaming.low_latency import LowLatencyStream


def open_stream(
    model: DiffusionModel,
    sampling: Sampling,
    block_frames: int | None,
    low_latency: bool,
    **options: Any,
) -> Stream:
    """What generates a mel in pieces; options as of :class:`Stream`.

    block_frames: frames generated at a time; None with low latency, which has its own number.

    Raises:
        InputError: for what the model cannot do, or a number of frames with low latency.
    """
    if low_latency and block_frames is not None:
        raise InputError("Low latency has its own number of frames at a time.")
    if block_frames is None:
        return LowLatencyStream(model, sampling, **options)
    return ExactStream(model, sampling, block_frames=block_frames, **options)


def generate_stream(
    stream: Stream, pieces: Iterable[Tensor], progress: Callable[[int], object] | None = None
) -> Iterator[Tensor]:
    """The wave of a mel that comes in pieces, block by block, each as soon as it can be made.

    What is generated depends on the frames, and not on the pieces that they come in.

    Args:
        stream: what makes a block of the frames around it; used once.
        pieces: [B, n_mels, T_i] each, checked.
        progress: called with the number of frames of every finished block.

    Yields:
        float32 samples on the CPU, [B, block * hop_length]; the last block may be shorter.
    """
    for block in blocks(pieces, stream.block_frames, stream.look_ahead):
        with torch.inference_mode():  # not across a yield, where the caller's own code runs
            wave = stream.wave_of(block)
        yield wave
        if progress is not None:
            progress(block.stop - block.start)
