"""Other people's libraries, which not every installation has."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from typing import Any


def import_library(name: str) -> Any:
    """The module of this name, without the warnings that it gives about its own dependencies.

    Raises:
        ImportError: it is not installed.
        OSError: a shared library that it needs does not load.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyworld's about pkg_resources: nobody here can act on it
        return importlib.import_module(name)


def version_of(name: str) -> str:
    """For example "pesq 0.0.4"."""
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:  # our own, used without being installed
        return name
