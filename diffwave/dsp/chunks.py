"""Stretches of an utterance with the context that each depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from diffwave.base.arrays import Array, namespace


def chunks(frames: int, chunk_frames: int, context: int) -> Iterator[tuple[slice, slice]]:
    """Stretches of frames to generate, `context` frames around each, and what to keep of it."""
    for start in range(0, frames, chunk_frames):
        first, end = max(0, start - context), min(start + chunk_frames, frames)
        yield slice(first, min(frames, end + context)), slice(start - first, end - first)


def by_chunks(
    function: Callable[[Array], Sequence[Array]],
    mel: Array,
    chunk_frames: int,
    context: int,
    axis: int = 1,
) -> list[Array]:
    """What a function of a mel [B, n_mels, T] gives, whose frames are on some axis: [B, T, ...]."""
    pieces = [
        [value[:, kept] if axis == 1 else value[..., kept] for value in function(mel[..., frames])]
        for frames, kept in chunks(mel.shape[-1], chunk_frames, context)
    ]
    return [
        namespace(values[0]).concatenate(values, axis=axis) for values in zip(*pieces, strict=True)
    ]
