"""A service in a process of its own, for tests: as its user starts it, with limits of any size."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from patience import PATIENCE
from torch import Tensor

START = """
import json, sys
from diffwave import Vocoder
from diffwave.serving.app import create_app
from diffwave.serving.limits import Limits
from diffwave.serving.server import listen, serve
from diffwave.serving.service import Service

checkpoint, limits, settings = sys.argv[1], *map(json.loads, sys.argv[2:])
limits = Limits(**limits)
service = Service(Vocoder.from_pretrained(checkpoint, "cpu"), limits, **settings)
with listen("127.0.0.1", 0) as listener:
    print("port", listener.getsockname()[1], flush=True)
    serve(create_app(service, "a voice"), listener, limits)
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """The sentence of a refusal, which is one line of JSON with nothing of Python's in it."""
        assert self.headers["content-type"] == "application/problem+json", self
        found = json.loads(self.body)
        assert found["status"] == self.status and set(found) == {"title", "status", "detail"}
        sentence = str(found["detail"])
        assert sentence.endswith(".") and "\n" not in sentence and "Traceback" not in sentence
        return sentence


@dataclass
class Served:
    port: int
    process: subprocess.Popen[str]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self, path: str = "/v1/speech", body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> Answer:
        """The answer to a POST, or to a GET without a body."""
        connection = self.connect()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("GET" if body is None else "POST", path, body, names)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        answer = self.ask("/metrics")
        assert answer.status == 200, answer
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.body.decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def served(
    checkpoint: Path | str, *, settings: dict[str, Any] | None = None, **limits: Any
) -> Iterator[Served]:
    """A service that is ready; killed at the end if it has not ended by then."""
    arguments = [str(checkpoint), json.dumps(limits), json.dumps(settings or {})]
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        },
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line, process.communicate()[1]
        service = Served(int(line[1]), process)
        # The port has been bound: a request waits until the voice is loaded.
        assert service.ask("/readyz").status == 200
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def npy(mel: Tensor | np.ndarray, **settings: Any) -> bytes:
    """A .npy of an array."""
    file = io.BytesIO()
    np.save(file, np.asarray(mel), **settings)
    return file.getvalue()


def samples(body: bytes) -> np.ndarray:
    """Those of `format=pcm&bits=float`."""
    return np.frombuffer(body, "<f4")
