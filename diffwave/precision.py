"""Networks that compute in less than float32, for processors that are faster at it.

Nearly all time of a network call goes into matrix products, and those are all that changes: weights
and inputs of `nn.Linear` are rounded, everything between stays in float32, and so do the STFT and
the mel-consistency iterations.
"""

from __future__ import annotations

import warnings
from typing import Literal, TypeVar, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffwave.base.errors import InputError
from diffwave.model import DiffusionModel

Precision = Literal["float32", "bfloat16", "int8"]
Module = TypeVar("Module", bound=nn.Module)
INT8_IS_FOR_CPUS = "A network in int8 computes on the CPU alone."


class Bfloat16Linear(nn.Module):
    """A product of bfloat16 matrices, accumulated in float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().bfloat16(), requires_grad=False)
        bias = None if linear.bias is None else linear.bias.detach().bfloat16()
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in_features] -> float32 [.., out_features]."""
        return F.linear(x.bfloat16(), self.weight, self.bias).float()


def in_precision(model: DiffusionModel, precision: str) -> DiffusionModel:
    """The model, with its denoising network in a precision, to generate with.

    The small networks of pitch and mel stay as they are: a pulse that moves is another wave. int8
    has one scale for a matrix of weights and one for its inputs, taken from what they are at that
    moment (dynamic quantisation), and is for CPUs alone.

    Raises:
        InputError: for an unknown precision, a device without it, or a network of convolutions
            (`waveform`).
    """
    if precision not in get_args(Precision):
        names = ", ".join(get_args(Precision))
        raise InputError(f"There is no precision {precision!r:.40}; there are {names}.")
    if precision == "float32":
        return model
    if model.config.network.kind != "spectral":
        raise InputError(f"A {model.config.network.kind} network computes in float32 alone.")
    if precision == "bfloat16":
        _replace(model.denoiser)
        return model
    if model.device.type != "cpu":
        raise InputError(INT8_IS_FOR_CPUS)
    model.denoiser = int8(model.denoiser)
    return model


def int8(module: Module) -> Module:
    """A copy whose `nn.Linear` layers are quantised dynamically."""
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what will take its place
        return cast(Module, quantize_dynamic(module, {nn.Linear}, torch.qint8))


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Bfloat16Linear(child))
        else:
            _replace(child)
