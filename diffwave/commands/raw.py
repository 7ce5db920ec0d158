"""`diffwave synthesize - - --raw`: frames of a mel come on standard input, samples go out."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.pcm import pcm
from diffwave.base.text import notice
from diffwave.commands.common import generation, vocoder_of
from diffwave.commands.options import Synthesize
from diffwave.mel import MelConfig, check_one

NPY = b"\x93NUMPY"  # as a little-endian float, 2e8: no value of a mel
MOST_BYTES = 1 << 16  # of one read


def run_raw(options: Synthesize) -> int:
    """Mel frames on standard input to samples without a header on standard output, as they come.

    A .npy is taken as well: whole, for its bands lie one after another.
    """
    vocoder = vocoder_of(options)
    stream = sys.stdin.buffer
    head = stream.read(len(NPY))
    if head == NPY:
        mel: Iterator[np.ndarray] | Tensor = _whole(head + stream.read(), vocoder.config.mel)
    else:
        mel = raw_frames(head, stream, vocoder.config.mel.n_mels)
    wave = vocoder.stream(
        mel,
        **generation(options),
        transpose=options.transpose,
        chunk_frames=options.chunk,
        low_latency=options.low_latency,
    )
    samples = clipped = 0
    for piece in wave:
        sys.stdout.buffer.write(pcm(piece, options.bits))
        sys.stdout.buffer.flush()
        samples += len(piece)
        clipped += 0 if options.bits == "float" else int((piece.abs() > 1).sum())
    if clipped:
        notice(f"{clipped} samples were clipped at full scale.")
    print(f"-: {samples / vocoder.sample_rate:.2f} s of speech", file=sys.stderr)
    return 0


def raw_frames(head: bytes, stream: BinaryIO, n_mels: int) -> Iterator[np.ndarray]:
    """Pieces [n_mels, T_i] of frames of little-endian float32, as soon as they are there.

    Args:
        head: bytes that were read before.
        stream: the rest.
        n_mels: numbers of a frame.

    Raises:
        InputError: when the stream ends within a frame.
    """
    size, data = 4 * n_mels, head
    read = getattr(stream, "read1", stream.read)
    while more := read(MOST_BYTES):
        data += more
        whole = len(data) // size * size
        if whole:
            yield np.frombuffer(data[:whole], "<f4").reshape(-1, n_mels).T.astype(np.float32)
            data = data[whole:]
    if data:
        raise InputError(
            f"Standard input ends within a frame: {len(data)} bytes remain, where a frame of "
            f"{n_mels} 32-bit floats has {size}."
        )


def _whole(data: bytes, config: MelConfig) -> Tensor:
    """The mel [n_mels, T] of a .npy."""
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a torn file raises one of many kinds
        reason = type(error).__name__
        raise InputError(f"Cannot read standard input: it is no whole .npy ({reason}).") from None
    return check_one(array, config, "Standard input")
