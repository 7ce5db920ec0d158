"""Shared by every test: `tests/` is importable (`from signals import speech_like`), few threads."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from tiny import random_model, spectral_config, waveform_config

from diffwave.checkpoint import save_checkpoint
from diffwave.vocoder import Vocoder

# Small tensors gain nothing from more threads, and neighbours on the machine lose.
torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small spectral vocoder with random weights; do not change it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(random_model(spectral_config()), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_waveform_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small DiffWave with random weights; do not change it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-waveform"
    save_checkpoint(random_model(waveform_config()), folder)
    return folder


@pytest.fixture(scope="session")
def vocoder(tiny_checkpoint: Path) -> Vocoder:
    """A small spectral vocoder with random weights."""
    return Vocoder.from_pretrained(tiny_checkpoint, "cpu")


@pytest.fixture(scope="session")
def waveform_vocoder(tiny_waveform_checkpoint: Path) -> Vocoder:
    """A small DiffWave with random weights."""
    return Vocoder.from_pretrained(tiny_waveform_checkpoint, "cpu")


# A shell starts its background jobs with Ctrl-C ignored, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
