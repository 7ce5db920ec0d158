"""The table of scores: means and intervals, tests between systems, remarks, and its reports."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import NAN, made_up

from diffwave.base.errors import InputError
from diffwave.eval import report
from diffwave.eval.metrics import METRICS
from diffwave.eval.scores import (
    RESAMPLES,
    SEED,
    Scores,
    common_utterances,
    holm,
    listed,
    summarise,
    wilcoxon,
)

BASE = [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7]
BETTER = [v + 0.5 + 0.01 * i for i, v in enumerate(BASE)]


@pytest.fixture
def scores() -> Scores:
    """`go|od` is better on every utterance; `short` lacks the last one and is as good."""
    return made_up(
        {
            "plain": {"pesq": BASE, "loudness_db": [-1.0] * 8, "f0_cents": [NAN] * 8},
            "go|od": {"pesq": BETTER, "loudness_db": [0.5] * 8, "f0_cents": [10.0] * 8},
            "short": {
                "pesq": BETTER[:7], "loudness_db": [1.0] * 7, "f0_cents": [9.0] * 7,
                "extra_ms": [200.0] * 7,
            },
        },
        missing={"distillmos": "distillmos cannot be imported (no module)"},
        notes={"plain": [], "go|od": ["4 steps"], "short": []},
    )  # fmt: skip


@pytest.fixture
def one() -> Scores:
    values = {"pesq": [4.0, 3.0, 2.0], "f0_cents": [12.5, NAN, NAN], "stoi": [NAN] * 3}
    return made_up(
        {"system": values | {"lag_ms": [0.0, -1.5, 0.0]}},
        missing={"distillmos": "no module"},
        notes={"system": ["8 steps", "seed 0"]},
    )


def test_means_are_over_the_common_utterances(scores: Scores) -> None:
    assert scores.systems == ["plain", "go|od", "short"]
    assert scores.metrics == ["pesq", "loudness_db", "f0_cents"]
    assert scores.common == [f"s{i}" for i in range(7)]
    assert scores.summary["pesq"]["plain"].mean == pytest.approx(3.3)
    assert {s.n for s in scores.summary["pesq"].values()} == {7}
    assert scores.summary["f0_cents"]["plain"].n == 0
    assert common_utterances({"a": ["x", "y"], "b": ["y", "z"]}) == ["y"]
    with pytest.raises(InputError, match=r"No utterance is common to a, b, c"):
        common_utterances({"a": ["x", "y"], "b": ["y", "z"], "c": ["x", "z"]})


def test_utterances_are_matched_by_name_not_by_place() -> None:
    table = made_up({"a": {"pesq": [1.0, 2.0, 3.0]}, "b": {"pesq": [1.0, 2.0, 3.0]}}).table
    turned = Scores(pd.concat([table[:3], table[3:][::-1]]))
    values = turned.values("pesq")
    assert list(values["a"]) == list(values["b"]) == [1.0, 2.0, 3.0]
    assert turned.tests[0].p == 1


def test_tests_between_all_pairs(scores: Scores) -> None:
    tests = {(test.first, test.second): test for test in scores.tests if test.metric == "pesq"}
    assert list(tests) == [("plain", "go|od"), ("plain", "short"), ("go|od", "short")]
    found = tests["plain", "go|od"]
    assert found.difference.mean == pytest.approx(-0.53)
    assert found.difference.high < 0
    assert found.p == pytest.approx(2 / 2**7)  # all signs alike: the most extreme of 2^7 patterns
    assert found.p_holm == pytest.approx(3 * found.p)
    assert tests["go|od", "short"].p == 1
    assert math.isnan(next(test.p for test in scores.tests if test.metric == "f0_cents"))
    # where zero is best, of the distance from zero
    assert METRICS["loudness_db"].better == "zero"
    differences = [t.difference.mean for t in scores.tests if t.metric == "loudness_db"]
    assert differences == pytest.approx([0.5, 0, -0.5])  # -1 and 1 are as far
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
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


@settings(max_examples=25)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.integers(0, 3))
def test_summary_properties(values: list[float], undefined: int) -> None:
    summary = summarise(pd.Series(values + [NAN] * undefined))
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)
    if len(values) > 1:
        bounds = [min(values), summary.low, summary.mean, summary.high, max(values)]
        assert all(less <= more + 1e-9 for less, more in itertools.pairwise(bounds))
    else:
        assert math.isnan(summary.low) and math.isnan(summary.high)


def test_wilcoxon() -> None:
    assert wilcoxon(pd.Series([3.0, -1.0, 2.0, NAN, 4.0])) == 0.25  # 4 of 16 sign patterns
    assert math.isnan(wilcoxon(pd.Series([NAN])))
    assert wilcoxon(pd.Series([0.0] * 5)) == wilcoxon(pd.Series([0.0, 0.0, 1.0])) == 1


def test_holm_by_hand() -> None:
    # ordered .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, and no p below one before it
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.3]) == [0.3] and holm([]) == []
    with_gap = holm([NAN, 0.01, 0.03])  # what was not tested is not counted
    assert math.isnan(with_gap[0]) and with_gap[1:] == pytest.approx([0.02, 0.03])


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_of_one_system(one: Scores) -> None:
    document = strict(report.to_json(one))
    assert document.keys() == {"method", "notes", "metrics", "missing", "utterances"}
    pesq = document["metrics"]["pesq"]
    assert (pesq["mean"], pesq["n"], pesq["settings"]) == (3.0, 3, METRICS["pesq"].settings)
    assert 2.0 <= pesq["interval"][0] < 3.0 < pesq["interval"][1] <= 4.0
    assert document["metrics"]["stoi"]["mean"] is None
    assert document["utterances"][1] == {
        "utterance": "s1", "seconds": 2.0, "lag_ms": -1.5, "extra_ms": 0.0,
        "pesq": 3.0, "f0_cents": None, "stoi": None,
    }  # fmt: skip
    assert document["missing"] == {"distillmos": "no module"}
    assert document["notes"] == ["8 steps", "seed 0"]
    assert f"{RESAMPLES} resamples, seed {SEED}" in document["method"]


def test_json_of_several_systems(scores: Scores) -> None:
    document = strict(report.to_json(scores))
    assert document["metrics"]["pesq"]["systems"]["plain"]["mean"] == pytest.approx(3.3)
    assert document["common_utterances"] == [f"s{i}" for i in range(7)]
    test = document["tests"][0]
    assert (test["metric"], test["first"], test["second"]) == ("pesq", "plain", "go|od")
    assert test["mean_difference"] == pytest.approx(-0.53)
    assert document["notes"] == {"plain": [], "go|od": ["4 steps"], "short": []}
    assert len(document["utterances"]) == 23 and document["utterances"][0]["system"] == "plain"
    for word in ("Wilcoxon", "scipy ", "Holm"):
        assert word in document["tested"]


def test_csv_reads_back(one: Scores, scores: Scores) -> None:
    rows = list(csv.DictReader(io.StringIO(report.to_csv(one))))
    assert [(row["utterance"], float(row["pesq"])) for row in rows] == [
        ("s0", 4.0), ("s1", 3.0), ("s2", 2.0)
    ]  # fmt: skip
    assert [row["f0_cents"] for row in rows] == ["12.5", "", ""]
    rows = list(csv.DictReader(io.StringIO(report.to_csv(scores))))
    assert [row["system"] for row in rows] == ["plain"] * 8 + ["go|od"] * 8 + ["short"] * 7


def markdown(scores: Scores) -> str:
    """The page, its tables without the blanks that make them line up."""
    return re.sub(" +", " ", report.to_markdown(scores))


def test_markdown(one: Scores, scores: Scores) -> None:
    page = markdown(one)
    assert page.startswith("# Evaluation of 3 utterances, 6.0 s\n\n- 8 steps\n- seed 0\n")
    assert "| pesq (MOS-LQO) | higher | 3.000 (2.000 to 4.000) |" in page
    assert "- f0_cents is not defined for 2 of 3 utterances." in page
    assert "Paired tests" not in page
    assert f"| pesq | PESQ | pesq 0.0.4 | {METRICS['pesq'].settings} |" in page
    page = markdown(scores)
    assert page.startswith("# Evaluation of 3 systems on 7 common utterances, 14.0 s\n")
    assert "| metric | better | plain | go\\|od | short |" in page
    assert "| pesq (MOS-LQO) | plain | go\\|od | -0.530 | " in page
    assert "- go|od: 4 steps" in page
    many = {"a": {"pesq": [2.0 + 0.01 * i for i in range(20)]}, "b": {"pesq": [1.0] * 20}}
    assert "| 20 | < 0.001 | < 0.001 |" in markdown(made_up(many))


def test_names_cannot_act_in_a_spreadsheet_nor_break_a_table() -> None:
    values = {"a\nb": {"pesq": [1.0]}, "=c()": {"pesq": [2.0]}}
    scores = made_up(values, ["-d"], notes={"=c()": ["x\ny"]})
    rows = list(csv.DictReader(io.StringIO(report.to_csv(scores))))
    assert [(row["system"], row["utterance"]) for row in rows] == [
        (r"a\nb", "'-d"), ("'=c()", "'-d")
    ]  # fmt: skip
    assert float(rows[0]["pesq"]) == 1.0
    lines = report.to_markdown(scores).splitlines()
    assert sum(r"a\\nb" in line for line in lines) == 3  # its column, its test, its utterance
    assert r"- =c(): x\ny" in lines


def test_save_by_suffix(tmp_path: Path, one: Scores) -> None:
    writers = {".json": report.to_json, ".csv": report.to_csv, ".MD": report.to_markdown}
    for suffix, writer in writers.items():
        report.save(one, tmp_path / f"scores{suffix}")
        assert (tmp_path / f"scores{suffix}").read_text(encoding="utf-8") == writer(one)
    with pytest.raises(InputError, match=r"ends in \.json, \.csv or \.md\.$"):
        report.save(one, tmp_path / "scores.txt")
    assert len(list(tmp_path.iterdir())) == 3
