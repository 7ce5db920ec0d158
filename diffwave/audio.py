"""Reading, resampling and writing audio files, by libsndfile (soundfile) and soxr.

The rest of the package sees float32 tensors [L], mono, nominally within [-1, 1].
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.errors import InputError
from diffwave.files import atomic_path


class _Format(NamedTuple):
    """How audio of a suffix is encoded."""

    container: str
    subtypes: tuple[str, ...]  # the first is the default
    rates: tuple[int, ...] = ()  # in Hz, all that the encoder takes; empty: any


def _known_formats() -> dict[str, _Format]:
    """By suffix, what the installed libsndfile can write: older ones lack Opus or MP3."""
    opus = (8000, 12000, 16000, 24000, 48000)
    mp3 = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    formats = {
        ".wav": _Format("WAV", ("PCM_16", "PCM_24", "FLOAT")),
        ".flac": _Format("FLAC", ("PCM_16", "PCM_24")),
        ".ogg": _Format("OGG", ("VORBIS",)),
        ".opus": _Format("OGG", ("OPUS",), opus),
        ".mp3": _Format("MP3", ("MPEG_LAYER_III",), mp3),
    }
    return {
        suffix: known
        for suffix, known in formats.items()
        if known.container in soundfile.available_formats()
        and known.subtypes[0] in soundfile.available_subtypes(known.container)
    }


_FORMATS = _known_formats()
SUBTYPES = {suffix: known.subtypes for suffix, known in _FORMATS.items()}
"""What a file of each suffix may hold when written; the first is the default."""
AUDIO_SUFFIXES = tuple(_FORMATS)
"""Suffixes of the files that are read."""
SUBTYPE_OF_BITS = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}
RATES = (4000, 768_000)
"""Hz that a file may claim: what lies outside is a damaged header, and resampling it would take
all memory."""
MAX_SAMPLES = 1 << 29
"""Samples of a file, before and after resampling: 2 GiB, or 3 hours at 48 kHz."""
BLOCK = 1 << 16  # libsndfile crashes when it is given minutes of Ogg Vorbis in one call


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
        with soundfile.SoundFile(_encoded(name)) as file:
            rate, promised = int(file.samplerate), _promised_frames(name, file)
            if not RATES[0] <= rate <= RATES[1]:
                raise InputError(f"Cannot read {name}: it claims a sample rate of {rate} Hz.")
            if file.seekable() and file.frames > MAX_SAMPLES:
                raise _too_long(name)
            samples = np.concatenate([np.zeros(0, np.float32), *_mono_blocks(name, file)])
            channels = int(file.channels)
    except soundfile.LibsndfileError as error:
        if error.code in (1, 2, 3):  # not recognised, "system error", malformed header
            raise InputError(
                f"Cannot read {name}: it is not a sound file of a known kind, or is damaged."
            ) from error
        raise InputError(
            f"Cannot read {name}: it is damaged or cut short ({error.error_string.strip(' .')})."
        ) from error
    except MemoryError:
        raise _too_long(name) from None
    if len(samples) < promised:
        raise InputError(
            f"Cannot read {name}: it is cut short, only {len(samples)} samples are there."
        )
    if len(samples) == 0:
        raise InputError(f"Cannot read {name}: it holds no samples, or is cut short.")
    if not np.isfinite(samples).all():
        raise InputError(f"Cannot read {name}: it holds values that are not finite numbers.")
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


def subtype_of(path: str | os.PathLike[str], bits: str) -> str:
    """The subtype for a file of that name whose samples have "16" or "24" bits, or are "float".

    Vorbis, Opus and MP3 store no samples: "16" stands for what such a file holds.

    Raises:
        InputError: unknown suffix, or a file of it cannot hold such samples.
    """
    name = os.fspath(path)
    known = _format_of(name)
    if bits == "16":
        return known.subtypes[0]
    if SUBTYPE_OF_BITS[bits] not in known.subtypes:
        samples = "float samples" if bits == "float" else f"{bits}-bit samples"
        raise InputError(f"Cannot write {name}: a {Path(name).suffix} file holds no {samples}.")
    return SUBTYPE_OF_BITS[bits]


def write_audio(
    path: str | os.PathLike[str],
    wave: Tensor | Iterable[Tensor],
    sample_rate: int,
    subtype: str | None = None,
) -> int:
    """Write mono audio; `path` ends up with the whole file, or as it was before.

    Args:
        path: ends in one of `SUBTYPES`.
        wave: floating point [L] or [1, L]; 1.0 is full scale. Or its pieces, one after another:
            each is written before the next is asked for, so that an hour need not fit in memory.
        sample_rate: in Hz. Opus and MP3 know a few rates only: for another the wave is resampled
            to the next higher one.
        subtype: one of the suffix's `SUBTYPES`; by default its first.

    Returns:
        How many samples lay outside [-1, 1] and were clipped; 0 for "FLOAT", which keeps them.

    Raises:
        InputError: unknown suffix or a subtype it cannot hold, a wave that is empty, of another
            shape or not finite, a rate outside `RATES`, or a place that cannot be written to.
    """
    name = os.fspath(path)
    known = _format_of(name)
    subtype = subtype or known.subtypes[0]
    if subtype not in known.subtypes:
        raise InputError(
            f"Cannot write {name}: a {Path(name).suffix} file holds "
            f"{' or '.join(known.subtypes)}, not {subtype}."
        )
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise InputError(f"Cannot write {name}: {sample_rate} Hz is no sample rate of audio.")
    pieces = (wave,) if isinstance(wave, Tensor) else wave
    encoder = _Encoder(name, sample_rate, known, subtype)
    try:
        with atomic_path(path) as temporary:
            return encoder.encode(pieces, temporary)
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts what it wrote
        raise InputError(
            f"Cannot write {name}: {known.container} at {sample_rate} Hz is refused ({error})."
        ) from error


def _encoded(name: str) -> str | bytes:
    """The name as libsndfile takes it: bytes, where names are bytes that need not be UTF-8."""
    return os.fsencode(name) if os.name == "posix" else name


def _too_long(name: str) -> InputError:
    return InputError(f"Cannot read {name}: it is too long for the memory here; cut it up.")


def _format_of(name: str) -> _Format:
    known = _FORMATS.get(Path(name).suffix.lower())
    if known is None:
        raise InputError(f"Cannot write {name}: the name must end in {', '.join(_FORMATS)}.")
    return known


def _check_readable(name: str) -> None:
    """Raise unless `name` is a regular file that can be opened and is not empty."""
    try:
        if Path(name).exists() and not Path(name).is_file():
            raise InputError(f"Cannot read {name}: it is not a file.")
        with open(name, "rb") as file:
            if not file.read(1):
                raise InputError(f"Cannot read {name}: it is empty.")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"Cannot read {name}: {reason.lower()}.") from error


def _mono_blocks(name: str, file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Read to the end; the length of some encodings (GSM 6.10, G.721) is known only there."""
    total = 0
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        total += len(block)
        if total > MAX_SAMPLES:
            raise _too_long(name)
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


def _check_wave(name: str, wave: Tensor) -> NDArray[np.float32]:
    """The samples [L] of a wave [L] or [1, L]; InputError if it is none."""
    if not torch.is_tensor(wave) or not wave.is_floating_point():
        raise InputError(f"Cannot write {name}: the wave must be a floating-point tensor.")
    if wave.dim() == 2 and wave.shape[0] == 1:
        wave = wave[0]
    if wave.dim() != 1:
        raise InputError(
            f"Cannot write {name}: the wave must have shape [L], not {list(wave.shape)}."
        )
    if wave.numel() == 0:
        raise InputError(f"Cannot write {name}: there are no samples to write.")
    if not torch.isfinite(wave).all():
        raise InputError(f"Cannot write {name}: the wave holds values that are not finite numbers.")
    samples: NDArray[np.float32] = wave.detach().cpu().to(torch.float32).numpy()
    return samples


class _Encoder:
    """Writes pieces of a wave to a file, and reads them back.

    libsndfile does not say that the disk was full when it closed a file, so only reading tells.
    """

    def __init__(self, name: str, sample_rate: int, known: _Format, subtype: str) -> None:
        self.name, self.sample_rate, self.known, self.subtype = name, sample_rate, known, subtype
        self.clipped = 0

    def encode(self, pieces: Iterable[Tensor], path: Path) -> int:
        """Encode the pieces into a file; returns how many samples were clipped."""
        allowed = self.known.rates or (self.sample_rate,)
        rate = min((r for r in allowed if r >= self.sample_rate), default=max(allowed))
        place, container = _encoded(str(path)), self.known.container
        total = 0
        with soundfile.SoundFile(
            place, "w", rate, 1, format=container, subtype=self.subtype
        ) as file:
            for samples in self._at_rate(rate, self._samples(pieces)):
                for start in range(0, len(samples), BLOCK):
                    file.write(samples[start : start + BLOCK])
                total += len(samples)
        if not total:
            raise InputError(f"Cannot write {self.name}: there are no samples to write.")
        if self.subtype == "FLOAT":
            _forget_the_time(path)
        with soundfile.SoundFile(place) as file:
            found = sum(len(block) for block in file.blocks(BLOCK, dtype="float32"))
        if found != total:
            raise soundfile.SoundFileRuntimeError(f"{found} of {total} samples were stored")
        return self.clipped

    def _samples(self, pieces: Iterable[Tensor]) -> Iterator[NDArray[np.float32]]:
        for piece in pieces:
            samples = _check_wave(self.name, piece)
            if self.subtype != "FLOAT":
                self.clipped += int(np.count_nonzero(np.abs(samples) > 1))
                samples = np.clip(samples, -1, 1)
            yield samples

    def _at_rate(
        self, rate: int, pieces: Iterator[NDArray[np.float32]]
    ) -> Iterator[NDArray[np.float32]]:
        if rate == self.sample_rate:
            yield from pieces
            return
        import soxr

        stream = soxr.ResampleStream(self.sample_rate, rate, 1, dtype="float32", quality="VHQ")
        for piece in pieces:
            yield np.clip(stream.resample_chunk(piece), -1, 1)
        yield np.clip(stream.resample_chunk(np.zeros(0, np.float32), last=True), -1, 1)


def _forget_the_time(path: Path) -> None:
    """A wav of floats notes when it was written, but the same wave should be the same file."""
    with path.open("r+b") as stream:
        if (peak := stream.read(256).find(b"PEAK")) >= 0:  # name, size, version, time: 4 bytes each
            stream.seek(peak + 12)
            stream.write(bytes(4))
