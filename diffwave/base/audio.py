"""Audio files by libsndfile (soundfile), resampling by soxr.

The rest of the package sees float32 tensors [L], mono, nominally within [-1, 1].
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path, read_error

Samples = NDArray[np.float32]

RATES = (4000, 768_000)
"""Hz that a file may claim: what lies outside is a damaged header, and resampling it would take
all memory."""
LOUDEST = 1e10
"""Full scale is 1, or 2^31 where somebody stored integers as floats; squares must be finite."""
MAX_SAMPLES = 1 << 29
"""Samples of a file, before and after resampling: 2 GiB, or 3 hours at 48 kHz."""
BLOCK = 1 << 16  # libsndfile crashes when it is given minutes of Ogg Vorbis in one call


class Format(NamedTuple):
    """How audio of a suffix is encoded."""

    container: str
    subtypes: dict[str, str]  # by bits of a sample; an encoder that stores no samples has "16" only
    rates: tuple[int, ...] = ()  # in Hz, all that the encoder takes; empty: any


_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
FORMATS = {
    ".wav": Format("WAV", {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}),
    ".flac": Format("FLAC", {"16": "PCM_16", "24": "PCM_24"}),
    ".ogg": Format("OGG", {"16": "VORBIS"}),
    ".opus": Format("OGG", {"16": "OPUS"}, _OPUS_RATES),
    ".mp3": Format("MP3", {"16": "MPEG_LAYER_III"}, _MP3_RATES),
}
AUDIO_SUFFIXES = tuple(FORMATS)
"""Suffixes of the files that are read and written."""


class Audio(NamedTuple):
    """A file as it is."""

    wave: Tensor
    """[L] float32, the mean of the channels."""
    sample_rate: int
    """In Hz."""
    channels: int


class _Forward(soundfile.SoundFile):
    """A sound file that is read or written from its start to its end.

    soundfile seeks to where it is after every read of a file in which it can; in an MP3, whose
    frames lean on those before, that costs samples, and libmpg123 complains on standard error.
    """

    def __init__(self, name: str, *arguments: Any, **settings: Any) -> None:
        # Names are bytes where they need not be UTF-8.
        file = os.fsencode(name) if os.name == "posix" else name
        super().__init__(file, *arguments, **settings)

    def seekable(self) -> bool:
        return False

    def mono(self) -> Iterator[Samples]:
        """Blocks until the end: the length of GSM 6.10 or G.721 is known only there."""
        while len(block := self.read(BLOCK, dtype="float32", always_2d=True)):
            yield block.mean(axis=1)


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

    def refusal(reason: str) -> InputError:
        return InputError(f"Cannot read {name}: {reason}.")

    if not os.path.isfile(name):
        raise refusal("there is no such file")
    try:
        with open(name, "rb") as stream:
            if not stream.read(1):
                raise refusal("it is empty")
        with _Forward(name) as file:
            rate, promised = int(file.samplerate), _promised_frames(name, file)
            if not RATES[0] <= rate <= RATES[1]:
                raise refusal(f"it claims a sample rate of {rate} Hz")
            blocks, total = [np.zeros(0, np.float32)], 0
            for block in file.mono():
                blocks.append(block)
                if (total := total + len(block)) > MAX_SAMPLES:
                    raise MemoryError
            samples = np.concatenate(blocks)
            channels = int(file.channels)
    except OSError as error:
        raise read_error(name, error) from error
    except soundfile.LibsndfileError as error:
        if error.code in (1, 2, 3):  # not recognised, "system error", malformed header
            raise refusal("it is not a sound file of a known kind, or is damaged") from error
        raise refusal(f"it is damaged or cut short ({error.error_string.strip(' .')})") from error
    except MemoryError:
        raise refusal("it is too long for the memory here; cut it up") from None
    if len(samples) < promised:
        raise refusal(f"it is cut short, only {len(samples)} samples are there")
    if len(samples) == 0:
        raise refusal("it holds no samples, or is cut short")
    if not np.isfinite(samples).all():
        raise refusal("it holds values that are not finite numbers")
    if np.abs(samples).max() > LOUDEST:
        raise refusal(f"it holds values beyond {LOUDEST:g}")
    return Audio(torch.from_numpy(samples), rate, channels)


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
    samples = wave.detach().cpu().to(torch.float32).numpy()
    resampled = soxr.resample(samples, from_rate, to_rate, quality="VHQ")
    return torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))


def write_audio(
    path: str | os.PathLike[str],
    wave: Tensor | Iterable[Tensor],
    sample_rate: int,
    bits: str = "16",
) -> int:
    """Write mono audio; `path` ends up with the whole file, or as it was before.

    Args:
        path: ends in one of `AUDIO_SUFFIXES`.
        wave: floating point [L] or [1, L]; 1.0 is full scale. Or its pieces, one after another:
            each is written before the next is asked for, so that an hour need not fit in memory.
        sample_rate: in Hz. Opus and MP3 know a few rates only: for another the wave is resampled
            to the next higher one.
        bits: of a sample, "16", "24" or "float"; Vorbis, Opus and MP3 take "16" alone.

    Returns:
        How many samples lay outside [-1, 1] and were clipped; 0 for "float", which keeps them.

    Raises:
        InputError: unknown suffix or bits it cannot hold, a wave that is empty, of another shape or
            not finite, a rate outside `RATES`, or a place that cannot be written to.
    """
    name = os.fspath(path)
    known = FORMATS.get(Path(name).suffix.lower())
    if known is None:
        raise InputError(f"Cannot write {name}: the name must end in {', '.join(FORMATS)}.")
    if bits not in known.subtypes:
        raise InputError(
            f"Cannot write {name}: a {Path(name).suffix} file holds samples of "
            f"{' or '.join(known.subtypes)} bits, not {bits}."
        )
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise InputError(f"Cannot write {name}: {sample_rate} Hz is no sample rate of audio.")
    rates = [rate for rate in known.rates if rate >= sample_rate] or known.rates[-1:]
    rate = rates[0] if rates else sample_rate
    clipped, total = 0, 0

    def checked() -> Iterator[Samples]:
        nonlocal clipped
        for piece in (wave,) if isinstance(wave, Tensor) else wave:
            samples = samples_of(piece, f"write {name}")
            if bits != "float":
                clipped += int(np.count_nonzero(np.abs(samples) > 1))
                samples = np.clip(samples, -1, 1)
            yield samples

    pieces = checked() if rate == sample_rate else _resampled(checked(), sample_rate, rate)
    try:
        with atomic_path(path) as temporary:
            place, subtype = str(temporary), known.subtypes[bits]
            with _Forward(place, "w", rate, 1, format=known.container, subtype=subtype) as file:
                for samples in pieces:
                    for start in range(0, len(samples), BLOCK):
                        file.write(samples[start : start + BLOCK])
                    total += len(samples)
            if not total:
                raise InputError(f"Cannot write {name}: there are no samples to write.")
            if bits == "float":
                _forget_the_time(temporary)
            # libsndfile does not say that the disk was full when it closed a file; reading tells.
            with _Forward(place) as file:
                stored = sum(map(len, file.mono()))
            if stored != total:
                raise soundfile.SoundFileRuntimeError(f"{stored} of {total} samples were stored")
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts what it wrote
        raise InputError(
            f"Cannot write {name}: {known.container} at {sample_rate} Hz is refused ({error})."
        ) from error
    return clipped


def samples_of(wave: Tensor, purpose: str) -> Samples:
    """The samples [L] of a wave [L] or [1, L]; InputError, "Cannot `purpose`", if it is none."""
    if not wave.is_floating_point() or wave.shape[:-1] not in ((), (1,)) or not wave.ndim:
        raise InputError(
            f"Cannot {purpose}: the wave must be floating-point of the shape [L], not "
            f"{wave.dtype} of the shape {list(wave.shape)}."
        )
    if not torch.isfinite(wave).all():
        raise InputError(f"Cannot {purpose}: the wave holds values that are not finite numbers.")
    samples: Samples = wave.detach().flatten().cpu().to(torch.float32).numpy()
    return samples


def _resampled(pieces: Iterator[Samples], from_rate: int, to_rate: int) -> Iterator[Samples]:
    """The pieces of a wave within -1 .. 1 at another rate, without a seam."""
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")
    for piece in pieces:
        yield np.clip(stream.resample_chunk(piece), -1, 1)
    yield np.clip(stream.resample_chunk(np.zeros(0, np.float32), last=True), -1, 1)


def _forget_the_time(path: Path) -> None:
    """A wav of floats notes when it was written, but the same wave should be the same file."""
    with path.open("r+b") as stream:
        if (peak := stream.read(256).find(b"PEAK")) >= 0:  # name, size, version, time: 4 bytes each
            stream.seek(peak + 12)
            stream.write(bytes(4))
