"""Is a mel-spectrogram that comes in pieces one of the convention that the vocoder knows?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TypeGuard

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel.check import MAX_FRAMES, MIN_FRAMES, as_tensor, check_mel
from diffwave.mel.config import MelConfig

Piece = Tensor | ArrayLike


def comes_in_pieces(mel: Piece | Iterable[Piece]) -> TypeGuard[Iterable[Piece]]:
    """Whether this is an iterator, or something that makes one, and neither array nor lists."""
    known = Sequence, Mapping, Set, str, bytes
    # What NumPy takes for an array: tensors, too.
    array = hasattr(mel, "__array__") or hasattr(mel, "__array_interface__")
    return isinstance(mel, Iterable) and not isinstance(mel, known) and not array


def checked_pieces(pieces: Iterable[Piece], config: MelConfig) -> Iterator[Tensor]:
    """Pieces of a mel, checked, as float32 [1, n_mels, T_i] on the CPU; those of no frame left out.

    A piece is looked at when it comes. What only a stretch of speech shows, that the mel is of
    another convention, is looked for in all frames so far, each time that they have doubled.

    Args:
        pieces: [n_mels, T_i] of any T_i, or single frames [n_mels].
        config: the convention.

    Raises:
        InputError: while iterating, for what :func:`diffwave.mel.check.check_mel` refuses, and at
            the end for fewer than 2 frames.
    """
    seen: list[Tensor] = []
    count, checked, due = 0, 0, MIN_FRAMES

    def check_all() -> None:
        nonlocal checked
        check_mel(torch.cat(seen, dim=1), config)
        checked = count

    for item in pieces:
        piece = as_tensor("piece of a mel-spectrogram", item).detach().float().cpu()
        shape = list(piece.shape)
        piece = piece[:, None] if piece.ndim == 1 else piece
        if piece.ndim != 2 or len(piece) != config.n_mels:
            raise InputError(
                f"A piece of a mel-spectrogram must have the shape [{config.n_mels}, frames], not "
                f"{shape}."
            )
        frames = piece.shape[1]
        if not frames:
            continue
        check_mel(piece if frames > 1 else piece.expand(-1, 2), config)
        count += frames
        if count <= MAX_FRAMES:
            seen.append(piece)
            if count >= due:
                check_all()
                due = 2 * count
        yield piece[None]
    if count < 2:
        raise InputError(
            "The mel-spectrogram has a single frame, but at least 2 are needed."
            if count
            else "The mel-spectrogram has no frame."
        )
    if MIN_FRAMES <= count <= MAX_FRAMES and checked < count:
        check_all()
