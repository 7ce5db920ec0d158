"""From a request to a job of the engine, and from the engine's threads back to the request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator

import torch
from starlette.requests import Request
from torch import Tensor

from diffwave.base.errors import InputError, out_of_memory
from diffwave.serving.batch import Utterance, generate_windows
from diffwave.serving.bodies import mel_of_body
from diffwave.serving.engine import Engine, Job
from diffwave.serving.errors import Refusal
from diffwave.serving.limits import Limits
from diffwave.serving.metrics import Metrics
from diffwave.serving.schema import SpeechOptions
from diffwave.synthesis import CHUNK_FRAMES
from diffwave.vocoder import Vocoder


class Service:
    """A voice, the engine that generates with it, and the places of requests."""

    def __init__(
        self,
        vocoder: Vocoder,
        limits: Limits | None = None,
        *,
        workers: int = 1,
        threads: int = 1,
        max_batch: int = 1,
    ) -> None:
        """A vocoder on its device, and `workers` that generate, with so many threads of PyTorch
        each, at most `max_batch` windows together."""
        self.vocoder, self.limits, self.metrics = vocoder, limits or Limits(), Metrics()
        self.threads, self.max_batch, self.taken, self.ready = threads, max_batch, 0, False
        self._reading = asyncio.Semaphore(2)  # JSON takes thirty times its bytes while it is read
        self.engine = Engine(vocoder.model, workers, max_batch, self._count)
        self.metrics.waiting.set_function(lambda: self.engine.waiting)

    def start(self) -> None:
        """Warm up, and start the engine's threads."""
        torch.set_num_threads(self.threads)
        # Generate once, so that no request waits for what PyTorch sets up lazily.
        model, mel = self.vocoder.model, silence(self.vocoder, 64)
        generate_windows(model, [Utterance(model, mel, model.sampling(), most=mel.shape[-1])])
        self.engine.start()
        self.ready = True

    def stop(self) -> None:
        """Stop them."""
        self.ready = False
        self.engine.stop()

    def take_place(self) -> None:
        """Take one of the places; Refusal (503) when there is none."""
        if self.taken >= self.limits.max_requests:
            seconds = max(1, math.ceil(self.engine.seconds_to_wait()))
            raise Refusal(
                503,
                f"All {self.taken} places are taken; ask again in {seconds} s.",
                {"Retry-After": str(seconds)},
            )
        self.taken += 1
        self.metrics.in_progress.set(self.taken)

    def free_place(self) -> None:
        """Give one back."""
        self.taken -= 1
        self.metrics.in_progress.set(self.taken)

    async def mel_of(self, request: Request) -> Tensor:
        """The checked mel [n_mels, T] that a request brings.

        Raises:
            Refusal: it is too large (413), too slow (408), or no mel
                (:func:`diffwave.serving.bodies.mel_of_body`).
            ClientDisconnect: the client left.
        """
        limits, body = self.limits, bytearray()
        large = Refusal(413, f"The body is longer than {limits.max_body} bytes.")
        length = request.headers.get("content-length", "0")
        if len(length) > 18 or (length.isdecimal() and int(length) > limits.max_body):
            raise large
        try:
            async with asyncio.timeout(limits.upload_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > limits.max_body:
                        raise large
        except TimeoutError:
            raise Refusal(
                408,
                f"The body did not come within {limits.upload_seconds:g} s.",
                {"Connection": "close"},
            ) from None
        kind, config = request.headers.get("content-type", ""), self.vocoder.config.mel
        async with self._reading:
            return await asyncio.to_thread(
                mel_of_body, bytes(body), kind, config, limits.max_frames
            )

    def utterance(self, mel: Tensor, options: SpeechOptions) -> Utterance:
        """What the engine is to generate; Refusal (422) for what the voice cannot do."""
        try:
            return Utterance(
                self.vocoder.model,
                mel,
                self.vocoder.model.sampling(options.steps, None, options.n_iter),
                **options.model_dump(include={"seed", "enhance", "transpose", "stream"}),
                most=CHUNK_FRAMES,
                alike=self.max_batch > 1,
            )
        except InputError as error:
            raise Refusal(422, error) from None

    def check(self, options: SpeechOptions) -> None:
        """Refusal (422) for more work per frame than this service does."""
        limits = self.limits
        for name, most in (("steps", limits.max_steps), ("n_iter", limits.max_iterations)):
            if (getattr(options, name) or 0) > most:
                raise Refusal(
                    422, f"{name} is {most} at most in this service, not {getattr(options, name)}."
                )

    async def generate(self, utterance: Utterance, stream: bool) -> AsyncGenerator[Tensor]:
        """The pieces of its wave, as they are generated.

        The job is cancelled when the iterator is closed.

        Raises:
            Refusal: while iterating, when generating fails (500, 503).
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Tensor | Exception | None]()

        def deliver(item: Tensor | Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, item)

        job = Job(utterance, deliver, 1 / self.vocoder.sample_rate, stream)
        self.engine.submit(job)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise _refusal(item)
                if stream:
                    self.engine.read(job)
                yield item
        finally:
            self.engine.cancel(job)

    def _count(self, size: int, frames: int, seconds: float) -> None:
        self.metrics.batch.observe(size)
        self.metrics.busy.inc(seconds)
        self.metrics.speech.inc(frames * self.vocoder.hop_length / self.vocoder.sample_rate)


def _refusal(error: Exception) -> Refusal:
    """What a client is told of a failure; the log has the rest."""
    if isinstance(error, InputError):
        return Refusal(422, error)
    if out_of_memory(error):
        return Refusal(503, "There is not enough memory for it now.", {"Retry-After": "1"})
    return Refusal(500, "The speech could not be generated; the log of the service says why.")


def silence(vocoder: Vocoder, frames: int) -> Tensor:
    """The mel [n_mels, frames] of silence in a vocoder's convention."""
    wave = torch.zeros(frames * vocoder.hop_length + vocoder.config.mel.n_fft)
    return vocoder.mel(wave)[:, :frames].contiguous()
