"""Schedules as people write them: by name, as a list, or as a family with its constants."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.schema import convert, shown
from diffwave.chain import schedule

Steps = Annotated[int, Meta(ge=1, le=100_000)]  # of a schedule that is written out
LOUDEST_DB = 140.0  # signal-to-noise ratio that double precision tells from no noise


class Schedule(NamedTuple):
    """A schedule, and how it looks at another length."""

    name: str
    betas: Tensor  # [T], float64
    of_length: Callable[[int], Tensor]  # betas of the same kind for a chain of so many steps


def parse_schedule(text: str) -> Schedule:
    """A schedule by its published name, or written as one of

        B1,B2,..               betas
        linear:FIRST:LAST:T    betas in equal steps
        cosine:T, angle:T      alpha_bar along a squared cosine, without and with pure noise at T
        snr:FIRST:LAST:T       signal-to-noise ratio in equal steps of dB

    At another length the last three kinds keep their alpha_bar over the chain, and the others the
    curve of their betas (`diffwave.chain.schedule.stretched`).

    Raises:
        InputError: for text that is none of these, or betas that make no chain.
    """
    kind, *values = text.split(":")
    if text == "cosine":
        values = ["1000"]

    def of_angles(steps: int) -> Tensor:
        return schedule.betas_of(schedule.uniform_angles(steps).flip(0))

    def of_decibels(steps: int) -> Tensor:  # one step has the last
        decibels = torch.linspace(low, high, steps, dtype=torch.float64).flip(0)
        return schedule.betas_of(torch.sigmoid(decibels * (math.log(10) / 10)))

    if kind in ("cosine", "angle") and len(values) == 1:
        of_length = schedule.cosine_betas if kind == "cosine" else of_angles
        return Schedule(text, of_length(_count(values[0])), of_length)
    if kind == "snr" and len(values) == 3:
        high, low = (_number(value, text) for value in values[:2])
        if not LOUDEST_DB >= high > low >= -LOUDEST_DB:
            raise InputError(
                f"The signal-to-noise ratio of {shown(text)} must fall, within {LOUDEST_DB:g} dB."
            )
        return Schedule(text, of_decibels(_count(values[2])), of_decibels)
    if kind == "linear" and len(values) == 3:
        first, last = (_number(value, text) for value in values[:2])
        betas = schedule.linear_betas(_count(values[2]), first, last)
    elif text in schedule.NAMED:
        betas = schedule.named_betas(text)
    elif "," in text or text.replace(".", "").replace("e-", "").isdigit():
        numbers = [_number(value, text) for value in text.split(",")]
        betas = torch.tensor(numbers, dtype=torch.float64)
    else:
        raise InputError(
            f"{shown(text)} is no schedule: give {', '.join(schedule.NAMED)}, betas separated by "
            "commas, linear:FIRST:LAST:T, cosine:T, angle:T or snr:FIRST:LAST:T (dB)."
        )
    schedule.alpha_bars(betas)
    return Schedule(text, betas, functools.partial(schedule.stretched, betas))


def rescaled(chain: Schedule) -> Schedule:
    """The schedule with zero terminal SNR (Lin et al. 2023), at any length from two steps on."""

    def of_length(steps: int) -> Tensor:
        return schedule.zero_terminal_snr(chain.of_length(max(steps, 2)))

    return Schedule(f"{chain.name}, rescaled", schedule.zero_terminal_snr(chain.betas), of_length)


def _count(text: str) -> int:
    found: int = convert(text, Steps, "The number of steps of a schedule")
    return found


def _number(text: str, whole: str) -> float:
    found: float = convert(text.strip(), float, f"A value of the schedule {shown(whole)}")
    return found
