"""The settings of a mel convention: as JSON and back, and what is said of wrong ones."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffwave.base.errors import InputError
from diffwave.base.schema import stored, strictly
from diffwave.mel.config import PRESETS, MelConfig, mel_config, preset

HIFIGAN = PRESETS["hifigan"]


@given(
    st.sampled_from(list(PRESETS.values())),
    st.none() | st.tuples(st.floats(-9, -1), st.floats(1, 9)),
    st.booleans(),
    st.none() | st.lists(st.floats(-100, 100), min_size=1, max_size=64).map(tuple),
)
@settings(max_examples=50)
def test_dict_roundtrip(
    base: MelConfig,
    limits: tuple[float, float] | None,
    centered: bool,
    mean: tuple[float, ...] | None,
) -> None:
    statistics = {} if mean is None else {"mean": mean, "scale": (0.5,) * len(mean)}
    changes: dict[str, Any] = {"n_mels": 8 if mean is None else len(mean), **statistics}
    config = dataclasses.replace(base, limits=limits, centered=centered, **changes)
    again = strictly(MelConfig, json.loads(json.dumps(stored(config))), "a mel")
    assert again == config and hash(again) == hash(config)
    required = {key: value for key, value in stored(config).items() if value is not None}
    assert strictly(MelConfig, required | {"mel_norm": config.mel_norm}, "a mel") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": 256}, "Unknown setting 'hop' of a mel; known are name, "),
        ({"n_fft": "1024"}, "In the settings of a mel, n_fft must be an integer, not '1024'"),
        ({"fmax": math.inf}, "fmax must be a number below 1e\\+?30"),
        ({"limits": [1, 0]}, "two rising numbers"),
        ({"hop_length": 2000}, "In the mel 'hifigan', hop_length must not exceed n_fft"),
        ({"win_length": 1025}, "win_length must not exceed n_fft"),
        ({"fmax": 12000}, "fmax <= sample_rate / 2"),
        ({"fmin": 8000}, "fmin < fmax"),
        ({"fmin": -1}, "0 <= fmin"),
        ({"fmin": 0.1, "fmax": 0.5}, "no frequency of the transform lies in a mel band"),
        ({"mel_norm": "area"}, "mel_norm must be one of slaney, None"),
        ({"mean": [0] * 80}, "mean and scale must be given together"),
        ({"mean": [0] * 79, "scale": [1] * 80}, "mean and scale must be of n_mels numbers"),
    ],
)
def test_bad_settings_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        strictly(MelConfig, stored(HIFIGAN) | change, "a mel")


@pytest.mark.parametrize("name", PRESETS)
def test_a_setting_may_be_a_preset_alone(name: str) -> None:
    assert preset(name) is mel_config(name) is mel_config({"preset": name}) is PRESETS[name]


def test_a_setting_may_change_a_preset() -> None:
    changed = mel_config({"preset": "vocos", "hop_length": 300, "fmin": 40})
    expected = dataclasses.replace(PRESETS["vocos"], hop_length=300, fmin=40.0)
    assert changed == dataclasses.replace(expected, name="vocos with hop_length 300, fmin 40")
    mine = mel_config({"name": "mine", "n_mels": 64})
    assert mine == dataclasses.replace(HIFIGAN, name="mine", n_mels=64)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("vocoss", "Unknown mel preset 'vocoss'; known are hifigan, lmnt"),
        ({"preset": 1 << 20000}, "Unknown mel preset a int too large to print"),
        ({"hop_length": 2048}, "'hifigan with hop_length 2048', hop_length must not exceed"),
    ],
)
def test_a_change_that_cannot_be_is_told(setting: str | dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mel_config(setting)


def test_the_range_of_amplitudes_is_finite_or_infinite_but_no_error() -> None:
    steep = dataclasses.replace(HIFIGAN, gain=1e-29, limits=(0, 1))
    assert steep.amplitude_range == (1, math.inf)
