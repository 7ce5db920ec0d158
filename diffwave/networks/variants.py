"""DiffWave as other projects built it: where their networks differ from :mod:`.diffwave`.

Their checkpoints (:mod:`diffwave.importers`) mean something only in the network that was trained:

| project           | step embedding                       | elsewhere                             |
|-------------------|--------------------------------------|---------------------------------------|
| lmnt-com/diffwave | a table of whole steps, interpolated | as in `.diffwave`                     |
| SpeechBrain       | the same                             | convolutions reflect at either end    |
| philsyn/DiffWave- | sines of t * 10^(-4 j / 63)          | an upsampler for every layer; the     |
| Vocoder           |                                      | step stays in the residual connection |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.networks.diffwave import (
    MelUpsampler,
    ResidualLayer,
    StepEmbedding,
    WaveformNet,
    WaveformNetConfig,
)


@dataclass(frozen=True)
class VariantNetConfig(WaveformNetConfig):
    """Size of a `VariantNet`, and its differences from a `WaveformNet`."""

    kind: ClassVar[str] = "waveform-variant"

    step_exponent: Annotated[float, Meta(ge=-4, le=4)] = 4.0
    """The embedding of step t holds sin and cos of t * 10^(step_exponent j / 63), j = 0..63."""
    step_rows: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Steps 0 .. step_rows - 1 are embedded as a table, and a fractional step is interpolated
    between its neighbours; 0: sines of the fractional step itself."""
    padding: Literal["zeros", "reflect"] = "zeros"
    """Of the dilated convolutions, at either end of the wave."""
    upsampler_per_layer: bool = False
    """Whether every layer has transposed convolutions over the mel of its own."""
    step_in_residual: bool = False
    """Whether the step's projection also goes on in the residual connection."""


class TabulatedStep(StepEmbedding):
    """Step t [B] -> [B, 512], interpolated linearly between the sines of whole steps."""

    table: Tensor

    def __init__(self, exponent: float, rows: int) -> None:
        super().__init__()
        # Single precision throughout: t * 10^4 is rounded to 0.03 there, which the trained weights
        # have seen; exact sines would be other numbers.
        rates = 10.0 ** (torch.arange(64, device="cpu") * exponent / 63.0)
        angle = torch.arange(rows, device="cpu")[:, None] * rates
        table = torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)
        self.register_buffer("table", table, persistent=False)

    def sinusoid(self, t: Tensor) -> Tensor:
        """t [B] -> [B, 128], sines first; InputError for a step beyond the table."""
        if self.table.dtype != torch.float32:
            raise InputError("A VariantNet stays in float32: use torch.autocast for bf16 or half.")
        if float(t.min()) < 0 or float(t.max()) > len(self.table) - 1:
            raise InputError(f"The network knows steps 0 to {len(self.table) - 1} only.")
        low = t.floor()
        first, second = self.table[low.long()], self.table[t.ceil().long()]
        return torch.lerp(first, second, (t - low)[:, None])


class StepInResidual(ResidualLayer):
    """A layer that passes its input on with the step added to it."""

    def forward(self, x: Tensor, step: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        passed, skip = super().forward(x, step, cond)
        return passed + self.step_fc(step)[:, :, None] / math.sqrt(2), skip


class VariantNet(WaveformNet):
    """A `WaveformNet` with the differences that its configuration names."""

    config: VariantNetConfig

    def __init__(self, config: VariantNetConfig) -> None:
        super().__init__(config)
        if config.upsampler_per_layer:
            self.upsampler = None
            self.upsamplers = nn.ModuleList(
                MelUpsampler(config.hop_length) for _ in self.layers if config.n_mels
            )

    def _step_embedding(self) -> StepEmbedding:
        exponent, rows = self.config.step_exponent, self.config.step_rows
        return TabulatedStep(exponent, rows) if rows else StepEmbedding(exponent)

    def _layer(self, dilation: int) -> ResidualLayer:
        kind = StepInResidual if self.config.step_in_residual else ResidualLayer
        return kind(self.config.channels, dilation, self.config.padding)

    def forward(self, x_t: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """As of `WaveformNet`; InputError for a wave too short to be reflected."""
        config, hop = self.config, self.config.hop_length
        widest = 2 ** (min(config.layers, config.dilation_cycle) - 1)
        if config.padding == "reflect" and x_t.shape[-1] <= widest:
            raise InputError(f"This network needs a mel of at least {widest // hop + 1} frames.")
        return super().forward(x_t, *arguments, **named)

    def _upsampled(self, mel: Tensor | None) -> list[Tensor]:
        if not self.config.upsampler_per_layer:
            return super()._upsampled(mel)
        return [upsampler(mel) for upsampler in self.upsamplers]
