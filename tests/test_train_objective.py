"""The loss of a batch as one module, and the precision of its network."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import pytest
import torch
from signals import speech_like
from tiny import enhancing_config, random_model, spectral_config

from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.networks.spectral import SpectralNet
from diffwave.spaces import SpectralSpace
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, Loss, UnrolledLoss
from diffwave.train.objective import LOSSES, Objective
from diffwave.train.restoration import EnhancementLoss

model = random_model(spectral_config())


def batch(size: int = 2) -> Batch:
    length = model.space.context(24)
    wave = torch.from_numpy(speech_like(3.0))[: size * length].view(size, length)
    white = torch.randn((size, 2, length), generator=torch.Generator().manual_seed(0))
    return Batch(wave, white, (torch.arange(size) + 0.5) / size, 0.3, torch.full((size, 5), 0.4))


def test_losses_are_weighted_and_added() -> None:
    config, given = LossConfig(denoising=0.7, unrolled=0.2), batch()
    first = DenoisingLoss(model, config)(model, model.denoiser, given)
    second = UnrolledLoss(model, config)(model, model.denoiser, given)
    expected = 0.7 * first.mean() + 0.2 * second.mean()
    torch.testing.assert_close(Objective(model, config)(given), expected)
    alone = Objective(model, LossConfig(denoising=0.0, unrolled=1.0))(given)
    torch.testing.assert_close(alone, second.mean())


class Teacher(Loss):
    """A loss with a network of its own, which nobody trains."""

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.teacher = torch.nn.Linear(1, 1).requires_grad_(False)

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> torch.Tensor:
        assert denoiser.network is model.network
        return self.teacher(batch.wave[:, :1])[:, 0] * 0 + 3


def test_a_new_loss_is_a_class_and_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "teacher", Teacher)
    config = LossConfig(weights={"teacher": 0.5}, denoising=0.0)
    assert float(Objective(model, config)(batch())) == 1.5
    with pytest.raises(InputError, match="no loss named 'techer'; there are enhancement, den"):
        Objective(model, LossConfig(weights={"techer": 1.0}))


def test_only_the_network_is_trained() -> None:
    parameters = list(Objective(model, LossConfig(), compile=True).parameters())
    assert [id(p) for p in parameters] == [id(p) for p in model.network.parameters()]


def test_enhancement_is_added_and_trains_the_enhancer_alone() -> None:
    enhancing = random_model(enhancing_config()).requires_grad_(True)
    given, config = batch(), LossConfig(enhancement=0.5)
    learned = [id(p) for p in Objective(enhancing, config).parameters()]
    assert learned == [id(p) for p in enhancing.learned()]
    without = Objective(enhancing, LossConfig(enhancement=0.0))(given)
    alone = EnhancementLoss(enhancing, config)(enhancing, enhancing.denoiser, given).mean()
    torch.testing.assert_close(Objective(enhancing, config)(given), without + 0.5 * alone)
    without.backward()
    assert enhancing.enhancer is not None
    assert all(p.grad is None for p in enhancing.enhancer.parameters())
    enhancing.zero_grad()
    Objective(enhancing, LossConfig(denoising=0.0))(given).backward()
    assert all(p.grad is None for p in enhancing.network.parameters())
    assert all(p.grad is not None for p in enhancing.enhancer.parameters())


def test_a_predicted_mel_reaches_the_network_enhanced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The enhancer is given it as it is."""
    enhancing = random_model(enhancing_config()).requires_grad_(True)
    given = batch()
    mel = enhancing.mel(given.wave, pad=False) - 1.0
    objective = Objective(enhancing, LossConfig(enhancement=1.0))
    heard = []
    forward = SpectralNet.forward

    def listen(self: object, x: torch.Tensor, t: torch.Tensor, *given: object) -> torch.Tensor:
        heard.append(given[0])
        return forward(self, x, t, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectralNet, "forward", listen)
    objective(dataclasses.replace(given, mel=mel)).backward()
    (found,) = heard
    assert torch.equal(found, enhancing.config.normalise(enhancing.enhance(mel)))
    assert not found.requires_grad
    heard.clear()
    objective(given)
    own = enhancing.config.normalise(enhancing.mel(given.wave, pad=False))
    assert torch.equal(heard[0], own)  # a recording's as it is


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_only_the_network_computes_in_half_precision(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = [], []
    encode, forward = SpectralSpace.encode, SpectralNet.forward

    def note(self: object, *inputs: torch.Tensor) -> torch.Tensor:
        outside.append(torch.is_autocast_enabled("cpu"))
        return encode(self, *inputs)  # type: ignore[arg-type]

    def listen(self: object, *inputs: torch.Tensor) -> torch.Tensor:
        inside.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return forward(self, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectralSpace, "encode", note)
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


def test_a_model_without_the_part_that_is_trained_is_refused() -> None:
    only_source = LossConfig(denoising=0.0, enhancement=0.0, source=1.0)
    with pytest.raises(InputError, match="a part that this model has"):
        Objective(random_model(spectral_config()), only_source)
