"""Figures are written whole, or refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from diffwave.analysis.plots import check_figure, new_figure, save_figure
from diffwave.base.errors import InputError


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_formats(tmp_path: Path, name: str, begins: bytes) -> None:
    figure = new_figure(2, 2)
    figure.subplots().plot([0, 1], [0, 1])
    save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="a plot ends in .png"):
        check_figure(tmp_path / "a.gif")
    with pytest.raises(InputError, match="no folder"):
        save_figure(new_figure(2, 2), tmp_path / "no" / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"^A plot needs pip install 'diffwave\[eval\]'"):
        check_figure("plot.png")
