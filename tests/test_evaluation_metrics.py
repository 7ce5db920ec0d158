from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import RMS, speech_like

from diffwave.audio import resample
from diffwave.errors import InputError
from diffwave.evaluation import metrics
from diffwave.evaluation.metrics import METRICS, Wave, align, choose_metrics, library_version

RATE = 22050
PERFECT = {"pesq": 4.644, "stoi": 1.0, "mr_stft": 0.0, "mel_l1": 0.0, "voicing_f1": 1.0,
           "f0_cents": 0.0, "pause_level_db": 0.0, "loudness_db": 0.0}  # fmt: skip


def function_of(name: str) -> Callable[[Wave, Wave, int], float]:
    if METRICS[name].library != "diffwave":
        pytest.importorskip(METRICS[name].library)
    return METRICS[name].function


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


def test_the_table_knows_every_expectation_above() -> None:
    assert set(METRICS) == {*PERFECT, "distillmos"}


@pytest.mark.parametrize("name", PERFECT)
@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_identical_waves_score_perfectly(name: str, rate: int) -> None:
    wave = speech_like(2.0, rate, seed=3)
    assert function_of(name)(wave, wave.copy(), rate) == pytest.approx(PERFECT[name], abs=1e-3)


@pytest.mark.parametrize("name", ["pesq", "stoi", "mr_stft", "mel_l1", "voicing_f1", "f0_cents"])
def test_more_noise_scores_worse(name: str, speech: Wave) -> None:
    measure = function_of(name)
    scores = [measure(speech, noisy(speech, db), RATE) for db in (60, 20, 10, 0)]
    if METRICS[name].better == "lower":
        scores = [-score for score in scores]
    if name == "f0_cents":  # frames that noise makes unvoiced no longer count
        assert scores[0] > scores[-1]
    else:
        assert all(better > worse for better, worse in pairwise(scores))


def test_white_noise_gives_the_textbook_mr_stft_of_a_gain(speech: Wave) -> None:
    # |1 - g| of spectral convergence and |ln g| of log magnitude, where the floor is not reached
    measure, gain = function_of("mr_stft"), 0.8
    loud = speech * 3 + noisy(np.zeros_like(speech), 0)
    expected = (1 - gain) + abs(math.log(gain))
    assert measure(loud, (gain * loud).astype(np.float32), RATE) == pytest.approx(
        expected, rel=1e-3
    )


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.5])
def test_a_gain_is_measured_and_not_normalised_away(speech: Wave, gain: float) -> None:
    db = 20 * math.log10(gain)
    loud = noisy(speech, 50)  # nowhere near the floors of the logarithms
    quiet = (gain * loud).astype(np.float32)
    assert function_of("pause_level_db")(loud, quiet, RATE) == pytest.approx(db, abs=0.05)
    assert function_of("loudness_db")(loud, quiet, RATE) == pytest.approx(db, abs=0.1)
    assert function_of("mel_l1")(loud, quiet, RATE) == pytest.approx(abs(math.log(gain)), rel=0.02)


@pytest.mark.parametrize("cents", [-100.0, -30.0, 30.0, 100.0])
def test_a_pitch_shift_shows_as_its_cents(speech: Wave, cents: float) -> None:
    shifted = speech_like(3.0, RATE, cents=cents)
    assert function_of("f0_cents")(speech, shifted, RATE) == pytest.approx(abs(cents), abs=3)
    assert function_of("voicing_f1")(speech, shifted, RATE) > 0.95


def test_voicing_that_is_lost_or_made_up_lowers_f1(speech: Wave) -> None:
    measure = function_of("voicing_f1")
    half = speech.copy()
    half[len(half) // 2 :] = noisy(np.zeros_like(half), 0)[len(half) // 2 :]  # a whisper
    assert 0.5 < measure(speech, half, RATE) < 0.8
    assert measure(speech, half, RATE) == pytest.approx(measure(half, speech, RATE))
    whisper = noisy(np.zeros_like(speech), 0)
    assert measure(speech, whisper, RATE) < 0.2


def test_hiss_in_pauses_alone_is_found(speech: Wave) -> None:
    measure = function_of("pause_level_db")
    # room tone is 60 dB below the speech: as much again makes 3 dB, noise 40 dB below makes 20
    assert measure(speech, noisy(speech, 60), RATE) == pytest.approx(3, abs=1)
    assert measure(speech, noisy(speech, 40), RATE) == pytest.approx(20, abs=2)
    louder_speech = np.where(np.abs(speech) > 0.01, 2 * speech, speech).astype(np.float32)
    assert abs(measure(speech, louder_speech, RATE)) < 0.5


def test_pauses_of_digital_silence_have_a_level(speech: Wave) -> None:
    gated = np.where(np.abs(speech) < 1e-3, 0, speech).astype(np.float32)
    assert 5 < function_of("pause_level_db")(gated, speech, RATE) < 30


def test_distillmos_hears_the_generated_wave_alone_and_prints_nothing(
    speech: Wave, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = function_of("distillmos")
    metrics._distillmos_model.cache_clear()
    clean = measure(speech, speech, RATE)
    noise = measure(speech, noisy(speech, 20), RATE)
    assert 1 <= clean <= 5
    assert 1 <= noise <= 5
    assert abs(clean - noise) > 0.01
    assert measure(noisy(speech, 0), speech, RATE) == clean  # the reference plays no part
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", METRICS)
def test_silence_and_snippets_give_nan_or_a_number_never_an_error(name: str, speech: Wave) -> None:
    measure = function_of(name)
    silence = np.zeros_like(speech)
    for reference, generated in [
        (speech, silence), (silence, speech), (silence, silence),
        (speech[:1], speech[:1]), (speech[:3000], speech[:3000]),
    ]:  # fmt: skip
        value = measure(reference, generated, RATE)
        assert isinstance(value, float)
        assert not math.isinf(value)
    undefined = {"pesq", "f0_cents", "loudness_db", "distillmos"}
    assert math.isnan(measure(speech, silence, RATE)) == (name in undefined)


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
    assert abs(lag) <= metrics.MAX_LAG + 0.001
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


def test_pesq_does_not_depend_on_the_file_rate(speech: Wave) -> None:
    import torch

    measure = function_of("pesq")
    reference, generated = (torch.from_numpy(w) for w in (speech, noisy(speech, 25)))
    here = measure(reference.numpy(), generated.numpy(), RATE)
    reference, generated = (resample(wave, RATE, 16000) for wave in (reference, generated))
    assert here == pytest.approx(measure(reference.numpy(), generated.numpy(), 16000), abs=1e-6)


def test_unknown_metric() -> None:
    with pytest.raises(InputError, match=r"no metric 'mos'.*pesq.*\.$"):
        choose_metrics(["pesq", "mos"])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pkg_resources":
            raise ModuleNotFoundError("No module named 'pkg_resources'")
        return real(name, *args, **kwargs)

    for module in [name for name in sys.modules if name.split(".")[0] == "pyworld"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pesq", None)  # what Python does for "not importable"
    monkeypatch.setattr(builtins, "__import__", without)
    found, missing = choose_metrics(["pesq", "mel_l1", "f0_cents"])
    assert list(found) == ["mel_l1"]
    assert list(missing) == ["pesq", "f0_cents"]
    assert "pesq cannot be imported" in missing["pesq"]
    assert "pyworld" in missing["f0_cents"]


def test_every_metric_says_its_version_and_settings() -> None:
    found, missing = choose_metrics()
    assert {*found, *missing} == set(METRICS)
    for metric in found.values():
        assert metric.settings
        assert library_version(metric).startswith(metric.library)
