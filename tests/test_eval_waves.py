from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import RMS, speech_like

from diffwave.eval.waves import MAX_LAG, Wave, align, at_rate

RATE = 22050


@pytest.fixture(scope="module")
def speech() -> Wave:
    return speech_like(3.0, RATE)


def noisy(wave: Wave, db: float, seed: int = 0) -> Wave:
    """White noise `db` below the speech."""
    noise = np.random.default_rng(seed).standard_normal(len(wave))
    return (wave + RMS * 10 ** (-db / 20) * noise).astype(np.float32)


def random_phases(wave: Wave) -> Wave:
    """The magnitudes of an STFT with other phases, as a generator may choose them."""
    import torch

    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(wave), 1024, 256, window=window, return_complex=True)
    torch.manual_seed(0)
    turned = spectrum * torch.exp(2j * torch.pi * torch.rand(spectrum.shape[0], 1))
    return torch.istft(turned, 1024, 256, window=window, length=len(wave)).numpy()


@pytest.mark.parametrize("delay", [0, 1, 7, 480, -333, 1100, -1100])
def test_a_delay_is_undone_to_the_sample(speech: Wave, delay: int) -> None:
    late = np.concatenate([np.zeros(max(delay, 0), np.float32), speech[max(-delay, 0) :]])
    reference, generated, lag = align(speech, late, RATE)
    assert round(lag * RATE) == delay
    assert len(reference) == len(generated) >= len(speech) - abs(delay)
    np.testing.assert_array_equal(reference, generated)


@given(delay=st.integers(-1000, 1000), gain=st.sampled_from([-1.0, 0.1, 3.0]), db=st.floats(20, 60))
@settings(max_examples=10, deadline=None)
def test_delay_is_found_whatever_the_gain_polarity_and_noise(
    delay: int, gain: float, db: float
) -> None:
    speech = speech_like(1.0, RATE, seed=5)
    late = np.pad(speech, 1000)[1000 - delay : 1000 - delay + len(speech)]
    assert (
        round(align(speech, (gain * noisy(late, db)).astype(np.float32), RATE)[2] * RATE) == delay
    )


def test_other_phases_do_not_pass_for_a_delay(speech: Wave) -> None:
    copy = random_phases(speech)
    assert np.corrcoef(speech, copy)[0, 1] < 0.5  # the waves have little in common
    for delay in (0, 400):
        late = np.concatenate([np.zeros(delay, np.float32), copy])
        assert abs(align(speech, late, RATE)[2] - delay / RATE) < 0.003


def test_a_delay_beyond_reach_is_left_alone_and_lengths_are_cut(speech: Wave) -> None:
    late = np.concatenate([np.zeros(5000, np.float32), speech])
    _, _, lag = align(speech, late, RATE)
    assert abs(lag) <= MAX_LAG + 0.001
    reference, generated, lag = align(speech, speech[:-777], RATE)
    assert lag == 0
    assert len(reference) == len(generated) == len(speech) - 777


def test_silence_and_single_samples_align(speech: Wave) -> None:
    silence = np.zeros(100, np.float32)
    for pair in [(speech, silence), (silence, speech), (silence, silence)]:
        reference, generated, lag = align(*pair, RATE)
        assert lag == 0
        assert len(reference) == len(generated) == 100
    assert align(speech[:1], speech[:1], RATE)[2] == 0


def test_resampling_keeps_the_duration_and_the_pitch() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32)
    (slower,) = at_rate(16000, 44100, tone)
    assert len(slower) == 16000
    assert np.argmax(np.abs(np.fft.rfft(slower))) == 440
    assert at_rate(44100, 44100, tone)[0] is not tone
