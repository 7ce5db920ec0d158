"""Measuring: runs in turn, counted arithmetic, whole processes, and what fails on the way."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny import HOP, speech_mel
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.bench import measure
from diffwave.bench.measure import (
    Effort,
    bench,
    gmac,
    mel_of,
    run_process,
    this_machine,
    time_in_turn,
)
from diffwave.bench.result import LeftOut, Result, Setting
from diffwave.bench.systems import System
from diffwave.mel import preset
from diffwave.vocoder import Vocoder

CENTRE, BF16, BATCH = (
    Setting(1, "fp32", 1, 0.2), Setting(1, "bf16", 1, 0.2), Setting(1, "fp32", 2, 0.4)
)  # fmt: skip
EFFORT = Effort((CENTRE, BF16, BATCH), rounds=2, budget=0.001, process_runs=2)
BRIEF = Effort((), rounds=3, budget=0.01)
PROCESSES = pytest.mark.skipif(sys.platform == "win32", reason="os.wait4 is not there")


def test_jobs_take_turns_and_each_round_begins_with_another() -> None:
    log: list[str] = []
    rounds: list[int] = []
    threads: set[int] = set()

    def job(name: str) -> None:
        log.append(name)
        threads.add(torch.get_num_threads())
        time.sleep(0.02)

    before = torch.get_num_threads()
    jobs = {name: lambda name=name: job(name) for name in "ab"}
    found = time_in_turn(jobs, BRIEF, before + 1, lambda: rounds.append(len(log)))
    assert "".join(log) == "aabb" + "bbaa" + "aabb"  # the first of each pair is not counted
    assert rounds == [4, 8, 12]
    assert threads == {before + 1} and torch.get_num_threads() == before
    for runs in found.values():
        assert len(runs.seconds) == 3 and min(runs.seconds) >= 0.02
        assert runs.failure is None and runs.processor < 0.9 * runs.wall  # it slept


def test_products_and_convolutions_are_counted(vocoder: Vocoder) -> None:
    linear, x = nn.Linear(30, 20), torch.ones(7, 30)
    assert gmac(lambda: linear(x)) == pytest.approx(7 * 30 * 20 / 1e9)
    mel = speech_mel(0.3)
    one, two, three = (gmac(lambda n=n: vocoder(mel, steps=n)) for n in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert 0 < two - one < one  # the mel is projected once


@pytest.mark.parametrize(("load", "warned"), [(0.5, False), (0.7, True)])
def test_this_machine_is_described(
    load: float, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.os, "getloadavg", lambda: (load, 0, 0), raising=False)
    machine, busy = this_machine(2)
    assert ", 2 cores, " in machine and machine.endswith("faster than fp32 here")
    assert busy.startswith("The load average was 0.7 when this began") == warned == bool(busy)


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


@PROCESSES
def test_time_and_memory_are_those_of_the_process_alone() -> None:
    # This process holds PyTorch: a child that inherited its mark would be far above 60 MiB.
    seconds, small = run_process(python("import time; time.sleep(0.2); print('[9, 9, 9]')"))
    assert seconds >= 0.2 and 1 < small < 60
    _, large = run_process(python("x = bytearray(200 << 20)"))
    assert 150 < large - small < 250


@PROCESSES
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (python("raise ValueError('no such luck')"), "ValueError: no such luck"),
        (python("raise SystemExit(3)"), "exit status 3"),
        (python("import os; os.kill(os.getpid(), 9)"), "exit status -9"),
        (["/no/such/program"], "/no/such/program"),
    ],
)
def test_a_process_that_fails(command: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_process(command)


@PROCESSES
@pytest.mark.slow
def test_a_new_process_makes_a_wav(tmp_path: Path) -> None:
    np.save(tmp_path / "mel.npy", speech_mel(0.3)[:, :3].numpy())
    module = [sys.executable, "-m", "diffwave.bench.systems", "diffwave-base@6"]
    run_process([*module, str(tmp_path / "mel.npy"), str(tmp_path / "out.wav")])
    assert soundfile.info(tmp_path / "out.wav").frames == 3 * HOP


def repeat(linear: nn.Module, mel: Tensor) -> Tensor:
    """One product, and hop_length samples for each frame."""
    return linear(mel.transpose(1, 2))[..., 0].repeat_interleave(HOP, dim=1)


def fake(name: str, generate: Callable[[nn.Module, Tensor], Tensor] = repeat) -> System:
    linear = nn.Linear(80, 1).requires_grad_(False)
    return System(
        name, f"the fake {name}", "nothing 0", preset("hifigan"), linear,
        lambda mel: generate(linear, mel), lambda mel, frames: generate(linear, mel[..., :frames]),
    )  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A whole benchmark, without processes."""

    def run_process(arguments: list[str]) -> tuple[float, float]:
        if "unstartable" in arguments:
            raise InputError("The process failed: no.")
        return 1.5, 300.0

    def run(*systems: System, **changes: Any) -> Result:
        monkeypatch.setitem(measure.EFFORTS, "tiny", dataclasses.replace(EFFORT, **changes))
        return bench(systems, "tiny", "checkpoint", [LeftOut("gone", "everything", "it left")])

    monkeypatch.setattr(measure, "run_process", run_process)
    monkeypatch.setattr(measure, "usable_cores", lambda: 1)
    return run


def test_everything_is_measured(run: Callable[..., Result]) -> None:
    seen: set[tuple[int, bool, int, int]] = set()

    def look(linear: nn.Module, mel: Tensor) -> Tensor:
        bf16 = torch.is_autocast_enabled("cpu")
        seen.add((torch.get_num_threads(), bf16, len(mel), mel.shape[-1]))
        return repeat(linear, mel)

    system = fake("a", look)
    twice = dataclasses.replace(CENTRE, threads=2)  # more than there are cores
    result = run(system, fake("b"), settings=(twice, BF16, BATCH, CENTRE))
    assert [(t.system, t.setting) for t in result.timings] == [
        (name, setting) for setting in EFFORT.settings for name in "ab"
    ]
    for setting in EFFORT.settings:
        frames = system.frames(setting.seconds)
        assert (1, setting.precision == "bf16", setting.batch, frames) in seen
        mel = mel_of(system, setting)
        assert mel.shape == (setting.batch, 80, frames) and bool(torch.isfinite(mel).all())
        assert torch.equal(mel, mel_of(system, setting))
        expected = setting.batch * setting.seconds
        assert system.duration(setting) == pytest.approx(expected, rel=0.03)
    assert all(timing.rtf.n >= 2 and timing.rtf.least > 0 for timing in result.timings)
    assert [item.system for item in result.left_out] == ["gone"]
    assert "nothing 0" in result.versions and result.versions[1].startswith("torch ")
    cost = result.costs[0]
    assert (cost.system, cost.parameters) == ("a", 81)
    # 80 products for each of sample_rate / hop_length frames in a second
    assert cost.gmac_per_second == pytest.approx(80 * 22050 / HOP / 1e9)
    assert cost.first_chunk_ms is not None and cost.first_chunk_ms.least > 0
    assert cost.cold_start_s is not None and cost.cold_start_s.median == 1.5
    assert cost.peak_mib is not None and cost.peak_mib.median == 300


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
def test_what_fails_is_left_out_there(
    system: System, what: str, reason: str, timings: int, run: Callable[..., Result]
) -> None:
    result = run(system, fake("good"))
    assert result.left_out[1:] == (LeftOut(system.name, what, reason),)
    names = [timing.system for timing in result.timings]
    assert (names.count(system.name), names.count("good")) == (timings, 3)


def test_what_takes_too_long_is_left_out_beside_the_centre(run: Callable[..., Result]) -> None:
    result = run(fake("a"), patience=1e-9)
    assert [timing.setting for timing in result.timings] == [CENTRE]
    assert [item.what for item in result.left_out[1:]] == [str(BF16), str(BATCH)]
    assert result.left_out[1].reason.startswith("one run would take about ")
