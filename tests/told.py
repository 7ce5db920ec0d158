"""What a command says of bad input."""

from __future__ import annotations

import pytest


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Standard error holds one line, with these words in it."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    for word in words:
        assert word in captured.err
