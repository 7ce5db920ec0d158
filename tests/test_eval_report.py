from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS
from diffwave.eval.report import METHOD, Report
from diffwave.eval.statistics import RESAMPLES, SEED

NAN = math.nan


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


def test_the_method_states_the_bootstrap() -> None:
    assert f"{RESAMPLES} resamples, seed {SEED}" in METHOD
