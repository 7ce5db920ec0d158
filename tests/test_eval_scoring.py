from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from signals import speech_like

from diffwave.errors import InputError
from diffwave.eval import source_filter
from diffwave.eval.metrics import METRICS, Metric
from diffwave.eval.pairs import Pair
from diffwave.eval.scoring import System, evaluate_pairs, evaluate_systems
from diffwave.eval.waves import Wave

RATE = 22050
NAN = math.nan
OURS = ["mel_l1", "pause_level_db"]  # need no library


def pair(name: str = "one", seed: int = 0, gain: float = 1.0) -> Pair:
    wave = torch.from_numpy(speech_like(1.0, RATE, seed))
    return Pair(name, wave, gain * wave, RATE)


def test_scores_every_pair_and_reports_progress() -> None:
    seen: list[tuple[int, str]] = []
    pairs = [pair("one"), pair("two", 1, 0.5)]
    result = evaluate_pairs(iter(pairs), OURS, lambda done, name: seen.append((done, name)), ["hi"])
    assert seen == [(1, "one"), (2, "two")]
    assert result.common == ["one", "two"]
    assert list(result.wide["seconds"]) == [1.0, 1.0]
    assert result.metrics == OURS
    assert result.missing == {}
    assert result.notes == {"system": ["hi"]}
    assert result.wide["mel_l1"].iloc[0] == 0
    assert result.wide["mel_l1"].iloc[1] == METRICS["mel_l1"].function(
        pairs[1].reference.numpy(), pairs[1].generated.numpy(), RATE
    )


def test_pairs_are_aligned_before_scoring() -> None:
    wave = pair().reference
    late = torch.cat([torch.zeros(441), wave, torch.zeros(2205)])
    result = evaluate_pairs([Pair("late", wave, late, RATE)], OURS)
    assert list(result.wide.iloc[0, :4]) == [1.0, 20.0, 120.0, 0.0]


def test_a_metric_without_its_library_is_reported_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(reference: Wave, generated: Wave, sample_rate: int) -> float:
        raise AssertionError

    monkeypatch.setitem(METRICS, "odd", Metric(never, "", "higher", "no_such_library", "none"))
    result = evaluate_pairs([pair()], ["odd", "mel_l1"])
    assert result.metrics == ["mel_l1"]
    assert list(result.missing) == ["odd"]
    assert result.missing["odd"].startswith("no_such_library cannot be imported (")


def test_all_metrics_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_filter, "CREPE", "tiny")
    result = evaluate_pairs([pair()])
    assert {*result.metrics, *result.missing} == set(METRICS)


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
    scores = evaluate_pairs([Pair("x", wave, generated, RATE)], OURS)
    assert scores.summary["mel_l1"]["system"].mean == 0


def test_nothing_to_evaluate() -> None:
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_pairs([], OURS)


def test_every_system_has_its_scores_and_its_files() -> None:
    one, two = pair("one"), pair("two", 1)
    files = Pair("two", two.reference, 0.5 * two.generated, RATE, Path("r.wav"), Path("g.wav"))
    seen: list[str] = []
    scores = evaluate_systems(
        {"a": System(iter([one, two]), ["hi"]), "b": System([files])},
        ["mel_l1"],
        lambda done, name: seen.append(f"{done} {name}"),
    )
    assert seen == ["1 one", "2 two", "3 two"]
    assert scores.utterances("a") == ["one", "two"]
    assert scores.common == ["two"]
    assert scores.notes == {"a": ["hi"], "b": []}
    assert list(scores.wide["mel_l1"])[:2] == [0.0, 0.0]
    assert scores.wide["mel_l1"].loc["b", "two"] > 0.5
    assert scores.references == {"two": Path("r.wav")}
    assert scores.generated == {"a": {}, "b": {"two": Path("g.wav")}}


@pytest.mark.slow
def test_processes_give_the_same_scores_in_the_same_order() -> None:
    pairs = [pair(f"s{seed}", seed, 0.8) for seed in range(5)]
    alone = evaluate_pairs(iter(pairs), OURS)
    seen: list[str] = []
    shared = evaluate_pairs(iter(pairs), OURS, lambda done, name: seen.append(name), jobs=2)
    assert seen == shared.common == ["s0", "s1", "s2", "s3", "s4"]
    pd.testing.assert_frame_equal(shared.table, alone.table)


@pytest.mark.slow
def test_a_bad_wave_stops_the_processes() -> None:
    bad = Pair("bad", torch.zeros(0), torch.zeros(10), RATE)
    with pytest.raises(InputError, match="Cannot score bad"):
        evaluate_pairs([pair(), bad], OURS, jobs=2)


@pytest.mark.slow
def test_a_process_that_is_killed_is_told() -> None:
    def pairs() -> Iterator[Pair]:
        yield pair()
        multiprocessing.active_children()[0].kill()
        for seed in range(8):
            yield pair(f"s{seed}", seed)

    with pytest.raises(InputError, match=r"^A scoring process was killed.*\.$"):
        evaluate_pairs(pairs(), OURS, jobs=2)
