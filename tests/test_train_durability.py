"""A run that is stopped, killed, starved of disk or driven out of its mind, and goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_run import (
    Configure,
    assert_same_state,
    assert_same_weights,
    metrics,
    overrides,
    start,
    state,
    steps_noted,
    wait_for,
)

from diffwave import cli
from diffwave.checkpoint import load_checkpoint
from diffwave.data.crops import Batch, Crops
from diffwave.errors import InputError
from diffwave.train.loop import SETBACKS, train
from diffwave.train.objective import Objective
from diffwave.train.state import LOCK_FILE, read_state, saved_states

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


def test_ctrl_c_stops_with_a_checkpoint(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop_at(2, monkeypatch, signal.SIGINT)
    export = train(configure(run__steps=1000), progress_bar=False)
    assert names(tmp_path / "run") == ["step-00000003.pt"]
    load_checkpoint(export)


@pytest.mark.slow
def test_sigterm_writes_a_checkpoint_and_a_second_start_resumes(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    process = start(clips, folder, {"run.log_steps": 1})
    try:
        wait_for(process, lambda: bool(steps_noted(folder)))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert f"exported {folder / 'export'}" in out
    step = int(saved_states(folder)[-1].stem.split("-")[1])
    assert step == max(steps_noted(folder))
    assert not list(folder.glob(".*")) and not (folder / LOCK_FILE).exists()
    caplog.set_level(logging.INFO)
    conf = str(tmp_path / "conf.yaml")
    settings = overrides(clips, folder, {"run.steps": step + 2, "run.log_steps": 1})
    assert cli.main(["train", conf, *(p for s in settings for p in ("--set", s))]) == 0
    assert f"resuming {folder} at step {step}" in caplog.text
    assert list(steps_noted(folder)) == list(range(1, step + 3))


def test_as_many_checkpoints_as_are_asked_for(configure: Configure, tmp_path: Path) -> None:
    often = {"run__checkpoint_minutes": 0, "data__validation": "[none*]"}
    train(configure(run__steps=4, run__keep=2, **often), progress_bar=False)
    assert names(tmp_path / "run") == ["step-00000003.pt", "step-00000004.pt"]


# --- killed ----------------------------------------------------------------------------------


class Warm:
    """Starts `diffwave train` in a child of a process that has loaded everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm_train.py"))],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, settings: list[str], largest_file: int = 0) -> int:
        """Returns the process id."""
        job = {
            "arguments": [part for s in settings for part in ("--set", s)],
            "stdout": str(self.folder / "stdout"),
            "stderr": str(self.folder / "stderr"),
            "largest_file": largest_file,
        }
        assert self.process.stdin is not None
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> int:
        """Waits for the exit status of what was started."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    started = Warm(tmp_path)
    yield started
    assert started.process.stdin is not None
    started.process.stdin.close()
    started.process.wait(60)


def last_noted(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):  # it is being written
        return max(steps_noted(folder), default=0)
    return 0


@pytest.mark.slow
def test_killed_many_times_a_run_ends_as_if_it_had_not_been(
    clips: Path, configure: Configure, tmp_path: Path, warm: Warm
) -> None:
    """At random moments; each time only what came after the last checkpoint is computed again."""
    steps, minutes = 60, 0.003
    changes: dict[str, object] = {
        "run.steps": steps,
        "run.log_steps": 1,
        "run.checkpoint_minutes": minutes,
        "data.validation": "[none*]",
    }
    folder = tmp_path / "killed"
    settings = overrides(clips, folder, changes)
    chance = random.Random(0)
    kills = 0
    while kills < 8:
        before, more = last_noted(folder), chance.randrange(1, 8)
        process = warm.start(settings)
        until = time.monotonic() + 120
        while last_noted(folder) < min(before + more, steps - 8) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(process, signal.SIGKILL)
        assert warm.answer() == -signal.SIGKILL, warm.errors
        kills += 1
        newest = saved_states(folder)[-1:]
        saved = read_state(newest[0])["minutes"] if newest else 0.0
        with (folder / "metrics.csv").open() as file:
            noted = [line.split(",") for line in file if ",loss," in line and line.endswith("\n")]
        # Any but the last step after the checkpoint came before another one was due.
        late = [float(row[1]) for row in noted[:-1] if float(row[1]) > saved + minutes + 0.005]
        assert not late, (saved, late)
    (folder / LEFTOVER).touch()
    warm.start(settings)
    assert warm.answer() == 0, warm.errors
    assert f"resuming {folder} at step" in warm.errors
    assert not list(folder.glob(".*"))
    assert list(steps_noted(folder)) == list(range(1, steps + 1))
    config = configure("whole", run__steps=steps, run__log_steps=1, data__validation="[none*]")
    train(config, progress_bar=False)
    assert_same_state(tmp_path / "whole", folder, steps)
    assert metrics(tmp_path / "whole", "loss") == metrics(folder, "loss")


def test_what_was_noted_after_the_last_checkpoint_is_dropped(
    configure: Configure, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(configure(run__steps=3, run__log_steps=1), progress_bar=False)
    with (folder / "metrics.csv").open("a") as file:
        file.write("4,0.10,loss,777\n5,0.1")
    train(configure(run__steps=5, run__log_steps=1), progress_bar=False)
    loss = metrics(folder, "loss")
    assert list(loss) == [1, 2, 3, 4, 5]
    assert 777 not in loss.values()


def test_leftovers_are_removed(configure: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / ".fedcba9876543210.old" / "deep").mkdir(parents=True)
    (folder / LEFTOVER).write_bytes(b"half")
    (folder / ".mine").touch()
    train(configure(run__steps=1), progress_bar=False)
    assert [path.name for path in folder.glob(".*")] == [".mine"]


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
    with pytest.raises(InputError, match=r"None of the 2 checkpoints .* can be read, .* afresh"):
        train(configure(run__steps=90), progress_bar=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    for path in saved_states(folder):
        path.unlink()
    with pytest.raises(InputError, match=r"holds what a run noted, but none of its checkpoints"):
        train(configure(run__steps=90), progress_bar=False)


class SmallDisk:
    """`torch.save` on a disk that has room for some states, not counting a damaged one."""

    def __init__(self, folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.room, self.save = folder, room, torch.save
        monkeypatch.setattr(torch, "save", self)

    def __call__(self, state: dict, file: object) -> None:  # type: ignore[type-arg]
        if len(saved_states(self.folder)) >= self.room:
            file.write(b"some of it")  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "No space left on device")
        self.save(state, file)


def test_on_a_full_disk_old_states_make_room(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    SmallDisk(tmp_path / "run", 2, monkeypatch)
    train(configure(run__steps=4, run__checkpoint_minutes=0), progress_bar=False)
    assert names(tmp_path / "run") == ["step-00000003.pt", "step-00000004.pt"]


def test_a_full_disk_leaves_the_last_sound_checkpoint(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(configure(run__steps=2), progress_bar=False)
    (folder / BEGINNING).unlink()
    with monkeypatch.context() as patch:
        SmallDisk(folder, 1, patch)
        told = (
            r"the disk is full\. Training has stopped; step-00000002\.pt is the last checkpoint\.$"
        )
        with pytest.raises(InputError, match=told):
            train(configure(run__steps=9, run__checkpoint_minutes=0), progress_bar=False)
    assert names(folder) == ["step-00000002.pt"]
    assert read_state(folder / "step-00000002.pt")["step"] == 2
    assert not list(folder.glob(".*"))
    train(configure(run__steps=4), progress_bar=False)  # once there is room


@pytest.mark.slow
def test_a_file_that_grows_too_large_is_told_in_one_sentence(
    clips: Path, configure: Configure, tmp_path: Path, warm: Warm
) -> None:
    """A limit on the size of files stands in for the full disk, through a real process."""
    folder = tmp_path / "run"
    train(configure(run__steps=2), progress_bar=False)
    before = state(folder, 2)
    settings = overrides(clips, folder, {"run.steps": 9, "run.checkpoint_minutes": 0})
    warm.start(settings, largest_file=200_000)
    assert warm.answer() == 2
    last = warm.errors.strip().splitlines()[-1]
    assert last.startswith(f"diffwave: Cannot write {folder}/step-00000003.pt: ")
    assert last.endswith("Training has stopped; step-00000002.pt is the last checkpoint.")
    assert "Traceback" not in warm.errors
    assert names(folder) == ["step-00000002.pt"]
    assert not list(folder.glob(".*"))
    assert torch.equal(state(folder, 2)["ema"][0], before["ema"][0])


# --- a loss that is not finite ---------------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, step: int, times: int) -> None:
    """The noise of a step is not a number, the first times that it is drawn."""
    batch, left = Crops.batch, [times]

    def spoilt(self: Crops, n: int, size: int, rows: object = None) -> Batch:
        made = batch(self, n, size, rows)  # type: ignore[arg-type]
        if n == step and left[0]:
            left[0] -= 1
            made.white.fill_(float("nan"))
        return made

    monkeypatch.setattr(Crops, "batch", spoilt)


def test_after_a_bad_loss_training_goes_back_at_half_the_rate(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Here to its beginning: it ends as the run that had half the learning rate from the start."""
    spoil(monkeypatch, 3, 1)
    train(configure(run__steps=6, run__log_steps=1, optim__lr=4e-3), progress_bar=False)
    assert "not finite at step 4; going back to step 0 with the learning rate times 0.5" in (
        caplog.text
    )
    folder = tmp_path / "run"
    assert state(folder, 6)["lr_factor"] == 0.5
    assert metrics(folder, "lr_factor") == {0: 0.5}
    assert list(metrics(folder, "loss")) == [1, 2, 3, 4, 5, 6]
    train(configure("half", run__steps=6, optim__lr=2e-3), progress_bar=False)
    assert_same_state(folder, tmp_path / "half", 6)


def test_after_a_bad_loss_training_goes_back_to_its_checkpoint(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spoil(monkeypatch, 3, 2)
    folder = tmp_path / "run"
    config = configure(run__steps=5, run__log_steps=1, run__checkpoint_minutes=0)
    train(config, progress_bar=False)
    assert metrics(folder, "lr_factor") == {3: 0.25}
    rates = metrics(folder, "lr")
    assert rates[4] < 0.3 * rates[3]
    # The factor is that of the state which was gone back to, too: a crash would not lose it.
    assert state(folder, 3)["lr_factor"] == 0.25


def test_a_loss_that_stays_bad_ends_the_run(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spoil(monkeypatch, 3, 10**6)
    told = rf"not finite at step 4, though .* halved {SETBACKS} times; lower optim\.lr"
    with pytest.raises(InputError, match=told):
        train(configure(run__checkpoint_minutes=0), progress_bar=False)
    newest = read_state(saved_states(tmp_path / "run")[-1])
    assert (newest["step"], newest["lr_factor"]) == (3, 0.5**SETBACKS)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in newest["module"].values())
