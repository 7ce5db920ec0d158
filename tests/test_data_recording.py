"""One file on its way into a corpus: what is refused, and what becomes of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from signals import speech_like

from diffwave.data.config import PrepareConfig
from diffwave.data.pairs import MelFolder
from diffwave.data.pauses import frame_powers, speech_rms
from diffwave.data.recording import Recording, Remark, clipped_share, take
from diffwave.mel import MelSpectrogram, preset

RATE = 22050
KEEP = {"level": "keep", "margin_seconds": 100.0}
SPEECH = speech_like(1.0)


def taken(
    tmp_path: Path, wave: NDArray[np.floating], rate: int = RATE, **changes: object
) -> Recording:
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return take(path, "a.wav", RATE, PrepareConfig(**changes), None)  # type: ignore[arg-type]


def decibels(clip: NDArray[np.int16]) -> float:
    """Level of the speech, in dB of full scale."""
    return 20 * np.log10(speech_rms(frame_powers(clip.astype(np.float32) / 32768, RATE)))


def test_a_good_recording_is_one_clip_as_it_was(tmp_path: Path) -> None:
    recording = taken(tmp_path, SPEECH, **KEEP)
    assert (recording.file, recording.seconds, recording.mel) == ("a.wav", 1.0, None)
    assert recording.rejected is None
    assert not recording.remarks
    (clip,) = recording.clips
    np.testing.assert_array_equal(clip, np.rint(SPEECH * 32768).astype(np.int16))


@pytest.mark.parametrize(("kind", "seed"), [("rms", 1), ("peak", 2), ("keep", 3)])
@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_levels(tmp_path: Path, kind: str, seed: int, factor: float) -> None:
    wave = factor * speech_like(1.0, seed=seed)
    (clip,) = taken(tmp_path, wave, level=kind, rms_db=-30.0, peak_db=-6.0).clips
    peak = 20 * np.log10(np.abs(clip).max() / 32768)
    (loud,) = taken(tmp_path, wave, level="rms", rms_db=0.0, peak_db=-3.0).clips
    assert 20 * np.log10(np.abs(loud).max() / 32768) == pytest.approx(-3, abs=0.01)
    if kind == "rms":
        assert decibels(clip) == pytest.approx(-30, abs=0.05)
    elif kind == "peak":
        assert peak == pytest.approx(-6, abs=0.01)
    else:
        assert peak == pytest.approx(20 * np.log10(np.abs(wave).max()), abs=0.01)


def test_one_gain_for_all_pieces_of_a_recording(tmp_path: Path) -> None:
    """The second half is 20 dB softer, and stays so."""
    wave = np.concatenate((speech_like(3), np.zeros(RATE // 2), 0.1 * speech_like(3)))
    loud, soft = taken(tmp_path, wave, piece_seconds=(1.0, 4.0)).clips
    assert decibels(loud) - decibels(soft) == pytest.approx(20, abs=1)


def test_other_rates_are_resampled_and_lower_ones_told(tmp_path: Path) -> None:
    for rate in (16000, 44100):
        recording = taken(tmp_path, speech_like(1.0, rate), rate, **KEEP)
        assert recording.seconds == 1.0
        assert len(recording.clips[0]) == RATE
        kinds = [remark.kind for remark in recording.remarks]
        assert kinds == (["upsampled"] if rate < RATE else [])
    assert "from 16000 to 22050 Hz; above 8000 Hz" in (
        taken(tmp_path, speech_like(1.0, 16000), 16000).remarks[0].sentence
    )


def test_channels_are_averaged_and_told(tmp_path: Path) -> None:
    stereo = np.stack((SPEECH, np.zeros_like(SPEECH)), axis=1)
    recording = taken(tmp_path, stereo, **KEEP)
    np.testing.assert_allclose(recording.clips[0] / 32768, SPEECH / 2, atol=1e-4)
    (remark,) = recording.remarks
    assert remark == Remark("more than one channel", "a.wav has 2 channels; their mean is taken.")


@pytest.mark.parametrize(
    ("wave", "kind"),
    [
        (SPEECH[:0], "unreadable"),
        (np.zeros(RATE), "silent"),
        (1e-4 * SPEECH, "silent"),
        (np.full(RATE, 0.5), "silent"),
        (np.clip(8 * SPEECH, -1, 1), "clipped"),
        (np.clip(8 * SPEECH, -1, 1) * 0.3, "clipped"),
        (np.full(RATE, np.nan), "unreadable"),
        (SPEECH[:5000], "too short"),
        (SPEECH[:1], "too short"),
    ],
)
def test_what_is_refused(tmp_path: Path, wave: NDArray[np.floating], kind: str) -> None:
    recording = taken(tmp_path, wave)
    assert recording.rejected is not None
    assert recording.rejected.kind == kind
    assert str(tmp_path / "a.wav") in recording.rejected.sentence
    assert not recording.clips


def test_pieces_that_are_too_short_are_left_out_and_counted(tmp_path: Path) -> None:
    silence = np.zeros(3 * RATE)
    wave = np.concatenate((speech_like(2.5), silence, SPEECH[3000:8000], silence, speech_like(2.5)))
    recording = taken(tmp_path, wave, piece_seconds=(1.0, 4.0), shortest_seconds=1.0)
    assert len(recording.clips) == 2
    assert recording.remarks == [Remark("pieces too short", "1 of 3 pieces of a.wav are left out.")]


def test_silence_around_too_little_speech(tmp_path: Path) -> None:
    wave = np.concatenate((np.zeros(RATE), SPEECH[6000:8000], np.zeros(RATE)))
    recording = taken(tmp_path, wave, margin_seconds=0.05)
    assert recording.rejected is not None
    assert recording.rejected.kind == "too short"


def test_clipping_is_told_from_loud_speech() -> None:
    for factor in (0.5, 1.0):
        assert clipped_share(factor * SPEECH / np.abs(SPEECH).max()) < 1e-3
    limit = np.quantile(np.abs(SPEECH), 0.9)
    assert 0.08 < clipped_share(np.clip(SPEECH, -limit, limit)) < 0.1
    assert 0.04 < clipped_share(np.clip(SPEECH, -1, limit)) < 0.06
    assert clipped_share(np.zeros(0, np.float32)) == 0


def test_a_recording_with_a_mel_is_neither_cut_nor_levelled(tmp_path: Path) -> None:
    config = preset("hifigan")
    wave = np.concatenate((np.zeros(RATE, np.float32), 0.1 * speech_like(3.0)))
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    mel = MelSpectrogram(config)(torch.from_numpy(wave))
    np.save(tmp_path / "a.npy", mel[:, :-1])
    mels = MelFolder(str(tmp_path), config, 1)
    settings = PrepareConfig(piece_seconds=(0.5, 1.0))
    recording = take(tmp_path / "a.wav", "a.wav", RATE, settings, mels)
    (clip,) = recording.clips
    assert recording.mel_difference == -1
    assert recording.mel is not None
    assert len(clip) == recording.mel.shape[1] * 256 == (mel.shape[1] - 1) * 256
    np.testing.assert_allclose(clip / 32768, wave[: len(clip)], atol=1e-4)
    soundfile.write(tmp_path / "b.wav", wave, RATE)
    refused = take(tmp_path / "b.wav", "b.wav", RATE, settings, mels).rejected
    assert refused is not None
    assert refused.kind == "no mel that fits"
