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

from diffwave.base.errors import InputError
from diffwave.base.files import make_folder, remove_leftovers
from diffwave.base.text import number
from diffwave.checkpoint import save_checkpoint
from diffwave.train.config import RunConfig, TrainConfig
from diffwave.train.learner import Learner, Measured
from diffwave.train.logbook import METRICS_FILE, Logbook, read_rows
from diffwave.train.processes import Processes, StopRequest, stop_request
from diffwave.train.settings import SETTINGS_FILE, save_settings
from diffwave.train.state import Progress, load_state, only_trainer, save_state, saved_states
from diffwave.train.validation import spread, validate

log = logging.getLogger(__name__)

LEFT_OUT = 50
"""Steps in a row whose loss is not finite before training gives up."""
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
        if processes.is_main:
            stack.enter_context(only_trainer(folder))
            remove_leftovers(folder)
        else:
            logging.getLogger("diffwave").setLevel(logging.ERROR)
        processes.wait()
        shown = progress_bar and processes.is_main
        learner = Learner(config, processes, shown)
        run = _Run(config, learner, folder)
        try:
            run.train(shown)
        finally:
            run.close()
        if processes.is_main:
            save_checkpoint(learner.trained.average, folder / "export")
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
    make_folder(folder)
    return folder


class _Run:
    """The steps of a run, and what is done between them."""

    def __init__(self, config: TrainConfig, learner: Learner, folder: Path) -> None:
        """Resume the run in the folder, or begin it."""
        self.config, self.learner, self.folder = config, learner, folder
        self.processes, self.trained = learner.processes, learner.trained
        found = load_state(folder, self.trained)
        self.progress, self.is_new = found or Progress(), found is None
        if found is not None:
            log.info("resuming %s at step %d", folder, found.step)
        elif any(int(row[0]) > 0 for row in read_rows(folder / METRICS_FILE)):
            raise InputError(
                f"{folder} holds what a run noted, but none of its checkpoints; to start "
                "afresh, set another run.folder or move this one."
            )
        else:
            learner.begin()
        learner.go_to(self.progress.step)
        if not (folder / "best").is_dir():
            self.progress.best = None
        self.logbook: Logbook | None = None
        if self.processes.is_main:
            save_settings(config, folder / SETTINGS_FILE)
            self.logbook = Logbook(folder, self.progress)
        self.last_save = self.last_validation = self.last_note = self.progress.minutes
        self.window: list[Measured] = []
        self.left_out = 0
        self.clock, self.last_line = time.monotonic(), 0.0

    def train(self, shown: bool) -> None:
        """All the steps that are left; a new run is validated and saved before its first one."""
        run, progress = self.config.run, self.progress
        first, stopped = progress.step, False
        done, bar_shown = 100 * share_done(progress, run), shown and sys.stderr.isatty()
        size = shutil.get_terminal_size()  # never 0, for which tqdm shows nothing
        shape: dict[str, Any] = {"bar_format": BAR, "ncols": size.columns, "nrows": size.lines}
        bar: tqdm[Any] = tqdm(
            total=100, initial=done, mininterval=0, disable=not bar_shown, **shape
        )
        with stop_request() as stop, bar:
            if self.is_new:
                self._validate()
                self._save()
            self.clock = time.monotonic()
            while share_done(progress, run) < 1 and not stopped:
                stopped = self._step(stop)
                if shown:
                    self._show(bar)
                noted_long_ago = progress.minutes - self.last_note > NOTE_SECONDS / 60
                if progress.step % run.log_steps == 0 or noted_long_ago:
                    self._note()
                if progress.minutes - self.last_validation >= run.validate_minutes:
                    self._validate()
                if progress.minutes - self.last_save >= run.checkpoint_minutes:
                    self._save()
            if progress.step > first:
                self._note()
                if progress.minutes > self.last_save:
                    self._save()
                if not stopped and progress.minutes > self.last_validation:
                    self._validate()

    def close(self) -> None:
        """Write out what is not on the disk yet."""
        if self.logbook is not None:
            self.logbook.close()

    def _step(self, stop: StopRequest) -> bool:
        """One step; returns whether any process is to stop. The time is the first process's."""
        progress = self.progress
        measured = self.learner.step(progress.step, share_done(progress, self.config.run))
        now = time.monotonic()
        elapsed, self.clock = now - self.clock, now
        seconds, stops = self.processes.total([elapsed * self.processes.is_main, stop.received])
        progress.step += 1
        progress.minutes += seconds / 60
        if measured.finite:
            self.window.append(measured)
            self.left_out = 0
            return stops > 0
        self.left_out += 1
        sentence = f"The loss or its gradient is not finite at step {progress.step}"
        if self.left_out >= LEFT_OUT:
            raise InputError(
                f"{sentence}, nor at the {LEFT_OUT - 1} before; lower optim.lr, or look at the "
                f"data. The last checkpoint in {self.folder} may be from before."
            )
        log.warning("%s; it is left out.", sentence)
        return stops > 0

    def _show(self, bar: tqdm[Any]) -> None:
        """Progress in the bar, or as a line of text now and then, from the first step on."""
        if not self.window:
            return
        share, now = share_done(self.progress, self.config.run), time.monotonic()
        seconds = 60 * (self.progress.minutes - self.last_note) / len(self.window)
        text = (
            f"step {self.progress.step}, loss {self.window[-1].loss:.4f}, "
            f"{number(1 / max(seconds, 1e-9))} steps/s"
        )
        bar.set_postfix_str(text, refresh=False)
        bar.update(100 * share - bar.n)
        if bar.disable and (not self.last_line or now - self.last_line > LINE_SECONDS):
            self.last_line = now
            left = self.progress.minutes * (1 - share) / max(share, 1e-9)
            log.info("%.1f%%, %s, %.1f minutes left", 100 * share, text, left)

    def _note(self) -> None:
        """Note the means since the last time."""
        window, minutes = self.window, self.progress.minutes - self.last_note
        self.window, self.last_note = [], self.progress.minutes
        if self.logbook is None or not window:
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
        self.logbook.add(values, "train")

    def _save(self) -> None:
        """A checkpoint; InputError, with the last one intact, if it cannot be written."""
        self.last_save = self.progress.minutes
        if self.processes.is_main:
            save_state(self.folder, self.progress, self.trained, self.config.run.keep)

    def _validate(self) -> None:
        """Judge the averaged weights, and keep them if they are the best so far."""
        self.last_validation = self.progress.minutes
        if self.logbook is None:
            return
        model = self.trained.average
        clips = spread(self.learner.validation, self.config.run.validate_clips)
        with self.logbook.written():
            values = validate(
                model, self.config.loss, clips, self.logbook.writer, self.progress.step
            )
        self.logbook.add(values, "validation")
        if self.progress.takes(values):
            save_checkpoint(model, self.folder / "best")
            self.logbook.add({"best": self.progress.best or 0.0})
            self._save()  # the checkpoint knows what is in the folder
        self.clock = time.monotonic()
