"""Clips of a folder of audio and of a prepared corpus, with mels of the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from signals import speech_like
from tiny import HOP, waveform_config

from diffwave.base.errors import InputError
from diffwave.data.config import DataConfig
from diffwave.data.corpus import Corpus, MelFolder, length_notes, load_corpus, sixteen_bit
from diffwave.data.crops import Clip, Framing
from diffwave.data.prepared import Entry, Prepared, ShardWriter
from diffwave.mel import MelSpectrogram, preset

RATE = 22050
HIFIGAN, VOCOS = preset("hifigan"), preset("vocos")
SAMPLES = sixteen_bit(speech_like(0.6))
MEL = MelSpectrogram(HIFIGAN)(torch.from_numpy(SAMPLES / np.float32(32768)))


def write(path: Path, seconds: float = 0.5, rate: int = RATE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech_like(seconds, rate, seed), rate)


def load(folder: Path, frames: int = 4, **settings: object) -> Corpus:
    """With crops of 256 samples a frame."""
    config = DataConfig(folder=str(folder), crop_frames=frames, **settings)  # type: ignore[arg-type]
    return load_corpus(config, Framing(waveform_config()), progress=False)


def names(clips: list[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def test_files_of_several_kinds_and_rates(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "deep" / "er" / "b.flac", rate=44100)
    write(tmp_path / "c.WAV", rate=16000)
    (tmp_path / "notes.txt").write_text("not audio")
    for hidden in ("._a.wav", ".0123456789abcdef.tmp.wav"):
        (tmp_path / hidden).write_bytes(b"not audio")
    corpus = load(tmp_path)
    assert sorted(names(corpus.train)) == ["a", "b", "c"]
    assert not corpus.rejected and not corpus.validation
    for clip in corpus.train:
        assert clip.samples.dtype == np.int16
        assert abs(len(clip.samples) - 0.5 * RATE) <= 2
    assert corpus.hours == pytest.approx(1.5 / 3600, rel=1e-3)
    wave = next(clip.wave() for clip in corpus.train if clip.name == "a")
    torch.testing.assert_close(wave, torch.from_numpy(speech_like(0.5)), rtol=0, atol=1 / 32700)


def test_validation_is_never_trained_on(tmp_path: Path) -> None:
    for name in ("LJ001-0001", "LJ001-0002", "LJ002-0001"):
        write(tmp_path / f"{name}.wav")
    write(tmp_path / "LJ001-0003.wav", seconds=0.02)  # too short for a crop, not to be judged by
    corpus = load(tmp_path, validation=["LJ001-*"])
    assert names(corpus.train) == ["LJ002-0001"]
    assert names(corpus.validation) == ["LJ001-0001", "LJ001-0002", "LJ001-0003"]


def test_what_cannot_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path / "good.wav")
    (tmp_path / "noise.wav").write_bytes(b"RIFF but not really a sound file")
    write(tmp_path / "short.wav", seconds=0.02)
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "torn.wav").write_bytes(whole[: len(whole) // 2])
    corpus = load(tmp_path)
    assert names(corpus.train) == ["good"]
    for name in ("noise.wav", "short.wav", "torn.wav"):
        assert sum(str(tmp_path / name) in sentence for sentence in corpus.rejected) == 1


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder to train on; set data\.folder"):
        load_corpus(DataConfig(), Framing(waveform_config()), progress=False)
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


def test_a_prepared_corpus(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"a": 10, "v": 5, "short": 3, "b": 20})
    corpus = load(folder)
    assert (names(corpus.train), names(corpus.validation)) == (["a", "b"], ["v"])
    assert corpus.rejected == ["short is shorter than a crop of 1024 samples."]
    assert corpus.hours == 30 * 256 / RATE / 3600
    assert corpus.train[1].wave().eq(3 / 32768).all() and corpus.train[1].mel is None
    corpus = load(folder, validation=["b.wav"])  # patterns split it anew
    assert (names(corpus.train), names(corpus.validation)) == (["a", "v"], ["b"])


@pytest.mark.parametrize(
    ("corpus", "settings", "sentence"),
    [
        ({"convention": "speecht5"}, {}, "was prepared at 16000 Hz, but the mels are of 22050 Hz"),
        ({"convention": "espnet", "mels": True}, {}, "with mels of the convention 'espnet', not"),
        ({}, {"mel_folder": "."}, r"was prepared without mels; .* data\.mel_folder"),
        ({}, {"frames": 40}, "None of the 1 clips below .* a is shorter than a crop"),
    ],
)
def test_a_corpus_that_was_prepared_for_something_else(
    corpus: dict[str, object], settings: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    prepared(tmp_path, {"a": 10}, **corpus)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=sentence):
        load(tmp_path, **settings)  # type: ignore[arg-type]


# --- mels beside the recordings --------------------------------------------------------------


def folder(tmp_path: Path, **mels: object) -> Path:
    for name, mel in mels.items():
        np.save(tmp_path / f"{name}.npy", mel)
    return tmp_path


def pair(path: Path, tolerance: int = 4) -> tuple[NDArray[np.int16], NDArray[np.float32], int]:
    return MelFolder(str(path), HIFIGAN, tolerance).pair(Path("a.wav"), SAMPLES)


def test_mels_beside_the_recordings(tmp_path: Path) -> None:
    """One fits, one is two frames short, one far too short, and one recording has none."""
    for i, (name, less) in enumerate({"a": 0, "b": 2, "c": 20}.items()):
        write(tmp_path / "deep" / f"{name}.wav", seed=i)
        mel = MelSpectrogram(HIFIGAN)(torch.from_numpy(speech_like(0.5, RATE, i)))
        np.save(tmp_path / "deep" / f"{name}.npy", mel[:, : mel.shape[1] - less])
    write(tmp_path / "d.wav")
    corpus = load(tmp_path, mel_folder=str(tmp_path))
    assert names(corpus.train) == ["a", "b"]
    for clip in corpus.train:
        assert clip.mel is not None and clip.mel.dtype == np.float32
        assert len(clip.samples) == 256 * clip.mel.shape[1]
    without, short = corpus.rejected
    assert "d.wav has no mel of its name" in without
    assert "c.npy has 23 frames, but deep/c.wav has 43" in short
    (note,) = corpus.notes
    assert note.startswith("1 of 2 mels differ in length from their recordings, by -2 to -2 ")
    assert length_notes([0, 0]) == []


@pytest.mark.parametrize(("change", "frames"), [(0, 51), (-3, 48), (2, 51)])
def test_both_are_cut_to_the_common_frames(tmp_path: Path, change: int, frames: int) -> None:
    longer = np.concatenate((MEL, MEL[:, -2:]), axis=1)
    samples, mel, difference = pair(folder(tmp_path, a=longer[:, : 51 + change]))
    assert difference == change
    np.testing.assert_array_equal(mel, MEL[:, :frames])
    np.testing.assert_array_equal(samples, SAMPLES[: frames * HOP])


def test_a_centred_frontends_last_frame_is_no_difference(tmp_path: Path) -> None:
    wave = speech_like(0.5, 24000)
    mel = MelSpectrogram(VOCOS)(torch.from_numpy(wave))
    assert mel.shape[1] == 1 + len(wave) // 256
    mels = MelFolder(str(folder(tmp_path, a=mel)), VOCOS, 0)
    samples, cut, difference = mels.pair(Path("a.wav"), sixteen_bit(wave))
    assert (difference, cut.shape[1], len(samples)) == (0, len(wave) // 256, cut.shape[1] * 256)


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (MEL[:, :-5], r"a\.npy has 46 frames, but a\.wav has 51: more than data\.mel_tolerance"),
        (MEL.T.numpy(), r"a\.npy: .* looks transposed"),
        (MEL.numpy() + 60, r"a\.npy: .* do not fit the 'hifigan' convention"),
        (np.stack((MEL, MEL)), r"a\.npy: it holds 2 mel-spectrograms"),
    ],
)
def test_a_mel_that_does_not_fit_is_named(tmp_path: Path, mel: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair(folder(tmp_path, a=mel))


def test_mels_are_found_by_path_and_then_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .* of mels; set data\.mel_folder"):
        MelFolder(str(tmp_path / "none"), HIFIGAN, 0)
    with pytest.raises(InputError, match=r"no mel \(\.npy, .*\) below"):
        MelFolder(str(tmp_path), HIFIGAN, 0)
    for place in ("x/a.npy", "y/a.npy", "x/deep/b.npy", "c.v2.npy", "d.npy", "d.pt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    mels = MelFolder(str(tmp_path), HIFIGAN, 0)
    assert mels.path_of(Path("x/a.wav")) == tmp_path / "x" / "a.npy"
    assert mels.path_of(Path("y/a.flac")) == tmp_path / "y" / "a.npy"
    assert mels.path_of(Path("b.wav")) == mels.path_of(Path("z/b.wav"))
    assert mels.path_of(Path("c.v2.wav")) == tmp_path / "c.v2.npy"
    with pytest.raises(InputError, match=r"c\.wav has no mel of its name below"):
        mels.path_of(Path("c.wav"))
    for name, sentence in (("a", "a.wav has several mels, such as .*x/a.* and .*y/a"), ("d", "d")):
        with pytest.raises(InputError, match=sentence):
            mels.path_of(Path(f"{name}.wav"))
