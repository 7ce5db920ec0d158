"""What a run keeps: averaged weights, and states that survive a crash."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_model, spectral_config, waveform_config
from torch import nn

from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.model import DiffusionModel, SamplingConfig
from diffwave.training.config import OptimConfig
from diffwave.training.state import (
    KEPT,
    Ema,
    Progress,
    check_same_model,
    load_state,
    save_state,
    saved_states,
)
from diffwave.training.trainer import make_optimizer

Parts = tuple[DiffusionModel, Ema, torch.optim.AdamW]


def parts(seed: int = 0, steps: int = 0) -> Parts:
    """A small model that was trained for some steps on nothing in particular."""
    model = random_model(waveform_config(), seed).requires_grad_(True)
    optimizer = make_optimizer(model, OptimConfig())
    ema = Ema(model.network, 0.9)
    for step in range(steps):
        sum(p.square().sum() for p in model.network.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step + 1)
    return model, ema, optimizer


def save(folder: Path, step: int, made: Parts) -> Path:
    model, ema, optimizer = made
    return save_state(folder, Progress(step, step / 10), model, ema, optimizer)


def assert_same(left: Parts, right: Parts) -> None:
    for a, b in zip(left[0].state_dict().values(), right[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(left[1].average, right[1].average, strict=True):
        assert torch.equal(a, b)
    mine, theirs = left[2].state_dict(), right[2].state_dict()
    assert mine["state"].keys() == theirs["state"].keys()
    for key, values in mine["state"].items():
        for name, value in values.items():
            assert torch.equal(value, theirs["state"][key][name])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.floats(0, 0.999))
def test_average_follows_its_formula(values: list[float], decay: float) -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(3.0)
    ema = Ema(module, decay)
    expected = 3.0
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            module.weight.fill_(value)
        ema.update(step)
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * value
    assert float(ema.average[0]) == pytest.approx(expected, abs=1e-5)


def test_swap_exchanges_and_exchanges_back() -> None:
    module = nn.Linear(2, 2)
    ema = Ema(module, 0.5)
    averaged = [p.clone() for p in ema.average]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1)
    trained = [p.clone() for p in module.parameters()]
    ema.swap()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), averaged, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ema.average, trained, strict=True))
    ema.swap()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), trained, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ema.average, averaged, strict=True))


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    saved, loaded = parts(0, steps=3), parts(1)
    assert save(tmp_path, 7, saved).name == "step-00000007.pt"
    progress, skipped = load_state(tmp_path, *loaded)
    assert progress == Progress(7, 0.7)
    assert skipped == []
    assert_same(saved, loaded)


def test_an_empty_folder_is_a_beginning(tmp_path: Path) -> None:
    untouched, reference = parts(0), parts(0)
    assert load_state(tmp_path, *untouched) == (Progress(0, 0.0), [])
    assert_same(untouched, reference)


def test_old_ones_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "step-best.pt").write_text("mine")
    for step in (5, 99_999_999, 10, 100):
        save(tmp_path, step, parts())
    names = [path.name for path in saved_states(tmp_path)]
    assert names == [f"step-{step:08d}.pt" for step in (10, 100, 99_999_999)]
    assert len(names) == KEPT
    assert (tmp_path / "step-best.pt").exists()
    assert not list(tmp_path.glob(".*"))


def test_damaged_ones_are_skipped_and_named(tmp_path: Path) -> None:
    good, loaded = parts(0, steps=1), parts(1)
    save(tmp_path, 1, good)
    torn = save(tmp_path, 2, parts(2, steps=1))
    torn.write_bytes(torn.read_bytes()[:-1000])
    empty = save(tmp_path, 3, parts(3, steps=1))
    empty.write_bytes(b"")
    progress, skipped = load_state(tmp_path, *loaded)
    assert progress.step == 1
    assert_same(good, loaded)
    assert len(skipped) == 2
    assert "step-00000003.pt" in skipped[0]
    assert "step-00000002.pt" in skipped[1]


def test_nothing_sound_is_a_beginning(tmp_path: Path) -> None:
    save(tmp_path, 1, parts()).write_bytes(b"\0" * 100)
    progress, skipped = load_state(tmp_path, *parts(1))
    assert progress.step == 0
    assert len(skipped) == 1


def test_a_failed_save_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = parts(0, steps=1)
    save(tmp_path, 1, saved)

    def fail(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, saved)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, parts())
    other = DiffusionModel(spectral_config())
    optimizer = make_optimizer(other, OptimConfig())
    with pytest.raises(InputError, match=r"network\.kind = waveform.* mean spectral"):
        load_state(tmp_path, other, Ema(other.network, 0.9), optimizer)
    torch.save([1, 2], tmp_path / "step-00000002.pt")
    with pytest.raises(InputError, match=r"step-00000002\.pt is not a state") as caught:
        load_state(tmp_path, *parts())
    assert "\n" not in str(caught.value)


def test_what_weights_mean_is_compared(tmp_path: Path) -> None:
    ours = spectral_config()
    replace = dataclasses.replace
    named = replace(ours, mel=replace(ours.mel, name="mine"), sampling=SamplingConfig(steps=9))
    check_same_model(named, ours, "It")
    check_same_model(named.to_dict(), ours, "It")
    louder = replace(ours, mel=replace(ours.mel, gain=2.0))
    with pytest.raises(InputError, match=r"It has mel\.gain = 2\.0, but these settings mean 1\.0"):
        check_same_model(louder, ours, "It")
    wider = replace(ours, network=replace(ours.network, channels=24))
    with pytest.raises(InputError, match=r"network\.channels = 24, .* 16"):
        check_same_model(wider, ours, "It")
    assert preset("hifigan") == ours.mel
