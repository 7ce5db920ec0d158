"""Measuring: interleaved runs, their median and spread, arithmetic, and subnormal numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Job = Callable[[], object]
SPEECH_RMS = 0.07


@dataclass(frozen=True)
class Spread:
    """What the runs of one measurement have in common, in the unit of the measurement."""

    median: float
    least: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    n: int

    def __mul__(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(
            self.median * factor,
            self.least * factor,
            self.low * factor,
            self.high * factor,
            self.n,
        )


def spread(values: list[float]) -> Spread:
    """Median, minimum and quartiles of at least one value."""
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return Spread(median, min(values), low, high, len(values))


@dataclass(frozen=True)
class Runs:
    """Times of one job, in the order in which it ran."""

    seconds: tuple[float, ...]
    cores: float
    """Processor time over wall time: how many cores were at work. Much less than the number of
    threads says that the job does not use them, or that another program did."""
    failure: str | None = None
    """Why the job stopped, if it did; then there is no time at all."""


def interleave(
    jobs: Mapping[str, Job],
    runs: Mapping[str, int],
    progress: Callable[[str], object] | None = None,
) -> dict[str, Runs]:
    """Run every job as often as it should, in turn, so that a drift of the machine hits all alike.

    There are as many rounds as the most frequent job has runs; the others take part in some, evenly
    distributed. Each round starts with another job, so that none always follows the same one.

    Args:
        jobs: by name.
        runs: how often each should run, at least 1.
        progress: called with the job's name after every run.

    Returns:
        The times of each; a job that raised is not run again, and has a failure instead.
    """
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    busy = dict.fromkeys(jobs, 0.0)
    failures: dict[str, str] = {}
    for names in rounds(runs):
        for name in names:
            if name in failures:
                continue
            before, start = time.process_time(), time.perf_counter()
            try:
                jobs[name]()
            except Exception as error:  # one system's failure must not cost the others' results
                failures[name] = describe(error)
                continue
            wall[name].append(time.perf_counter() - start)
            busy[name] += time.process_time() - before
            if progress is not None:
                progress(name)
    return {
        name: Runs((), 0.0, failures[name])
        if name in failures
        else Runs(tuple(wall[name]), busy[name] / max(sum(wall[name]), 1e-9))
        for name in jobs
    }


def rounds(runs: Mapping[str, int]) -> Iterator[list[str]]:
    """Who runs in which round, and in which order; see :func:`interleave`."""
    count = max(runs.values(), default=0)
    names = list(runs)
    for i in range(count):
        turned = names[i % len(names) :] + names[: i % len(names)]
        # A job with r runs is due whenever r (i + 1/2) / count passes another whole number.
        yield [n for n in turned if _due(i + 1, runs[n], count) > _due(i, runs[n], count)]


def _due(i: int, runs: int, count: int) -> int:
    return (2 * runs * i + count) // (2 * count)


def describe(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """PyTorch computes with that many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gmac(job: Job) -> float:
    """Multiply-accumulates of a job, in units of 1e9: matrix products and convolutions.

    Counted by PyTorch's own counter, which knows no Fourier transforms and no elementwise work.
    """
    with FlopCounterMode(display=False) as counter:
        job()
    return float(counter.get_total_flops()) / 2e9  # two operations each


def subnormal_share(module: nn.Module, job: Job) -> float:
    """Part of all activations, as `job` runs `module`, that are subnormal (0 < |x| < 1.2e-38).

    Processors may take a hundred times as long for such numbers; random weights that let the
    signal fade away would make a network look slow.
    """
    tiny = torch.finfo(torch.float32).tiny
    count = total = 0

    def look(_: nn.Module, __: object, output: object) -> None:
        nonlocal count, total
        if isinstance(output, Tensor) and output.is_floating_point():
            size = output.detach().abs()
            count += int(((size > 0) & (size < tiny)).sum())
            total += size.numel()

    hooks = [part.register_forward_hook(look) for part in module.modules()]
    try:
        job()
    finally:
        for hook in hooks:
            hook.remove()
    return count / max(total, 1)


def sound(seconds: float, sample_rate: int, batch: int = 1) -> Tensor:
    """Noise in syllables four times a second, as loud as speech, [B, L]; always the same."""
    length = round(seconds * sample_rate)
    noise = torch.randn(batch, length, generator=torch.Generator().manual_seed(0))
    time_axis = torch.arange(length) / sample_rate
    wave = noise * torch.sin(torch.pi * 4 * time_axis).square()
    return wave * (SPEECH_RMS / wave.square().mean().sqrt())
