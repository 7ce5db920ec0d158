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

EFFORT = Effort(
    "tiny",
    threads=(1,),
    batches=(1, 2),
    seconds=(0.2, 0.4),
    least_runs=2,
    most_runs=2,
    first_chunks=2,
    process_runs=2,
    process_systems=2,
)
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


def measure(*systems: System, bar: tqdm | None = None) -> Result:
    bar = bar if bar is not None else tqdm(disable=True)
    return bench(systems, {"gone": "it left"}, EFFORT, "checkpoint", bar)


def test_everything_is_measured() -> None:
    result = measure(fake("a"), fake("b"))
    assert [cost.system for cost in result.costs] == ["a", "b"]
    assert len(result.timings) == 2 * len(EFFORT.settings())
    assert result.left_out == ()
    assert result.missing == {"gone": "it left"}
    assert "nothing 0" in result.versions
    assert result.versions[1].startswith("torch ")
    for timing in result.timings:
        assert timing.rtf.n == 2
        assert timing.rtf.least > 0
    cost = result.costs[0]
    assert cost.parameters == 81
    # 80 products for each of sample_rate / hop_length frames in a second
    assert cost.gmac_per_second == pytest.approx(80 * 22050 / 256 / 1e9)
    assert cost.first_chunk_ms is not None and cost.first_chunk_ms.n == 2
    assert cost.cold_start_s is not None and cost.cold_start_s.median == 1.5
    assert cost.peak_mib is not None and cost.peak_mib.median == 300


def test_settings_are_what_they_say() -> None:
    seen: set[tuple[int, bool, int, int]] = set()

    def look(linear: nn.Module, mel: Tensor) -> Tensor:
        bf16 = torch.is_autocast_enabled("cpu")
        seen.add((torch.get_num_threads(), bf16, len(mel), mel.shape[-1]))
        return repeat(linear, mel)

    system = fake("a", look)
    measure(system)
    for setting in EFFORT.settings():
        frames = system.frames(setting.seconds)
        assert (1, setting.precision == "bf16", setting.batch, frames) in seen


def test_a_system_that_never_works_is_left_out() -> None:
    def fail(linear: nn.Module, mel: Tensor) -> Tensor:
        raise RuntimeError("broken")

    result = measure(fake("bad", fail), fake("good"))
    assert [cost.system for cost in result.costs] == ["good"]
    assert [(o.system, o.what, o.reason) for o in result.left_out] == [
        ("bad", "everything", "RuntimeError: broken")
    ]


def test_a_system_that_fails_somewhere_is_left_out_there() -> None:
    def fail(linear: nn.Module, mel: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise NotImplementedError("no bf16")
        return repeat(linear, mel)

    result = measure(fake("a", fail), fake("b"))
    place = Setting(1, "bf16", 1, 0.2)
    assert [(o.system, o.what) for o in result.left_out] == [("a", str(place))]
    assert result.timing("a", place) is None
    assert result.timing("b", place) is not None
    assert result.timing("a", EFFORT.centre) is not None


def test_a_process_that_fails_is_left_out() -> None:
    result = measure(fake("unstartable"), fake("b"))
    (left_out,) = result.left_out
    assert (left_out.system, left_out.what) == ("unstartable", "cold start and memory")
    assert result.costs[0].cold_start_s is None
    assert result.costs[1].cold_start_s is not None


def test_only_some_are_started_in_a_process() -> None:
    result = measure(fake("a"), fake("b"), fake("c"))
    assert [cost.peak_mib is None for cost in result.costs] == [False, False, True]
    (left_out,) = result.left_out
    assert left_out.reason == "only a, b is started in a process of its own"


def test_what_takes_too_long_is_left_out() -> None:
    impatient = dataclasses.replace(EFFORT, patience=1e-9)
    result = bench([fake("a")], {}, impatient, "checkpoint", tqdm(disable=True))
    assert [timing.setting for timing in result.timings] == [EFFORT.centre]
    assert len(result.left_out) == len(EFFORT.settings()) - 1
    assert result.left_out[0].reason.startswith("one run would take about ")


def test_the_bar_ends_where_it_should() -> None:
    with open(os.devnull, "w") as nowhere, tqdm(total=0, file=nowhere) as bar:
        measure(fake("a"), fake("b"), bar=bar)
        assert bar.n == pytest.approx(bar.total)
        assert bar.total > 0


def test_a_mel_is_of_the_systems_convention() -> None:
    mel = mel_of(fake("a"), 0.5, batch=3)
    assert mel.shape == (3, 80, 43)
    assert bool(torch.isfinite(mel).all())
