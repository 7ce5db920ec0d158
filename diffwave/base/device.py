"""Which device and which precision to compute in."""

from __future__ import annotations

import time

import torch

from diffwave.base.errors import InputError


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


def faster_precision(device: torch.device, margin: float = 1.5) -> torch.dtype:
    """bfloat16 where its matrix products are clearly faster than float32's, else float32.

    Measured, not looked up: some processors have bfloat16 instructions that are slower than float32
    through the libraries at hand (AVX-512 without AMX: about half as fast).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(6):
        # In turn, so that other work on the machine, which comes and goes, slows down both.
        for dtype, best in seconds.items():
            seconds[dtype] = min(best, _product_seconds(dtype))
    faster = seconds[torch.float32] > margin * seconds[torch.bfloat16]
    return torch.bfloat16 if faster else torch.float32


def _product_seconds(dtype: torch.dtype) -> float:
    left, right = torch.ones(1024, 768, dtype=dtype), torch.ones(768, 512, dtype=dtype)
    torch.mm(left, right)  # warm
    start = time.perf_counter()
    torch.mm(left, right)
    return time.perf_counter() - start
