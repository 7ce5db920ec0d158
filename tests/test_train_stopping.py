"""Signals as a wish to stop."""

from __future__ import annotations

import signal
import threading

import pytest

from diffwave.train.stopping import stop_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_noted_and_the_second_acts(number: signal.Signals) -> None:
    heard: list[int] = []
    old = signal.signal(number, lambda n, frame: heard.append(n))
    try:
        with stop_signal() as received:
            assert received == []
            signal.raise_signal(number)
            assert (received, heard) == ([number], [])
            signal.raise_signal(number)
            assert (received, heard) == ([number], [number])
        signal.raise_signal(number)
        assert heard == [number, number]
    finally:
        signal.signal(number, old)


def test_handlers_come_back_after_a_failure() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), stop_signal():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_hear_nothing() -> None:
    def listen() -> None:
        with stop_signal() as received:
            lists.append(received)

    lists: list[list[int]] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert lists == [[]]
