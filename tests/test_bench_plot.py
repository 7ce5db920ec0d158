"""The plot of quality against cost."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from bench_result import IDLE, made_up

from diffwave.bench.plot import check_plot, save_plot
from diffwave.bench.result import Result
from diffwave.errors import InputError


def drawn(result: Result, folder: Path) -> str:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing to draw with")
    save_plot(result, folder / "plot.svg")
    return (folder / "plot.svg").read_text()


def test_every_system_and_what_is_known(tmp_path: Path) -> None:
    text = drawn(made_up(), tmp_path)
    for words in ("diffwave@1", "diffwave@2", "hifigan-v1", "PESQ, wide band", "Quality against"):
        assert f"<!-- {words}" in text
    assert "<!-- marks on the axis: quality not measured here -->" in text
    assert "<!-- real-time factor (1 thread, fp32, 1 x 1 s); less is faster -->" in text


def test_without_scores(tmp_path: Path) -> None:
    text = drawn(dataclasses.replace(made_up(), quality={}), tmp_path)
    assert "<!-- PESQ, wide band (no scores given) -->" in text
    assert "<!-- diffwave@2 -->" in text


def test_a_score_without_an_interval(tmp_path: Path) -> None:
    result = made_up()
    quality = {n: dataclasses.replace(q, low=None, high=None) for n, q in result.quality.items()}
    assert "<!-- diffwave@2 -->" in drawn(dataclasses.replace(result, quality=quality), tmp_path)


def test_nothing_was_timed(tmp_path: Path) -> None:
    assert "<!-- diffwave@2 -->" not in drawn(dataclasses.replace(made_up(), timings=()), tmp_path)


def test_a_busy_machine_is_said(tmp_path: Path) -> None:
    busy = made_up(dataclasses.replace(IDLE, load=3.0))
    assert "may have been busy" in drawn(busy, tmp_path)
    assert "busy" not in drawn(made_up(), tmp_path)


def test_a_png_is_one(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: nothing to draw with")
    save_plot(made_up(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_another_suffix_is_refused() -> None:
    with pytest.raises(InputError, match="Cannot write plot.gif: a plot ends in .png, .svg, .pdf"):
        check_plot("plot.gif")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"needs matplotlib .*install 'diffwave\[bench\]'"):
        check_plot("plot.png")
