"""SIGINT and SIGTERM as a wish to stop, to be met between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that a SIGINT or SIGTERM puts something into, instead of killing the process.

    A second signal acts as it did before. Outside the main thread, which alone hears signals, the
    list stays empty.
    """
    received: list[int] = []
    old: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, old[signal.Signals(number)])

    if threading.current_thread() is threading.main_thread():
        old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in old:
            signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
