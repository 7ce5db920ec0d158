"""Which stretches of an utterance are generated one after another, and with what around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

FIRST_FRAMES = 64
"""Frames of the first stretch of a stream: 0.7 s at 22.05 kHz and hop 256, heard while the next is
generated."""
GROWTH = 8
"""How much longer each stretch of a stream is than the one before it, since what surrounds it costs
as much for a short one as for a long one."""


class Window(NamedTuple):
    """The frames first .. stop - 1 are computed; of these start .. end - 1 are kept."""

    first: int
    stop: int
    start: int
    end: int


def windows(
    frames: int, reach: int, most: int, *, stream: bool = False, alike: bool = False
) -> Iterator[Window]:
    """Windows that cover `frames` frames, each with all that its samples depend on.

    Args:
        frames: of the utterance.
        reach: frames on each side of a frame that its samples depend on.
        most: frames kept of a window.
        stream: begin with short windows, so that the first samples come soon.
        alike: let the last window, which has nothing after it, begin earlier, so that it is as long
            as the others and can be computed in a batch with them.
    """
    start, kept = 0, min(FIRST_FRAMES, most) if stream else most
    while start < frames:
        end = min(start + kept, frames)
        stop = min(end + reach, frames)
        first = start - reach
        if alike:
            first = min(first, stop - kept - 2 * reach)
        yield Window(max(0, first), stop, start, end)
        start, kept = end, min(most, GROWTH * kept)
