"""The page of egs/web, with a small random voice, on a server of its own."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from tiny import enhancing_config, random_model, source_config

from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.checkpoint import save_checkpoint

WEB = Path(__file__).parents[1] / "egs" / "web"
ORT = Path(os.environ.get("DIFFWAVE_ORT_WEB") or WEB / "node_modules" / "onnxruntime-web")
"""ONNX Runtime Web, where it has been fetched: tests have no network."""


def load_builder() -> ModuleType:
    """egs/web/build.py, as a module."""
    pytest.importorskip("onnxruntime")
    spec = importlib.util.spec_from_file_location("build_page", WEB / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_voice(folder: Path) -> Path:
    """The folder, with a small voice with enhancer and source: `checkpoint`, ONNX `graphs`."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    from diffwave.onnx.export import export_onnx

    presets = (
        Sampling(1, "ddim", (1.0,), 3),
        Sampling(2, "ddim", (1.0, 0.6), 5),
        Sampling(4, "ddim", (1.0, 0.8, 0.6, 0.3), 2),
    )
    config = replace(
        source_config(),
        enhancer=enhancing_config().enhancer,
        sampling=SamplingConfig(1, "ddim", 3, presets),
    )
    model = random_model(config)
    export_onnx(model, folder / "graphs")  # rounds the networks
    save_checkpoint(model, folder / "checkpoint")
    return folder


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served, as `python -m http.server` does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
