"""A run that is stopped, killed, starved of disk or given bad numbers, and goes on."""

from __future__ import annotations

import errno
import random
import shutil
import signal
import time
from pathlib import Path
from typing import IO

import pytest
import torch
from patience import PATIENCE, until
from small_run import (
    Configure,
    assert_same_state,
    assert_same_weights,
    metrics,
    start,
    steps_noted,
)

from diffwave.base.errors import InputError
from diffwave.data.crops import Batch, Crops
from diffwave.train import loop
from diffwave.train.loop import train
from diffwave.train.objective import Objective
from diffwave.train.state import read_state, saved_states

LEFTOVER = ".0123456789abcdef.tmp.pt"


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """A signal arrives while the `step`-th loss (from 0) is computed."""
    forward, calls = Objective.forward, iter(range(10**6))

    def noisy(self: Objective, batch: Batch) -> torch.Tensor:
        if next(calls) == step:
            monkeypatch.setattr(Objective, "forward", forward)
            signal.raise_signal(number)
        return forward(self, batch)

    monkeypatch.setattr(Objective, "forward", noisy)


BEGINNING = "step-00000000.pt"


def names(folder: Path) -> list[str]:
    """Of the states but the one that a run begins with."""
    return [path.name for path in saved_states(folder) if path.name != BEGINNING]


# --- stopping and going on -------------------------------------------------------------------


def test_resumed_is_as_uninterrupted(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten steps, a signal, and ten more: every weight and every number as in twenty at once."""
    changes = {"run__steps": 20, "loss__unrolled": 0.1, "run__validate_minutes": 1e9}
    train(configure("whole", **changes), progress_bar=False)
    # One more loss than steps: its operations are counted once, after five steps.
    stop_at(10, monkeypatch)
    train(configure("parts", **changes), progress_bar=False)
    assert names(tmp_path / "parts") == ["step-00000010.pt"]
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(configure("parts", **changes), progress_bar=False)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert_same_state(tmp_path / "whole", tmp_path / "parts", 20)
    assert_same_weights(tmp_path / "whole" / "export", tmp_path / "parts" / "export")
    for name in ("loss", "lr", "gradient_norm", "loss_validation"):
        assert metrics(tmp_path / "whole", name) == metrics(tmp_path / "parts", name)


# --- killed ----------------------------------------------------------------------------------


def last_noted(folder: Path) -> int:
    return max(steps_noted(folder), default=0)


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_as_if_it_had_not_been(
    clips: Path, configure: Configure, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    """At random moments; each time only what came after the last checkpoint is computed again."""
    steps, minutes = 60, 0.003
    changes: dict[str, object] = {
        "run.steps": steps,
        "run.log_steps": 1,
        "run.checkpoint_minutes": minutes,
        "run.init": tiny_checkpoint,
        "data.validation": "[none*]",
    }
    folder, chance = tmp_path / "killed", random.Random(0)
    for _ in range(3):
        goal = min(last_noted(folder) + chance.randrange(1, 8), steps - 8)
        process = start(clips, folder, changes)
        try:
            until(lambda goal=goal: last_noted(folder) >= goal, process)
            time.sleep(chance.uniform(0, 0.1))
        finally:
            process.kill()
            process.communicate()
        newest = saved_states(folder)[-1:]
        saved = read_state(newest[0])["minutes"] if newest else 0.0
        with (folder / "metrics.csv").open() as file:
            noted = [line.split(",") for line in file if ",loss," in line and line.endswith("\n")]
        # Any but the last step after the checkpoint came before another one was due.
        late = [float(row[1]) for row in noted[:-1] if float(row[1]) > saved + minutes + 0.005]
        assert not late, (saved, late)
    for name in (LEFTOVER, ".mine"):
        (folder / name).touch()
    process = start(clips, folder, changes)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert f"resuming {folder} at step" in errors
    assert [path.name for path in folder.glob(".*")] == [".mine"]
    assert list(steps_noted(folder)) == list(range(1, steps + 1))
    settings = {key.replace(".", "__"): value for key, value in changes.items()}
    train(configure("whole", **settings), progress_bar=False)
    assert_same_state(tmp_path / "whole", folder, steps)
    assert metrics(tmp_path / "whole", "loss") == metrics(folder, "loss")


# --- damaged, or no room ---------------------------------------------------------------------


def test_damaged_states_alone_are_refused(
    finished: Path, configure: Configure, tmp_path: Path
) -> None:
    """A run of days is not replaced because its states cannot be read today."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for path in saved_states(folder):
        path.write_bytes(b"torn")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"None of the 2 checkpoints .* can be read; .* afresh"):
        train(configure(run__steps=90), progress_bar=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    for path in saved_states(folder):
        path.unlink()
    with pytest.raises(InputError, match=r"holds what a run noted, but none of its checkpoints"):
        train(configure(run__steps=90), progress_bar=False)


def test_on_a_full_disk_old_states_make_room(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The disk has room for two states."""
    save = torch.save

    def save_on_small_disk(state: dict[str, object], file: IO[bytes]) -> None:
        if len(saved_states(tmp_path / "run")) >= 2:
            file.write(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", save_on_small_disk)
    train(configure(run__steps=4, run__checkpoint_minutes=0), progress_bar=False)
    assert names(tmp_path / "run") == ["step-00000003.pt", "step-00000004.pt"]


# --- a loss that is not finite ---------------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """The noise of some steps, counted from 0, is not a number."""
    batch = Crops.batch

    def spoilt(self: Crops, step: int, size: int, rows: object = None) -> Batch:
        made = batch(self, step, size, rows)  # type: ignore[arg-type]
        if step in steps:
            made.white.fill_(float("nan"))
        return made

    monkeypatch.setattr(Crops, "batch", spoilt)


def test_a_step_whose_loss_is_not_finite_is_left_out(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What comes after is trained on."""
    spoil(monkeypatch, 3)
    train(configure(run__steps=6, run__log_steps=1), progress_bar=False)
    assert "The loss or its gradient is not finite at step 4; it is left out." in caplog.text
    assert list(metrics(tmp_path / "run", "loss")) == [1, 2, 3, 5, 6]


def test_a_loss_that_stays_bad_ends_the_run(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loop, "LEFT_OUT", 3)
    spoil(monkeypatch, 1, 3, 4, 5, 6)
    with pytest.raises(InputError, match=r"not finite at step 6, nor at the 2 before; lower optim"):
        train(configure(run__checkpoint_minutes=0), progress_bar=False)
    newest = read_state(saved_states(tmp_path / "run")[-1])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in newest["module"].values())
