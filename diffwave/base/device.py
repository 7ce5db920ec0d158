"""Which device and which precision to compute in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from diffwave.base.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied to measure a device; 1024 on any other."""


def choose_device(name: str = "auto") -> torch.device:
    """A device by name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: when there is no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError):  # which one depends on the device
        raise InputError(f"There is no device {name!r} on this machine.") from None
    return device


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Compute a function in float32 even where a caller's `torch.autocast` asks for less.

    For envelopes, pulses and transforms, which do not bear it.
    """

    @functools.wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return computed


def faster_precision(device: torch.device, margin: float = 1.5) -> torch.dtype:
    """bfloat16 where its matrix products are clearly faster than float32's, else float32.

    Measured, not looked up: some processors have bfloat16 instructions that are slower than float32
    through the libraries at hand (AVX-512 without AMX: about half as fast).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    # In turn, so that other work on the machine, which comes and goes, slows down both.
    types = (torch.bfloat16, torch.float32) * 3
    speeds = [matrix_throughput(device, dtype, budget=0.01) for dtype in types]
    return torch.bfloat16 if max(speeds[::2]) > margin * max(speeds[1::2]) else torch.float32


def matrix_throughput(device: torch.device, dtype: torch.dtype, budget: float = 0.2) -> float:
    """FLOP/s of the best of some products of square matrices, measured for `budget` seconds."""
    from torch.utils.benchmark import Timer  # which logs, where there is none, that there is no GPU

    side = SIDE.get(device.type, 1024)
    matrix = torch.full((side, side), 1e-3, dtype=dtype, device=device)
    timer = Timer("m @ m", globals={"m": matrix}, num_threads=torch.get_num_threads())
    return float(2 * side**3 / min(timer.blocked_autorange(min_run_time=budget).times))
