"""Scoring: every utterance of every system with every metric, on one core or on several."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
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
from diffwave.files import in_order


@dataclass(frozen=True)
class System:
    """What is judged as one: its utterances, and what a reader must know about it."""

    pairs: Iterable[Pair]
    notes: Sequence[str] = ()


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
        metrics: as for `choose_metrics`. One whose library is missing ends up in `Scores.missing`.
        progress: called after each pair with the number done and the pair's name.
        jobs: processes; more than one need a main module that can be imported.

    Raises:
        InputError: an unknown metric, a system without pairs, no utterance that all systems have,
            a wave that is empty, not finite or no [L]; a process of several was killed.
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
    """The stream with its scores, in order; its pairs without their waves."""
    read: deque[tuple[str, Pair]] = deque()

    def arguments() -> Iterator[tuple[Wave, Wave, int, tuple[str, ...]]]:
        for system, pair in stream:
            waves = [_array(pair.name, wave) for wave in (pair.reference, pair.generated)]
            # Without samples: many utterances of many systems need not fit in memory.
            nothing = torch.empty(0)
            read.append((system, replace(pair, reference=nothing, generated=nothing)))
            yield waves[0], waves[1], pair.sample_rate, metrics

    if jobs <= 1:
        yield from ((*read.popleft(), values) for values in map(_score, arguments()))
        return
    threads = max(torch.get_num_threads() // jobs, 1)
    # Not fork: a child that inherits PyTorch's threads may hang.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (threads,))
    try:
        # All start now: one that started just while another is killed would make Python hang.
        for _ in range(jobs):
            pool.submit(torch.get_num_threads)
        for values in in_order(pool, _score, arguments(), 2 * jobs):  # enough to keep all busy
            yield *read.popleft(), values
    except BrokenProcessPool as error:
        raise InputError(
            "A scoring process was killed, perhaps for want of memory; try fewer jobs."
        ) from error


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to deal with
    torch.set_num_threads(threads)


def _score(arguments: tuple[Wave, Wave, int, tuple[str, ...]]) -> dict[str, float]:
    """`FACTS` and metrics of a reference and what was generated, at a sample rate."""
    reference, generated, rate, metrics = arguments
    seconds, extra = len(reference) / rate, (len(generated) - len(reference)) / rate
    reference, generated, lag = align(reference, generated, rate)
    values = {name: METRICS[name].function(reference, generated, rate) for name in metrics}
    return {"seconds": seconds, "lag_ms": 1000 * lag, "extra_ms": 1000 * extra, **values}


def _array(name: str, wave: Tensor) -> Wave:
    if wave.dim() == 2 and wave.shape[0] == 1:
        wave = wave[0]
    if wave.dim() != 1 or not wave.numel() or not torch.isfinite(wave).all():
        raise InputError(
            f"Cannot score {name}: a wave has shape {list(wave.shape)} or is not finite."
        )
    array: Wave = wave.detach().cpu().to(torch.float32).numpy()
    return array
