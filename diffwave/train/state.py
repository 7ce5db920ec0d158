"""What a run must keep to go on as if it had never stopped, written atomically.

Data order and noise need no state: they are functions of the step (`diffwave.data.data`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
import socket
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from filelock import SoftFileLease, Timeout
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from diffwave.errors import InputError
from diffwave.files import atomic_path, write_error
from diffwave.model import DiffusionModel, ModelConfig

log = logging.getLogger(__name__)

LOCK_FILE = "trainer.lock"
LEASE_SECONDS = 30.0
"""After so long without a sign of life a trainer on another machine counts as gone."""


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
        trains the mel enhancer alone, its loss decides.
        """
        signs = {"pesq": 1, "loss_validation": -1, "loss_restoration": -1, "loss_source": -1}
        name = next((name for name in signs if name in values), "")
        if not name:
            return False
        if self.best is None or (self.best_by, name) == ("loss_validation", "pesq"):
            better = True
        else:
            better = name == self.best_by and signs[name] * (values[name] - self.best) > 0
        if better:
            self.best, self.best_by = values[name], name
        return better


def averaged(model: DiffusionModel, decay: float) -> AveragedModel:
    """Exponential moving average of a model's parameters, in `module`; its decay warms up.

    Before every update `n_averaged` is set to the step (:func:`update_average`), so that neither
    a resumed run nor the first step differs from the rest.
    """

    @torch.no_grad()
    def lerp(averages: Sequence[Tensor], current: Sequence[Tensor], step: Tensor | int) -> None:
        kept = min(decay, (1 + int(step)) / (10 + int(step)))
        torch._foreach_lerp_(list(averages), list(current), 1 - kept)

    return AveragedModel(model, multi_avg_fn=lerp)


def update_average(average: AveragedModel, model: DiffusionModel, step: int) -> None:
    """Take in the parameters after step `step` (counted from 1)."""
    average.n_averaged.fill_(step)
    average.update_parameters(model)


@dataclass
class Trained:
    """Everything that training changes."""

    model: DiffusionModel
    average: AveragedModel
    """Whose `module` is the averaged model."""
    optimizer: Optimizer
    scaler: GradScaler
    """Loss scale of float16; does nothing in other precisions."""
    discriminators: nn.ModuleList = field(default_factory=nn.ModuleList)
    """Of the losses that have one,"""
    discriminator_optimizer: Optimizer | None = None
    """and their optimizer."""

    @property
    def averages(self) -> list[nn.Parameter]:
        """The averaged parameters, in the order of `model.learned()`."""
        return cast(DiffusionModel, self.average.module).learned()


@contextlib.contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which works across machines that share it.

    The lock of a process that was killed is taken over: on the same machine at once, elsewhere
    when its heartbeat has been missed for `LEASE_SECONDS`.

    Raises:
        InputError: another process trains in this folder; it is named.
    """
    lease = SoftFileLease(folder / LOCK_FILE, lease_duration=LEASE_SECONDS)
    try:
        try:
            lease.acquire(timeout=0)
        except Timeout:
            if (owner := lease.owner) is not None and owner.hostname == socket.gethostname():
                raise
            log.info("waiting whether the trainer that holds %s still lives", lease.lock_file)
            lease.acquire(timeout=1.5 * LEASE_SECONDS)
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
        "config": _json_types(trained.model.config),
        "module": trained.model.state_dict(),
        "ema": [average.detach() for average in trained.averages],
        "optimizer": trained.optimizer.state_dict(),
        "scaler": trained.scaler.state_dict(),
    }
    if trained.discriminator_optimizer is not None:
        state["discriminators"] = trained.discriminators.state_dict()
        state["discriminator_optimizer"] = trained.discriminator_optimizer.state_dict()
    while True:
        try:
            # Through a file of Python's, whose errors say what is wrong; PyTorch's own do not.
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                torch.save(state, file)
            break
        except InputError as error:
            full = re.search("disk is full|disk quota", str(error))
            if not (full and (old := _expendable(folder))):
                raise
            log.warning("The disk is full; %s makes room for %s.", old[0].name, path.name)
            old[0].unlink()
    for old_state in saved_states(folder)[:-keep]:
        old_state.unlink()
    return path


def _expendable(folder: Path) -> list[Path]:
    """All states but the newest sound one, oldest first."""
    states = saved_states(folder)
    for path in reversed(states):
        with contextlib.suppress(InputError):
            read_state(path)
            return [other for other in states if other != path]
    return []


def saved_states(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first."""
    return sorted(p for p in folder.glob("step-*.pt") if re.fullmatch(r"step-\d{8}\.pt", p.name))


def load_state(folder: Path, trained: Trained) -> tuple[Progress | None, list[str]]:
    """Continue from the newest checkpoint that is sound.

    Returns:
        the progress (None when there is no checkpoint), and a sentence for every checkpoint that
        was skipped because it is damaged.

    Raises:
        InputError: when a checkpoint is sound but of another model, or none of them is sound.
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
            trained.average.module.load_state_dict(state["module"])  # the buffers
            with torch.no_grad():
                for mine, theirs in zip(trained.averages, state["ema"], strict=True):
                    mine.copy_(theirs)
            trained.optimizer.load_state_dict(state["optimizer"])
            if trained.scaler.is_enabled() and state.get("scaler"):
                trained.scaler.load_state_dict(state["scaler"])
            if trained.discriminator_optimizer is not None and "discriminators" in state:
                trained.discriminators.load_state_dict(state["discriminators"])
                trained.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
            return progress_of(state), skipped
        except InputError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is not a state of a run with these settings.") from None
    if skipped:
        raise InputError(
            f"None of the {len(skipped)} checkpoints in {folder} can be read, and training does "
            f"not start again over them; to start afresh, set another run.folder or move this one."
        )
    return None, skipped


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    InputError when it is torn, or a record differs from its checksum, which PyTorch writes but does
    not look at.
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

    How a model is sampled, and what its mel convention is called, may differ. `owner` of `theirs`
    is the subject of the sentence.
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
