"""What the numbers were measured on: processor, memory, versions, and whether it was busy."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from diffwave.device import faster_precision

BUSY = 0.3
"""Load average per core above which other programs are taken to disturb the measurement."""


@dataclass(frozen=True)
class Machine:
    """One computer, at the time of a measurement; None is what the system does not say."""

    processor: str
    cores: int
    memory_gib: float | None
    system: str
    bf16_faster: bool
    """Whether products of bfloat16 matrices are clearly faster than float32's, measured."""
    load: float | None
    """Load average of the last minute when the measurement began."""

    @property
    def busy(self) -> bool:
        """Whether other programs were running."""
        return self.load is not None and self.load > BUSY * self.cores

    def sentence(self) -> str:
        """One line for a reader."""
        memory = f", {self.memory_gib:.0f} GiB" if self.memory_gib else ""
        return (
            f"{self.processor}, {self.cores} cores{memory}, {self.system}; "
            f"bf16 products are {'' if self.bf16_faster else 'no '}faster than fp32 here"
        )


def this_machine() -> Machine:
    """What is known of the machine that runs this; takes a tenth of a second."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        memory = None
    try:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:  # not Linux
        cpu = None
    return Machine(
        cpu[1] if cpu else platform.processor() or platform.machine() or "unknown processor",
        usable_cores(),
        memory,
        f"{platform.system()} {platform.machine()}",
        faster_precision(torch.device("cpu")) == torch.bfloat16,
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
