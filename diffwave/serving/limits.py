"""How much a service takes: of one request, and of all at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is beyond one of these is refused with the HTTP status in brackets."""

    max_requests: int = 64
    """Requests at a time, those that wait and those whose answer is being read included (503)."""
    max_body: int = 8 << 20
    """Bytes of a request's body (413)."""
    max_frames: int = 10_000
    """Frames of a mel: 116 s at 22.05 kHz and hop 256 (413)."""
    max_steps: int = 64
    """Network calls (422)."""
    max_iterations: int = 400
    """Mel-consistency iterations (422)."""
    head_seconds: float = 10.0
    """From the start of a connection, or from the answer before, to the end of a request's head
    (the connection is closed)."""
    upload_seconds: float = 15.0
    """From the head of a request to the end of its body (408)."""
    generate_seconds: float = 60.0
    """From the end of the body to the whole answer, or to its first samples if it is streamed
    (504)."""
    stall_seconds: float = 30.0
    """That a reader may take for 32 KiB of an answer (the connection is closed)."""
