"""The loss of a batch as one module, and the precision of its network."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import pytest
import torch
from signals import speech_like
from tiny import random_model, restoring_config, spectral_config

from diffwave.data.crops import Batch
from diffwave.networks.spectral import SpectralNet
from diffwave.spaces.spectral import SpectralRepresentation
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, UnrolledLoss
from diffwave.train.objective import Objective
from diffwave.train.restoration import RestorationLoss

model = random_model(spectral_config())


def batch(size: int = 2) -> Batch:
    length = model.representation.context(24)
    wave = torch.from_numpy(speech_like(3.0))[: size * length].view(size, length)
    white = torch.randn((size, 2, length), generator=torch.Generator().manual_seed(0))
    return Batch(wave, white, (torch.arange(size) + 0.5) / size, 0.3, torch.full((size, 5), 0.4))


def test_losses_are_weighted_and_added() -> None:
    config = LossConfig(denoising=0.7, unrolled=0.2)
    given = batch()
    denoising, unrolled = DenoisingLoss(model, config), UnrolledLoss(model, config)
    first = denoising(model.network, given.wave, given.white[:, 0], denoising.levels(given.place))
    second = unrolled(model.network, given.wave, given.white, unrolled.levels(0.3))
    expected = 0.7 * first.mean() + 0.2 * second.mean()
    torch.testing.assert_close(Objective(model, config)(given), expected)
    alone = Objective(model, LossConfig(denoising=0.0, unrolled=1.0))(given)
    torch.testing.assert_close(alone, second.mean())


def test_only_the_network_is_trained() -> None:
    parameters = list(Objective(model, LossConfig(), compile=True).parameters())
    assert [id(p) for p in parameters] == [id(p) for p in model.network.parameters()]


def test_restoration_is_added_and_trains_the_restorer_alone() -> None:
    restoring = random_model(restoring_config()).requires_grad_(True)
    given, config = batch(), LossConfig(restoration=0.5)
    learned = [id(p) for p in Objective(restoring, config).parameters()]
    assert learned == [id(p) for p in restoring.learned()]
    without = Objective(restoring, LossConfig(restoration=0.0))(given)
    alone = RestorationLoss(restoring, config)(given.wave, given.white[:, 0], given.draws).mean()
    torch.testing.assert_close(Objective(restoring, config)(given), without + 0.5 * alone)
    without.backward()
    assert restoring.restorer is not None
    assert all(p.grad is None for p in restoring.restorer.parameters())
    restoring.zero_grad()
    Objective(restoring, LossConfig(denoising=0.0))(given).backward()
    assert all(p.grad is None for p in restoring.network.parameters())
    assert all(p.grad is not None for p in restoring.restorer.parameters())


def test_a_predicted_mel_reaches_the_network_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The restorer hears it as it is."""
    restoring = random_model(restoring_config()).requires_grad_(True)
    given = batch()
    mel = restoring.mel(given.wave, pad=False) - 1.0
    objective = Objective(restoring, LossConfig(restoration=1.0))
    heard = []
    forward = SpectralNet.forward

    def listen(self: object, x: torch.Tensor, t: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        heard.append(mel)
        return forward(self, x, t, mel)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectralNet, "forward", listen)
    objective(dataclasses.replace(given, mel=mel)).backward()
    (found,) = heard
    assert torch.equal(found, restoring.restored(mel))
    assert not found.requires_grad
    heard.clear()
    objective(given)
    assert torch.equal(heard[0], restoring.mel(given.wave, pad=False))  # a recording's as it is


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_only_the_network_computes_in_half_precision(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = [], []
    encode, forward = SpectralRepresentation.encode, SpectralNet.forward

    def note(self: object, *inputs: torch.Tensor) -> torch.Tensor:
        outside.append(torch.is_autocast_enabled("cpu"))
        return encode(self, *inputs)  # type: ignore[arg-type]

    def listen(self: object, *inputs: torch.Tensor) -> torch.Tensor:
        inside.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return forward(self, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectralRepresentation, "encode", note)
    monkeypatch.setattr(SpectralNet, "forward", listen)
    exact = Objective(model, LossConfig())(batch())
    less = Objective(model, LossConfig(), precision)(batch())
    assert outside == [False, False]
    assert inside == [None, precision]
    assert less.dtype == torch.float32
    torch.testing.assert_close(less, exact, rtol=0.02, atol=0)


def test_without_a_compiler_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch._dynamo.exc

    calls = []

    def compile_badly(network: object) -> Callable[..., torch.Tensor]:
        def fail(*inputs: torch.Tensor) -> torch.Tensor:
            calls.append(inputs)
            raise torch._dynamo.exc.TorchDynamoException("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_badly)
    objective = Objective(model, LossConfig(), compile=True)
    with caplog.at_level(logging.WARNING):
        values = [objective(batch()) for _ in range(3)]
    assert caplog.text.count("torch.compile failed") == 1
    assert len(calls) == 1
    assert torch.equal(values[0], Objective(model, LossConfig())(batch()))
