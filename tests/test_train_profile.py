"""`diffwave train --profile`: the cost of a step by part, and no trace of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import Configure, overrides

from diffwave import cli
from diffwave.train.profile import profile, table


def test_the_table_is_read_from_times() -> None:
    seconds = {"data": [0.0] * 5, "forward": [0.1, 0.2, 0.3, 0.4, 0.5], "step": [0.4] * 5}
    lines = table(seconds, audio_seconds=2.0, seconds_at_best=0.1).splitlines()
    assert lines[1].split() == ["data", "0.0", "0.0", "0.0", "0.0%"]
    assert lines[2].split() == ["forward", "300.0", "140.0", "460.0", "75.0%"]
    assert lines[3].split() == ["step", "400.0", "400.0", "400.0", "100.0%"]
    assert lines[4] == (
        "5.0 s of audio per second; MFU 25% (of this device's measured matrix throughput)"
    )


def test_parts_make_up_the_step(configure: Configure, tmp_path: Path) -> None:
    _, *rows, speed = (profile(configure(), 3) or "").splitlines()
    names, medians = zip(*((row.split()[0], float(row.split()[1])) for row in rows), strict=True)
    assert names == ("data", "forward", "backward", "optimizer", "step")
    assert all(0 <= part < medians[-1] for part in medians[:-1]) and medians[1] > 0
    assert not speed.startswith("0.0 ")
    assert not (tmp_path / "run").exists()


def test_on_the_command_line(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = overrides(clips, tmp_path / "run", {})
    arguments = [part for s in settings for part in ("--set", s)]
    assert cli.main(["train", *arguments, "--profile", "1"]) == 0
    out = capsys.readouterr().out
    assert "backward" in out and "s of audio per second" in out
    assert not (tmp_path / "run").exists()
