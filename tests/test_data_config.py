"""Settings of a corpus that make no sense are refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from diffwave.data.config import DataConfig, PrepareConfig
from diffwave.errors import InputError


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"crop_frames": 0}, "data.crop_frames"),
        ({"gain_db": (3.0, -3.0)}, "data.gain_db"),
        ({"gain_db": (-math.inf, 0.0)}, "data.gain_db"),
        ({"dither": -1e-5}, "data.dither"),
        ({"mel_tolerance": -1}, "data.mel_tolerance"),
    ],
)
def test_data(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        DataConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"level": "loud"}, "data.prepare.level"),
        ({"rms_db": 3.0}, "data.prepare.rms_db"),
        ({"peak_db": math.nan}, "data.prepare.peak_db"),
        ({"piece_seconds": (2.0, 3.0)}, "data.prepare.piece_seconds"),
        ({"margin_seconds": -0.1}, "data.prepare.margin_seconds"),
        ({"shortest_seconds": math.inf}, "data.prepare.shortest_seconds"),
        ({"max_clipped": 1.5}, "data.prepare.max_clipped"),
        ({"validation_share": -0.1}, "data.prepare.validation_share"),
    ],
)
def test_prepare(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        PrepareConfig(**settings)


def test_the_defaults_hold() -> None:
    assert DataConfig().prepare == PrepareConfig()
