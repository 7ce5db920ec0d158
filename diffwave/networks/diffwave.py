"""DiffWave: the noise-predicting network on waveform samples, exactly as published.

Source: Kong, Ping, Huang, Zhao, Catanzaro, "DiffWave: A Versatile Diffusion Model for Audio
Synthesis", ICLR 2021, arXiv 2009.09761, figure 2 and appendix. The two published sizes are
`WaveformNetConfig(channels=64)` (BASE, 2.62M parameters) and `channels=128` (LARGE, 6.89M).

| state-dict key                 | box in the paper's figure 2                            |
|--------------------------------|--------------------------------------------------------|
| `input_conv`                   | input, Conv1x1 (1 -> C), ReLU                          |
| `step_embedding.fc1`, `.fc2`   | diffusion-step embedding: FC, swish, FC, swish         |
| `upsampler.conv1`, `.conv2`    | conditioner: transposed 2-D convolutions over the mel  |
| `layers.N.step_fc`             | layer's own FC (512 -> C), added to the layer's input  |
| `layers.N.dilated_conv`        | Bi-DilConv, kernel 3 (C -> 2C)                         |
| `mel_convs.N`                  | layer's conditioner Conv1x1 (mel bands -> 2C)          |
| `layers.N.out_conv`            | Conv1x1 (C -> 2C) to residual and skip connection      |
| `skip_conv`                    | sum of skips, Conv1x1 (C -> C), ReLU                   |
| `output_conv`                  | Conv1x1 (C -> 1), output; 2 with learned variances     |
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from diffwave.base.schema import derived
from diffwave.mel import MelConfig
from diffwave.networks.base import Network, NetworkConfig
from diffwave.networks.layers import Layers, Width
from diffwave.spaces import Prior, SpaceConfig

STEP_WIDTH = 512  # of the step embedding that all residual layers share


@dataclass(frozen=True)
class WaveformNetConfig(NetworkConfig):
    """Size of a `WaveformNet`; the defaults are DiffWave BASE."""

    kind: ClassVar[str] = "waveform"
    space: ClassVar[str] = "waveform"

    channels: Width = 64  # C, width of the residual stream
    layers: Layers = 30  # residual layers
    dilation_cycle: Annotated[int, Meta(ge=1, le=20)] = 10  # layer i dilates by 2 ** (i % cycle)
    n_mels: Annotated[int, Meta(ge=0, le=1 << 16)] = 80  # mel bands; 0: unconditional
    hop_length: Annotated[int, Meta(ge=1, le=1 << 20)] = derived(256)  # samples per mel frame
    outputs: Annotated[int, Meta(ge=1, le=2)] = derived(1)  # 2: a learned variance beside the noise

    def of(self, mel: MelConfig, space: SpaceConfig) -> WaveformNetConfig:
        n_mels = mel.n_mels if self.n_mels else 0
        return dataclasses.replace(self, n_mels=n_mels, hop_length=mel.hop_length)


class StepEmbedding(nn.Module):
    """Step t [B] -> [B, 512]: sin, cos of t * 10^(4 j / 63), j = 0..63, then FC, SiLU, FC, SiLU."""

    turns: Tensor

    def __init__(self, exponent: float = 4.0) -> None:
        super().__init__()
        j = torch.arange(64, dtype=torch.float64, device="cpu")
        turns = 10 ** (exponent * j / 63) / (2 * math.pi)  # periods per step
        self.register_buffer("turns", torch.stack([turns % 1, turns]).float(), persistent=False)
        self.fc1 = nn.Linear(128, STEP_WIDTH)
        self.fc2 = nn.Linear(STEP_WIDTH, STEP_WIDTH)

    def sinusoid(self, t: Tensor) -> Tensor:
        """t [B] -> [B, 128], sines first."""
        # t * 10^4 exceeds float32's precision for an angle, and some devices lack float64: let the
        # whole steps count only the fraction of a turn that each adds; whole turns drop out.
        whole = t.floor()
        part = (t - whole).float()[:, None]
        phase = (whole.float()[:, None] * self.turns[0] + part * self.turns[1]) % 1
        return torch.cat([torch.sin(2 * math.pi * phase), torch.cos(2 * math.pi * phase)], dim=1)

    def forward(self, t: Tensor) -> Tensor:
        return F.silu(self.fc2(F.silu(self.fc1(self.sinusoid(t)))))


class MelUpsampler(nn.Module):
    """mel [B, n_mels, T] -> [B, n_mels, T * hop]; a sample sees its frame and 2 on each side."""

    def __init__(self, hop_length: int) -> None:
        super().__init__()
        stride = max(s for s in range(1, math.isqrt(hop_length) + 1) if hop_length % s == 0)
        self.conv1, self.conv2 = self._conv(stride), self._conv(hop_length // stride)  # 300: 15, 20

    @staticmethod
    def _conv(stride: int) -> nn.ConvTranspose2d:
        # The length grows exactly `stride` times when kernel = stride + 2 padding; an even stride
        # gets the published kernel of 2 strides (32 for 16), an odd one a sample more.
        pad = (stride + 1) // 2
        return nn.ConvTranspose2d(1, 1, (3, stride + 2 * pad), stride=(1, stride), padding=(1, pad))

    def forward(self, mel: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(mel[:, None]), 0.4)
        return F.leaky_relu(self.conv2(x), 0.4)[:, 0]


class ResidualLayer(nn.Module):
    """One gated layer: (x [B, C, L], step [B, 512], cond [B, 2C, L]) -> (next x, skip)."""

    def __init__(
        self, channels: int, dilation: int, padding: Literal["zeros", "reflect"] = "zeros"
    ) -> None:
        super().__init__()
        self.step_fc = nn.Linear(STEP_WIDTH, channels)
        self.dilated_conv = nn.Conv1d(
            channels, 2 * channels, 3, padding=dilation, dilation=dilation, padding_mode=padding
        )
        self.out_conv = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, step: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        y = self.dilated_conv(x + self.step_fc(step)[:, :, None])
        if cond is not None:
            y = y + cond
        gate, signal = y.chunk(2, dim=1)
        residual, skip = self.out_conv(torch.sigmoid(gate) * torch.tanh(signal)).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2), skip


class WaveformNet(Network):
    """DiffWave's epsilon-network. Weights are float32; half precision is by `torch.autocast`."""

    config: WaveformNetConfig

    def __init__(self, config: WaveformNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.input_conv = nn.Conv1d(1, width, 1)
        self.step_embedding = self._step_embedding()
        dilations = [2 ** (i % config.dilation_cycle) for i in range(config.layers)]
        self.layers = nn.ModuleList(map(self._layer, dilations))
        self.upsampler = MelUpsampler(config.hop_length) if config.n_mels else None
        self.mel_convs = nn.ModuleList(
            nn.Conv1d(config.n_mels, 2 * width, 1) for _ in dilations if config.n_mels
        )
        self.receptive_field = sum(dilations)  # 3069 samples as published
        self.skip_conv = nn.Conv1d(width, width, 1)
        self.output_conv = nn.Conv1d(width, config.outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.output_conv.weight)
        nn.init.zeros_(self.output_conv.bias)  # type: ignore[arg-type]

    def condition(self, mel: Tensor | None) -> list[Tensor]:
        """Each layer's projection of the mel: independent of t, so computed once for all steps.

        mel [B, n_mels, T] -> one [B, 2C, T * hop_length] per layer; none when unconditional. Saves
        24 % of a step's arithmetic and holds layers * 2C numbers per sample (BASE: 340 MB per
        second of 22050 Hz in float32).
        """
        return [conv(x) for conv, x in zip(self.mel_convs, self._upsampled(mel), strict=True)]

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        mel: Tensor | None = None,
        prior: Prior | None = None,
        cond: list[Tensor] | None = None,
    ) -> Tensor:
        """Predict the noise in x_t [B, T * hop_length] at step t [B]: eps, like x_t.

        With two outputs [B, 2, T * hop_length]: eps, and what decides the variance of the step.
        t may be fractional. Give mel [B, n_mels, T] or cond = `condition(mel)`, with a batch of B
        or 1; neither when unconditional.
        """
        upsampled = [] if cond else self._upsampled(mel)
        step = self.step_embedding(t)
        x = F.relu(self.input_conv(x_t[:, None]))
        skips = torch.zeros_like(x, dtype=torch.float32)  # bf16 would round the sum of 30 terms
        for i, layer in enumerate(self.layers):
            projected = cond[i] if cond else None
            if upsampled:  # layer by layer: all at once would take condition's memory
                projected = self.mel_convs[i](upsampled[i])
            x, skip = layer(x, step, projected)
            skips = skips + skip
        y = F.relu(self.skip_conv(skips / math.sqrt(len(self.layers))))
        found = self.output_conv(y).to(x_t.dtype)
        return found[:, 0] if self.config.outputs == 1 else found  # type: ignore[no-any-return]

    # Where networks of other projects differ (:mod:`diffwave.networks.variants`):

    def _step_embedding(self) -> StepEmbedding:
        return StepEmbedding()

    def _layer(self, dilation: int) -> ResidualLayer:
        return ResidualLayer(self.config.channels, dilation)

    def _upsampled(self, mel: Tensor | None) -> list[Tensor]:
        """The mel of every layer, [B, n_mels, T * hop_length] each; none when unconditional."""
        return [] if self.upsampler is None else [self.upsampler(mel)] * len(self.layers)
