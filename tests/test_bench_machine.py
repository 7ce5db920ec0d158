"""What is known of the machine."""

from __future__ import annotations

import dataclasses
import os

import pytest

from diffwave.bench import machine as module
from diffwave.bench.machine import Machine, this_machine, usable_cores

IDLE = Machine("A Processor", 4, 16.0, "Linux x86_64", False, 0.2)


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert machine.processor
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory_gib is None or machine.memory_gib > 0.1


@pytest.mark.parametrize(("load", "busy"), [(0.0, False), (1.1, False), (1.3, True), (None, False)])
def test_a_busy_machine(load: float | None, busy: bool) -> None:
    assert dataclasses.replace(IDLE, load=load).busy is busy


def test_in_words() -> None:
    assert IDLE.sentence() == (
        "A Processor, 4 cores, 16 GiB, Linux x86_64; bf16 products are no faster than fp32 here"
    )
    other = dataclasses.replace(IDLE, memory_gib=None, bf16_faster=True)
    assert other.sentence() == (
        "A Processor, 4 cores, Linux x86_64; bf16 products are faster than fp32 here"
    )


def test_a_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(module.Path, "read_text", refuse)
    monkeypatch.setattr(module.os, "sysconf", refuse)
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.platform, "machine", lambda: "")
    monkeypatch.delattr(module.os, "getloadavg", raising=False)
    monkeypatch.delattr(module.os, "sched_getaffinity", raising=False)
    machine = this_machine()
    assert machine.processor == "unknown processor"
    assert machine.memory_gib is None
    assert machine.load is None
    assert usable_cores() == os.cpu_count()
