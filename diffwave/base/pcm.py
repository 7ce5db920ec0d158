"""Samples as bytes, without a file: what goes through a pipe or a connection while it is made."""

from __future__ import annotations

import io
import struct

import soundfile
from torch import Tensor

from diffwave.base.audio import FORMATS

WIDTH = {"16": 2, "24": 3, "float": 4}
"""Bytes of a sample."""


def pcm(wave: Tensor, bits: str) -> bytes:
    """Samples [L] as a wav of these bits holds them, little-endian, without the header."""
    file, subtype = io.BytesIO(), FORMATS[".wav"].subtypes[bits]
    samples = wave.numpy() if bits == "float" else wave.clamp(-1, 1).numpy()
    rate = 22050  # which is not stored
    soundfile.write(file, samples, rate, subtype, "LITTLE", "RAW")
    return file.getvalue()


def wav_frame(samples: int, sample_rate: int, bits: str) -> tuple[bytes, bytes]:
    """What precedes so many samples of :func:`pcm` in a mono wav, and what follows them.

    RIFF of 1991 and its revision of 1994: the sizes stand in front, so the number of samples must
    be known; a chunk of an odd size is filled up by a byte.
    """
    width = WIDTH[bits]
    size = width * samples
    coding = 3 if bits == "float" else 1
    form = struct.pack("<HHIIHH", coding, 1, sample_rate, width * sample_rate, width, 8 * width)
    fact = b""
    if bits == "float":  # what is not PCM has an extension, here of no bytes, and a fact chunk
        form += struct.pack("<H", 0)
        fact = struct.pack("<4sII", b"fact", 4, samples)
    filling = bytes(size % 2)
    chunks = b"WAVE" + struct.pack("<4sI", b"fmt ", len(form)) + form + fact
    head = chunks + struct.pack("<4sI", b"data", size)
    return struct.pack("<4sI", b"RIFF", len(head) + size + len(filling)) + head, filling
