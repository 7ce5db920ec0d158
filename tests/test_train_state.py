"""What a run keeps: averaged weights, states that survive a crash, one trainer, its metrics."""

from __future__ import annotations

import copy
import csv
import dataclasses
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import SoftFileLease
from hypothesis import given, settings
from hypothesis import strategies as st
from small_run import assert_same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import enhancing_config, random_model, spectral_config, waveform_config
from torch import nn

from diffwave.base.errors import InputError
from diffwave.base.schema import stored
from diffwave.model import DiffusionModel, ModelConfig, SamplingConfig
from diffwave.train import state
from diffwave.train.config import OptimConfig
from diffwave.train.logbook import Logbook
from diffwave.train.optimizers import make_optimizer
from diffwave.train.state import (
    LOCK_FILE,
    Progress,
    Trained,
    check_same_model,
    load_state,
    only_trainer,
    read_state,
    save_state,
    saved_states,
    update_average,
)

KEPT = 3


def trained(model: DiffusionModel, half: bool = False) -> Trained:
    """A model about to be trained."""
    scaler = torch.amp.GradScaler("cpu", enabled=half, init_scale=64.0)
    optimizer = make_optimizer(model.learned(), OptimConfig())
    return Trained(model, copy.deepcopy(model), optimizer, scaler)


def parts(seed: int = 0, steps: int = 0, config: ModelConfig | None = None) -> Trained:
    """A small model that was trained for some steps on nothing in particular."""
    model = random_model(config or waveform_config(), seed).requires_grad_(True)
    made = trained(model)
    for step in range(steps):
        sum(p.square().sum() for p in model.learned()).backward()  # type: ignore[union-attr]
        made.optimizer.step()
        made.optimizer.zero_grad()
        update_average(made.average, model, 0.9, step + 1)
    return made


def save(folder: Path, step: int, made: Trained) -> Path:
    return save_state(folder, Progress(step, step / 10), made, KEPT)


def held(made: Trained) -> list[object]:
    """All that training changes."""
    return [made.average.state_dict(), made.model.state_dict(), made.optimizer.state_dict()]


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.floats(0, 0.999))
def test_average_follows_its_formula(values: list[float], decay: float) -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 3.0)
    average = copy.deepcopy(module)
    expected = 3.0
    for step, value in enumerate(values, 1):
        nn.init.constant_(module.weight, value)
        update_average(average, module, decay, step)
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * value
    assert float(average.weight.detach()) == pytest.approx(expected, abs=1e-5)


# --- states ----------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [waveform_config(), enhancing_config()])
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, config: ModelConfig) -> None:
    saved, loaded = parts(0, 3, config), parts(1, 0, config)
    assert load_state(tmp_path, loaded) is None  # an empty folder is a beginning
    assert_same(held(loaded), held(parts(1, 0, config)))
    progress = Progress(7, 0.7, 3.1, "pesq")
    assert save_state(tmp_path, progress, saved, KEPT).name == "step-00000007.pt"
    assert load_state(tmp_path, loaded) == progress
    assert_same(held(saved), held(loaded))


def test_old_ones_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "step-best.pt").write_text("mine")
    for step in (5, 99_999_999, 10, 100):
        save(tmp_path, step, parts())
    names = [path.name for path in saved_states(tmp_path)]
    assert names == [f"step-{step:08d}.pt" for step in (10, 100, 99_999_999)]
    assert len(list(tmp_path.iterdir())) == KEPT + 1


def test_damaged_ones_are_skipped_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One wrong bit in the middle of the weights, too, which PyTorch loads without a word."""
    good, loaded = parts(0, steps=1), parts(1)
    save(tmp_path, 1, good)
    path = save(tmp_path, 2, parts(2, steps=1))
    data = bytearray(path.read_bytes())
    weights = parts(2, steps=1).average.learned()[1].detach().numpy().tobytes()
    data[data.index(weights) + len(weights) // 2] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)
    with pytest.raises(InputError, match=r"step-00000002\.pt is damaged: .* fails its checksum"):
        read_state(path)
    torn = save(tmp_path, 3, parts(3, steps=1))
    torn.write_bytes(torn.read_bytes()[:-1000])
    assert load_state(tmp_path, loaded) == Progress(1, 0.1)
    assert_same(held(good), held(loaded))
    third, second = caplog.messages
    assert third.startswith("step-00000003.pt cannot be read")
    assert second.startswith("step-00000002.pt is damaged")
    assert second.endswith("Trying the one before.")


def test_states_of_earlier_versions_load(tmp_path: Path) -> None:
    """They had neither configuration nor scale, or a name of validation that has changed."""
    saved, loaded = parts(0, steps=2), parts(1)
    path = save(tmp_path, 5, saved)
    content = torch.load(path, weights_only=True)
    torch.save(content | {"best": 2.0, "best_by": "loss_restoration", "lr_factor": 0.5}, path)
    assert load_state(tmp_path, loaded) == Progress(5, 0.5, 2.0, "loss_enhancement")
    for name in ("config", "scaler", "best", "best_by"):
        del content[name]
    torch.save(content, path)
    assert load_state(tmp_path, loaded) == Progress(5, 0.5)
    assert_same(held(saved), held(loaded))


def test_the_loss_scale_of_float16_comes_back(tmp_path: Path) -> None:
    model = random_model(waveform_config()).requires_grad_(True)
    saved, loaded = trained(model, half=True), trained(model, half=True)
    saved.scaler.scale(torch.ones(1))
    saved.scaler.update(16.0)
    save(tmp_path, 1, saved)
    load_state(tmp_path, loaded)
    loaded.scaler.scale(torch.ones(1))
    assert loaded.scaler.get_scale() == 16.0


@settings(max_examples=50)
@given(
    st.lists(st.floats(0, 5), min_size=1),
    st.sampled_from(["pesq", "loss_validation", "loss_enhancement"]),
)
def test_the_best_is_the_best_of_all(values: list[float], name: str) -> None:
    progress, best = Progress(), max if name == "pesq" else min
    taken = [value for value in values if progress.takes({name: value, "mr_stft": 1.0})]
    assert progress.best == taken[-1] == best(values)
    assert progress.best_by == name


def test_pesq_is_preferred_to_the_loss() -> None:
    progress = Progress()
    assert not progress.takes({})
    assert progress.takes({"loss_validation": 0.1})
    assert progress.takes({"loss_validation": 0.5, "pesq": 1.1})
    assert not progress.takes({"loss_validation": 0.01})  # the package is gone
    assert (progress.best, progress.best_by) == (1.1, "pesq")


def test_a_save_that_fails_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = parts(0, steps=1)
    save(tmp_path, 1, saved)
    raised: list[BaseException] = [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")]

    def fail(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise raised.pop(0)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, saved)
    with pytest.raises(InputError) as caught:
        save(tmp_path, 2, saved)
    sentence = "the disk is full. Training has stopped; step-00000001.pt is the last checkpoint."
    assert str(caught.value).endswith(sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, parts())
    other = DiffusionModel(spectral_config())
    with pytest.raises(InputError, match=r"network\.kind = waveform.* mean spectral"):
        load_state(tmp_path, trained(other))
    torch.save([1, 2], tmp_path / "step-00000002.pt")
    with pytest.raises(InputError, match=r"step-00000002\.pt is not a state"):
        load_state(tmp_path, parts())


def test_what_weights_mean_is_compared() -> None:
    ours, replace = spectral_config(), dataclasses.replace
    named = replace(ours, mel=replace(ours.mel, name="mine"), sampling=SamplingConfig(default=9))
    check_same_model(named, ours, "It")
    before = {key: value for key, value in stored(named).items() if key != "enhancer"}
    check_same_model(before, ours, "It")  # of versions that had no enhancer
    louder = replace(ours, mel=replace(ours.mel, gain=2.0))
    wider = replace(ours, network=replace(ours.network, channels=24))
    for theirs, mine, sentence in (
        (louder, ours, r"It has mel\.gain = 2\.0, but these settings mean 1\.0"),
        (wider, ours, r"network\.channels = 24, .* 16"),
        (ours, enhancing_config(), r"It has enhancer"),
        (enhancing_config(), ours, r"enhancer"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_same_model(theirs, mine, "It")


# --- the lock --------------------------------------------------------------------------------


def test_a_folder_has_one_trainer(tmp_path: Path) -> None:
    """A second one is refused by name; the lock of a killed one is taken over."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from diffwave.train.state import only_trainer\n"
        "with only_trainer(Path(sys.argv[1])): print('in', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        name = f"trained in by process {other.pid} on {socket.gethostname()}"
        with pytest.raises(InputError, match=name), only_trainer(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with only_trainer(tmp_path):
        assert f"pid={os.getpid()}" in (tmp_path / LOCK_FILE).read_text()
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.slow
def test_the_lock_of_another_machine_is_taken_over_when_it_shows_no_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LEASE_SECONDS", 2.0)
    with SoftFileLease(tmp_path / LOCK_FILE, lease_duration=2.0):  # alive: its heartbeat is seen
        text = (tmp_path / LOCK_FILE).read_text().replace(socket.gethostname(), "elsewhere")
        (tmp_path / "claim").write_text(text)
    (tmp_path / "claim").rename(tmp_path / LOCK_FILE)
    with only_trainer(tmp_path):
        pass


# --- metrics.csv and TensorBoard -------------------------------------------------------------


def rows(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_values_stand_in_both_records(tmp_path: Path) -> None:
    progress = Progress(7, 1.5)
    book = Logbook(tmp_path, progress)
    book.add({"loss": 0.25, "lr": 1e-3}, "train")
    # Before the book is closed: a killed run has noted what it had measured.
    assert rows(tmp_path) == [
        ["step", "minutes", "name", "value"],
        ["7", "1.50", "loss", "0.25"],
        ["7", "1.50", "lr", "0.001"],
    ]
    progress.step, progress.minutes = 8, 2.0
    book.add({"loss": 0.5}, "train")
    book.add({"best": 3.0})
    book.close()
    assert rows(tmp_path)[-1] == ["8", "2.00", "best", "3"]
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("9,0.0")  # cut off by a kill
    Logbook(tmp_path, Progress(7, 1.5)).close()  # what follows the resumed step is dropped
    assert [row[0] for row in rows(tmp_path)[1:]] == ["7", "7"]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(7, 0.25)]


def test_what_is_in_the_way_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"1,0.1,loss,\xff\n")
    with pytest.raises(InputError, match=r"metrics\.csv is not a table of text"):
        Logbook(tmp_path, Progress())
    path.write_text("9" * 5000 + ",0,loss,1\n1,0,loss\n\u0661,0,loss,1\n0,0,loss_restoration,1\n")
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(InputError, match="Cannot write .*tensorboard"):
        Logbook(tmp_path, Progress())
    (tmp_path / "tensorboard").unlink()
    Logbook(tmp_path, Progress()).close()
    assert rows(tmp_path)[1:] == [["0", "0", "loss_enhancement", "1"]]
    assert capsys.readouterr().err == (
        f"In {path} loss_restoration is called loss_enhancement now.\n"
    )
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"Cannot read .*metrics\.csv"):
        Logbook(tmp_path, Progress())
