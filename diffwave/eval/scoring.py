"""Scoring: every sentence of every system with every metric, on one core or on several."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from torch import Tensor

from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS, choose_metrics
from diffwave.eval.pairs import Pair
from diffwave.eval.report import Report
from diffwave.eval.waves import Wave, align


@dataclass(frozen=True)
class System:
    """What is judged as one: its sentences, and what a reader must know about it."""

    pairs: Iterable[Pair]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Score:
    """Of one pair; the columns of a `Report`."""

    seconds: float
    lag_ms: float
    extra_ms: float
    values: dict[str, float]


def evaluate_pairs(
    pairs: Iterable[Pair],
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, str], object] | None = None,
    notes: Sequence[str] = (),
    jobs: int = 1,
) -> Report:
    """Score one system; arguments and errors are those of `evaluate_systems`."""
    return evaluate_systems({"": System(pairs, notes)}, metrics, progress, jobs)[""]


def evaluate_systems(
    systems: Mapping[str, System],
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, str], object] | None = None,
    jobs: int = 1,
) -> dict[str, Report]:
    """Score every pair of every system.

    Args:
        systems: their pairs are consumed one at a time, so that a generator may synthesise on the
            way.
        metrics: as for `choose_metrics`; by default all. One whose library is missing ends up in
            `Report.missing`.
        progress: called after each pair with the number done and the pair's name.
        jobs: processes; more than one need a main module that can be imported.

    Raises:
        InputError: an unknown metric, a system without pairs, or a wave that is empty, not finite
            or of another shape than [L]; a process of several was killed.
    """
    chosen, missing = choose_metrics(metrics)
    rows: dict[str, list[tuple[Pair, _Score]]] = {system: [] for system in systems}
    stream = ((name, pair) for name, system in systems.items() for pair in system.pairs)
    scored = _scored(stream, tuple(chosen), jobs)
    for done, (name, pair, score) in enumerate(scored, 1):
        rows[name].append((pair, score))
        if progress:
            progress(done, pair.name)
    reports = {}
    for name, system in systems.items():
        if not rows[name]:
            raise InputError(
                "There is nothing to evaluate: no pair of recording and generated audio."
            )
        reports[name] = _report(rows[name], tuple(chosen), missing, system.notes)
    return reports


def _report(
    rows: list[tuple[Pair, _Score]],
    metrics: tuple[str, ...],
    missing: dict[str, str],
    notes: Sequence[str],
) -> Report:
    scores = [score for _, score in rows]
    return Report(
        sentences=tuple(pair.name for pair, _ in rows),
        seconds=tuple(score.seconds for score in scores),
        lag_ms=tuple(score.lag_ms for score in scores),
        extra_ms=tuple(score.extra_ms for score in scores),
        values={name: tuple(score.values[name] for score in scores) for name in metrics},
        missing=missing,
        notes=tuple(notes),
        reference_files={p.name: p.reference_file for p, _ in rows if p.reference_file},
        generated_files={p.name: p.generated_file for p, _ in rows if p.generated_file},
    )


def _scored(
    stream: Iterator[tuple[str, Pair]], metrics: tuple[str, ...], jobs: int
) -> Iterator[tuple[str, Pair, _Score]]:
    """The stream with its scores, in order."""
    if jobs <= 1:
        for system, pair in stream:
            yield system, _without_waves(pair), _score(*_arguments(pair), metrics)
        return
    threads = max(torch.get_num_threads() // jobs, 1)
    # Not fork: a child that inherits PyTorch's threads may hang.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (threads,))
    waiting: deque[tuple[str, Pair, Future[_Score]]] = deque()
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


def _score(reference: Wave, generated: Wave, sample_rate: int, metrics: tuple[str, ...]) -> _Score:
    seconds = len(reference) / sample_rate
    extra_ms = 1000 * (len(generated) - len(reference)) / sample_rate
    reference, generated, lag = align(reference, generated, sample_rate)
    values = {name: METRICS[name].function(reference, generated, sample_rate) for name in metrics}
    return _Score(seconds, 1000 * lag, extra_ms, values)


def _without_waves(pair: Pair) -> Pair:
    """The pair without its samples: many sentences of many systems need not fit in memory."""
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
