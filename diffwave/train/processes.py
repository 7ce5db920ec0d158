"""This process among those of a run: its device, its share of the batch, and the signals it gets.

Plain `torch.distributed`, started by `torchrun`. Gradients are averaged after the backward pass,
all in one message: the networks are small. DistributedDataParallel overlaps the two, but it keeps
threads of the process group alive beyond `destroy_process_group`, and one that still holds a tensor
when Python ends aborts the process (seen with torch 2.14 on a busy CPU).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import FrameType, TracebackType

import torch
from torch import distributed, nn

from diffwave.base.device import choose_device
from diffwave.base.errors import InputError

PATIENCE = timedelta(hours=1)
"""How long a process waits for one that does not answer; the first one validates meanwhile."""


class Processes:
    """This process among those that `torchrun` has started, or all alone; a context manager.

    The first one logs, validates and writes.
    """

    def __init__(self, device: str) -> None:
        """Choose the device; on a machine with CUDA, the card of this process's local rank.

        InputError for one that is not there, or cannot serve several processes.
        """
        self.device = choose_device(device)
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.is_main = self.rank == 0
        if self.world > 1 and (self.device.index is not None or self.device.type == "mps"):
            raise InputError(f"Several processes cannot train on {device!r}; use 'cpu' or 'cuda'.")
        if self.world > 1 and self.device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)

    def __enter__(self) -> Processes:
        if self.world > 1:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=PATIENCE)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the others; the loss of one of them is an InputError."""
        if distributed.is_initialized():
            distributed.destroy_process_group()
        of_a_peer = isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
        if self.world > 1 and isinstance(error, RuntimeError) and of_a_peer:
            raise InputError(
                "Another process of this run has ended, or does not answer; this one stops too. "
                "The same command goes on from the last checkpoint."
            ) from None

    def shares(self, batch_size: int, accumulate: int) -> list[range]:
        """Rows of a batch that this process computes, in as many parts as it accumulates.

        InputError when the batch does not divide.
        """
        parts = self.world * accumulate
        size, rest = divmod(batch_size, parts)
        if rest:
            raise InputError(
                f"optim.batch_size = {batch_size} does not divide into {self.world} processes x "
                f"{accumulate} parts (optim.accumulate); make it a multiple of {parts}."
            )
        first = self.rank * accumulate * size
        return [range(first + i * size, first + (i + 1) * size) for i in range(accumulate)]

    def broadcast(self, module: nn.Module) -> None:
        """Give all processes the first one's parameters and buffers."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def average_gradients(self, module: nn.Module) -> None:
        """Average over the processes the gradients of a module, all of which have the same ones."""
        found = [p.grad for p in module.parameters() if p.grad is not None]
        if self.world > 1 and found:
            whole = torch.cat([gradient.flatten() for gradient in found]) / self.world
            distributed.all_reduce(whole)
            for gradient, mean in zip(found, whole.split([g.numel() for g in found]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes of numbers that every one of them gives."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return list(tensor.tolist())

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            distributed.barrier()


class StopRequest:
    """Whether SIGINT or SIGTERM came; a second one unwinds whatever is being done."""

    received = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.received:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = True


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Note SIGINT and SIGTERM until the block ends; only the main thread receives signals."""
    request, old = StopRequest(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, request.note)
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
