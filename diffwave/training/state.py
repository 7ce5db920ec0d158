"""What a run must keep to go on as if it had never stopped, written atomically.

Data order and noise need no state: they are functions of the step (`diffwave.training.data`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffwave.errors import InputError
from diffwave.files import atomic_path

KEPT = 3
"""Newest checkpoints that are kept."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    minutes: float = 0.0


class Ema:
    """Exponential moving average of a module's parameters, its decay warmed up over the first steps."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.source = list(module.parameters())
        self.average = [p.detach().clone() for p in self.source]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step `step` (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.source], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the module's parameters with the average; call again to exchange them back."""
        for parameter, average in zip(self.source, self.average, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)


def save_state(
    folder: Path, progress: Progress, module: nn.Module, ema: Ema, optimizer: Optimizer
) -> Path:
    """Write `step-N.pt` whole or not at all, then drop all but the newest `KEPT`."""
    path = folder / f"step-{progress.step:08d}.pt"
    state = {
        "step": progress.step,
        "minutes": progress.minutes,
        "module": module.state_dict(),
        "ema": ema.average,
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
    for old in saved_states(folder)[:-KEPT]:
        old.unlink()
    return path


def saved_states(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first."""
    return sorted(p for p in folder.glob("step-*.pt") if re.fullmatch(r"step-\d{8}\.pt", p.name))


def load_state(
    folder: Path, module: nn.Module, ema: Ema, optimizer: Optimizer
) -> tuple[Progress, list[str]]:
    """Continue from the newest checkpoint that can be read.

    Returns:
        the progress (at step 0 when there is no checkpoint), and a sentence for every checkpoint
        that was skipped because it is damaged.

    Raises:
        InputError: when a checkpoint is sound but of another model.
    """
    skipped: list[str] = []
    for path in reversed(saved_states(folder)):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a torn file
            skipped.append(
                f"{path.name} cannot be read ({type(error).__name__}); trying the one before."
            )
            continue
        try:
            module.load_state_dict(state["module"])
            averages: list[Tensor] = state["ema"]
            for mine, theirs in zip(ema.average, averages, strict=True):
                mine.copy_(theirs)
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{path} does not fit this configuration: {error}") from None
        return Progress(state["step"], state["minutes"]), skipped
    return Progress(), skipped
