from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scores import made_up

from diffwave.errors import InputError
from diffwave.eval import report
from diffwave.eval.metrics import METRICS
from diffwave.eval.scores import Scores
from diffwave.eval.statistics import RESAMPLES, SEED

NAN = math.nan
BASE = [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7]


@pytest.fixture
def one() -> Scores:
    values = {"pesq": [4.0, 3.0, 2.0], "f0_cents": [12.5, NAN, NAN], "stoi": [NAN, NAN, NAN]}
    return made_up(
        {"system": values | {"lag_ms": [0.0, -1.5, 0.0]}},
        missing={"distillmos": "no module"},
        notes={"system": ["8 steps", "seed 0"]},
    )


@pytest.fixture
def several() -> Scores:
    return made_up(
        {
            "plain": {"pesq": BASE, "f0_cents": [NAN] * 8},
            "go|od": {"pesq": [v + 0.5 for v in BASE], "f0_cents": [1.0] * 8},
        },
        notes={"plain": [], "go|od": ["4 steps"]},
    )


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_of_one_system(one: Scores) -> None:
    document = strict(report.to_json(one))
    assert list(document) == ["method", "notes", "metrics", "missing", "sentences"]
    pesq = document["metrics"]["pesq"]
    assert (pesq["mean"], pesq["n"], pesq["settings"]) == (3.0, 3, METRICS["pesq"].settings)
    assert 2.0 <= pesq["interval"][0] < 3.0 < pesq["interval"][1] <= 4.0
    assert document["metrics"]["stoi"]["mean"] is None
    assert document["sentences"][1] == {
        "sentence": "s1", "seconds": 2.0, "lag_ms": -1.5, "extra_ms": 0.0,
        "pesq": 3.0, "f0_cents": None, "stoi": None,
    }  # fmt: skip
    assert document["missing"] == {"distillmos": "no module"}
    assert document["notes"] == ["8 steps", "seed 0"]
    assert f"{RESAMPLES} resamples, seed {SEED}" in document["method"]


def test_json_of_several_systems(several: Scores) -> None:
    document = strict(report.to_json(several))
    assert document["metrics"]["pesq"]["systems"]["plain"]["mean"] == pytest.approx(3.35)
    assert document["common_sentences"] == [f"s{i}" for i in range(8)]
    test = document["tests"][0]
    assert (test["metric"], test["first"], test["second"]) == ("pesq", "plain", "go|od")
    assert test["p"] == test["p_holm"] == pytest.approx(2 / 2**8)
    assert document["notes"] == {"plain": [], "go|od": ["4 steps"]}
    assert len(document["sentences"]) == 16
    assert document["sentences"][0]["system"] == "plain"
    for word in ("Wilcoxon", "scipy ", "Holm"):
        assert word in document["tested"]


def test_csv_reads_back(one: Scores, several: Scores) -> None:
    rows = list(csv.DictReader(io.StringIO(report.to_csv(one))))
    assert [(row["sentence"], float(row["pesq"])) for row in rows] == [
        ("s0", 4.0), ("s1", 3.0), ("s2", 2.0)
    ]  # fmt: skip
    assert [row["f0_cents"] for row in rows] == ["12.5", "", ""]
    rows = list(csv.DictReader(io.StringIO(report.to_csv(several))))
    assert [row["system"] for row in rows] == ["plain"] * 8 + ["go|od"] * 8


def test_markdown_of_one_system(one: Scores) -> None:
    page = report.to_markdown(one)
    assert page.startswith("# Evaluation of 3 utterances, 6.0 s\n\n- 8 steps\n- seed 0\n")
    assert "| pesq (MOS-LQO) | higher | 3.000 (2.000 to 4.000) |" in page
    assert "- f0_cents is not defined for 2 of 3 utterances." in page
    assert "Paired tests" not in page
    assert f"| pesq | PESQ | pesq 0.0.4 | {METRICS['pesq'].settings} |" in page


def test_markdown_of_several_systems(several: Scores) -> None:
    page = report.to_markdown(several)
    assert page.startswith("# Evaluation of 2 systems on 8 common utterances, 16.0 s\n")
    assert "| metric | better | plain | go\\|od |" in page
    assert "| pesq (MOS-LQO) | plain | go\\|od | -0.500 | " in page
    assert "- go|od: 4 steps" in page
    many = {"a": {"pesq": [2.0 + 0.01 * i for i in range(20)]}, "b": {"pesq": [1.0] * 20}}
    assert "| 20 | < 0.001 | < 0.001 |" in report.to_markdown(made_up(many))


def test_names_cannot_act_in_a_spreadsheet_nor_break_a_table() -> None:
    scores = made_up({"a\nb": {"pesq": [1.0]}, "=c()": {"pesq": [2.0]}})
    scores = Scores(scores.table.replace({"utterance": {"s0": "-d"}}), notes={"=c()": ["x\ny"]})
    rows = list(csv.DictReader(io.StringIO(report.to_csv(scores))))
    assert [(row["system"], row["sentence"]) for row in rows] == [
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
    for name in ("scores.txt", "scores"):
        with pytest.raises(InputError, match=r"ends in \.json, \.csv or \.md\.$"):
            report.save(one, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 3


def test_without_any_metric_there_is_still_a_report() -> None:
    table = made_up({"a": {"pesq": [1.0]}}).table
    scores = Scores(table[table["metric"] != "pesq"], missing={"pesq": "gone"})
    assert isinstance(scores.wide, pd.DataFrame)
    assert json.loads(report.to_json(scores))["metrics"] == {}
    assert "- pesq is missing: gone." in report.to_markdown(scores)
