"""Spectrograms as pictures: level, frequency and time where they belong."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from diffwave.errors import InputError
from diffwave.listening.pictures import (
    MAX_COLUMNS,
    RANGE_DB,
    common_top,
    css_colours,
    difference_png,
    levels_db,
    spectrogram_png,
)


def sine(hertz: float, seconds: float, rate: int, amplitude: float = 1.0) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)


def pixels(png: bytes) -> np.ndarray:
    """RGB, [rows, columns, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_a_sine_has_its_level_at_its_frequency(rate: int, amplitude: float) -> None:
    levels = levels_db(sine(1000, 0.5, rate, amplitude), rate)
    middle = levels[:, levels.shape[1] // 2]
    bins = len(middle)
    assert abs(int(middle.argmax()) * rate / (2 * bins) - 1000) <= rate / (4 * bins)
    # Between two bins a Hann window's peak is up to 1.42 dB lower.
    assert -1.5 < middle.max() - 20 * math.log10(amplitude) <= 0.01


def test_a_click_is_where_it_is() -> None:
    wave = torch.zeros(16000)
    wave[12000] = 1
    for factor in (1, 20):  # also when columns are averaged
        long = torch.cat([wave, torch.zeros(16000 * (factor - 1))])
        levels = levels_db(long, 16000)
        assert levels.shape[1] <= MAX_COLUMNS
        loudest = np.flatnonzero(levels[100] > levels[100].max() - 3).mean() + 0.5
        assert loudest / levels.shape[1] == pytest.approx(12000 / len(long), abs=0.006)


@pytest.mark.parametrize("length", [1, 2, 95, 96, 97, 1000])
def test_any_length(length: int) -> None:
    levels = levels_db(torch.ones(length), 16000)
    assert levels.shape == (512, math.ceil(length / 96)) and np.isfinite(levels).all()


def test_louder_is_brighter_and_low_is_below() -> None:
    rate = 16000
    levels = levels_db(sine(500, 0.5, rate), rate)
    image = pixels(spectrogram_png(levels, 0.0))
    assert image.shape == (*levels.shape, 3)
    brightness = image.sum(axis=2).mean(axis=1)
    assert brightness.argmax() == levels.shape[0] - 1 - levels.mean(axis=1).argmax()
    ramp = np.linspace(-RANGE_DB, 0, 64, dtype=np.float32)[:, None]
    shades = pixels(spectrogram_png(ramp, 0.0))[::-1, 0]
    assert (np.diff(shades.sum(axis=1)) > 0).all()
    for beyond in (-200.0, 50.0):  # takes the colour at the end of the scale
        end = pixels(spectrogram_png(np.full((1, 1), beyond, np.float32), 0.0))[0, 0]
        assert (end == shades[0 if beyond < 0 else -1]).all()


def test_difference_is_blue_where_quieter_and_pale_where_equal() -> None:
    reference = np.array([[-40, -40, -40, -150]], np.float32)
    levels = np.array([[-40, -20, -60, -190]], np.float32)
    equal, louder, quieter, unseen = pixels(difference_png(levels, reference, 0.0))[0]
    assert louder[0] > louder[2] and quieter[2] > quieter[0]
    assert equal.min() > 230 and (unseen == equal).all()


def test_common_top() -> None:
    quiet, loud = (np.full((10, 10), level, np.float32) for level in (-52.0, -31.0))
    assert common_top([quiet, loud]) == -30
    assert common_top([np.full((4, 4), -200, np.float32)]) == -RANGE_DB
    assert common_top([np.full((4, 4), 3, np.float32)]) == 0


def test_css_colours() -> None:
    colours = css_colours("magma", 5)
    assert len(colours) == 5 and all(len(c) == 7 and c[0] == "#" for c in colours)
    assert colours[0] == "#000003" and colours[-1] == "#fbfcbf"


@pytest.mark.parametrize("library", ["matplotlib", "PIL"])
def test_a_missing_library_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match="pip install"):
        spectrogram_png(np.zeros((2, 2), np.float32), 0.0)
