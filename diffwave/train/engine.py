"""The processes of a run: which device each has, its share of the batch, what they agree on.

Accelerate does it, rather than Lightning Fabric, which takes 1.7 s to import (Accelerate 0.06 s)
and whose mixed precision also rounds what enters the network, the noise level among it. Precision
stays with :class:`~diffwave.train.objective.Objective`: it concerns the network alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, PartialState
from torch import nn

from diffwave.device import choose_device
from diffwave.errors import InputError

PATIENCE = timedelta(hours=1)
"""How long a process waits for one that does not answer; the first one validates meanwhile."""


class Engine:
    """This process among those that `torchrun` has started, or all alone."""

    def __init__(self, device: str) -> None:
        """`device` as in `RunConfig`; InputError if it is not there, or not for several processes.

        Every process of a machine that has CUDA gets the card of its local rank.
        """
        self.device = choose_device(device)
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if launched > 1 and (self.device.index is not None or self.device.type == "mps"):
            raise InputError(f"Several processes cannot train on {device!r}; use 'cpu' or 'cuda'.")
        self._accelerator = Accelerator(
            mixed_precision="no",
            cpu=self.device.type == "cpu",
            device_placement=False,
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=PATIENCE),
                DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            ],
        )
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes
        if self.world > 1:
            self.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process logs, validates and writes."""
        return self.rank == 0

    def shares(self, batch_size: int, accumulate: int) -> list[range]:
        """Rows of a batch that this process computes, in as many parts as it accumulates.

        Raises:
            InputError: when the batch does not divide.
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

    def equalise(self, module: nn.Module) -> None:
        """Give all processes the first one's parameters and buffers."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes."""
        return self._accelerator.prepare_model(module) if self.world > 1 else module

    def only_adding(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Within it gradients of a wrapped module stay with the process that computes them."""
        context: AbstractContextManager[Any] = self._accelerator.no_sync(module)
        return context

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes of numbers that every one of them gives."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        summed: list[float] = self._accelerator.reduce(tensor, "sum").tolist()
        return summed

    def wait(self) -> None:
        """Until every process has come here."""
        self._accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The run itself: tells what the loss of another process looks like, and cleans up.

        Raises:
            InputError: when another process has ended or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not _is_of_a_peer(error):
                raise
            raise InputError(
                "Another process of this run has ended, or does not answer; this one stops too. "
                "The same command goes on from the last checkpoint."
            ) from None
        finally:
            PartialState().destroy_process_group()
            # One process may train more than once, on other devices.
            AcceleratorState._reset_state(reset_partial_state=True)


def _is_of_a_peer(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
