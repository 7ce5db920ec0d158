"""`diffwave schedule`: as a process, its figures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import RMS, speech_like
from told import Refuses, process, script

from diffwave import cli
from diffwave.chain import schedule


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(3):
        soundfile.write(folder / f"{i}.wav", speech_like(1.0, seed=i), 22050, "PCM_16")
    return folder


def figures(path: Path) -> dict:
    document = json.loads(path.read_text())
    return {one["name"]: one for one in document["schedules"]} | {"data": document["data"]}


def test_a_process(tmp_path: Path, corpus: Path) -> None:
    chosen = ["diffwave-base", "ours=1e-4,1e-3,0.01,0.05,0.2,0.5", "--rescale"]
    files = ["--json", tmp_path / "a.json", "--plot", tmp_path / "a.png"]
    done = process("schedule", *chosen, "--corpus", corpus, *files)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert f"deviation {RMS:.3g}" in done.stdout.splitlines()[0]
    found = figures(tmp_path / "a.json")
    data = found.pop("data")
    assert data["deviation"] == pytest.approx(RMS, rel=0.02)
    assert list(found) == [
        "diffwave-base", "ours", "diffwave-base, rescaled", "ours, rescaled"
    ]  # fmt: skip
    base, rescaled = found["diffwave-base"], found["diffwave-base, rescaled"]
    assert base["terminal"]["deviation"] == pytest.approx(0.85, abs=5e-3)
    assert base["matched_start"]["deviation"] == base["terminal"]["deviation"]
    assert base["first_step_below"] is None and base["smallest_length"] > 50
    assert base["prior_bits"] > base["marginal_bits"] > base["matched_bits"] > 0
    assert rescaled["prior_bits"] == 0 and rescaled["first_step_below"] <= 50
    assert rescaled["each_step"]["alpha_bar"][-1] == 0
    assert rescaled["each_step"]["snr_db"][-1] is None  # minus infinity
    assert min(one["excess_bits"] for one in found.values()) > 0


def test_the_smallest_length_is_long_enough(tmp_path: Path) -> None:
    """It is given back as a schedule of its own, and a step less is too short."""
    report = tmp_path / "a.json"
    options = ["--rms", "0.07", "--threshold", "1e-3", "--json", str(report)]
    assert cli.main(["schedule", "diffwave-base", *options]) == 0
    length = figures(report)["diffwave-base"]["smallest_length"]
    texts = [f"linear:1e-4:0.05:{n}" for n in (length - 1, length)]
    assert cli.main(["schedule", *texts, *options]) == 0
    found = figures(report)
    assert found[texts[1]]["prior_bits"] < 1e-3 <= found[texts[0]]["prior_bits"]
    assert found[texts[1]]["first_step_below"] == length


def test_a_start_with_a_mean(tmp_path: Path) -> None:
    report = tmp_path / "a.json"
    data = ["--mean", "0.5", "--rms", "0.2", "--json", str(report)]
    assert cli.main(["schedule", "diffwave-base", *data]) == 0
    plain = figures(report)["diffwave-base"]
    matched = plain["matched_start"]
    assert matched["mean"] == pytest.approx(0.529 * 0.5, abs=1e-3)
    start = ["--start-mean", str(matched["mean"]), "--start-deviation", str(matched["deviation"])]
    assert cli.main(["schedule", "diffwave-base", *data, *start]) == 0
    found = figures(report)["diffwave-base"]
    assert found["marginal_bits"] == pytest.approx(0, abs=1e-9) and plain["marginal_bits"] > 0.05
    assert 0 < found["prior_bits"] < plain["prior_bits"]


def test_states_of_a_checkpoint(
    tmp_path: Path,
    corpus: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_checkpoint: Path,
    tiny_waveform_checkpoint: Path,
) -> None:
    report = tmp_path / "a.json"
    arguments = ["schedule", "--corpus", str(corpus), "--limit", "2", "--json", str(report)]
    assert cli.main([*arguments, "--checkpoint", str(tiny_waveform_checkpoint)]) == 0
    assert "2 recordings" in capsys.readouterr().out
    found = figures(report)
    # A prior of unit noise: the states are the samples, the chain is the one it was trained on.
    assert found["data"]["deviation"] == pytest.approx(RMS, rel=0.03)
    trained = schedule.named_betas("diffwave-base").tolist()
    np.testing.assert_allclose(found["diffwave-base"]["each_step"]["beta"], trained, rtol=1e-9)
    assert cli.main([*arguments, "--checkpoint", str(tiny_checkpoint)]) == 0
    found = figures(report)
    assert found["data"]["coordinates"] == 512
    assert found["angle:25"]["prior_bits"] == 0


def test_published_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schedule", "--published"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(schedule.NAMED)
    assert "0.529" in lines[1]
    assert cli.main(["schedule"]) == 0
    assert "\ndiffwave-base\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sing"], "'sing' is no schedule"),
        (["0.1,2"], "not above 1"),
        (["linear:0.1:0.2:0"], "at least 1"),
        (["--corpus", "missing"], "no folder missing"),
        (["--corpus", "."], "no audio"),
        (["--checkpoint", "x"], "--corpus"),
        (["0.1", "--rescale"], "two or more"),
        (["--plot", "a.txt"], "a plot ends in"),
        (["--json", "no/a.json"], "no folder"),
    ],
)
def test_refuses(arguments: list[str], words: str, refuses: Refuses) -> None:
    refuses(["schedule", *arguments], words)


def test_recordings_that_are_too_short(refuses: Refuses) -> None:
    soundfile.write("a.wav", speech_like(0.02), 22050)
    refuses(["schedule", "--corpus", "."], "1024 samples")


@pytest.mark.parametrize("arguments", [["schedule"], ["likelihood", "."]])
def test_without_the_libraries_of_scoring_it_is_said_what_to_install(arguments: list[str]) -> None:
    code = "import sys; sys.modules['pandas'] = None; from diffwave.cli import main"
    result = script("-c", f"{code}; sys.exit(main({arguments}))")
    assert result.returncode == 2
    assert "pip install 'diffwave[eval]'" in result.stderr and "Traceback" not in result.stderr
