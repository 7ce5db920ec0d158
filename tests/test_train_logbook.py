"""What a run notes: rows at once, none after the step it is resumed from, a full disk told."""

from __future__ import annotations

import csv
import errno
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffwave.errors import InputError
from diffwave.train.logbook import Logbook
from diffwave.train.state import Progress


def rows(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.reader(file))


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_values_stand_in_both_records(tmp_path: Path) -> None:
    progress = Progress(7, 1.5)
    book = Logbook(tmp_path, progress)
    book.add_training({"loss": 0.25, "lr": 1e-3})
    # Before the book is closed: a killed run has noted what it had measured.
    assert rows(tmp_path) == [
        ["step", "minutes", "name", "value"],
        ["7", "1.50", "loss", "0.25"],
        ["7", "1.50", "lr", "0.001"],
    ]
    progress.step, progress.minutes = 8, 2.0
    book.add_rows({"pesq": 3.0})
    book.close()
    assert rows(tmp_path)[-1] == ["8", "2.00", "pesq", "3"]
    assert scalars(tmp_path, "train/loss") == [(7, 0.25)]


def test_what_follows_the_resumed_step_is_dropped(tmp_path: Path) -> None:
    progress = Progress(0, 0.0)
    book = Logbook(tmp_path, progress)
    for step in (10, 20, 30):
        progress.step = step
        book.add_training({"loss": float(step)})
    book.close()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("31,0.0")  # cut off by a kill
    book = Logbook(tmp_path, Progress(20, 0.0))
    book.close()
    assert [row[0] for row in rows(tmp_path)[1:]] == ["10", "20"]
    assert [step for step, _ in scalars(tmp_path, "train/loss")] == [10, 20]


def test_a_full_disk_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Logbook(tmp_path, Progress(0, 0.0))

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match="the disk is full") as caught:
        book.add_rows({"loss": 1.0})
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    book.close()


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"1,0.1,loss,\xff\n")
    with pytest.raises(InputError, match=r"metrics\.csv is not a table of text"):
        Logbook(tmp_path, Progress())
    (tmp_path / "metrics.csv").write_text("9" * 5000 + ",0,loss,1\n1,0,loss\n\u0661,0,loss,1\n")
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(InputError, match="Cannot write .*tensorboard"):
        Logbook(tmp_path, Progress())
    (tmp_path / "tensorboard").unlink()
    Logbook(tmp_path, Progress()).close()
    assert len(rows(tmp_path)) == 1
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(InputError, match=r"Cannot read .*metrics\.csv"):
        Logbook(tmp_path, Progress())
