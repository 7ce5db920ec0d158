"""What learns: model, data, losses and optimizers of a run; one step of theirs, and its cost."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from diffwave.base.device import faster_precision, matrix_throughput
from diffwave.base.errors import InputError
from diffwave.checkpoint import load_checkpoint, load_config
from diffwave.data.corpus import load_corpus
from diffwave.data.crops import Crops, Framing
from diffwave.data.envelope import envelope_path, fitted_space, load_envelope
from diffwave.model import DiffusionModel
from diffwave.networks import SourcePredictorConfig
from diffwave.train.adversarial import Adversary
from diffwave.train.config import TrainConfig
from diffwave.train.objective import Objective, trained_parts
from diffwave.train.optimizers import DISCRIMINATOR_BETAS, learning_rate, make_optimizer, set_rate
from diffwave.train.processes import Processes
from diffwave.train.state import Trained, check_same_model, update_average
from diffwave.train.warm_start import warm_start
from diffwave.vocoder import find_checkpoint

log = logging.getLogger(__name__)

PHASES = ("data", "forward", "backward", "optimizer")
WARM_UP = 3
"""Steps that are not profiled."""


@dataclass(frozen=True)
class Measured:
    """What a step found; means over the processes."""

    loss: float
    gradient_norm: float
    """Before clipping."""
    discriminator_loss: float
    """0 where no loss has a discriminator."""
    finite: bool
    """Whether all of them are; if not, the weights were left as they are."""


class Learner:
    """Changes weights by the gradients of random crops; keeps no account of time.

    A loss may own discriminators: any module of the objective that is an `Adversary`. The module's
    own parameters then get an optimizer of their own, and a place in the checkpoints.
    """

    def __init__(self, config: TrainConfig, processes: Processes, progress_bar: bool) -> None:
        """Read the data and make the rest, with random weights; InputError if that cannot be."""
        self.config, self.processes, self.device = config, processes, processes.device
        if config.run.threads > 0:
            torch.set_num_threads(config.run.threads)
        # Crops are of one size: the fastest convolution is worth finding.
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        self.shares = processes.shares(config.optim.batch_size, config.optim.accumulate)
        torch.manual_seed(config.run.seed)
        model_config = _as_base(config).model_config()
        model = DiffusionModel(model_config).to(self.device)
        trains = trained_parts(model, config.loss)
        for name in ("network", "enhancer", "source"):
            if (part := getattr(model, name)) is not None:
                part.requires_grad_(name in trains)
        corpus = load_corpus(config.data, Framing(model_config), progress_bar)
        for sentence in corpus.rejected:
            log.warning("rejected: %s", sentence)
        for sentence in [*corpus.notes, f"{corpus.hours:.2f} hours to train on"]:
            log.info("%s", sentence)
        self.validation = corpus.validation
        self.crops = Crops(corpus.train, model_config, config.data, config.run.seed)

        self.precision: torch.dtype = (
            faster_precision(self.device)
            if config.run.precision == "auto"
            else getattr(torch, config.run.precision)
        )
        half = self.precision == torch.float16
        self.trained = Trained(
            model,
            copy.deepcopy(model),
            make_optimizer(model.learned(), config.optim),
            torch.amp.GradScaler(self.device.type, enabled=half),
        )
        self.objective = Objective(model, config.loss, self.precision, config.run.compile)
        self.adversaries = [m for m in self.objective.modules() if isinstance(m, Adversary)]
        self.critic_optim = dataclasses.replace(
            config.optim, lr=config.loss.adversarial.lr, betas=DISCRIMINATOR_BETAS
        )
        if self.adversaries:
            critics = self.trained.discriminators = nn.ModuleList(self.adversaries).to(self.device)
            optimizer = make_optimizer(list(critics.parameters()), self.critic_optim)
            self.trained.discriminator_optimizer = optimizer
            critics.requires_grad_(False)

    def begin(self) -> None:
        """Give a new run the weights of a checkpoint, or of one of another mel, or none.

        In the last two cases its envelope is fitted to its data. InputError for a checkpoint that
        is of another model, or not there.
        """
        model, init = self.trained.model, self.config.run.init
        ours, other = model.config, self.config.run.warm_start
        if self.processes.is_main and init:
            theirs = load_checkpoint(find_checkpoint(init))
            if theirs.enhancer is None and model.enhancer is not None:
                log.info("%s has no mel enhancer; its training starts here", init)
                ours = dataclasses.replace(ours, enhancer=None)
            check_same_model(theirs.config, ours, f"The checkpoint {init}")
            whole = ours.enhancer == model.config.enhancer
            model.load_state_dict(theirs.state_dict(), strict=whole)
        elif self.processes.is_main:
            if other:
                theirs = load_checkpoint(find_checkpoint(other))
                started = warm_start(model, theirs, f"The checkpoint {other}")
                log.info("from %s: %s", other, started)
            stored = not model.space.needs_fit or load_envelope(
                envelope_path(Path(self.config.data.folder)), model.space
            )
            if not stored:
                model.space.load_state_dict(fitted_space(ours, self.crops).state_dict())
        self.processes.broadcast(model)
        self.trained.average.load_state_dict(model.state_dict())

    def go_to(self, step: int) -> None:
        """Go on with the batch of a step, counted from 0."""
        self.batches = self.crops.stream(step, self.config.optim.batch_size, self.shares)

    def step(
        self, step: int, share: float, lap: Callable[[str], None] = lambda phase: None
    ) -> Measured:
        """Make one step; unless the loss and its gradient are finite the weights stay as they are.

        Args:
            step: counted from 0.
            share: of the run that is done; both decide the learning rate.
            lap: called with the name of every phase of the step that has ended.
        """
        trained, parts, optim = self.trained, len(self.shares), self.config.optim
        critics, scaler = trained.discriminators, trained.scaler
        losses = torch.zeros(2, device=self.device)
        for adversary in self.adversaries:
            adversary.begin_step(share)
        judging = [adversary for adversary in self.adversaries if adversary.begun]
        waits = any(adversary.alone for adversary in judging)
        for _ in range(parts):
            batch = next(self.batches).to(self.device)
            lap("data")
            with torch.set_grad_enabled(not waits):
                loss = self.objective(batch) / parts
            lap("forward")
            if not waits:
                scaler.scale(loss).backward()
            losses[0] += loss.detach()
            critics.requires_grad_(True)
            for adversary in judging:
                loss = adversary.discriminator_loss(batch) / parts
                loss.backward()
                losses[1] += loss.detach()
            critics.requires_grad_(False)
            lap("backward")

        for module in (trained.model, critics):
            self.processes.average_gradients(module)
        if not waits:
            scaler.unscale_(trained.optimizer)
        # Each by itself: none's surprises are to slow the others down.
        norms = [
            nn.utils.clip_grad_norm_(part.parameters(), optim.clip_norm)
            for part in (*trained.model.learners(), *judging)
            if any(p.grad is not None for p in part.parameters())
        ]
        *means, norm = torch.cat((losses, torch.stack(norms).norm().detach()[None])).tolist()
        mean, critic = self.processes.total([x / self.processes.world for x in means])
        finite = all(map(math.isfinite, (mean, critic, norm)))
        if not waits:
            # As if the steps that it has waited had not been.
            waited = max((adversary.waited for adversary in self.adversaries), default=0)
            set_rate(trained.optimizer, learning_rate(optim, step - waited, share))
            if scaler.is_enabled():
                scaler.step(trained.optimizer)  # if it overflowed, the next scale is a half
                scaler.update()
            elif finite:
                trained.optimizer.step()
            trained.optimizer.zero_grad(set_to_none=True)
        if trained.discriminator_optimizer is not None:
            learnt = max(adversary.steps for adversary in self.adversaries)
            rate = learning_rate(self.critic_optim, max(0, learnt - 1), share)
            set_rate(trained.discriminator_optimizer, rate)
            if finite:
                trained.discriminator_optimizer.step()
            trained.discriminator_optimizer.zero_grad(set_to_none=True)
        update_average(trained.average, trained.model, optim.ema, step + 1)
        lap("optimizer")
        return Measured(mean, norm, critic, finite)

    @functools.cached_property
    def seconds_at_best(self) -> float:
        """Seconds that a step's matrix products would take at this device's best throughput."""
        plain = Objective(self.trained.model, self.config.loss, self.precision).to(self.device)
        adversaries = [m for m in plain.modules() if isinstance(m, Adversary)]
        for adversary in adversaries:
            adversary.steps = adversary.warmup_steps  # the model waits no more
            adversary.requires_grad_(False).begin_step(1.0)
        batch = self.crops.batch(0, self.config.optim.batch_size, [0]).to(self.device)
        with FlopCounterMode(display=False) as counter:  # forward and backward
            plain(batch).backward()
            for adversary in adversaries:
                adversary.requires_grad_(True).discriminator_loss(batch).backward()
        plain.zero_grad(set_to_none=True)
        flops = float(counter.get_total_flops()) * sum(map(len, self.shares))
        return flops / matrix_throughput(self.device, self.precision)

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio that a step learns from, in all processes."""
        mel = self.trained.model.config.mel
        frames = self.config.optim.batch_size * self.config.data.crop_frames
        return frames * mel.hop_length / mel.sample_rate


def _as_base(config: TrainConfig) -> TrainConfig:
    """The settings, with a source only where the voice that a run starts from has one."""
    base, name = None, config.run.init or config.run.warm_start
    with contextlib.suppress(InputError):  # of a new run it is told later; another needs none
        base = load_config(find_checkpoint(name)) if name else None
    if base is None or bool(config.source.layers) == (base.source is not None):
        return config
    if base.source is None:
        log.info("%s has no source; none is trained", name)
        return dataclasses.replace(config, source=SourcePredictorConfig(layers=0))
    log.info("%s has a source, and keeps it", name)
    if not config.run.init:  # of another mel, whose bands the settings give
        return dataclasses.replace(config, source=base.source)
    bands = list(base.space.source_bands)
    return dataclasses.replace(config, source=base.source, source_bands=bands)


def profile(config: TrainConfig, steps: int) -> str | None:
    """A table of what the phases of a step cost on the data of a run; writes nothing.

    Median and spread (10th to 90th percentile) of each phase in ms, and the speed; "data" is how
    long the step waited for its batch. None for all processes but the first.
    """
    with Processes(config.run.device) as processes:
        learner = Learner(config, processes, processes.is_main)
        learner.go_to(0)
        laps: list[dict[str, float]] = []

        def lap(name: str) -> None:
            """Wait for the device, and add the time since the last call to the phase."""
            if processes.device.type == "cuda":
                torch.cuda.synchronize(processes.device)
            now = time.perf_counter()
            laps[-1][name] += now - laps[-1]["since"]
            laps[-1]["since"] = now

        for step in range(WARM_UP + steps):
            start = time.perf_counter()
            laps.append(dict.fromkeys(PHASES, 0.0) | {"since": start})
            learner.step(step, 0.0, lap)
            laps[-1]["step"] = time.perf_counter() - start
        if not processes.is_main:
            return None
        lines = [f"{'':10}{'median':>10}{'10 %':>10}{'90 %':>10}{'share':>8}"]
        total = float(np.median([each["step"] for each in laps[WARM_UP:]]))
        for name in (*PHASES, "step"):
            times = [1000 * each[name] for each in laps[WARM_UP:]]
            low, middle, high = np.quantile(times, (0.1, 0.5, 0.9))
            share = middle / total / 10
            lines.append(f"{name:10}{middle:10.1f}{low:10.1f}{high:10.1f}{share:7.1f}%")
        lines.append(
            f"{learner.audio_seconds / total:.1f} s of audio per second; MFU "
            f"{learner.seconds_at_best / total:.0%} (of this device's measured matrix throughput)"
        )
        return "\n".join(lines)
