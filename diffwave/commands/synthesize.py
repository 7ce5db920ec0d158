"""`diffwave synthesize`: a mel or recording, or a folder of them, to audio."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from diffwave.audio import AUDIO_SUFFIXES, SUBTYPES, read_audio, subtype_of, write_audio
from diffwave.commands.common import vocoder_of
from diffwave.errors import InputError
from diffwave.files import find_files, write_error
from diffwave.mel import check_mel
from diffwave.mel.files import MEL_SUFFIXES, read_mel
from diffwave.vocoder import Vocoder


def run(options: argparse.Namespace) -> int:
    """A mel or recording, or a folder of them, to audio; prints duration and real-time factor."""
    jobs = _jobs(Path(options.input), Path(options.output))
    vocoder = vocoder_of(options)
    if Path(options.input).is_dir():
        return _synthesize_folder(vocoder, jobs, options)
    ((source, target),) = jobs
    mel = _mel_of(vocoder, source)
    with tqdm(total=mel.shape[-1], unit="frame", disable=None, leave=False) as bar:
        seconds, spent = _generate_to(vocoder, mel, target, options, bar)
    print(_told(target, seconds, spent))
    return 0


def _synthesize_folder(
    vocoder: Vocoder, jobs: list[tuple[Path, Path]], options: argparse.Namespace
) -> int:
    total_seconds = total_spent = 0.0
    failed = 0
    for source, target in tqdm(jobs, unit="file", disable=None):
        try:
            mel = _mel_of(vocoder, source)
            _make_folder(target.parent)
            seconds, spent = _generate_to(vocoder, mel, target, options, None)
        except InputError as error:
            failed += 1
            tqdm.write(f"{source}: {error}", file=sys.stderr)
            continue
        total_seconds += seconds
        total_spent += spent
    done = len(jobs) - failed
    print(_told(f"{done} files in {options.output}", total_seconds, total_spent))
    if failed:
        raise InputError(f"{failed} of {len(jobs)} files could not be used.")
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def _told(what: object, seconds: float, spent: float) -> str:
    factor = f", real-time factor {spent / seconds:.3f}" if seconds else ""
    return f"{what}: {seconds:.2f} s of speech in {spent:.2f} s{factor}"


def _generate_to(
    vocoder: Vocoder, mel: Tensor, target: Path, options: argparse.Namespace, bar: tqdm | None
) -> tuple[float, float]:
    """Generate into a file; returns seconds of audio and seconds spent on the network."""
    start = time.perf_counter()
    wave = vocoder.stream(
        mel,
        steps=options.steps,
        sampler=options.sampler,
        seed=options.seed,
        rounds=options.rounds,
        restore=options.restore,
        chunk_frames=options.chunk,
        progress=bar.update if bar is not None else None,
    )
    clipped = write_audio(target, wave, vocoder.sample_rate, subtype_of(target, options.bits))
    spent = time.perf_counter() - start
    if clipped:
        tqdm.write(f"{target}: {clipped} samples were clipped at full scale.", file=sys.stderr)
    return mel.shape[-1] * vocoder.hop_length / vocoder.sample_rate, spent


def _jobs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Pairs of input and output files; everything that can be checked beforehand is."""
    if not source.exists():
        raise InputError(f"There is no file or folder {source}.")
    known = (*MEL_SUFFIXES, *AUDIO_SUFFIXES)
    if not source.is_dir():
        if source.suffix.lower() not in known:
            raise InputError(f"{source} is neither a mel nor a recording ({', '.join(known)}).")
        if target.suffix.lower() not in SUBTYPES:
            raise InputError(f"The output {target} must end in {', '.join(SUBTYPES)}.")
        if not target.parent.is_dir():
            raise InputError(f"Cannot write {target}: there is no folder {target.parent}.")
        return [(source, target)]
    if target.exists() and not target.is_dir():
        raise InputError(f"{source} is a folder, so the output {target} must be one too.")
    if not target.parent.is_dir():
        raise InputError(f"Cannot make the folder {target}: there is no {target.parent}.")
    # An output folder inside the input's holds the results of the last run.
    inputs = [p for p in find_files(source, known) if target == source or target not in p.parents]
    if not inputs:
        raise InputError(f"There is no mel and no recording ({', '.join(known)}) in {source}.")
    jobs = [(p, target / p.relative_to(source).with_suffix(".wav")) for p in inputs]
    seen: dict[Path, Path] = {}
    for p, out in jobs:
        if out in seen:
            raise InputError(f"{seen[out]} and {p} would both become {out}.")
        seen[out] = p
    return jobs


def _mel_of(vocoder: Vocoder, source: Path) -> Tensor:
    """The checked mel [n_mels, T] of a mel file, or of a recording."""
    if source.suffix.lower() in AUDIO_SUFFIXES:
        wave, _ = read_audio(source, vocoder.sample_rate)
        return vocoder.mel(wave)
    mel = check_mel(read_mel(source), vocoder.config.mel)
    if len(mel) != 1:
        raise InputError(f"{source} holds {len(mel)} mel-spectrograms; save one to a file.")
    return mel[0]
