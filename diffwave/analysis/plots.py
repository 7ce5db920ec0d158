"""Figures of matplotlib, drawn without a screen and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from diffwave.errors import InputError
from diffwave.eval.libraries import needed_for
from diffwave.files import atomic_path

SUFFIXES = (".png", ".svg", ".pdf")


def check_figure(path: str | os.PathLike[str]) -> None:
    """InputError unless a figure can be written to a file of that name, before any work is done."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"Cannot write {os.fspath(path)}: a plot ends in {', '.join(SUFFIXES)}.")
    with needed_for("A plot"):
        import matplotlib  # noqa: F401


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure with a light grid; InputError when the file cannot be written."""
    check_figure(path)
    for axis in figure.axes:
        axis.grid(True, color="#e4e4e4", linewidth=0.7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:].lower())
