"""What a worker does: mels to speech, each whole or not at all, and what went wrong with which."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jobs import Results, local_copy

from diffwave.base.errors import InputError, out_of_memory
from diffwave.base.text import printable
from diffwave.mel import check_one
from diffwave.mel.files import read_mel
from diffwave.vocoder import Vocoder

MOST_ATTEMPTS = 5
"""Times that a mel may be begun: one whose worker ends each time would stop the whole run."""


class Attempts:
    """How often each unfinished mel was begun; an actor, which all workers share."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()

    def begin(self, id: str) -> int:
        """Number of this attempt, from 1."""
        self.begun[id] += 1
        return self.begun[id]

    def end(self, id: str) -> None:
        """Forget one that is finished."""
        self.begun.pop(id, None)


class Synthesiser:
    """A voice in a process of its own, called with batches of jobs."""

    def __init__(
        self,
        checkpoint: str,
        device: str,
        threads: int,
        options: dict[str, Any],
        results: Results,
        begin: Callable[[str], int],
        end: Callable[[str], None],
    ) -> None:
        """
        Args:
            checkpoint: bundled name, folder or hub id.
            device: where to compute.
            threads: of PyTorch.
            options: of `Vocoder.stream`.
            results: where the speech goes.
            begin, end: methods of :class:`Attempts`.
        """
        torch.set_num_threads(threads)
        self.vocoder = Vocoder.from_pretrained(checkpoint, device)
        self.options, self.results, self.begin, self.end = options, results, begin, end

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What became of the jobs of a batch: seconds of speech and of work, and a reason or ""."""
        rows = [
            self.speak(str(i), str(mel)) for i, mel in zip(batch["id"], batch["mel"], strict=True)
        ]
        speech, work, reasons = zip(*rows, strict=True)
        return {
            "id": batch["id"],
            "mel": batch["mel"],
            "speech": np.array(speech, np.float64),
            "work": np.array(work, np.float64),
            "reason": np.array(reasons, dtype=object),
        }

    def speak(self, id: str, mel: str) -> tuple[float, float, str]:
        """Seconds of speech, seconds of work, and why there is none, or ""."""
        start = time.perf_counter()
        if self.begin(id) > MOST_ATTEMPTS:
            self.end(id)
            return 0.0, 0.0, f"its worker ended in each of {MOST_ATTEMPTS} attempts"
        try:
            seconds, reason = self._speak(id, mel), ""
        except Exception as error:  # whatever is wrong with one, the others are worth doing
            seconds, reason = 0.0, _sentence(error)
        self.end(id)
        return seconds, time.perf_counter() - start, reason

    def _speak(self, id: str, mel: str) -> float:
        with local_copy(mel) as path:
            found = check_one(read_mel(path), self.vocoder.config.mel, "It")
        wave = self.vocoder.stream(found, **self.options)
        self.results.write(id, wave, self.vocoder.sample_rate)
        return found.shape[-1] * self.vocoder.hop_length / self.vocoder.sample_rate


def _sentence(error: Exception) -> str:
    if out_of_memory(error):
        return "There is not enough memory for it."
    if isinstance(error, InputError):
        return str(error)
    return printable(f"{type(error).__name__}: {error}".partition("\n")[0])[:500]
