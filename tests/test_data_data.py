"""Clips of a folder of audio and of a prepared corpus, and what cannot become one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import speech_like

from diffwave.data.config import DataConfig
from diffwave.data.data import Clip, Corpus, load_corpus
from diffwave.data.shards import Entry, Prepared, ShardWriter
from diffwave.errors import InputError
from diffwave.mel import MelSpectrogram, preset

RATE = 22050


def write(path: Path, seconds: float = 0.5, rate: int = RATE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech_like(seconds, rate, seed), rate)


def load(folder: Path, shortest: int = 1000, **settings: object) -> Corpus:
    config = DataConfig(folder=str(folder), **settings)  # type: ignore[arg-type]
    return load_corpus(config, preset("hifigan"), shortest, progress=False)


def test_files_of_several_kinds_and_rates(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "deep" / "er" / "b.flac", rate=44100)
    write(tmp_path / "c.WAV", rate=16000)
    (tmp_path / "notes.txt").write_text("not audio")
    for hidden in ("._a.wav", ".0123456789abcdef.tmp.wav"):
        (tmp_path / hidden).write_bytes(b"not audio")
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


def test_no_folder_is_not_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "good.wav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no folder to train on; set data\.folder"):
        load_corpus(DataConfig(), preset("hifigan"), 1000, progress=False)


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


def prepared(
    folder: Path, lengths: dict[str, int], *, mels: bool = False, convention: str = "hifigan"
) -> Path:
    """A prepared corpus: clips of so many frames; those named v.. were held out."""
    (folder / "data").mkdir(parents=True)
    config, entries = preset(convention), []
    with (
        ShardWriter(folder / "data", "samples") as samples,
        ShardWriter(folder / "data", "mels") as frames,
    ):
        for i, (name, count) in enumerate(lengths.items()):
            split = "validation" if name.startswith("v") else "train"
            wave = np.full(count * config.hop_length, i, np.int16)
            place = samples.append(wave)
            mel = np.full((count, config.n_mels), -i, np.float32)
            more = frames.append(mel) if mels else ()
            entries.append(Entry(name, f"x/{name}.wav", split, *place, len(wave), *more))
    Prepared(folder, config, "", samples.files | frames.files, entries).save()
    return folder


def names(clips: list[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def test_a_prepared_corpus(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"a": 10, "v": 5, "short": 3, "b": 20})
    corpus = load(folder)
    assert (names(corpus.train), names(corpus.validation)) == (["a", "b"], ["v"])
    assert corpus.rejected == ["short is shorter than a crop of 1000 samples."]
    assert corpus.hours == 30 * 256 / RATE / 3600
    assert [int(clip.samples[0]) for clip in corpus.train] == [0, 3]
    assert all(clip.mel is None for clip in corpus.train)
    assert corpus.train[1].wave().eq(3 / 32768).all()
    corpus = load(folder, validation=["b.wav"])  # patterns split it anew
    assert (names(corpus.train), names(corpus.validation)) == (["a", "v"], ["b"])


def test_mels_of_a_prepared_corpus(tmp_path: Path) -> None:
    """Every array is a view of a mapped file: memory does not grow with the corpus."""
    folder = prepared(tmp_path / "corpus", {"a": 10, "b": 20}, mels=True)
    for mel_folder in ("", str(tmp_path)):
        for clip, value in zip(load(folder, mel_folder=mel_folder).train, (0, -1), strict=True):
            assert clip.mel is not None
            assert clip.mel.shape == (80, len(clip.samples) // 256)
            assert (clip.mel == value).all()
            assert isinstance(clip.mel, np.memmap) and isinstance(clip.samples, np.memmap)


def test_a_corpus_that_was_prepared_for_something_else(tmp_path: Path) -> None:
    other = prepared(tmp_path / "other", {"a": 10}, convention="speecht5")
    with pytest.raises(InputError, match=r"was prepared at 16000 Hz, but the mels are of 22050 Hz"):
        load(other)
    espnet = prepared(tmp_path / "espnet", {"a": 10}, mels=True, convention="espnet")
    with pytest.raises(InputError, match=r"with mels of the convention 'espnet', not 'hifigan'"):
        load(espnet)
    plain = prepared(tmp_path / "plain", {"a": 10}, convention="espnet")
    assert names(load(plain).train) == ["a"]  # samples are of no convention
    with pytest.raises(InputError, match=r"was prepared without mels; .* data\.mel_folder"):
        load(plain, mel_folder=str(tmp_path))
    with pytest.raises(InputError, match=r"None of the 1 clips below .* a is shorter than a crop"):
        load(plain, shortest=10_000)


def test_mels_beside_the_recordings(tmp_path: Path) -> None:
    """One fits, one is two frames short, one far too short, and one recording has none."""
    for i, (name, less) in enumerate({"a": 0, "b": 2, "c": 20}.items()):
        write(tmp_path / "deep" / f"{name}.wav", seed=i)
        mel = MelSpectrogram(preset("hifigan"))(torch.from_numpy(speech_like(0.5, RATE, i)))
        np.save(tmp_path / "deep" / f"{name}.npy", mel[:, : mel.shape[1] - less])
    write(tmp_path / "d.wav")
    corpus = load(tmp_path, mel_folder=str(tmp_path))
    assert names(corpus.train) == ["a", "b"]
    for clip in corpus.train:
        assert clip.mel is not None
        assert clip.mel.dtype == np.float32
        assert len(clip.samples) == 256 * clip.mel.shape[1]
    assert len(corpus.rejected) == 2
    assert "c.npy has 23 frames, but deep/c.wav has 43" in corpus.rejected[1]
    assert "d.wav has no mel of its name" in corpus.rejected[0]
    (note,) = corpus.notes
    assert note.startswith("1 of 2 mels differ in length")
