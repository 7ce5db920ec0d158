"""`diffwave info`."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import one_line

from diffwave import cli


def test_info_lists_the_bundled(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    assert "ljspeech-22k" in capsys.readouterr().out.splitlines()


def test_info_describes(capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path) -> None:
    assert cli.main(["info", str(tiny_checkpoint)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{tiny_checkpoint}: 0.")
    assert '"channels": 16' in text
    assert cli.main(["info", str(tiny_checkpoint / "missing")]) == 2
    one_line(capsys, "missing")
