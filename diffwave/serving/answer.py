"""An answer of samples, whole or chunk by chunk, that ends when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.pcm import WIDTH, pcm, wav_frame
from diffwave.serving.schema import SpeechOptions

_T = TypeVar("_T")
PIECE = 1 << 15
"""Bytes handed over at a time, so that a slow reader is noticed to be one, and not to be stuck."""


async def unless_gone(receive: Receive, work: Awaitable[_T], seconds: float | None = None) -> _T:
    """The result of some work, which is cancelled when the client leaves or time is up.

    Raises:
        ClientDisconnect: the client has left.
        TimeoutError: it took longer than `seconds`, if given.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        done, _ = await asyncio.wait(
            {working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if working in done:
            return working.result()
        raise ClientDisconnect if leaving in done else TimeoutError
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Speech(Response):
    """Samples as a wav or without a header; its length is stated unless it is a stream."""

    def __init__(
        self,
        pieces: AsyncGenerator[Tensor],
        samples: int,
        sample_rate: int,
        options: SpeechOptions,
        closed: Callable[[bool], object],
    ) -> None:
        """
        Args:
            pieces: of the wave, [L] each, together `samples` long. Any error that they raise ends
                the answer, and its reader sees that it is not whole.
            samples: their number.
            sample_rate: Hz.
            options: the format, the bits of a sample, and whether to send chunks.
            closed: called once at the end, with whether everything was sent.
        """
        super().__init__(media_type=f"audio/{options.format}")
        self.pieces, self.bits, self.closed = pieces, options.bits, closed
        wav = options.format == "wav"
        self.frame = wav_frame(samples, sample_rate, self.bits) if wav else (b"", b"")
        del self.headers["content-length"]
        if not options.stream:
            length = WIDTH[self.bits] * samples + sum(map(len, self.frame))
            self.headers["content-length"] = str(length)
        self.headers["x-sample-rate"], self.headers["x-samples"] = str(sample_rate), str(samples)
        self.headers["cache-control"] = "no-store"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; returns early, and the server then closes the connection, if it breaks off."""
        whole = False

        async def body(data: bytes, more: bool = True) -> None:
            message: dict[str, Any] = {"type": "http.response.body", "body": data}
            await send({**message, "more_body": more})

        async def send_all() -> None:
            nonlocal whole
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            head, tail = self.frame
            async for piece in self.pieces:
                data = head + pcm(piece, self.bits)
                for start in range(0, len(data), PIECE):
                    await body(data[start : start + PIECE])
                head = b""
            whole = True
            await body(tail, more=False)

        try:
            await unless_gone(receive, send_all())
        except (ClientDisconnect, InputError, TimeoutError):
            pass
        finally:
            await self.pieces.aclose()
            self.closed(whole)
