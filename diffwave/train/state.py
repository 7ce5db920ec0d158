"""What a run must keep to go on as if it had never stopped, written atomically.

Data order and noise need no state: they are functions of the step (`diffwave.data.data`).
"""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from diffwave.errors import InputError
from diffwave.files import atomic_path
from diffwave.model import DiffusionModel, ModelConfig


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    minutes: float = 0.0
    lr_factor: float = 1.0
    """Of the learning rate: halved whenever the loss was not finite."""
    best: float | None = None
    """The best validation so far,"""
    best_by: str = ""
    """and the name of the value that decided."""

    def takes(self, values: Mapping[str, float]) -> bool:
        """Whether a validation is the best so far, which is then noted.

        PESQ decides where it is measured, else the loss; of one and the other PESQ. Of a run that
        trains the restorer alone, its loss decides.
        """
        for name, sign in (("pesq", 1), ("loss_validation", -1), ("loss_restoration", -1)):
            if name in values:
                if self.best is None or (self.best_by, name) == ("loss_validation", "pesq"):
                    better = True
                else:
                    better = self.best_by == name and sign * (values[name] - self.best) > 0
                if better:
                    self.best, self.best_by = values[name], name
                return better
        return False


class Ema:
    """Exponential moving average of parameters; its decay warms up."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.source = list(parameters)
        self.average = [p.detach().clone() for p in self.source]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after step `step` (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.source], 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew from the parameters as they are."""
        torch._foreach_copy_(self.average, [p.detach() for p in self.source])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with the average; call again to exchange them back."""
        for parameter, average in zip(self.source, self.average, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)


@dataclass
class Trained:
    """Everything that training changes."""

    model: DiffusionModel
    ema: Ema
    optimizer: Optimizer
    scaler: GradScaler
    """Loss scale of float16; does nothing in other precisions."""


def save_state(folder: Path, progress: Progress, trained: Trained, keep: int) -> Path:
    """Write `step-N.pt` whole or not at all, then drop all but the newest `keep`.

    Raises:
        InputError: when it cannot be written; what was saved before is intact.
    """
    path = folder / f"step-{progress.step:08d}.pt"
    state = dataclasses.asdict(progress) | {
        "config": _json_types(trained.model.config),
        "module": trained.model.state_dict(),
        "ema": trained.ema.average,
        "optimizer": trained.optimizer.state_dict(),
        "scaler": trained.scaler.state_dict(),
    }
    # Through a file of Python's, whose errors say what is wrong; PyTorch's own writer's do not.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
    for old in saved_states(folder)[:-keep]:
        old.unlink()
    return path


def saved_states(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first."""
    return sorted(p for p in folder.glob("step-*.pt") if re.fullmatch(r"step-\d{8}\.pt", p.name))


def load_state(folder: Path, trained: Trained) -> tuple[Progress | None, list[str]]:
    """Continue from the newest checkpoint that is sound.

    Returns:
        the progress (None when there is no checkpoint), and a sentence for every checkpoint that
        was skipped because it is damaged.

    Raises:
        InputError: when a checkpoint is sound but of another model.
    """
    skipped: list[str] = []
    for path in reversed(saved_states(folder)):
        try:
            state = read_state(path)
        except InputError as error:
            skipped.append(f"{error} Trying the one before.")
            continue
        try:
            if "config" in state:
                check_same_model(state["config"], trained.model.config, f"The run in {folder}")
            trained.model.load_state_dict(state["module"])
            averages: list[Tensor] = state["ema"]
            for mine, theirs in zip(trained.ema.average, averages, strict=True):
                mine.copy_(theirs)
            trained.optimizer.load_state_dict(state["optimizer"])
            if trained.scaler.is_enabled() and state.get("scaler"):
                trained.scaler.load_state_dict(state["scaler"])
            return progress_of(state), skipped
        except InputError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is not a state of a run with these settings.") from None
    return None, skipped


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises:
        InputError: when it is torn, or any of its records differs from its checksum, which
            PyTorch writes but does not look at.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise InputError(f"{path.name} is damaged: {damaged} fails its checksum.")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except InputError:
        raise
    except Exception as error:  # torch and zipfile raise many kinds for a torn file
        raise InputError(f"{path.name} cannot be read ({type(error).__name__}).") from None


def progress_of(state: Mapping[str, Any]) -> Progress:
    """Where the run stood; states of earlier versions hold less."""
    return Progress(
        **{f.name: state[f.name] for f in dataclasses.fields(Progress) if f.name in state}
    )


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
    config = config if isinstance(config, ModelConfig) else ModelConfig.from_dict(config)
    return cast(dict[str, Any], json.loads(json.dumps(config.to_dict())))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return flat
