"""A result as JSON and back, as tables, as a plot; scores from reports."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import scores
from bench_result import IDLE, made_up

from diffwave.bench.plot import check_plot, save_plot
from diffwave.bench.report import number, to_markdown
from diffwave.bench.result import METHOD, Quality, Result, read_quality
from diffwave.errors import InputError
from diffwave.eval import report


def test_json_and_back(tmp_path: Path) -> None:
    made_up().save(tmp_path / "bench.json")
    assert Result.load(tmp_path / "bench.json") == made_up()
    data = json.loads((tmp_path / "bench.json").read_text())
    assert data["method"] == METHOD
    assert data["timings"][0]["ratio_to"] == {"hifigan-v1": pytest.approx(2), "vocos": None}
    ratios = [timing["ratio_to"]["hifigan-v1"] for timing in data["timings"]]
    assert ratios[2:] == [1, None]  # of medians within a setting


def test_an_older_result_can_be_read(tmp_path: Path) -> None:
    data = json.loads(made_up().to_json())
    data["effort"] = {"name": "normal", "threads": [2, 1], "least_runs": 3, "budget": 3.0}
    for cost in data["costs"]:
        cost["subnormal_share"] = 0.0
    (tmp_path / "bench.json").write_text(json.dumps(data))
    assert to_markdown(Result.load(tmp_path / "bench.json")) == to_markdown(made_up())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ('{"format": 1, "timings": []}', "is damaged: "),
        ('{"format": 99, "timings": []}', "is not a result of `diffwave bench`"),
    ],
)
def test_another_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(InputError, match=words):
        Result.load(tmp_path / "bench.json")


SCORE = {"mean": 3.0, "interval": [2.9, 3.1], "n": 16}


@pytest.mark.parametrize("score", [SCORE, {"unit": "MOS", "systems": {"a": SCORE}}])
def test_scores_of_a_report(score: object, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"metrics": {"pesq": score}}))
    assert read_quality(path, "a") == Quality("pesq", 3.0, 2.9, 3.1, 16, "r.json")


def test_scores_of_a_report_as_it_is_written(tmp_path: Path) -> None:
    report.save(scores.made_up({"ours": {"pesq": (3.0, 3.5)}}), tmp_path / "r.json")
    quality = read_quality(tmp_path / "r.json", "anything")
    assert (quality.mean, quality.n) == (3.25, 2)
    assert quality.low is not None and 3.0 <= quality.low <= 3.25


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([], "not a JSON report of `diffwave evaluate` with the metric pesq"),
        ({"stoi": {}}, "not a JSON report"),
        ({"pesq": {"mean": None, "interval": [None, None], "n": 0}}, "not a JSON report"),
        ({"pesq": {"mean": 3.0}}, "not a JSON report"),
        ({"pesq": {"systems": {"b": SCORE}}}, "has no system 'a'; it has b"),
    ],
)
def test_a_report_without_the_score(metrics: object, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"metrics": metrics}))
    with pytest.raises(InputError, match=words):
        read_quality(tmp_path / "r.json", "a")


def cells(text: str, name: str) -> list[list[str]]:
    """Rows, as lists of cells, that have a cell `name`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in rows if name in row]


def test_systems_and_timings_are_tabled() -> None:
    text = to_markdown(made_up())
    about, centre = cells(text, "diffwave@2")
    assert about == [
        *("diffwave@2", "ours, 2 steps", "diffwave 0", "22050", "11.00M", "1.60"),
        *("25.0 (23.8 to 27.5)", "2.00 (1.90 to 2.20)", "700", "3.05"),
    ]
    assert centre == [
        *("1 thread, fp32, 1 x 1 s", "diffwave@2"),
        *("0.160", "0.144", "0.152 to 0.176", "3", "1.0", "4.00", "-"),
    ]
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
    assert "PESQ" not in to_markdown(dataclasses.replace(made_up(), quality={}))


def test_what_is_missing_and_a_busy_machine_are_said() -> None:
    text = to_markdown(made_up())
    assert "- **vocos** is missing: vocos cannot be imported (no module)." in text
    assert "- **hifigan-v1** is left out of cold start and memory: it was tired." in text
    assert "load average" not in text
    busy = to_markdown(made_up(dataclasses.replace(IDLE, load=3.0)))
    assert "**The load average was 3.0 when this began" in busy


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0005, "0.000500"), (0.00001234, "0.000012"), (1.0, "1.00"), (99.96, "100")],
)
def test_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_plot_shows_every_system(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing to draw with")

    def drawn(result: Result) -> str:
        save_plot(result, tmp_path / "plot.svg")
        return (tmp_path / "plot.svg").read_text()

    text = drawn(made_up())
    for words in ("diffwave@1", "diffwave@2", "hifigan-v1", "PESQ, wide band"):
        assert f"<!-- {words} -->" in text
    assert "<!-- real-time factor (1 thread, fp32, 1 x 1 s); less is faster -->" in text
    assert "busy" not in text
    assert "busy" in drawn(made_up(dataclasses.replace(IDLE, load=3.0)))
    assert "(no scores given)" in drawn(dataclasses.replace(made_up(), quality={}))
    bare = {n: dataclasses.replace(q, low=None, high=None) for n, q in made_up().quality.items()}
    assert "<!-- diffwave@2 -->" in drawn(dataclasses.replace(made_up(), quality=bare))
    assert "<!-- diffwave@2 -->" not in drawn(dataclasses.replace(made_up(), timings=()))


def test_a_plot_that_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Cannot write plot.gif: a plot ends in .png, .svg, .pdf"):
        check_plot("plot.gif")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"needs matplotlib .*install 'diffwave\[bench\]'"):
        check_plot("plot.png")
