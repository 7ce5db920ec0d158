"""Examples and recipes in a process of their own, as their user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE

ROOT = Path(__file__).parents[1]
EGS = ROOT / "egs"


def run(
    script: Path, *arguments: object, input: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """What a script of the checkout says and how it ends, with this package to import."""
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        input=input,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment},
    )
