"""The measures: what is perfect, what is worse, by how much; their libraries; alignment."""

from __future__ import annotations

import builtins
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import FORMANTS, RMS, speech_like

from diffwave.base.errors import InputError
from diffwave.base.libraries import import_library, needed_for, version_of
from diffwave.eval import metrics, source_filter
from diffwave.eval.metrics import METRICS, choose_metrics
from diffwave.eval.phase import envelope_correlation, pulse_sharpness
from diffwave.eval.waves import MAX_LAG, Wave, align, at_rate

RATE = 22050
PERFECT = {"pesq": 4.644, "stoi": 1.0, "mr_stft": 0.0, "mel_l1": 0.0, "mcd": 0.0,
           "voicing_f1": 1.0, "f0_cents": 0.0, "periodicity_rmse": 0.0, "pulse_sharpness": 0.0,
           "envelope_correlation": 0.0, "pause_level_db": 0.0, "loudness_db": 0.0}  # fmt: skip


@pytest.fixture(autouse=True)
def small_crepe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_filter, "CREPE", "tiny")
    source_filter._periodicity.cache_clear()


def function_of(name: str) -> Callable[[Wave, Wave, int], float]:
    if METRICS[name].library != "diffwave":
        pytest.importorskip(METRICS[name].library)
    return METRICS[name].function


@pytest.fixture(scope="module")
def speech() -> Wave:
    return speech_like(3.0, RATE)


def noisy(wave: Wave, db: float) -> Wave:
    """White noise `db` below the speech."""
    noise = np.random.default_rng(0).standard_normal(len(wave))
    return (wave + RMS * 10 ** (-db / 20) * noise).astype(np.float32)


def whisper(wave: Wave) -> Wave:
    return noisy(np.zeros_like(wave), 0)


@pytest.mark.parametrize("name", PERFECT)
@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_identical_waves_score_perfectly(name: str, rate: int) -> None:
    wave = speech_like(2.0, rate, seed=3)
    assert function_of(name)(wave, wave.copy(), rate) == pytest.approx(PERFECT[name], abs=1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_silence_and_snippets_give_nan_or_a_number_never_an_error(name: str, speech: Wave) -> None:
    measure, silence = function_of(name), np.zeros_like(speech)
    for reference, generated in [
        (speech, silence), (silence, speech), (silence, silence),
        (speech[:1], speech[:1]), (speech[:3000], speech[:3000]),
    ]:  # fmt: skip
        value = measure(reference, generated, RATE)
        assert isinstance(value, float) and not math.isinf(value)
    undefined = {"pesq", "f0_cents", "pulse_sharpness", "envelope_correlation", "loudness_db",
                 "distillmos"}  # fmt: skip
    assert math.isnan(measure(speech, silence, RATE)) == (name in undefined)


@pytest.mark.parametrize("gain", [0.5, 0.8, 1.5])
def test_a_gain_is_measured_and_not_normalised_away(speech: Wave, gain: float) -> None:
    db, nepers = 20 * math.log10(gain), abs(math.log(gain))
    loud = noisy(speech, 50)  # nowhere near the floors of the logarithms
    quiet = (gain * loud).astype(np.float32)
    assert function_of("pause_level_db")(loud, quiet, RATE) == pytest.approx(db, abs=0.05)
    assert function_of("loudness_db")(loud, quiet, RATE) == pytest.approx(db, abs=0.1)
    assert function_of("mel_l1")(loud, quiet, RATE) == pytest.approx(nepers, rel=0.02)
    # |1 - g| of spectral convergence and |ln g| of log magnitude
    loud = speech * 3 + whisper(speech)
    value = function_of("mr_stft")(loud, (gain * loud).astype(np.float32), RATE)
    assert value == pytest.approx(abs(1 - gain) + nepers, rel=1e-3)


def test_hiss_in_pauses_alone_is_found(speech: Wave) -> None:
    measure = function_of("pause_level_db")
    # room tone is 60 dB below the speech: as much again makes 3 dB, noise 40 dB below makes 20
    assert measure(speech, noisy(speech, 60), RATE) == pytest.approx(3, abs=1)
    assert measure(speech, noisy(speech, 40), RATE) == pytest.approx(20, abs=2)
    louder_speech = np.where(np.abs(speech) > 0.01, 2 * speech, speech).astype(np.float32)
    assert abs(measure(speech, louder_speech, RATE)) < 0.5
    gated = np.where(np.abs(speech) < 1e-3, 0, speech).astype(np.float32)
    assert 5 < measure(gated, speech, RATE) < 30  # digital silence has a level too


def test_distillmos_hears_the_generated_wave_alone_and_prints_nothing(
    speech: Wave, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = function_of("distillmos")
    metrics._distillmos_model.cache_clear()
    clean, noise = measure(speech, speech, RATE), measure(speech, noisy(speech, 20), RATE)
    assert 1 <= clean <= 5 and 1 <= noise <= 5 and abs(clean - noise) > 0.01
    assert measure(noisy(speech, 0), speech, RATE) == clean  # the reference plays no part
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("cents", [-100.0, -30.0, 30.0, 100.0])
def test_a_pitch_shift_shows_as_its_cents_and_is_no_other_timbre(
    speech: Wave, cents: float
) -> None:
    shifted = speech_like(3.0, RATE, cents=cents)
    assert function_of("f0_cents")(speech, shifted, RATE) == pytest.approx(abs(cents), abs=3)
    assert function_of("voicing_f1")(speech, shifted, RATE) > 0.95
    assert function_of("mcd")(speech, shifted, RATE) < 1


def test_voicing_that_is_lost_or_made_up_lowers_f1(speech: Wave) -> None:
    f1 = function_of("voicing_f1")
    half = np.where(np.arange(len(speech)) < len(speech) // 2, speech, whisper(speech))
    half = half.astype(np.float32)
    assert 0.5 < f1(speech, half, RATE) < 0.8
    assert f1(speech, half, RATE) == pytest.approx(f1(half, speech, RATE))
    assert f1(speech, whisper(speech), RATE) < 0.2


def filtered(wave: Wave, ripples: int, nepers: float) -> Wave:
    """ln amplitude raised by `nepers` times a cosine of `ripples` half periods on the mel axis."""
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    mel, low, high = (np.log1p(np.asarray(hertz) / 700) for hertz in (frequency, 40, RATE / 2))
    place = np.clip((mel - low) / (high - low), 0, 1)
    gain = np.exp(nepers * np.cos(np.pi * ripples * place))
    return np.fft.irfft(np.fft.rfft(wave) * gain, len(wave)).astype(np.float32)


@pytest.mark.parametrize("ripples", [1, 2, 4])
@pytest.mark.parametrize("nepers", [0.1, 0.3])
def test_mcd_of_a_filter_that_is_one_cepstral_coefficient(
    speech: Wave, ripples: int, nepers: float
) -> None:
    # by definition 10 / ln 10 sqrt(2 c^2); the room tone and CheapTrick's smoothing blur it
    expected = 10 / math.log(10) * math.sqrt(2) * nepers
    copy = filtered(speech, ripples, nepers)
    for pair in ((speech, copy), (copy, speech)):
        assert function_of("mcd")(*pair, RATE) == pytest.approx(expected, rel=0.08)


def test_mcd_leaves_level_and_pauses_out(speech: Wave) -> None:
    for gain in (0.1, 2.0):
        assert function_of("mcd")(speech, (gain * speech).astype(np.float32), RATE) < 1e-3
    gated = np.where(np.abs(speech) < 3e-4, 0, speech).astype(np.float32)
    assert function_of("mcd")(speech, gated, RATE) < 0.3  # only the edges of words
    assert function_of("mcd")(speech, noisy(speech, 0), RATE) > 5


def test_periodicity_of_speech_whisper_and_silence(speech: Wave) -> None:
    error, silence = function_of("periodicity_rmse"), np.zeros_like(speech)
    assert 0.3 < error(speech, whisper(speech), RATE) <= 1
    assert error(speech, whisper(speech), RATE) == error(whisper(speech), speech, RATE)
    assert error(silence, silence, RATE) == 0 and error(speech, silence, RATE) > 0.3
    faint = (1e-6 * speech).astype(np.float32)  # the network alone would hear a voice
    assert error(silence, faint, RATE) == 0


def voice(phase: float, delay: float = 0.0, f0: float = 120.0) -> Wave:
    """Pulses through formants; every harmonic's phase is off by up to `phase` radians."""
    time = np.arange(round(1.5 * RATE)) / RATE - delay
    pitch = f0 * (time + 0.1 * time**2)  # in periods; it glides
    offsets = np.random.default_rng(1).uniform(-phase, phase, size=100)
    wave = 1e-3 * np.random.default_rng(2).standard_normal(len(time))
    for harmonic in range(1, int(8000 / f0 / 1.3)):
        frequency = harmonic * f0
        gain = 0.05 + sum(1 / (1 + ((frequency - f) / width) ** 2) for f, width in FORMANTS)
        wave += 0.02 * gain * np.cos(2 * np.pi * harmonic * pitch + offsets[harmonic])
    return wave.astype(np.float32)


@pytest.mark.parametrize("measure", [pulse_sharpness, envelope_correlation])
def test_smeared_pulses_score_lower_step_by_step(measure: Any) -> None:
    sharp, soft, smeared = voice(0), voice(1.5), voice(math.pi)
    full = measure(sharp, smeared, RATE)
    assert full < measure(sharp, soft, RATE) < -0.05
    assert full < {pulse_sharpness: -1, envelope_correlation: -0.3}[measure]
    assert measure(smeared, sharp, RATE) == pytest.approx(-full)
    # level, polarity, a small delay and what is far below the loudest do not count
    assert measure(sharp, -0.1 * smeared, RATE) == pytest.approx(full, abs=1e-3)
    assert abs(measure(sharp, voice(0, delay=0.002), RATE)) < 0.01
    quiet, spoiled = (np.concatenate([sharp, 0.001 * tail]) for tail in (sharp, smeared))
    assert abs(measure(quiet, spoiled, RATE)) < 0.05


@given(
    delay=st.integers(-1100, 1100), gain=st.sampled_from([-1.0, 0.1, 3.0]), db=st.floats(20, 200)
)
@settings(max_examples=15)
def test_a_delay_is_undone_to_the_sample_whatever_gain_polarity_and_noise(
    delay: int, gain: float, db: float
) -> None:
    speech = speech_like(1.0, RATE, seed=5)
    late = np.concatenate([np.zeros(max(delay, 0), np.float32), speech[max(-delay, 0) :]])
    copy = (gain * noisy(late, db)).astype(np.float32)
    reference, generated, lag = align(speech, copy, RATE)
    assert round(lag * RATE) == delay
    assert len(reference) == len(generated) == len(speech) - max(-delay, 0)
    np.testing.assert_array_equal(reference, speech[max(-delay, 0) :])
    np.testing.assert_array_equal(generated, copy[max(delay, 0) :])


def test_other_phases_do_not_pass_for_a_delay(speech: Wave) -> None:
    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(speech), 1024, 256, window=window, return_complex=True)
    torch.manual_seed(0)
    turned = spectrum * torch.exp(2j * torch.pi * torch.rand(spectrum.shape[0], 1))
    copy = torch.istft(turned, 1024, 256, window=window, length=len(speech)).numpy()
    assert np.corrcoef(speech, copy)[0, 1] < 0.5  # the waves have little in common
    for delay in (0, 400):
        late = np.concatenate([np.zeros(delay, np.float32), copy])
        assert abs(align(speech, late, RATE)[2] - delay / RATE) < 0.003


def test_what_cannot_be_aligned_is_cut_to_one_length(speech: Wave) -> None:
    late = np.concatenate([np.zeros(5000, np.float32), speech])  # beyond reach
    assert abs(align(speech, late, RATE)[2]) <= MAX_LAG + 0.001
    silence = np.zeros(100, np.float32)
    for pair in [(speech, silence), (silence, speech), (silence, silence), (speech[:1], speech[:1]),
                 (speech, speech[:-777])]:  # fmt: skip
        reference, generated, lag = align(*pair, RATE)
        assert lag == 0
        assert len(reference) == len(generated) == min(map(len, pair))
    assert len(at_rate(16000, 44100, np.zeros(44100, np.float32))[0]) == 16000


def test_metrics_are_chosen_or_left_out_by_name() -> None:
    def names(*wanted: str) -> set[str]:
        return {name for chosen in choose_metrics(wanted) for name in chosen}

    assert names("mel_l1", "pesq") == {"mel_l1", "pesq"}
    assert names("-pesq", "-distillmos") == set(METRICS) - {"pesq", "distillmos"}
    assert names() == set(METRICS) == {*PERFECT, "distillmos"}
    for name in ("mos", "-mos"):
        with pytest.raises(InputError, match=rf"no metric '{name}'.*pesq.*\.$"):
            choose_metrics(["pesq", name])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)  # what Python does for "not importable"
    found, missing = choose_metrics(["pesq", "mel_l1"])
    assert list(found) == ["mel_l1"] and list(missing) == ["pesq"]
    assert missing["pesq"].startswith("pesq cannot be imported (")
    assert version_of("numpy") == f"numpy {np.__version__}"
    assert version_of("no_such_library") == "no_such_library"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("error", ["RuntimeError", "OSError", "ValueError", "ImportError"])
def test_whatever_an_import_raises_is_an_import_error_on_one_line(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library.py").write_text(
        f"import warnings\nwarnings.warn('old')\nraise {error}('built for\\nanother torch')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    warnings.simplefilter("error")  # the library's own are nobody's business
    with pytest.raises(ImportError) as caught:
        import_library("broken_library")
    assert str(caught.value) == "broken_library cannot be imported (built for another torch)"
    message = r"^Beauty needs pip install 'diffwave\[eval\]': broken_library .*\.$"
    with pytest.raises(InputError, match=message), needed_for("Beauty"):
        import_library("broken_library")


@pytest.mark.parametrize("name", ["torchcrepe", "distillmos"])
def test_a_torchaudio_that_does_not_fit_does_not_take_others_with_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    for module in [m for m in sys.modules if m.split(".")[0] in (name, "torchaudio")]:
        monkeypatch.delitem(sys.modules, module)
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == "torchaudio._extension":
            raise RuntimeError("different CUDA versions")
        return real(module, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio._extension", None)
        patch.setattr(builtins, "__import__", without)
        assert import_library(name).__name__ == name
    assert "torchaudio" not in sys.modules
