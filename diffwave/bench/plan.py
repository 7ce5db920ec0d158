"""What is measured: three constant choices of settings and of patience."""

from __future__ import annotations

import dataclasses
import itertools
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
    settings: tuple[Setting, ...] = ()
    """The first is the centre, which every system is measured at."""
    rounds: int = 3
    """Every system has its turn in each; see :func:`diffwave.bench.measure.time_in_turn`."""
    budget: float = 1.0
    """Seconds of one turn, at least one run."""
    patience: float = 40.0
    """Seconds that a run may take: a system that takes longer has one turn at the centre, and
    none beside it."""
    process_seconds: float = 5.0
    """Speech that a new process makes, for cold start and memory."""
    process_runs: int = 3

    def here(self) -> list[Setting]:
        """The settings, each once, with no more threads than this machine has cores."""
        cores = usable_cores()
        found = (dataclasses.replace(s, threads=min(s.threads, cores)) for s in self.settings)
        return list(dict.fromkeys(found))


GRID = tuple(
    itertools.starmap(Setting, itertools.product((2, 1), ("fp32", "bf16"), (1, 8), (10, 1, 60)))
)
CENTRE = GRID[0]
QUICK = Effort(
    "quick",
    (Setting(2, "fp32", 1, 0.5), Setting(1, "bf16", 1, 0.5), Setting(1, "fp32", 2, 0.25)),
    rounds=2,
    budget=0.05,
    patience=0.5,
    process_seconds=0.25,
    process_runs=1,
)
NORMAL = Effort(
    "normal",
    (
        CENTRE,
        Setting(1, "fp32", 1, 10),
        Setting(2, "bf16", 1, 10),
        Setting(1, "bf16", 1, 10),
        Setting(2, "fp32", 1, 1),
        Setting(2, "fp32", 1, 60),
        Setting(2, "fp32", 8, 10),
    ),
)
FULL = Effort("full", GRID, budget=3.0, patience=400.0, process_runs=5)
