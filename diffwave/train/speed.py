"""How fast a run is: seconds by part of a step, and what the machine could do."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from diffwave.data.crops import Batch

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied to measure a device; 1024 on any other."""


class Stopwatch:
    """Seconds spent on each part of a step."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.waits = device, False
        """`waits`: for the device at the end of a part, without which its work counts later."""
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time until the end of the block to a part."""
        start = time.perf_counter()
        yield
        if self.waits and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] += time.perf_counter() - start


def matrix_throughput(device: torch.device, dtype: torch.dtype, budget: float = 0.2) -> float:
    """FLOP/s of the best of some products of square matrices, measured for `budget` seconds."""
    side = SIDE.get(device.type, 1024)
    matrix = torch.full((side, side), 1e-3, dtype=dtype, device=device)
    best, end = float("inf"), time.perf_counter() + budget
    float((matrix @ matrix)[0, 0])  # the first one sets things up
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def training_flops(objective: nn.Module, batch: Batch) -> float:
    """Multiplications and additions of matrix products and convolutions, forward and backward.

    The gradients that this leaves are dropped.

    Args:
        objective: not compiled, in which they could not be counted, and not wrapped.
        batch: of any size; the count is per example.
    """
    with FlopCounterMode(display=False) as counter:
        objective(batch).backward()
    objective.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / len(batch.wave)
