"""What is measured, and how often: the whole grid, or a part of it that takes minutes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from diffwave.bench.machine import usable_cores


@dataclass(frozen=True, order=True)
class Setting:
    """Under which circumstances a mel is turned into sound."""

    threads: int
    precision: str
    """"fp32", or "bf16" by autocast."""
    batch: int
    seconds: float
    """Of each item of the batch."""

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{threads}, {self.precision}, {self.batch} x {self.seconds:g} s"


@dataclass(frozen=True)
class Effort:
    """How much is measured, and how thoroughly."""

    name: str
    threads: tuple[int, ...] = (2, 1)
    precisions: tuple[str, ...] = ("fp32", "bf16")
    batches: tuple[int, ...] = (1, 8)
    seconds: tuple[float, ...] = (10, 1, 60)
    """The first value of each axis is the centre, where everything is measured."""
    whole_grid: bool = False
    """Every combination; otherwise threads and precisions at the centre's size, and the other sizes
    at the centre's threads and precision."""
    least_runs: int = 3
    most_runs: int = 15
    budget: float = 3.0
    """Seconds to spend on one system in one setting, beyond the least number of runs."""
    patience: float = 40.0
    """Seconds that one run may take beside the centre; what is slower is left out, and named."""
    first_chunks: int = 7
    """How often the first chunk is waited for."""
    process_seconds: float = 5.0
    """Speech that a new process makes, for cold start and memory."""
    process_runs: int = 3
    process_systems: int | None = None
    """Only so many systems are started in a process of their own; None: all."""

    @property
    def centre(self) -> Setting:
        """The setting that ratios and summaries are about."""
        return self.settings()[0]

    def settings(self) -> list[Setting]:
        """All settings, the centre first; no more threads than there are cores."""
        cores = usable_cores()
        threads = list(dict.fromkeys(min(count, cores) for count in self.threads))
        sizes = list(itertools.product(self.batches, self.seconds))
        near = [(self.batches[0], s) for s in self.seconds] + [
            (b, self.seconds[0]) for b in self.batches[1:]
        ]
        return [
            Setting(count, precision, batch, seconds)
            for count, precision in itertools.product(threads, self.precisions)
            for batch, seconds in (sizes if self.whole_grid else near)
            if self.whole_grid
            or (batch, seconds) == sizes[0]
            or (count, precision) == (threads[0], self.precisions[0])
        ]


QUICK = Effort(
    "quick",
    batches=(1, 2),
    seconds=(0.25, 0.5),
    least_runs=2,
    most_runs=3,
    budget=0.1,
    patience=0.3,
    first_chunks=2,
    process_seconds=0.25,
    process_runs=1,
    process_systems=1,
)
NORMAL = Effort("normal")
FULL = Effort("full", whole_grid=True, budget=10.0, patience=400.0, process_runs=5)


@dataclass(frozen=True)
class Cell:
    """One system in one setting: `runs` runs that should take `expected` seconds each."""

    setting: Setting
    system: str
    runs: int
    expected: float


def plan(effort: Effort, rtf: Mapping[str, float]) -> tuple[list[Cell], list[Cell]]:
    """How often each system runs in each setting.

    Args:
        effort: how thoroughly.
        rtf: roughly, the real-time factor of each system with the centre's threads.

    Returns:
        What to measure; and what to leave out because one run would take longer than the effort's
        patience (0 runs). The centre is measured whatever it takes.
    """
    cells = []
    for setting in effort.settings():
        for name, factor in rtf.items():
            slower = effort.centre.threads / setting.threads
            expected = factor * slower * setting.batch * setting.seconds
            runs = math.ceil(effort.budget / max(expected, 1e-6))
            runs = min(max(runs, effort.least_runs), effort.most_runs)
            if expected > effort.patience and setting != effort.centre:
                runs = 0
            cells.append(Cell(setting, name, runs, expected))
    return [cell for cell in cells if cell.runs], [cell for cell in cells if not cell.runs]
