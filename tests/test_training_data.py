"""Clips in memory, and crops of them that depend on nothing but seed and step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like

from diffwave.errors import InputError
from diffwave.training.config import DataConfig
from diffwave.training.data import Clip, Corpus, Crops, load_corpus

RATE = 22050


def write(path: Path, seconds: float = 0.5, rate: int = RATE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech_like(seconds, rate, seed), rate)


def load(folder: Path, shortest: int = 1000, **settings: object) -> Corpus:
    config = DataConfig(folder=str(folder), **settings)  # type: ignore[arg-type]
    return load_corpus(config, RATE, shortest, progress=False)


def ramps(*lengths: int) -> list[Clip]:
    """Clips whose samples all differ, so that a crop tells where it comes from."""
    clips, first = [], 1
    for length in lengths:
        clips.append(Clip(str(first), np.arange(first, first + length, dtype=np.int16)))
        first += length
    return clips


def plain(clips: list[Clip], length: int, **changes: object) -> Crops:
    settings = {"gain_db": (0.0, 0.0), "dither": 0.0} | changes
    return Crops(clips, length, DataConfig(**settings), seed=0)  # type: ignore[arg-type]


def test_files_of_several_kinds_and_rates(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "deep" / "er" / "b.flac", rate=44100)
    write(tmp_path / "c.WAV", rate=16000)
    (tmp_path / "notes.txt").write_text("not audio")
    corpus = load(tmp_path)
    assert sorted(clip.name for clip in corpus.train) == ["a", "b", "c"]
    assert not corpus.rejected
    assert not corpus.validation
    for clip in corpus.train:
        assert clip.samples.dtype == np.int16
        assert abs(len(clip.samples) - 0.5 * RATE) <= 2
    assert corpus.hours == pytest.approx(1.5 / 3600, rel=1e-3)
    wave = next(clip.wave() for clip in corpus.train if clip.name == "a")
    expected = torch.from_numpy(speech_like(0.5))
    torch.testing.assert_close(wave, expected, rtol=0, atol=1.01 / 32768)


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.full(2000, 1.5, np.float32), RATE, subtype="FLOAT")
    (clip,) = load(tmp_path).train
    assert clip.samples.min() == 32767


def test_validation_is_never_trained_on(tmp_path: Path) -> None:
    for name in ("LJ001-0001", "LJ001-0002", "LJ002-0001"):
        write(tmp_path / f"{name}.wav")
    write(tmp_path / "LJ001-0003.wav", seconds=0.02)  # too short for a crop, not to be judged by
    corpus = load(tmp_path, validation=["LJ001-*"])
    assert [clip.name for clip in corpus.train] == ["LJ002-0001"]
    names = [clip.name for clip in corpus.validation]
    assert names == ["LJ001-0001", "LJ001-0002", "LJ001-0003"]


def test_what_cannot_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"good{i}.wav", seed=i)
    (tmp_path / "noise.wav").write_bytes(b"RIFF but not really a sound file")
    (tmp_path / "empty.flac").touch()
    write(tmp_path / "short.wav", seconds=0.02)
    whole = (tmp_path / "good0.wav").read_bytes()
    (tmp_path / "torn.wav").write_bytes(whole[: len(whole) // 2])
    corpus = load(tmp_path)
    assert [clip.name for clip in corpus.train] == [f"good{i}" for i in range(4)]
    assert len(corpus.rejected) == 4
    for name in ("noise.wav", "empty.flac", "short.wav", "torn.wav"):
        assert sum(str(tmp_path / name) in sentence for sentence in corpus.rejected) == 1


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*data\.folder"):
        load(tmp_path / "missing")
    with pytest.raises(InputError, match=r"no audio \(\.wav"):
        load(tmp_path)
    write(tmp_path / "short.wav", seconds=0.02)
    with pytest.raises(InputError, match=r"can be trained on.*short\.wav is shorter than a crop"):
        load(tmp_path)
    with pytest.raises(InputError, match="can be trained on; all are validation"):
        load(tmp_path, validation=["*"])


def test_a_clip_of_exactly_one_crop_is_enough(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", speech_like(0.1)[:1000], RATE)
    corpus = load(tmp_path, shortest=1000)
    wave, _, _ = plain(corpus.train, 1000).batch(0, 3)
    torch.testing.assert_close(wave.abs(), corpus.train[0].wave().abs().expand(3, -1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**41), size=st.integers(1, 5))
def test_crops_are_a_function_of_seed_and_step(seed: int, step: int, size: int) -> None:
    clips = ramps(50, 70)
    first = Crops(clips, 20, DataConfig(), seed)
    for other in range(3):  # steps taken in between leave no trace
        first.batch(step + other, 2)
    again = Crops(clips, 20, DataConfig(), seed)
    for a, b in zip(first.batch(step, size), again.batch(step, size), strict=True):
        assert torch.equal(a, b)
    for changed in (
        again.batch(step + 1, size),
        Crops(clips, 20, DataConfig(), seed + 1).batch(step, size),
    ):
        assert not torch.equal(first.batch(step, size)[1], changed[1])


def test_every_position_is_equally_likely() -> None:
    """Two clips of 30 and 50 samples, crops of 11: 20 + 40 places, the last samples included."""
    clips = ramps(30, 50)
    wave, _, _ = plain(clips, 11).batch(0, 60 * 400)
    samples = (wave.abs() * 32768).round().int()
    assert bool((samples.diff(dim=1) == 1).all())
    counts = samples[:, 0].bincount()
    places = torch.cat((counts[1:21], counts[31:71]))
    assert int(places.sum()) == len(wave)
    chi_square = float(((places - 400) ** 2 / 400).sum())
    assert chi_square < 98  # 59 degrees of freedom: exceeded once in a thousand seeds
    assert int(samples.max()) == 80


def test_gain_and_polarity() -> None:
    clip = Clip("one", np.full(40, 16384, np.int16))
    wave, _, _ = plain([clip], 10, gain_db=(-6.0, 3.0)).batch(3, 4000)
    assert torch.equal(wave, wave[:, :1].expand(-1, 10))
    decibels = 20 * torch.log10(wave[:, 0].abs() / 0.5)
    assert -6.001 < float(decibels.min()) < -5.95
    assert 2.95 < float(decibels.max()) < 3.001
    assert float(decibels.mean()) == pytest.approx(-1.5, abs=0.2)
    assert float((wave[:, 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_dither_is_white_and_of_its_size() -> None:
    silence = [Clip("silence", np.zeros(2000, np.int16))]
    wave, _, _ = plain(silence, 1000, dither=1e-3).batch(0, 20)
    assert float(wave.std()) == pytest.approx(1e-3, rel=0.03)
    assert abs(float((wave[:, 1:] * wave[:, :-1]).mean())) < 3e-8
    assert not plain(silence, 1000).batch(0, 2)[0].any()


def test_noise_is_unit_white_and_places_are_uniform() -> None:
    wave, white, uniform = plain(ramps(500), 300).batch(7, 200)
    assert wave.shape == white.shape == (200, 300)
    assert wave.dtype == white.dtype == uniform.dtype == torch.float32
    assert float(white.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(white.mean())) < 0.02
    assert uniform.shape == (200,)
    assert 0 <= float(uniform.min()) < 0.05 < 0.95 < float(uniform.max()) < 1
