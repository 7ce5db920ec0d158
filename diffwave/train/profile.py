"""What a step costs by part: `diffwave train CONFIG --profile`."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from diffwave.train.config import TrainConfig
from diffwave.train.engine import Engine
from diffwave.train.optim import learning_rate
from diffwave.train.setup import make_parts
from diffwave.train.stepper import Stepper

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
            f"{self.seconds_at_best / total:.0%} of this device's matrix throughput"
        )
        return "\n".join(lines)


def profile(config: TrainConfig, steps: int) -> Profile | None:
    """Train some steps on the data of a run, with random weights, and write nothing.

    Returns:
        the times of the process; None for all processes but the first.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    engine = Engine(config.run.device)
    with engine.running():
        parts = make_parts(config, engine, engine.is_main)
        stepper = Stepper(config, engine, parts.trained, parts.crops, 0)
        stepper.watch.waits = True
        seconds: dict[str, list[float]] = {name: [] for name in (*PARTS, "step")}
        for step in range(WARM_UP + steps):
            stepper.watch.seconds.clear()
            start = time.perf_counter()
            stepper.step(learning_rate(config.optim, step, 0.0))
            parts.trained.ema.update(step + 1)
            if step >= WARM_UP:
                seconds["step"].append(time.perf_counter() - start)
                for name in PARTS:
                    seconds[name].append(stepper.watch.seconds[name])
        if not engine.is_main:
            return None
        return Profile(seconds, stepper.audio_seconds, stepper.seconds_at_best)
