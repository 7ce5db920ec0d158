"""Several processes: the same gradients as one, and nothing lost when one of them is."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE, until
from small_run import Configure, metrics, start, state, steps_noted

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path
from diffwave.train.loop import train
from diffwave.train.processes import Processes, stop_request
from diffwave.train.state import saved_states

EVERY_STEP: dict[str, object] = {
    "run.steps": 3,
    "run.keep": 9,
    "run.log_steps": 1,
    "run.checkpoint_minutes": 0,
    "optim.batch_size": 4,
    "loss.unrolled": 0.3,
    "data.validation": "[none*]",
}


def assert_nearly_same(one: Path, other: Path) -> None:
    """Gradients of the first step (a tenth of them is AdamW's first moment), then all weights."""
    left, right = (state(folder, 1)["optimizer"]["state"] for folder in (one, other))
    assert left.keys() == right.keys()
    for key, values in left.items():
        assert bool(values["exp_avg"].any())
        scale = float(values["exp_avg"].abs().max())
        torch.testing.assert_close(
            values["exp_avg"], right[key]["exp_avg"], rtol=1e-3, atol=1e-4 * scale
        )
    for name, tensor in state(one, 3)["module"].items():
        torch.testing.assert_close(tensor, state(other, 3)["module"][name], rtol=1e-3, atol=2e-5)
    for name in ("loss", "gradient_norm"):
        assert metrics(one, name) == pytest.approx(metrics(other, name), rel=1e-4)
    assert metrics(one, "lr") == metrics(other, "lr")


@pytest.mark.slow
@pytest.mark.parametrize("losses", [{}, {"loss.denoising": 0, "loss.unrolled": 0}])
def test_two_processes_and_parts_learn_as_one_does_from_the_whole_batch(
    clips: Path,
    configure: Configure,
    tmp_path: Path,
    tiny_checkpoint: Path,
    losses: dict[str, object],
) -> None:
    """From weights of which none is zero, that the first process alone reads.

    Where the enhancer alone is trained no process waits for gradients of the network.
    """
    settings = EVERY_STEP | {"run.init": tiny_checkpoint} | losses
    changes = {key.replace(".", "__"): value for key, value in settings.items()}
    train(configure("one", **changes), progress_bar=False)
    train(configure("parts", optim__accumulate=4, **changes), progress_bar=False)
    assert_nearly_same(tmp_path / "one", tmp_path / "parts")
    process = start(clips, tmp_path / "two", settings | {"optim.accumulate": 2}, processes=2)
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out.count("exported") == err.count("hours to train on") == 1
    assert_nearly_same(tmp_path / "one", tmp_path / "two")


def children_of(process: object) -> dict[int, psutil.Process]:
    """{rank: process} of what torchrun has started."""
    found = psutil.Process(process.pid).children()  # type: ignore[attr-defined]
    return {int(child.environ()["RANK"]): child for child in found if "RANK" in child.environ()}


@pytest.mark.slow
def test_the_death_of_one_stops_all_and_the_run_goes_on(
    clips: Path, tmp_path: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    changes: dict[str, object] = {"run.log_steps": 1, "run.checkpoint_minutes": 0}
    process = start(clips, folder, changes, processes=2)
    try:
        until(lambda: len(saved_states(folder)) > 2, process)
        os.kill(children_of(process)[1].pid, signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "diffwave: Another process of this run has ended" in err
    step = int(saved_states(folder)[-1].stem.split("-")[1])
    caplog.set_level(logging.INFO)
    train(configure(run__steps=step + 2, run__log_steps=1), progress_bar=False)
    assert f"resuming {folder} at step {step}" in caplog.text
    assert list(steps_noted(folder)) == list(range(1, step + 3))


@pytest.mark.slow
def test_sigterm_to_one_or_all_ends_in_a_checkpoint(clips: Path, tmp_path: Path) -> None:
    """Processes agree: a signal to the second one alone stops the first one too, which saves."""
    folder = tmp_path / "run"
    process = start(clips, folder, {"run.log_steps": 1}, processes=2)
    try:
        until(lambda: steps_noted(folder), process)
        children_of(process)[1].send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "exported" in out
    assert int(saved_states(folder)[-1].stem.split("-")[1]) == max(steps_noted(folder))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_every_row_is_somebodys(world: int, accumulate: int, size: int) -> None:
    processes = Processes("cpu")
    processes.world = world
    rows = []
    for processes.rank in range(world):
        rows += processes.shares(world * accumulate * size, accumulate)
    assert len(rows) == world * accumulate
    assert [row for share in rows for row in share] == list(range(world * accumulate * size))


def test_only_the_loss_of_a_process_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="gloo of another kind"), Processes("cpu"):
        raise RuntimeError("gloo of another kind")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="Another process of this run"), Processes("cpu"):
        raise RuntimeError("[../third_party/gloo/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), Processes("cpu"):
        raise RuntimeError("shape mismatch")


def test_several_processes_need_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("diffwave.train.processes.choose_device", torch.device)
    for name in ("cuda:1", "mps"):
        with pytest.raises(InputError, match=f"cannot train on '{name}'"):
            Processes(name)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_is_noted(
    number: signal.Signals, error: type[BaseException], tmp_path: Path
) -> None:
    """The second time it unwinds whatever is being written; elsewhere it is what it was."""
    before = signal.getsignal(number)
    with stop_request() as stop:
        signal.raise_signal(number)
        assert stop.received
        with pytest.raises(error), atomic_path(tmp_path / "file"):
            signal.raise_signal(number)
        assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) is before
