"""Interleaved runs, their spread, counted arithmetic, subnormal numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import speech_mel
from torch import nn

from diffwave.bench.measure import (
    cpu_threads,
    describe,
    gmac,
    interleave,
    rounds,
    sound,
    spread,
    subnormal_share,
)
from diffwave.vocoder import Vocoder


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30))
def test_a_spread_is_in_order(values: list[float]) -> None:
    found = spread(values)
    assert found.least == min(values)
    assert found.least <= found.low <= found.median <= found.high <= max(values)
    assert found.n == len(values)


def test_a_spread_in_another_unit() -> None:
    found = spread([1.0, 2.0, 3.0, 4.0, 10.0]) * 1000
    assert (found.least, found.low, found.median, found.high) == (1000, 2000, 3000, 4000)
    assert found.n == 5


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), min_size=1))
def test_every_job_has_its_runs_evenly_distributed(runs: dict[str, int]) -> None:
    found = list(rounds(runs))
    assert len(found) == max(runs.values())
    for name, count in runs.items():
        taken = [name in names for names in found]
        assert sum(taken) == count
        for i in range(1, len(found) + 1):  # at no time more than one run from an even pace
            assert abs(sum(taken[:i]) - count * i / len(found)) <= 0.5


def test_each_round_begins_with_another_job() -> None:
    assert list(rounds({"a": 3, "b": 3, "c": 3})) == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
    ]


def test_jobs_take_turns() -> None:
    log: list[str] = []
    told: list[str] = []
    jobs = {"a": lambda: log.append("a"), "b": lambda: log.append("b")}
    found = interleave(jobs, {"a": 4, "b": 2}, told.append)
    assert log == told == ["a", "b", "a", "a", "b", "a"]
    assert [len(found[name].seconds) for name in "ab"] == [4, 2]
    assert min(found["a"].seconds) > 0
    assert found["a"].failure is None


def test_a_job_that_fails_is_stopped_and_the_others_go_on() -> None:
    calls = {"good": 0, "bad": 0}

    def good() -> None:
        calls["good"] += 1

    def bad() -> None:
        calls["bad"] += 1
        raise RuntimeError("out of luck\nand more")

    found = interleave({"bad": bad, "good": good}, {"bad": 3, "good": 3})
    assert calls == {"good": 3, "bad": 1}
    assert found["bad"].failure == "RuntimeError: out of luck"
    assert found["bad"].seconds == ()
    assert len(found["good"].seconds) == 3


def test_an_error_without_a_message_is_its_name() -> None:
    assert describe(ValueError()) == "ValueError"


def test_the_number_of_threads_is_set_and_restored() -> None:
    before = torch.get_num_threads()
    other = before + 1
    with cpu_threads(other):
        assert torch.get_num_threads() == other
    with pytest.raises(KeyError), cpu_threads(other):
        raise KeyError
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
    assert one > 0
    assert three - two == pytest.approx(two - one)
    assert two - one < one  # the mel is projected once


@pytest.mark.parametrize(("value", "share"), [(1e-39, 1.0), (1e-37, 0.0), (0.0, 0.0), (-1e-40, 1)])
def test_subnormal_activations_are_found(value: float, share: float) -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, value)

    module = nn.Sequential(Constant())
    assert subnormal_share(module, lambda: module(torch.ones(3))) == share
    assert not module[0]._forward_hooks


def test_the_sound_is_always_the_same_and_as_loud_as_speech() -> None:
    wave = sound(0.5, 22050, 3)
    assert wave.shape == (3, 11025)
    assert float(wave.square().mean().sqrt()) == pytest.approx(0.07, rel=1e-3)
    assert torch.equal(wave, sound(0.5, 22050, 3))
    assert not torch.equal(wave[0], wave[1])
