"""Seconds by part, FLOP counts and the throughput they are compared with."""

from __future__ import annotations

import torch
from tiny import random_model, spectral_config
from torch import Tensor, nn

from diffwave.data.crops import Batch
from diffwave.train.config import LossConfig
from diffwave.train.objective import Objective
from diffwave.train.speed import Stopwatch, matrix_throughput, training_flops


class Linear(nn.Module):
    """One matrix product of [B, 3] and [3, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 5))

    def forward(self, batch: Batch) -> Tensor:
        return (batch.wave @ self.weight).sum()


def test_products_forward_and_backward_are_counted_per_example() -> None:
    """2 B 3 5 forward; as many for the weight's gradient; the input needs none."""
    batch = Batch(torch.ones(4, 3), torch.ones(4, 2, 3), torch.ones(4), 0.0, torch.ones(4, 5))
    module = Linear()
    assert training_flops(module, batch) == 2 * 2 * 3 * 5
    assert module.weight.grad is None


def test_a_network_costs_more_than_two_multiplications_a_weight_and_frame() -> None:
    model = random_model(spectral_config()).requires_grad_(True)
    length = model.space.context(24)
    batch = Batch(
        torch.randn(1, length),
        torch.randn(1, 2, length),
        torch.tensor([0.5]),
        0.5,
        torch.rand(1, 5),
    )
    weights = sum(p.numel() for p in model.network.parameters() if p.ndim > 1)
    flops = training_flops(Objective(model, LossConfig()), batch)
    assert 2 * weights * 24 < flops < 12 * weights * 24


def test_throughput_is_that_of_a_computer() -> None:
    assert 1e7 < matrix_throughput(torch.device("cpu"), torch.float32, budget=0) < 1e16


def test_stopwatch_adds_up_parts() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch.part("a"), watch.part("b"):
            pass
    assert set(watch.seconds) == {"a", "b"}
    assert 0 < watch.seconds["b"] < watch.seconds["a"]
