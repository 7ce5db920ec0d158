"""What libsndfile can read and write here, by the suffix of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from diffwave.errors import InputError


class Format(NamedTuple):
    """How audio of a suffix is encoded."""

    container: str
    subtypes: tuple[str, ...]  # the first is the default
    rates: tuple[int, ...] = ()  # in Hz, all that the encoder takes; empty: any


def _installed_formats() -> dict[str, Format]:
    """By suffix, what the installed libsndfile can write: older ones lack Opus or MP3."""
    opus = (8000, 12000, 16000, 24000, 48000)
    mp3 = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    formats = {
        ".wav": Format("WAV", ("PCM_16", "PCM_24", "FLOAT")),
        ".flac": Format("FLAC", ("PCM_16", "PCM_24")),
        ".ogg": Format("OGG", ("VORBIS",)),
        ".opus": Format("OGG", ("OPUS",), opus),
        ".mp3": Format("MP3", ("MPEG_LAYER_III",), mp3),
    }
    return {
        suffix: known
        for suffix, known in formats.items()
        if known.container in soundfile.available_formats()
        and known.subtypes[0] in soundfile.available_subtypes(known.container)
    }


FORMATS = _installed_formats()
SUBTYPES = {suffix: known.subtypes for suffix, known in FORMATS.items()}
"""What a file of each suffix may hold when written; the first is the default."""
AUDIO_SUFFIXES = tuple(FORMATS)
"""Suffixes of the files that are read."""
SUBTYPE_OF_BITS = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}
RATES = (4000, 768_000)
"""Hz that a file may claim: what lies outside is a damaged header, and resampling it would take
all memory."""
BLOCK = 1 << 16  # libsndfile crashes when it is given minutes of Ogg Vorbis in one call


class Forward(soundfile.SoundFile):
    """A sound file that is read from its start to its end.

    soundfile seeks to where it is after every read of a file in which it can; in an MP3, whose
    frames lean on those before, that costs samples, and libmpg123 complains on standard error.
    """

    def seekable(self) -> bool:
        """Say no, so that soundfile leaves the position alone."""
        return False

    def blocks_of(self, size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
        """Blocks [<= size, channels] until the end, wherever the header says that it is."""
        while len(block := self.read(size, dtype="float32", always_2d=True)):
            yield block


def format_of(name: str) -> Format:
    """How a file of that name is written; InputError if it is not."""
    known = FORMATS.get(Path(name).suffix.lower())
    if known is None:
        raise InputError(f"Cannot write {name}: the name must end in {', '.join(FORMATS)}.")
    return known


def subtype_of(path: str | os.PathLike[str], bits: str) -> str:
    """The subtype for a file of that name whose samples have "16" or "24" bits, or are "float".

    Vorbis, Opus and MP3 store no samples: "16" stands for what such a file holds. `write_audio`
    refuses what a file of that suffix cannot hold.

    Raises:
        InputError: unknown suffix.
    """
    known = format_of(os.fspath(path))
    return known.subtypes[0] if bits == "16" else SUBTYPE_OF_BITS[bits]


def encoded_name(name: str) -> str | bytes:
    """The name as libsndfile takes it: bytes, where names are bytes that need not be UTF-8."""
    return os.fsencode(name) if os.name == "posix" else name
