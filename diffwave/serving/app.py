"""The HTTP interface of a service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from diffwave import __version__
from diffwave.base.text import printable
from diffwave.serving.answer import Speech, unless_gone
from diffwave.serving.errors import Refusal, problem
from diffwave.serving.metrics import Metrics
from diffwave.serving.schema import PROBLEM, SpeechOptions, State, Voice, answers, body_schema
from diffwave.serving.service import Service, silence

logger = logging.getLogger(__name__)

LEFT = 499
"""Status, in the metrics alone, of a request whose client left before its answer (nginx's)."""


def create_app(service: Service, name: str) -> FastAPI:
    """The ASGI application of a service, which it starts and stops.

    Args:
        service: not started.
        name: of the voice.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        yield
        await asyncio.to_thread(service.stop)

    summary = "Mel-spectrograms in, speech out."
    app = FastAPI(
        title="diffwave", version=__version__, summary=summary, lifespan=lifespan, redoc_url=None
    )
    app.add_middleware(_Counting, metrics=service.metrics)
    _add_handlers(app)
    _add_speech(app, service)
    _add_state(app, service, name)
    return app


def _add_speech(app: FastAPI, service: Service) -> None:
    vocoder, limits = service.vocoder, service.limits
    example = [[round(v, 2) for v in band] for band in silence(vocoder, 2).tolist()]

    @app.post(
        "/v1/speech",
        summary="Speech for a mel-spectrogram",
        response_class=Response,
        responses=answers(vocoder.sample_rate, limits),
        openapi_extra={"requestBody": body_schema(vocoder.config.mel, example)},
    )
    async def speech(request: Request, options: Annotated[SpeechOptions, Query()]) -> Response:
        start = time.perf_counter()
        service.check(options)
        service.take_place()
        try:
            return await _answer(service, request, options, start)
        except BaseException:
            service.free_place()
            raise


async def _answer(
    service: Service, request: Request, options: SpeechOptions, start: float
) -> Response:
    """The answer to a request that came at `start`; gives the place back when it has been sent."""
    limits, kind = service.limits, "stream" if options.stream else "whole"
    mel = await service.mel_of(request)
    body_came = time.perf_counter()
    pieces = service.generate(service.utterance(mel, options), options.stream)

    async def enough() -> list[Tensor]:
        """The first piece of a stream, all of others."""
        return [await anext(pieces)] if options.stream else [piece async for piece in pieces]

    try:
        ready = await unless_gone(request.receive, enough(), limits.generate_seconds)
    except BaseException as error:
        await pieces.aclose()
        if isinstance(error, TimeoutError):
            raise Refusal(
                504, f"It would take longer than {limits.generate_seconds:g} s."
            ) from None
        raise
    service.metrics.first_samples.labels(kind).observe(time.perf_counter() - body_came)

    async def rest() -> AsyncGenerator[Tensor]:
        try:
            for piece in ready:
                yield piece
            while True:
                async with asyncio.timeout(limits.generate_seconds):
                    following = await anext(pieces, None)
                if following is None:
                    return
                yield following
        finally:
            await pieces.aclose()

    def closed(whole: bool) -> None:
        service.free_place()
        if whole:
            service.metrics.seconds.labels(kind).observe(time.perf_counter() - start)

    samples, rate = mel.shape[-1] * service.vocoder.hop_length, service.vocoder.sample_rate
    return Speech(rest(), samples, rate, options, closed)


def _add_state(app: FastAPI, service: Service, name: str) -> None:
    vocoder, limits = service.vocoder, service.limits

    @app.get("/v1/voice", summary="The voice, and what is taken")
    async def voice() -> Voice:
        sampling = vocoder.model.sampling()
        return Voice(
            checkpoint=name,
            sample_rate=vocoder.sample_rate,
            hop_length=vocoder.hop_length,
            n_mels=vocoder.config.mel.n_mels,
            mel=vocoder.config.mel.name,
            steps=sampling.steps,
            n_iter=sampling.n_iter,
            can_transpose=vocoder.model.source is not None,
            has_enhancer=vocoder.model.enhancer is not None,
            **{name: value for name, value in vars(limits).items() if name in Voice.model_fields},
        )

    unwell: dict[int | str, dict[str, Any]] = {503: {"model": State, "description": "It is not."}}

    @app.get("/healthz", summary="Whether the process works", responses=unwell)
    async def health(response: Response) -> State:
        well = service.engine.alive() or not service.ready
        response.status_code = 200 if well else 503
        return State(status="ok" if well else "a worker has ended")

    @app.get("/readyz", summary="Whether speech can be asked for", responses=unwell)
    async def readiness(response: Response) -> State:
        ready = service.ready and service.engine.alive()
        full = service.taken >= limits.max_requests
        response.status_code = 200 if ready and not full else 503
        return State(status="not ready" if not ready else "all places are taken" if full else "ok")

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics(request: Request) -> Response:
        text, media_type = service.metrics.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})


def _add_handlers(app: FastAPI) -> None:
    """One sentence for whatever goes wrong, and never a traceback."""

    def answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        return JSONResponse(problem(status, sentence), status, headers, media_type=PROBLEM)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return answer(error.status, str(error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(422, _sentence(error))

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> Response:
        sentences = {
            404: f"There is nothing at {printable(request.url.path)[:80]!r}; see /docs.",
            405: f"{request.url.path} does not take {request.method}.",
        }
        sentence = sentences.get(error.status_code, str(error.detail))
        return answer(error.status_code, sentence, dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=LEFT)  # which nobody reads


def _sentence(error: RequestValidationError) -> str:
    """The first thing that is wrong with a query."""
    first = error.errors()[0]
    name = printable(".".join(map(str, first["loc"][1:])))[:80]
    if first["type"] == "extra_forbidden":
        return f"There is no option {name!r}; known are {', '.join(SpeechOptions.model_fields)}."
    reason = str(first["msg"])
    return f"The option {name} is wrong: {reason[:1].lower()}{printable(reason[1:])[:200]}."


class _Counting:
    """ASGI middleware: counts answers, and answers what nobody caught."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counted)
        except Exception as error:
            logger.error("A request failed.", exc_info=error)
            if status:  # too late for another answer; the server closes the connection
                return
            body = problem(500, "The service failed; its log says why.")
            await JSONResponse(body, 500, media_type=PROBLEM)(scope, receive, counted)
        finally:
            # The route is known by now; other paths are anybody's invention.
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status or LEFT)).inc()
