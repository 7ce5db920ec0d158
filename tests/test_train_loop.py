"""A run from end to end, on a network small enough to train in seconds."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from signals import speech_like
from small_run import Configure, assert_same_weights, metrics, overrides, state

from diffwave.base.errors import InputError
from diffwave.checkpoint import load_checkpoint, load_config, save_checkpoint
from diffwave.train import loop
from diffwave.train.loop import train
from diffwave.train.settings import SETTINGS_FILE, read_config
from diffwave.train.state import saved_states
from diffwave.vocoder import Vocoder

SCORING = bool(find_spec("pesq") and find_spec("auraloss"))
"""Without them, as after `pip install '.[train]'`, validation has only losses."""


def test_loss_falls(finished: Path) -> None:
    loss = metrics(finished, "loss")
    assert list(loss) == [15, 30, 45, 60]
    assert loss[60] < 0.97 * loss[15]
    assert all(norm > 0 for norm in metrics(finished, "gradient_norm").values())
    rate = list(metrics(finished, "lr").values())
    assert rate == sorted(rate, reverse=True)


def test_a_finished_run_is_validated_and_recorded(finished: Path) -> None:
    assert list(metrics(finished, "loss_validation")) == [0, 60]  # there is a "before"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"), {"audio": 0, "images": 0})
    tags = events.Reload().Tags()
    scalars = {"train/loss", "train/lr", "train/gradient_norm", "validation/loss_validation"}
    if SCORING:
        scalars |= {"validation/pesq", "validation/mr_stft"}
    assert scalars <= set(tags["scalars"])
    assert tags["audio"] == ["held/original", "held/generated"]
    assert tags["images"] == ["held/spectrogram"]
    shares = metrics(finished, "mfu")
    assert list(metrics(finished, "audio_seconds_per_second")) == list(shares) == [15, 30, 45, 60]
    assert all(0 < share < 1 for share in shares.values())
    config = read_config(str(finished / SETTINGS_FILE))
    assert (config.run.steps, config.run.folder) == (60, str(finished))


def test_the_best_stands_beside_the_last(finished: Path) -> None:
    name, better = ("pesq", max) if SCORING else ("loss_validation", min)
    judged, best = metrics(finished, name), metrics(finished, "best")
    *_, (step, value) = best.items()
    state = torch.load(saved_states(finished)[-1], weights_only=True)
    assert value == judged[step] == better(judged.values())
    assert value == pytest.approx(state["best"], rel=1e-4)
    assert state["best_by"] == name
    assert (finished / "best" / "config.json").exists()


def test_a_worse_validation_leaves_the_best(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = iter([0.6, 0.5, 0.7, 0.4])
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss_validation": next(values)})
    best = {}

    def note(model: object, folder: Path) -> None:
        best[folder.name] = best.get(folder.name, 0) + 1
        save_checkpoint(model, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "save_checkpoint", note)
    train(configure(run__steps=3, run__validate_minutes=0), progress_bar=False)
    assert best == {"best": 3, "export": 1}
    assert metrics(tmp_path / "run", "best") == {0: 0.6, 1: 0.5, 3: 0.4}


def test_a_finished_run_is_left_as_it_is(
    finished: Path, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {p: p.read_bytes() for p in [*saved_states(finished), finished / "metrics.csv"]}
    caplog.set_level(logging.INFO)
    train(read_config(None, overrides(clips, finished, {"run.steps": 60})), progress_bar=False)
    assert "resuming" in caplog.text
    assert {path: path.read_bytes() for path in before} == before


def test_never_resumed(configure: Configure, finished: Path) -> None:
    config = configure(run__resume="never", run__steps=1)
    config.run.folder = str(finished)
    with pytest.raises(InputError, match="already holds a run"):
        train(config, progress_bar=False)
    train(configure(run__resume="never", run__steps=1), progress_bar=False)  # a new folder


def test_where_and_what_to_train(configure: Configure, tmp_path: Path, clips: Path) -> None:
    config = configure()
    config.run.folder = ""
    with pytest.raises(InputError, match=r"run\.folder"):
        train(config, progress_bar=False)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write .*run: "):
        train(configure("file/run"), progress_bar=False)
    with pytest.raises(InputError, match="no folder"):
        train(configure(data__folder=tmp_path / "none"), progress_bar=False)


def test_a_run_of_the_enhancer_alone_leaves_the_network(
    configure: Configure, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    changes = {"loss__denoising": 0, "run__init": tiny_checkpoint, "run__steps": 3}
    export = train(configure(run__log_steps=1, **changes), progress_bar=False)
    found, given = state(tmp_path / "run", 3), load_checkpoint(tiny_checkpoint)
    for name, tensor in given.state_dict().items():
        assert torch.equal(found["module"][name], tensor), name
    for average, tensor in zip(found["ema"], given.network.parameters(), strict=False):
        assert torch.equal(average, tensor)
    config = load_config(export)
    assert config.enhancer is not None and config.enhancer.channels == 8
    assert all(norm > 0 for norm in metrics(tmp_path / "run", "gradient_norm").values())
    enhancer = load_checkpoint(export).enhancer
    assert enhancer is not None and bool(enhancer.output.bias.any())  # which began at 0


def test_waveform_network_trains_and_speaks(configure: Configure, tmp_path: Path) -> None:
    config = configure(
        network="waveform",
        waveform__channels=8,
        waveform__layers=3,
        diffusion__schedule="diffwave-base",
        diffusion__prediction="eps",
        sampling__sampler="ancestral",
        sampling__steps=3,
        run__steps=4,
        run__log_steps=1,
    )
    vocoder = Vocoder.from_pretrained(train(config, progress_bar=False), "cpu")
    # eps is of variance 1 and the network starts at 0
    assert metrics(tmp_path / "run", "loss")[1] == pytest.approx(1, abs=0.05)
    wave = vocoder(vocoder.mel(speech_like(0.3)))
    assert bool(torch.isfinite(wave).all())
    assert bool(wave.any())


def test_validation_and_checkpoints_in_between(configure: Configure, tmp_path: Path) -> None:
    """Judging the averaged weights does not disturb the training."""
    often = {"run__validate_minutes": 0, "run__checkpoint_minutes": 0, "sampling__steps": 1}
    train(configure("often", run__steps=4, **often), progress_bar=False)
    assert list(metrics(tmp_path / "often", "loss_validation")) == [0, 1, 2, 3, 4]
    assert len(saved_states(tmp_path / "often")) == 3
    train(configure("once", run__steps=4, sampling__steps=1), progress_bar=False)
    assert_same_weights(tmp_path / "often" / "export", tmp_path / "once" / "export")


def test_minutes_end_a_run_too(configure: Configure, tmp_path: Path) -> None:
    train(configure(run__minutes=1e-9), progress_bar=False)
    assert [p.name for p in saved_states(tmp_path / "run")] == [
        "step-00000000.pt",
        "step-00000001.pt",
    ]


def test_training_in_a_thread(configure: Configure, tmp_path: Path) -> None:
    """Where no signal can be listened to."""
    thread = threading.Thread(target=train, args=(configure(run__steps=1), False))
    thread.start()
    thread.join()
    assert (tmp_path / "run" / "export" / "config.json").exists()


def test_progress_is_shown_from_the_first_step(
    configure: Configure, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar on a terminal, lines elsewhere; scalars by time as well as by count of steps."""
    caplog.set_level(logging.INFO)
    train(configure("lines", run__steps=4), progress_bar=True)
    (line,) = (r.getMessage() for r in caplog.records if " left" in r.getMessage())
    assert re.fullmatch(r"25\.0%, step 1, loss [\d.]+, [\d.]+ steps/s, [\d.]+ minutes left", line)
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    _, widthless = os.openpty()  # as `script` and some containers have them
    terminal.fileno = lambda: widthless  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(loop, "NOTE_SECONDS", 0)
    train(configure("bar", run__steps=4, run__log_steps=1000), progress_bar=True)
    assert re.search(r"25\.0% \|.*\| .* < .*step 1, loss ", terminal.getvalue())
    assert list(metrics(Path(configure("bar").run.folder), "loss")) == [1, 2, 3, 4]
