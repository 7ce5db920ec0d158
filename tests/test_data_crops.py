"""Crops that depend on nothing but seed, step and row, and mels that stay with their samples."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import spectral_config, waveform_config
from torch import Tensor

from diffwave.data.config import DataConfig
from diffwave.data.crops import DRAWS, Batch, Crops, Framing, amplified
from diffwave.data.data import Clip
from diffwave.mel import MelSpectrogram, preset
from diffwave.model import ModelConfig

HOP = 256
SAMPLES = dataclasses.replace(waveform_config())
"""A chain on samples: a crop of T frames is T * 256 samples, without context."""


def ramps(*lengths: int) -> list[Clip]:
    """Clips whose samples all differ, so that a crop tells where it comes from."""
    clips, first = [], 1
    for length in lengths:
        clips.append(Clip(str(first), np.arange(first, first + length, dtype=np.int16)))
        first += length
    return clips


def crops_of(
    clips: list[Clip],
    frames: int = 1,
    model: ModelConfig = SAMPLES,
    seed: int = 0,
    **changes: object,
) -> Crops:
    values = {"gain_db": (0.0, 0.0), "dither": 0.0, "crop_frames": frames} | changes
    return Crops(clips, model, DataConfig(**values), seed)  # type: ignore[arg-type]


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.wave, other.wave)
    assert torch.equal(one.white, other.white)
    assert torch.equal(one.place, other.place)
    assert torch.equal(one.draws, other.draws)
    assert one.common == other.common
    assert (one.mel is None) == (other.mel is None)
    if one.mel is not None and other.mel is not None:
        assert torch.equal(one.mel, other.mel)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**41), size=st.integers(1, 5))
def test_crops_are_a_function_of_seed_and_step(seed: int, step: int, size: int) -> None:
    clips = ramps(700, 600)
    first = crops_of(clips, seed=seed, dither=1e-3)
    for other in range(3):  # steps taken in between leave no trace
        first.batch(step + other, 2)
    batch = first.batch(step, size)
    assert_same(batch, crops_of(clips, seed=seed, dither=1e-3).batch(step, size))
    for changed in (first.batch(step + 1, size), crops_of(clips, seed=seed + 1).batch(step, size)):
        assert not torch.equal(batch.white, changed.white)
        assert not torch.equal(batch.draws, changed.draws)
        assert batch.common != changed.common


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_do_not_depend_on_how_the_batch_is_split(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    rows = data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
    crops = crops_of(ramps(700, 600), gain_db=(-6.0, 6.0), dither=1e-3)
    whole, some = crops.batch(5, size), crops.batch(5, size, rows)
    assert torch.equal(some.wave, whole.wave[rows])
    assert torch.equal(some.white, whole.white[rows])
    assert torch.equal(some.place, whole.place[rows])
    assert torch.equal(some.draws, whole.draws[rows])
    assert some.common == whole.common


def test_rows_and_steps_have_noise_of_their_own() -> None:
    crops = crops_of(ramps(700))
    noises = torch.cat([crops.batch(step, 3).white.flatten(0, 1) for step in range(3)])
    correlation = noises @ noises.T / noises.shape[1]
    assert float((correlation - torch.eye(len(noises))).abs().max()) < 0.35


def test_a_stream_is_batch_after_batch() -> None:
    crops = crops_of(ramps(700))
    stream = crops.stream(3, 4, [[0, 1], [2, 3]])
    for step in (3, 4):
        for rows in ([0, 1], [2, 3]):
            assert_same(next(stream), crops.batch(step, 4, rows))
    stream.close()  # type: ignore[attr-defined]


def test_what_fails_in_the_stream_is_raised_to_its_reader() -> None:
    crops = crops_of(ramps(700))
    crops.clips = []
    with pytest.raises(IndexError):
        next(crops.stream(0, 1, [[0]]))


@pytest.mark.parametrize("model", [SAMPLES, spectral_config()])
def test_a_clip_of_exactly_one_crop_is_enough(model: ModelConfig) -> None:
    length = Framing(model).samples(3)
    (clip,) = ramps(length)
    wave = crops_of([clip], 3, model).batch(0, 3).wave
    torch.testing.assert_close(wave.abs(), clip.wave().expand(3, -1))


def test_examples_are_those_of_the_batch() -> None:
    crops = crops_of(ramps(700), dither=1e-3)
    wave, mel = crops.examples(4, 3)
    assert torch.equal(wave, crops.batch(4, 3).wave)
    assert mel is None


def test_every_position_is_equally_likely() -> None:
    """Two clips of 275 and 295 samples, crops of 256: 20 + 40 places, the last included."""
    wave = crops_of(ramps(275, 295)).batch(0, 60 * 100).wave
    samples = (wave.abs() * 32768).round().int()
    assert bool((samples.diff(dim=1) == 1).all())
    counts = samples[:, 0].bincount(minlength=316)
    places = torch.cat((counts[1:21], counts[276:316]))
    assert int(places.sum()) == len(wave)
    chi_square = float(((places - 100) ** 2 / 100).sum())
    assert chi_square < 98  # 59 degrees of freedom: exceeded once in a thousand seeds
    assert int(samples.max()) == 570


def test_gain_and_polarity() -> None:
    clip = Clip("one", np.full(300, 16384, np.int16))
    wave = crops_of([clip], gain_db=(-6.0, 3.0)).batch(3, 2000).wave
    assert torch.equal(wave, wave[:, :1].expand(-1, HOP))
    decibels = 20 * torch.log10(wave[:, 0].abs() / 0.5)
    assert -6.001 < float(decibels.min()) < -5.9
    assert 2.9 < float(decibels.max()) < 3.001
    assert float(decibels.mean()) == pytest.approx(-1.5, abs=0.2)
    assert float((wave[:, 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_dither_is_white_and_of_its_size() -> None:
    silence = [Clip("silence", np.zeros(2000, np.int16))]
    wave = crops_of(silence, 4, dither=1e-3).batch(0, 20).wave
    assert float(wave.std()) == pytest.approx(1e-3, rel=0.03)
    assert abs(float((wave[:, 1:] * wave[:, :-1]).mean())) < 3e-8
    assert not crops_of(silence, 4).batch(0, 2).wave.any()


def test_noise_is_unit_white_and_places_are_stratified() -> None:
    batch = crops_of(ramps(500)).batch(7, 200)
    assert batch.white.shape == (200, 2, HOP)
    assert batch.wave.shape == (200, HOP)
    assert batch.wave.dtype == batch.white.dtype == torch.float32
    assert float(batch.white.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(batch.white.mean())) < 0.02
    assert bool((batch.place * 200).floor().eq(torch.arange(200)).all())
    within = (batch.place * 200) % 1
    assert 0 <= float(within.min()) < 0.05 < 0.95 < float(within.max()) < 1
    assert 0 <= batch.common < 1


def test_draws_are_uniform_and_independent() -> None:
    draws = crops_of(ramps(500)).batch(7, 1000).draws
    assert draws.shape == (1000, DRAWS) and draws.dtype == torch.float32
    assert 0 <= float(draws.min()) < 0.01 and 0.99 < float(draws.max()) < 1
    torch.testing.assert_close(draws.mean(0), torch.full((DRAWS,), 0.5), rtol=0, atol=0.04)
    torch.testing.assert_close(draws.T.cov(), torch.eye(DRAWS) / 12, rtol=0, atol=0.012)


def test_draws_change_nothing_else_that_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    crops = crops_of(ramps(700, 600), gain_db=(-6.0, 6.0), dither=1e-3)
    batch = crops.batch(5, 4)
    monkeypatch.setattr("diffwave.data.crops.DRAWS", 0)
    none = crops.batch(5, 4)
    assert none.draws.shape == (4, 0)
    assert_same(batch, dataclasses.replace(none, draws=batch.draws))


# --- clips that bring a mel ------------------------------------------------------------------


def paired_clip(frames: int, config: ModelConfig) -> Clip:
    """A recording with its own mel, framed as the pairs of a corpus are."""
    wave = speech_like(frames * HOP / 22050 + 0.01)[: frames * HOP]
    samples = (wave * 32768).astype(np.int16)
    mel = MelSpectrogram(config.mel)(torch.from_numpy(samples / np.float32(32768)))
    return Clip("pair", samples, mel[:, :frames].numpy())


@pytest.mark.parametrize("name", ["hifigan", "espnet"])
def test_a_crop_hears_the_mel_of_its_own_samples(name: str) -> None:
    """Computed anew from the crop, the mel is the one that was cut out; so are those at the ends,
    where a frontend reflects the clip as the crop does."""
    base = spectral_config()
    mel = preset(name)
    assert base.space is not None
    space = dataclasses.replace(base.space, pad_left=mel.pad_left)
    config = dataclasses.replace(base, mel=mel, space=space)
    clip = paired_clip(12, config)
    batch = crops_of([clip], 6, config).batch(0, 40)
    assert batch.mel is not None
    assert batch.mel.shape == (40, 80, 6)
    again = MelSpectrogram(mel)(batch.wave, pad=False)
    assert again.shape == batch.mel.shape
    torch.testing.assert_close(again, batch.mel, rtol=0, atol=2e-3)
    assert clip.mel is not None
    whole = torch.from_numpy(clip.mel)
    starts = {
        i
        for found in batch.mel
        for i in range(7)
        if torch.allclose(found, whole[:, i : i + 6], atol=1e-5)
    }
    assert starts == set(range(7))  # every frame of the clip, the first and the last too


def test_crops_in_the_sample_space_lie_on_frames() -> None:
    clip = paired_clip(9, SAMPLES)
    batch = crops_of([clip], 4).batch(0, 30)
    assert clip.mel is not None and batch.mel is not None
    for wave, mel in zip(batch.wave, batch.mel, strict=True):
        first = next(i for i in range(6) if np.array_equal(clip.mel[:, i : i + 4], mel.numpy()))
        expected = clip.wave()[first * HOP : (first + 4) * HOP]
        torch.testing.assert_close(wave.abs(), expected.abs())


def test_gain_moves_the_mel_with_the_wave() -> None:
    config = spectral_config()
    clip = paired_clip(12, config)
    batch = crops_of([clip], 6, config, gain_db=(-9.0, 3.0)).batch(0, 20)
    assert batch.mel is not None
    again = MelSpectrogram(config.mel)(batch.wave, pad=False)
    loud = again > math.log(1e-4)
    torch.testing.assert_close(batch.mel[loud], again[loud], rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", ["hifigan", "lmnt", "espnet", "coqui"])
def test_amplified_is_the_mel_of_a_louder_wave(name: str) -> None:
    config = preset(name)
    frontend = MelSpectrogram(config)
    wave = 0.05 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    for gain in (0.25, 1.5):
        expected = frontend(gain * wave)
        torch.testing.assert_close(
            amplified(frontend(wave), math.log(gain), frontend), expected, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("name", ["hifigan", "lmnt", "coqui"])
def test_silence_stays_at_the_floor(name: str) -> None:
    config = preset(name)
    frontend = MelSpectrogram(config)
    silent = frontend.scaled_log(torch.zeros(config.n_mels, 3))
    for gain in (0.1, 1.0, 10.0):
        assert torch.equal(amplified(silent, math.log(gain), frontend), silent)
    nearly = frontend.scaled_log(torch.full((config.n_mels, 3), 2.0 * config.floor))
    quieter: Tensor = amplified(nearly, math.log(0.01), frontend)
    assert torch.equal(quieter, silent)
    if config.limits is not None:
        top = frontend.scaled_log(torch.full((config.n_mels, 3), 1e9))
        assert float(amplified(top, 1.0, frontend).max()) <= config.limits[1]


def test_normalised_mels_move_by_their_scale() -> None:
    scale = tuple(1 + 0.1 * i for i in range(80))
    config = dataclasses.replace(preset("espnet"), mean=(-2.0,) * 80, scale=scale)
    frontend = MelSpectrogram(config)
    wave = 0.05 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    found = amplified(frontend(wave), math.log(2), frontend)
    torch.testing.assert_close(found, frontend(2 * wave), rtol=1e-4, atol=1e-4)
