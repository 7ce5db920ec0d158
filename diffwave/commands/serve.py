"""`diffwave serve`: a voice over HTTP."""

from __future__ import annotations

import os

from diffwave.base.libraries import needed_for
from diffwave.base.text import notice
from diffwave.commands.options import Serve
from diffwave.vocoder import DEFAULT, Vocoder


def run(options: Serve) -> int:
    """Load the voice and answer requests until SIGTERM or Ctrl-C."""
    with needed_for("A service", "serve"):
        from diffwave.serving.app import create_app
        from diffwave.serving.limits import Limits
        from diffwave.serving.server import listen, serve
        from diffwave.serving.service import Service
    name = options.checkpoint or DEFAULT
    vocoder = Vocoder.from_pretrained(name, options.device)
    limits = Limits(
        max_requests=options.max_requests,
        max_body=options.max_body << 20,
        max_frames=options.max_frames,
        upload_seconds=options.upload_timeout,
        generate_seconds=options.timeout,
    )
    on_cpu = vocoder.device.type == "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = options.workers or (max(1, (cores or 1) // options.threads) if on_cpu else 1)
    max_batch = options.max_batch or (1 if on_cpu else 16)
    service = Service(
        vocoder, limits, workers=workers, threads=options.threads, max_batch=max_batch
    )
    with listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        notice(
            f"{name} at http://{address} ({vocoder.device}, {workers} workers, batches of "
            f"{max_batch}); /docs describes the interface."
        )
        serve(create_app(service, name), listener, limits, options.access_log)
    return 0
