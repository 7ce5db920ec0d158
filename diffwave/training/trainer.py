"""The training loop: one model, one run folder, resumable at any moment."""

from __future__ import annotations

import contextlib
import csv
import logging
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.device import choose_device, faster_precision
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.training.config import OptimConfig, RunConfig, TrainConfig
from diffwave.training.data import Corpus, Crops, load_corpus
from diffwave.training.envelope import fit_envelope
from diffwave.training.losses import DenoisingLoss, UnrolledLoss
from diffwave.training.state import Ema, Progress, load_state, save_state, saved_states
from diffwave.training.validation import validate

log = logging.getLogger(__name__)

ENVELOPE_BATCHES = 64
ENVELOPE_CROPS = 16
BAR = "{percentage:5.1f}% |{bar}| {elapsed} < {remaining}{postfix}"


def train(config: TrainConfig, progress_bar: bool = True) -> Path:
    """Train, or go on training, until the steps or minutes are used up or a signal comes.

    SIGINT and SIGTERM end the run after the current step with a checkpoint written.

    Returns:
        the exported checkpoint folder (averaged weights), `run.folder`/export.

    Raises:
        InputError: for settings, data or a run folder that cannot be used.
    """
    if config.run.threads > 0:
        torch.set_num_threads(config.run.threads)
    device = choose_device(config.run.device)
    folder = _run_folder(config)
    torch.manual_seed(config.run.seed)
    model = DiffusionModel(config.model_config())
    length = model.representation.context(config.data.crop_frames)
    corpus = load_corpus(config.data, model.config.mel.sample_rate, length, progress_bar)
    for sentence in corpus.rejected:
        log.warning("rejected: %s", sentence)
    log.info("%.2f hours to train on", corpus.hours)
    crops = Crops(corpus.train, length, config.data, config.run.seed)
    if config.run.init:
        model.load_state_dict(load_checkpoint(config.run.init).state_dict())
    elif model.config.space is not None and not saved_states(folder):
        fit_envelope(model.representation, _envelope_examples(model, crops))  # type: ignore[arg-type]
    model.to(device)
    optimizer = make_optimizer(model, config.optim)
    ema = Ema(model.network, config.optim.ema)
    progress, skipped = load_state(folder, model, ema, optimizer)
    for sentence in skipped:
        log.warning("%s", sentence)
    if progress.step:
        log.info("resuming %s at step %d", folder, progress.step)
    _loop(config, model, corpus, crops, ema, optimizer, progress, device, folder, progress_bar)
    export = folder / "export"
    ema.swap()
    save_checkpoint(model, export)
    return export


def _loop(
    config: TrainConfig,
    model: DiffusionModel,
    corpus: Corpus,
    crops: Crops,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    device: torch.device,
    folder: Path,
    progress_bar: bool,
) -> None:
    run, optim = config.run, config.optim
    denoising = DenoisingLoss(model, config.loss)
    unrolled = UnrolledLoss(model, config.loss) if config.loss.unrolled else None
    network = _compiled(model.network) if run.compile else model.network
    precision = (
        faster_precision(device) if run.precision == "auto" else getattr(torch, run.precision)
    )
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    writer = SummaryWriter(folder / "tensorboard")
    metrics = _MetricsFile(folder / "metrics.csv")
    sums, seen = torch.zeros(2), 0
    clock = time.monotonic()
    last_save = last_validation = progress.minutes
    bar = tqdm(total=100, bar_format=BAR, disable=None if progress_bar else True)
    with _stop_signal() as stopped, contextlib.closing(writer), bar:
        while progress.step < run.steps and progress.minutes < run.minutes and not stopped:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(optim, progress.step, share_done(progress, run))
            wave, white, uniform = crops.batch(progress.step, optim.batch_size)
            wave, white = wave.to(device), white.to(device)
            with autocast:
                loss = torch.zeros((), device=device)
                if config.loss.denoising:
                    losses = denoising(network, wave, white, denoising.levels(uniform))
                    loss = loss + config.loss.denoising * losses.mean()
                if unrolled is not None:
                    loss = loss + config.loss.unrolled * unrolled(network, wave, white).mean()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.network.parameters(), optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            ema.update(progress.step)
            sums += torch.stack((loss.detach(), norm.detach())).cpu()
            seen += 1
            now = time.monotonic()
            progress.minutes += (now - clock) / 60
            clock = now
            bar.update(100 * share_done(progress, run) - bar.n)
            if progress.step % run.log_steps == 0:
                mean_loss, mean_norm = (sums / seen).tolist()
                sums, seen = torch.zeros(2), 0
                if not math.isfinite(mean_loss):
                    raise InputError(
                        f"The loss is not finite at step {progress.step}; lower optim.lr."
                    )
                row = {
                    "loss": mean_loss,
                    "gradient_norm": mean_norm,
                    "lr": optimizer.param_groups[0]["lr"],
                }
                bar.set_postfix_str(
                    f"step {progress.step}, {progress.step / progress.minutes / 60:.2f} steps/s, "
                    f"loss {mean_loss:.4f}"
                )
                metrics.add(progress, row)
                for name, value in row.items():
                    writer.add_scalar(f"train/{name}", value, progress.step)
            if progress.minutes - last_validation >= run.validate_minutes:
                ema.swap()
                metrics.add(
                    progress, validate(model, denoising, corpus.validation, writer, progress.step)
                )
                ema.swap()
                last_validation, clock = progress.minutes, time.monotonic()
            if progress.minutes - last_save >= run.checkpoint_minutes:
                save_state(folder, progress, model, ema, optimizer)
                last_save = progress.minutes
        save_state(folder, progress, model, ema, optimizer)


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


def _envelope_examples(model: DiffusionModel, crops: Crops) -> list[tuple[Tensor, Tensor]]:
    examples = []
    for i in range(ENVELOPE_BATCHES):
        # Steps that no run reaches, so that the envelope's crops are not the first steps' crops.
        wave, _, _ = crops.batch((1 << 40) + i, ENVELOPE_CROPS)
        examples.append((wave, model.mel(wave, pad=False)))
    return examples


def _run_folder(config: TrainConfig) -> Path:
    if not config.run.folder:
        raise InputError("Where should the run be kept? Set run.folder.")
    folder = Path(config.run.folder)
    if config.run.resume not in ("auto", "never"):
        raise InputError(f"run.resume is 'auto' or 'never', not {config.run.resume!r}.")
    if config.run.resume == "never" and saved_states(folder):
        raise InputError(f"{folder} already holds a run; set run.resume to auto to continue it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the run folder {folder}: {error.strerror}.") from None
    return folder


def _compiled(network: torch.nn.Module) -> torch.nn.Module:
    """The network compiled on its first call, or itself, with a warning, if that fails."""
    compiled = torch.compile(network)

    class _Fallback(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.broken = False

        def forward(self, *args: Tensor) -> Tensor:
            if not self.broken:
                try:
                    return compiled(*args)
                except torch._dynamo.exc.TorchDynamoException as error:
                    log.warning(
                        "torch.compile failed (%s); training uncompiled.", type(error).__name__
                    )
                    self.broken = True
            return network(*args)

    return _Fallback()


class _MetricsFile:
    """`metrics.csv`: one row per measured value, appended at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_text("step,minutes,name,value\n", encoding="utf-8")

    def add(self, progress: Progress, values: dict[str, float]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                writer.writerow((progress.step, f"{progress.minutes:.2f}", name, f"{value:.6g}"))


@contextlib.contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """A list that a SIGINT or SIGTERM puts something into, instead of killing the process."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
