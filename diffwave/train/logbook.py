"""What a run notes: `metrics.csv`, a row per measured value, appended at once; TensorBoard."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from diffwave.files import atomic_path, write_error
from diffwave.train.state import Progress


class Logbook:
    """Both records of a run folder; `writer` is TensorBoard's."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        """Whatever a killed run has noted after the step it is resumed from is dropped."""
        self.progress, self.path = progress, folder / "metrics.csv"
        kept = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                kept = [
                    row
                    for row in csv.reader(file)
                    if len(row) == 4 and row[0].isdecimal() and int(row[0]) <= progress.step
                ]
        with atomic_path(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("step", "minutes", "name", "value"), *kept])
        self.writer = SummaryWriter(folder / "tensorboard", purge_step=progress.step + 1)

    def add_rows(self, values: dict[str, float]) -> None:
        """Append {name: value} to metrics.csv; InputError if the disk is full."""
        with self.written(), self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                minutes = f"{self.progress.minutes:.2f}"
                writer.writerow((self.progress.step, minutes, name, f"{value:.6g}"))

    def add_training(self, values: dict[str, float]) -> None:
        """Add {name: value} to both, under train/ in TensorBoard."""
        self.add_rows(values)
        with self.written():
            for name, value in values.items():
                self.writer.add_scalar(f"train/{name}", value, self.progress.step)

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Within it a failure to write is told as an InputError.

        TensorBoard's writer works in a thread and raises, at some later call, what happened there.
        """
        try:
            yield
        except OSError as error:
            raise write_error(self.path.parent, error) from None

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        with self.written():
            self.writer.close()
