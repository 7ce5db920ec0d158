"""The settings of a mel convention: as JSON and back, and what is said of wrong ones."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffwave.errors import InputError
from diffwave.mel.config import PRESETS, MelConfig, mel_config, preset

HIFIGAN = PRESETS["hifigan"]

numbers = st.floats(-100, 100)


@given(
    st.sampled_from(list(PRESETS.values())),
    st.integers(1, 64),
    st.one_of(st.none(), st.tuples(st.floats(-9, -1), st.floats(1, 9))),
    st.booleans(),
    st.data(),
)
@settings(deadline=None, max_examples=50)
def test_dict_roundtrip(
    base: MelConfig,
    n_mels: int,
    limits: tuple[float, float] | None,
    centered: bool,
    data: st.DataObject,
) -> None:
    mean = data.draw(st.none() | st.lists(numbers, min_size=n_mels, max_size=n_mels).map(tuple))
    scale = None if mean is None else (0.5,) * n_mels
    config = dataclasses.replace(
        base, n_mels=n_mels, limits=limits, centered=centered, mean=mean, scale=scale
    )
    assert MelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(config) == hash(MelConfig.from_dict(config.to_dict()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": 256}, "Unknown setting 'hop' of a mel; known are name, "),
        ({"n_fft": "1024"}, "In the settings of a mel, n_fft must be an integer, not '1024'"),
        ({"n_mels": True}, "n_mels must be an integer"),
        ({"hop_length": 256.5}, "hop_length must be an integer"),
        ({"centered": 1}, "centered must be true or false"),
        ({"name": None}, "name must be text"),
        ({"fmax": math.nan}, "fmax must be"),
        ({"fmax": math.inf}, "fmax must be a number below 1e\\+?30"),
        ({"limits": [0, "1"]}, r"limits\[1\] must be a number"),
        ({"limits": [1, 0]}, "two rising numbers"),
        ({"limits": [0, 1, 2]}, "limits must be a list of"),
        ({"sample_rate": 0}, "sample_rate must be an integer of at least 1"),
        ({"hop_length": 2000}, "hop_length .* must not exceed n_fft"),
        ({"win_length": 1025}, "win_length .* must not exceed n_fft"),
        ({"fmax": 12000}, "fmax <= sample_rate / 2"),
        ({"fmin": 8000}, "fmin < fmax"),
        ({"fmin": -1}, "0 <= fmin"),
        ({"log": "log2"}, "log must be one of ln, log10, db, not 'log2'"),
        ({"mel_norm": "area"}, "mel_norm must be one of slaney, None"),
        ({"floor": 0}, "floor must be a number above 0"),
        ({"mean": [0] * 80}, "mean and scale must be given together"),
        ({"mean": [0] * 79, "scale": [1] * 80}, "mean has 79 numbers, but n_mels is 80"),
        ({"mean": [0] * 80, "scale": [0] * 80}, r"scale\[0\] must be a number above 0"),
    ],
)
def test_bad_settings_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MelConfig.from_dict(HIFIGAN.to_dict() | change)


def test_missing_setting_is_named_and_optional_ones_have_defaults() -> None:
    values = HIFIGAN.to_dict()
    del values["hop_length"]
    with pytest.raises(InputError, match="setting 'hop_length' of a mel is missing"):
        MelConfig.from_dict(values)
    with pytest.raises(InputError, match="mapping"):
        MelConfig.from_dict([])  # type: ignore[arg-type]
    values = HIFIGAN.to_dict()
    del values["mean"]
    assert MelConfig.from_dict(values) == HIFIGAN


def test_preset_by_name() -> None:
    assert preset("hifigan") is HIFIGAN
    with pytest.raises(InputError, match="Unknown mel preset 'hifi'; known are hifigan, lmnt"):
        preset("hifi")


@pytest.mark.parametrize("name", PRESETS)
def test_a_setting_may_be_a_preset_alone(name: str) -> None:
    assert mel_config(name) == mel_config({"preset": name}) == PRESETS[name]


def test_a_setting_may_change_a_preset() -> None:
    changed = mel_config({"preset": "vocos", "hop_length": 300, "fmin": 40})
    assert changed.name == "vocos with hop_length 300, fmin 40"
    assert (changed.hop_length, changed.fmin, changed.n_mels) == (300, 40.0, 100)
    assert (
        MelConfig.from_dict({**changed.to_dict(), "name": "vocos", "hop_length": 256, "fmin": 0})
        == (PRESETS["vocos"])
    )
    assert mel_config({"name": "mine", "n_mels": 64}) == MelConfig.from_dict(
        {**PRESETS["hifigan"].to_dict(), "name": "mine", "n_mels": 64}
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("vocoss", "Unknown mel preset 'vocoss'"),
        ({"preset": 1 << 20000}, "Unknown mel preset a int too large to print"),
        ({"hop_length": 1 << 20000}, "hop_length must be an integer of at most 65536"),
        ({"preset": "vocoss", "fmin": 40}, "Unknown mel preset 'vocoss'"),
        ({"hop": 300}, "Unknown setting 'hop' of a mel"),
        ({"hop_length": 2048}, "must not exceed"),
        ({"hop_length": "300"}, "must be an integer, not '300'"),
    ],
)
def test_a_change_that_cannot_be_is_told(setting: str | dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mel_config(setting)


def test_the_range_of_amplitudes_is_finite_or_infinite_but_no_error() -> None:
    steep = dataclasses.replace(HIFIGAN, gain=1e-29, limits=(0, 1))
    assert steep.amplitude_range == (1, math.inf)
