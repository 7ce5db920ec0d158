"""Recordings and mels of one name: found, checked, and cut to what they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from signals import speech_like
from tiny import HOP

from diffwave.data.data import sixteen_bit
from diffwave.data.pairs import MelFolder, length_notes
from diffwave.errors import InputError
from diffwave.mel import MelSpectrogram, preset

HIFIGAN, VOCOS = preset("hifigan"), preset("vocos")
SAMPLES = sixteen_bit(speech_like(0.6))
MEL = MelSpectrogram(HIFIGAN)(torch.from_numpy(SAMPLES / np.float32(32768)))


def folder(tmp_path: Path, **mels: object) -> Path:
    for name, mel in mels.items():
        np.save(tmp_path / f"{name}.npy", mel)
    return tmp_path


def pair(path: Path, tolerance: int = 4) -> tuple[NDArray[np.int16], NDArray[np.float32], int]:
    return MelFolder(str(path), HIFIGAN, tolerance).pair(Path("a.wav"), SAMPLES)


@pytest.mark.parametrize(("change", "frames"), [(0, 51), (-3, 48), (2, 51)])
def test_both_are_cut_to_the_common_frames(tmp_path: Path, change: int, frames: int) -> None:
    assert len(SAMPLES) // HOP == MEL.shape[1] == 51
    longer = np.concatenate((MEL, MEL[:, -2:]), axis=1)
    samples, mel, difference = pair(folder(tmp_path, a=longer[:, : 51 + change]))
    assert difference == change
    assert mel.shape == (80, frames)
    assert mel.dtype == np.float32
    np.testing.assert_array_equal(mel, MEL[:, :frames])
    np.testing.assert_array_equal(samples, SAMPLES[: frames * HOP])


def test_a_centred_frontends_last_frame_is_no_difference(tmp_path: Path) -> None:
    wave = speech_like(0.5, 24000)
    mel = MelSpectrogram(VOCOS)(torch.from_numpy(wave))
    assert mel.shape[1] == 1 + len(wave) // 256
    path = folder(tmp_path, a=mel)
    samples, cut, difference = MelFolder(str(path), VOCOS, 0).pair(Path("a.wav"), sixteen_bit(wave))
    assert difference == 0
    assert cut.shape[1] == len(wave) // 256
    assert len(samples) == cut.shape[1] * 256


def test_too_different_lengths_are_refused(tmp_path: Path) -> None:
    pair(folder(tmp_path, a=MEL[:, :-4]))
    with pytest.raises(InputError, match=r"a\.npy has 46 frames, but a\.wav has 51: more than"):
        pair(folder(tmp_path, a=MEL[:, :-5]))
    with pytest.raises(InputError, match=r"data\.mel_tolerance = 0 apart"):
        pair(folder(tmp_path, a=MEL[:, :-1]), tolerance=0)


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (MEL.T.numpy(), r"a\.npy: .* looks transposed"),
        (MEL.numpy() * np.nan, r"a\.npy: .* NaN"),
        (MEL.numpy() + 60, r"a\.npy: .* do not fit the 'hifigan' convention"),
        (np.stack((MEL, MEL)), r"a\.npy holds 2 mels"),
        (np.zeros((80, 51), np.int64), r"a\.npy: .* floating point"),
    ],
)
def test_a_mel_that_does_not_fit_is_named(tmp_path: Path, mel: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair(folder(tmp_path, a=mel))


def test_half_precision_and_a_batch_of_one(tmp_path: Path) -> None:
    _, mel, _ = pair(folder(tmp_path, a=MEL.half()[None]))
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, MEL, atol=5e-3)


def test_mels_are_found_by_path_and_then_by_name(tmp_path: Path) -> None:
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
    with pytest.raises(InputError, match=r"a\.wav has several mels, such as .*x/a.* and .*y/a"):
        mels.path_of(Path("a.wav"))
    with pytest.raises(InputError, match=r"d\.wav has several mels"):
        mels.path_of(Path("d.wav"))


def test_no_folder_and_no_mels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .* of mels; set data\.mel_folder"):
        MelFolder(str(tmp_path / "none"), HIFIGAN, 0)
    (tmp_path / "a.wav").touch()
    with pytest.raises(InputError, match=r"no mel \(\.npy, .*\) below"):
        MelFolder(str(tmp_path), HIFIGAN, 0)


def test_differences_are_counted() -> None:
    assert length_notes([0, 0]) == []
    (sentence,) = length_notes([0, -3, 2, 0])
    assert sentence.startswith("2 of 4 mels differ in length from their recordings, by -3 to +2 ")
