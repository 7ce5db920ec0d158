from __future__ import annotations

import math

import pandas as pd
import pytest
from scores import made_up

from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS
from diffwave.eval.scores import COLUMNS, Scores, common_utterances

NAN = math.nan
BASE = [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7]
BETTER = [v + 0.5 + 0.01 * i for i, v in enumerate(BASE)]


@pytest.fixture
def scores() -> Scores:
    """`good` is better on every utterance; `short` lacks the last one and is as good."""
    return made_up(
        {
            "plain": {"pesq": BASE, "loudness_db": [-1.0] * 8, "f0_cents": [NAN] * 8},
            "good": {"pesq": BETTER, "loudness_db": [0.5] * 8, "f0_cents": [10.0] * 8},
            "short": {
                "pesq": BETTER[:7], "loudness_db": [1.0] * 7, "f0_cents": [9.0] * 7,
                "extra_ms": [200.0] * 7,
            },
        },
        missing={"distillmos": "distillmos cannot be imported (no module)"},
    )  # fmt: skip


def test_means_are_over_the_common_utterances(scores: Scores) -> None:
    assert scores.systems == ["plain", "good", "short"]
    assert scores.metrics == ["pesq", "loudness_db", "f0_cents"]
    assert scores.common == [f"s{i}" for i in range(7)]
    assert scores.summary["pesq"]["plain"].mean == pytest.approx(3.3)
    assert {s.n for s in scores.summary["pesq"].values()} == {7}
    assert scores.summary["f0_cents"]["plain"].n == 0


def test_utterances_are_matched_by_name_not_by_place() -> None:
    table = made_up({"a": {"pesq": [1.0, 2.0, 3.0]}, "b": {"pesq": [1.0, 2.0, 3.0]}}).table
    turned = Scores(pd.concat([table[table["system"] == "a"], table[table["system"] == "b"][::-1]]))
    values = turned.values("pesq")
    assert list(values["a"]) == list(values["b"]) == [1.0, 2.0, 3.0]
    assert turned.tests["pesq"][0].p == 1


def test_tests_between_all_pairs(scores: Scores) -> None:
    tests = {(test.first, test.second): test for test in scores.tests["pesq"]}
    assert list(tests) == [("plain", "good"), ("plain", "short"), ("good", "short")]
    found = tests["plain", "good"]
    assert found.difference.mean == pytest.approx(-0.53)
    assert found.difference.high < 0
    assert found.p == pytest.approx(2 / 2**7)  # all signs alike: the most extreme of 2^7 patterns
    assert found.p_holm == pytest.approx(3 * found.p)
    assert tests["good", "short"].p == 1
    assert math.isnan(scores.tests["f0_cents"][0].p)


def test_where_zero_is_best_the_distance_from_zero_is_tested(scores: Scores) -> None:
    assert METRICS["loudness_db"].better == "zero"
    with_good, with_short, _ = scores.tests["loudness_db"]
    assert with_good.difference.mean == pytest.approx(0.5)
    assert with_short.difference.mean == 0  # -1 and 1 are as far
    assert scores.summary["loudness_db"]["plain"].mean == -1


def test_remarks_say_what_is_missing_or_odd(scores: Scores) -> None:
    assert scores.remarks() == [
        "plain: f0_cents is not defined for 8 of 8 utterances.",
        "short lacks s7: the 7 utterances that all systems have are compared.",
        "short: in 7 of 7 pairs the lengths differ by more than 100 ms.",
        "distillmos is missing: distillmos cannot be imported (no module).",
    ]
    few = made_up({"a": {"pesq": [2.0] * 5}, "b": {"pesq": [1.0] * 5}})
    assert few.remarks() == ["With fewer than 6 common utterances no p can fall below 0.05."]


def test_nothing_in_common_and_names_twice() -> None:
    assert common_utterances({"a": ["x", "y"], "b": ["y", "z"]}) == ["y"]
    with pytest.raises(InputError, match=r"No utterance is common to a, b, c"):
        common_utterances({"a": ["x", "y"], "b": ["y", "z"], "c": ["x", "z"]})
    with pytest.raises(InputError, match="the same name"):
        Scores(pd.DataFrame([("a", "x", "pesq", 1.0)] * 2, columns=COLUMNS))
