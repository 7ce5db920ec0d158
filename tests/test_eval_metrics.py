from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from signals import RMS, speech_like

from diffwave.audio import resample
from diffwave.errors import InputError
from diffwave.eval import metrics, source_filter
from diffwave.eval.metrics import METRICS, choose_metrics, library_version
from diffwave.eval.waves import Wave

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


def noisy(wave: Wave, db: float, seed: int = 0) -> Wave:
    """White noise `db` below the speech."""
    noise = np.random.default_rng(seed).standard_normal(len(wave))
    return (wave + RMS * 10 ** (-db / 20) * noise).astype(np.float32)


def test_the_table_knows_every_expectation_above() -> None:
    assert set(METRICS) == {*PERFECT, "distillmos"}


@pytest.mark.parametrize("name", PERFECT)
@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_identical_waves_score_perfectly(name: str, rate: int) -> None:
    wave = speech_like(2.0, rate, seed=3)
    assert function_of(name)(wave, wave.copy(), rate) == pytest.approx(PERFECT[name], abs=1e-3)


@pytest.mark.parametrize(
    "name",
    ["pesq", "stoi", "mr_stft", "mel_l1", "mcd", "voicing_f1", "f0_cents", "periodicity_rmse"],
)
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
    undefined = {"pesq", "f0_cents", "pulse_sharpness", "envelope_correlation", "loudness_db",
                 "distillmos"}  # fmt: skip
    assert math.isnan(measure(speech, silence, RATE)) == (name in undefined)


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


def test_metrics_are_chosen_or_left_out_by_name() -> None:
    def names(*wanted: str) -> set[str]:
        return {name for chosen in choose_metrics(wanted) for name in chosen}

    assert names("mel_l1", "pesq") == {"mel_l1", "pesq"}
    assert names("-pesq", "-distillmos") == set(METRICS) - {"pesq", "distillmos"}
    assert names() == set(METRICS)
    with pytest.raises(InputError, match=r"no metric '-mos'"):
        choose_metrics(["-mos"])


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
