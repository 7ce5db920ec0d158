"""The optimizer and its learning rate."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffwave.model import DiffusionModel
from diffwave.train.config import OptimConfig, RunConfig, TrainConfig
from diffwave.train.optim import learning_rate, make_optimizer, share_done
from diffwave.train.state import Progress


def test_weight_decay_is_for_matrices() -> None:
    model = DiffusionModel(TrainConfig().model_config())
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.3))
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.3}
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(model.learned())


def test_what_is_frozen_is_not_optimized() -> None:
    model = DiffusionModel(TrainConfig().model_config())
    model.network.requires_grad_(False)
    assert model.enhancer is not None
    found = {id(p) for g in make_optimizer(model, OptimConfig()).param_groups for p in g["params"]}
    assert found == {id(p) for p in model.enhancer.parameters()}


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
