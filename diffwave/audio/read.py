"""Reading audio files by libsndfile (soundfile), and resampling by soxr."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.audio.formats import RATES, Forward, encoded_name
from diffwave.errors import InputError

LOUDEST = 1e10
"""Full scale is 1, or 2^31 where somebody stored integers as floats; squares must be finite."""
MAX_SAMPLES = 1 << 29
"""Samples of a file, before and after resampling: 2 GiB, or 3 hours at 48 kHz."""


class Audio(NamedTuple):
    """A file as it is."""

    wave: Tensor
    """[L] float32, the mean of the channels."""
    sample_rate: int
    """In Hz."""
    channels: int


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[Tensor, int]:
    """Read an audio file of any kind that libsndfile knows, as mono.

    Args:
        path: the file.
        sample_rate: resample to this rate; by default the file's own is kept.

    Returns:
        The samples, float32 [L], the mean of the channels; and their rate in Hz.

    Raises:
        InputError: the file is missing, unreadable, not audio, damaged, cut short, empty, too long
            for memory, claims a rate outside `RATES`, or holds values that are not finite numbers.
    """
    audio = read_whole(path)
    if sample_rate is None:
        return audio.wave, audio.sample_rate
    try:
        return resample(audio.wave, audio.sample_rate, sample_rate), sample_rate
    except InputError as error:
        raise InputError(f"Cannot read {os.fspath(path)}: {error}") from None


def read_whole(path: str | os.PathLike[str]) -> Audio:
    """An audio file with what is known of it; raises `InputError` as `read_audio` does."""
    name = os.fspath(path)
    _check_readable(name)
    try:
        with Forward(encoded_name(name)) as file:
            rate, promised = int(file.samplerate), _promised_frames(name, file)
            if not RATES[0] <= rate <= RATES[1]:
                raise InputError(f"Cannot read {name}: it claims a sample rate of {rate} Hz.")
            samples = np.concatenate([np.zeros(0, np.float32), *_mono_blocks(file)])
            channels = int(file.channels)
    except soundfile.LibsndfileError as error:
        reason = f"it is damaged or cut short ({error.error_string.strip(' .')})"
        if error.code in (1, 2, 3):  # not recognised, "system error", malformed header
            reason = "it is not a sound file of a known kind, or is damaged"
        raise InputError(f"Cannot read {name}: {reason}.") from error
    except MemoryError:
        raise InputError(
            f"Cannot read {name}: it is too long for the memory here; cut it up."
        ) from None
    if len(samples) < promised:
        raise InputError(
            f"Cannot read {name}: it is cut short, only {len(samples)} samples are there."
        )
    if len(samples) == 0:
        raise InputError(f"Cannot read {name}: it holds no samples, or is cut short.")
    if not np.isfinite(samples).all():
        raise InputError(f"Cannot read {name}: it holds values that are not finite numbers.")
    if np.abs(samples).max() > LOUDEST:
        raise InputError(f"Cannot read {name}: it holds values beyond {LOUDEST:g}.")
    return Audio(torch.from_numpy(samples), rate, channels)


def resample(wave: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample [L] float32 from `from_rate` to `to_rate` Hz by soxr's VHQ (linear phase, no delay).

    Raises:
        InputError: a rate is not positive, or the result would be longer than `MAX_SAMPLES`.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise InputError(f"Cannot resample from {from_rate} to {to_rate} Hz: rates are positive.")
    if from_rate == to_rate:
        return wave
    if len(wave) * to_rate / from_rate > MAX_SAMPLES:
        raise InputError(f"Too many samples at {to_rate} Hz: more than {MAX_SAMPLES}.")
    import soxr

    samples = wave.detach().cpu().to(torch.float32).numpy()
    resampled = soxr.resample(samples, from_rate, to_rate, quality="VHQ")
    return torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))


def _check_readable(name: str) -> None:
    """Raise unless `name` is a regular file that can be opened and is not empty."""
    if os.path.exists(name) and not os.path.isfile(name):
        raise InputError(f"Cannot read {name}: it is not a file.")
    try:
        with open(name, "rb") as file:
            empty = not file.read(1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"Cannot read {name}: {reason.lower()}.") from error
    if empty:
        raise InputError(f"Cannot read {name}: it is empty.")


def _mono_blocks(file: Forward) -> Iterator[NDArray[np.float32]]:
    """Read to the end; the length of some encodings (GSM 6.10, G.721) is known only there."""
    total = 0
    for block in file.blocks_of():
        total += len(block)
        if total > MAX_SAMPLES:
            raise MemoryError
        yield block.mean(axis=1)


def _promised_frames(name: str, file: soundfile.SoundFile) -> int:
    """Frames that the file's own header (or last page) says there are, as far as it says.

    libsndfile reads a truncated wav or ogg without a word: of a wav it notes in its log what the
    header claimed; an ogg stream marks its last page, so a file that ends in another was cut.
    """
    if file.format in ("WAV", "WAVEX", "RF64"):
        claim = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        # A program that writes to a pipe cannot know the size and claims the largest there is.
        if claim and int(claim[1]) < 0x7FFFFFF0:
            return int(file.frames) * int(claim[1]) // max(int(claim[2]), 1)
    if file.format == "OGG":
        with open(name, "rb") as stream:
            stream.seek(-min(os.path.getsize(name), 1 << 17), os.SEEK_END)  # a page is < 64 KiB
            tail = stream.read()
        page = tail[tail.rfind(b"OggS") :]  # RFC 3533: flags at 5, number of segments at 26, sizes
        whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
        if not whole or not page[5] & 4:
            return int(file.frames) + 1
    return int(file.frames)
