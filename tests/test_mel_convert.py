"""Conversion: exact where it can be, near where it cannot, and back again."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from torch import Tensor

from diffwave.base.audio import resample
from diffwave.base.errors import InputError
from diffwave.mel.conventions import CONVENTIONS, Convention, convention_of
from diffwave.mel.convert import convert, difference, rms

HIFIGAN = CONVENTIONS["hifigan"]
DB = 20 / math.log(10)


def mel_of(convention: Convention, seconds: float = 1.5, gain: float = 1.0) -> Tensor:
    wave = gain * torch.from_numpy(speech_like(seconds))  # at every rate the same sound
    return convention.analyse(resample(wave, 22050, convention.mel.sample_rate))


def error_db(mel: Tensor, reference: Tensor) -> float:
    """Mean error in dB of natural logarithms of amplitudes, ends and pauses left out."""
    size = min(mel.shape[1], reference.shape[1])
    mel, reference = mel[:, 2 : size - 2], reference[:, 2 : size - 2]
    return DB * float((mel - reference)[reference > -7].abs().mean())


@given(
    st.sampled_from(["ln", "log10", "db"]),
    st.floats(0.01, 100),
    st.floats(-50, 50),
    st.sampled_from(["slaney", None]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=30)
def test_units_logarithms_and_statistics_are_exact(
    log: str, gain: float, offset: float, norm: str | None, normalized: bool, stats: bool
) -> None:
    config = dataclasses.replace(
        HIFIGAN.mel, name="other", log=log, gain=gain, offset=offset, mel_norm=norm,
        normalized=normalized, floor=1e-8, magnitude_eps=0.0,
        mean=(1.5,) * 80 if stats else None, scale=(0.3,) * 80 if stats else None,
    )  # fmt: skip
    plain = dataclasses.replace(
        HIFIGAN, mel=dataclasses.replace(HIFIGAN.mel, magnitude_eps=0.0, floor=1e-8)
    )
    other = Convention(config, "test")
    assert difference(other, plain).exact
    wave = torch.from_numpy(speech_like(0.3))
    there, here = other.analyse(wave), plain.analyse(wave)
    # float32 keeps 24 bits of what statistics and an offset may have made large.
    coarse = 1e-3 + 4e-7 * float(there.abs().max()) * (0.3 if stats else 1) / config.log_factor
    coarse += 4e-7 * abs(offset) / config.log_factor
    torch.testing.assert_close(convert(there, other, plain), here, rtol=0, atol=coarse)
    torch.testing.assert_close(
        convert(convert(here, plain, other), other, plain), here, rtol=0, atol=coarse
    )


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("matcha", 0.01), ("bigvgan-22k", 1.2), ("espnet,centered=false", 1.5),
        ("coqui,centered=false", 1.2), ("lmnt,centered=false", 1.8), ("vocos", 1.9),
        ("bigvgan-24k", 1.9), ("bigvgan-44k", 1.0), ("diffwave-48k", 1.5), ("espnet-24k", 2.0),
        ("hifigan-24k", 1.9), ("hifigan-16k", 3.0), ("speecht5", 3.0), ("hifigan-hop200", 1.9),
        ("styletts2", 3.2), ("whisper", 4.4), ("whisper-v3", 4.2), ("torchaudio", 4.2),
        ("torchaudio-db", 4.2), ("librosa-db", 4.8),
    ],
)  # fmt: skip
def test_other_conventions_come_near(name: str, most: float) -> None:
    source = convention_of(name)
    converted = convert(mel_of(source), source, HIFIGAN)
    expected = mel_of(HIFIGAN)
    assert converted.shape[0] == 80 and converted.dtype == torch.float32
    # Within a hop of the source's and one of the target's, which may round the duration.
    slack = 1 + math.ceil(source.frame_seconds / HIFIGAN.frame_seconds)
    assert abs(converted.shape[1] - expected.shape[1]) <= slack
    assert error_db(converted, expected) < most


def test_taking_it_for_another_is_far_worse() -> None:
    source = CONVENTIONS["speecht5"]
    mel = mel_of(source)
    right = error_db(convert(mel, source, HIFIGAN), mel_of(HIFIGAN))
    wrong = error_db(convert(mel, CONVENTIONS["espnet"], HIFIGAN), mel_of(HIFIGAN))
    assert wrong > 2 * right


@pytest.mark.parametrize("name", CONVENTIONS)
def test_there_and_back(name: str) -> None:
    other = CONVENTIONS[name]
    mel = mel_of(HIFIGAN)
    back = convert(convert(mel, HIFIGAN, other), other, HIFIGAN)
    assert abs(back.shape[1] - mel.shape[1]) <= 2
    assert torch.isfinite(back).all()
    assert error_db(back, mel) < 4.5


@given(st.floats(0.3, 3.0))
@settings(max_examples=10)
def test_loudness_goes_through(gain: float) -> None:
    source = dataclasses.replace(
        CONVENTIONS["whisper"], depth=None, mel=dataclasses.replace(CONVENTIONS["whisper"].mel,
                                                                    floor=1e-14)
    )  # fmt: skip
    quiet = dataclasses.replace(HIFIGAN, mel=dataclasses.replace(HIFIGAN.mel, floor=1e-12))
    mel = mel_of(source, 0.5)
    louder = convert(mel_of(source, 0.5, gain), source, quiet)
    torch.testing.assert_close(
        louder, convert(mel, source, quiet) + math.log(gain), rtol=0, atol=2e-2
    )


def test_the_difference_is_told() -> None:
    assert str(difference(CONVENTIONS["matcha"], HIFIGAN)).startswith("exact")
    text = str(difference(CONVENTIONS["espnet"], HIFIGAN))
    assert "filterbank" in text and "7600 to 8000 Hz" in text and "frames" not in text
    text = str(difference(CONVENTIONS["whisper"], HIFIGAN))
    assert "sample rate, transform or window" in text and "time between frames" in text
    assert difference(CONVENTIONS["styletts2"], HIFIGAN).missing is None


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_level_is_known(name: str) -> None:
    source = CONVENTIONS[name]
    assert abs(20 * math.log10(rms(mel_of(source), source) / 0.07)) < 2.0


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (torch.zeros(80), "floating point of the shape"),
        (torch.zeros(80, 5, dtype=torch.int32), "torch.int32"),
        (torch.zeros(5, 80), "looks transposed"),
        (torch.zeros(100, 5), "has 100 mel bands on axis 0, but the 'hifigan' convention has 80"),
        (torch.zeros(80, 1), "single frame"),
        (torch.full((80, 5), math.nan), "NaN or infinity"),
    ],
)
def test_what_is_no_mel_is_refused(mel: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(mel, HIFIGAN, CONVENTIONS["vocos"])


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("value", [-1e30, 0.0, 1e30])
def test_absurd_values_stay_finite(name: str, value: float) -> None:
    source = CONVENTIONS[name]
    mel = torch.full((source.mel.n_mels, 3), value)
    assert torch.isfinite(convert(mel, source, HIFIGAN)).all()
