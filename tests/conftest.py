"""Shared by every test: `tests/` is importable (`from signals import speech_like`), few threads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

# Small tensors gain nothing from more threads, and neighbours on the machine lose.
torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))
