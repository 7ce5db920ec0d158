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
    ("bfloat16_seconds", "expected"),
    [(2.0, torch.float32), (0.9, torch.float32), (0.6, torch.bfloat16)],
)
def test_cpu_precision_follows_the_measurement(
    monkeypatch: pytest.MonkeyPatch, bfloat16_seconds: float, expected: torch.dtype
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: bfloat16_seconds}
    monkeypatch.setattr(device, "_product_seconds", seconds.__getitem__)
    assert faster_precision(torch.device("cpu")) == expected
    # the margin decides how clearly
    assert faster_precision(torch.device("cpu"), margin=0.4) == torch.bfloat16


def test_products_are_measured_in_both_precisions() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert 0 < device._product_seconds(dtype) < float("inf")


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_precision_of_other_devices(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert faster_precision(torch.device("cuda")) == getattr(torch, expected)
    assert faster_precision(torch.device("mps")) == torch.float32
