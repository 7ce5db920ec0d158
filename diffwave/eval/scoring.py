"""What is judged, and scoring it: every utterance of every system with every metric."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from diffwave.base.audio import AUDIO_SUFFIXES, read_audio, resample, samples_of, write_audio
from diffwave.base.errors import InputError
from diffwave.base.files import find_files, in_order
from diffwave.base.text import printable
from diffwave.eval.metrics import METRICS, choose_metrics
from diffwave.eval.scores import FACTS, Scores, common_utterances, listed
from diffwave.eval.waves import Wave, align

Job = tuple[Wave, Wave, int, Sequence[str]]  # reference, generated, sample rate, metrics


@dataclass(frozen=True)
class Pair:
    """The recording of an utterance and what is to be judged, [L] each, at one rate in Hz."""

    reference: Tensor
    generated: Tensor
    sample_rate: int
    reference_file: Path | None = None  # where they can be listened to
    generated_file: Path | None = None


@dataclass(frozen=True)
class System:
    """What is judged as one: what reads or generates the pair of each utterance, and remarks."""

    pairs: Mapping[str, Callable[[], Pair]]
    notes: Sequence[str] = ()


def folder_system(
    reference: str | os.PathLike[str],
    generated: str | os.PathLike[str],
    only: str = "*",
    rate: int | None = None,
) -> System:
    """The audio files of two folders that have the same name, whatever their suffix.

    Generated audio of another sample rate is resampled to the recording's, or both to `rate`, Hz.
    `only` is a pattern of the file names of the recordings to take. Notes name those for which
    nothing was generated, and the rate.

    Raises:
        InputError: a folder is missing or holds no audio, two files share a name, or a generated
            file has no recording.
    """
    recordings, copies = audio_files(reference), audio_files(generated)
    for name in copies:
        if name not in recordings:
            raise InputError(
                f"{copies[name]} has no recording of that name in {os.fspath(reference)}."
            )

    def read(name: str) -> Pair:
        wave, at = read_audio(recordings[name], rate)
        return Pair(wave, read_audio(copies[name], at)[0], at, recordings[name], copies[name])

    wanted = audio_files(reference, only)
    missing = [name for name in wanted if name not in copies]
    notes = [f"nothing was generated for {listed(missing)}"] if missing else []
    notes += _rate_note(rate)
    return System({name: partial(read, name) for name in wanted if name in copies}, notes)


def resynthesis_system(
    recordings: Mapping[str, Path],
    resynthesise: Callable[[Tensor], Tensor],
    sample_rate: int,
    folder: Path | None = None,
    notes: Sequence[str] = (),
    rate: int | None = None,
) -> System:
    """Recordings, read at `sample_rate`, and what `resynthesise` makes of each, when it is scored.

    For a vocoder: ``lambda wave: vocoder(vocoder.mel(wave))``. The lengths need not agree. If a
    folder is given, what was generated is also written there, as 16-bit wav. With `rate`, Hz, both
    are resampled to it before they are compared.
    """
    at = rate or sample_rate

    def generate(name: str, file: Path) -> Pair:
        reference, _ = read_audio(file, sample_rate)
        generated, place = resynthesise(reference), None
        if folder is not None:
            place = folder / f"{name}.wav"
            write_audio(place, generated, sample_rate)
        if rate is not None:
            reference, generated = read_audio(file, at)[0], resample(generated, sample_rate, at)
        return Pair(reference, generated, at, file, place)

    pairs = {name: partial(generate, name, file) for name, file in recordings.items()}
    return System(pairs, [*notes, *_rate_note(rate)])


def _rate_note(rate: int | None) -> list[str]:
    return [] if rate is None else [f"recordings and generated audio compared at {rate} Hz"]


def audio_files(folder: str | os.PathLike[str], only: str = "*") -> dict[str, Path]:
    """{name without suffix: path} of the audio files whose name matches the pattern, sorted.

    Raises InputError if there is no such folder or file, or two of one name.
    """
    files: dict[str, Path] = {}
    for file in find_files(Path(folder), AUDIO_SUFFIXES, deep=False, kind="audio"):
        name = printable(file.stem)
        if name in files:
            raise InputError(f"{file} and {files[name]} have the same name.")
        files[name] = file
    chosen = {name: file for name, file in files.items() if fnmatch(file.name, only)}
    if not chosen:
        raise InputError(f"No recording in {os.fspath(folder)} matches {only!r}.")
    return chosen


def evaluate_systems(
    systems: Mapping[str, System],
    metrics: Sequence[str] = (),
    progress: Callable[[], object] = lambda: None,
    jobs: int = 1,
) -> Scores:
    """Score every pair of every system.

    Args:
        systems: by name; their pairs are asked for one at a time, and may be generated then.
        metrics: as for `choose_metrics`. One whose library is missing ends up in `Scores.missing`.
        progress: called after each pair.
        jobs: processes; more than one need a main module that can be imported.

    Raises:
        InputError: an unknown metric, no utterance that all systems have, a wave that is empty, not
            finite or no [L]; a process of several was killed.
    """
    chosen, missing = choose_metrics(metrics)
    common_utterances({name: list(system.pairs) for name, system in systems.items()})
    keys = [(name, utterance) for name, system in systems.items() for utterance in system.pairs]
    references: dict[str, Path] = {}
    generated: dict[str, dict[str, Path]] = {name: {} for name in systems}

    def pairs() -> Iterator[Job]:
        for name, utterance in keys:
            pair = systems[name].pairs[utterance]()
            if pair.reference_file:
                references[utterance] = pair.reference_file
            if pair.generated_file:
                generated[name][utterance] = pair.generated_file
            waves = (pair.reference, pair.generated)
            original, copy = (samples_of(wave, f"score {utterance}") for wave in waves)
            if not (len(original) and len(copy)):
                raise InputError(f"Cannot score {utterance}: a wave is empty.")
            yield original, copy, pair.sample_rate, list(chosen)

    rows = []
    for row in _scored(pairs(), jobs):
        rows.append(row)
        progress()
    index = pd.MultiIndex.from_tuples(keys, names=["system", "utterance"])
    table = pd.DataFrame(rows, index, columns=[*FACTS, *chosen])
    notes = {name: list(system.notes) for name, system in systems.items()}
    return Scores(table, missing, notes, references, generated)


def _scored(waves: Iterator[Job], jobs: int) -> Iterator[list[float]]:
    if jobs <= 1:
        yield from map(_score, waves)
        return
    threads = max(torch.get_num_threads() // jobs, 1)
    # Not fork: a child that inherits PyTorch's threads may hang.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (threads,))
    try:
        # All start now: one that started just while another is killed would make Python hang.
        for _ in range(jobs):
            pool.submit(torch.get_num_threads)
        yield from in_order(pool, _score, waves, 2 * jobs)  # enough to keep all busy
    except BrokenProcessPool as error:
        raise InputError(
            "A scoring process was killed, perhaps for want of memory; try fewer jobs."
        ) from error


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to deal with
    torch.set_num_threads(threads)


def _score(job: Job) -> list[float]:
    """`FACTS` and the metrics."""
    reference, generated, rate, metrics = job
    seconds, extra = len(reference) / rate, (len(generated) - len(reference)) / rate
    reference, generated, lag = align(reference, generated, rate)
    values = (METRICS[name].function(reference, generated, rate) for name in metrics)
    return [seconds, 1000 * lag, 1000 * extra, *values]
