"""Reading, resampling and writing audio files, by libsndfile (soundfile) and soxr.

The rest of the package sees float32 tensors [L], mono, nominally within [-1, 1].
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.errors import InputError
from diffwave.files import atomic_path

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")  # that can be read
# What a file of each suffix may hold when written; the first is the default.
SUBTYPES = {
    ".wav": ("PCM_16", "PCM_24", "FLOAT"),
    ".flac": ("PCM_16", "PCM_24"),
    ".ogg": ("VORBIS",),
}
BLOCK = 1 << 16  # libsndfile crashes when it is given minutes of Ogg Vorbis in one call


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[Tensor, int]:
    """Read a wav, flac, ogg or mp3 file (whatever libsndfile knows) as mono.

    Args:
        path: the file.
        sample_rate: resample to this rate; by default the file's own is kept.

    Returns:
        The samples, float32 [L], the mean of the channels; and their rate in Hz.

    Raises:
        InputError: the file is missing, unreadable, not audio, damaged, cut short, empty, or holds
            values that are not finite numbers.
    """
    name = os.fspath(path)
    _check_file(name)
    try:
        with soundfile.SoundFile(name) as file:
            samples = file.read(dtype="float32", always_2d=True)
            rate, promised = int(file.samplerate), _promised_frames(name, file)
    except soundfile.LibsndfileError as error:
        if error.code in (1, 2, 3):  # not recognised, "system error", malformed header
            raise InputError(
                f"Cannot read {name}: it is not a sound file of a known kind, or is damaged."
            ) from error
        raise InputError(
            f"Cannot read {name}: it is damaged or cut short ({error.error_string.strip(' .')})."
        ) from error
    if len(samples) < promised:
        raise InputError(
            f"Cannot read {name}: it is cut short, only {len(samples)} samples are there."
        )
    if len(samples) == 0:
        raise InputError(f"Cannot read {name}: it holds no samples, or is cut short.")
    if not np.isfinite(samples).all():
        raise InputError(f"Cannot read {name}: it holds values that are not finite numbers.")
    wave = torch.from_numpy(samples.mean(axis=1))
    if sample_rate is None:
        return wave, rate
    return resample(wave, rate, sample_rate), sample_rate


def resample(wave: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample [L] float32 from `from_rate` to `to_rate` Hz by soxr's VHQ (linear phase, no delay).

    Raises:
        InputError: a rate is not positive.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise InputError(f"Cannot resample from {from_rate} to {to_rate} Hz: rates are positive.")
    if from_rate == to_rate:
        return wave
    import soxr

    samples = wave.detach().cpu().to(torch.float32).numpy()
    resampled = soxr.resample(samples, from_rate, to_rate, quality="VHQ")
    return torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))


def write_audio(
    path: str | os.PathLike[str],
    wave: Tensor | Iterable[Tensor],
    sample_rate: int,
    subtype: str | None = None,
) -> int:
    """Write mono audio; `path` ends up with the whole file, or as it was before.

    Args:
        path: ends in .wav, .flac or .ogg.
        wave: floating point [L] or [1, L]; 1.0 is full scale. Or its pieces, one after another:
            each is written before the next is asked for, so that an hour need not fit in memory.
        sample_rate: in Hz.
        subtype: "PCM_16" (the default), "PCM_24" or "FLOAT" for .wav; "PCM_16" or "PCM_24" for
            .flac; "VORBIS" for .ogg.

    Returns:
        How many samples lay outside [-1, 1] and were clipped; 0 for "FLOAT", which keeps them.

    Raises:
        InputError: unknown suffix or a subtype it cannot hold, a wave that is empty, of another
            shape or not finite, or a place that cannot be written to.
    """
    name = os.fspath(path)
    suffix = Path(name).suffix.lower()
    if suffix not in SUBTYPES:
        raise InputError(f"Cannot write {name}: the name must end in {', '.join(SUBTYPES)}.")
    subtype = subtype or SUBTYPES[suffix][0]
    if subtype not in SUBTYPES[suffix]:
        raise InputError(
            f"Cannot write {name}: a {suffix} file holds {' or '.join(SUBTYPES[suffix])}, "
            f"not {subtype}."
        )
    pieces = (wave,) if isinstance(wave, Tensor) else wave
    with atomic_path(path) as temporary, _HonestFile(temporary) as stream:
        clipped = _encode(name, pieces, stream, sample_rate, suffix[1:], subtype)
    return clipped


def _check_file(name: str) -> None:
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


class _HonestFile:
    """A file that libsndfile writes to through Python, because it hides why a write failed."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("r+b", buffering=0)
        self.error: OSError | None = None

    def __enter__(self) -> _HonestFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        """Everything, or 0 with `error` set: a raw write may be short of what was asked."""
        done = 0
        try:
            while done < len(data):
                done += self.file.write(data[done:])
        except OSError as error:
            self.error = self.error or error
            return 0
        return done

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        """Nothing is buffered."""


def _forget_the_time(stream: _HonestFile) -> None:
    """A wav of floats notes when it was written, but the same wave should be the same file."""
    stream.seek(0)
    if (peak := stream.read(256).find(b"PEAK")) >= 0:  # name, size, version, time: 4 bytes each
        stream.seek(peak + 12)
        stream.write(bytes(4))


def _encode(
    name: str,
    pieces: Iterable[Tensor],
    stream: _HonestFile,
    sample_rate: int,
    container: str,
    subtype: str,
) -> int:
    """Encode the pieces into the stream; returns how many samples were clipped."""
    refused = f"Cannot write {name}: {container} at {sample_rate} Hz is refused"
    try:
        file = soundfile.SoundFile(
            stream, "w", sample_rate, 1, format=container.upper(), subtype=subtype
        )
    except (soundfile.LibsndfileError, ValueError, TypeError, OverflowError) as error:
        raise stream.error or InputError(f"{refused} ({error}).") from error
    clipped = total = 0
    with file:
        for piece in pieces:
            samples = _check_wave(name, piece)
            total += len(samples)
            if subtype != "FLOAT":
                clipped += int(np.count_nonzero(np.abs(samples) > 1))
                samples = np.clip(samples, -1, 1)
            for start in range(0, len(samples), BLOCK):
                try:
                    file.write(samples[start : start + BLOCK])
                except (soundfile.LibsndfileError, AssertionError) as error:
                    raise stream.error or InputError(f"{refused} ({error}).") from error
            if stream.error is not None:
                raise stream.error
    if subtype == "FLOAT":
        _forget_the_time(stream)
    if stream.error is not None:  # of what closing wrote
        raise stream.error
    if not total:
        raise InputError(f"Cannot write {name}: there are no samples to write.")
    return clipped
