"""What a step costs by part: `diffwave train CONFIG --profile`."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch

from diffwave.train.config import TrainConfig
from diffwave.train.learner import Learner, learning_rate
from diffwave.train.processes import Processes
from diffwave.train.state import update_average

WARM_UP = 3
PARTS = ("data", "forward", "backward", "optimizer")


@dataclasses.dataclass(frozen=True)
class Profile:
    """Seconds of some steps, by part; "data" is how long the step waited for its batch."""

    seconds: dict[str, list[float]]
    audio_seconds: float
    """Of audio in a step."""
    seconds_at_best: float
    """That a step's matrix products would take at the device's best throughput."""

    def table(self) -> str:
        """Median and spread (10th to 90th percentile) of each part, in ms, and the speed."""
        lines = [f"{'':10}{'median':>10}{'10 %':>10}{'90 %':>10}{'share':>8}"]
        total = float(np.median(self.seconds["step"]))
        for name, values in self.seconds.items():
            low, middle, high = (1000 * float(q) for q in np.quantile(values, (0.1, 0.5, 0.9)))
            share = middle / total / 10
            lines.append(f"{name:10}{middle:10.1f}{low:10.1f}{high:10.1f}{share:7.1f}%")
        lines.append(
            f"{self.audio_seconds / total:.1f} s of audio per second; "
            f"MFU {self.seconds_at_best / total:.0%} (of this device's measured matrix throughput)"
        )
        return "\n".join(lines)


class Laps:
    """Seconds of each part of a step: call it with the part's name whenever one has ended."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.last = device, time.perf_counter()
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def __call__(self, name: str) -> None:
        """Wait for the device, and add the time since the last call to the part."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[name] += now - self.last
        self.last = now


def profile(config: TrainConfig, steps: int) -> Profile | None:
    """Train some steps on the data of a run, with random weights, and write nothing.

    Returns:
        the times of the process; None for all processes but the first.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    with Processes(config.run.device) as processes:
        learner = Learner(config, processes, processes.is_main)
        learner.go_to(0)
        laps: list[dict[str, float]] = []
        for step in range(WARM_UP + steps):
            lap, start = Laps(processes.device), time.perf_counter()
            learner.step(learning_rate(config.optim, step, 0.0), lap=lap)
            update_average(learner.trained.average, learner.trained.model, step + 1)
            laps.append(lap.seconds | {"step": time.perf_counter() - start})
        if not processes.is_main:
            return None
        seconds = {name: [each[name] for each in laps[WARM_UP:]] for name in laps[0]}
        return Profile(seconds, learner.audio_seconds, learner.seconds_at_best)
