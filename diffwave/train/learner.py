"""What learns: model, data, losses and optimizers of a run, and one step of theirs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from diffwave.checkpoint import load_checkpoint, load_config
from diffwave.data.crops import Batch, Crops, Framing
from diffwave.data.data import load_corpus
from diffwave.data.envelope import envelope_path, fitted_space, load_envelope
from diffwave.device import faster_precision
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.networks import SourcePredictorConfig
from diffwave.train.config import LossConfig, OptimConfig, TrainConfig
from diffwave.train.objective import Objective
from diffwave.train.processes import Processes
from diffwave.train.state import Trained, averaged, check_same_model
from diffwave.vocoder import find_checkpoint

log = logging.getLogger(__name__)

SMALLEST_SCALE = 1.0
"""Of float16's losses; gradients that overflow even so are not finite in any precision."""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied to measure a device; 1024 on any other."""


@dataclass(frozen=True)
class Measured:
    """What a step found."""

    loss: float
    gradient_norm: float
    """Before clipping."""
    discriminator_loss: float
    """0 where no loss has a discriminator."""
    finite: bool
    """Whether the weights were changed (or float16 may do better with its next loss scale)."""
    noted: list[float]
    """Sums over the processes of the numbers that each gave."""


class Learner:
    """Changes weights by the gradients of random crops; keeps no account of time.

    A loss may own a discriminator: any module of the objective with a method
    `discriminator_loss(batch) -> []`, which is called after the loss of the same batch has been
    computed, and must not pass gradients on to the model. The module's own parameters then get an
    optimizer of their own, and a place in the checkpoints.
    """

    def __init__(self, config: TrainConfig, processes: Processes, progress_bar: bool) -> None:
        """Read the data and make the rest, with random weights; InputError if that cannot be."""
        self.config, self.processes, self.device = config, processes, processes.device
        if config.run.threads > 0:
            torch.set_num_threads(config.run.threads)
        self.shares = processes.shares(config.optim.batch_size, config.optim.accumulate)
        torch.manual_seed(config.run.seed)
        model_config = _as_base(config).model_config()
        model = DiffusionModel(model_config).to(self.device)
        _freeze_untrained(model, config.loss)
        shortest = Framing(model_config).samples(config.data.crop_frames)
        bands = getattr(model_config.space, "source_bands", ())
        corpus = load_corpus(config.data, model_config.mel, shortest, progress_bar, bands)
        for sentence in corpus.rejected:
            log.warning("rejected: %s", sentence)
        for sentence in corpus.notes:
            log.info("%s", sentence)
        log.info("%.2f hours to train on", corpus.hours)
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
            averaged(model, config.optim.ema),
            make_optimizer(model.learned(), config.optim),
            torch.amp.GradScaler(self.device.type, enabled=half),
        )
        objective = Objective(model, config.loss, self.precision, config.run.compile)
        self.adversaries = [m for m in objective.modules() if hasattr(m, "discriminator_loss")]
        if self.adversaries:
            self.trained.discriminators = nn.ModuleList(self.adversaries).to(self.device)
            self.trained.discriminator_optimizer = make_optimizer(
                list(self.trained.discriminators.parameters()), config.optim
            )
            self.trained.discriminators.requires_grad_(False)
        self.objective = processes.wrap(objective)

    @property
    def averaged_model(self) -> DiffusionModel:
        """The model with its averaged weights, which are the ones to judge and to keep."""
        return cast(DiffusionModel, self.trained.average.module)

    def begin(self) -> None:
        """Give a new run the weights of a checkpoint, or the envelope of its data.

        Raises:
            InputError: for a checkpoint that is of another model, or not there.
        """
        model, init = self.trained.model, self.config.run.init
        ours = model.config
        if self.processes.is_main and init:
            theirs = load_checkpoint(find_checkpoint(init))
            if theirs.enhancer is None and model.enhancer is not None:
                log.info("%s has no mel enhancer; its training starts here", init)
                ours = dataclasses.replace(ours, enhancer=None)
            check_same_model(theirs.config, ours, f"The checkpoint {init}")
            whole = ours.enhancer == model.config.enhancer
            model.load_state_dict(theirs.state_dict(), strict=whole)
        elif self.processes.is_main and model.space.needs_fit:
            stored = load_envelope(envelope_path(Path(self.config.data.folder)), model.space)
            if not stored:
                model.space.load_state_dict(fitted_space(ours, self.crops).state_dict())
        self.processes.broadcast(model)
        self.averaged_model.load_state_dict(model.state_dict())

    def go_to(self, step: int) -> None:
        """Go on with the batch of a step, counted from 0."""
        self.batches = self.crops.stream(step, self.config.optim.batch_size, self.shares)

    def step(
        self,
        lr: float,
        notes: Callable[[], Sequence[float]] = tuple,
        lap: Callable[[str], None] = lambda part: None,
    ) -> Measured:
        """Make one step; unless the loss and its gradient are finite the weights stay as they are.

        Args:
            lr: learning rate of this step.
            notes: called once they are computed; gives numbers of this process to be added up over
                all processes.
            lap: called with the name of every phase of the step that has ended.
        """
        trained, parts, clip = self.trained, len(self.shares), self.config.optim.clip_norm
        optimizer, scaler = trained.optimizer, trained.scaler
        total = torch.zeros(2, device=self.device)
        for i in range(parts):
            batch = next(self.batches).to(self.device)
            lap("data")
            last = i == parts - 1 or self.processes.world == 1
            with contextlib.nullcontext() if last else self.objective.no_sync():  # type: ignore[operator]
                loss = self.objective(batch) / parts
                lap("forward")
                scaler.scale(loss).backward()
            total[0] += loss.detach()
            trained.discriminators.requires_grad_(True)
            for adversary in self.adversaries:
                loss = adversary.discriminator_loss(batch) / parts  # type: ignore[operator]
                loss.backward()
                total[1] += loss.detach()
            trained.discriminators.requires_grad_(False)
            lap("backward")

        scaler.unscale_(optimizer)
        # Network and enhancer apart: neither's surprises are to slow the other down.
        norms = [
            nn.utils.clip_grad_norm_(part.parameters(), clip)
            for part in trained.model.learners()
            if any(p.requires_grad for p in part.parameters())
        ]
        if self.adversaries:
            self.processes.average_gradients(trained.discriminators)
            norms.append(nn.utils.clip_grad_norm_(trained.discriminators.parameters(), clip))
        norm = torch.stack(norms).norm().detach()
        *losses, gradient_norm = torch.cat((total, norm[None])).tolist()
        world = self.processes.world
        mean, critic, *noted = self.processes.total([*(x / world for x in losses), *notes()])
        # float16 overflows now and then; its scale is then halved and the step left out.
        adapts = scaler.is_enabled() and scaler.get_scale() > SMALLEST_SCALE
        finite = math.isfinite(mean + critic) and (math.isfinite(gradient_norm) or adapts)
        both = [optimizer, trained.discriminator_optimizer]
        for each in [each for each in both if each is not None]:
            for group in each.param_groups:
                group["lr"] = lr
            if finite and each is optimizer:
                scaler.step(each)
                scaler.update()
            elif finite and math.isfinite(gradient_norm):
                each.step()
            each.zero_grad(set_to_none=True)
        lap("optimizer")
        return Measured(mean, gradient_norm, critic, finite, noted)

    @functools.cached_property
    def seconds_at_best(self) -> float:
        """Seconds that a step's matrix products would take at this device's best throughput."""
        plain = Objective(self.trained.model, self.config.loss, self.precision).to(self.device)
        batch = self.crops.batch(0, self.config.optim.batch_size, [0]).to(self.device)
        rows = sum(len(share) for share in self.shares)
        return training_flops(plain, batch) * rows / matrix_throughput(self.device, self.precision)

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio that a step learns from, in all processes."""
        mel = self.trained.model.config.mel
        frames = self.config.optim.batch_size * self.config.data.crop_frames
        return frames * mel.hop_length / mel.sample_rate


def _as_base(config: TrainConfig) -> TrainConfig:
    """The settings, with a source only where the voice that a run starts from has one."""
    try:
        base = load_config(find_checkpoint(config.run.init)) if config.run.init else None
    except InputError:  # a run that goes on does not need it; a new one says what is wrong
        base = None
    if base is None or bool(config.source.layers) == (base.source is not None):
        return config
    if base.source is None:
        log.info("%s has no source; none is trained", config.run.init)
        return dataclasses.replace(config, source=SourcePredictorConfig(layers=0))
    log.info("%s has a source, and keeps it", config.run.init)
    bands = list(getattr(base.space, "source_bands", ()))
    return dataclasses.replace(config, source=base.source, source_bands=bands)


def _freeze_untrained(model: DiffusionModel, config: LossConfig) -> None:
    """Take what no loss trains out of training; processes would wait for its gradients."""
    others = any(config.weights.values())
    model.network.requires_grad_(bool(config.denoising or config.unrolled or others))
    if model.enhancer is not None:
        model.enhancer.requires_grad_(bool(config.enhancement))
    if model.source is not None:
        model.source.requires_grad_(bool(config.source))
    if not any(parameter.requires_grad for parameter in model.learned()):
        raise InputError("The losses with a weight above 0 train nothing of this model.")


def make_optimizer(parameters: Sequence[nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW of those that are to be trained, with weight decay on matrices only."""
    wanted = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def learning_rate(config: OptimConfig, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine over the share of the run that is done."""
    cosine = config.last_lr + (1 - config.last_lr) * 0.5 * (1 + math.cos(math.pi * share))
    return config.lr * cosine * min(1.0, (step + 1) / max(1, config.warmup_steps))


def matrix_throughput(device: torch.device, dtype: torch.dtype, budget: float = 0.2) -> float:
    """FLOP/s of the best of some products of square matrices, measured for `budget` seconds."""
    side = SIDE.get(device.type, 1024)
    matrix = torch.full((side, side), 1e-3, dtype=dtype, device=device)
    timer = Timer("m @ m", globals={"m": matrix}, num_threads=torch.get_num_threads())
    return float(2 * side**3 / min(timer.blocked_autorange(min_run_time=budget).times))


def training_flops(objective: nn.Module, batch: Batch) -> float:
    """Multiplications and additions of products and convolutions, forward and backward, an example.

    The objective must be neither compiled, in which they could not be counted, nor wrapped. The
    gradients that this leaves are dropped.
    """
    with FlopCounterMode(display=False) as counter:
        objective(batch).backward()
    objective.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / len(batch.wave)
