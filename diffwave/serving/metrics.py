"""What a service counts, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # processor time, memory, open files
        self.requests = Counter(
            "diffwave_requests",
            "Answers by path and HTTP status; 499: the client left.",
            ("path", "status"),
            registry=registry,
        )
        self.in_progress = Gauge(
            "diffwave_requests_in_progress",
            "Requests for speech that hold a place.",
            registry=registry,
        )
        self.seconds = Histogram(
            "diffwave_request_seconds",
            "From the head of a request for speech to the end of its answer.",
            ("answer",),
            buckets=SECONDS,
            registry=registry,
        )
        self.first_samples = Histogram(
            "diffwave_first_samples_seconds",
            "From the end of a request to its first samples.",
            ("answer",),
            buckets=SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "diffwave_batch_windows",
            "Windows generated together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.busy = Counter(
            "diffwave_generation_seconds",
            "Time that the workers spent generating.",
            registry=registry,
        )
        self.speech = Counter(
            "diffwave_speech_seconds", "Duration of the generated speech.", registry=registry
        )

    def watch(self, waiting: Callable[[], float]) -> None:
        """Report the length of a queue."""
        gauge = Gauge(
            "diffwave_queue_length",
            "Utterances of which a window waits for a worker.",
            registry=self.registry,
        )
        gauge.set_function(waiting)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All values, and their media type, as a client's Accept header wants them."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type
