"""Frames by their number, and the blocks of them that can be generated at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor


class Track:
    """Values of frames, [B, ..., T], addressed by the frames' numbers; old ones are forgotten."""

    def __init__(self) -> None:
        self.first = 0
        self.values: Tensor | None = None

    @property
    def end(self) -> int:
        """Number of the frame that comes next."""
        return self.first + (0 if self.values is None else self.values.shape[-1])

    def append(self, values: Tensor) -> None:
        """Add the values of the next frames."""
        known = self.values
        self.values = values if known is None else torch.cat((known, values), dim=-1)

    def frames(self, start: int, stop: int) -> Tensor:
        """Values of the frames start .. stop - 1, none of which may be forgotten."""
        assert self.values is not None and self.first <= start <= stop <= self.end
        return self.values[..., start - self.first : stop - self.first]

    def forget(self, before: int) -> None:
        """Give up the values of the frames before this one."""
        if self.values is not None and before > self.first:
            self.values = self.values[..., before - self.first :].clone()
            self.first = before


class Block(NamedTuple):
    """Frames to generate, and the mel that may be looked at to do so."""

    start: int
    stop: int
    known: int  # frames before this one may be looked at: stop and the look-ahead, or all there are
    whole: bool  # whether the mel ends sooner than the look-ahead, so that all of it is known
    mel: Track


def blocks(pieces: Iterable[Tensor], block_frames: int, look_ahead: int) -> Iterator[Block]:
    """Blocks of a mel that comes in pieces [B, n_mels, T_i], each as soon as it can be made.

    Their limits, and how far each may look, follow from the number of frames alone. Whoever takes a
    block lets the mel's track forget what no later block needs.
    """
    mel, start = Track(), 0
    for piece in chain(pieces, (None,)):
        if piece is not None:
            mel.append(piece)
        while start < mel.end:
            wanted = start + block_frames + look_ahead
            if piece is not None and mel.end < wanted:
                break
            stop = min(start + block_frames, mel.end)
            yield Block(start, stop, min(wanted, mel.end), mel.end < wanted, mel)
            start = stop
