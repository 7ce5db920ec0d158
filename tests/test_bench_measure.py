"""Runs in turn, their spread, counted arithmetic, settings, and what is known of the machine."""

from __future__ import annotations

import dataclasses
import os
import time

import pytest
import torch
from bench_result import IDLE
from hypothesis import given
from hypothesis import strategies as st
from tiny import speech_mel
from torch import nn

from diffwave.bench import machine, plan
from diffwave.bench.measure import Spread, describe, gmac, sound, time_in_turn
from diffwave.bench.plan import CENTRE, FULL, NORMAL, QUICK, Effort, Setting
from diffwave.vocoder import Vocoder

BRIEF = Effort("brief", rounds=3, budget=0.01)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30))
def test_a_spread_is_in_order(values: list[float]) -> None:
    found = Spread.of(values, unit=1000)
    assert found.least == pytest.approx(1000 * min(values))
    assert found.least <= found.low <= found.median <= found.high <= 1000 * max(values)
    assert found.n == len(values)


def test_jobs_take_turns_and_each_round_begins_with_another() -> None:
    log: list[str] = []
    turns: list[int] = []

    def job(name: str) -> None:
        log.append(name)
        time.sleep(0.02)

    jobs = {name: lambda name=name: job(name) for name in "ab"}
    found = time_in_turn(jobs, BRIEF, 1, lambda: turns.append(len(log)))
    assert "".join(log) == "aabb" + "bbaa" + "aabb"  # the first of each pair is not counted
    assert turns == [2, 4, 6, 8, 10, 12]
    for runs in found.values():
        assert len(runs.seconds) == 3 and min(runs.seconds) >= 0.02
        assert runs.failure is None and runs.cores < 0.9  # it slept


def test_a_job_that_fails_or_is_too_slow_has_no_further_turn() -> None:
    calls = {"bad": 0, "slow": 0, "good": 0}

    def count(name: str) -> None:
        calls[name] += 1
        if name == "bad":
            raise RuntimeError("out of luck\nand more")
        time.sleep(0.35 if name == "slow" else 0.011)

    jobs = {name: lambda name=name: count(name) for name in calls}
    found = time_in_turn(jobs, dataclasses.replace(BRIEF, patience=0.3), 1, lambda: None)
    assert (calls["bad"], calls["slow"]) == (1, 2)
    assert found["bad"].failure == "RuntimeError: out of luck"
    assert len(found["slow"].seconds) == 1 and len(found["good"].seconds) == 3


def test_an_error_without_a_message_is_its_name() -> None:
    assert describe(ValueError()) == "ValueError"


def test_a_job_runs_with_its_number_of_threads() -> None:
    before, seen = torch.get_num_threads(), set()
    time_in_turn({"a": lambda: seen.add(torch.get_num_threads())}, BRIEF, before + 1, lambda: None)
    assert seen == {before + 1}
    assert torch.get_num_threads() == before


def test_products_and_convolutions_are_counted() -> None:
    linear, x = nn.Linear(30, 20), torch.ones(7, 30)
    assert gmac(lambda: linear(x)) == pytest.approx(7 * 30 * 20 / 1e9)
    conv, y = nn.Conv1d(4, 6, 5, padding=2), torch.ones(2, 4, 100)
    assert gmac(lambda: conv(y)) == pytest.approx(2 * 100 * 4 * 6 * 5 / 1e9)
    assert gmac(lambda: torch.fft.rfft(x)) == 0


def test_a_vocoders_arithmetic_grows_by_the_step(vocoder: Vocoder) -> None:
    mel = speech_mel(0.3)
    one, two, three = (gmac(lambda n=n: vocoder(mel, steps=n)) for n in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert 0 < two - one < one  # the mel is projected once


def test_the_sound_is_always_the_same_and_as_loud_as_speech() -> None:
    wave = sound(0.5, 22050, 3)
    assert wave.shape == (3, 11025)
    assert float(wave.square().mean().sqrt()) == pytest.approx(0.07, rel=1e-3)
    assert torch.equal(wave, sound(0.5, 22050, 3))


@pytest.mark.parametrize("effort", [QUICK, NORMAL, FULL], ids=lambda effort: effort.name)
@pytest.mark.parametrize("cores", [1, 2])
def test_the_settings_of_an_effort(
    effort: Effort, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "usable_cores", lambda: cores)
    settings = effort.here()
    assert settings[0] == dataclasses.replace(effort.settings[0], threads=cores)
    assert len(set(settings)) == len(settings)
    assert max(setting.threads for setting in settings) == cores


def test_the_grid_holds_the_settings_around_its_centre() -> None:
    assert FULL.settings[0] == NORMAL.settings[0] == CENTRE
    assert set(NORMAL.settings) < set(FULL.settings)
    assert str(Setting(2, "fp32", 8, 10.0)) == "2 threads, fp32, 8 x 10 s"
    assert str(Setting(1, "bf16", 1, 0.25)) == "1 thread, bf16, 1 x 0.25 s"


def test_this_machine_is_described() -> None:
    found = machine.this_machine()
    assert found.processor and 1 <= found.cores <= (os.cpu_count() or 1)
    assert IDLE.sentence() == (
        "A Processor, 2 cores, 24 GiB, Linux x86_64; bf16 products are no faster than fp32 here"
    )


@pytest.mark.parametrize(("load", "busy"), [(0.0, False), (0.7, True), (None, False)])
def test_a_busy_machine(load: float | None, busy: bool) -> None:
    assert dataclasses.replace(IDLE, load=load).busy is busy


def test_a_system_that_says_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(machine.Path, "read_text", refuse)
    monkeypatch.setattr(machine.os, "sysconf", refuse)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "")
    monkeypatch.delattr(machine.os, "getloadavg", raising=False)
    found = machine.this_machine()
    assert (found.processor, found.memory_gib, found.load) == ("unknown processor", None, None)
