"""`diffwave export`; what it writes is in test_training_export.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import one_line

from diffwave import cli


@pytest.mark.parametrize(
    ("content", "words"), [("{", "not valid JSON"), ("[1]", "does not hold a JSON object")]
)
def test_scores_that_are_none(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text(content)
    assert cli.main(["export", str(tmp_path), str(tmp_path / "out"), "--scores", str(scores)]) == 2
    one_line(capsys, words)
    assert not (tmp_path / "out").exists()
