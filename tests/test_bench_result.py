"""Ratios, JSON and back, scores from reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_result import BF16, CENTRE
from bench_result import made_up as made_up_result
from scores import made_up

from diffwave.bench.result import METHOD, Quality, Result, read_quality
from diffwave.errors import InputError
from diffwave.eval import report


def test_ratios_are_of_medians_within_a_setting() -> None:
    result = made_up_result()
    assert result.ratio("diffwave@1", CENTRE, "hifigan-v1") == pytest.approx(2)
    assert result.ratio("hifigan-v1", CENTRE, "hifigan-v1") == 1
    assert result.ratio("diffwave@1", BF16, "hifigan-v1") is None
    assert result.ratio("diffwave@1", CENTRE, "vocos") is None


def test_json_and_back(tmp_path: Path) -> None:
    made_up_result().save(tmp_path / "bench.json")
    assert Result.load(tmp_path / "bench.json") == made_up_result()


def test_json_holds_method_ratios_and_machine() -> None:
    data = json.loads(made_up_result().to_json())
    assert data["method"] == METHOD
    assert data["machine"]["processor"] == "A Processor"
    first = data["timings"][0]
    assert first["ratio_to"] == {"hifigan-v1": pytest.approx(2), "vocos": None}
    assert first["rtf"]["n"] == 3
    assert first["setting"] == {"threads": 1, "precision": "fp32", "batch": 1, "seconds": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ("{}", "is not a result of `diffwave bench`"),
        ('{"format": 1, "timings": []}', "is damaged: "),
        ('{"format": 99, "timings": []}', "is not a result of `diffwave bench`"),
    ],
)
def test_another_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(InputError, match=words):
        Result.load(tmp_path / "bench.json")


def test_no_file() -> None:
    with pytest.raises(InputError, match="Cannot read /no/file: No such file"):
        Result.load("/no/file")


def test_scores_of_a_report(tmp_path: Path) -> None:
    scores = made_up({"ours": {"pesq": (3.0, 3.5), "mel_l1": (0.2, 0.3)}})
    report.save(scores, tmp_path / "r.json")
    quality = read_quality(tmp_path / "r.json", "anything")
    assert (quality.metric, quality.mean, quality.n) == ("pesq", 3.25, 2)
    assert quality.source == "r.json"
    assert quality.low is not None and 3.0 <= quality.low <= 3.25
    assert read_quality(tmp_path / "r.json", "anything", "mel_l1").mean == pytest.approx(0.25)


def test_scores_of_one_of_several(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    score = {"mean": 3.0, "interval": [2.9, 3.1], "n": 16}
    path.write_text(json.dumps({"metrics": {"pesq": {"unit": "MOS", "systems": {"a": score}}}}))
    assert read_quality(path, "a") == Quality("pesq", 3.0, 2.9, 3.1, 16, "r.json")
    with pytest.raises(InputError, match="has no system 'b'; it has a"):
        read_quality(path, "b")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"metrics": []},
        {"metrics": {"stoi": {}}},
        {"metrics": {"pesq": {"mean": None, "interval": [None, None], "n": 0}}},
        {"metrics": {"pesq": {"mean": 3.0}}},
    ],
)
def test_a_report_without_the_score(document: object, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="not a JSON report of `diffwave evaluate` with .* pesq"):
        read_quality(tmp_path / "r.json", "a")
