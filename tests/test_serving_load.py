"""The load test of egs/, on a small voice."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import served
from told import EGS, script


@pytest.mark.slow
def test_listeners_are_counted(tiny_checkpoint: Path) -> None:
    for name in ("fastapi", "prometheus_client", "locust"):
        pytest.importorskip(name)
    with served(tiny_checkpoint) as service:
        url = f"http://127.0.0.1:{service.port}"
        done = script(EGS / "serve_load.py", url, "--streams", "2", "--seconds", "6")
    assert done.returncode == 0, done.stderr
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    listeners, utterances, median, most, *_, refused, failed, rtf = map(float, cells)
    assert listeners == 2 and utterances >= 2 and 0 < median <= most
    assert refused == failed == 0 < rtf < 10


@pytest.mark.slow
def test_the_cost_of_batches_is_measured() -> None:
    done = script(EGS / "batch_cost.py", "--frames", "40")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [int(size) for size, _ in rows] == [1, 2, 4, 8, 16]
    assert all(float(cost) > 0 for _, cost in rows)
