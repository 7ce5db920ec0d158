from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path

import pytest

from diffwave.errors import InputError
from diffwave.eval.comparison import Comparison, common_sentences
from diffwave.eval.metrics import METRICS
from diffwave.eval.report import Report

pytest.importorskip("scipy")
NAN = math.nan
NAMES = tuple(f"s{i}" for i in range(8))


def report(
    sentences: tuple[str, ...] = NAMES, note: str = "", extra: float = 0, **values: list[float]
) -> Report:
    count = len(sentences)
    return Report(
        sentences,
        (2.0,) * count,
        (0.0,) * count,
        (extra,) * count,
        {name: tuple(column) for name, column in values.items()},
        {"distillmos": "distillmos cannot be imported (no module)"},
        (note,) if note else (),
    )


@pytest.fixture
def comparison() -> Comparison:
    """`good` is better on every sentence; `short` lacks the first one and is as good."""
    base = [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7]
    better = [v + 0.5 + 0.01 * i for i, v in enumerate(base)]
    return Comparison(
        {
            "plain": report(pesq=base, loudness_db=[-1.0] * 8, f0_cents=[NAN] * 8),
            "good": report(note="4 steps", pesq=better, loudness_db=[0.5] * 8, f0_cents=[10.0] * 8),
            "sh|ort": report(
                NAMES[1:], extra=200, pesq=better[1:], loudness_db=[1.0] * 7, f0_cents=[9.0] * 7
            ),
        }
    )


def test_means_are_over_the_common_sentences(comparison: Comparison) -> None:
    assert comparison.common == list(NAMES[1:])
    summary = comparison.summary()
    assert summary["pesq"]["plain"].mean == pytest.approx(3.4)
    assert {s.n for s in summary["pesq"].values()} == {7}
    assert summary["f0_cents"]["plain"].n == 0


def test_sentences_are_matched_by_name_not_by_place() -> None:
    turned = report(NAMES[::-1], pesq=[float(i) for i in range(8)][::-1])
    result = Comparison({"a": report(pesq=[float(i) for i in range(8)]), "b": turned})
    assert result.values("pesq")["a"] == result.values("pesq")["b"]
    assert result.tests["pesq"]["a", "b"].p == 1


def test_tests_between_all_pairs(comparison: Comparison) -> None:
    tests = comparison.tests["pesq"]
    assert list(tests) == [("plain", "good"), ("plain", "sh|ort"), ("good", "sh|ort")]
    found = tests["plain", "good"]
    assert found.difference.mean == pytest.approx(-0.54)
    assert found.difference.high < 0
    assert found.p == pytest.approx(2 / 2**7)  # all signs alike: the most extreme of 2^7 patterns
    assert found.p_holm == pytest.approx(3 * found.p)
    assert tests["good", "sh|ort"].p == 1
    assert math.isnan(comparison.tests["f0_cents"]["plain", "good"].p)


def test_where_zero_is_best_the_distance_from_zero_is_tested(comparison: Comparison) -> None:
    assert METRICS["loudness_db"].better == "zero"
    tests = comparison.tests["loudness_db"]
    assert tests["plain", "good"].difference.mean == pytest.approx(0.5)
    assert tests["plain", "sh|ort"].difference.mean == 0  # -1 and 1 are as far
    assert comparison.summary()["loudness_db"]["plain"].mean == -1


def test_json_is_strict_and_complete(comparison: Comparison) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(comparison.to_json(), parse_constant=refuse)
    pesq = document["metrics"]["pesq"]
    assert pesq["settings"] == METRICS["pesq"].settings
    assert pesq["library"].startswith("pesq")
    assert list(pesq["systems"]) == ["plain", "good", "sh|ort"]
    assert pesq["systems"]["plain"]["mean"] == pytest.approx(3.4)
    assert len(pesq["systems"]["plain"]["interval"]) == 2
    assert document["common_sentences"] == list(NAMES[1:])
    assert len(document["tests"]) == 3 * 3
    assert document["tests"][0]["first"] == "plain"
    assert document["tests"][0]["p_holm"] == pytest.approx(6 / 2**7)
    assert document["notes"]["good"] == ["4 steps"]
    assert document["missing"] == {"distillmos": "distillmos cannot be imported (no module)"}
    assert len(document["sentences"]) == 8 + 8 + 7
    assert document["sentences"][0]["system"] == "plain"
    assert document["sentences"][0]["f0_cents"] is None
    for word in ("Wilcoxon", "scipy ", "Holm"):
        assert word in document["tested"]


def test_csv_has_every_sentence_of_every_system(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert [(row["system"], row["sentence"]) for row in rows[7:9]] == [
        ("plain", "s7"), ("good", "s0")
    ]  # fmt: skip
    assert len(rows) == 23


def test_markdown_shows_systems_side_by_side(comparison: Comparison) -> None:
    page = comparison.to_markdown()
    assert "# Evaluation of 3 systems on 7 common sentences" in page
    assert "| metric | better | plain | good | sh\\|ort |" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| pesq (MOS-LQO) | higher")]
    assert row.count(" to ") == 3
    assert "| pesq (MOS-LQO) | plain | good | -0.540 | " in page
    assert "- good: 4 steps" in page
    assert "sh|ort lacks s0: the 7 sentences that all systems have are compared." in page
    assert "sh|ort: In 7 of 7 pairs the lengths differ" in page
    assert "plain: **f0_cents** is not defined for 8 of 8 sentences" in page
    assert page.count("**distillmos** is missing") == 1
    assert "Wilcoxon" in page
    assert "can fall below" not in page


def test_p_that_cannot_be_small_is_told_and_tiny_p_is_shown_as_tiny() -> None:
    few = {"a": report(NAMES[:5], pesq=[2.0] * 5), "b": report(NAMES[:5], pesq=[1.0] * 5)}
    assert "no p can fall below 0.05" in Comparison(few).to_markdown()
    names = tuple(f"s{i}" for i in range(20))
    many = {
        "a": report(names, pesq=[2.0 + 0.01 * i for i in range(20)]),
        "b": report(names, pesq=[1.0] * 20),
    }
    assert "| 20 | < 0.001 | < 0.001 |" in Comparison(many).to_markdown()


def test_without_scipy_the_tests_are_told_missing(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert "**p** is missing: scipy cannot be imported" in comparison.to_markdown()
    assert json.loads(comparison.to_json())["tests"][0]["p"] is None


def test_save_by_suffix(tmp_path: Path, comparison: Comparison) -> None:
    for suffix, text in (
        (".json", comparison.to_json()),
        (".csv", comparison.to_csv()),
        (".md", comparison.to_markdown()),
    ):
        comparison.save(tmp_path / f"scores{suffix}")
        assert (tmp_path / f"scores{suffix}").read_text(encoding="utf-8") == text
    with pytest.raises(InputError, match=r"\.json, \.csv, \.md\.$"):
        comparison.save(tmp_path / "scores.pdf")


def test_nothing_in_common() -> None:
    assert common_sentences({"a": ["x", "y"], "b": ["y", "z"]}) == ["y"]
    with pytest.raises(InputError, match=r"No sentence is common to a, b, c"):
        common_sentences({"a": ["x", "y"], "b": ["y", "z"], "c": ["x", "z"]})
    with pytest.raises(InputError, match="common"):
        Comparison({"a": report(("x",), pesq=[1.0]), "b": report(("y",), pesq=[1.0])})
