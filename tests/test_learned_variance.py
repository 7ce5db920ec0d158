"""Variances that a network learned are worth bits: an AR(1) source, hybrid loss, bound."""

from __future__ import annotations

import dataclasses

import torch
from tiny import waveform_config
from torch import Tensor

from diffwave.chain.bound import bound_terms
from diffwave.chain.gaussian import Estimate
from diffwave.denoiser import Condition, DiffusionConfig
from diffwave.model import DiffusionModel
from diffwave.networks import WaveformNetConfig

MEMORY, LENGTH = 0.9, 128
NO_MEL = Condition(None, None)


def ar1(count: int, seed: int) -> Tensor:
    """x_n = 0.9 x_{n-1} + e_n of variance 1, [count, LENGTH]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, LENGTH, generator=generator)
    x = [noise[:, 0]]
    for n in range(1, LENGTH):
        x.append(MEMORY * x[-1] + (1 - MEMORY**2) ** 0.5 * noise[:, n])
    return torch.stack(x, 1)


def trained(steps: int) -> DiffusionModel:
    """A small unconditional DiffWave after so many steps of the hybrid loss."""
    torch.manual_seed(0)
    config = dataclasses.replace(
        waveform_config(),
        network=WaveformNetConfig(channels=16, layers=6, dilation_cycle=6, n_mels=0),
        diffusion=DiffusionConfig("eps", "diffwave-base", variance="learned"),
    )
    model = DiffusionModel(config)
    optimizer = torch.optim.Adam(model.network.parameters(), 3e-3)
    for step in range(steps):
        x_0 = ar1(16, step + 1)
        level = model.denoiser.levels_at((torch.arange(16) + torch.rand(16)) / 16)
        noise = torch.randn_like(x_0)
        loss = model.denoiser.loss(x_0, noise, level, NO_MEL, 0.001).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def bounds(model: DiffusionModel, count: int = 64) -> dict[str, float]:
    """Nats per sample with the learned variances and, of the same network, the posterior's."""
    x_0, trained_levels = ar1(count, 0), model.denoiser.trained_levels
    assert trained_levels is not None
    levels = trained_levels.flip(0)
    found = {}
    for name in ("learned", "fixed"):
        generator = torch.Generator().manual_seed(7)

        def estimate(x: Tensor, bar: Tensor, name: str = name) -> Estimate:
            both = model.denoiser.estimate(x, bar, NO_MEL)
            return both if name == "learned" else Estimate(both.x_0)

        def noise(t: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(x_0.shape, generator=generator)

        found[name] = sum(float(t.mean()) for t in bound_terms(estimate, x_0, levels, noise))
    return found


def test_a_network_learns_variances_that_lower_its_bound() -> None:
    untrained, model = bounds(trained(0)), trained(150)
    found = bounds(model)
    assert found["learned"] < untrained["learned"]
    assert found["learned"] < found["fixed"] - 0.1
