"""How far a run is: lines while it goes on, and tables of what failed and of what it took."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Any

from diffwave.base.files import atomic_path, json_text
from diffwave.base.text import csv_cell

FAILURES, SUMMARY = "failures.csv", "summary.json"


class Report:
    """Counts what workers report."""

    def __init__(self, folder: Path, total: int, already: int, workers: int, every: float) -> None:
        """
        Args:
            folder: for the tables.
            total: jobs of the run.
            already: of them, done by earlier runs.
            workers: that work at a time.
            every: seconds between lines.
        """
        self.folder, self.total, self.already = folder, total, already
        self.workers, self.every = workers, every
        self.reported: set[str] = set()
        self.failures: dict[str, tuple[str, str]] = {}
        self.speech = self.work = 0.0
        self.start = self.last = time.monotonic()

    @property
    def done(self) -> int:
        """Jobs of this run that have been spoken."""
        return len(self.reported) - len(self.failures)

    def add(self, batch: dict[str, Any]) -> None:
        """Note what became of jobs; each counts once, however often it was tried."""
        columns = (batch[name] for name in ("id", "mel", "speech", "work", "reason"))
        for id, mel, speech, work, reason in zip(*columns, strict=True):
            self.work += float(work)
            if id in self.reported:
                continue
            self.reported.add(str(id))
            self.speech += float(speech)
            if reason:
                self.failures[str(id)] = (str(mel), str(reason))
        if time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)
            self.write()

    def line(self) -> str:
        """Progress, throughput and time left."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        left = self.total - self.already - len(self.reported)
        rate = len(self.reported) / seconds
        words = [
            f"{self.already + self.done:,} of {self.total:,} utterances",
            f"{self.speech / 3600:.2f} h of speech, {self.speech / seconds:.1f} times real time",
            f"{len(self.failures):,} failed",
        ]
        if left and rate:
            words.append(f"{duration(left / rate)} left")
        return "; ".join(words)

    def write(self) -> None:
        """Store both tables, each whole or not at all."""
        seconds = time.monotonic() - self.start
        with atomic_path(self.folder / FAILURES) as path, path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("id", "mel", "reason"))
            for id, (mel, reason) in sorted(self.failures.items()):
                rows.writerow(map(csv_cell, (id, mel, reason)))
        summary = {
            "utterances": self.total,
            "spoken": self.already + self.done,
            "spoken_by_this_run": self.done,
            "failed": len(self.failures),
            "speech_seconds": round(self.speech, 3),
            "seconds": round(seconds, 3),
            "work_seconds": round(self.work, 3),
            "workers": self.workers,
            "rtf_of_a_worker": round(self.work / self.speech, 5) if self.speech else None,
        }
        with atomic_path(self.folder / SUMMARY) as path:
            path.write_text(json_text(summary))


def duration(seconds: float) -> str:
    """Seconds as a person says them: 40 s, 5 min 12 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
