"""`diffwave info`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from told import one_line

from diffwave import cli


def test_info_lists_the_bundled(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"ljspeech-22k", "speecht5-16k", "universal-22k"} <= set(listed)
    assert "16000 Hz" in listed["speecht5-16k"] and "speecht5 mels" in listed["speecht5-16k"]
    assert [name for name, line in listed.items() if "default" in line] == ["universal-22k"]


def test_info_describes(capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path) -> None:
    assert cli.main(["info", str(tiny_checkpoint)]) == 0
    text = capsys.readouterr().out
    rows = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)
    assert rows["checkpoint"].strip() == str(tiny_checkpoint)
    assert re.fullmatch(r"spectral, 0\.\d\dM parameters", rows["network"].strip())
    assert rows["mel enhancer"].strip() == "none"
    assert rows["4"].split() == ["ddim", "0", "even"]
    assert cli.main(["info", str(tiny_checkpoint), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["network"]["channels"] == 16 and document["parameters"] > 1000
    assert cli.main(["info", str(tiny_checkpoint / "missing")]) == 2
    one_line(capsys, "missing")
