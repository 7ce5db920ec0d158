"""Training, from top to bottom: a run is one model and one folder, resumable at any moment."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from diffwave.checkpoint import save_checkpoint
from diffwave.errors import InputError
from diffwave.files import remove_leftovers
from diffwave.text import number
from diffwave.train.config import RunConfig, TrainConfig
from diffwave.train.learner import Learner, Measured, learning_rate
from diffwave.train.logbook import METRICS_FILE, Logbook, read_rows
from diffwave.train.processes import Processes, StopRequest, stop_request
from diffwave.train.settings import SETTINGS_FILE, save_settings
from diffwave.train.state import (
    Progress,
    load_state,
    only_trainer,
    save_state,
    saved_states,
    update_average,
)
from diffwave.train.validation import validate

log = logging.getLogger(__name__)

SETBACKS = 3
"""Times in a row that training goes back to its last checkpoint before it gives up."""
NOTE_SECONDS = 20.0
"""Scalars are noted this often at least, however many steps that is."""
LINE_SECONDS = 30.0
"""Between lines of progress where there is no terminal for a bar."""
BAR = "{percentage:5.1f}% |{bar}| {elapsed} < {remaining}{postfix}"


def train(config: TrainConfig, progress_bar: bool = True) -> Path:
    """Train, or go on training, until the steps or minutes are used up or a signal comes.

    SIGINT and SIGTERM end the run after the current step with a checkpoint written. Under
    `torchrun` the processes share every batch, and the first one logs, validates and writes.

    Returns:
        the exported checkpoint folder (averaged weights), `run.folder`/export. The best weights by
        validation are beside it, in `run.folder`/best.

    Raises:
        InputError: for settings, data or a run folder that cannot be used or that another process
            trains in, a full disk, the loss of another process, or a loss that keeps being not
            finite.
    """
    folder = _run_folder(config)
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(Processes(config.run.device))
        stop = stack.enter_context(stop_request())
        if processes.is_main:
            stack.enter_context(only_trainer(folder))
            remove_leftovers(folder)
        else:
            logging.getLogger("diffwave").setLevel(logging.ERROR)
        processes.wait()
        learner = Learner(config, processes, progress_bar and processes.is_main)
        run = _Run(config, processes, learner, folder)
        run.train(stop, progress_bar and processes.is_main)
        if processes.is_main:
            save_checkpoint(learner.averaged_model, folder / "export")
    return folder / "export"


def share_done(progress: Progress, run: RunConfig) -> float:
    """Share of the run that is over, by whichever of the two budgets is nearer its end."""
    return min(1.0, max(progress.step / run.steps, progress.minutes / run.minutes))


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


class _Run:
    """The steps of a run, and what is done between them."""

    def __init__(
        self, config: TrainConfig, processes: Processes, learner: Learner, folder: Path
    ) -> None:
        self.config, self.processes, self.learner = config, processes, learner
        self.folder, self.trained = folder, learner.trained
        found, skipped = load_state(folder, self.trained)
        for sentence in skipped:
            log.warning("%s", sentence)
        self.progress, self.is_new = found or Progress(), found is None
        if processes.total([self.progress.step])[0] != self.progress.step * processes.world:
            raise InputError(
                f"The processes find different checkpoints in {folder}; it must be one folder "
                "that all machines share."
            )
        if found is None:
            if any(int(row[0]) > 0 for row in read_rows(folder / METRICS_FILE)):
                raise InputError(
                    f"{folder} holds what a run noted, but none of its checkpoints; to start "
                    "afresh, set another run.folder or move this one."
                )
            learner.begin()
        else:
            log.info("resuming %s at step %d", folder, found.step)
        learner.go_to(self.progress.step)
        if not (folder / "best").is_dir():
            self.progress.best = None
        self.logbook: Logbook | None = None
        if processes.is_main:
            save_settings(config, folder / SETTINGS_FILE)
            self.logbook = Logbook(folder, self.progress)
        self.setbacks, self.failed_at = 0, 0
        self.last_save = self.last_validation = self.progress.minutes
        self.window: list[Measured] = []
        self.window_minutes = self.progress.minutes
        self.clock, self.last_line = time.monotonic(), 0.0

    def train(self, stop: StopRequest, progress_bar: bool) -> None:
        """All the steps that are left; a new run is validated and saved before its first one."""
        settings, progress = self.config.run, self.progress
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            stop.listening = True
            if self.is_new:
                self._validate()
                if not saved_states(self.folder):  # it is not the best so far, which is saved
                    self._save()
            first = progress.step
            on_terminal = progress_bar and sys.stderr.isatty()
            done = 100 * share_done(progress, settings)
            size = shutil.get_terminal_size()  # never 0, for which tqdm shows nothing
            shape: dict[str, Any] = {"bar_format": BAR, "ncols": size.columns, "nrows": size.lines}
            bar: tqdm[Any] = tqdm(total=100, initial=done, disable=not on_terminal, **shape)
            stack.enter_context(bar)
            stopped, self.clock = False, time.monotonic()
            while share_done(self.progress, settings) < 1 and not stopped:
                stopped = self._step(stop)
                self._show(bar, progress_bar and not on_terminal)
                if self.window and (
                    self.progress.step % settings.log_steps == 0
                    or self.progress.minutes - self.window_minutes > NOTE_SECONDS / 60
                ):
                    self._note()
                if self.progress.minutes - self.last_validation >= settings.validate_minutes:
                    self._validate()
                if self.progress.minutes - self.last_save >= settings.checkpoint_minutes:
                    self._save()
            if self.progress.step > first:
                if self.window:
                    self._note()
                if self.progress.minutes > self.last_save:
                    self._save()
                if not stopped and self.progress.minutes > self.last_validation:
                    self._validate()
        stop.listening = False

    def _step(self, stop: StopRequest) -> bool:
        """One step, or back to the last checkpoint; returns whether any process is to stop.

        The time is the first process's.
        """
        progress, main = self.progress, self.processes.is_main
        share = share_done(progress, self.config.run)
        lr = progress.lr_factor * learning_rate(self.config.optim, progress.step, share)

        def notes() -> tuple[float, float]:
            now = time.monotonic()
            elapsed, self.clock = now - self.clock, now
            return elapsed if main else 0.0, float(stop.received)

        measured = self.learner.step(lr, notes)
        seconds, stops = measured.noted
        if not measured.finite:
            self._go_back()
        else:
            progress.step += 1
            progress.minutes += seconds / 60
            update_average(self.trained.average, self.trained.model, progress.step)
            self.window.append(measured)
            if progress.step > self.failed_at + self.config.run.log_steps:
                self.setbacks = 0
        return stops > 0

    def _show(self, bar: tqdm[Any], lines: bool) -> None:
        """Progress in the bar, or as a line of text now and then, from the first step on."""
        if not self.window:
            return
        share, now = share_done(self.progress, self.config.run), time.monotonic()
        seconds = 60 * (self.progress.minutes - self.window_minutes) / len(self.window)
        text = (
            f"step {self.progress.step}, loss {self.window[-1].loss:.4f}, "
            f"{number(1 / max(seconds, 1e-9))} steps/s"
        )
        bar.set_postfix_str(text, refresh=False)
        bar.update(100 * share - bar.n)
        if not self.last_line:
            bar.refresh()
        if not self.last_line or (lines and now - self.last_line > LINE_SECONDS):
            self.last_line = now
            left = self.progress.minutes * (1 - share) / max(share, 1e-9)
            if lines:
                log.info("%.1f%%, %s, %.1f minutes left", 100 * share, text, left)

    def _note(self) -> None:
        """Note the means since the last time."""
        window, minutes = self.window, self.progress.minutes - self.window_minutes
        self.window, self.window_minutes = [], self.progress.minutes
        if self.logbook is None:
            return
        seconds = max(60 * minutes / len(window), 1e-9)
        values = {
            "loss": fmean(step.loss for step in window),
            "gradient_norm": fmean(step.gradient_norm for step in window),
            "lr": self.trained.optimizer.param_groups[0]["lr"],
            "audio_seconds_per_second": self.learner.audio_seconds / seconds,
            "mfu": self.learner.seconds_at_best / seconds,
        }
        if self.trained.discriminator_optimizer is not None:
            values["discriminator_loss"] = fmean(step.discriminator_loss for step in window)
        self.logbook.add_training(values)

    def _close(self) -> None:
        if self.logbook is not None:  # perhaps another one than at the start
            self.logbook.close()

    def _save(self) -> None:
        """A checkpoint; InputError, with the last one intact, if it cannot be written."""
        self.last_save = self.progress.minutes
        if self.processes.is_main:
            try:
                save_state(self.folder, self.progress, self.trained, self.config.run.keep)
            except InputError as error:
                intact = [path.name for path in saved_states(self.folder)[-1:]]
                last = f"{intact[0]} is the last checkpoint" if intact else "there is no checkpoint"
                raise InputError(f"{error} Training has stopped; {last}.") from None

    def _validate(self) -> None:
        """Judge the averaged weights, and keep them if they are the best so far."""
        self.last_validation = self.progress.minutes
        if self.logbook is None:
            return
        model, writer = self.learner.averaged_model, self.logbook.writer
        with self.logbook.written():
            clips, step = self.learner.validation, self.progress.step
            values = validate(model, self.config.loss, clips, writer, step)
        self.logbook.add_rows(values)
        if self.progress.takes(values):
            save_checkpoint(model, self.folder / "best")
            self.logbook.add_rows({"best": self.progress.best or 0.0})
            self._save()  # the checkpoint knows what is in the folder
        self.clock = time.monotonic()

    def _go_back(self) -> None:
        """Restore the last checkpoint and halve the learning rate; InputError if in vain."""
        failed = self.progress.step + 1
        self.setbacks, self.failed_at = self.setbacks + 1, failed
        if self.setbacks > SETBACKS:
            raise InputError(
                f"The loss or its gradient is not finite at step {failed}, though the learning "
                f"rate was halved {SETBACKS} times; lower optim.lr, or look at the data. "
                f"The last checkpoint in {self.folder} is from before."
            )
        found, _ = load_state(self.folder, self.trained)
        self.processes.wait()  # until all have read it
        if found is None:
            raise InputError(f"The checkpoints have gone from {self.folder}; training has stopped.")
        self.progress = found
        self.progress.lr_factor /= 2
        self.learner.go_to(self.progress.step)
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
