"""A whole benchmark, of systems that take no time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm

from diffwave.bench import run as module
from diffwave.bench.plan import Effort, Setting
from diffwave.bench.process import ProcessCost
from diffwave.bench.result import Result
from diffwave.bench.run import bench, mel_of
from diffwave.bench.systems import System
from diffwave.errors import InputError
from diffwave.mel import preset

CENTRE, BF16, BATCH = (
    Setting(1, "fp32", 1, 0.2),
    Setting(1, "bf16", 1, 0.2),
    Setting(1, "fp32", 2, 0.4),
)
EFFORT = Effort("tiny", (CENTRE, BF16, BATCH), rounds=2, budget=0.001, process_runs=2)
Generate = Callable[[nn.Module, Tensor], Tensor]


def repeat(module: nn.Module, mel: Tensor) -> Tensor:
    """One product, and hop_length samples for each frame."""
    return module(mel.transpose(1, 2))[..., 0].repeat_interleave(256, dim=1)


def fake(name: str, generate: Generate = repeat) -> System:
    linear = nn.Linear(80, 1).requires_grad_(False)
    return System(
        name,
        f"the fake {name}",
        "nothing 0",
        preset("hifigan"),
        linear,
        lambda mel: generate(linear, mel),
        lambda mel, frames: generate(linear, mel[..., :frames]),
    )


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_process(arguments: list[str]) -> ProcessCost:
        if "unstartable" in arguments:
            raise InputError("The process failed: no.")
        return ProcessCost(1.5, 300.0)

    monkeypatch.setattr(module, "run_process", run_process)


def measure(*systems: System, effort: Effort = EFFORT, bar: tqdm | None = None) -> Result:
    bar = bar if bar is not None else tqdm(disable=True)
    return bench(systems, {"gone": "it left"}, effort, "checkpoint", bar)


def test_everything_is_measured() -> None:
    with open(os.devnull, "w") as nowhere, tqdm(total=0, file=nowhere) as bar:
        result = measure(fake("a"), fake("b"), bar=bar)
        assert bar.n == bar.total > 0
    assert [cost.system for cost in result.costs] == ["a", "b"]
    assert {(t.system, t.setting) for t in result.timings} == {
        (name, setting) for name in "ab" for setting in EFFORT.settings
    }
    assert result.timings[0].setting == CENTRE
    assert all(timing.rtf.n >= 2 and timing.rtf.least > 0 for timing in result.timings)
    assert result.left_out == ()
    assert result.missing == {"gone": "it left"}
    assert "nothing 0" in result.versions and result.versions[1].startswith("torch ")
    cost = result.costs[0]
    assert cost.parameters == 81
    # 80 products for each of sample_rate / hop_length frames in a second
    assert cost.gmac_per_second == pytest.approx(80 * 22050 / 256 / 1e9)
    assert cost.first_chunk_ms is not None and cost.first_chunk_ms.least > 0
    assert cost.cold_start_s is not None and cost.cold_start_s.median == 1.5
    assert cost.peak_mib is not None and cost.peak_mib.median == 300


def test_settings_are_what_they_say_and_time_is_over_that_of_the_sound() -> None:
    seen: set[tuple[int, bool, int, int]] = set()

    def look(linear: nn.Module, mel: Tensor) -> Tensor:
        bf16 = torch.is_autocast_enabled("cpu")
        seen.add((torch.get_num_threads(), bf16, len(mel), mel.shape[-1]))
        return repeat(linear, mel)

    system = fake("a", look)
    measure(system)
    for setting in EFFORT.settings:
        frames = system.frames(setting.seconds)
        assert (1, setting.precision == "bf16", setting.batch, frames) in seen
        mel = mel_of(system, setting)
        assert mel.shape == (setting.batch, 80, frames) and bool(torch.isfinite(mel).all())
        expected = setting.batch * setting.seconds
        assert module._duration(system, mel) == pytest.approx(expected, rel=0.03)


def broken(linear: nn.Module, mel: Tensor) -> Tensor:
    raise RuntimeError("broken")


def no_bf16(linear: nn.Module, mel: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        raise NotImplementedError("no bf16")
    return repeat(linear, mel)


@pytest.mark.parametrize(
    ("system", "what", "reason", "timings"),
    [
        (fake("a", broken), "everything", "RuntimeError: broken", 0),
        (fake("a", no_bf16), str(BF16), "NotImplementedError: no bf16", 2),
        (fake("unstartable"), "cold start and memory", "The process failed: no.", 3),
    ],
    ids=["broken", "no_bf16", "unstartable"],
)
def test_what_fails_is_left_out_there(system: System, what: str, reason: str, timings: int) -> None:
    result = measure(system, fake("good"))
    assert [(item.system, item.what, item.reason) for item in result.left_out] == [
        (system.name, what, reason)
    ]
    names = [timing.system for timing in result.timings]
    assert (names.count(system.name), names.count("good")) == (timings, 3)


def test_what_takes_too_long_is_left_out_beside_the_centre() -> None:
    with open(os.devnull, "w") as nowhere, tqdm(total=0, file=nowhere) as bar:
        result = measure(fake("a"), effort=dataclasses.replace(EFFORT, patience=1e-9), bar=bar)
        assert bar.n == bar.total
    assert [timing.setting for timing in result.timings] == [CENTRE]
    assert [item.what for item in result.left_out] == [str(BF16), str(BATCH)]
    assert result.left_out[0].reason.startswith("one run would take about ")
