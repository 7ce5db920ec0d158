"""`diffwave bench` as people start it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench_result import made_up

from diffwave import cli
from diffwave.bench.plan import QUICK, Setting
from diffwave.bench.result import Result

TIMEOUT = 300  # seconds; far more than a busy machine needs


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffwave.cli", "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.slow
def test_a_quick_benchmark(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run(
        *("--quick", "--systems", "diffwave@1,diffwave@2", "--checkpoint", tiny_checkpoint),
        *("--json", tmp_path / "bench.json"),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("# Cost of 2 vocoders on this machine\n")
    assert "| diffwave@2 " in done.stdout
    data = json.loads((tmp_path / "bench.json").read_text())
    assert data["effort"]["name"] == "quick"
    assert [cost["system"] for cost in data["costs"]] == ["diffwave@1", "diffwave@2"]
    first = data["costs"][0]
    assert first["cold_start_s"]["least"] > 0.1 and first["peak_mib"]["least"] > 60
    assert first["first_chunk_ms"]["least"] > 1
    timed = [(timing["system"], str(Setting(**timing["setting"]))) for timing in data["timings"]]
    slow = [
        (item["system"], item["what"]) for item in data["left_out"] if "one run" in item["reason"]
    ]
    wanted = [(name, str(s)) for name in ("diffwave@1", "diffwave@2") for s in QUICK.here()]
    assert sorted(timed + slow) == sorted(wanted)  # slow: on a busy machine
    assert all(timing["rtf"]["least"] > 0 for timing in data["timings"])
    assert Result.load(tmp_path / "bench.json").to_json() == (tmp_path / "bench.json").read_text()


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    made_up().save(tmp_path / "bench.json")
    return tmp_path / "bench.json"


def test_scores_are_added_to_an_earlier_benchmark(
    earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing to draw with")
    score = {"mean": 2.75, "interval": [2.7, 2.8], "n": 16}
    (tmp_path / "one.json").write_text(json.dumps({"metrics": {"pesq": score}}))
    arguments = ["bench", "--from", str(earlier), "--plot", str(tmp_path / "plot.png")]
    arguments += ["--scores", f"diffwave@1={tmp_path / 'one.json'}"]
    assert cli.main([*arguments, "--json", str(tmp_path / "again.json")]) == 0
    assert (tmp_path / "plot.png").stat().st_size > 1000
    quality = Result.load(tmp_path / "again.json").quality
    assert {name: q.mean for name, q in quality.items()} == {"diffwave@1": 2.75, "diffwave@2": 3.05}
    assert " 2.75 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--systems", "wavenet"], "There is no system 'wavenet'"),
        (["--scores", "diffwave@1"], "NAME=report.json, not 'diffwave@1'"),
        (["--scores", "wavenet=r.json"], "There is no system 'wavenet'"),
        (["--scores", "vocos=/no/file"], "Cannot read /no/file"),
        (["--json", "/no/folder/b.json"], "Cannot write /no/folder/b.json: there is no folder"),
        (["--plot", "plot.gif"], "Cannot write plot.gif"),
        (["--checkpoint", "nobody"], "There is no checkpoint 'nobody'"),
        (["--from", "/no/file"], "Cannot read /no/file"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_quick_and_full_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "--quick", "--full"])
    assert stop.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_no_system_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert cli.main(["bench", "--systems", "hifigan-v1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("hifigan-v1 is left out: transformers cannot be imported (")
    assert lines[1:] == ["diffwave: There is nothing to measure: no system's library is here."]
