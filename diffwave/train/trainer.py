"""A run: one model, one run folder, resumable at any moment."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import torch
from tqdm import tqdm

from diffwave.checkpoint import save_checkpoint
from diffwave.errors import InputError
from diffwave.files import remove_leftovers
from diffwave.train.config import TrainConfig
from diffwave.train.engine import Engine
from diffwave.train.logbook import Logbook
from diffwave.train.optim import learning_rate, share_done
from diffwave.train.settings import SETTINGS_FILE, save_settings
from diffwave.train.setup import Parts, initialise, make_parts
from diffwave.train.state import Progress, load_state, save_state, saved_states
from diffwave.train.stepper import Measured, Stepper
from diffwave.train.stopping import stop_signal
from diffwave.train.validation import validate

log = logging.getLogger(__name__)

SETBACKS = 3
"""Times in a row that training goes back to its last checkpoint before it gives up."""
BAR = "{percentage:5.1f}% |{bar}| {elapsed} < {remaining}{postfix}"


def train(config: TrainConfig, progress_bar: bool = True) -> Path:
    """Train, or go on training, until the steps or minutes are used up or a signal comes.

    SIGINT and SIGTERM end the run after the current step with a checkpoint written. Under
    `torchrun` the processes share every batch, and the first one logs, validates and writes.

    Returns:
        the exported checkpoint folder (averaged weights), `run.folder`/export. The best weights by
        validation are beside it, in `run.folder`/best.

    Raises:
        InputError: for settings, data or a run folder that cannot be used, a full disk, the loss
            of another process, or a loss that keeps being not finite.
    """
    folder = _run_folder(config)
    engine = Engine(config.run.device)
    with engine.running():
        if engine.is_main:
            remove_leftovers(folder)
        else:
            logging.getLogger("diffwave").setLevel(logging.ERROR)
        engine.wait()
        parts = make_parts(config, engine, progress_bar and engine.is_main)
        run = _Run(config, engine, parts, folder)
        run.train(progress_bar and engine.is_main)
        if engine.is_main:
            parts.trained.ema.swap()
            save_checkpoint(parts.trained.model, folder / "export")
    return folder / "export"


class _Run:
    """The state of a run in its folder."""

    def __init__(self, config: TrainConfig, engine: Engine, parts: Parts, folder: Path) -> None:
        self.config, self.engine, self.parts, self.folder = config, engine, parts, folder
        progress, skipped = load_state(folder, parts.trained)
        for sentence in skipped:
            log.warning("%s", sentence)
        if progress is None and engine.is_main:
            initialise(parts, config)
        self.progress = progress or Progress()
        self._check_agreement()
        engine.equalise(parts.trained.model)
        self.stepper = Stepper(config, engine, parts.trained, parts.crops, self.progress.step)
        self.beginning: dict[str, torch.Tensor] | None = None
        if progress is None:
            parts.trained.ema.restart()
            state = parts.trained.model.state_dict()
            self.beginning = {name: tensor.clone() for name, tensor in state.items()}
        else:
            log.info("resuming %s at step %d", folder, progress.step)
        if not (folder / "best").is_dir():
            self.progress.best = None
        self.logbook: Logbook | None = None
        if engine.is_main:
            save_settings(config, folder / SETTINGS_FILE)
            self.logbook = Logbook(folder, self.progress)
        self.setbacks, self.failed_at = 0, 0
        self.last_save = self.last_validation = self.progress.minutes
        self.window: list[Measured] = []
        self.window_minutes = self.progress.minutes

    def train(self, progress_bar: bool) -> None:
        """All the steps, and what is done between them."""
        settings, first = self.config.run, self.progress.step
        bar = tqdm(
            total=100,
            initial=100 * share_done(self.progress, settings),
            bar_format=BAR,
            disable=None if progress_bar else True,
        )
        stop = False
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(bar)
            received = stack.enter_context(stop_signal())
            self.clock = time.monotonic()
            while share_done(self.progress, settings) < 1 and not stop:
                stop = self._step(received)
                bar.update(100 * share_done(self.progress, settings) - bar.n)
                if self.window and self.progress.step % settings.log_steps == 0:
                    bar.set_postfix_str(self._log())
                if self.progress.minutes - self.last_validation >= settings.validate_minutes:
                    self._validate()
                if self.progress.minutes - self.last_save >= settings.checkpoint_minutes:
                    self._save()
            if self.progress.step > first:
                self._save()
                if not stop and self.progress.minutes > self.last_validation:
                    self._validate()

    def _step(self, received: list[int]) -> bool:
        """One step, or back to the last checkpoint; returns whether any process was told to stop.

        The time is the first process's.
        """
        progress, engine = self.progress, self.engine
        share = share_done(progress, self.config.run)
        lr = progress.lr_factor * learning_rate(self.config.optim, progress.step, share)

        def notes() -> tuple[float, float]:
            now = time.monotonic()
            elapsed, self.clock = now - self.clock, now
            return elapsed if engine.is_main else 0.0, float(bool(received))

        measured = self.stepper.step(lr, notes)
        seconds, stops = measured.noted
        if not measured.finite:
            self._go_back()
        else:
            progress.step += 1
            progress.minutes += seconds / 60
            self.parts.trained.ema.update(progress.step)
            self.window.append(measured)
            if progress.step > self.failed_at + self.config.run.log_steps:
                self.setbacks = 0
        return stops > 0

    def _go_back(self) -> None:
        """Restore the last checkpoint, or the beginning, and halve the learning rate.

        Raises:
            InputError: when that has been done a few times already, to no avail.
        """
        trained, failed = self.parts.trained, self.progress.step + 1
        self.setbacks, self.failed_at = self.setbacks + 1, failed
        if self.setbacks > SETBACKS:
            raise InputError(
                f"The loss or its gradient is not finite at step {failed}, though the learning "
                f"rate was halved {SETBACKS} times; lower optim.lr, or look at the data. "
                f"The last checkpoint in {self.folder} is from before."
            )
        found, _ = load_state(self.folder, trained)
        if found is None and self.beginning is not None:
            trained.model.load_state_dict(self.beginning)
            trained.optimizer.state.clear()
            trained.ema.restart()
        self.engine.wait()  # until all have read it
        self.progress = found or Progress(lr_factor=self.progress.lr_factor)
        self.progress.lr_factor /= 2
        self.stepper.go_to(self.progress.step)
        self.window, self.window_minutes = [], self.progress.minutes
        self.last_validation = min(self.last_validation, self.progress.minutes)
        log.warning(
            "The loss or its gradient is not finite at step %d; going back to step %d with the "
            "learning rate times %g.",
            failed, self.progress.step, self.progress.lr_factor,
        )  # fmt: skip
        if self.logbook is not None:
            self.logbook.close()
            self.logbook = Logbook(self.folder, self.progress)
            self.logbook.add_training({"lr_factor": self.progress.lr_factor})
        self._save()

    def _log(self) -> str:
        """Note the means since the last time; returns what the bar shows."""
        progress, count = self.progress, len(self.window)
        loss = sum(step.loss for step in self.window) / count
        norm = sum(step.gradient_norm for step in self.window) / count
        seconds = max(60 * (progress.minutes - self.window_minutes) / count, 1e-9)
        self.window, self.window_minutes = [], progress.minutes
        if self.logbook is None:
            return ""
        audio = self.stepper.audio_seconds / seconds
        share = self.stepper.seconds_at_best / seconds
        self.logbook.add_training(
            {
                "loss": loss,
                "gradient_norm": norm,
                "lr": self.parts.trained.optimizer.param_groups[0]["lr"],
                "audio_seconds_per_second": audio,
                "matrix_share": share,
            }
        )
        return (
            f"step {progress.step}, {1 / seconds:.2f} steps/s, {audio:.0f} s of audio/s "
            f"({share:.0%} of matrix throughput), loss {loss:.4f}"
        )

    def _save(self) -> None:
        """A checkpoint; InputError, with the last one intact, if it cannot be written."""
        self.last_save = self.progress.minutes
        if self.engine.is_main:
            try:
                save_state(self.folder, self.progress, self.parts.trained, self.config.run.keep)
            except InputError as error:
                intact = [path.name for path in saved_states(self.folder)[-1:]]
                last = f"{intact[0]} is the last checkpoint" if intact else "there is no checkpoint"
                raise InputError(f"{error} Training has stopped; {last}.") from None

    def _validate(self) -> None:
        """Judge the averaged weights, and keep them if they are the best so far."""
        self.last_validation = self.progress.minutes
        if self.logbook is None:
            return
        model, ema, progress = self.parts.trained.model, self.parts.trained.ema, self.progress
        ema.swap()
        with self.logbook.written():
            clips, writer = self.parts.validation, self.logbook.writer
            values = validate(model, self.config.loss, clips, writer, progress.step)
        self.logbook.add_rows(values)
        better = progress.takes(values)
        if better:
            save_checkpoint(model, self.folder / "best")
        ema.swap()
        if better:  # the checkpoint knows what is in the folder
            self.logbook.add_rows({"best": progress.best or 0.0})
            self._save()
        self.clock = time.monotonic()

    def _close(self) -> None:
        if self.logbook is not None:
            self.logbook.close()

    def _check_agreement(self) -> None:
        """Raise unless all processes go on from the same step."""
        step, world = self.progress.step, self.engine.world
        if self.engine.total([step])[0] != step * world:
            raise InputError(
                f"The processes find different checkpoints in {self.folder}; it must be one folder "
                "that all machines share."
            )


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
