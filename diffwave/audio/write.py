"""Writing audio files by libsndfile (soundfile): whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.audio.formats import BLOCK, RATES, Format, Forward, encoded_name, format_of
from diffwave.errors import InputError
from diffwave.files import atomic_path


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
    known = format_of(name)
    subtype = subtype or known.subtypes[0]
    if subtype not in known.subtypes:
        raise InputError(
            f"Cannot write {name}: a {Path(name).suffix} file holds "
            f"{' or '.join(known.subtypes)}, not {subtype}."
        )
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise InputError(f"Cannot write {name}: {sample_rate} Hz is no sample rate of audio.")
    pieces = (wave,) if isinstance(wave, Tensor) else wave
    try:
        with atomic_path(path) as temporary:
            return _encode(name, pieces, sample_rate, known, subtype, temporary)
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts what it wrote
        raise InputError(
            f"Cannot write {name}: {known.container} at {sample_rate} Hz is refused ({error})."
        ) from error


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
    if not torch.isfinite(wave).all():
        raise InputError(f"Cannot write {name}: the wave holds values that are not finite numbers.")
    samples: NDArray[np.float32] = wave.detach().cpu().to(torch.float32).numpy()
    return samples


def _encode(
    name: str,
    pieces: Iterable[Tensor],
    sample_rate: int,
    known: Format,
    subtype: str,
    path: Path,
) -> int:
    """Encode the pieces into a file, and read it back; returns how many samples were clipped.

    libsndfile does not say that the disk was full when it closed a file, so only reading tells.
    """
    allowed = known.rates or (sample_rate,)
    rate = min((r for r in allowed if r >= sample_rate), default=max(allowed))
    place, clipped, total = encoded_name(str(path)), 0, 0

    def checked() -> Iterator[NDArray[np.float32]]:
        nonlocal clipped
        for piece in pieces:
            samples = _check_wave(name, piece)
            if subtype != "FLOAT":
                clipped += int(np.count_nonzero(np.abs(samples) > 1))
                samples = np.clip(samples, -1, 1)
            yield samples

    waves = checked() if rate == sample_rate else _resampled(checked(), sample_rate, rate)
    with soundfile.SoundFile(place, "w", rate, 1, format=known.container, subtype=subtype) as file:
        for samples in waves:
            for start in range(0, len(samples), BLOCK):
                file.write(samples[start : start + BLOCK])
            total += len(samples)
    if not total:
        raise InputError(f"Cannot write {name}: there are no samples to write.")
    if subtype == "FLOAT":
        _forget_the_time(path)
    with Forward(place) as file:
        found = sum(map(len, file.blocks_of()))
    if found != total:
        raise soundfile.SoundFileRuntimeError(f"{found} of {total} samples were stored")
    return clipped


def _resampled(
    pieces: Iterator[NDArray[np.float32]], from_rate: int, to_rate: int
) -> Iterator[NDArray[np.float32]]:
    """The pieces of a wave within -1 .. 1 at another rate, without a seam."""
    import soxr

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
