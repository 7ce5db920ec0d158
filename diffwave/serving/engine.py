"""Which utterance is generated next: worker threads, one queue, earliest deadline first.

A stream's next window is due when its listener has heard what was generated before it; a whole
utterance, a moment after it came. What is due first comes first (Liu and Layland 1973), so a
listener who starts need not wait until others are hours ahead, and whoever waits longest comes
first in the end. A batch is what waits and has the same shape as what is due first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.serving.batch import Abandoned, Utterance, generate_windows

logger = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds after its arrival at which a whole utterance is due
AHEAD = 2  # windows of a stream that may wait for their reader; more are not generated
FORGETTING = 0.9  # of the mean speed, with each batch


@dataclass(eq=False)
class Job:
    """An utterance, and whom its samples go to."""

    utterance: Utterance
    deliver: Callable[[Tensor | Exception | None], object]
    """Called from a worker's thread with the samples of each window; at the end with None, or with
    the error that ended it. Not called any more once cancelled."""
    seconds_per_sample: float
    stream: bool = False  # whether somebody listens while it is generated
    unread: int = 0  # windows of a stream that wait for their reader
    started: bool = False  # whether the first window has been delivered
    queued: bool = False  # whether it waits for a worker, or one has it
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.due = time.monotonic() + (0.0 if self.stream else PATIENCE)

    def delivered(self, wave: Tensor) -> None:
        """Note when the window after this one is due."""
        if self.stream:
            now = time.monotonic()
            # From now if these are the first samples, or if they came too late.
            start = max(self.due, now) if self.started else now
            self.started, self.due = True, start + len(wave) * self.seconds_per_sample


class Engine:
    """Generates the jobs given to it, in threads of its own; all methods are thread-safe."""

    def __init__(
        self,
        model: DiffusionModel,
        workers: int = 1,
        max_batch: int = 1,
        on_batch: Callable[[int, int, float], object] = lambda size, frames, seconds: None,
    ) -> None:
        """A model on its device, and `workers` threads, at most `max_batch` windows together.

        on_batch: called after every batch with its number of windows, of frames kept, and the
        seconds it took.
        """
        self.model, self.max_batch, self.on_batch = model, max_batch, on_batch
        self.frames_per_second = 0.0  # of one worker, mean of the last batches; 0 before the first
        self._ready = threading.Condition()
        self._queue: list[Job] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"generate-{i}", daemon=True)
            for i in range(workers)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the threads finish what they are at, and wait for them; nothing else is begun."""
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def alive(self) -> bool:
        """Whether every thread is there."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, job: Job) -> None:
        """Have a job generated."""
        with self._ready:
            self._push(job)

    def cancel(self, job: Job) -> None:
        """Generate no further window of a job, and deliver nothing more."""
        with self._ready:
            job.cancelled = True

    def read(self, job: Job) -> None:
        """Note that one window of a stream has been taken, so that another may be generated."""
        with self._ready:
            job.unread -= 1
            self._push(job)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        with self._ready:
            return len(self._drop_cancelled())

    def seconds_to_wait(self) -> float:
        """How long what waits will keep the workers busy, by the speed so far."""
        with self._ready:
            frames = sum(job.utterance.frames_left for job in self._drop_cancelled())
        return frames / (self.frames_per_second * len(self._threads) or frames or 1)

    def _push(self, job: Job) -> None:
        """Queue a job that has a window left and room for it."""
        idle = not (job.queued or job.cancelled or self._stopping)
        if idle and job.utterance.window is not None and job.unread < AHEAD:
            job.queued = True
            self._queue.append(job)
            self._ready.notify()

    def _next_batch(self) -> list[Job]:
        """What to generate now; waits for it. Empty when stopping."""
        with self._ready:
            self._ready.wait_for(lambda: self._stopping or self._drop_cancelled())
            if self._stopping:
                return []
            waiting = sorted(self._queue, key=lambda job: job.due)  # of equals, who came first
            shape = waiting[0].utterance.shape
            batch = [job for job in waiting if job.utterance.shape == shape][: self.max_batch]
            self._queue = [job for job in self._queue if job not in batch]
            return batch

    def _drop_cancelled(self) -> list[Job]:
        self._queue = [job for job in self._queue if not job.cancelled]
        return self._queue

    def _work(self) -> None:
        while batch := self._next_batch():
            self._generate(batch)

    def _generate(self, batch: list[Job]) -> None:
        start = time.monotonic()
        utterances = [job.utterance for job in batch]
        try:
            waves = generate_windows(
                self.model, utterances, lambda: not all(job.cancelled for job in batch)
            )
        except Abandoned:
            return
        except Exception as error:
            if len(batch) == 1:
                return self._finish(batch[0], error)
            for job in batch:  # it may be the fault of one, or of their number
                self._generate([job])
            return
        seconds = time.monotonic() - start
        frames = sum(map(len, waves)) // self.model.space.hop_length
        speed = frames / max(seconds, 1e-9)
        old = self.frames_per_second
        self.frames_per_second = FORGETTING * old + (1 - FORGETTING) * speed if old else speed
        self.on_batch(len(batch), frames, seconds)
        for job, wave in zip(batch, waves, strict=True):
            job.delivered(wave)
            with self._ready:
                job.unread += job.stream
            self._deliver(job, wave)
            if job.utterance.window is None:
                self._finish(job, None)
            with self._ready:  # only now: another worker would overtake with the next window
                job.queued = False
                self._push(job)

    def _finish(self, job: Job, error: Exception | None) -> None:
        if error is not None and not isinstance(error, InputError):
            logger.error("An utterance could not be generated.", exc_info=error)
        self._deliver(job, error)
        job.cancelled = True

    def _deliver(self, job: Job, item: Tensor | Exception | None) -> None:
        if not job.cancelled:
            job.deliver(item)
