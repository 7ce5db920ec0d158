"""One optimisation step after another, over all processes and parts of a batch."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from diffwave.data.crops import Crops
from diffwave.device import faster_precision
from diffwave.train.config import TrainConfig
from diffwave.train.engine import Engine
from diffwave.train.objective import Objective
from diffwave.train.speed import Stopwatch, matrix_throughput, training_flops
from diffwave.train.state import Trained

SMALLEST_SCALE = 1.0
"""Of float16's losses; gradients that overflow even so are not finite in any precision."""


@dataclass(frozen=True)
class Measured:
    """What a step found."""

    loss: float
    gradient_norm: float
    """Before clipping."""
    finite: bool
    """Whether the weights were changed (or float16 may do better with its next loss scale)."""
    noted: list[float]
    """Sums over the processes of the numbers that each gave."""


class Stepper:
    """Computes gradients of random crops and changes the weights; keeps no account of time."""

    def __init__(
        self, config: TrainConfig, engine: Engine, trained: Trained, crops: Crops, step: int
    ) -> None:
        """`step`: the first one to come, from 0."""
        self.config, self.engine, self.trained, self.crops = config, engine, trained, crops
        self.shares = engine.shares(config.optim.batch_size, config.optim.accumulate)
        self.precision = precision_of(config.run.precision, engine.device)
        objective = Objective(trained.model, config.loss, self.precision, config.run.compile)
        self.objective = engine.wrap(objective)
        self.watch = Stopwatch(engine.device)
        self.go_to(step)

    def go_to(self, step: int) -> None:
        """Go on with the batch of another step."""
        self.batches = self.crops.stream(step, self.config.optim.batch_size, self.shares)

    def step(self, lr: float, notes: Callable[[], Sequence[float]] = tuple) -> Measured:
        """Make one step.

        Unless the loss and its gradient are finite the weights stay as they are. `notes`, called
        once they are computed, gives numbers of this process to be added up over all of them.
        """
        trained, watch, parts = self.trained, self.watch, len(self.shares)
        optimizer, scaler = trained.optimizer, trained.scaler
        for group in optimizer.param_groups:
            group["lr"] = lr
        total = torch.zeros((), device=self.engine.device)
        for i in range(parts):
            with watch.part("data"):
                batch = next(self.batches).to(self.engine.device)
            last = i == parts - 1
            with contextlib.nullcontext() if last else self.engine.only_adding(self.objective):
                with watch.part("forward"):
                    loss = self.objective(batch) / parts
                with watch.part("backward"):
                    scaler.scale(loss).backward()
            total += loss.detach()
        with watch.part("optimizer"):
            scaler.unscale_(optimizer)
            # Network and restorer apart: neither's surprises are to slow the other down.
            norms = [
                torch.nn.utils.clip_grad_norm_(part.parameters(), self.config.optim.clip_norm)
                for part in trained.model.learners()
                if any(p.requires_grad for p in part.parameters())
            ]
            norm = torch.stack(norms).norm()
            mine, gradient_norm = torch.stack((total, norm.detach())).tolist()
            mean, *noted = self.engine.total([mine / self.engine.world, *notes()])
            # float16 overflows now and then; its scale is then halved and the step left out.
            adapts = scaler.is_enabled() and scaler.get_scale() > SMALLEST_SCALE
            finite = math.isfinite(mean) and (math.isfinite(gradient_norm) or adapts)
            if finite:
                scaler.step(optimizer)
                scaler.update()
            optimizer.zero_grad(set_to_none=True)
        return Measured(mean, gradient_norm, finite, noted)

    @functools.cached_property
    def seconds_at_best(self) -> float:
        """Seconds that a step's matrix products would take at this device's best throughput."""
        plain = Objective(self.trained.model, self.config.loss, self.precision)
        batch = self.crops.batch(0, self.config.optim.batch_size, [0]).to(self.engine.device)
        rows = sum(len(share) for share in self.shares)
        best = matrix_throughput(self.engine.device, self.precision)
        return training_flops(plain, batch) * rows / best

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio that a step learns from, in all processes."""
        mel = self.trained.model.config.mel
        frames = self.config.optim.batch_size * self.config.data.crop_frames
        return frames * mel.hop_length / mel.sample_rate


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """The precision of `RunConfig`; "auto" is measured."""
    found: torch.dtype = faster_precision(device) if name == "auto" else getattr(torch, name)
    return found
