"""Scoring: every utterance of every system with every metric, on one core or on several."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context

import pandas as pd
import torch
from torch import Tensor

from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS, choose_metrics
from diffwave.eval.pairs import Pair
from diffwave.eval.scores import COLUMNS, Scores
from diffwave.eval.waves import Wave, align


@dataclass(frozen=True)
class System:
    """What is judged as one: its utterances, and what a reader must know about it."""

    pairs: Iterable[Pair]
    notes: Sequence[str] = ()


def evaluate_pairs(
    pairs: Iterable[Pair],
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, str], object] | None = None,
    notes: Sequence[str] = (),
    jobs: int = 1,
) -> Scores:
    """Score one system, called "system"; see `evaluate_systems`."""
    return evaluate_systems({"system": System(pairs, notes)}, metrics, progress, jobs)


def evaluate_systems(
    systems: Mapping[str, System],
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, str], object] | None = None,
    jobs: int = 1,
) -> Scores:
    """Score every pair of every system.

    Args:
        systems: their pairs are consumed one at a time, so that a generator may synthesise on the
            way.
        metrics: as for `choose_metrics`; by default all. One whose library is missing ends up in
            `Scores.missing`.
        progress: called after each pair with the number done and the pair's name.
        jobs: processes; more than one need a main module that can be imported.

    Raises:
        InputError: an unknown metric, a system without pairs, no utterance that all systems have,
            or a wave that is empty, not finite or of another shape than [L]; a process of several
            was killed.
    """
    chosen, missing = choose_metrics(metrics)
    stream = ((name, pair) for name, system in systems.items() for pair in system.pairs)
    rows: list[tuple[str, str, str, float]] = []
    references, generated = {}, {system: {} for system in systems}  # type: ignore[var-annotated]
    for done, (system, pair, values) in enumerate(_scored(stream, tuple(chosen), jobs), 1):
        rows += [(system, pair.name, metric, value) for metric, value in values.items()]
        if pair.reference_file:
            references[pair.name] = pair.reference_file
        if pair.generated_file:
            generated[system][pair.name] = pair.generated_file
        if progress:
            progress(done, pair.name)
    table = pd.DataFrame(rows, columns=COLUMNS)
    if set(table["system"]) != set(systems):
        raise InputError("There is nothing to evaluate: no pair of recording and generated audio.")
    notes = {name: list(system.notes) for name, system in systems.items()}
    return Scores(table, missing, notes, references, generated)


def _scored(
    stream: Iterator[tuple[str, Pair]], metrics: tuple[str, ...], jobs: int
) -> Iterator[tuple[str, Pair, dict[str, float]]]:
    """The stream with its scores, in order."""
    if jobs <= 1:
        for system, pair in stream:
            yield system, _without_waves(pair), _score(*_arguments(pair), metrics)
        return
    threads = max(torch.get_num_threads() // jobs, 1)
    # Not fork: a child that inherits PyTorch's threads may hang.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (threads,))
    waiting: deque[tuple[str, Pair, Future[dict[str, float]]]] = deque()
    try:
        # All start now: one that started just while another is killed would make Python hang.
        for _ in range(jobs):
            pool.submit(torch.get_num_threads)
        for system, pair in stream:
            future = pool.submit(_score, *_arguments(pair), metrics)
            waiting.append((system, _without_waves(pair), future))
            if len(waiting) >= 2 * jobs:  # enough to keep all busy; no more waves than that
                system, pair, future = waiting.popleft()
                yield system, pair, future.result()
        while waiting:
            system, pair, future = waiting.popleft()
            yield system, pair, future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A scoring process was killed, perhaps for want of memory; try fewer jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to deal with
    torch.set_num_threads(threads)


def _arguments(pair: Pair) -> tuple[Wave, Wave, int]:
    return _array(pair.name, pair.reference), _array(pair.name, pair.generated), pair.sample_rate


def _score(
    reference: Wave, generated: Wave, sample_rate: int, metrics: tuple[str, ...]
) -> dict[str, float]:
    """`FACTS` and metrics of one pair."""
    seconds = len(reference) / sample_rate
    extra_ms = 1000 * (len(generated) - len(reference)) / sample_rate
    reference, generated, lag = align(reference, generated, sample_rate)
    values = {name: METRICS[name].function(reference, generated, sample_rate) for name in metrics}
    return {"seconds": seconds, "lag_ms": 1000 * lag, "extra_ms": extra_ms, **values}


def _without_waves(pair: Pair) -> Pair:
    """The pair without its samples: many utterances of many systems need not fit in memory."""
    return replace(pair, reference=torch.empty(0), generated=torch.empty(0))


def _array(name: str, wave: Tensor) -> Wave:
    if wave.dim() == 2 and wave.shape[0] == 1:
        wave = wave[0]
    if wave.dim() != 1 or not wave.numel() or not torch.isfinite(wave).all():
        raise InputError(
            f"Cannot score {name}: a wave has shape {list(wave.shape)} or is not finite."
        )
    array: Wave = wave.detach().cpu().to(torch.float32).numpy()
    return array
