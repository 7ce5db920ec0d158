"""How long a test waits for what has to come: as long as a busy machine may need."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds. Nothing that works is waited for so long; it only ends a test that hangs."""


def until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a condition; fails where the process that is to bring it about ends before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
