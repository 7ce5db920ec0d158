"""Functions that serve NumPy's arrays and PyTorch's tensors alike, where one formula is for both.

PyTorch trains and runs the models; the ONNX runtime (:mod:`diffwave.onnx`) has NumPy alone. What
they share is written once, in the calls that both libraries have under one name. Nothing here
imports PyTorch: whoever passes a tensor has done so.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""An `np.ndarray` or a `torch.Tensor`; what goes in decides what comes out."""


def is_tensor(x: object) -> bool:
    """Whether this is PyTorch's."""
    return (torch := sys.modules.get("torch")) is not None and isinstance(x, torch.Tensor)


def namespace(x: Array) -> Any:
    """The library whose functions take x: `numpy` or `torch`."""
    return sys.modules["torch"] if is_tensor(x) else np


def like(value: Array, x: Array) -> Array:
    """A value in the library, type and place of x."""
    if is_tensor(x):
        tensor: torch.Tensor = sys.modules["torch"].as_tensor(value)
        return tensor.to(x)
    return np.asarray(value, x.dtype)


def float64(value: Array) -> Array:
    """A value in float64, on the CPU: not every device has float64 (Apple's has not)."""
    return value.cpu().double() if is_tensor(value) else np.asarray(value, np.float64)


def zeros(shape: tuple[int, ...], x: Array) -> Array:
    """Zeros in the library, type and place of x."""
    return x.new_zeros(shape) if is_tensor(x) else np.zeros(shape, x.dtype)


def lerp(start: Array, end: Array, weight: float) -> Array:
    """start + weight (end - start), for a weight beyond one half."""
    if is_tensor(start):
        return start.lerp(end, weight)
    return end + (weight - 1) * (end - start)


def polar(magnitude: Array, phase: Array) -> Array:
    """Complex numbers of these magnitudes and phases."""
    if is_tensor(phase):
        return sys.modules["torch"].polar(magnitude, phase)
    return magnitude * np.exp(1j * phase)


def windows(x: Array, size: int, step: int) -> Array:
    """Stretches of the last axis, a view: [..., L] -> [..., 1 + (L - size) // step, size]."""
    if is_tensor(x):
        return x.unfold(-1, size, step)
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=-1)[..., ::step, :]
