"""Choice of device and precision."""

from __future__ import annotations

import pytest
import torch

from diffwave.base import device
from diffwave.base.device import choose_device, faster_precision
from diffwave.base.errors import InputError


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cpu:x", "cuda:99", "meta", "hpu", "fpga"])
def test_what_is_not_there_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(InputError) as error:
        choose_device(name)
    assert str(error.value) == f"There is no device {name!r} on this machine."


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == choose_device() == torch.device(expected)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [(0.5, torch.float32), (1.1, torch.float32), (1.7, torch.bfloat16)],
)
def test_cpu_precision_follows_the_measurement(
    monkeypatch: pytest.MonkeyPatch, speed: float, expected: torch.dtype
) -> None:
    speeds = {torch.float32: 1.0, torch.bfloat16: speed}
    monkeypatch.setattr(device, "matrix_throughput", lambda _, dtype, budget: speeds[dtype])
    assert faster_precision(torch.device("cpu")) == expected
    # the margin decides how clearly
    assert faster_precision(torch.device("cpu"), margin=0.4) == torch.bfloat16


def test_products_are_measured_in_both_precisions() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        speed = device.matrix_throughput(torch.device("cpu"), dtype, budget=0)
        assert 1e7 < speed < 1e16


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_precision_of_other_devices(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert faster_precision(torch.device("cuda")) == getattr(torch, expected)
    assert faster_precision(torch.device("mps")) == torch.float32
