"""What a step minimises, as one module: batch in, loss out; and the registry of losses."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.model import DiffusionModel
from diffwave.train.adversarial import AdversarialLoss
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, Loss, UnrolledLoss
from diffwave.train.mel_losses import EnhancementLoss, SourceLoss

log = logging.getLogger(__name__)

LOSSES: dict[str, type[Loss]] = {
    "enhancement": EnhancementLoss,
    "denoising": DenoisingLoss,
    "unrolled": UnrolledLoss,
    "source": SourceLoss,
    "adversarial": AdversarialLoss,
}
"""A new loss is a class, a line here, and its weight in the settings: `loss.weights: {name: 1}`."""


def weights(model: DiffusionModel, config: LossConfig) -> dict[str, float]:
    """Weights above 0 of the losses whose part of the model is there.

    InputError for a loss that there is not, or none that this model can be trained with.
    """
    ours = ("enhancement", "denoising", "unrolled", "source")
    given = {name: getattr(config, name) for name in ours} | config.weights
    for name in given:
        if name not in LOSSES:
            raise InputError(f"There is no loss named {name!r}; there are {', '.join(LOSSES)}.")
    chosen = {
        name: weight
        for name, weight in given.items()
        if weight and getattr(model, LOSSES[name].trains) is not None
    }
    if not chosen:
        raise InputError("The losses with a weight above 0 train nothing of this model.")
    return chosen


def trained_parts(model: DiffusionModel, config: LossConfig) -> set[str]:
    """Which of "network", "enhancer" and "source" the losses train."""
    return {LOSSES[name].trains for name in weights(model, config)}


class Objective(nn.Module):
    """The weighted losses of a batch; the network, and only it, in less precision.

    The envelope in half precision would make another target than the one that is sampled.
    """

    def __init__(
        self,
        model: DiffusionModel,
        config: LossConfig,
        precision: torch.dtype = torch.float32,
        compile: bool = False,
    ) -> None:
        """`compile`: the network, which then falls back to eager with a warning."""
        super().__init__()
        self.model = [model]  # in a list: no part of this module, as its space is none of it
        self.precision = precision
        # The method: compiled, the module would be another one with the same parameters.
        forward = model.network.forward
        self.call: Callable[..., Tensor] = torch.compile(forward) if compile else forward
        self.denoiser = Denoiser(
            model.network, model.config.diffusion, model.config.normalise, self._autocast
        )
        self.enhancer, self.source = model.enhancer, model.source
        self.weights = weights(model, config)
        losses = {name: LOSSES[name](model, config) for name in self.weights}
        for each in losses.values():
            each.precision = precision
        self.losses = nn.ModuleDict(losses)

    def forward(self, batch: Batch) -> Tensor:
        """Mean loss of the examples of a batch on the model's device, []."""
        batch = dataclasses.replace(batch, shared={})
        loss = torch.zeros((), device=batch.wave.device)
        for name, weight in self.weights.items():
            loss = loss + weight * self.losses[name](self.model[0], self.denoiser, batch).mean()
        return loss

    def _autocast(self, x_t: Tensor, *inputs: Any, **others: Any) -> Tensor:
        less = self.precision != torch.float32
        with torch.autocast(x_t.device.type, self.precision, enabled=less):
            try:
                return self.call(x_t, *inputs, **others)
            except torch._dynamo.exc.TorchDynamoException as error:
                log.warning("torch.compile failed (%s); training uncompiled.", type(error).__name__)
                self.call = self.model[0].network.forward
                return self.call(x_t, *inputs, **others)
