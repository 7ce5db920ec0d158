"""One file on its way into a corpus: what is refused, how it is levelled, where it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from signals import speech_like

from diffwave.data.config import PrepareConfig
from diffwave.data.corpus import MelFolder
from diffwave.data.recording import (
    Recording,
    Remark,
    clipped_share,
    frame_powers,
    is_speech,
    pieces,
    speech_rms,
    take,
)
from diffwave.mel import MelSpectrogram, preset

RATE = 22050
LOW, FRAME = 8000, 80
"""A rate at which pieces are cut here, and its samples in 10 ms."""
KEEP = {"level": "keep", "margin_seconds": 100.0}
SPEECH = speech_like(1.0)
Wave = NDArray[np.float32]


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
    clip = np.rint(SPEECH * 32768).astype(np.int16)
    np.testing.assert_array_equal(recording.clips, [clip])
    recording.clips = []
    assert recording == Recording("a.wav", 1.0)


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
    else:
        wanted = -6 if kind == "peak" else 20 * np.log10(np.abs(wave).max())
        assert peak == pytest.approx(wanted, abs=0.01)


def test_one_gain_for_all_pieces_of_a_recording(tmp_path: Path) -> None:
    """The second half is 20 dB softer, and stays so."""
    wave = np.concatenate((speech_like(3), np.zeros(RATE // 2), 0.1 * speech_like(3)))
    loud, soft = taken(tmp_path, wave, piece_seconds=(1.0, 4.0)).clips
    assert decibels(loud) - decibels(soft) == pytest.approx(20, abs=1)


def test_other_rates_and_channels_are_converted_and_remarked(tmp_path: Path) -> None:
    for rate in (16000, 44100):
        recording = taken(tmp_path, speech_like(1.0, rate), rate, **KEEP)
        assert (recording.seconds, len(recording.clips[0])) == (1.0, RATE)
        kinds = [remark.kind for remark in recording.remarks]
        assert kinds == (["upsampled"] if rate < RATE else [])
        if kinds:
            assert "from 16000 to 22050 Hz; above 8000 Hz" in recording.remarks[0].sentence
    recording = taken(tmp_path, np.stack((SPEECH, np.zeros_like(SPEECH)), axis=1), **KEEP)
    np.testing.assert_allclose(recording.clips[0] / 32768, SPEECH / 2, atol=1e-4)
    sentence = "a.wav has 2 channels; their mean is taken."
    assert recording.remarks == [Remark("more than one channel", sentence)]


@pytest.mark.parametrize(
    ("wave", "kind"),
    [
        (SPEECH[:0], "unreadable"),
        (1e-4 * SPEECH, "silent"),
        (np.full(RATE, 0.5), "silent"),
        (np.clip(8 * SPEECH, -1, 1), "clipped"),
        (np.clip(8 * SPEECH, -1, 1) * 0.3, "clipped"),
        (np.full(RATE, np.nan), "unreadable"),
        (SPEECH[:5000], "too short"),
        (SPEECH[:1], "too short"),
        (np.concatenate((np.zeros(RATE), SPEECH[6000:8000], np.zeros(RATE))), "too short"),
    ],
)
def test_what_is_refused(tmp_path: Path, wave: NDArray[np.floating], kind: str) -> None:
    recording = taken(tmp_path, wave, margin_seconds=0.05)
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


def test_clipping_is_told_from_loud_speech() -> None:
    for factor in (0.5, 1.0):
        assert clipped_share(factor * SPEECH / np.abs(SPEECH).max()) < 1e-3
    limit = np.quantile(np.abs(SPEECH), 0.9)
    assert 0.08 < clipped_share(np.clip(SPEECH, -limit, limit)) < 0.1
    assert 0.04 < clipped_share(np.clip(SPEECH, -1, limit)) < 0.06


def test_a_recording_with_a_mel_is_neither_cut_nor_levelled(tmp_path: Path) -> None:
    config = preset("hifigan")
    wave = np.concatenate((np.zeros(RATE, np.float32), 0.1 * speech_like(3.0)))
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, wave, RATE)
    mel = MelSpectrogram(config)(torch.from_numpy(wave))
    np.save(tmp_path / "a.npy", mel[:, :-1])
    mels = MelFolder(str(tmp_path), config, 1)
    settings = PrepareConfig(piece_seconds=(0.5, 1.0))
    recording = take(tmp_path / "a.wav", "a.wav", RATE, settings, mels)
    (clip,) = recording.clips
    assert recording.mel_difference == -1 and recording.mel is not None
    assert len(clip) == recording.mel.shape[1] * 256 == (mel.shape[1] - 1) * 256
    np.testing.assert_allclose(clip / 32768, wave[: len(clip)], atol=1e-4)
    refused = take(tmp_path / "b.wav", "b.wav", RATE, settings, mels).rejected
    assert refused is not None and refused.kind == "no mel that fits"


# --- pauses ----------------------------------------------------------------------------------


def tone(seconds: float, level: float = 0.1) -> Wave:
    time = np.arange(round(seconds * LOW)) / LOW
    return (level * np.sqrt(2) * np.sin(2 * np.pi * 500 * time)).astype(np.float32)


def hush(seconds: float) -> Wave:
    noise = np.random.default_rng(0).standard_normal(round(seconds * LOW))
    return (1e-4 * noise).astype(np.float32)


def speech_frames(wave: Wave) -> list[int]:
    return np.flatnonzero(is_speech(frame_powers(wave, LOW))).tolist()


@pytest.mark.parametrize("level", [0.002, 0.3])
def test_speech_is_found_whatever_its_level_and_however_little_there_is(level: float) -> None:
    wave = np.concatenate((hush(9) * level, tone(0.5, level), hush(9) * level))
    assert speech_frames(wave) == list(range(900, 950))
    assert speech_rms(frame_powers(wave, LOW)) == pytest.approx(level, rel=1e-3)


def test_pauses_in_a_noisy_recording() -> None:
    """Noise 30 dB below the speech: louder than a pause may be where there is no noise."""
    wave = 30 * hush(3) + np.concatenate((tone(1), np.zeros(LOW, np.float32), tone(1)))
    assert speech_frames(wave) == [*range(100), *range(200, 300)]
    assert is_speech(np.full(7, 0.25)).all() and is_speech(np.zeros(7)).all()  # all alike


TRIMMED = np.concatenate((hush(2), tone(1), hush(3)))
PAUSES = np.concatenate((tone(3), hush(0.2), tone(1), hush(0.4), tone(3), hush(0.3), tone(2.1)))
"""Of 0.2 s at 3 s, 0.4 s at 4.2 s and 0.3 s at 7.6 s."""
TWO = {"piece_seconds": (2.0, 6.0)}


@pytest.mark.parametrize(
    ("wave", "changes", "expected"),
    [
        (TRIMMED, {}, [(1.8, 3.2)]),
        (TRIMMED, {"margin_seconds": 0.0}, [(2.0, 3.0)]),
        (TRIMMED, {"margin_seconds": 10.0}, [(0.0, 6.0)]),
        (tone(1), {}, [(0.0, 1.0)]),
        (np.concatenate((tone(3), hush(1), tone(3))), {"piece_seconds": (2.0, 7.0)}, [(0.0, 7.0)]),
        (PAUSES, TWO | {"margin_seconds": 10.0}, [(0.0, 4.4), (4.4, 10.0)]),
        (PAUSES, TWO | {"margin_seconds": 0.1}, [(0.0, 4.3), (4.5, 10.0)]),
        (np.concatenate((tone(3), hush(30), tone(3))), TWO, [(0.0, 3.2), (32.8, 36.0)]),
    ],
)
def test_where_recordings_are_cut(
    wave: Wave, changes: dict[str, object], expected: list[tuple[float, float]]
) -> None:
    config = PrepareConfig(**changes)  # type: ignore[arg-type]
    found = [(start / LOW, end / LOW) for start, end in pieces(wave, LOW, config)]
    np.testing.assert_allclose(found, expected)


def test_without_a_pause_the_quietest_place_is_cut() -> None:
    wave = np.concatenate((tone(3), tone(0.2, 0.05), tone(3)))
    first, second = pieces(wave, LOW, PrepareConfig(piece_seconds=(2.0, 5.0)))
    assert (first[0], second[1]) == (0, len(wave)) and first[1] == second[0]
    assert 3.0 < first[1] / LOW < 3.2


@settings(max_examples=60)
@given(
    parts=st.lists(st.tuples(st.floats(0.05, 4.0), st.booleans()), min_size=1, max_size=8),
    shortest=st.floats(0.1, 2.0),
    factor=st.floats(2.0, 5.0),
    margin=st.floats(0.0, 3.0),
)
def test_pieces_follow_each_other_and_keep_all_speech(
    parts: list[tuple[float, bool]], shortest: float, factor: float, margin: float
) -> None:
    wave = np.concatenate([tone(0.1), *(tone(s) if loud else hush(s) for s, loud in parts)])
    limits = (shortest, factor * shortest)
    found = list(pieces(wave, LOW, PrepareConfig(piece_seconds=limits, margin_seconds=margin)))
    edges = [edge for piece in found for edge in piece]
    assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= len(wave)
    kept = np.zeros(len(wave), bool)
    for start, end in found:
        assert 0 < end - start <= factor * shortest * LOW + FRAME
        kept[start:end] = True
    spoken = np.repeat(is_speech(frame_powers(wave, LOW)), FRAME)[: len(wave)]
    assert kept[spoken].all()
