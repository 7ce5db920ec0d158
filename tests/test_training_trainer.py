"""A run from end to end, on a network small enough to train in seconds."""

from __future__ import annotations

import csv
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from signals import speech_like

from diffwave import cli
from diffwave.checkpoint import load_checkpoint, load_config
from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.model import DiffusionModel
from diffwave.networks.spectral import SpectralNet
from diffwave.representation import SpectralRepresentation
from diffwave.training import trainer
from diffwave.training.config import OptimConfig, RunConfig, TrainConfig
from diffwave.training.data import Crops
from diffwave.training.run import read_config
from diffwave.training.state import Progress, saved_states
from diffwave.training.trainer import learning_rate, make_optimizer, share_done, train
from diffwave.vocoder import Vocoder

SMALL = {
    "data.validation": "[held*]",
    "data.crop_frames": "24",
    "optim.batch_size": "2",
    "optim.warmup_steps": "5",
    "spectral.channels": "16",
    "spectral.layers": "2",
    "spectral.level_width": "16",
    "run.minutes": "1e9",
    "run.log_steps": "5",
    "run.compile": "false",
    "run.precision": "float32",
    "run.threads": "1",
    "run.device": "cpu",
}


@pytest.fixture(autouse=True)
def small_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "ENVELOPE_BATCHES", 2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two clips to train on and one held out."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("one", "two", "held")):
        soundfile.write(folder / f"{name}.wav", speech_like(1.0, 22050, seed), 22050)
    return folder


Configure = Callable[..., TrainConfig]


def overrides(clips: Path, folder: Path, changes: dict[str, object]) -> list[str]:
    settings = SMALL | {"data.folder": str(clips), "run.folder": str(folder)}
    settings |= {key.replace("__", "."): str(value) for key, value in changes.items()}
    return [f"{key}={value}" for key, value in settings.items()]


@pytest.fixture
def configure(clips: Path, tmp_path: Path) -> Configure:
    """Settings of a small run in tmp_path/run; run__steps=3 stands for run.steps."""

    def make(folder: str = "run", **changes: object) -> TrainConfig:
        return read_config(None, overrides(clips, tmp_path / folder, changes))

    return make


@pytest.fixture(scope="module")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of 60 steps."""
    folder = tmp_path_factory.mktemp("finished")
    changes = {"run__steps": 60, "run__log_steps": 15, "optim__lr": 5e-3, "sampling__steps": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "ENVELOPE_BATCHES", 2)
        train(read_config(None, overrides(clips, folder, changes)), progress_bar=False)
    return folder


def metrics(folder: Path, name: str) -> dict[int, float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return {
            int(r["step"]): float(r["value"]) for r in csv.DictReader(file) if r["name"] == name
        }


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """A signal arrives while step `step` (from 0) is computed, once."""
    batch = Crops.batch

    def noisy(self: Crops, n: int, size: int) -> object:
        if n == step:
            monkeypatch.setattr(Crops, "batch", batch)
            signal.raise_signal(number)
        return batch(self, n, size)

    monkeypatch.setattr(Crops, "batch", noisy)


def assert_same_weights(one: Path, other: Path) -> None:
    left, right = (load_checkpoint(folder).state_dict() for folder in (one, other))
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


def test_loss_falls(finished: Path) -> None:
    loss = metrics(finished, "loss")
    assert list(loss) == [15, 30, 45, 60]
    assert loss[60] < 0.97 * loss[15]
    assert all(norm > 0 for norm in metrics(finished, "gradient_norm").values())
    rate = list(metrics(finished, "lr").values())
    assert rate == sorted(rate, reverse=True)


def test_a_finished_run_is_validated_and_recorded(finished: Path) -> None:
    assert list(metrics(finished, "loss_validation")) == [60]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"), {"audio": 0, "images": 0})
    tags = events.Reload().Tags()
    assert {"train/loss", "train/lr", "validation/loss_validation"} <= set(tags["scalars"])
    assert tags["audio"] == ["held/original", "held/generated"]
    assert tags["images"] == ["held/mel"]
    image = events.Images("held/mel")[0]
    assert (image.height, image.width) == (160, 22050 // 256)


def test_export_speaks(finished: Path) -> None:
    config = load_config(finished / "export")
    assert config.sampling.steps == 2
    vocoder = Vocoder.from_pretrained(finished / "export", "cpu")
    mel = vocoder.mel(speech_like(0.5))
    wave = vocoder(mel)
    assert wave.shape == (mel.shape[1] * 256,)
    assert bool(torch.isfinite(wave).all())
    # The envelope alone gives a wave about as loud as the recording.
    assert 0.02 < float(wave.square().mean().sqrt()) < 0.2


def test_export_holds_the_average(finished: Path) -> None:
    state = torch.load(saved_states(finished)[-1], weights_only=True)
    exported = load_checkpoint(finished / "export")
    trained = [v for k, v in state["module"].items() if k.startswith("network.")]
    for parameter, average, last in zip(
        exported.network.parameters(), state["ema"], trained, strict=True
    ):
        torch.testing.assert_close(parameter, average, rtol=1e-3, atol=1e-4)
        assert not torch.equal(average, last)


def test_a_finished_run_is_left_as_it_is(
    finished: Path, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {p: p.read_bytes() for p in [*saved_states(finished), finished / "metrics.csv"]}
    caplog.set_level(logging.INFO)
    train(read_config(None, overrides(clips, finished, {"run.steps": 60})), progress_bar=False)
    assert "resuming" in caplog.text
    assert {path: path.read_bytes() for path in before} == before


def test_resumed_is_as_uninterrupted(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten steps, a signal, and ten more: every weight and every number as in twenty at once."""
    changes = {"run__steps": 20, "loss__unrolled": 0.1, "run__validate_minutes": 1e9}
    train(configure("whole", **changes), progress_bar=False)
    stop_at(9, monkeypatch)
    train(configure("parts", **changes), progress_bar=False)
    assert [p.name for p in saved_states(tmp_path / "parts")] == ["step-00000010.pt"]
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(configure("parts", **changes), progress_bar=False)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    whole, parts = (
        torch.load(tmp_path / name / "step-00000020.pt", weights_only=True)
        for name in ("whole", "parts")
    )
    for name, tensor in whole["module"].items():
        assert torch.equal(tensor, parts["module"][name]), name
    for one, other in zip(whole["ema"], parts["ema"], strict=True):
        assert torch.equal(one, other)
    assert_same_weights(tmp_path / "whole" / "export", tmp_path / "parts" / "export")
    for name in ("loss", "lr", "gradient_norm", "loss_validation"):
        assert metrics(tmp_path / "whole", name) == metrics(tmp_path / "parts", name)


def test_ctrl_c_stops_with_a_checkpoint(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop_at(2, monkeypatch, signal.SIGINT)
    export = train(configure(run__steps=1000), progress_bar=False)
    assert [p.name for p in saved_states(tmp_path / "run")] == ["step-00000003.pt"]
    load_checkpoint(export)


def start(clips: Path, folder: Path, changes: dict[str, object]) -> subprocess.Popen[bytes]:
    """`python -m diffwave.cli train conf.yaml` in a process of its own."""
    conf = folder.parent / "conf.yaml"
    conf.write_text(f"run:\n  folder: {folder}\n  steps: 1000000\n")
    arguments = [part for o in overrides(clips, folder, changes) for part in ("--set", o)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "diffwave.cli", "train", str(conf), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.1)


def test_sigterm_writes_a_checkpoint_and_a_second_start_resumes(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    process = start(clips, folder, {"run.log_steps": 1})
    try:
        path = folder / "metrics.csv"
        wait_for(process, lambda: path.exists() and ",loss," in path.read_text())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err.decode()
    assert f"exported {folder / 'export'}" in out.decode()
    (state,) = saved_states(folder)
    step = int(state.stem.split("-")[1])
    assert step == max(metrics(folder, "loss"))
    caplog.set_level(logging.INFO)
    conf = str(tmp_path / "conf.yaml")
    settings = overrides(clips, folder, {"run.steps": step + 2, "run.log_steps": 1})
    assert cli.main(["train", conf, *(p for s in settings for p in ("--set", s))]) == 0
    assert f"resuming {folder} at step {step}" in caplog.text
    assert list(metrics(folder, "loss")) == list(range(1, step + 3))


def test_kill_leaves_a_state_to_go_on_from(
    clips: Path, tmp_path: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    process = start(clips, folder, {"run.checkpoint_minutes": 0, "run.log_steps": 1})
    try:
        wait_for(process, lambda: len(saved_states(folder)) > 2)
    finally:
        process.kill()
        process.communicate()
    step = int(saved_states(folder)[-1].stem.split("-")[1])
    with (folder / "metrics.csv").open("a") as file:  # noted after the state was written
        file.write(f"{step + 1},0.10,loss,777\n{step + 2},0.1")
    caplog.set_level(logging.INFO)
    train(configure(run__steps=step + 2, run__log_steps=1), progress_bar=False)
    assert f"at step {step}" in caplog.text
    assert "cannot be read" not in caplog.text
    loss = metrics(folder, "loss")
    assert list(loss) == list(range(1, step + 3))
    assert 777 not in loss.values()


def test_damaged_states_alone_are_a_new_beginning(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The envelope is then fitted as for any new run."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step-00000009.pt").write_bytes(b"torn")
    damaged = train(configure(run__steps=2), progress_bar=False)
    assert "step-00000009.pt cannot be read" in caplog.text
    assert_same_weights(damaged, train(configure("new", run__steps=2), progress_bar=False))


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
    with pytest.raises(InputError, match="Cannot make the run folder"):
        train(configure("file/run"), progress_bar=False)
    with pytest.raises(InputError, match="no folder"):
        train(configure(data__folder=tmp_path / "none"), progress_bar=False)


def test_other_settings_do_not_continue_a_run(finished: Path, clips: Path) -> None:
    for change in ({"mel": "coqui"}, {"spectral.channels": 24}):
        settings = overrides(clips, finished, change)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="The run in .* has .*, but these settings mean"):
            train(read_config(None, settings), progress_bar=False)


def test_init_takes_weights_and_envelope(
    configure: Configure, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "fit_envelope", None)  # is not called
    config = configure(run__init=finished / "export", run__steps=1, optim__lr=1e-30)
    export = train(config, progress_bar=False)
    assert_same_weights(export, finished / "export")


def test_init_must_be_of_the_same_model(configure: Configure, finished: Path) -> None:
    export = finished / "export"
    with pytest.raises(InputError, match=r"checkpoint .*export has network\.channels = 16, .* 24"):
        train(configure(run__init=export, spectral__channels=24), progress_bar=False)
    with pytest.raises(InputError, match=r"has mel\.\w+ = "):
        train(configure(run__init=export, mel="coqui"), progress_bar=False)
    with pytest.raises(InputError, match="no checkpoint"):
        train(configure(run__init="nowhere"), progress_bar=False)


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


@pytest.mark.parametrize("name", ["espnet", "lmnt", "vocos", "speecht5", "coqui", "bigvgan-44k"])
def test_every_mel_convention_trains(configure: Configure, name: str) -> None:
    export = train(configure(mel=name, run__steps=2, sampling__steps=1), progress_bar=False)
    vocoder = Vocoder.from_pretrained(export, "cpu")
    mel = preset(name)
    assert vocoder.config.mel == mel
    seconds = 0.3
    wave = vocoder(vocoder.mel(speech_like(seconds, mel.sample_rate)))
    assert abs(len(wave) - seconds * mel.sample_rate) <= mel.hop_length
    assert bool(torch.isfinite(wave).all())


def test_a_loss_that_is_not_finite(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    batch = Crops.batch

    def spoilt(self: Crops, n: int, size: int) -> object:
        wave, white, uniform = batch(self, n, size)
        return wave, white * (float("nan") if n == 3 else 1), uniform

    monkeypatch.setattr(Crops, "batch", spoilt)
    with pytest.raises(InputError, match=r"not finite at step 4; lower optim\.lr"):
        train(configure(run__checkpoint_minutes=0), progress_bar=False)
    state = torch.load(saved_states(tmp_path / "run")[-1], weights_only=True)
    assert state["step"] == 3
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state["module"].values())


def test_validation_and_checkpoints_in_between(configure: Configure, tmp_path: Path) -> None:
    """Judging the averaged weights does not disturb the training."""
    often = {"run__validate_minutes": 0, "run__checkpoint_minutes": 0, "sampling__steps": 1}
    train(configure("often", run__steps=4, **often), progress_bar=False)
    assert list(metrics(tmp_path / "often", "loss_validation")) == [1, 2, 3, 4]
    assert len(saved_states(tmp_path / "often")) == 3
    train(configure("once", run__steps=4, sampling__steps=1), progress_bar=False)
    assert_same_weights(tmp_path / "often" / "export", tmp_path / "once" / "export")


def test_minutes_end_a_run_too(configure: Configure, tmp_path: Path) -> None:
    train(configure(run__minutes=1e-9), progress_bar=False)
    assert [p.name for p in saved_states(tmp_path / "run")] == ["step-00000001.pt"]


def test_training_in_a_thread(configure: Configure, tmp_path: Path) -> None:
    """Where no signal can be listened to."""
    thread = threading.Thread(target=train, args=(configure(run__steps=1), False))
    thread.start()
    thread.join()
    assert (tmp_path / "run" / "export" / "config.json").exists()


def test_without_a_compiler_training_goes_on(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch._dynamo.exc

    calls = []

    def compile_badly(network: object) -> Callable[..., torch.Tensor]:
        def fail(*inputs: torch.Tensor) -> torch.Tensor:
            calls.append(inputs)
            raise torch._dynamo.exc.TorchDynamoException("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_badly)
    train(configure(run__steps=3, run__compile=True), progress_bar=False)
    assert caplog.text.count("torch.compile failed") == 1
    assert len(calls) == 1


def test_only_the_network_computes_in_half_precision(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The envelope in bfloat16 would make another target than the one that is sampled."""
    seen = []
    encode = SpectralRepresentation.encode

    def note(self: object, *inputs: torch.Tensor) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return encode(self, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectralRepresentation, "encode", note)
    forward = SpectralNet.forward
    inside = []

    def listen(self: object, *inputs: torch.Tensor) -> torch.Tensor:
        inside.append(torch.is_autocast_enabled("cpu"))
        return forward(self, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectralNet, "forward", listen)
    train(
        configure(run__steps=2, run__precision="bfloat16", data__validation="[none*]"),
        progress_bar=False,
    )
    assert seen == [False, False]
    assert inside == [True, True]


def test_weight_decay_is_for_matrices() -> None:
    model = DiffusionModel(TrainConfig().model_config())
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.3))
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.3}
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(model.network.parameters()))


@given(st.integers(0, 1000), st.floats(0, 1), st.integers(0, 200), st.floats(0, 1))
def test_learning_rate_stays_within_its_bounds(
    step: int, share: float, warmup: int, last: float
) -> None:
    config = OptimConfig(lr=0.01, warmup_steps=warmup, last_lr=last)
    rate = learning_rate(config, step, share)
    ramp = 1 if step >= warmup else (step + 1) / warmup
    assert 0.01 * last * ramp * (1 - 1e-9) <= rate <= 0.01 * ramp * (1 + 1e-9)
    assert learning_rate(config, 1000, 1.0) == pytest.approx(0.01 * last)
    assert learning_rate(config, 1000, 0.0) == pytest.approx(0.01)
    assert rate >= learning_rate(config, step, min(1.0, share + 0.1)) - 1e-12


def test_share_done_follows_the_nearer_budget() -> None:
    run = RunConfig(steps=100, minutes=10)
    assert share_done(Progress(50, 1), run) == 0.5
    assert share_done(Progress(5, 9), run) == 0.9
    assert share_done(Progress(500, 9), run) == 1
    assert share_done(Progress(0, 0), dataclasses.replace(run, minutes=float("inf"))) == 0


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r"package yaml; pip install 'diffwave\[train\]'"):
        read_config(None, ["run.steps=1"])
