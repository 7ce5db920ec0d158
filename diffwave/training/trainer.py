"""The training loop: one model, one run folder, resumable at any moment."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.device import choose_device, faster_precision
from diffwave.errors import InputError
from diffwave.mel import MelSpectrogram
from diffwave.model import DiffusionModel
from diffwave.representation import SpectralRepresentation
from diffwave.training.config import OptimConfig, RunConfig, TrainConfig
from diffwave.training.data import Clip, Crops, load_corpus
from diffwave.training.envelope import fit_envelope
from diffwave.training.logbook import Logbook
from diffwave.training.losses import DenoisingLoss, Network, UnrolledLoss
from diffwave.training.state import (
    Ema,
    Progress,
    check_same_model,
    load_state,
    save_state,
    saved_states,
)
from diffwave.training.validation import validate
from diffwave.vocoder import find_checkpoint

log = logging.getLogger(__name__)

ENVELOPE_BATCHES = 64
ENVELOPE_CROPS = 16
BAR = "{percentage:5.1f}% |{bar}| {elapsed} < {remaining}{postfix}"


@dataclass
class _Run:
    """What one run works with."""

    config: TrainConfig
    model: DiffusionModel
    crops: Crops
    validation: list[Clip]
    ema: Ema
    optimizer: torch.optim.Optimizer
    progress: Progress
    device: torch.device
    folder: Path


def train(config: TrainConfig, progress_bar: bool = True) -> Path:
    """Train, or go on training, until the steps or minutes are used up or a signal comes.

    SIGINT and SIGTERM end the run after the current step with a checkpoint written.

    Returns:
        the exported checkpoint folder (averaged weights), `run.folder`/export.

    Raises:
        InputError: for settings, data or a run folder that cannot be used, or a loss that is not
            finite.
    """
    if config.run.threads > 0:
        torch.set_num_threads(config.run.threads)
    device = choose_device(config.run.device)
    folder = _run_folder(config)
    torch.manual_seed(config.run.seed)
    model = DiffusionModel(config.model_config()).to(device)
    length = model.representation.context(config.data.crop_frames)
    corpus = load_corpus(config.data, model.config.mel.sample_rate, length, progress_bar)
    for sentence in corpus.rejected:
        log.warning("rejected: %s", sentence)
    log.info("%.2f hours to train on", corpus.hours)
    crops = Crops(corpus.train, length, config.data, config.run.seed)
    optimizer = make_optimizer(model, config.optim)
    ema = Ema(model.network, config.optim.ema)
    progress, skipped = load_state(folder, model, ema, optimizer)
    for sentence in skipped:
        log.warning("%s", sentence)
    if progress.step:
        log.info("resuming %s at step %d", folder, progress.step)
    else:
        _initialise(model, config.run.init, crops)
        ema = Ema(model.network, config.optim.ema)
    run = _Run(config, model, crops, corpus.validation, ema, optimizer, progress, device, folder)
    _loop(run, progress_bar)
    export = folder / "export"
    ema.swap()
    save_checkpoint(model, export)
    return export


def _initialise(model: DiffusionModel, init: str, crops: Crops) -> None:
    """Give a new run the weights of a checkpoint, or fit the envelope to its data."""
    if init:
        theirs = load_checkpoint(find_checkpoint(init))
        check_same_model(theirs.config, model.config, f"The checkpoint {init}")
        model.load_state_dict(theirs.state_dict())
    elif model.config.space is not None:
        mel = MelSpectrogram(model.config.mel)  # on the CPU, which has float64
        representation = SpectralRepresentation(model.config.space)
        examples = []
        for i in range(ENVELOPE_BATCHES):
            # Steps that no run reaches, so that these are not the crops of the first steps.
            wave, _, _ = crops.batch((1 << 40) + i, ENVELOPE_CROPS)
            examples.append((wave, mel(wave, pad=False)))
        fit_envelope(representation, examples)
        model.representation.load_state_dict(representation.state_dict())


def _loop(run: _Run, progress_bar: bool) -> None:
    settings, progress = run.config.run, run.progress
    loss_of = _loss_function(run)
    logbook = Logbook(run.folder, progress)
    measured: list[tuple[float, float]] = []
    last_step = progress.step
    last_save = last_validation = progress.minutes
    clock = time.monotonic()
    bar = tqdm(
        total=100,
        initial=100 * share_done(progress, settings),
        bar_format=BAR,
        disable=None if progress_bar else True,
    )
    with contextlib.closing(logbook), bar, _stop_signal() as stopped:
        while share_done(progress, settings) < 1 and not stopped:
            measured.append(_optimise(run, loss_of))
            now = time.monotonic()
            progress.minutes += (now - clock) / 60
            clock = now
            bar.update(100 * share_done(progress, settings) - bar.n)
            if progress.step % settings.log_steps == 0:
                loss, norm = (sum(column) / len(measured) for column in zip(*measured, strict=True))
                measured.clear()
                lr = run.optimizer.param_groups[0]["lr"]
                logbook.add_training({"loss": loss, "gradient_norm": norm, "lr": lr})
                speed = progress.step / progress.minutes / 60
                bar.set_postfix_str(f"step {progress.step}, {speed:.2f} steps/s, loss {loss:.4f}")
            if progress.minutes - last_validation >= settings.validate_minutes:
                _validate(run, logbook)
                last_validation, clock = progress.minutes, time.monotonic()
            if progress.minutes - last_save >= settings.checkpoint_minutes:
                save_state(run.folder, progress, run.model, run.ema, run.optimizer)
                last_save = progress.minutes
        if progress.step > last_step:
            save_state(run.folder, progress, run.model, run.ema, run.optimizer)
            if not stopped and progress.minutes > last_validation:
                _validate(run, logbook)


def _loss_function(run: _Run) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Loss of a batch as `Crops.batch` makes it; the network, and only it, in less precision."""
    config, model, device = run.config, run.model, run.device
    denoising, unrolled = DenoisingLoss(model, config.loss), UnrolledLoss(model, config.loss)
    compiled = _compiled(model.network) if config.run.compile else model.network
    name = config.run.precision
    precision = faster_precision(device) if name == "auto" else getattr(torch, name)

    def network(x_t: Tensor, t: Tensor, mel: Tensor | None) -> Tensor:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            return compiled(x_t, t, mel)

    def loss_of(wave: Tensor, white: Tensor, uniform: Tensor) -> Tensor:
        wave, white = wave.to(device), white.to(device)
        loss = torch.zeros((), device=device)
        if config.loss.denoising:
            losses = denoising(network, wave, white, denoising.levels(uniform))
            loss = loss + config.loss.denoising * losses.mean()
        if config.loss.unrolled:
            losses = unrolled(network, wave, white, unrolled.levels(float(uniform[0])))
            loss = loss + config.loss.unrolled * losses.mean()
        return loss

    return loss_of


def _optimise(
    run: _Run, loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    """Make one step; returns the loss and the norm of its gradient before clipping.

    Raises:
        InputError: when either is not finite. The weights are then as they were before the step.
    """
    optim, progress = run.config.optim, run.progress
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(optim, progress.step, share_done(progress, run.config.run))
    loss = loss_of(*run.crops.batch(progress.step, optim.batch_size))
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.network.parameters(), optim.clip_norm)
    measured = torch.stack((loss.detach(), norm.detach())).tolist()
    if not all(map(math.isfinite, measured)):
        raise InputError(
            f"The loss or its gradient is not finite at step {progress.step + 1}; lower optim.lr. "
            f"The last checkpoint in {run.folder} is from before."
        )
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    progress.step += 1
    run.ema.update(progress.step)
    return measured[0], measured[1]


def _validate(run: _Run, logbook: Logbook) -> None:
    """Judge the averaged weights."""
    loss_of = DenoisingLoss(run.model, run.config.loss)
    run.ema.swap()
    values = validate(run.model, loss_of, run.validation, logbook.writer, run.progress.step)
    run.ema.swap()
    logbook.add_rows(values)


def make_optimizer(model: DiffusionModel, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    parameters = list(model.network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def share_done(progress: Progress, run: RunConfig) -> float:
    """Share of the run that is over, by whichever of the two budgets is nearer its end."""
    return min(1.0, max(progress.step / run.steps, progress.minutes / run.minutes))


def learning_rate(config: OptimConfig, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine over the share of the run that is done."""
    cosine = config.last_lr + (1 - config.last_lr) * 0.5 * (1 + math.cos(math.pi * share))
    return config.lr * cosine * min(1.0, (step + 1) / max(1, config.warmup_steps))


def _run_folder(config: TrainConfig) -> Path:
    if not config.run.folder:
        raise InputError("Where should the run be kept? Set run.folder.")
    folder = Path(config.run.folder)
    if config.run.resume == "never" and saved_states(folder):
        raise InputError(f"{folder} already holds a run; set run.resume to auto to continue it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the run folder {folder}: {error.strerror}.") from None
    return folder


def _compiled(network: torch.nn.Module) -> Network:
    """The network compiled on its first call, or itself, with a warning, if that fails."""
    chosen: Callable[..., Tensor] = torch.compile(network)

    def call(x_t: Tensor, t: Tensor, mel: Tensor | None) -> Tensor:
        nonlocal chosen
        try:
            return chosen(x_t, t, mel)
        except torch._dynamo.exc.TorchDynamoException as error:
            log.warning("torch.compile failed (%s); training uncompiled.", type(error).__name__)
            chosen = network
            return chosen(x_t, t, mel)

    return call


@contextlib.contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """A list that a SIGINT or SIGTERM puts something into, instead of killing the process.

    A second signal acts as it did before. Outside the main thread, which alone hears signals, the
    list stays empty.
    """
    received: list[int] = []
    old: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, old[signal.Signals(number)])

    if threading.current_thread() is threading.main_thread():
        old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in old:
            signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
