"""A service on a socket: slow, huge and vanishing clients, and how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE, until
from serving import Answer, Served, npy, samples, served
from tiny import random_model, source_config, speech_mel

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")

from diffwave import Vocoder
from diffwave.checkpoint import save_checkpoint

MEL = speech_mel(1.0)
LONG = speech_mel(2.0).repeat(1, 25)
"""4300 frames, 50 s."""
SLOWLY = "/v1/speech?steps=64&n_iter=0&format=pcm"
"""Takes a tiny vocoder seconds of LONG, in steps between which it can be given up."""
PATIENT = {"head_seconds": 60, "upload_seconds": PATIENCE, "generate_seconds": PATIENCE}
"""Limits that no client of a busy machine exceeds who does not want to."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving") / "voice"
    save_checkpoint(random_model(source_config()), folder, half=False)
    return folder


@pytest.fixture(scope="module")
def service(checkpoint: Path) -> Iterator[Served]:
    """One worker and two places; it is impatient only of who does not read."""
    limits = {"max_requests": 2, "max_body": 3 << 20, "stall_seconds": 3}
    with served(checkpoint, **PATIENT, **limits) as service:
        yield service


@pytest.fixture(scope="module")
def impatient(checkpoint: Path) -> Iterator[Served]:
    """For what is slow on purpose."""
    with served(checkpoint, max_body=3 << 20, head_seconds=2, upload_seconds=1) as service:
        yield service


def closed_while_sending(connection: socket.socket, data: bytes, pause: float = 0) -> bool:
    """Whether the other side closes a connection on which the same is sent again and again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            connection.sendall(data)
        except OSError:
            return True
        time.sleep(pause)
    return False


def connected(service: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)


def refused(service: Served) -> bool:
    """Whether nobody is let in any more."""
    try:
        connected(service).close()
    except OSError:
        return True
    return False


def nothing_in_progress(service: Served) -> bool:
    return service.metric("diffwave_requests_in_progress") == 0


def start(service: Served, path: str, body: bytes) -> http.client.HTTPConnection:
    """A request whose answer is not waited for, once the service has it."""
    before = service.metric("diffwave_requests_in_progress")
    connection = service.connect()
    connection.request("POST", path, body)
    until(lambda: service.metric("diffwave_requests_in_progress") > before)
    return connection


def test_a_stream_is_heard_while_the_rest_is_generated(service: Served) -> None:
    until(lambda: nothing_in_progress(service))
    before = service.metric("diffwave_speech_seconds_total")
    connection = start(service, SLOWLY + "&stream=true", npy(LONG))
    response = connection.getresponse()
    assert response.getheader("transfer-encoding") == "chunked"
    first = response.read(1000)
    made = service.metric("diffwave_speech_seconds_total") - before
    assert len(first) == 1000 and 0 < made < 20  # of 50 s
    connection.close()


def test_what_is_beyond_the_places_is_refused_until_one_is_free(service: Served) -> None:
    until(lambda: nothing_in_progress(service))
    first, second = (start(service, SLOWLY, npy(LONG)) for _ in range(2))
    third = service.ask(body=npy(MEL))
    assert (
        third.status == 503 and "places" in third.detail and int(third.headers["retry-after"]) > 0
    )
    assert service.ask("/healthz").status == 200 and service.ask("/readyz").status == 503
    first.close()
    second.close()
    until(lambda: nothing_in_progress(service))
    assert service.ask(body=npy(MEL)).status == 200


def test_a_client_that_leaves_while_it_uploads_or_listens_frees_its_place(service: Served) -> None:
    until(lambda: nothing_in_progress(service))
    with connected(service) as upload:
        upload.sendall(b"POST /v1/speech HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nabc")
        until(lambda: not nothing_in_progress(service))
    until(lambda: nothing_in_progress(service))
    connection = start(service, "/v1/speech?stream=true&format=pcm", npy(LONG))
    assert connection.getresponse().read(100)
    connection.close()
    until(lambda: nothing_in_progress(service))


def test_a_listener_that_does_not_read_is_dropped(service: Served) -> None:
    until(lambda: nothing_in_progress(service))
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", service.port))
        body = npy(LONG.repeat(1, 2)[:, :8000])
        head = f"POST /v1/speech?n_iter=0&bits=float HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        reader.sendall(head.encode() + b"Host: x\r\n\r\n" + body)
        until(lambda: not nothing_in_progress(service))
        until(lambda: nothing_in_progress(service))


def test_slow_bodies_and_heads_are_refused(impatient: Served) -> None:
    with connected(impatient) as slow:
        slow.sendall(b"POST /v1/speech HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n")
        slow.sendall(b"a")
        response = http.client.HTTPResponse(slow)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, headers, response.read())
        assert answer.status == 408 and "within 1 s" in answer.detail
        assert slow.recv(1) == b""  # closed
    with connected(impatient) as slow:
        assert closed_while_sending(slow, b"G", 0.2)  # never the end of a head


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused_though_the_client_sends_it_all(
    service: Served, chunked: bool
) -> None:
    piece = bytes(1 << 20)
    body = (piece for _ in range(12)) if chunked else piece * 12
    answer = service.ask(body=body)
    assert answer.status == 413 and "3145728 bytes" in answer.detail


def test_a_body_without_an_end_is_cut_off(impatient: Served) -> None:
    with connected(impatient) as endless:
        endless.sendall(
            b"POST /v1/speech HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        assert closed_while_sending(endless, piece)
    until(lambda: nothing_in_progress(impatient))


def test_what_is_no_http_is_refused(service: Served) -> None:
    for data in (b"\0" * 100 + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000):
        with connected(service) as other:
            other.sendall(data)
            assert other.recv(1000).startswith(b"HTTP/1.1 400")
    assert service.ask(body=npy(MEL)).status == 200


def test_speech_that_takes_too_long_is_given_up(checkpoint: Path) -> None:
    with served(checkpoint, **PATIENT | {"generate_seconds": 3}) as service:
        answer = service.ask(SLOWLY, body=npy(LONG))
        assert answer.status == 504 and "3 s" in answer.detail
        until(lambda: service.ask(body=npy(MEL)).status == 200)


def test_many_at_a_time_are_batched_and_each_is_as_alone(checkpoint: Path) -> None:
    vocoder = Vocoder.from_pretrained(checkpoint, "cpu")
    mels = [speech_mel(1.2, seed=i) for i in range(8)]
    answers: dict[int, np.ndarray] = {}
    with served(checkpoint, settings={"max_batch": 4}, **PATIENT) as service:
        busy = start(service, SLOWLY, npy(LONG[:, :600]))

        def ask(i: int) -> None:
            query = (
                f"/v1/speech?format=pcm&bits=float&seed={i}&stream={'true' if i % 2 else 'false'}"
            )
            answers[i] = samples(service.ask(query, npy(mels[i])).body)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        busy.close()
        batches = service.metric("diffwave_batch_windows_count")
        assert service.metric("diffwave_batch_windows_sum") > batches
    for i, mel in enumerate(mels):
        alone = vocoder(mel, seed=i).numpy()
        assert np.abs(answers[i] - alone).max() <= 1e-5 * np.abs(alone).max()


def test_sigterm_ends_it_when_what_runs_is_finished(checkpoint: Path) -> None:
    with served(checkpoint, **PATIENT) as service:
        path = "/v1/speech?steps=16&n_iter=20&format=pcm"
        stream = start(service, path + "&stream=true", npy(LONG[:, :1500]))
        whole = start(service, path, npy(LONG[:, :1500]))
        service.process.send_signal(signal.SIGTERM)
        until(lambda: refused(service))
        for connection in (whole, stream):
            assert len(connection.getresponse().read()) == 2 * 256 * 1500
        assert service.process.wait(PATIENCE) == 0
        assert service.process.stderr is not None
        assert "Traceback" not in service.process.stderr.read()
