"""What the numbers were measured on: processor, memory, versions, and whether it was busy."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from diffwave.device import faster_precision

BUSY = 0.3
"""Load average per core above which other programs are taken to disturb the measurement."""


@dataclass(frozen=True)
class Machine:
    """One computer, at the time of a measurement."""

    processor: str
    cores: int
    memory_gib: float | None
    system: str
    bf16_faster: bool
    """Whether products of bfloat16 matrices are clearly faster than float32's, measured."""
    load: float | None
    """Load average of the last minute when the measurement began; None where there is none."""

    @property
    def busy(self) -> bool:
        """Whether other programs were running."""
        return self.load is not None and self.load > BUSY * self.cores

    def sentence(self) -> str:
        """One line for a reader."""
        memory = f", {self.memory_gib:.0f} GiB" if self.memory_gib else ""
        faster = "faster" if self.bf16_faster else "no faster"
        return (
            f"{self.processor}, {self.cores} cores{memory}, {self.system}; "
            f"bf16 products are {faster} than fp32 here"
        )


def this_machine() -> Machine:
    """What is known of the machine that runs this; takes a tenth of a second."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.machine()}",
        bf16_faster=faster_precision(torch.device("cpu")) == torch.bfloat16,
        load=load,
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """The name that the system has for the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown processor"


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
