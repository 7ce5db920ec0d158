"""What a step minimises, as one module: batch in, loss out."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffwave.data.crops import Batch
from diffwave.model import DiffusionModel
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, Network, UnrolledLoss
from diffwave.train.restoration import RestorationLoss

log = logging.getLogger(__name__)


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
        # All that is trained, and so all that processes have to exchange.
        self.network, self.restorer = model.network, model.restorer
        self.config, self.precision = config, precision
        self.denoising = DenoisingLoss(model, config)
        self.unrolled = UnrolledLoss(model, config)
        self.restoration = RestorationLoss(model, config)
        self.called: Network = _Compiled(model.network) if compile else model.network.__call__

    def forward(self, batch: Batch) -> Tensor:
        """Mean loss of the examples of a batch on the model's device, []."""
        wave, white, mel = batch.wave, batch.white, batch.mel
        loss = torch.zeros((), device=wave.device)
        if self.config.restoration and self.restorer is not None:
            losses = self.restoration(wave, white[:, 0], batch.draws, mel)
            loss = loss + self.config.restoration * losses.mean()
        if self.restorer is not None and mel is not None:
            with torch.no_grad():  # a predicted mel reaches the network restored
                mel = self.restorer(mel)
        if self.config.denoising:
            levels = self.denoising.levels(batch.place)
            losses = self.denoising(self._network, wave, white[:, 0], levels, mel)
            loss = loss + self.config.denoising * losses.mean()
        if self.config.unrolled:
            levels = self.unrolled.levels(batch.common)
            losses = self.unrolled(self._network, wave, white, levels, mel)
            loss = loss + self.config.unrolled * losses.mean()
        return loss

    def _network(self, x_t: Tensor, t: Tensor, mel: Tensor | None) -> Tensor:
        less = self.precision != torch.float32
        with torch.autocast(x_t.device.type, self.precision, enabled=less):
            return self.called(x_t, t, mel)


class _Compiled:
    """A network compiled on its first call, or itself, with a warning, if that fails.

    Not a module: a second one would list every parameter twice.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.chosen: Callable[..., Tensor] = torch.compile(network)

    def __call__(self, x_t: Tensor, t: Tensor, mel: Tensor | None) -> Tensor:
        try:
            return self.chosen(x_t, t, mel)
        except torch._dynamo.exc.TorchDynamoException as error:
            log.warning("torch.compile failed (%s); training uncompiled.", type(error).__name__)
            self.chosen = self.network
            return self.chosen(x_t, t, mel)
