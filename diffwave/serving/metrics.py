"""What a service counts, in Prometheus' format."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # processor time, memory, open files
        here: dict[str, Any] = {"namespace": "diffwave", "registry": self.registry}
        by_answer = here | {"labelnames": ("answer",), "buckets": SECONDS}
        self.requests = Counter(
            "requests", "Answers by path and HTTP status; 499: the client left.",
            ("path", "status"), **here,
        )  # fmt: skip
        self.in_progress = Gauge(
            "requests_in_progress", "Requests for speech that hold a place.", **here
        )
        self.seconds = Histogram(
            "request_seconds", "From the head of a request for speech to the end of its answer.",
            **by_answer,
        )  # fmt: skip
        self.first_samples = Histogram(
            "first_samples_seconds", "From the end of a request to its first samples.", **by_answer
        )
        self.batch = Histogram(
            "batch_windows", "Windows generated together.", buckets=(1, 2, 4, 8, 16, 32), **here
        )
        self.busy = Counter("generation_seconds", "Time that the workers spent generating.", **here)
        self.speech = Counter("speech_seconds", "Duration of the generated speech.", **here)
        self.waiting = Gauge(
            "queue_length", "Utterances of which a window waits for a worker.", **here
        )

    def text(self, accept: str) -> tuple[bytes, str]:
        """All values, and their media type, as a client's Accept header wants them."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type
