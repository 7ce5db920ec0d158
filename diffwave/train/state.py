"""What a run must keep to go on as if it had never stopped, written atomically.

Data order and noise need no state: they are functions of the step (`diffwave.data.crops`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import socket
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from filelock import SoftFileLease, Timeout
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path, disk_is_full, write_error
from diffwave.base.migrate import RENAMED_METRICS
from diffwave.base.schema import stored
from diffwave.model import DiffusionModel, ModelConfig

log = logging.getLogger(__name__)

LOCK_FILE = "trainer.lock"
LEASE_SECONDS = 30.0
"""After so long without a sign of life a trainer on another machine counts as gone."""
DECIDING = {"pesq": 1, "loss_validation": -1, "loss_enhancement": -1, "loss_source": -1}
"""Values that decide which weights are the best, the first that is there; -1: the least is."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    minutes: float = 0.0
    best: float | None = None
    """The best validation so far,"""
    best_by: str = ""
    """and the name of the value that decided."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """That of a saved state, which holds more, or in earlier versions less."""
        known = {f.name: state[f.name] for f in dataclasses.fields(cls) if f.name in state}
        by = known.get("best_by", "")
        return cls(**known | {"best_by": RENAMED_METRICS.get(by, by)})

    def takes(self, values: Mapping[str, float]) -> bool:
        """Whether a validation is the best so far, which is then noted.

        Of one that PESQ decided and one without, the one with PESQ is better.
        """
        name = next((name for name in DECIDING if name in values), "")
        if not name:
            return False
        better = self.best is None or (self.best_by, name) == ("loss_validation", "pesq")
        if name == self.best_by and self.best is not None:
            better = DECIDING[name] * (values[name] - self.best) > 0
        if better:
            self.best, self.best_by = values[name], name
        return better


@dataclass
class Trained:
    """Everything that training changes."""

    model: DiffusionModel
    average: DiffusionModel
    """The same with averaged weights, which are the ones to judge and to keep."""
    optimizer: Optimizer
    scaler: GradScaler
    """Loss scale of float16; does nothing in other precisions."""
    discriminators: nn.ModuleList = field(default_factory=nn.ModuleList)
    """Of the losses that have one,"""
    discriminator_optimizer: Optimizer | None = None
    """and their optimizer."""

    def parts(self) -> dict[str, Any]:
        """What has a `state_dict`, by its name in a saved state."""
        parts = {"module": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        if self.discriminator_optimizer is None:
            return parts
        return parts | {
            "discriminators": self.discriminators,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; of what it does not hold everything stays."""
        for name, part in self.parts().items():
            if state.get(name) or name == "module":
                part.load_state_dict(state[name])
        load_averaged(self.average, state)


@torch.no_grad()
def load_averaged(model: DiffusionModel, state: Mapping[str, Any]) -> None:
    """Give a model the averaged weights of a saved state."""
    model.load_state_dict(state["module"])
    for mine, theirs in zip(model.learned(), state["ema"], strict=True):
        mine.copy_(theirs)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Take the parameters after step `step`, from 1 on, into their exponential moving average.

    The decay warms up.
    """
    kept = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_([*average.parameters()], [*model.parameters()], 1 - kept)


@contextlib.contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which works across machines that share it.

    The lock of a process that was killed is taken over: on the same machine at once, elsewhere
    when its heartbeat has been missed for `LEASE_SECONDS`. InputError names another trainer.
    """
    lease = SoftFileLease(folder / LOCK_FILE, lease_duration=LEASE_SECONDS)
    owner = lease.owner
    here = owner is None or owner.hostname == socket.gethostname()
    if not here:
        log.info("waiting whether the trainer that holds %s still lives", lease.lock_file)
    try:
        # filelock removes the lock of a dead process in one try, and takes it in the next.
        lease.acquire(timeout=1 if here else 1.5 * LEASE_SECONDS)
    except Timeout:
        owner = lease.owner
        name = f"process {owner.pid} on {owner.hostname}" if owner else "another process"
        raise InputError(
            f"{folder} is being trained in by {name}; stop that one, or set another run.folder."
        ) from None
    except OSError as error:
        raise write_error(lease.lock_file, error) from None
    try:
        yield
    finally:
        lease.release()


def save_state(folder: Path, progress: Progress, trained: Trained, keep: int) -> Path:
    """Write `step-N.pt` whole or not at all, then drop all but the newest `keep`.

    While the disk is full older states are dropped one by one, but never the newest sound one.

    Raises:
        InputError: when it cannot be written; the newest sound state is intact.
    """
    path = folder / f"step-{progress.step:08d}.pt"
    state = dataclasses.asdict(progress) | {
        "config": stored(trained.model.config),
        "ema": [average.detach() for average in trained.average.learned()],
        **{name: part.state_dict() for name, part in trained.parts().items()},
    }
    while True:
        try:
            # Through a file of Python's, whose errors say what is wrong; PyTorch's own do not.
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                torch.save(state, file)
            break
        except InputError as error:
            sound = newest_state(folder)
            spare = [old for old in saved_states(folder) if sound and old != sound[0]]
            if not (spare and disk_is_full(error)):
                last = f"{sound[0].name} is the last" if sound else "there is no"
                raise InputError(f"{error} Training has stopped; {last} checkpoint.") from None
            log.warning("The disk is full; %s makes room for %s.", spare[0].name, path.name)
            spare[0].unlink()
    for old in saved_states(folder)[:-keep]:
        old.unlink()
    return path


def saved_states(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first."""
    return sorted(p for p in folder.glob("step-*.pt") if re.fullmatch(r"step-\d{8}\.pt", p.name))


def newest_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, and what it holds; None if there is none at all.

    A damaged one is passed over with a warning; InputError if all are damaged.
    """
    states = saved_states(folder)
    for path in reversed(states):
        try:
            return path, read_state(path)
        except InputError as error:
            log.warning("%s Trying the one before.", error)
    if states:
        raise InputError(
            f"None of the {len(states)} checkpoints in {folder} can be read; to start training "
            "afresh, set another run.folder or move this one."
        )
    return None


def load_state(folder: Path, trained: Trained) -> Progress | None:
    """Continue from the newest checkpoint that is sound; None if there is no checkpoint.

    InputError when it is of another model, or none of the checkpoints is sound.
    """
    if (newest := newest_state(folder)) is None:
        return None
    path, state = newest
    try:
        if "config" in state:
            check_same_model(state["config"], trained.model.config, f"The run in {folder}")
        trained.load(state)
        return Progress.of(state)
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not a state of a run with these settings.") from None


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    InputError when it is torn, or a record differs from its checksum, which PyTorch writes but does
    not look at.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and zipfile raise many kinds for a torn file
        raise InputError(f"{path.name} cannot be read ({type(error).__name__}).") from None
    raise InputError(f"{path.name} is damaged: {damaged} fails its checksum.")


def check_same_model(
    theirs: ModelConfig | Mapping[str, Any], ours: ModelConfig, owner: str
) -> None:
    """Raise InputError, naming the first difference, unless weights of `theirs` mean the same here.

    How a model is sampled, and what its mel convention is called, may differ. `owner` of `theirs`
    is the subject of the sentence.
    """
    if not isinstance(theirs, ModelConfig):
        theirs = ModelConfig.from_dict(theirs)
    there, here = _flat(stored(theirs)), _flat(stored(ours))
    for key in [*here, *there]:
        same = here.get(key) == there.get(key)
        if not same and not key.startswith("sampling.") and key != "mel.name":
            raise InputError(
                f"{owner} has {key} = {there.get(key)}, but these settings mean {here.get(key)}."
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return flat
