"""What learns: how it is made and begun, what a step changes and leaves, and what it costs."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_run import Configure, assert_same, learner_of, overrides
from tiny import enhancing_config, random_model
from torch import Tensor

from diffwave import cli
from diffwave.base.errors import InputError
from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.data.envelope import envelope_path, save_envelope
from diffwave.train import learner as module
from diffwave.train.config import OptimConfig
from diffwave.train.learner import Learner, Measured, matrix_throughput
from diffwave.train.objective import Objective
from diffwave.train.optimizers import learning_rate


@pytest.fixture
def learner(configure: Configure, request: pytest.FixtureRequest) -> Learner:
    return learner_of(configure(**getattr(request, "param", {})))


def weights(learner: Learner) -> list[Tensor]:
    return [p.detach().clone() for p in learner.trained.model.network.parameters()]


def changed(learner: Learner, before: list[Tensor]) -> bool:
    return not all(map(torch.equal, before, weights(learner)))


# --- how it is made and begun ----------------------------------------------------------------


def test_weights_follow_from_the_seed(configure: Configure) -> None:
    one, again, other = (learner_of(configure(run__seed=seed), False) for seed in (1, 1, 2))
    assert not changed(one, weights(again)) and changed(one, weights(other))
    waves = [each.crops.batch(0, 2).wave for each in (one, again, other)]
    assert torch.equal(waves[0], waves[1]) and not torch.equal(waves[0], waves[2])
    assert [clip.name for clip in one.validation] == ["held"]


def test_a_batch_that_does_not_divide_is_told_before_the_data_is_read(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_corpus", None)  # is not called
    with pytest.raises(InputError, match=r"batch_size = 4 does not divide into 1 processes x 3"):
        learner_of(configure(optim__accumulate=3, optim__batch_size=4))


def test_the_envelope_is_fitted_or_taken_from_a_prepared_corpus(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    first = learner_of(config, begin=False)
    space = first.trained.model.space
    assert not space.state_dict()["envelope_weight"].any()
    first.begin()
    assert space.state_dict()["envelope_weight"].any()
    prepared = tmp_path / "prepared"
    envelope_path(prepared).parent.mkdir(parents=True)
    save_envelope(envelope_path(prepared), space)
    monkeypatch.setattr(module, "fitted_space", None)  # is not called
    again = learner_of(config, begin=False)
    config.data.folder = str(prepared)
    again.begin()
    assert_same(again.trained.average.space.state_dict(), space.state_dict())


@pytest.mark.parametrize(
    ("losses", "network", "enhancer"),
    [
        ({}, True, True),
        ({"loss__enhancement": 0}, True, False),
        ({"loss__denoising": 0}, False, True),
        ({"loss__denoising": 0, "loss__unrolled": 0.5}, True, True),
    ],
)
def test_what_no_loss_trains_is_frozen_and_matrices_decay(
    configure: Configure, losses: dict[str, object], network: bool, enhancer: bool
) -> None:
    trained = learner_of(configure(optim__weight_decay=0.3, **losses), begin=False).trained
    for part, wanted in zip(trained.model.learners(), (network, enhancer), strict=True):
        assert {p.requires_grad for p in part.parameters()} == {wanted}
    groups = trained.optimizer.param_groups
    optimized = {id(p) for group in groups for p in group["params"]}
    assert optimized == {id(p) for p in trained.model.learned() if p.requires_grad}
    for group in groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.3}


def test_a_checkpoint_without_an_enhancer_begins_one(
    configure: Configure, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    learner = learner_of(configure(run__init=tiny_checkpoint), begin=False)
    before = {name: t.clone() for name, t in learner.trained.model.state_dict().items()}
    learner.begin()
    assert f"{tiny_checkpoint} has no mel enhancer; its training starts here" in caplog.text
    given = load_checkpoint(tiny_checkpoint).state_dict()
    for name, tensor in learner.trained.average.state_dict().items():
        assert torch.equal(tensor, given.get(name, before[name])), name


def test_a_checkpoints_enhancer_is_taken_or_refused(configure: Configure, tmp_path: Path) -> None:
    given = random_model(enhancing_config())
    save_checkpoint(given, tmp_path / "given", half=False)
    learner = learner_of(configure(run__init=tmp_path / "given"))
    assert_same(learner.trained.model.state_dict(), given.state_dict())
    for change, sentence in (
        ({"enhancer__channels": 12}, r"given has enhancer\.\w+ = "),
        ({"enhancer__layers": 0}, r"given has enhancer\.\w+ = "),
        ({"spectral__channels": 24}, r"checkpoint .*given has network\.channels = 16, .* 24"),
        ({"mel": "coqui"}, r"has mel\.\w+ = "),
    ):
        with pytest.raises(InputError, match=sentence):
            learner_of(configure(run__init=tmp_path / "given", **change))
    with pytest.raises(InputError, match="no checkpoint"):
        learner_of(configure(run__init="nowhere"))


# --- a step ----------------------------------------------------------------------------------


def test_a_step_changes_the_weights_and_says_what_it_found(learner: Learner) -> None:
    before, laps = weights(learner), []
    measured = learner.step(5, 1.0, laps.append)
    assert changed(learner, before)
    assert measured.finite and 0 < measured.loss < 10 and measured.gradient_norm > 0
    rate = learning_rate(learner.config.optim, 5, 1.0)
    assert {group["lr"] for group in learner.trained.optimizer.param_groups} == {rate}
    assert all(p.grad is None for p in learner.trained.model.network.parameters())
    assert laps == ["data", "forward", "backward", "optimizer"]
    learner.go_to(5)
    assert torch.equal(next(learner.batches).wave, learner.crops.batch(5, 2).wave)


def test_the_enhancers_gradient_does_not_slow_the_network_down(configure: Configure) -> None:
    learners = [learner_of(configure(loss__enhancement=weight)) for weight in (0, 1, 1e4)]
    norms = [each.step(0, 0.0).gradient_norm for each in learners]
    assert norms[0] < norms[1] < 1e-2 * norms[2]
    for other in learners[1:]:  # to rounding: an early PyTorch's sums depend on where memory lies
        torch.testing.assert_close(weights(other), weights(learners[0]), atol=1e-4, rtol=0)


def bad_loss(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    forward = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda self, batch: forward(self, batch) * factor)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    before = weights(learner)
    bad_loss(monkeypatch, factor)
    assert not learner.step(0, 0.0).finite
    assert not changed(learner, before) and not learner.trained.optimizer.state


@pytest.mark.parametrize("learner", [{"run__precision": "float16"}], indirect=True)
def test_float16_halves_its_scale_until_gradients_fit(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler, before = learner.trained.scaler, weights(learner)

    def step_at(scale: float) -> Measured:
        scaler.scale(torch.ones(1))  # it is set up when first used
        scaler.update(scale)
        return learner.step(0, 0.0)

    assert not step_at(2.0**120).finite
    assert not changed(learner, before) and scaler.get_scale() == 2.0**119
    assert step_at(2.0**10).finite
    assert changed(learner, before) and scaler.get_scale() == 2.0**10
    bad_loss(monkeypatch, float("nan"))
    assert not learner.step(0, 0.0).finite


# --- the learning rate, and what a step costs ------------------------------------------------


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


def test_mfu_counts_the_whole_batch(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e7 < matrix_throughput(torch.device("cpu"), torch.float32, budget=0) < 1e16
    network = learner.trained.model.network
    products = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    monkeypatch.setattr(module, "matrix_throughput", lambda device, dtype: 1e9)
    flops = learner.seconds_at_best * 1e9 / 2 / 24  # per example and frame
    assert 2 * products < flops < 12 * products
    assert all(p.grad is None for p in network.parameters())
    assert learner.audio_seconds == pytest.approx(2 * 24 * 256 / 22050)


def test_a_profile_says_what_phases_cost_and_writes_nothing(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = overrides(clips, tmp_path / "run", {})
    arguments = [part for s in settings for part in ("--set", s)]
    assert cli.main(["train", *arguments, "--profile", "3"]) == 0
    _, *rows, speed = capsys.readouterr().out.splitlines()
    names, medians = zip(*((row.split()[0], float(row.split()[1])) for row in rows), strict=True)
    assert names == ("data", "forward", "backward", "optimizer", "step")
    assert all(0 <= phase < medians[-1] for phase in medians[:-1]) and medians[1] > 0
    assert rows[-1].endswith("100.0%")
    assert re.match(r"[1-9][\d.]* s of audio per second; MFU \d+% \(of this device", speed)
    assert not (tmp_path / "run").exists()
