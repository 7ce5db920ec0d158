"""Schedules as text."""

from __future__ import annotations

import pytest
import torch

from diffwave.base.errors import InputError
from diffwave.chain import schedule
from diffwave.chain.families import parse_schedule, rescaled


@pytest.mark.parametrize("name", schedule.NAMED)
def test_published_schedules_have_their_names(name: str) -> None:
    chain = parse_schedule(name)
    torch.testing.assert_close(chain.betas, schedule.named_betas(name))
    if name != "cosine":
        torch.testing.assert_close(chain.of_length(len(chain.betas)), chain.betas)


def test_lists_and_families() -> None:
    assert parse_schedule("1e-4,0.5").betas.tolist() == [1e-4, 0.5]
    assert parse_schedule("0.3").betas.tolist() == [0.3]
    linear = parse_schedule("linear:1e-4:0.05:50")
    torch.testing.assert_close(linear.betas, schedule.named_betas("diffwave-base"))
    torch.testing.assert_close(linear.of_length(9), schedule.linear_betas(9, 1e-4, 0.05))
    torch.testing.assert_close(parse_schedule("cosine:20").betas, schedule.cosine_betas(20))
    torch.testing.assert_close(parse_schedule("cosine").of_length(7), schedule.cosine_betas(7))
    bars = schedule.alpha_bars(parse_schedule("angle:4").betas)
    torch.testing.assert_close(bars.flip(0), schedule.uniform_angles(4))


def test_signal_to_noise_ratios_in_equal_steps() -> None:
    chain = parse_schedule("snr:40:-20:7")
    decibels = 10 * schedule.snr(schedule.alpha_bars(chain.betas)).log10()
    torch.testing.assert_close(decibels, torch.linspace(40, -20, 7).double())
    decibels = 10 * schedule.snr(schedule.alpha_bars(chain.of_length(3))).log10()
    assert decibels.tolist() == pytest.approx([40, 10, -20])
    assert float(schedule.alpha_bars(chain.of_length(1))[0]) == pytest.approx(1 / 101)


def test_rescaled_chains_end_in_pure_noise() -> None:
    chain = rescaled(parse_schedule("diffwave-base"))
    assert float(schedule.alpha_bars(chain.betas)[-1]) == 0 and "rescaled" in chain.name
    assert float(schedule.alpha_bars(chain.of_length(9))[-1]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sing", "no schedule"),
        ("", "no schedule"),
        ("1e-4,x", "'x'"),
        ("0.1,", "not ''"),
        ("0.1,2", "not above 1"),
        ("0,0.1", "above 0"),
        ("nan,0.1", "above 0"),
        ("linear:1e-4:0.05", "no schedule"),
        ("linear:a:0.05:50", "'a'"),
        ("linear:0.1:0.2:0", "at least 1"),
        ("cosine:1.5", "integer"),
        ("cosine:" + "9" * 400, "integer"),
        ("cosine:999999999", "at most"),
        ("angle:-3", "integer"),
        ("snr:-20:40:7", "must fall"),
        ("snr:400:-20:7", "within 140 dB"),
        ("snr:nan:-20:7", "must fall"),
    ],
)
def test_other_text_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_schedule(text)
