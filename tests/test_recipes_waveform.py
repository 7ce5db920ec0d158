"""The picture of a run's training curve."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import ROOT, script

CURVE = ROOT / "recipes/waveform/curve.py"


@pytest.mark.parametrize("validations", [0, 1, 3])
def test_a_curve_is_drawn_of_whatever_was_noted(tmp_path: Path, validations: int) -> None:
    pytest.importorskip("matplotlib")
    rows = ["step,minutes,name,value"]
    rows += [f"{i},{i / 10:.2f},loss,{1 / i}" for i in range(1, 90)]
    for i in range(validations):
        rows.append(f"{i},{i:.2f},loss_validation,0.5")
        rows += [f"{i},{i:.2f},loss_level_{level},0.{level + 1}" for level in range(8)]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    done = script(CURVE, tmp_path, tmp_path / "curve.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_without_a_loss_is_one_sentence(tmp_path: Path) -> None:
    done = script(CURVE, tmp_path, tmp_path / "curve.png")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith("notes no loss.")
    assert not list(tmp_path.iterdir())
