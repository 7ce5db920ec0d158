"""Quality against cost, one point for each system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from diffwave.bench.result import Result
from diffwave.errors import InputError
from diffwave.files import atomic_path

SUFFIXES = (".png", ".svg", ".pdf")
OURS, OTHERS = "#0b6e4f", "#8a4f7d"


def check_plot(path: str | os.PathLike[str]) -> None:
    """InputError unless a plot can be written to a file of that name, before any work is done."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"Cannot write {os.fspath(path)}: a plot ends in {', '.join(SUFFIXES)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"A plot needs matplotlib ({error}); install 'diffwave[bench]'.") from None


def save_plot(result: Result, path: str | os.PathLike[str]) -> None:
    """Draw PESQ over the real-time factor at the centre, with quartiles and intervals.

    A system whose quality is not known is a line at its cost. Raises InputError when the file
    cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(True, color="#dddddd")
    axes.margins(0.2, 0.3)  # room for labels
    centre = result.timings[0].setting if result.timings else None
    for timing in result.timings:
        if timing.setting != centre:
            continue
        rtf, quality = timing.rtf, result.quality.get(timing.system)
        colour = OURS if timing.system.startswith("diffwave@") else OTHERS
        label: dict[str, Any] = {"color": colour, "textcoords": "offset points", "fontsize": 9}
        if quality is None:
            axes.axvline(rtf.median, color=colour, linestyle=":")
            where = ("data", "axes fraction")
            axes.annotate(timing.system, (rtf.median, 0), (3, 6), where, rotation=90, **label)
            continue
        low = quality.mean if quality.low is None else quality.low
        high = quality.mean if quality.high is None else quality.high
        axes.errorbar(
            rtf.median,
            quality.mean,
            xerr=[[rtf.median - rtf.low], [rtf.high - rtf.median]],
            yerr=[[quality.mean - low], [high - quality.mean]],
            fmt="o",
            color=colour,
            capsize=3,
        )
        axes.annotate(timing.system, (rtf.median, quality.mean), (8, 6), **label)
    if not result.quality:
        axes.set_yticks([])
    axes.set_xlabel(f"real-time factor ({centre}); less is faster")
    axes.set_ylabel("PESQ, wide band" + ("" if result.quality else " (no scores given)"))
    busy = "; the machine may have been busy: do not trust these numbers"
    axes.set_title("Quality against cost" + busy * result.machine.busy, loc="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:])
