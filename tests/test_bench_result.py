"""A result as JSON and back, as tables, as a plot; `diffwave bench` as people start it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from made_scores import made_up as made_up_scores
from told import one_line, process

from diffwave import cli
from diffwave.base.errors import InputError
from diffwave.base.text import number
from diffwave.bench.measure import EFFORTS
from diffwave.bench.result import (
    METHOD,
    Cost,
    LeftOut,
    Quality,
    Result,
    Setting,
    Spread,
    Timing,
    read_quality,
    save_plot,
    to_markdown,
)
from diffwave.eval import report

CENTRE, BF16 = Setting(1, "fp32", 1, 1), Setting(1, "bf16", 1, 1)
SCORE = {"mean": 3.0, "interval": [2.9, 3.1], "n": 16}


def around(middle: float) -> Spread:
    return Spread.of([0.9 * middle, middle, 1.2 * middle])


RESULT = Result(
    machine="A Processor, 2 cores",
    busy="",
    versions=("python 3.11", "torch 2"),
    effort="normal",
    costs=(
        Cost("diffwave@1", "ours, 1 step", "diffwave 0", 22050, 11_000_000, 0.9),
        Cost(
            *("diffwave@2", "ours, 2 steps", "diffwave 0", 22050, 11_000_000, 1.6),
            *(around(25.0), around(2.0), Spread.of([700.0])),
        ),
        Cost("hifigan-v1", "V1", "transformers 5", 22050, 13_920_000, 30.0),
    ),
    timings=(
        Timing("diffwave@1", CENTRE, around(0.08), 1.0),
        Timing("diffwave@2", CENTRE, around(0.16), 1.0),
        Timing("hifigan-v1", CENTRE, around(0.04), 1.0),
        Timing("diffwave@1", BF16, around(0.02), 0.5),
    ),
    left_out=(
        LeftOut("vocos", "everything", "vocos cannot be imported (no module)"),
        LeftOut("hifigan-v1", "cold start and memory", "it was tired."),
    ),
    quality={"diffwave@2": Quality(3.05, 2.98, 3.12, 16, "two.json")},
)
BUSY = dataclasses.replace(RESULT, busy="The load average was 3.0 when this began.")


def test_json_and_back(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "bench.json")
    assert Result.load(tmp_path / "bench.json") == RESULT
    data = json.loads((tmp_path / "bench.json").read_text())
    assert data["method"] == METHOD
    assert data["timings"][0]["ratio_to"] == {"hifigan-v1": pytest.approx(2), "vocos": None}
    ratios = [timing["ratio_to"]["hifigan-v1"] for timing in data["timings"]]
    assert ratios[2:] == [1, None]  # of medians within a setting
    (tmp_path / "bench.json").write_text('{"format": 1}')
    with pytest.raises(InputError, match="is not a result of `diffwave bench`"):
        Result.load(tmp_path / "bench.json")


def test_scores_of_a_report(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    unscored = {"mean": None, "interval": None, "n": 0}
    for score in (SCORE, {"unit": "MOS", "systems": {"a": SCORE, "b": unscored}}):
        path.write_text(json.dumps({"metrics": {"pesq": score}}))
        assert read_quality(path, "a") == Quality(3.0, 2.9, 3.1, 16, "r.json")
    report.save(made_up_scores({"ours": {"pesq": (3.0, 3.5)}}), path)
    quality = read_quality(path, "anything")
    assert (quality.mean, quality.n) == (3.25, 2)
    assert quality.low is not None and 3.0 <= quality.low <= 3.25


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([], "not a JSON report of `diffwave evaluate` with the metric pesq"),
        ({"stoi": {}}, "not a JSON report"),
        ({"pesq": 3.0}, "not a JSON report"),
        ({"pesq": {"mean": None, "interval": [None, None], "n": 0}}, "not a JSON report"),
        ({"pesq": {"systems": {"b": SCORE}}}, "has no system 'a'; it has b"),
    ],
)
def test_a_report_without_the_score(metrics: object, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"metrics": metrics}))
    with pytest.raises(InputError, match=words):
        read_quality(tmp_path / "r.json", "a")


def test_systems_and_timings_are_tabled() -> None:
    text = to_markdown(RESULT)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    about, centre = (row for row in cells if "diffwave@2" in row)
    assert about == [
        *("diffwave@2", "ours, 2 steps", "diffwave 0", "22050", "11.00M", "1.60"),
        *("25.0 (23.8 to 27.5)", "2.00 (1.90 to 2.20)", "700", "3.05"),
    ]
    assert centre == [
        *("1 thread, fp32, 1 x 1 s", "diffwave@2"),
        *("0.160", "0.144", "0.152 to 0.176", "3", "1.0", "4.00", "-"),
    ]
    assert str(Setting(2, "bf16", 8, 0.25)) == "2 threads, bf16, 8 x 0.25 s"
    assert "PESQ" not in to_markdown(dataclasses.replace(RESULT, quality={}))
    assert "- **vocos** is left out of everything: vocos cannot be imported (no module)." in text
    assert "- **hifigan-v1** is left out of cold start and memory: it was tired." in text
    assert "load average" not in text
    shown = [number(value) for value in (0.0, 0.0005, 0.00001234, 1.0, 99.96)]
    assert shown == ["0", "0.000500", "0.000012", "1.00", "100"]  # three digits, no exponent
    assert "**The load average was 3.0 when this began.**" in to_markdown(BUSY)


def test_the_plot_shows_every_system(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing to draw with")

    def drawn(result: Result) -> str:
        save_plot(result, tmp_path / "plot.svg")
        return (tmp_path / "plot.svg").read_text()

    text = drawn(RESULT)
    for words in ("diffwave@1", "diffwave@2", "hifigan-v1", "PESQ, wide band"):
        assert f"<!-- {words} -->" in text
    assert "<!-- real-time factor (1 thread, fp32, 1 x 1 s); less is faster -->" in text
    assert "busy" not in text and "busy" in drawn(BUSY)
    assert "(no scores given)" in drawn(dataclasses.replace(RESULT, quality={}))
    bare = {"diffwave@2": dataclasses.replace(RESULT.quality["diffwave@2"], low=None, high=None)}
    assert "<!-- diffwave@2 -->" in drawn(dataclasses.replace(RESULT, quality=bare))
    assert "<!-- diffwave@2 -->" not in drawn(dataclasses.replace(RESULT, timings=()))


@pytest.mark.slow
def test_a_quick_benchmark(tiny_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    arguments = ("--systems", "diffwave@1,diffwave@2", "--checkpoint", tiny_checkpoint)
    done = process("bench", "--quick", "--json", target, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("# Cost of 2 vocoders on this machine\n")
    assert "| diffwave@2 " in done.stdout
    result = Result.load(target)
    assert result.effort == "quick"
    assert [cost.system for cost in result.costs] == ["diffwave@1", "diffwave@2"]
    first = result.costs[0]
    assert first.cold_start_s is not None and first.cold_start_s.least > 0.1
    assert first.peak_mib is not None and first.peak_mib.least > 60
    assert first.first_chunk_ms is not None and first.first_chunk_ms.least > 1
    # on a busy machine one may be left out
    assert len(result.timings) + len(result.left_out) == 2 * len(EFFORTS["quick"].settings)
    result.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == target.read_text()


def test_scores_are_added_to_an_earlier_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing to draw with")
    RESULT.save(tmp_path / "bench.json")
    (tmp_path / "one.json").write_text(json.dumps({"metrics": {"pesq": SCORE}}))
    arguments = ["bench", "--from", f"{tmp_path}/bench.json", "--plot", f"{tmp_path}/plot.png"]
    arguments += ["--scores", f"diffwave@1={tmp_path}/one.json", "--json", f"{tmp_path}/again.json"]
    assert cli.main(arguments) == 0
    assert (tmp_path / "plot.png").stat().st_size > 1000
    quality = Result.load(tmp_path / "again.json").quality
    assert {name: q.mean for name, q in quality.items()} == {"diffwave@1": 3.0, "diffwave@2": 3.05}
    assert " 3.00 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--systems", "wavenet"], "no system 'wavenet'; there are diffwave@1, "),
        (["--scores", "diffwave@1"], "NAME=report.json, not 'diffwave@1'"),
        (["--scores", "wavenet=r.json"], "There is no system 'wavenet'"),
        (["--scores", "vocos=/no/file"], "Cannot read /no/file"),
        (["--json", "/no/folder/b.json"], "Cannot write /no/folder/b.json: there is no folder"),
        (["--plot", "plot.gif"], "Cannot write plot.gif: a plot ends in .png, .svg, .pdf"),
        (["--checkpoint", "nobody"], "There is no checkpoint 'nobody'"),
        (["--from", "/no/file"], "Cannot read /no/file"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    one_line(capsys, words)


def test_no_system_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert cli.main(["bench", "--systems", "hifigan-v1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("hifigan-v1 is left out: transformers cannot be imported (")
    assert lines[1:] == ["diffwave: There is nothing to measure: no system's library is here."]
