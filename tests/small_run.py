"""Runs small enough for tests: a tiny network on three short clips, and what they leave behind."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from signals import speech_like

from diffwave.checkpoint import load_checkpoint
from diffwave.train.config import TrainConfig
from diffwave.train.learner import Learner
from diffwave.train.processes import Processes
from diffwave.train.settings import read_config

SMALL = {
    "data.validation": "[held*]",
    "data.crop_frames": "24",
    "optim.batch_size": "2",
    "optim.warmup_steps": "5",
    "spectral.channels": "16",
    "spectral.layers": "2",
    "spectral.level_width": "16",
    "enhancer.channels": "8",
    "enhancer.layers": "1",
    "run.minutes": "1e9",
    "run.log_steps": "5",
    "run.compile": "false",
    "run.precision": "float32",
    "run.threads": "1",
    "run.device": "cpu",
}

Configure = Callable[..., TrainConfig]


def write_clips(folder: Path) -> Path:
    """Two clips to train on and one held out."""
    for seed, name in enumerate(("one", "two", "held")):
        soundfile.write(folder / f"{name}.wav", speech_like(1.0, 22050, seed), 22050)
    return folder


def overrides(clips: Path, folder: Path, changes: dict[str, object]) -> list[str]:
    """KEY=VALUE of a small run; run__steps stands for run.steps."""
    settings = SMALL | {"data.folder": str(clips), "run.folder": str(folder)}
    settings |= {key.replace("__", "."): str(value) for key, value in changes.items()}
    return [f"{key}={value}" for key, value in settings.items()]


def small_config(clips: Path, folder: Path, **changes: object) -> TrainConfig:
    """Settings of a small run."""
    return read_config(None, overrides(clips, folder, changes))


def learner_of(config: TrainConfig, begin: bool = True) -> Learner:
    """What learns by these settings, before its first step."""
    with Processes("cpu") as processes:
        made = Learner(config, processes, progress_bar=False)
        if begin:
            made.begin()
            made.go_to(0)
        return made


def metrics(folder: Path, name: str) -> dict[int, float]:
    """{step: value} of metrics.csv, of which a run may be writing the last line."""
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    whole = csv.DictReader(line for line in lines if line.endswith("\n"))
    return {int(row["step"]): float(row["value"]) for row in whole if row["name"] == name}


def state(folder: Path, step: int) -> dict:  # type: ignore[type-arg]
    """What the checkpoint of a step holds."""
    return torch.load(folder / f"step-{step:08d}.pt", weights_only=True)  # type: ignore[no-any-return]


def assert_same(left: Any, right: Any) -> None:
    """Nested mappings and lists of tensors, bit for bit."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, Mapping):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


def assert_same_weights(one: Path, other: Path) -> None:
    """Of two checkpoint folders."""
    assert_same(*(load_checkpoint(folder).state_dict() for folder in (one, other)))


def assert_same_state(one: Path, other: Path, step: int) -> None:
    """All that two run folders hold but the time and the best validation, bit for bit."""
    apart = {"minutes": 0, "best": 0, "best_by": ""}
    assert_same(*(state(folder, step) | apart for folder in (one, other)))


def start(
    clips: Path, folder: Path, changes: dict[str, object], processes: int = 0
) -> subprocess.Popen[str]:
    """`python -m diffwave.cli train conf.yaml` in a process of its own, or in several."""
    conf = folder.parent / "conf.yaml"
    conf.write_text(f"run:\n  folder: {folder}\n  steps: 1000000\n")
    arguments = [part for o in overrides(clips, folder, changes) for part in ("--set", o)]
    program = [sys.executable, "-m"]
    if processes:
        program += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return subprocess.Popen(
        [*program, "diffwave.cli", "train", str(conf), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_noted(folder: Path) -> Sequence[int]:
    """Steps of the losses in metrics.csv."""
    path = folder / "metrics.csv"
    return list(metrics(folder, "loss")) if path.exists() else []
