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

from diffwave.data.config import DataConfig
from diffwave.data.crops import DRAWS, Batch, Clip, Crops, amplified
from diffwave.mel import MelSpectrogram, preset
from diffwave.mel.normalise import scaled_log
from diffwave.model import ModelConfig

HOP = 256
SAMPLES = waveform_config()
"""A chain on samples: a crop of T frames is T * 256 samples, without context."""


def ramps(*lengths: int) -> list[Clip]:
    """Clips whose samples all differ, so that a crop tells where it comes from."""
    ends = np.cumsum(lengths) + 1
    return [
        Clip(str(end), np.arange(end - length, end, dtype=np.int16))
        for end, length in zip(ends, lengths, strict=True)
    ]


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
    for field in dataclasses.fields(Batch):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(mine, theirs) if torch.is_tensor(mine) else mine == theirs, field.name


@settings(max_examples=25)
@given(st.integers(0, 2**40), st.integers(0, 2**41), st.data())
def test_a_batch_is_a_function_of_seed_step_and_rows(
    seed: int, step: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
    clips, noisy = ramps(700, 600), {"dither": 1e-3, "gain_db": (-6.0, 6.0)}
    first = crops_of(clips, seed=seed, **noisy)
    for other in range(3):  # steps taken in between leave no trace
        first.batch(step + other, 2)
    batch, some = first.batch(step, size), first.batch(step, size, rows)
    assert_same(batch, crops_of(clips, seed=seed, **noisy).batch(step, size))
    for name in ("wave", "white", "place", "draws"):
        assert torch.equal(getattr(some, name), getattr(batch, name)[rows])
    assert some.common == batch.common
    for changed in (first.batch(step + 1, size), crops_of(clips, seed=seed + 1).batch(step, size)):
        assert not torch.equal(batch.white, changed.white)
        assert not torch.equal(batch.draws, changed.draws)
        assert batch.common != changed.common


def test_a_stream_is_batch_after_batch_and_raises_what_fails() -> None:
    crops = crops_of(ramps(700))
    stream = crops.stream(3, 4, [[0, 1], [2, 3]])
    for step in (3, 4):
        for rows in ([0, 1], [2, 3]):
            assert_same(next(stream), crops.batch(step, 4, rows))
    stream.close()  # type: ignore[attr-defined]
    crops.clips = []
    with pytest.raises(IndexError):
        next(crops.stream(0, 1, [[0]]))


def test_processes_make_the_same_batches() -> None:
    crops = crops_of(ramps(700), workers=2)
    stream = crops.stream(3, 4, [[0, 1], [2, 3]])
    for step in (3, 4, 5):
        for rows in ([0, 1], [2, 3]):
            assert_same(next(stream), crops.batch(step, 4, rows))


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


def test_gain_polarity_and_dither() -> None:
    clip = Clip("one", np.full(300, 16384, np.int16))
    wave = crops_of([clip], gain_db=(-6.0, 3.0)).batch(3, 2000).wave
    assert torch.equal(wave, wave[:, :1].expand(-1, HOP))
    decibels = 20 * torch.log10(wave[:, 0].abs() / 0.5)
    assert -6.001 < float(decibels.min()) < -5.9 and 2.9 < float(decibels.max()) < 3.001
    assert float(decibels.mean()) == pytest.approx(-1.5, abs=0.2)
    assert float((wave[:, 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    silence = [Clip("silence", np.zeros(2000, np.int16))]
    wave = crops_of(silence, 4, dither=1e-3).batch(0, 20).wave
    assert float(wave.std()) == pytest.approx(1e-3, rel=0.03)
    assert abs(float((wave[:, 1:] * wave[:, :-1]).mean())) < 3e-8
    assert not crops_of(silence, 4).batch(0, 2).wave.any()


def test_noise_is_white_places_are_stratified_and_draws_uniform() -> None:
    batch = crops_of(ramps(500)).batch(7, 1000)
    assert batch.white.shape == (1000, 2, HOP) and batch.wave.dtype == batch.white.dtype
    noises = batch.white[:5].flatten(0, 1)
    assert float(batch.white.std()) == pytest.approx(1, abs=0.01)
    correlation = noises @ noises.T / HOP - torch.eye(10)
    assert float(correlation.abs().max()) < 0.35
    assert bool((batch.place * 1000).floor().eq(torch.arange(1000)).all())
    within = (batch.place * 1000) % 1
    assert 0 <= float(within.min()) < 0.05 < 0.95 < float(within.max()) < 1
    assert batch.draws.shape == (1000, DRAWS)
    assert 0 <= float(batch.draws.min()) < 0.01 and 0.99 < float(batch.draws.max()) < 1
    torch.testing.assert_close(batch.draws.T.cov(), torch.eye(DRAWS) / 12, rtol=0, atol=0.012)


# --- clips that bring a mel ------------------------------------------------------------------


def paired_clip(frames: int, config: ModelConfig) -> Clip:
    """A recording with its own mel, framed as the pairs of a corpus are."""
    wave = speech_like(frames * HOP / 22050 + 0.01)[: frames * HOP]
    samples = (wave * 32768).astype(np.int16)
    mel = MelSpectrogram(config.mel)(torch.from_numpy(samples / np.float32(32768)))
    return Clip("pair", samples, mel[:, :frames].numpy())


@pytest.mark.parametrize("name", ["hifigan", "espnet"])
def test_a_crop_has_the_mel_of_its_own_samples(name: str) -> None:
    """Computed anew from the crop, the mel is the one that was cut out; so are those at the ends,
    where a frontend reflects the clip as the crop does, and those that are louder."""
    base, mel = spectral_config(), preset(name)
    space = dataclasses.replace(base.space, pad_left=mel.pad_left)  # type: ignore[type-var]
    config = dataclasses.replace(base, mel=mel, space=space)
    clip = paired_clip(12, config)
    batch = crops_of([clip], 6, config).batch(0, 40)
    louder = crops_of([clip], 6, config, gain_db=(-9.0, 3.0)).batch(0, 20)
    for found, floor in ((batch, -math.inf), (louder, 1e-4)):
        again = MelSpectrogram(mel)(found.wave, pad=False)
        assert found.mel is not None and found.mel.shape == again.shape
        loud = (again / MelSpectrogram(mel).slope) > (math.log(floor) if floor > 0 else floor)
        torch.testing.assert_close(found.mel[loud], again[loud], rtol=0, atol=5e-3)
    assert clip.mel is not None and batch.mel is not None
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


@pytest.mark.parametrize("name", ["hifigan", "lmnt", "espnet", "coqui", "normalised"])
def test_amplified_is_the_mel_of_a_louder_wave(name: str) -> None:
    config = preset("espnet" if name == "normalised" else name)
    if name == "normalised":
        scale = tuple(1 + 0.1 * i for i in range(80))
        config = dataclasses.replace(config, mean=(-2.0,) * 80, scale=scale)
    frontend = MelSpectrogram(config)
    wave = 0.05 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    for gain in (0.25, 1.5):
        found = amplified(frontend(wave), math.log(gain), frontend)
        torch.testing.assert_close(found, frontend(gain * wave), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["hifigan", "lmnt", "coqui"])
def test_silence_stays_at_the_floor(name: str) -> None:
    config = preset(name)
    frontend = MelSpectrogram(config)
    silent, nearly, top = (
        scaled_log(torch.full((config.n_mels, 3), power), config)
        for power in (0.0, 2.0 * config.floor, 1e9)
    )
    for gain in (0.1, 1.0, 10.0):
        assert torch.equal(amplified(silent, math.log(gain), frontend), silent)
    assert torch.equal(amplified(nearly, math.log(0.01), frontend), silent)
    if config.limits is not None:
        assert float(amplified(top, 1.0, frontend).max()) <= config.limits[1]
