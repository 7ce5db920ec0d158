"""Other people's libraries, which not every installation has, or has in a state to be imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from diffwave.base.errors import InputError

# These import torchaudio for their own commands that read files, which nothing here calls.
WITH_TORCHAUDIO = ("distillmos", "torchcrepe")


def import_library(name: str) -> Any:
    """Import a module, without the warnings that it gives about its own dependencies.

    Raises:
        ImportError: it is not installed, or cannot be loaded for whatever reason. A binary that was
            built for another version of its neighbours raises OSError, RuntimeError, ValueError...
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyworld's about pkg_resources: nobody here can act on it
        try:
            with _torchaudio() if name in WITH_TORCHAUDIO else nullcontext():
                return importlib.import_module(name)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ImportError(f"{name} cannot be imported ({reason})") from error


@contextmanager
def needed_for(purpose: str, extra: str = "eval") -> Iterator[None]:
    """Turn the failure of an import in the block into an `InputError` that says what to install."""
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{purpose} needs pip install 'diffwave[{extra}]': {reason}.") from error


def version_of(name: str) -> str:
    """Name and version of a distribution, for example "pesq 0.0.4"."""
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:  # our own, used without being installed
        return name


@contextmanager
def _torchaudio() -> Iterator[None]:
    """Let a block import torchaudio: an empty module where the real one does not fit this torch."""
    try:
        importlib.import_module("torchaudio")
    except Exception:
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        yield
    finally:
        if not hasattr(sys.modules["torchaudio"], "__file__"):
            del sys.modules["torchaudio"]
