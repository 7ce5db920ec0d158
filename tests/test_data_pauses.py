"""Where recordings are cut: in pauses, if there are any, and how loud their speech is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from signals import PAUSE_RMS, speech_like

from diffwave.data.config import PrepareConfig
from diffwave.data.pauses import frame_powers, frame_size, is_speech, pieces, speech_rms

RATE = 8000
FRAME = 80  # 10 ms
Wave = NDArray[np.float32]


def tone(seconds: float, level: float = 0.1) -> Wave:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sqrt(2) * np.sin(2 * np.pi * 500 * time)).astype(np.float32)


def hush(seconds: float) -> Wave:
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE))
    return (1e-4 * noise).astype(np.float32)


def cut(wave: Wave, **changes: object) -> list[tuple[float, float]]:
    """Start and end of the pieces in seconds."""
    config = PrepareConfig(**changes)  # type: ignore[arg-type]
    return [(start / RATE, end / RATE) for start, end in pieces(wave, RATE, config)]


def test_power_of_frames_and_of_the_incomplete_last_one() -> None:
    wave = np.concatenate((tone(0.02, 0.1), tone(0.01, 0.2), tone(0.004, 0.3)))
    assert frame_size(RATE) == FRAME
    np.testing.assert_allclose(frame_powers(wave, RATE), [0.01, 0.01, 0.04, 0.09], rtol=1e-4)


def test_an_offset_is_no_sound() -> None:
    wave = np.concatenate((hush(1), tone(1), hush(1)))
    np.testing.assert_allclose(frame_powers(wave + 0.3, RATE), frame_powers(wave, RATE), atol=1e-8)


@pytest.mark.parametrize("level", [0.002, 0.3])
def test_speech_is_found_whatever_its_level_and_however_little_there_is(level: float) -> None:
    wave = np.concatenate((hush(9) * level, tone(0.5, level), hush(9) * level))
    powers = frame_powers(wave, RATE)
    assert np.flatnonzero(is_speech(powers)).tolist() == list(range(900, 950))
    assert speech_rms(powers) == pytest.approx(level, rel=1e-3)


def test_pauses_in_a_noisy_recording() -> None:
    """Noise 30 dB below the speech: louder than a pause may be where there is no noise."""
    noise = 30 * hush(3)
    wave = noise + np.concatenate((tone(1), np.zeros(RATE, np.float32), tone(1)))
    speech = is_speech(frame_powers(wave, RATE))
    assert np.flatnonzero(~speech).tolist() == list(range(100, 200))


def test_what_is_all_alike_is_all_speech() -> None:
    assert is_speech(np.full(7, 0.25)).all()
    assert is_speech(np.zeros(7)).all()


def test_silence_at_the_ends_is_trimmed_to_the_margin() -> None:
    wave = np.concatenate((hush(2), tone(1), hush(3)))
    assert cut(wave) == [(1.8, 3.2)]
    assert cut(wave, margin_seconds=0.0) == [(2.0, 3.0)]
    assert cut(wave, margin_seconds=10.0) == [(0.0, 6.0)]
    assert cut(tone(1)) == [(0.0, 1.0)]


def test_what_is_short_enough_stays_whole() -> None:
    wave = np.concatenate((tone(3), hush(1), tone(3), hush(1), tone(3)))
    assert cut(wave, piece_seconds=(2.0, 11.0)) == [(0.0, 11.0)]


def test_cuts_are_in_the_middle_of_the_longest_pause_in_reach() -> None:
    """Pauses of 0.2 s at 3 s, 0.4 s at 4.2 s and 0.3 s at 7.6 s; pieces of 2 to 6 s."""
    wave = np.concatenate((tone(3), hush(0.2), tone(1), hush(0.4), tone(3), hush(0.3), tone(2.1)))
    first, second = cut(wave, piece_seconds=(2.0, 6.0), margin_seconds=10.0)
    assert first == (0.0, 4.4)
    assert second == (4.4, 10.0)
    first, second = cut(wave, piece_seconds=(2.0, 6.0), margin_seconds=0.1)
    assert first == pytest.approx((0.0, 4.3))
    assert second == pytest.approx((4.5, 10.0))


def test_without_a_pause_the_quietest_place_is_cut() -> None:
    soft = tone(0.2, 0.05)
    wave = np.concatenate((tone(3), soft, tone(3)))
    first, second = cut(wave, piece_seconds=(2.0, 5.0))
    assert first[0] == 0.0
    assert second[1] == pytest.approx(6.2)
    assert first[1] == second[0]
    assert 3.0 < first[1] < 3.2


def test_long_silence_between_pieces_is_left_out() -> None:
    wave = np.concatenate((tone(3), hush(30), tone(3)))
    assert cut(wave, piece_seconds=(2.0, 5.0)) == [(0.0, 3.2), (32.8, 36.0)]


@pytest.mark.parametrize("seed", range(3))
def test_speech_is_never_cut_where_it_pauses(seed: int) -> None:
    """Of half a minute of words, each piece begins and ends in room tone."""
    wave = speech_like(30, RATE, seed)
    config = PrepareConfig(piece_seconds=(1.0, 4.0))
    found = list(pieces(wave, RATE, config))
    assert len(found) >= 8
    assert all(RATE - FRAME <= end - start <= 4 * RATE for start, end in found)
    for start, end in found:
        for edge in (wave[start : start + FRAME], wave[end - FRAME : end]):
            assert np.sqrt(np.mean(edge**2)) < 3 * PAUSE_RMS
    lost = np.ones(len(wave), bool)
    for start, end in found:
        lost[start:end] = False
    assert np.abs(wave[lost]).max(initial=0) < 10 * PAUSE_RMS


@settings(max_examples=60, deadline=None)
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
    found = list(pieces(wave, RATE, PrepareConfig(piece_seconds=limits, margin_seconds=margin)))
    edges = [edge for piece in found for edge in piece]
    assert edges == sorted(edges)
    assert edges[0] >= 0 and edges[-1] <= len(wave)
    kept = np.zeros(len(wave), bool)
    for start, end in found:
        assert 0 < end - start <= factor * shortest * RATE + FRAME
        kept[start:end] = True
    powers = frame_powers(wave, RATE)
    spoken = np.repeat(is_speech(powers), FRAME)[: len(wave)]
    assert kept[spoken].all()
