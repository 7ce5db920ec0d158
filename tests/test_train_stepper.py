"""One step: what it changes, what it leaves, and float16's loss scale."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import Configure

from diffwave.train.config import TrainConfig
from diffwave.train.engine import Engine
from diffwave.train.objective import Objective
from diffwave.train.setup import initialise, make_parts
from diffwave.train.stepper import Measured, Stepper


@pytest.fixture
def stepper(configure: Configure, request: pytest.FixtureRequest, clips: Path) -> Stepper:
    return make(configure(**getattr(request, "param", {})))


def make(config: TrainConfig) -> Stepper:
    engine = Engine("cpu")
    with engine.running():
        parts = make_parts(config, engine, progress_bar=False)
        initialise(parts, config)
        return Stepper(config, engine, parts.trained, parts.crops, 0)


def weights(stepper: Stepper) -> list[torch.Tensor]:
    return [p.detach().clone() for p in stepper.trained.model.network.parameters()]


def changed(stepper: Stepper, before: list[torch.Tensor]) -> bool:
    return not all(map(torch.equal, before, weights(stepper)))


def test_a_step_changes_the_weights_and_says_what_it_found(stepper: Stepper) -> None:
    before = weights(stepper)
    measured = stepper.step(1e-3, lambda: (1.0, 2.5))
    assert changed(stepper, before)
    assert measured.finite and measured.noted == [1.0, 2.5]
    assert 0 < measured.loss < 10 and measured.gradient_norm > 0
    assert {group["lr"] for group in stepper.trained.optimizer.param_groups} == {1e-3}
    assert all(p.grad is None for p in stepper.trained.model.network.parameters())
    assert set(stepper.watch.seconds) == {"data", "forward", "backward", "optimizer"}


def test_the_restorers_gradient_does_not_slow_the_network_down(
    configure: Configure,
) -> None:
    steppers = [make(configure(loss__restoration=weight)) for weight in (0, 1, 1e4)]
    norms = [each.step(1e-3).gradient_norm for each in steppers]
    assert norms[0] < norms[1] < 1e-2 * norms[2]
    for other in steppers[1:]:
        for one, same in zip(weights(steppers[0]), weights(other), strict=True):
            assert torch.equal(one, same)


def test_a_network_that_no_loss_trains_is_left_alone(configure: Configure) -> None:
    stepper = make(configure(loss__denoising=0))
    before = weights(stepper)
    restorer = stepper.trained.model.enhancer
    assert restorer is not None and not restorer.output.bias.any()
    measured = stepper.step(1e-3)
    assert measured.finite and measured.gradient_norm > 0
    assert not changed(stepper, before)
    assert restorer.output.bias.any()


def test_it_can_go_to_another_step(stepper: Stepper) -> None:
    stepper.go_to(5)
    batch = next(stepper.batches)
    assert torch.equal(batch.wave, stepper.crops.batch(5, 2).wave)


def bad_loss(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    forward = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda self, batch: forward(self, batch) * factor)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(
    stepper: Stepper, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    before = weights(stepper)
    bad_loss(monkeypatch, factor)
    assert not stepper.step(1e-3).finite
    assert not changed(stepper, before)
    assert not stepper.trained.optimizer.state


@pytest.mark.parametrize("stepper", [{"run__precision": "float16"}], indirect=True)
def test_float16_halves_its_scale_until_gradients_fit(
    stepper: Stepper, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = stepper.trained.scaler
    before = weights(stepper)

    def step_at(scale: float) -> Measured:
        scaler.scale(torch.ones(1))  # it is set up when first used
        scaler.update(scale)
        return stepper.step(1e-3)

    measured = step_at(2.0**120)
    assert measured.finite  # the loss is; the step is left out
    assert not changed(stepper, before)
    assert scaler.get_scale() == 2.0**119
    measured = step_at(2.0**10)
    assert measured.finite
    assert changed(stepper, before)
    assert scaler.get_scale() == 2.0**10
    bad_loss(monkeypatch, float("nan"))
    assert not stepper.step(1e-3).finite


def test_the_share_of_matrix_throughput_counts_the_whole_batch(
    stepper: Stepper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffwave.train.stepper.matrix_throughput", lambda device, dtype: 1e9)
    monkeypatch.setattr("diffwave.train.stepper.training_flops", lambda objective, batch: 3e8)
    assert stepper.seconds_at_best == pytest.approx(0.6)
    assert stepper.audio_seconds == pytest.approx(2 * 24 * 256 / 22050)
