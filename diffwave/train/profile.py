"""Time of a step by phase (data, forward, ..): `diffwave train CONFIG --profile`."""

from __future__ import annotations

import time

import numpy as np
import torch

from diffwave.train.config import TrainConfig
from diffwave.train.learner import Learner, learning_rate
from diffwave.train.processes import Processes
from diffwave.train.state import update_average

WARM_UP = 3
PHASES = ("data", "forward", "backward", "optimizer")


def table(seconds: dict[str, list[float]], audio_seconds: float, seconds_at_best: float) -> str:
    """Median and spread (10th to 90th percentile) of each phase of a step, in ms, and the speed.

    Args:
        seconds: by phase; "data" is how long the step waited for its batch.
        audio_seconds: of audio in a step.
        seconds_at_best: that a step's matrix products would take at the device's best throughput.
    """
    lines = [f"{'':10}{'median':>10}{'10 %':>10}{'90 %':>10}{'share':>8}"]
    total = float(np.median(seconds["step"]))
    for name, values in seconds.items():
        low, middle, high = (1000 * float(q) for q in np.quantile(values, (0.1, 0.5, 0.9)))
        lines.append(f"{name:10}{middle:10.1f}{low:10.1f}{high:10.1f}{middle / total / 10:7.1f}%")
    lines.append(
        f"{audio_seconds / total:.1f} s of audio per second; "
        f"MFU {seconds_at_best / total:.0%} (of this device's measured matrix throughput)"
    )
    return "\n".join(lines)


def profile(config: TrainConfig, steps: int) -> str | None:
    """The `table` of some steps on the data of a run, with random weights; writes nothing.

    None for all processes but the first. InputError for settings or data that cannot be used.
    """
    with Processes(config.run.device) as processes:
        learner = Learner(config, processes, processes.is_main)
        learner.go_to(0)
        laps: list[dict[str, float]] = []
        last = 0.0

        def lap(name: str) -> None:
            """Wait for the device, and add the time since the last call to the phase."""
            nonlocal last
            if processes.device.type == "cuda":
                torch.cuda.synchronize(processes.device)
            now = time.perf_counter()
            laps[-1][name] += now - last
            last = now

        for step in range(WARM_UP + steps):
            laps.append(dict.fromkeys(PHASES, 0.0))
            start = last = time.perf_counter()
            learner.step(learning_rate(config.optim, step, 0.0), lap=lap)
            update_average(learner.trained.average, learner.trained.model, step + 1)
            laps[-1]["step"] = time.perf_counter() - start
        if not processes.is_main:
            return None
        seconds = {name: [each[name] for each in laps[WARM_UP:]] for name in laps[0]}
        return table(seconds, learner.audio_seconds, learner.seconds_at_best)
