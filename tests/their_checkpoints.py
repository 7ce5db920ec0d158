"""Small DiffWave checkpoints as other projects store them, and the paper's equations on them.

The equations are those of DiffWave (Kong et al. 2021, arXiv 2009.09761), figure 2 and section 3.2,
in float64, on tensors by each project's own names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
CHANNELS, LAYERS, CYCLE, MELS, HOP = 6, 4, 3, 80, 256


def _shapes(project: str, width: int, layers: int, mels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by their names, without weight normalisation."""
    upsampling, shapes = (1, 1, 3, 32), {}
    if project == "philsyn":
        shapes = {
            "init_conv.0.conv": (width, 1, 1),
            "residual_layer.fc_t1": (512, 128),
            "residual_layer.fc_t2": (512, 512),
            "final_conv.0.conv": (width, width, 1),
            "final_conv.2.conv": (1, width, 1),
        }
        for i in range(layers):
            block = f"residual_layer.residual_blocks.{i}"
            shapes |= {
                f"{block}.fc_t": (width, 512),
                f"{block}.dilated_conv_layer.conv": (2 * width, width, 3),
                f"{block}.upsample_conv2d.0": upsampling,
                f"{block}.upsample_conv2d.1": upsampling,
                f"{block}.mel_conv.conv": (2 * width, mels, 1),
                f"{block}.res_conv": (width, width, 1),
                f"{block}.skip_conv": (width, width, 1),
            }
        return shapes
    conv, linear = (".conv", ".w") if project == "speechbrain" else ("", "")
    shapes = {
        f"input_projection{conv}": (width, 1, 1),
        f"diffusion_embedding.projection1{linear}": (512, 128),
        f"diffusion_embedding.projection2{linear}": (512, 512),
        "spectrogram_upsampler.conv1": upsampling,
        "spectrogram_upsampler.conv2": upsampling,
        f"skip_projection{conv}": (width, width, 1),
        f"output_projection{conv}": (1, width, 1),
    }
    for i in range(layers):
        shapes |= {
            f"residual_layers.{i}.dilated_conv{conv}": (2 * width, width, 3),
            f"residual_layers.{i}.diffusion_projection{linear}": (width, 512),
            f"residual_layers.{i}.conditioner_projection{conv}": (2 * width, mels, 1),
            f"residual_layers.{i}.output_projection{conv}": (2 * width, width, 1),
        }
    return shapes


def random_state(
    project: str, width: int = CHANNELS, layers: int = LAYERS, mels: int = MELS, seed: int = 0
) -> State:
    """Random weights by the project's names; philsyn's with g and v apart where they have them."""
    draw = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in _shapes(project, width, layers, mels).items():
        fan = max(1, math.prod(shape[1:]))
        weight = torch.randn(shape, generator=draw) / math.sqrt(fan)
        if project == "philsyn" and "fc_t" not in name and name != "final_conv.2.conv":
            state[f"{name}.weight_v"] = 3 * weight
            state[f"{name}.weight_g"] = (
                weight.flatten(1).norm(dim=1).view(-1, *[1] * len(shape[1:]))
            )
        else:
            state[f"{name}.weight"] = weight
        bias = shape[1] if "upsample" in name else shape[0]
        state[f"{name}.bias"] = 0.1 * torch.randn(bias, generator=draw)
    return state


def content(project: str, state: State) -> dict[str, object]:
    """What the file of a checkpoint holds."""
    if project == "lmnt":
        params = {
            "sample_rate": 22050, "n_mels": MELS, "n_fft": 1024, "hop_samples": HOP,
            "residual_layers": LAYERS, "residual_channels": CHANNELS,
            "dilation_cycle_length": CYCLE, "unconditional": False, "max_grad_norm": None,
            "noise_schedule": torch.linspace(1e-4, 0.05, 50).tolist(),
            "inference_noise_schedule": [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5],
        }  # fmt: skip
        return {"step": 7, "model": state, "optimizer": {"state": {}}, "params": params}
    if project == "philsyn":
        return {"iter": 7, "model_state_dict": state, "optimizer_state_dict": {"state": {}}}
    return dict(state)


def equations(project: str, state: State, x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
    """The noise that the network of a project predicts, [B, L], float64.

    x_t [B, L], t [B] (fractional), mel [B, n_mels, T].
    """
    predict = _philsyn if project == "philsyn" else _lmnt
    weights = {name: tensor.double() for name, tensor in state.items()}
    return predict(weights, x_t.double(), t, mel.double(), project == "speechbrain")


def _conv(
    weights: State, name: str, x: Tensor, dilation: int = 1, padding: str = "constant"
) -> Tensor:
    weight = _weight(weights, name)
    pad = dilation * (weight.shape[2] // 2)
    x = F.pad(x, (pad, pad), mode=padding) if pad else x
    return F.conv1d(x, weight, weights[f"{name}.bias"], dilation=dilation)


def _weight(weights: State, name: str) -> Tensor:
    if f"{name}.weight" in weights:
        return weights[f"{name}.weight"]
    v = weights[f"{name}.weight_v"]
    norms = torch.stack([row.square().sum().sqrt() for row in v])
    return weights[f"{name}.weight_g"] * v / norms.view(-1, *[1] * (v.dim() - 1))


def _linear(weights: State, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _upsampled(weights: State, names: tuple[str, str], mel: Tensor) -> Tensor:
    y = mel[:, None]
    for name in names:
        bias = weights[f"{name}.bias"]
        y = F.conv_transpose2d(y, _weight(weights, name), bias, stride=(1, 16), padding=(1, 8))
        y = torch.where(y > 0, y, 0.4 * y)
    return y[:, 0]


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _table_row(t: int) -> Tensor:
    """Sines and cosines of t 10^(4j/63), rounded as single precision rounds that product."""
    angle = torch.tensor(t) * 10.0 ** (torch.arange(64) * 4.0 / 63.0)
    return torch.cat([torch.sin(angle), torch.cos(angle)]).double()


def _lmnt(weights: State, x_t: Tensor, t: Tensor, mel: Tensor, wrapped: bool) -> Tensor:
    conv, linear = (".conv", ".w") if wrapped else ("", "")
    padding = "reflect" if wrapped else "constant"
    rows = []
    for value in t.tolist():
        low = math.floor(value)
        share = value - low
        rows.append((1 - share) * _table_row(low) + share * _table_row(low + 1))
    step = torch.stack(rows)
    for i in (1, 2):
        step = _swish(_linear(weights, f"diffusion_embedding.projection{i}{linear}", step))
    names = ("spectrogram_upsampler.conv1", "spectrogram_upsampler.conv2")
    cond = _upsampled(weights, names, mel)
    h = _conv(weights, f"input_projection{conv}", x_t[:, None]).relu()
    skips = torch.zeros_like(h)
    for i in range(LAYERS):
        layer = f"residual_layers.{i}"
        y = h + _linear(weights, f"{layer}.diffusion_projection{linear}", step)[..., None]
        y = _conv(weights, f"{layer}.dilated_conv{conv}", y, 2 ** (i % CYCLE), padding)
        y = y + _conv(weights, f"{layer}.conditioner_projection{conv}", cond)
        gate, signal = y.chunk(2, dim=1)
        y = _conv(weights, f"{layer}.output_projection{conv}", gate.sigmoid() * signal.tanh())
        residual, skip = y.chunk(2, dim=1)
        h, skips = (h + residual) / math.sqrt(2), skips + skip
    y = _conv(weights, f"skip_projection{conv}", skips / math.sqrt(LAYERS)).relu()
    return _conv(weights, f"output_projection{conv}", y)[:, 0]


def _philsyn(weights: State, x_t: Tensor, t: Tensor, mel: Tensor, _: bool) -> Tensor:
    angle = t.double()[:, None] * 10.0 ** (-4 * torch.arange(64, dtype=torch.float64) / 63)
    step = torch.cat([angle.sin(), angle.cos()], dim=1)
    for i in (1, 2):
        step = _swish(_linear(weights, f"residual_layer.fc_t{i}", step))
    h = _conv(weights, "init_conv.0.conv", x_t[:, None]).relu()
    skips = torch.zeros_like(h)
    for i in range(LAYERS):
        block = f"residual_layer.residual_blocks.{i}"
        # That project adds the step in place: the residual connection has it as well.
        h = h + _linear(weights, f"{block}.fc_t", step)[..., None]
        y = _conv(weights, f"{block}.dilated_conv_layer.conv", h, 2 ** (i % CYCLE))
        names = (f"{block}.upsample_conv2d.0", f"{block}.upsample_conv2d.1")
        y = y + _conv(weights, f"{block}.mel_conv.conv", _upsampled(weights, names, mel))
        y = y[:, :CHANNELS].tanh() * y[:, CHANNELS:].sigmoid()
        skips = skips + _conv(weights, f"{block}.skip_conv", y)
        h = (h + _conv(weights, f"{block}.res_conv", y)) * math.sqrt(0.5)
    y = _conv(weights, "final_conv.0.conv", skips * math.sqrt(1 / LAYERS)).relu()
    return _conv(weights, "final_conv.2.conv", y)[:, 0]
