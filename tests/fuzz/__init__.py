"""Damaged inputs and odd command lines, by the thousand: see `run.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # whose modules make signals and small vocoders
