"""Shared by every test: `tests/` is importable (`from signals import speech_like`), few threads."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from browser import chromium
from privileges import without_privileges
from small_run import Configure, small_config, write_clips
from tiny import enhancing_config, random_model, source_config, spectral_config, waveform_config
from told import Refuses, Watch, everything, one_line
from web_page import random_voice

from diffwave import cli
from diffwave.checkpoint import save_checkpoint
from diffwave.data import envelope
from diffwave.spaces import EnergyPrior, WaveformConfig
from diffwave.train.config import TrainConfig
from diffwave.train.loop import train
from diffwave.vocoder import Vocoder

# Small tensors gain nothing from more threads, and neighbours on the machine lose: the other
# workers of pytest-xdist above all. The commands that tests start inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))

# An example is no failure because the machine was busy with something else.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_runtest_setup() -> None:
    """Hypothesis looks into every module; SpeechBrain's lazy ones then miss what they stand for."""
    if "speechbrain" in sys.modules:
        for name, module in list(sys.modules.items()):
            if type(module).__module__ == "speechbrain.utils.importutils":
                del sys.modules[name]


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


@pytest.fixture(scope="session")
def vocoders(vocoder: Vocoder, waveform_vocoder: Vocoder) -> dict[str, Vocoder]:
    """Small ones of every kind, by name, with random weights."""
    prior = WaveformConfig(prior=EnergyPrior(floor=0.1))
    configs = {
        "source": source_config(),
        "enhancing": enhancing_config(),
        "prior": dataclasses.replace(waveform_config(), space=prior),
    }
    made = {name: Vocoder(random_model(config), "cpu") for name, config in configs.items()}
    return made | {"spectral": vocoder, "waveform": waveform_vocoder}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refuses(here: Path, capsys: pytest.CaptureFixture[str]) -> Refuses:
    """Checks that a command ends with status 2 and one line with some words, and makes nothing."""

    def check(arguments: Iterable[object], *words: str) -> None:
        before = everything(here)
        capsys.readouterr()
        try:
            status = cli.main([*map(str, arguments)])
        except SystemExit as stop:  # argparse's own
            status = int(str(stop.code))
        assert status == 2
        one_line(capsys, *words)
        assert everything(here) == before

    return check


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """`watch(owner, name, look)`: `look` is called with what the function is, and before it."""

    def begin(owner: object, name: str, look: Callable[..., object]) -> None:
        function = getattr(owner, name)

        def watched(*given: object, **named: object) -> object:
            look(*given, **named)
            return function(*given, **named)

        monkeypatch.setattr(owner, name, watched)

    return begin


@pytest.fixture
def as_anybody() -> Iterator[None]:
    """Permissions of files bind the test and what it starts, even if root runs it."""
    with without_privileges():
        yield


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two clips to train on and one held out."""
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def configure(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Settings of a small run in tmp_path/run; run__steps=3 stands for run.steps."""
    monkeypatch.setattr(envelope, "BATCHES", 2)

    def make(folder: str = "run", **changes: object) -> TrainConfig:
        return small_config(clips, tmp_path / folder, **changes)

    return make


@pytest.fixture(scope="session")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of 60 steps; do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    changes = {"run__steps": 60, "run__log_steps": 15, "optim__lr": 5e-3, "sampling__default": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "BATCHES", 2)
        train(small_config(clips, folder, **changes), progress_bar=False)
    return folder


@pytest.fixture(scope="session")
def web_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random voice as `checkpoint` and as ONNX `graphs`; do not change it."""
    return random_voice(tmp_path_factory.mktemp("web-voice"))


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; `browser.Browser` drives it."""
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


# A shell starts its background jobs with Ctrl-C ignored, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
