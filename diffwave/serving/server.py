"""What listens: uvicorn, with a limit on how long a connection may take for everything."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from diffwave.base.errors import InputError
from diffwave.serving.limits import Limits

MOST_CONNECTIONS = 1024  # open at a time; uvicorn answers further ones with 503


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; InputError when that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot listen on {host}:{port}: {reason}.") from None


def serve(app: FastAPI, listener: socket.socket, limits: Limits, access_log: bool = False) -> None:
    """Answer requests until SIGTERM or SIGINT; those that have been taken are finished.

    Args:
        app: the application.
        listener: a bound socket, which is closed at the end.
        limits: of the seconds that a connection has.
        access_log: whether to print a line for each request.
    """
    config = uvicorn.Config(
        app,
        http=_protocol(limits),
        ws="none",
        lifespan="on",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.upload_seconds + limits.generate_seconds + 1),
        server_header=False,
        access_log=access_log,
    )
    # uvicorn raises SIGTERM anew when it is done; to end in order is no failure.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


def _protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 that closes connections which do not get on.

    uvicorn limits the pause between requests, but neither the time that the head of one takes, nor
    that for which an answer is not read.
    """

    class Protocol(H11Protocol):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.head_timer: asyncio.TimerHandle | None = None
            self.stall_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self.head_timer, self.stall_timer):
                if timer is not None:
                    timer.cancel()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.head_timer is not None and self._answering():
                self.head_timer.cancel()
                self.head_timer = None

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._answering():
                self._await_head()

        def _answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _await_head(self) -> None:
            """Give the next request's head, or the rest of a refused body, so many seconds."""
            if self.head_timer is None and not self.transport.is_closing():
                self.head_timer = self.loop.call_later(limits.head_seconds, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reader(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.stall_timer is not None:
                self.stall_timer.cancel()

        def _watch_reader(self, unread: int) -> None:
            """Close the connection if no more is read than `unread` bytes for a while."""

            def look() -> None:
                now = self.transport.get_write_buffer_size()
                if now >= unread:
                    self.transport.abort()
                else:
                    self._watch_reader(now)

            self.stall_timer = self.loop.call_later(limits.stall_seconds, look)

    return Protocol
