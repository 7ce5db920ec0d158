"""Measuring: runs in turn, their median and spread, and arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from diffwave.bench.plan import Effort

Job = Callable[[], object]
SPEECH_RMS = 0.07


@dataclass(frozen=True)
class Spread:
    """Median, minimum and quartiles of `n` values."""

    median: float
    least: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: list[float], unit: float = 1.0) -> Spread:
        """Of at least one value, each multiplied by `unit`."""
        low, median, high = (np.percentile(values, [25, 50, 75]) * unit).tolist()
        return cls(median, min(values) * unit, low, high, len(values))


@dataclass
class Runs:
    """What is known of the runs of one job."""

    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0
    processor: float = 0.0
    failure: str | None = None
    """Why the job stopped, if it did."""

    @property
    def cores(self) -> float:
        """Processor time over wall time: how many cores were at work."""
        return self.processor / max(self.wall, 1e-9)


def time_in_turn(
    jobs: Mapping[str, Job], effort: Effort, threads: int, done: Callable[[], object]
) -> dict[str, Runs]:
    """Time every job in turn, round after round, so that a drift of the machine hits all alike.

    Each round begins with another job. A turn is a run that is not counted and then as many as fit
    into `effort.budget`; a job whose run takes longer than `effort.patience` has one turn only, and
    one that raises has no further turn.

    Args:
        jobs: by name.
        effort: number of rounds, and how long a turn is.
        threads: of PyTorch, while a job runs.
        done: called after each turn, also one that is left out.
    """
    found = {name: Runs() for name in jobs}
    names = list(jobs)
    for i in range(effort.rounds):
        start = i % max(len(names), 1)
        for name in names[start:] + names[:start]:
            runs = found[name]
            if runs.failure is None and max(runs.seconds, default=0.0) <= effort.patience:
                _turn(jobs[name], runs, effort.budget, threads)
            done()
    return found


def _turn(job: Job, runs: Runs, budget: float, threads: int) -> None:
    from torch.utils.benchmark import (
        Timer,
    )  # here: it logs that there is no GPU, where there is none

    processor, wall = time.process_time(), time.perf_counter()
    try:
        timer = Timer("job()", globals={"job": job}, num_threads=threads)
        runs.seconds += timer.blocked_autorange(min_run_time=budget).times
    except Exception as error:  # one system's failure must not cost the others' results
        runs.failure = describe(error)
    runs.processor += time.process_time() - processor
    runs.wall += time.perf_counter() - wall


def describe(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")


def gmac(job: Job) -> float:
    """Multiply-accumulates of a job, in units of 1e9: matrix products and convolutions.

    Counted by PyTorch's own counter, which knows no Fourier transforms and no elementwise work.
    """
    with FlopCounterMode(display=False) as counter:
        job()
    return float(counter.get_total_flops()) / 2e9  # two operations each


def sound(seconds: float, sample_rate: int, batch: int = 1) -> Tensor:
    """Noise in syllables four times a second, as loud as speech, [B, L]; always the same."""
    length = round(seconds * sample_rate)
    noise = torch.randn(batch, length, generator=torch.Generator().manual_seed(0))
    time_axis = torch.arange(length) / sample_rate
    wave = noise * torch.sin(torch.pi * 4 * time_axis).square()
    return wave * (SPEECH_RMS / wave.square().mean().sqrt())
