"""What a run must keep to go on as if it had never stopped, written atomically.

Data order and noise need no state: they are functions of the step (`diffwave.training.data`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffwave.errors import InputError
from diffwave.files import atomic_path
from diffwave.model import DiffusionModel, ModelConfig

KEPT = 3
"""Newest checkpoints that are kept."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    minutes: float = 0.0


class Ema:
    """Exponential moving average of a module's parameters; its decay warms up."""

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
    folder: Path, progress: Progress, model: DiffusionModel, ema: Ema, optimizer: Optimizer
) -> Path:
    """Write `step-N.pt` whole or not at all, then drop all but the newest `KEPT`."""
    path = folder / f"step-{progress.step:08d}.pt"
    state = {
        "config": _json_types(model.config),
        "step": progress.step,
        "minutes": progress.minutes,
        "module": model.state_dict(),
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
    folder: Path, model: DiffusionModel, ema: Ema, optimizer: Optimizer
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
            if "config" in state:
                check_same_model(state["config"], model.config, f"The run in {folder}")
            model.load_state_dict(state["module"])
            averages: list[Tensor] = state["ema"]
            for mine, theirs in zip(ema.average, averages, strict=True):
                mine.copy_(theirs)
            optimizer.load_state_dict(state["optimizer"])
            return Progress(state["step"], state["minutes"]), skipped
        except InputError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError):
            raise InputError(f"{path} is not a state of a run with these settings.") from None
    return Progress(), skipped


def check_same_model(
    theirs: ModelConfig | Mapping[str, Any], ours: ModelConfig, owner: str
) -> None:
    """Raise InputError, naming the first difference, unless weights of `theirs` mean the same here.

    How a model is sampled, and what its mel convention is called, may differ.

    Args:
        theirs: configuration that the weights were trained with, perhaps as JSON types.
        ours: configuration that they are to be used with.
        owner: of `theirs`, the subject of the sentence.
    """
    there, here = _flat(_json_types(theirs)), _flat(_json_types(ours))
    for key in [*here, *there]:
        if key.startswith("sampling.") or key == "mel.name":
            continue
        if here.get(key) != there.get(key):
            raise InputError(
                f"{owner} has {key} = {there.get(key)}, but these settings mean {here.get(key)}."
            )


def _json_types(config: ModelConfig | Mapping[str, Any]) -> dict[str, Any]:
    data = config.to_dict() if isinstance(config, ModelConfig) else config
    return cast(dict[str, Any], json.loads(json.dumps(data)))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return flat
