from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from signals import speech_like

from diffwave.audio import write_audio
from diffwave.errors import InputError
from diffwave.evaluation import report as report_module
from diffwave.evaluation.metrics import METRICS, Metric, Wave
from diffwave.evaluation.report import (
    Pair,
    Report,
    audio_files,
    evaluate_pairs,
    folder_pairs,
    resynthesis_pairs,
    summarise,
)

RATE = 22050
NAN = math.nan
OURS = ["mel_l1", "pause_level_db"]  # need no library


def pair(name: str = "one", seed: int = 0, gain: float = 1.0) -> Pair:
    wave = torch.from_numpy(speech_like(1.0, RATE, seed))
    return Pair(name, wave, gain * wave, RATE)


@pytest.fixture
def report() -> Report:
    return Report(
        sentences=("one", "t|wo", "three"),
        seconds=(1.0, 2.0, 3.5),
        lag_ms=(0.0, -1.5, 0.0),
        extra_ms=(0.0, 0.0, -250.0),
        values={"pesq": (4.0, 3.0, 2.0), "f0_cents": (12.5, NAN, NAN), "stoi": (NAN, NAN, NAN)},
        missing={"distillmos": "distillmos cannot be imported (no module)"},
        notes=("8 steps", "seed 0"),
    )


def test_scores_every_pair_and_reports_progress() -> None:
    seen: list[tuple[int, str]] = []
    pairs = [pair("one"), pair("two", 1, 0.5)]
    result = evaluate_pairs(iter(pairs), OURS, lambda done, name: seen.append((done, name)), ["hi"])
    assert seen == [(1, "one"), (2, "two")]
    assert result.sentences == ("one", "two")
    assert result.seconds == (1.0, 1.0)
    assert list(result.values) == OURS
    assert result.missing == {}
    assert result.notes == ("hi",)
    assert result.values["mel_l1"][0] == 0
    assert result.values["mel_l1"][1] == METRICS["mel_l1"].function(
        pairs[1].reference.numpy(), pairs[1].generated.numpy(), RATE
    )


def test_pairs_are_aligned_before_scoring() -> None:
    wave = pair().reference
    late = torch.cat([torch.zeros(441), wave, torch.zeros(2205)])
    result = evaluate_pairs([Pair("late", wave, late, RATE)], OURS)
    assert result.lag_ms == (20.0,)
    assert result.extra_ms == (120.0,)
    assert result.values["mel_l1"] == (0.0,)
    assert "lengths differ by more than 100 ms" in result.to_markdown()


def test_a_metric_without_its_library_is_reported_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(reference: Wave, generated: Wave, sample_rate: int) -> float:
        raise AssertionError

    monkeypatch.setitem(METRICS, "odd", Metric(never, "", "higher", "no_such_library", "none"))
    result = evaluate_pairs([pair()], ["odd", "mel_l1"])
    assert list(result.values) == ["mel_l1"]
    assert list(result.missing) == ["odd"]
    assert "**odd** is missing: no_such_library" in result.to_markdown()
    assert "no_such_library" in json.loads(result.to_json())["missing"]["odd"]


def test_all_metrics_are_the_default() -> None:
    result = evaluate_pairs([pair()])
    assert {*result.values, *result.missing} == set(METRICS)


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(0), torch.zeros(2, 100), torch.full((100,), NAN), torch.tensor(1.0)],
)
def test_bad_waves_are_named(bad: torch.Tensor) -> None:
    good = pair().reference
    for reference, generated in ((bad, good), (good, bad)):
        with pytest.raises(InputError, match=r"^Cannot score the-name: .*\.$"):
            evaluate_pairs([Pair("the-name", reference, generated, RATE)], OURS)


def test_a_batch_of_one_with_gradient_is_fine() -> None:
    wave = pair().reference
    generated = wave[None].clone().requires_grad_()
    assert evaluate_pairs([Pair("x", wave, generated, RATE)], OURS).values["mel_l1"] == (0.0,)


def test_nothing_to_evaluate() -> None:
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_pairs([], OURS)


def test_summary_of_known_values(report: Report) -> None:
    summary = report.summary()
    assert summary["pesq"].mean == 3.0
    assert summary["pesq"].n == 3
    assert 2.0 <= summary["pesq"].low < 3.0 < summary["pesq"].high <= 4.0
    assert summary["f0_cents"].mean == 12.5
    assert summary["f0_cents"].n == 1
    assert math.isnan(summary["f0_cents"].low)
    assert math.isnan(summary["f0_cents"].high)
    assert summary["stoi"].n == 0
    assert math.isnan(summary["stoi"].mean)


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.4, size=200)
    summary = summarise(list(values))
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert summary.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert summary.high == pytest.approx(values.mean() + half, abs=0.1 * half)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.integers(0, 3))
def test_summary_properties(values: list[float], undefined: int) -> None:
    summary = summarise(values + [NAN] * undefined)
    assert summary.n == len(values)
    assert str(summary) == str(summarise([NAN] * undefined + values))  # NaN != NaN
    if len(values) > 1:
        slack = 1e-9
        assert min(values) - slack <= summary.low <= summary.mean + slack
        assert summary.mean - slack <= summary.high <= max(values) + slack
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)


def test_json_is_strict_and_complete(report: Report) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(report.to_json(), parse_constant=refuse)
    assert document["metrics"]["pesq"]["mean"] == 3.0
    assert document["metrics"]["pesq"]["n"] == 3
    assert document["metrics"]["stoi"]["mean"] is None
    assert document["metrics"]["pesq"]["settings"] == METRICS["pesq"].settings
    assert document["sentences"][1] == {
        "sentence": "t|wo", "seconds": 2.0, "lag_ms": -1.5, "extra_ms": 0.0,
        "pesq": 3.0, "f0_cents": None, "stoi": None,
    }  # fmt: skip
    assert document["missing"] == report.missing
    assert document["notes"] == ["8 steps", "seed 0"]
    assert "cross-correlation" in document["method"]


def test_csv_reads_back(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [row["sentence"] for row in rows] == list(report.sentences)
    assert [float(row["pesq"]) for row in rows] == [4.0, 3.0, 2.0]
    assert [row["f0_cents"] for row in rows] == ["12.5", "", ""]


def test_markdown_tells_what_a_reader_must_know(report: Report) -> None:
    page = report.to_markdown()
    assert "# Evaluation of 3 sentences, 6.5 s" in page
    assert "- 8 steps" in page
    assert "| pesq (MOS-LQO) | higher | 3.000 |" in page
    assert "**f0_cents** is not defined for 2 of 3 sentences" in page
    assert "**distillmos** is missing" in page
    assert "In 1 of 3 pairs the lengths differ" in page
    rows = [line for line in page.splitlines() if line.startswith(("| one", "| t", "| three"))]
    assert [row.replace("\\|", "").count("|") for row in rows] == [8, 8, 8]


def test_save_by_suffix(tmp_path: Path, report: Report) -> None:
    for suffix, text in (
        (".json", report.to_json()), (".csv", report.to_csv()), (".md", report.to_markdown())
    ):  # fmt: skip
        report.save(tmp_path / f"scores{suffix}")
        assert (tmp_path / f"scores{suffix}").read_text(encoding="utf-8") == text
    for name in ("scores.txt", "scores"):
        with pytest.raises(InputError, match=r"\.json, \.csv, \.md\.$"):
            report.save(tmp_path / name)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "scores.csv", "scores.json", "scores.md"
    ]  # fmt: skip


def test_resynthesis_pairs_read_and_call(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_audio(
            tmp_path / f"s{seed}.wav", torch.from_numpy(speech_like(1.0, 16000, seed)), 16000
        )
    files = list(audio_files(tmp_path).values())
    result = evaluate_pairs(resynthesis_pairs(files, lambda wave: 0.5 * wave[:-100], RATE), OURS)
    assert result.sentences == ("s0", "s1")
    assert result.seconds == (1.0, 1.0)
    assert result.extra_ms == pytest.approx((-100 * 1000 / RATE,) * 2)
    assert result.values["pause_level_db"][0] < -3


def test_folder_pairs_match_names_and_rates(tmp_path: Path) -> None:
    (tmp_path / "ref").mkdir()
    (tmp_path / "gen").mkdir()
    wave = torch.from_numpy(speech_like(1.0, RATE))
    for name in ("a.flac", "b.wav", "c.wav"):
        write_audio(tmp_path / "ref" / name, wave, RATE)
    write_audio(tmp_path / "gen" / "b.ogg", torch.from_numpy(speech_like(1.0, 44100)), 44100)
    write_audio(tmp_path / "gen" / "a.wav", wave, RATE)
    (tmp_path / "gen" / "notes.txt").write_text("not audio")
    pairs, unmatched = folder_pairs(tmp_path / "ref", tmp_path / "gen")
    read = list(pairs)
    assert [p.name for p in read] == ["a", "b"]
    assert unmatched == ["c"]
    assert all(p.sample_rate == RATE and len(p.generated) == RATE for p in read)

    write_audio(tmp_path / "gen" / "d.wav", wave, RATE)
    with pytest.raises(InputError, match=r"d\.wav has no recording"):
        folder_pairs(tmp_path / "ref", tmp_path / "gen")


def test_folders_that_do_not_help(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        audio_files(tmp_path / "no")
    with pytest.raises(InputError, match="holds no audio"):
        audio_files(tmp_path)
    for name in ("a.wav", "a.flac"):
        write_audio(tmp_path / name, torch.zeros(10), RATE)
    with pytest.raises(InputError, match="the same name"):
        audio_files(tmp_path)


def test_the_method_is_the_code() -> None:
    # the sentence readers see quotes these constants
    assert f"{report_module.RESAMPLES} resamples, seed {report_module.SEED}" in report_module.METHOD
