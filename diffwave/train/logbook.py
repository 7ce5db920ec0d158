"""What a run notes: `metrics.csv`, a row per measured value, appended at once; TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from diffwave.errors import InputError
from diffwave.files import atomic_path, write_error
from diffwave.migrate import RENAMED_METRICS
from diffwave.text import notice
from diffwave.train.state import Progress

METRICS_FILE = "metrics.csv"
HEADER = ["step", "minutes", "name", "value"]


class Logbook:
    """Both records of a run folder; `writer` is TensorBoard's."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        """Open both; what a killed run noted after the step it resumes from is dropped.

        InputError if metrics.csv is not a table of this package, or either cannot be written.
        """
        self.progress, self.path = progress, folder / METRICS_FILE
        kept = [row for row in read_rows(self.path) if int(row[0]) <= progress.step]
        with atomic_path(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *kept])
        with self.written():
            self.writer = SummaryWriter(folder / "tensorboard", purge_step=progress.step + 1)

    def add(self, values: dict[str, float], group: str = "") -> None:
        """Append {name: value} to metrics.csv, and below `group` to TensorBoard if there is one."""
        with self.written():
            with self.path.open("a", newline="", encoding="utf-8") as file:
                for name, value in values.items():
                    minutes = f"{self.progress.minutes:.2f}"
                    csv.writer(file).writerow((self.progress.step, minutes, name, f"{value:.6g}"))
            for name, value in values.items() if group else ():
                self.writer.add_scalar(f"{group}/{name}", value, self.progress.step)

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Turn a failure to write into an InputError.

        TensorBoard's writer works in a thread and raises, at some later call, what happened there.
        """
        try:
            yield
        except OSError as error:
            raise write_error(error.filename or self.path.parent, error) from None

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        with self.written():
            self.writer.close()


def read_rows(path: Path) -> list[list[str]]:
    """Whole rows (step, minutes, name, value) of a metrics.csv; none if there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} is not a table of text; move it out of the way.") from None
    # The last row of a killed run may be cut off.
    rows = [row for row in rows if len(row) == 4 and re.fullmatch("[0-9]{1,9}", row[0])]
    for old in sorted({row[2] for row in rows} & RENAMED_METRICS.keys()):
        notice(f"In {path} {old} is called {RENAMED_METRICS[old]} now.")
    return [[a, b, RENAMED_METRICS.get(name, name), value] for a, b, name, value in rows]
